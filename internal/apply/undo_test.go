package apply_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/apply"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/store"
)

func TestUndo_activatesNewestFirstWhatTheRunDeactivated(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"))
	s.apply(s.plan(plan.Options{}), apply.Options{})
	r := s.undo("run-1")
	s.status(r, journal.StatusDone, journal.StatusDone)
	if a, b := r.Run.Steps[0].User, r.Run.Steps[1].User; a != "BOB" || b != "ANA" {
		t.Errorf("order: %s, %s", a, b)
	}
	s.wantState("ANA", "AKIAANA1", journal.Active)
	s.wantState("BOB", "AKIABOB1", journal.Active)
	s.status(s.undo("run-1"), journal.StatusAlready, journal.StatusAlready)
}

func TestUndo_ofAnUndoDeactivatesAgainAndTheDeletionStillFollows(t *testing.T) {
	s := newStage(t, idle("ANA"))
	s.apply(s.plan(plan.Options{}), apply.Options{})
	s.undo("run-1")
	s.later(time.Minute)
	s.status(s.undo("run-2"), journal.StatusDone)
	s.wantState("ANA", "AKIAANA1", journal.Inactive)
	s.later(8 * day)
	p := s.plan(plan.Options{})
	if len(p.Steps) != 1 || p.Steps[0].Action != plan.Delete {
		t.Fatalf("steps: %+v, left out: %+v", p.Steps, p.LeftOut)
	}
}

func TestUndo_ofAnUndoLeavesAKeyThatWasUsedMeanwhile(t *testing.T) {
	s := newStage(t, idle("ANA"))
	s.apply(s.plan(plan.Options{}), apply.Options{})
	s.undo("run-1")
	s.later(time.Hour)
	s.must(s.account.Use("ANA", "AKIAANA1", "s3", ""))
	s.status(s.undo("run-2"), journal.StatusStale)
	s.wantState("ANA", "AKIAANA1", journal.Active)
}

func TestUndo_thenTheSamePlanAppliesAgain(t *testing.T) {
	s := newStage(t, idle("ANA"))
	p := s.plan(plan.Options{})
	s.apply(p, apply.Options{})
	s.undo("run-1")
	s.status(s.apply(p, apply.Options{}), journal.StatusDone)
	s.wantState("ANA", "AKIAANA1", journal.Inactive)
	// The first run's work is no longer the last: its undo would take back somebody else's.
	s.status(s.undo("run-1"), journal.StatusStale)
	s.status(s.undo("run-3"), journal.StatusDone)
}

func TestUndo_saysWhatCannotComeBack(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"))
	s.apply(s.plan(plan.Options{Users: only("ANA")}), apply.Options{})
	s.later(8 * day)
	s.status(s.apply(s.plan(plan.Options{}), apply.Options{}), journal.StatusDone, journal.StatusDone)
	r := s.undo("run-2")
	s.status(r, journal.StatusDone, journal.StatusBeyond)
	if why := r.Run.Steps[1].Last(); !strings.Contains(why, "cannot bring it back") {
		t.Errorf("why: %s", why)
	}
	s.wantState("BOB", "AKIABOB1", journal.Active)
	s.wantState("ANA", "AKIAANA1", journal.Absent)
}

func TestUndo_leavesWhatIsNotAsTheRunLeftIt(t *testing.T) {
	const key = "AKIAANA1"
	for name, c := range map[string]struct {
		move func(s *stage) error
		want journal.Status
	}{
		"deleted":   {func(s *stage) error { return s.account.DeleteKey("ANA", key) }, journal.StatusStale},
		"user gone": {func(s *stage) error { return s.account.DeleteUser("ANA") }, journal.StatusStale},
		"user re-created": {func(s *stage) error {
			u := idle("ANA")
			u.ID, u.Keys[0].Inactive = "AIDAANOTHER", true
			return errors.Join(s.account.DeleteUser("ANA"), s.account.AddUser(u))
		}, journal.StatusStale},
		"active already": {func(s *stage) error { return s.account.SetActive("ANA", key, true) }, journal.StatusAlready},
		"quarantined":    {func(s *stage) error { return s.account.Attach("ANA", "AWSCompromisedKeyQuarantineV2") }, journal.StatusRefused},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, idle("ANA"), idle("BOB"))
			s.apply(s.plan(plan.Options{}), apply.Options{})
			writes := len(s.account.Writes())
			s.must(c.move(s))
			s.status(s.undo("run-1"), journal.StatusDone, c.want)
			if n := len(s.account.Writes()); n != writes+1 {
				t.Errorf("%d writes, want 1: %+v", n-writes, s.account.Writes()[writes:])
			}
		})
	}
}

func TestUndo_narrowsToTheStepsNamed(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"))
	r := s.apply(s.plan(plan.Options{}), apply.Options{})
	s.status(s.undo("run-1", r.Run.Steps[0].ID), journal.StatusDone)
	s.wantState("ANA", "AKIAANA1", journal.Active)
	s.wantState("BOB", "AKIABOB1", journal.Inactive)
	_, err := s.engine().Undo(s.ctx, "run-1", []string{"nonsense"}, apply.Options{})
	var bad *plan.InputError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), `"nonsense"`) {
		t.Errorf("Undo of an unknown step: %v", err)
	}
}

