package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// routes are what is served below /sim/, all of it JSON:
//
//	GET  /sim/state                        the clock, and what a run at the beginning has to find
//	GET  /sim/calls                        calls by action and in all, throttled and failed among them, and the peak
//	POST /sim/calls/reset                  counts from here
//	GET  /sim/capacity?seconds=60          calls that the limits let through in that time
//	POST /sim/clock?by=24h                 moves the clock, or with to=2026-12-01T00:00:00Z sets it
//	GET  /sim/users?account=ID             the users of an account, with their keys
//	POST /sim/keys?account=ID&user=NAME&do=VERB&key=ID
//	                                       make (a key, of an age=24h; and the user, if need be), use, activate,
//	                                       deactivate, delete; fix leaves one key, made and used now
func (s *Sim) routes() *http.ServeMux {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			out, err := f(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(out) // a client that went away has its own error
		})
	}
	handle("GET /sim/state", func(*http.Request) (any, error) {
		return map[string]any{"clock": s.cloud.Now(), "expected": s.Expected()}, nil
	})
	handle("GET /sim/calls", func(*http.Request) (any, error) { return s.calls(), nil })
	handle("POST /sim/calls/reset", func(*http.Request) (any, error) {
		s.cloud.ResetCalls()
		return s.calls(), nil
	})
	handle("GET /sim/capacity", s.capacity)
	handle("POST /sim/clock", s.moveClock)
	handle("GET /sim/users", func(r *http.Request) (any, error) {
		a, err := s.account(r)
		if err != nil {
			return nil, err
		}
		return a.Users(), nil
	})
	handle("POST /sim/keys", s.changeKey)
	return mux
}

type calls struct {
	fakeaws.Count
	Peak    int                      `json:"peak"` // most requests under way at once
	Actions map[string]fakeaws.Count `json:"actions"`
}

func (s *Sim) calls() calls {
	out := calls{Peak: s.cloud.Peak(), Actions: s.cloud.Counts()}
	for _, n := range out.Actions {
		out.Calls += n.Calls
		out.Throttled += n.Throttled
		out.Failed += n.Failed
	}
	return out
}

// share is what one service lets through.
type share struct {
	Accounts  int     `json:"accounts"` // that call, each with a bucket of its own
	PerSecond float64 `json:"per_second"`
	Burst     int     `json:"burst"`
	Calls     float64 `json:"calls"` // in all; 0 with PerSecond and Burst 0: there is no limit
}

// capacity counts for IAM every account that can be read, for the others the account that asks.
func (s *Sim) capacity(r *http.Request) (any, error) {
	var seconds float64
	if _, err := fmt.Sscan(r.FormValue("seconds"), &seconds); err != nil || seconds < 0 {
		return nil, fmt.Errorf("seconds=%q is no number of seconds", r.FormValue("seconds"))
	}
	of := func(accounts int, rate fakeaws.Rate) share {
		out := share{Accounts: accounts, PerSecond: rate.PerSecond, Burst: rate.Burst}
		if rate != (fakeaws.Rate{}) {
			out.Calls = float64(accounts) * (float64(max(1, rate.Burst)) + seconds*rate.PerSecond)
		}
		return out
	}
	l := s.options.Limits
	return map[string]share{
		"iam": of(s.Expected().Readable, l.IAM), "sts": of(1, l.STS), "organizations": of(1, l.Organizations),
	}, nil
}

func (s *Sim) moveClock(r *http.Request) (any, error) {
	to := s.cloud.Now()
	switch by, at := r.FormValue("by"), r.FormValue("to"); {
	case by != "":
		d, err := time.ParseDuration(by)
		if err != nil {
			return nil, err
		}
		to = to.Add(d)
	case at != "":
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return nil, err
		}
		to = t
	default:
		return nil, errors.New("by=DURATION or to=TIME is needed")
	}
	s.cloud.SetNow(to)
	return map[string]any{"clock": s.cloud.Now()}, nil
}

func (s *Sim) account(r *http.Request) (*fakeaws.Account, error) {
	id := r.FormValue("account")
	if a := s.cloud.Account(id); a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("there is no account %q", id)
}

func (s *Sim) changeKey(r *http.Request) (any, error) {
	a, err := s.account(r)
	if err != nil {
		return nil, err
	}
	user, key := r.FormValue("user"), r.FormValue("key")
	switch do := r.FormValue("do"); do {
	case "make":
		key, err = s.makeKey(a, user, r.FormValue("age"))
	case "use":
		err = a.Use(user, key, "s3", "eu-west-1")
	case "activate", "deactivate":
		err = a.SetActive(user, key, do == "activate")
	case "delete":
		err = a.DeleteKey(user, key)
	case "fix":
		key, err = fix(a, user)
	default:
		err = fmt.Errorf("do=%q is none of make, use, activate, deactivate, delete and fix", do)
	}
	return map[string]string{"account": a.ID(), "user": user, "key": key}, err
}

// makeKey adds a key, and the user where there is none.
func (s *Sim) makeKey(a *fakeaws.Account, user, age string) (string, error) {
	now, old := s.cloud.Now(), time.Duration(0)
	if age != "" {
		d, err := time.ParseDuration(age)
		if err != nil {
			return "", err
		}
		old = d
	}
	k := fakeaws.Key{Created: now.Add(-old)}
	id, err := a.AddKey(user, k)
	if refusal := (*fakeaws.Error)(nil); !errors.As(err, &refusal) || refusal.Code != "NoSuchEntity" {
		return id, err
	}
	if err := a.AddUser(fakeaws.User{Name: user, Created: now.Add(-1000 * day)}); err != nil {
		return "", err
	}
	return a.AddKey(user, k)
}

// fix leaves the user with one key, made and used now, and without a password.
func fix(a *fakeaws.Account, user string) (string, error) {
	for _, u := range a.Users() {
		if u.Name != user {
			continue
		}
		for _, k := range u.Keys {
			if err := a.DeleteKey(user, k.ID); err != nil {
				return "", err
			}
		}
	}
	id, err := a.AddKey(user, fakeaws.Key{})
	if err != nil {
		return "", err
	}
	return id, errors.Join(a.SetPassword(user, false), a.Use(user, id, "s3", "eu-west-1"))
}
