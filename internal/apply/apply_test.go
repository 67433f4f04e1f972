package apply_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/apply"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

func TestApply_deactivatesThenDeletesAfterTheQuietPeriod(t *testing.T) {
	s := newStage(t, idle("ANA"))
	r := s.apply(s.plan(plan.Options{}), apply.Options{})
	s.status(r, journal.StatusDone)
	s.wantState("ANA", "AKIAANA1", journal.Inactive)
	step := &r.Run.Steps[0]
	var kinds []journal.EntryKind
	for _, e := range step.Entries {
		kinds = append(kinds, e.Kind)
	}
	if len(kinds) != 3 || kinds[0] != journal.Intent || kinds[1] != journal.Outcome || kinds[2] != journal.Verification {
		t.Errorf("entries of the step: %v", kinds)
	}

	s.later(7*day - time.Second)
	early := s.plan(plan.Options{})
	s.status(s.apply(early, apply.Options{}), journal.StatusNotDue)
	s.wantState("ANA", "AKIAANA1", journal.Inactive)

	s.later(day)
	s.status(s.apply(s.plan(plan.Options{}), apply.Options{}), journal.StatusDone)
	s.wantState("ANA", "AKIAANA1", journal.Absent)
	if got := s.effects(); got["iam:UpdateAccessKey"] != 1 || got["iam:DeleteAccessKey"] != 1 {
		t.Errorf("writes: %v", got)
	}
}

// Two keys of one user: each step expects the other key as the plan knew it, or as the plan itself left it.
func TestApply_stepsOfOneUserExpectWhatThePlanDid(t *testing.T) {
	u := idle("ANA")
	u.Keys = append(u.Keys, fakeaws.Key{ID: "AKIAANA2", Created: ago(50 * day)})
	s := newStage(t, u)
	p := s.plan(plan.Options{})
	s.status(s.apply(p, apply.Options{}), journal.StatusDone, journal.StatusDone)
	s.status(s.apply(p, apply.Options{}), journal.StatusAlready, journal.StatusAlready)
	if got := s.effects()["iam:UpdateAccessKey"]; got != 2 {
		t.Errorf("%d updates, want 2", got)
	}
}

func TestApply_leavesAloneWhatMovedSinceThePlanAndDoesTheRest(t *testing.T) {
	const key = "AKIABOB1"
	for name, move := range map[string]func(s *stage) error{
		"used":        func(s *stage) error { return s.account.Use("BOB", key, "s3", "") },
		"deactivated": func(s *stage) error { return s.account.SetActive("BOB", key, false) },
		"deleted":     func(s *stage) error { return s.account.DeleteKey("BOB", key) },
		"another key": func(s *stage) error { _, err := s.account.AddKey("BOB", fakeaws.Key{}); return err },
		"user gone":   func(s *stage) error { return s.account.DeleteUser("BOB") },
		"user re-created": func(s *stage) error {
			u := idle("BOB")
			u.ID = "AIDAANOTHER"
			return errors.Join(s.account.DeleteUser("BOB"), s.account.AddUser(u))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, idle("ANA"), idle("BOB"), idle("CAT"))
			p := s.plan(plan.Options{})
			s.later(time.Hour)
			s.must(move(s))
			before := s.keys("BOB")
			r := s.apply(p, apply.Options{})
			s.status(r, journal.StatusDone, journal.StatusStale, journal.StatusDone)
			if why := r.Run.Steps[1].Last(); why == "" {
				t.Error("a stale step does not say why")
			}
			for id, k := range s.keys("BOB") {
				if before[id].Inactive != k.Inactive {
					t.Errorf("key %s was touched", id)
				}
			}
			for _, w := range s.account.Writes() {
				if w.User == "BOB" {
					t.Errorf("written: %+v", w)
				}
			}
		})
	}
}

func TestApply_siblingThatAPersonChangedIsStaleAndItsDependentIsSkipped(t *testing.T) {
	u := idle("ANA")
	u.Keys = append(u.Keys, fakeaws.Key{ID: "AKIAANA2", Created: ago(50 * day)})
	s := newStage(t, u, idle("BOB"))
	p := s.plan(plan.Options{})
	s.must(s.account.SetActive("ANA", "AKIAANA2", false))
	s.status(s.apply(p, apply.Options{}), journal.StatusStale, journal.StatusDependent, journal.StatusDone)
	s.wantState("ANA", "AKIAANA1", journal.Active)
}

