package plan_test

import (
	"slices"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/plan"
)

func TestMake_keepsTheKeyThatWorks(t *testing.T) {
	second := time.Second
	for name, c := range map[string]struct {
		keys []fact.Key
		want []string
		why  string // of the first step
	}{
		"one in use":                     {[]fact.Key{key("A", 60*day, 40*day), key("B", 20*day, hour)}, []string{"deactivate ana A"}, "B is kept: it is the one in use"},
		"used exactly the settling time": {[]fact.Key{key("A", 60*day, 40*day), key("B", 20*day, 7*day)}, []string{"deactivate ana A"}, "the one in use"},
		"none in use":                    {[]fact.Key{key("A", 60*day, 40*day), key("B", 20*day, 7*day+second)}, []string{"deactivate ana A"}, "it is the one used last"},
		"both in use":                    {[]fact.Key{key("A", 60*day, 7*day), key("B", 20*day, hour)}, []string{"choose ana"}, ""},
		"both idle":                      {[]fact.Key{key("A", 60*day, 7*day+second), key("B", 20*day, hour)}, []string{"deactivate ana A"}, ""},
		"tie":                            {[]fact.Key{key("A", 60*day, 40*day), key("B", 50*day, 40*day)}, []string{"choose ana"}, ""},
		"tie beside a later use":         {[]fact.Key{key("A", 60*day, 40*day), key("B", 50*day, 40*day), key("C", 30*day, 20*day)}, []string{"deactivate ana A", "deactivate ana B"}, "C is kept"},
		"none ever used":                 {[]fact.Key{key("A", 60*day, never), key("B", 50*day, never)}, []string{"choose ana"}, ""},
		"the other is too young":         {[]fact.Key{key("A", 60*day, hour), key("B", 7*day, never)}, []string{"choose ana"}, ""},
		"the other is old enough":        {[]fact.Key{key("A", 60*day, hour), key("B", 7*day+second, never)}, []string{"deactivate ana B"}, "A is kept"},
		"the kept one is just made":      {[]fact.Key{key("A", 60*day, 50*day), key("B", hour, hour)}, []string{"deactivate ana A"}, "B is kept"},
		"exactly 90 days old":            {[]fact.Key{key("A", 90*day, hour), key("B", 20*day, never)}, []string{"deactivate ana B"}, "A is kept"},
		"over 90 days old":               {[]fact.Key{key("A", 90*day+second, hour), key("B", 20*day, never)}, []string{"choose ana"}, ""},
		"none under 90 days old":         {[]fact.Key{key("A", 90*day+second, hour), key("B", 91*day, never)}, []string{"deactivate ana B"}, "none is under 90 days old"},
		"an inactive one does not count": {[]fact.Key{key("A", 60*day, hour), key("B", 50*day, 40*day), off(key("C", 60*day, hour))}, []string{"deactivate ana B"}, "A is kept"},
	} {
		t.Run(name, func(t *testing.T) {
			p := about(user("ana", c.keys...)).many("ana").want(t, c.want...)
			for _, s := range p.Steps {
				if !s.Open() && (s.Then != "" || s.Action != plan.Deactivate) {
					t.Errorf("%+v: no way back", s)
				}
			}
			contains(t, p.Steps[0].Why, c.why)
		})
	}
}

func TestMake_leavesAChoiceOpen(t *testing.T) {
	p := about(user("ana", key("B", 20*day, 3*hour), key("A", 100*day, 2*day), off(key("X", 300*day, never)))).many("ana").rotate("ana", "A").
		want(t, "choose ana", "rotate ana A")
	s := p.Steps[0]
	contains(t, s.Undecided, "both were used in the last 7 days: A used 2 days ago by s3 in us-east-1, B used 3 hours ago")
	if s.KeyID != "" || s.Action != plan.Deactivate || !slices.Equal(s.Choices, []string{"A", "B"}) || !s.Expect.CreatedAt.Equal(now.Add(-100*day)) || s.Expect.Status != plan.Active {
		t.Errorf("%+v", s)
	}
	var others []string
	for _, b := range s.Expect.Siblings {
		others = append(others, b.KeyID)
	}
	if !slices.Equal(others, []string{"X", "A", "B"}) || s.Reversible != true || s.Then != "" {
		t.Errorf("siblings %q in %+v", others, s)
	}
}

func TestMake_keepDecides(t *testing.T) {
	s := about(user("ana", key("A", 100*day, hour), key("B", 20*day, hour))).many("ana").rotate("ana", "A").rotate("ana", "B")
	s.opt.Keep = []string{"B"}
	p := s.want(t, "deactivate ana A", "rotate ana B") // one step a key: A is no longer rotated, and can come back
	if d := p.Steps[0]; d.Then != "" || !slices.Equal(d.Because, []string{"key-age-90/ana/A", "multiple-active-keys/ana/"}) {
		t.Errorf("%+v", d)
	}
	contains(t, p.Steps[0].Why, "B kept, as --keep says")
	// Also against the choice that keyreeve would make.
	s = about(user("ana", key("A", 60*day, hour), key("B", 50*day, 30*day))).many("ana")
	s.opt.Keep = []string{"B"}
	s.want(t, "deactivate ana A")
}