func TestUndo_refusesTheWholeRun(t *testing.T) {
	s := newStage(t, idle("ANA"))
	s.apply(s.plan(plan.Options{}), apply.Options{})
	guard := func(want plan.Guard) {
		t.Helper()
		_, err := s.engine().Undo(s.ctx, "run-1", nil, apply.Options{})
		var r *plan.Refusal
		if !errors.As(err, &r) || r.Guard != want {
			t.Errorf("Undo: %v, want a refusal by %s", err, want)
		}
		s.wantState("ANA", "AKIAANA1", journal.Inactive)
	}
	s.signs = s.cloud.AddAccount(fact.Account{ID: "999900001111"}).Credential()
	guard(plan.GuardAccount)
	s.signs = "AKIAREADONLY"
	s.account.Allow(s.signs, "iam:List*", "iam:Get*")
	guard(plan.GuardPermission)
	s.signs = ""
	if _, err := s.engine().Undo(s.ctx, "no-such-run", nil, apply.Options{}); !errors.Is(err, journal.ErrNoRun) {
		t.Errorf("Undo of an unknown run: %v", err)
	}
	s.undo("run-1")
}

func TestUndo_ofARunThatDidNothingIsBadInput(t *testing.T) {
	s := newStage(t, idle("ANA"))
	p := s.plan(plan.Options{})
	s.must(s.account.SetActive("ANA", "AKIAANA1", false))
	s.apply(p, apply.Options{})
	_, err := s.engine().Undo(s.ctx, "run-1", nil, apply.Options{})
	var bad *plan.InputError
	if !errors.As(err, &bad) {
		t.Errorf("Undo: %v", err)
	}
}

func TestUndo_dryRunChangesNothing(t *testing.T) {
	s := newStage(t, idle("ANA"))
	s.apply(s.plan(plan.Options{}), apply.Options{})
	r, err := s.engine().Undo(s.ctx, "run-1", nil, apply.Options{DryRun: true})
	s.must(err)
	if got := r.Run.Steps[0].Status(); got != journal.StatusPlanned {
		t.Errorf("step: %s", got)
	}
	s.wantState("ANA", "AKIAANA1", journal.Inactive)
	if runs, err := s.db.Runs(s.ctx, store.RunFilter{}); err != nil || len(runs) != 1 {
		t.Errorf("%d runs, %v", len(runs), err)
	}
}

// A run that died between its intent and the answer: the next one looks.
func TestResolve_danglingIntentIsFoundOutByLookingAndNeverRepeatedBlindly(t *testing.T) {
	for name, c := range map[string]struct {
		left func(s *stage) error // how the account is found
		want journal.Status
		then journal.Status // of the same step when the plan is applied again
		n    int            // updates by the second run
	}{
		"it happened":        {func(s *stage) error { return s.account.SetActive("ANA", "AKIAANA1", false) }, journal.StatusDone, journal.StatusAlready, 0},
		"it did not":         {func(*stage) error { return nil }, journal.StatusFailed, journal.StatusDone, 1},
		"the key is gone":    {func(s *stage) error { return s.account.DeleteKey("ANA", "AKIAANA1") }, journal.StatusConflict, journal.StatusStale, 0},
		"the user is gone":   {func(s *stage) error { return s.account.DeleteUser("ANA") }, journal.StatusConflict, journal.StatusStale, 0},
		"it shows only late": {func(s *stage) error { s.cloud.Set(fakeaws.Switches{StaleReads: 2}); return s.overHTTP() }, journal.StatusDone, journal.StatusAlready, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, idle("ANA"))
			p := s.plan(plan.Options{})
			step := p.Steps[0]
			now := s.cloud.Now()
			s.must(s.db.Begin(s.ctx, journal.Run{
				ID: "run-dead", Kind: journal.Apply, Account: account, Caller: "arn:aws:iam::" + account + ":user/x", Plan: p.Digest, StartedAt: now,
				Steps: []journal.Step{{
					ID: step.ID, Action: journal.Deactivate, User: step.User, UserID: step.UserID, KeyID: step.KeyID,
					KeyCreated: step.Expect.CreatedAt, From: journal.Active,
				}},
			}))
			_, err := s.db.Append(s.ctx, journal.Entry{Run: "run-dead", Step: step.ID, Kind: journal.Intent, At: now})
			s.must(err)
			s.must(c.left(s))
			before := len(s.account.Writes())
			r := s.apply(p, apply.Options{})
			s.status(r, c.then)
			dead, err := s.db.Run(s.ctx, "run-dead")
			s.must(err)
			if got := dead.Steps[0].Status(); got != c.want {
				t.Errorf("the dangling step is %s, want %s: %s", got, c.want, dead.Steps[0].Last())
			}
			if n := len(s.account.Writes()) - before; n != c.n {
				t.Errorf("%d writes, want %d", n, c.n)
			}
		})
	}
}

// overHTTP deactivates the key the way the dead run did, so that lag applies.
func (s *stage) overHTTP() error {
	return s.engine().Account.SetActive(s.ctx, "ANA", "AKIAANA1", false)
}