func TestApply_keyUsedSinceItsDeactivationIsNotDeleted(t *testing.T) {
	s := newStage(t, idle("ANA"))
	s.apply(s.plan(plan.Options{}), apply.Options{})
	s.later(8 * day)
	p := s.plan(plan.Options{})
	s.must(s.account.Use("ANA", "AKIAANA1", "s3", "eu-west-1"))
	r := s.apply(p, apply.Options{})
	s.status(r, journal.StatusStale)
	if why := r.Run.Steps[0].Last(); !strings.Contains(why, "by s3 in eu-west-1") {
		t.Errorf("the use is not shown: %s", why)
	}
	s.wantState("ANA", "AKIAANA1", journal.Inactive)
}

func TestApply_keyReactivatedByAPersonIsNotDeactivatedAgainByTheSamePlan(t *testing.T) {
	s := newStage(t, idle("ANA"))
	p := s.plan(plan.Options{})
	s.apply(p, apply.Options{})
	s.must(s.account.SetActive("ANA", "AKIAANA1", true))
	r := s.apply(p, apply.Options{})
	s.status(r, journal.StatusStale)
	if why := r.Run.Steps[0].Last(); !strings.Contains(why, "again since run run-1") {
		t.Errorf("why: %s", why)
	}
}

func TestApply_exceptionAddedSinceThePlanIsHonoured(t *testing.T) {
	s := newStage(t, idle("ANA"))
	p := s.plan(plan.Options{})
	r := s.apply(p, apply.Options{Excepted: func(rules []string, u *fact.User, k *fact.Key) *finding.Exception {
		if len(rules) > 0 && u.Name == "ANA" && k.ID == "AKIAANA1" {
			return &finding.Exception{Owner: "ops@example.com", Reason: "migration", Expires: fact.At(start.Add(day))}
		}
		return nil
	}})
	s.status(r, journal.StatusStale)
	if why := r.Run.Steps[0].Last(); !strings.Contains(why, "ops@example.com") {
		t.Errorf("why: %s", why)
	}
}

func TestApply_refusesTheWholeRun(t *testing.T) {
	t.Run("older than a day", func(t *testing.T) {
		s := newStage(t, idle("ANA"))
		p := s.plan(plan.Options{})
		s.later(day + time.Second)
		s.refused(p, apply.Options{}, plan.GuardAge)
		s.status(s.apply(p, apply.Options{MaxAge: 2 * day}), journal.StatusDone)
	})
	t.Run("from the future", func(t *testing.T) {
		s := newStage(t, idle("ANA"))
		p := s.plan(plan.Options{})
		s.later(-time.Hour)
		s.refused(p, apply.Options{}, plan.GuardAge)
	})
	t.Run("another account", func(t *testing.T) {
		s := newStage(t, idle("ANA"))
		p := s.plan(plan.Options{})
		other := s.cloud.AddAccount(fact.Account{ID: "999900001111"})
		s.signs = other.Credential()
		if why, widen := s.refused(p, apply.Options{}, plan.GuardAccount); widen == "" || !strings.Contains(why, "999900001111") || !strings.Contains(why, account) {
			t.Errorf("the refusal names not both accounts: %s", why)
		}
	})
	t.Run("too many steps", func(t *testing.T) {
		var users []fakeaws.User
		for i := range 38 {
			users = append(users, idle("U"+string(rune('A'+i%26))+string(rune('A'+i/26))))
		}
		s := newStage(t, users...)
		p := s.plan(plan.Options{})
		if why, widen := s.refused(p, apply.Options{}, plan.GuardSteps); !strings.Contains(widen, "--max-steps 38") {
			t.Errorf("%s: how to widen: %s", why, widen)
		}
		s.refused(p, apply.Options{Limits: plan.Limits{Steps: 37}}, plan.GuardSteps)
		r := s.apply(p, apply.Options{Limits: plan.Limits{Steps: 38}})
		for i := range r.Run.Steps {
			if r.Run.Steps[i].Status() != journal.StatusDone {
				t.Fatalf("step %d: %s", i, r.Run.Steps[i].Status())
			}
		}
		// What an earlier run did counts no more.
		s.status(s.apply(p, apply.Options{}), repeat(journal.StatusAlready, 38)...)
	})
	t.Run("a permission is missing", func(t *testing.T) {
		s := newStage(t, idle("ANA"), idle("BOB"))
		p := s.plan(plan.Options{})
		s.signs = "AKIAREADONLY"
		s.account.Allow(s.signs, "iam:List*", "iam:Get*")
		if why, widen := s.refused(p, apply.Options{}, plan.GuardPermission); !strings.Contains(why, "iam:UpdateAccessKey") {
			t.Errorf("the refusal names no action: %s, %s", why, widen)
		}
	})
	t.Run("nothing decided", func(t *testing.T) {
		s := newStage(t, fakeaws.User{Name: "ANA", Created: ago(200 * day), Keys: []fakeaws.Key{
			{ID: "AKIAANA1", Created: ago(20 * day), LastUsed: ago(time.Hour)},
			{ID: "AKIAANA2", Created: ago(21 * day), LastUsed: ago(time.Hour)},
		}})
		p := s.plan(plan.Options{})
		if len(p.Steps) != 1 || !p.Steps[0].Open() {
			t.Fatalf("steps: %+v", p.Steps)
		}
		s.refused(p, apply.Options{}, plan.GuardGuidance)
	})
}

