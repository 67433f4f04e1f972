package apply_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/apply"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/store"
)

func TestApply_oldPlanDoesNotDeleteWhatWasDeactivatedAgainMeanwhile(t *testing.T) {
	s := newStage(t, idle("ANA"))
	r := s.apply(s.plan(plan.Options{}), apply.Options{})
	s.later(8 * day)
	old := s.plan(plan.Options{})
	s.undo(r.Run.ID)
	s.later(12 * time.Hour)
	s.apply(s.plan(plan.Options{}), apply.Options{})
	s.later(time.Minute)
	s.status(s.apply(old, apply.Options{}), journal.StatusStale)
	s.wantState("ANA", "AKIAANA1", journal.Inactive)
}

func TestApply_planMadeWithAnotherJournalDeletesNothing(t *testing.T) {
	s := newStage(t, idle("ANA"))
	s.apply(s.plan(plan.Options{}), apply.Options{})
	s.later(8 * day)
	p := s.plan(plan.Options{})
	other, err := store.Open(s.ctx, "sqlite:"+filepath.Join(t.TempDir(), "other.db"), store.Options{})
	s.must(err)
	defer func() { _ = other.Close() }()
	s.db = other
	s.status(s.apply(p, apply.Options{}), journal.StatusStale)
	s.wantState("ANA", "AKIAANA1", journal.Inactive)
}

func TestApply_keyWhoseUseShowedLateIsNotDeleted(t *testing.T) {
	s := newStage(t, idle("ANA"))
	s.cloud.Set(fakeaws.Switches{UseLag: 20 * time.Minute})
	s.must(s.account.Use("ANA", "AKIAANA1", "s3", "")) // shows in 20 minutes
	s.later(10 * time.Minute)
	s.status(s.apply(s.plan(plan.Options{}), apply.Options{}), journal.StatusDone)
	s.later(8 * day)
	p := s.plan(plan.Options{})
	if len(p.Steps) != 0 || len(p.LeftOut) != 1 || p.LeftOut[0].Guard != plan.GuardUsed {
		t.Errorf("steps %+v, left out %+v", p.Steps, p.LeftOut)
	}
}

// What becomes due while the run lasts has passed no guard of the run.
func TestApply_stepThatBecomesDueDuringTheRunWaitsForAnother(t *testing.T) {
	s := newStage(t, idle("ANA"))
	s.apply(s.plan(plan.Options{}), apply.Options{})
	s.later(7*day - time.Hour)
	p := s.plan(plan.Options{})
	s.must(s.account.Attach("ANA", "AWSCompromisedKeyQuarantineV3"))
	s.later(time.Hour - 5*time.Second)
	e := s.engine()
	asked := 0
	e.Now = func() time.Time {
		asked++
		return s.cloud.Now().Add(time.Duration(asked) * time.Second)
	}
	r, err := e.Apply(s.ctx, p, apply.Options{})
	s.must(err)
	s.status(r, journal.StatusNotDue)
	s.wantState("ANA", "AKIAANA1", journal.Inactive)
}

// account decorates the account of an engine.
type bent struct {
	apply.Account
	user      func(name string) error
	keys      func(name string) error
	setActive func(ctx context.Context) error
}

func (b *bent) User(ctx context.Context, name string) (fact.User, error) {
	if b.user != nil {
		if err := b.user(name); err != nil {
			return fact.User{}, err
		}
	}
	return b.Account.User(ctx, name)
}

func (b *bent) Keys(ctx context.Context, name string) ([]fact.Key, error) {
	if b.keys != nil {
		if err := b.keys(name); err != nil {
			return nil, err
		}
	}
	return b.Account.Keys(ctx, name)
}

func (b *bent) SetActive(ctx context.Context, user, key string, active bool) error {
	if b.setActive != nil {
		if err := b.setActive(ctx); err != nil {
			return err
		}
	}
	return b.Account.SetActive(ctx, user, key, active)
}

func TestApply_stepWhoseTimeRunsOutIsOnRecordAndTheOthersGoOn(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"))
	p := s.plan(plan.Options{})
	e := s.engine()
	e.StepTime = 50 * time.Millisecond
	first := true
	e.Account = &bent{Account: e.Account, setActive: func(ctx context.Context) error {
		if !first {
			return nil
		}
		first = false
		<-ctx.Done()
		return fmt.Errorf("deactivate: %w: %w", fact.ErrUnclear, ctx.Err())
	}}
	e.Told = func(*journal.Step) { e.StepTime = time.Minute }
	r, err := e.Apply(s.ctx, p, apply.Options{})
	s.must(err)
	s.status(r, journal.StatusUnresolved, journal.StatusDone)
}

