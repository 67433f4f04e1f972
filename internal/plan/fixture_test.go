package plan_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
)

const (
	account = "111122223333"
	hour    = time.Hour
	day     = 24 * hour
	never   = time.Duration(-1)
)

var now = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// key is an active key of that age, last used so long ago.
func key(id string, age, used time.Duration) fact.Key {
	k := fact.Key{ID: id, Active: true, Created: fact.At(now.Add(-age)), LastUsed: fact.Use{At: fact.Never(), Service: "N/A", Region: "N/A"}}
	if used != never {
		k.LastUsed = fact.Use{At: fact.At(now.Add(-used)), Service: "s3", Region: "us-east-1"}
	}
	return k
}

func off(k fact.Key) fact.Key {
	k.Active = false
	return k
}

// user was wholly read.
func user(name string, keys ...fact.Key) fact.User {
	return fact.User{
		Name: name, ARN: "arn:aws:iam::" + account + ":user/" + name, Path: "/", ID: "AIDA" + strings.ToUpper(name),
		Created: fact.At(now.Add(-900 * day)), Password: fact.No, Keys: keys, KeysRead: true, Quarantine: fact.No, TagsRead: true,
	}
}

func root() fact.User {
	return fact.User{Name: fact.RootName, Root: true, ARN: "arn:aws:iam::" + account + ":root", KeysPresent: fact.Yes, Quarantine: fact.No}
}

// story is what a plan is made of.
type story struct {
	in  plan.Input
	opt plan.Options
}

func about(users ...fact.User) *story {
	return &story{
		plan.Input{
			Version: "1.2.3", Ruleset: "default", Caller: fact.Caller{Account: fact.Account{ID: account}, ARN: "arn:aws:sts::" + account + ":assumed-role/keyreeve/x"},
			OwnKeys: []string{"ASIAOWN"}, Changes: map[string]journal.Change{},
			Snapshot: &fact.Snapshot{
				Account:  fact.Account{ID: account, Partition: "aws", Name: "prod"},
				Evidence: fact.Evidence{Source: fact.Live, ReadAt: fact.At(now.Add(-time.Minute))}, Users: users, UsersRead: true, QuarantineRead: true,
			},
		},
		plan.Options{Now: now},
	}
}

// says adds a verdict about a user, or one of its keys when keyID is not empty.
func (s *story) says(status finding.Status, rule string, remedy finding.Remedy, name, keyID string) *story {
	v := finding.Verdict{
		ID: strings.Join([]string{rule, name, keyID}, "/"), Rule: rule, Kind: rule, Status: status, Account: fact.Account{ID: account},
		User: name, Message: rule + " fails", Remedy: remedy, Facts: map[string]any{},
	}
	for i := range s.in.Snapshot.Users {
		for j := range s.in.Snapshot.Users[i].Keys {
			if k := &s.in.Snapshot.Users[i].Keys[j]; keyID != "" && k.ID == keyID && s.in.Snapshot.Users[i].Name == name {
				v.Key = k
			}
		}
	}
	s.in.Verdicts = append(s.in.Verdicts, v)
	return s
}

func (s *story) rotate(name, keyID string) *story {
	return s.says(finding.Fail, "key-age-90", finding.Rotate, name, keyID)
}

func (s *story) unused(name, keyID string) *story {
	return s.says(finding.Fail, "key-unused-45", finding.Deactivate, name, keyID)
}

func (s *story) left(name, keyID string) *story {
	return s.says(finding.Fail, "inactive-key", finding.Delete, name, keyID)
}

func (s *story) many(name string) *story {
	return s.says(finding.Fail, "multiple-active-keys", finding.KeepOne, name, "")
}

// changed says that we did something to a key, so long ago.
func (s *story) changed(name, keyID string, action, then journal.Action, ago time.Duration) *story {
	for _, u := range s.in.Snapshot.Users {
		for _, k := range u.Keys {
			if u.Name == name && k.ID == keyID {
				known := k.LastUsed.At.Time()
				if known.After(now.Add(-ago)) {
					known = time.Time{}
				}
				s.in.Changes[keyID] = journal.Change{
					Run: "run1", State: action.Leaves(), At: now.Add(-ago), Step: journal.Step{
						Action: action, User: name, UserID: u.ID, KeyID: keyID, KeyCreated: k.Created.Time(), LastUsed: known, Then: then,
						Because: []string{"old/" + keyID}, Rules: []string{"key-never-used"},
					},
				}
			}
		}
	}
	return s
}

func (s *story) make(t testing.TB) *plan.Plan {
	t.Helper()
	p, err := plan.Make(s.in, s.opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lines tells a plan's steps and what it leaves out in short: "deactivate ana AKIA1", "own-key ana AKIA1".
func lines(p *plan.Plan) []string {
	out := []string{}
	for _, s := range p.Steps {
		what := string(s.Action)
		if s.Open() {
			what = "choose"
		}
		out = append(out, strings.TrimSpace(strings.Join([]string{what, s.User, s.KeyID}, " ")))
	}
	for _, l := range p.LeftOut {
		out = append(out, strings.TrimSpace(strings.Join([]string{"-", string(l.Guard), l.User, l.KeyID}, " ")))
	}
	return out
}

func (s *story) want(t testing.TB, want ...string) *plan.Plan {
	t.Helper()
	p := s.make(t)
	if got := lines(p); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q; left out %+v", got, want, p.LeftOut)
	}
	return p
}

func (s *story) inputError(t testing.TB) *plan.InputError {
	t.Helper()
	_, err := plan.Make(s.in, s.opt)
	var e *plan.InputError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an InputError", err)
	}
	return e
}

func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q lacks %q", text, p)
		}
	}
}
