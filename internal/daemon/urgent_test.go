package daemon_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

// told is who is told, through one channel that takes each change as a message of its own.
type told struct {
	*store.DB
	t       *testing.T
	clock   *clock
	waiting []rotate.Rotation
	routing notice.Routing
	moves   int // accounts that were asked what changed in them
}

func (s *told) Waiting(context.Context) ([]rotate.Rotation, error) { return s.waiting, nil }

func (s *told) Moves(ctx context.Context, account string, after time.Time) ([]history.Entry, error) {
	s.moves++
	return s.DB.Moves(ctx, account, after)
}

func newTold(t *testing.T) (*told, *daemon.Teller) {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+t.TempDir()+"/keyreeve.db", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := &told{DB: db, t: t, clock: newClock(morning)}
	s.routing = notice.Routing{Channels: []notice.Terms{{Name: "team"}}, Routes: []notice.Route{{To: []string{"team"}}}}
	return s, &daemon.Teller{
		Record: s, Standing: s, Outbox: db.Outbox(), Now: s.clock.Now,
		Terms:      func(time.Time) (notice.Routing, notice.Reminders, error) { return s.routing, notice.Reminders{}, nil },
		Exceptions: func(time.Time) ([]finding.Exception, error) { return nil, nil },
	}
}

// judged records that these fail in an account: "critical root", severity and user.
func (s *told) judged(account string, fails ...string) {
	s.t.Helper()
	o := &history.Observation{Account: fact.Account{ID: account, Partition: "aws"}, At: s.clock.Now(), UsersRead: true, Complete: true}
	for _, text := range fails {
		severity, user, _ := strings.Cut(text, " ")
		o.Verdicts = append(o.Verdicts, finding.Verdict{
			ID: account + user, Rule: "rule", Kind: "key-age", Status: finding.Fail, Severity: finding.Severity(severity), Account: o.Account, User: user,
		})
	}
	if _, err := s.Observe(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

// heard are the messages in the outbox: the kind, and whom or what it is about.
func (s *told) heard() []string {
	s.t.Helper()
	var out []string
	for {
		entries, err := s.Outbox().Take(s.t.Context(), "team", s.clock.Now(), s.clock.Now().AddDate(1, 0, 0), 100)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(entries) == 0 {
			slices.Sort(out)
			return out
		}
		for _, e := range entries {
			var m struct {
				Items []struct {
					Kind     string
					Verdict  struct{ User string }
					Rotation struct{ ID string }
				}
			}
			if err := json.Unmarshal(e.Body, &m); err != nil {
				s.t.Fatal(err)
			}
			for _, i := range m.Items {
				out = append(out, i.Kind+" "+i.Verdict.User+i.Rotation.ID)
			}
		}
	}
}

func TestTell_whatIsUrgentDoesNotWaitForTheRest(t *testing.T) {
	s, teller := newTold(t)
	s.judged("111122223333", "critical root", "high ci")
	s.judged("444455556666", "medium etl")
	s.waiting = []rotate.Rotation{{ID: "rot-1", Account: "111122223333", State: rotate.Held, EnteredAt: morning}}
	for _, step := range []struct {
		what   string
		urgent bool
		want   string
	}{
		{"while accounts are spread", true, "opened root, waits rot-1"},
		{"again", true, ""},
		{"when all are read", false, "opened ci, opened etl"},
		{"again", false, ""},
	} {
		if err := teller.Tell(t.Context(), step.urgent); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.heard(), ", "); got != step.want {
			t.Errorf("%s: told %q, want %q", step.what, got, step.want)
		}
	}
	if s.moves != 4 {
		t.Errorf("asked %d times what changed in an account, want twice for each: what was looked at is not looked at again", s.moves)
	}
	s.clock.move(time.Minute)
	s.judged("444455556666", "medium etl", "critical key")
	s.waiting = append(s.waiting, rotate.Rotation{ID: "rot-2", Account: "777788889999", Partition: "aws", State: rotate.Held, EnteredAt: s.clock.Now()})
	if err := teller.Tell(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(s.heard(), ", "), "opened key, waits rot-2"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

// Who turns notices on is not flooded with what is old.
func TestTell_whatWasPassedByWhenNobodyWasToldIsNotToldLater(t *testing.T) {
	s, teller := newTold(t)
	routing := s.routing
	s.routing = notice.Routing{}
	s.judged("111122223333", "high old")
	if err := teller.Tell(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	s.routing = routing
	s.clock.move(time.Minute)
	s.judged("111122223333", "high old", "high new")
	if err := teller.Tell(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(s.heard(), ", "), "opened new"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}