// died records a run that intended the first step of p and was never seen again.
func (s *stage) died(p *plan.Plan, accepted bool) {
	s.t.Helper()
	step := p.Steps[0]
	now := s.cloud.Now()
	s.must(s.db.Begin(s.ctx, journal.Run{
		ID: "run-dead", Kind: journal.Apply, Account: account, Caller: "arn", Plan: p.Digest, StartedAt: now,
		Steps: []journal.Step{{
			ID: step.ID, Action: journal.Action(step.Action), User: step.User, UserID: step.UserID, KeyID: step.KeyID,
			KeyCreated: step.Expect.CreatedAt, From: journal.State(step.Expect.Status),
		}},
	}))
	_, err := s.db.Append(s.ctx, journal.Entry{Run: "run-dead", Step: step.ID, Kind: journal.Intent, At: now})
	s.must(err)
	if accepted {
		_, err = s.db.Append(s.ctx, journal.Entry{Run: "run-dead", Step: step.ID, Kind: journal.Outcome, Result: journal.OK, At: now})
		s.must(err)
	}
}

func (s *stage) dead() *journal.Step {
	s.t.Helper()
	run, err := s.db.Run(s.ctx, "run-dead")
	s.must(err)
	if run.EndedAt.IsZero() {
		s.t.Error("the run that died has no end")
	}
	return &run.Steps[0]
}

func TestResolve_userThatCannotBeReadBlocksOnlyItsOwnKey(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"))
	p := s.plan(plan.Options{})
	s.died(p, false)
	s.later(time.Hour)
	e := s.engine()
	e.Account = &bent{Account: e.Account, keys: func(name string) error {
		if name == "ANA" {
			return fmt.Errorf("list access keys of user %q: %w", name, fact.ErrThrottled)
		}
		return nil
	}}
	r, err := e.Apply(s.ctx, s.plan(plan.Options{Users: only("BOB")}), apply.Options{})
	s.must(err)
	s.status(r, journal.StatusDone)
	if len(r.Unresolved) != 1 || !strings.Contains(r.Unresolved[0], "run-dead") {
		t.Errorf("unresolved: %q", r.Unresolved)
	}
	if got := s.dead().Status(); got != journal.StatusUnresolved {
		t.Errorf("the step is %s", got)
	}
	s.status(s.apply(p, apply.Options{}), journal.StatusDone, journal.StatusStale) // BOB was done by another plan
}

// A renamed user is gone under its old name, and its key lives on: no proof of a deletion.
func TestResolve_renamedUserIsAConflictAndNoDeletion(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"))
	p := s.plan(plan.Options{DeleteNow: true})
	s.died(p, false)
	s.later(time.Hour)
	e := s.engine()
	e.Account = &bent{Account: e.Account, user: func(name string) error {
		if name == "ANA" {
			return fmt.Errorf("read user %q: %w", name, fact.ErrNotFound)
		}
		return nil
	}}
	_, err := e.Apply(s.ctx, s.plan(plan.Options{Users: only("BOB")}), apply.Options{})
	s.must(err)
	if got := s.dead().Status(); got != journal.StatusConflict {
		t.Errorf("the deletion is %s: %s", got, s.dead().Last())
	}
}

func TestResolve_changeThatAWSAcceptedIsLookedForPatiently(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"))
	p := s.plan(plan.Options{})
	s.died(p, true)
	s.later(time.Hour)
	s.cloud.Set(fakeaws.Switches{StaleReads: 3})
	s.must(s.overHTTP()) // shows at the fourth look
	s.apply(s.plan(plan.Options{Users: only("BOB")}), apply.Options{})
	if got := s.dead().Status(); got != journal.StatusDone {
		t.Errorf("the step is %s: %s", got, s.dead().Last())
	}
}

func TestResolve_changeThatAWSAcceptedAndThatIsNotThereWasTakenBackBySomebody(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"))
	s.died(s.plan(plan.Options{}), true)
	s.later(time.Hour)
	s.apply(s.plan(plan.Options{Users: only("BOB")}), apply.Options{})
	if got := s.dead().Status(); got != journal.StatusConflict {
		t.Errorf("the step is %s: %s", got, s.dead().Last())
	}
}

func TestUndo_ofAnUndoKeepsTheGuardsOfAPlan(t *testing.T) {
	users := []fakeaws.User{idle("ANA"), idle("BOB"), idle("CAT"), idle("DAN")}
	s := newStage(t, users...)
	s.apply(s.plan(plan.Options{}), apply.Options{Limits: plan.Limits{Steps: 4}})
	s.undo("run-1")
	_, err := s.engine().Undo(s.ctx, "run-2", nil, apply.Options{})
	var r *plan.Refusal
	if !errors.As(err, &r) || r.Guard != plan.GuardSteps {
		t.Fatalf("Undo of four: %v", err)
	}
	covered := func(_ []string, u *fact.User, _ *fact.Key) *finding.Exception {
		if u.Name == "ANA" {
			return &finding.Exception{Owner: "ops@example.com"}
		}
		return nil
	}
	got, err := s.engine().Undo(s.ctx, "run-2", nil, apply.Options{Limits: plan.Limits{Steps: 4}, Excepted: covered})
	s.must(err)
	s.status(got, journal.StatusRefused, journal.StatusDone, journal.StatusDone, journal.StatusDone)
	s.wantState("ANA", "AKIAANA1", journal.Active)
}
