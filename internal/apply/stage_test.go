package apply_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/apply"
	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/store"
)

const (
	day     = 24 * time.Hour
	account = "111122223333"
)

var start = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)

// stage is one account over HTTP, a journal on disk, and one clock for all.
type stage struct {
	t       *testing.T
	ctx     context.Context
	cloud   *fakeaws.Cloud
	account *fakeaws.Account
	server  *fakeaws.Server
	db      *store.DB
	signs   string // access key id of the credentials that apply uses; empty: an administrator
	runs    int
}

func newStage(t *testing.T, users ...fakeaws.User) *stage {
	t.Helper()
	s := &stage{t: t, ctx: context.Background(), cloud: fakeaws.New(start)}
	s.account = s.cloud.AddAccount(fact.Account{ID: account})
	for _, u := range users {
		s.must(s.account.AddUser(u))
	}
	var err error
	s.server, err = s.cloud.Start()
	s.must(err)
	t.Cleanup(s.server.Close)
	s.db, err = store.Open(s.ctx, "sqlite:"+filepath.Join(t.TempDir(), "journal.db"), store.Options{})
	s.must(err)
	t.Cleanup(func() { _ = s.db.Close() })
	return s
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func ago(d time.Duration) time.Time { return start.Add(-d) }

// idle is a user with one active key that nobody ever used.
func idle(name string) fakeaws.User {
	return fakeaws.User{Name: name, Created: ago(200 * day), Keys: []fakeaws.Key{{ID: keyID(name, 1), Created: ago(60 * day)}}}
}

func keyID(user string, n int) string { return fmt.Sprintf("AKIA%s%d", user, n) }

func (s *stage) settings(key string) awsiam.Settings {
	if key == "" {
		key = s.account.Credential()
	}
	return awsiam.Settings{
		EndpointURL: s.server.URL, Region: "us-east-1", MaxAttempts: 2, BackoffCap: time.Millisecond,
		Credentials: &awsiam.Credentials{ID: key, Secret: fact.NewSecret("any")},
	}
}

// plan reads the account and plans, as the command does.
func (s *stage) plan(opt plan.Options) *plan.Plan {
	s.t.Helper()
	r, err := awsiam.Open(s.ctx, s.settings(""))
	s.must(err)
	defer r.Close()
	snapshot, err := collect.Live(s.ctx, r, collect.Options{Now: s.cloud.Now})
	s.must(err)
	rules, err := rule.Builtin("default")
	s.must(err)
	result, err := audit.Snapshot(snapshot, audit.Options{Ruleset: rules, AsOf: s.cloud.Now()})
	s.must(err)
	in := plan.Input{Version: "test", Ruleset: "default", Snapshot: snapshot}
	for v := range result.Verdicts {
		in.Verdicts = append(in.Verdicts, *v)
	}
	in.Caller, err = r.Caller(s.ctx)
	s.must(err)
	book, err := s.db.Book(s.ctx, account)
	s.must(err)
	in.Changes = book.Changes
	opt.Now = s.cloud.Now()
	p, err := plan.Make(in, opt)
	s.must(err)
	return p
}

func (s *stage) engine() *apply.Engine {
	s.t.Helper()
	w, err := awsiam.OpenWriter(s.ctx, s.settings(s.signs))
	s.must(err)
	s.t.Cleanup(w.Close)
	caller, err := w.Caller(s.ctx)
	s.must(err)
	own, err := w.KeyIDs(s.ctx)
	s.must(err)
	s.runs++
	return &apply.Engine{
		Account: w, Journal: s.db, Caller: caller, OwnKeys: own, Now: s.cloud.Now, Wait: s.wait,
		RunID: fmt.Sprintf("run-%d", s.runs), Version: "test", Host: "here", PID: 1,
	}
}

// wait moves the clock.
func (s *stage) wait(ctx context.Context, d time.Duration) error {
	s.cloud.SetNow(s.cloud.Now().Add(d))
	return ctx.Err()
}

func (s *stage) later(d time.Duration) { s.cloud.SetNow(s.cloud.Now().Add(d)) }

func (s *stage) apply(p *plan.Plan, opt apply.Options) *apply.Result {
	s.t.Helper()
	r, err := s.engine().Apply(s.ctx, p, opt)
	s.must(err)
	return r
}

func (s *stage) undo(run string, steps ...string) *apply.Result {
	s.t.Helper()
	r, err := s.engine().Undo(s.ctx, run, steps, apply.Options{})
	s.must(err)
	return r
}

// refused wants the run as a whole refused by the guard, and nothing changed.
func (s *stage) refused(p *plan.Plan, opt apply.Options, guard plan.Guard) (why, widen string) {
	s.t.Helper()
	_, err := s.engine().Apply(s.ctx, p, opt)
	var r *plan.Refusal
	if !errors.As(err, &r) || r.Guard != guard {
		s.t.Fatalf("Apply: %v, want a refusal by %s", err, guard)
	}
	s.untouched()
	if r.Widen == "" {
		s.t.Errorf("the refusal %q does not say what to do", r.Why)
	}
	return r.Why, r.Widen
}

// untouched wants that nothing was written to the account and no run was recorded.
func (s *stage) untouched() {
	s.t.Helper()
	if w := s.account.Writes(); len(w) > 0 {
		s.t.Errorf("written: %+v", w)
	}
	runs, err := s.db.Runs(s.ctx, store.RunFilter{})
	s.must(err)
	if len(runs) > 0 {
		s.t.Errorf("%d runs were recorded", len(runs))
	}
}

// keys are the user's keys by id.
func (s *stage) keys(user string) map[string]fakeaws.Key {
	out := map[string]fakeaws.Key{}
	for _, u := range s.account.Users() {
		if u.Name == user {
			for _, k := range u.Keys {
				out[k.ID] = k
			}
		}
	}
	return out
}

func (s *stage) wantState(user, key string, want journal.State) {
	s.t.Helper()
	got := journal.Absent
	if k, ok := s.keys(user)[key]; ok {
		got = journal.Active
		if k.Inactive {
			got = journal.Inactive
		}
	}
	if got != want {
		s.t.Errorf("key %s of %s is %s, want %s", key, user, got, want)
	}
}

// status wants each step of the run, on record and in the result, to have ended so.
func (s *stage) status(r *apply.Result, want ...journal.Status) {
	s.t.Helper()
	kept, err := s.db.Run(s.ctx, r.Run.ID)
	s.must(err)
	for _, run := range []*journal.Run{r.Run, kept} {
		var got []journal.Status
		for i := range run.Steps {
			got = append(got, run.Steps[i].Status())
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			for i := range run.Steps {
				s.t.Logf("%s %s: %s", run.Steps[i].Action, run.Steps[i].KeyID, run.Steps[i].Last())
			}
			s.t.Fatalf("steps ended %v, want %v", got, want)
		}
	}
	if kept.EndedAt.IsZero() {
		s.t.Error("the run has no end on record")
	}
}

// effects counts the writes that took effect, by action.
func (s *stage) effects() map[string]int {
	out := map[string]int{}
	for _, w := range s.account.Writes() {
		out[w.Action]++
	}
	return out
}