func only(user string) func(name, arn string) bool {
	return func(name, _ string) bool { return name == user }
}

func repeat(st journal.Status, n int) []journal.Status {
	out := make([]journal.Status, n)
	for i := range out {
		out[i] = st
	}
	return out
}

func TestApply_emptyPlanIsBadInput(t *testing.T) {
	s := newStage(t, fakeaws.User{Name: "ANA"})
	_, err := s.engine().Apply(s.ctx, s.plan(plan.Options{}), apply.Options{})
	var bad *plan.InputError
	if !errors.As(err, &bad) {
		t.Errorf("Apply: %v", err)
	}
	s.untouched()
}

func TestApply_guardsKeepSingleSteps(t *testing.T) {
	t.Run("own key", func(t *testing.T) {
		s := newStage(t, idle("ANA"), idle("BOB"))
		p := s.plan(plan.Options{})
		e := s.engine()
		e.OwnKeys = append(e.OwnKeys, "AKIAANA1")
		r, err := e.Apply(s.ctx, p, apply.Options{})
		s.must(err)
		s.status(r, journal.StatusRefused, journal.StatusDone)
		s.wantState("ANA", "AKIAANA1", journal.Active)
	})
	t.Run("session of the user", func(t *testing.T) {
		s := newStage(t, idle("ANA"), idle("BOB"))
		p := s.plan(plan.Options{})
		e := s.engine()
		e.OwnUsers = []fact.Caller{{ARN: "arn:aws:iam::" + account + ":user/ANA"}}
		r, err := e.Apply(s.ctx, p, apply.Options{})
		s.must(err)
		s.status(r, journal.StatusRefused, journal.StatusDone)
	})
	t.Run("a rotation has begun since the plan", func(t *testing.T) {
		s := newStage(t, idle("ANA"), idle("BOB"))
		p := s.plan(plan.Options{})
		now := s.cloud.Now()
		s.must(s.db.Ledger(store.Origin{}).Begin(s.ctx, &rotate.Rotation{
			ID: "rot-1", State: rotate.Requested, Account: account, User: "ANA", ARN: p.Steps[0].UserARN, UserID: p.Steps[0].UserID, Caller: "arn",
			Old: rotate.KeyRecord{ID: "AKIAANA1", Active: true, Created: p.Steps[0].Expect.CreatedAt}, StartedAt: now, ChangedAt: now, EnteredAt: now,
			Targets: []rotate.Target{{Name: "here", State: rotate.Pending}},
		}, rotate.Event{At: now, To: rotate.Requested}))
		s.status(s.apply(p, apply.Options{}), journal.StatusRefused, journal.StatusDone)
		s.wantState("ANA", "AKIAANA1", journal.Active)
	})
	t.Run("quarantined since the plan", func(t *testing.T) {
		s := newStage(t, idle("ANA"), idle("BOB"))
		p := s.plan(plan.Options{})
		s.must(s.account.Attach("ANA", "AWSCompromisedKeyQuarantineV3"))
		s.status(s.apply(p, apply.Options{}), journal.StatusRefused, journal.StatusDone)
		s.wantState("ANA", "AKIAANA1", journal.Active)
	})
}

func TestApply_lostAnswerIsFoundOutByLooking(t *testing.T) {
	for _, kind := range []fakeaws.Kind{fakeaws.ResetAfter, fakeaws.ErrorAfter, fakeaws.Truncate, fakeaws.Empty} {
		t.Run(string(kind), func(t *testing.T) {
			s := newStage(t, idle("ANA"))
			p := s.plan(plan.Options{})
			s.faulty("iam:UpdateAccessKey", kind)
			r := s.apply(p, apply.Options{})
			s.status(r, journal.StatusDone)
			s.wantState("ANA", "AKIAANA1", journal.Inactive)
		})
	}
}