func TestMake_keepNeedsAsManyAsMayStay(t *testing.T) {
	keys := []fact.Key{key("A", 60*day, hour), key("B", 50*day, 30*day), key("C", 40*day, 30*day)}
	for _, facts := range []map[string]any{{"limit": 2}, {"max_active": 2.0}, {"limit": int64(2)}} {
		s := about(user("ana", keys...)).many("ana")
		s.in.Verdicts[0].Facts = facts
		contains(t, s.want(t, "choose ana").Steps[0].Undecided, "2 of 3 active keys may stay, and --keep names 0")
		s.opt.Keep = []string{"A"}
		s.want(t, "choose ana")
		s.opt.Keep = []string{"A", "C"}
		s.want(t, "deactivate ana B")
		s.opt.Keep = []string{"A", "B", "C"}
		_ = s.inputError(t)
	}
}

func TestMake_keysThatGoAnywayAreNoChoice(t *testing.T) {
	p := about(user("ana", key("A", 60*day, 50*day), key("B", 20*day, hour))).many("ana").unused("ana", "A").want(t, "deactivate ana A")
	if s := p.Steps[0]; !slices.Contains(s.Because, "multiple-active-keys/ana/") || s.Then != plan.Delete {
		t.Errorf("%+v", s)
	}
	s := about(user("ana", key("A", 60*day, 50*day), key("B", 20*day, hour))).many("ana").unused("ana", "A")
	s.opt.Keep = []string{"B"}
	contains(t, s.inputError(t).Problem, "nothing to choose")
}

func TestMake_acceptedRiskIsNotChosenAgainst(t *testing.T) {
	keys := []fact.Key{key("A", 60*day, 50*day), key("B", 20*day, hour)}
	p := about(user("ana", keys...)).many("ana").says(finding.Excepted, "key-unused-45", finding.Deactivate, "ana", "A").want(t, "choose ana")
	contains(t, p.Steps[0].Undecided, "accepted risk")
	about(user("ana", keys...)).many("ana").says(finding.Excepted, "key-age-15", finding.Rotate, "ana", "B").want(t, "deactivate ana A")
}

func TestMake_keepOneWithoutAChoiceIsForAPerson(t *testing.T) {
	s := about(user("ana", key("A", 60*day, 50*day))).many("ana")
	s.in.Verdicts[0].Facts["limit"] = 0
	s.want(t, "- guidance ana")
}

func TestMake_usesAfterThePastMomentJudgedCount(t *testing.T) {
	s := about(user("ana", key("A", 160*day, 40*day), key("B", 120*day, hour))).many("ana")
	s.opt.AsOf = now.Add(-45 * day) // then both were in use, as far as anybody can tell now
	s.want(t, "choose ana")
}

func TestMake_keysDoNotGrowYoungerInAPastMoment(t *testing.T) {
	s := about(user("ana", key("A", 95*day, hour), key("B", 60*day, never))).many("ana")
	s.opt.AsOf = now.Add(-10 * day)
	contains(t, s.want(t, "choose ana").Steps[0].Undecided, "A works but is 95 days old, and B is under 90 days old")
}

func TestMake_stepsWithoutAChoiceStayBesideOneThatKeepsTwoOfThree(t *testing.T) {
	s := about(user("ana", key("A", 60*day, hour), key("B", 50*day, 2*hour), key("C", 40*day, 30*day))).many("ana").unused("ana", "C")
	p := s.want(t, "deactivate ana C", "choose ana")
	for _, st := range p.Steps {
		if !slices.Contains(st.Because, "multiple-active-keys/ana/") {
			t.Errorf("%s %s does not say that it helps: %q", st.Action, st.KeyID, st.Because)
		}
	}
	contains(t, about(user("ana", key("A", 60*day, hour), key("B", 50*day, 2*hour), key("C", 40*day, 30*day))).many("ana").make(t).Steps[0].Undecided,
		"2 of 3 were used in the last 7 days: A used 60 minutes ago")
}

func TestMake_theStrictestOfSeveralLimitsHolds(t *testing.T) {
	s := about(user("ana", key("A", 60*day, hour), key("B", 50*day, 30*day), key("C", 40*day, 20*day))).many("ana").
		says(finding.Fail, "two-at-most", finding.KeepOne, "ana", "")
	s.in.Verdicts[0].Facts, s.in.Verdicts[1].Facts = map[string]any{"limit": 1}, map[string]any{"limit": 2}
	s.want(t, "deactivate ana B", "deactivate ana C")
}
