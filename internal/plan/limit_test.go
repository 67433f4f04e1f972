package plan_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/plan"
)

func TestLimits_allowed(t *testing.T) {
	for _, c := range []struct {
		l            plan.Limits
		active, want int
	}{
		{plan.Limits{}, 0, 3}, {plan.Limits{}, 39, 3}, {plan.Limits{}, 40, 4}, {plan.Limits{}, 249, 24}, {plan.Limits{}, 250, 25}, {plan.Limits{}, 9000, 25},
		{plan.Limits{Steps: 1}, 9000, 1}, {plan.Limits{Steps: 38}, 10, 38}, {plan.Limits{Steps: 500}, 0, 500},
		{plan.Limits{Share: 0.5}, 4, 3}, {plan.Limits{Share: 0.5}, 21, 10}, {plan.Limits{Share: 1}, 9000, 25}, {plan.Limits{Share: 0.29}, 50, 14}, {plan.Limits{Share: 0.29}, 100, 25},
		{plan.Limits{Steps: 100, Share: 0.29}, 100, 29}, {plan.Limits{Steps: 2, Share: 0.29}, 100, 2}, {plan.Limits{Steps: 2, Share: 0.01}, 1, 2}, {plan.Limits{Steps: 9, Share: 0.01}, 1, 3},
		{plan.Limits{}, -5, 3}, {plan.Limits{Share: math.NaN()}, 100, 10}, {plan.Limits{Share: math.Inf(1)}, 10, 10},
	} {
		if got := c.l.Allowed(c.active); got != c.want {
			t.Errorf("%+v of %d: %d, want %d", c.l, c.active, got, c.want)
		}
	}
}

func TestLimits_refusalSaysTheFlagThatWidensIt(t *testing.T) {
	for _, c := range []struct {
		l     plan.Limits
		widen string
		why   string
	}{
		{plan.Limits{}, "--max-steps 38", "the plan has 38 steps, and one run may have 10: 10 % of 100 active keys, and 3 at least, but no more than 25"},
		{plan.Limits{Steps: 30}, "--max-steps 38", "the plan has 38 steps, and one run may have 30: --max-steps says so"},
		{plan.Limits{Share: 0.2}, "--max-steps 38, without --max-share", "the plan has 38 steps, and one run may have 20: 20 % of 100 active keys, and 3 at least, but no more than 25"},
		{plan.Limits{Share: 0.5}, "--max-steps 38", "the plan has 38 steps, and one run may have 25: 50 % of 100 active keys, and 3 at least, but no more than 25"},
		{plan.Limits{Steps: 30, Share: 0.5}, "--max-steps 38", "the plan has 38 steps, and one run may have 30: the smaller of --max-steps 30 and 50 % of 100 active keys, and 3 at least"},
		{plan.Limits{Steps: 60, Share: 0.2}, "--max-steps 38, without --max-share", "the plan has 38 steps, and one run may have 20: the smaller of --max-steps 60 and 20 % of 100 active keys, and 3 at least"},
	} {
		var r *plan.Refusal
		if !errors.As(c.l.Check(38, 100), &r) || r.Guard != plan.GuardSteps || r.Hint() != c.widen || r.Error() != c.why {
			t.Errorf("%+v: %+v", c.l, r)
		}
		// The hint holds what it promises.
		widened := plan.Limits{Steps: 38, Share: c.l.Share}
		if c.widen != "--max-steps 38" {
			widened.Share = 0
		}
		if err := widened.Check(38, 100); err != nil {
			t.Errorf("%+v: widened as told, and refused again: %v", c.l, err)
		}
	}
	if err := (plan.Limits{}).Check(10, 100); err != nil {
		t.Error(err)
	}
}

func TestLimits_validateRefusesNonsense(t *testing.T) {
	for _, l := range []plan.Limits{{Steps: -1}, {Share: -0.1}, {Share: 1.01}, {Share: math.NaN()}} {
		var e *plan.InputError
		if !errors.As(l.Validate(), &e) {
			t.Errorf("%+v was taken", l)
		}
	}
	if err := (plan.Limits{Steps: 3, Share: 1}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestPlan_refusesToBeOldOrFromTheFuture(t *testing.T) {
	for _, c := range []struct {
		age, longest time.Duration
		fresh        bool
		widen        string
	}{
		{0, 0, true, ""}, {24 * hour, 0, true, ""}, {24*hour + 1, 0, false, "--max-plan-age 25h"}, {30*hour + 1, 0, false, "--max-plan-age 31h"},
		{30 * hour, 30 * hour, true, ""}, {2 * hour, hour, false, "--max-plan-age 2h"}, {-5 * time.Minute, 0, true, ""}, {-5*time.Minute - 1, 0, false, "clock"},
	} {
		p := &plan.Plan{CreatedAt: now.Add(-c.age)}
		err := p.Fresh(now, c.longest)
		var r *plan.Refusal
		if errors.As(err, &r) == c.fresh || c.fresh != (err == nil) {
			t.Errorf("%v of %v: %v", c.age, c.longest, err)
			continue
		}
		if r != nil {
			contains(t, r.Widen, c.widen)
			if r.Guard != plan.GuardAge {
				t.Errorf("guard %s", r.Guard)
			}
		}
	}
}

func TestPlan_refusesAnotherAccount(t *testing.T) {
	p := &plan.Plan{Accounts: []plan.Account{{ID: account}}}
	if err := p.For(account); err != nil {
		t.Error(err)
	}
	two := &plan.Plan{Accounts: []plan.Account{{ID: account}, {ID: "444455556666"}}}
	for p, other := range map[*plan.Plan]string{p: "999999999999", two: account, {}: account} {
		var r *plan.Refusal
		if !errors.As(p.For(other), &r) || r.Guard != plan.GuardAccount {
			t.Errorf("%+v for %s: %v", p.Accounts, other, r)
			continue
		}
		contains(t, r.Why, other)
	}
	contains(t, p.For("999999999999").Error(), account)
}

func TestPlan_countsEachStepOnce(t *testing.T) {
	p := sample(t)
	if got, want := p.Counts(), (plan.Counts{Deactivate: 1, Delete: 2, Rotate: 1, Undecided: 1, LeftOut: 2}); got != want || got.Steps() != len(p.Steps) {
		t.Errorf("got %+v of %q, want %+v", got, lines(p), want)
	}
	var due []string
	for _, s := range p.Due(now) {
		due = append(due, s.KeyID)
	}
	if len(due) != 2 || due[0] != "X" || due[1] != "D" {
		t.Errorf("due: %q", due)
	}
	if n := len(p.Due(now.Add(6 * day))); n != 3 {
		t.Errorf("due in six days: %d", n)
	}
}