// faulty strikes every call of the action but those of the preflight, which is one a user.
func (s *stage) faulty(action string, kind fakeaws.Kind) {
	s.cloud.OnCall(func(a string, phase fakeaws.Phase) {
		if a == action && phase == fakeaws.Answered {
			s.cloud.Inject(fakeaws.Fault{Kind: kind, Action: action})
			s.cloud.OnCall(nil)
		}
	})
}

func TestApply_callThatNeverArrivedFailsTheStep(t *testing.T) {
	for _, kind := range []fakeaws.Kind{fakeaws.ResetBefore, fakeaws.ErrorBefore} {
		t.Run(string(kind), func(t *testing.T) {
			s := newStage(t, idle("ANA"))
			p := s.plan(plan.Options{})
			s.faulty("iam:UpdateAccessKey", kind)
			s.status(s.apply(p, apply.Options{}), journal.StatusFailed)
			s.wantState("ANA", "AKIAANA1", journal.Active)
			s.cloud.Heal()
			s.status(s.apply(p, apply.Options{}), journal.StatusDone)
		})
	}
}

func TestApply_denialMidwayFailsTheStepAndTheOthersGoOn(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"))
	p := s.plan(plan.Options{})
	e := s.engine()
	e.Told = func(*journal.Step) { s.cloud.Heal() }
	denied := false
	s.cloud.OnCall(func(a string, phase fakeaws.Phase) {
		if a == "iam:GetAccessKeyLastUsed" && phase == fakeaws.Answered && !denied && s.preflightIsOver() {
			denied = true
			s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:UpdateAccessKey"})
		}
	})
	r, err := e.Apply(s.ctx, p, apply.Options{})
	s.must(err)
	s.status(r, journal.StatusFailed, journal.StatusDone)
	if why := r.Run.Steps[0].Last(); !strings.Contains(why, "iam:UpdateAccessKey") {
		t.Errorf("the denial names no action: %s", why)
	}
}

// preflightIsOver tells whether both users were asked about.
func (s *stage) preflightIsOver() bool {
	n := 0
	for _, c := range s.cloud.Calls() {
		if c.Action == "iam:UpdateAccessKey" {
			n++
		}
	}
	return n >= 2
}

func TestApply_readsBackUntilTheChangeShows(t *testing.T) {
	s := newStage(t, idle("ANA"))
	p := s.plan(plan.Options{})
	s.cloud.Set(fakeaws.Switches{StaleReads: 3})
	s.status(s.apply(p, apply.Options{}), journal.StatusDone)
	if !s.cloud.Now().After(start) {
		t.Error("it did not wait between looking")
	}
}

func TestApply_changeThatNeverShowsIsUnresolvedAndFoundOutByTheNextRun(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"))
	p := s.plan(plan.Options{Users: only("ANA")})
	s.cloud.Set(fakeaws.Switches{StaleReads: 10}) // as often as a run looks in its minute of patience
	r := s.apply(p, apply.Options{})
	s.status(r, journal.StatusUnresolved)
	s.apply(s.plan(plan.Options{Users: only("BOB")}), apply.Options{})
	run, err := s.db.Run(s.ctx, r.Run.ID)
	s.must(err)
	if got := run.Steps[0].Status(); got != journal.StatusDone {
		t.Errorf("the step is %s: %s", got, run.Steps[0].Last())
	}
}

func TestApply_dryRunChangesNothingAndRecordsNothing(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"))
	p := s.plan(plan.Options{})
	s.must(s.account.Use("BOB", "AKIABOB1", "s3", ""))
	r := s.apply(p, apply.Options{DryRun: true})
	if a, b := r.Run.Steps[0].Status(), r.Run.Steps[1].Status(); a != journal.StatusPlanned || b != journal.StatusStale {
		t.Errorf("steps: %s, %s", a, b)
	}
	s.untouched()
}

func TestApply_interruptFinishesTheStepUnderWayAndStops(t *testing.T) {
	s := newStage(t, idle("ANA"), idle("BOB"), idle("CAT"))
	p := s.plan(plan.Options{})
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	updates := 0
	s.cloud.OnCall(func(a string, phase fakeaws.Phase) {
		if a != "iam:UpdateAccessKey" || phase != fakeaws.Done {
			return
		}
		if updates++; updates == len(p.Steps)+1 { // the preflight asks once a user
			cancel() // while the first change is under way
		}
	})
	r, err := s.engine().Apply(ctx, p, apply.Options{})
	s.must(err)
	if !r.Interrupted {
		t.Error("not said to be interrupted")
	}
	s.status(r, journal.StatusDone, journal.StatusPlanned, journal.StatusPlanned)
	s.cloud.OnCall(nil)
	s.status(s.apply(p, apply.Options{}), journal.StatusAlready, journal.StatusDone, journal.StatusDone)
}
