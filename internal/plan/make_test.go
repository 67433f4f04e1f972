package plan_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
)

func TestMake_oneKeyOneStep(t *testing.T) {
	for name, c := range map[string]struct {
		s    *story
		want []string
	}{
		"age":             {about(user("ana", key("A", 91*day, hour))).rotate("ana", "A"), []string{"rotate ana A"}},
		"unused":          {about(user("ana", key("A", 91*day, 50*day))).unused("ana", "A"), []string{"deactivate ana A"}},
		"both":            {about(user("ana", key("A", 91*day, 50*day))).rotate("ana", "A").unused("ana", "A"), []string{"deactivate ana A"}},
		"never used, old": {about(user("ana", key("A", 91*day, never))).rotate("ana", "A"), []string{"rotate ana A"}},
		"excepted never asks": {about(user("ana", key("A", 91*day, 50*day))).says(finding.Excepted, "key-unused-45", finding.Deactivate, "ana", "A"),
			[]string{}},
		"unknown never asks": {about(user("ana", key("A", 91*day, 50*day))).says(finding.Unknown, "key-unused-45", "", "ana", "A"), []string{}},
		"a rule that asks to delete an active key": {
			about(user("ana", key("A", 91*day, 50*day))).says(finding.Fail, "custom", finding.Delete, "ana", "A"), []string{"deactivate ana A"},
		},
		"a rule that asks to rotate an inactive key": {
			about(user("ana", off(key("A", 91*day, 50*day)))).says(finding.Fail, "custom", finding.Rotate, "ana", "A"), []string{"- guidance ana A"},
		},
		"a rule that speaks of the user": {
			about(user("ana", key("A", 91*day, 50*day))).says(finding.Fail, "custom", finding.Deactivate, "ana", ""), []string{"- guidance ana"},
		},
		"a rule that asks to keep one, of a key": {
			about(user("ana", key("A", 91*day, 50*day))).says(finding.Fail, "custom", finding.KeepOne, "ana", "A"), []string{"- guidance ana A"},
		},
		"a rule that says nothing": {
			about(user("ana", key("A", 91*day, 50*day))).says(finding.Fail, "custom", "", "ana", "A"), []string{"- guidance ana A"},
		},
	} {
		t.Run(name, func(t *testing.T) { c.s.want(t, c.want...) })
	}
}

func TestMake_deactivationAnswersEveryVerdictAboutTheKeyAndIsFollowed(t *testing.T) {
	p := about(user("ana", key("A", 91*day, 50*day), key("B", 10*day, hour))).many("ana").rotate("ana", "A").unused("ana", "A").
		want(t, "deactivate ana A")
	s := p.Steps[0]
	if want := []string{"key-age-90/ana/A", "key-unused-45/ana/A", "multiple-active-keys/ana/"}; !slices.Equal(s.Because, want) {
		t.Errorf("because %q, want %q", s.Because, want)
	}
	if want := []string{"key-age-90", "key-unused-45", "multiple-active-keys"}; !slices.Equal(s.Rules, want) {
		t.Errorf("rules %q, want %q", s.Rules, want)
	}
	used := now.Add(-50 * day)
	other := now.Add(-hour)
	want := plan.Expect{Status: plan.Active, CreatedAt: now.Add(-91 * day), LastUsedAt: &used, Siblings: []plan.Sibling{
		{KeyID: "B", Status: plan.Active, CreatedAt: now.Add(-10 * day), LastUsedAt: &other},
	}}
	if d := cmp.Diff(want, s.Expect); d != "" {
		t.Error(d)
	}
	if s.Then != plan.Delete || !s.Reversible || !s.NotBefore.Equal(now) || s.UserID != "AIDAANA" || s.Account != account {
		t.Errorf("%+v", s)
	}
}

func TestMake_ordersStepsAndChainsThoseOfOneUser(t *testing.T) {
	p := about(
		user("bob", key("R", 300*day, hour), key("D", 200*day, 100*day), off(key("X", 400*day, never)), key("E", 100*day, 99*day)),
		user("ana", key("A", 100*day, 99*day)),
	).left("bob", "X").rotate("bob", "R").unused("bob", "D").unused("bob", "E").unused("ana", "A").changed("bob", "X", journal.Deactivate, "", 10*day).
		want(t, "deactivate ana A", "delete bob X", "deactivate bob D", "deactivate bob E", "rotate bob R")
	ids := map[string]string{}
	for _, s := range p.Steps {
		ids[s.KeyID] = s.ID
	}
	for key, want := range map[string][]string{"A": {}, "X": {}, "D": {ids["X"]}, "E": {ids["D"]}, "R": {ids["E"]}} {
		if got := p.Step(ids[key]).DependsOn; !slices.Equal(got, want) {
			t.Errorf("%s depends on %q, want %q", key, got, want)
		}
	}
}

func TestMake_nothingWaitsForAStepThatIsDueLater(t *testing.T) {
	p := about(user("bob", off(key("X", 400*day, never)), key("D", 200*day, 100*day), key("E", 100*day, hour))).
		unused("bob", "D").changed("bob", "X", journal.Deactivate, journal.Delete, day).want(t, "delete bob X", "deactivate bob D")
	if d := p.Steps[1].DependsOn; len(d) != 0 {
		t.Errorf("the deactivation waits for %q, which is due in 6 days", d)
	}
}

func TestMake_nothingDependsOnAChoiceOrARotation(t *testing.T) {
	p := about(user("bob", key("A", 200*day, hour), key("B", 100*day, hour), key("C", 100*day, 60*day))).
		many("bob").rotate("bob", "A").rotate("bob", "B").unused("bob", "C").
		want(t, "deactivate bob C", "choose bob", "rotate bob A", "rotate bob B")
	for _, s := range p.Steps[1:] {
		if !slices.Equal(s.DependsOn, []string{p.Steps[0].ID}) {
			t.Errorf("%s %s depends on %q", s.Action, s.KeyID, s.DependsOn)
		}
	}
}

func TestMake_deletesAtOnceOnlyWhatWasNeverUsedAndIsOldEnough(t *testing.T) {
	for name, c := range map[string]struct {
		key  fact.Key
		now  bool
		want string
	}{
		"exactly the grace":    {key("A", 7*day, never), true, "delete ana A"},
		"a second younger":     {key("A", 7*day-time.Second, never), true, "deactivate ana A"},
		"used":                 {key("A", 300*day, 299*day), true, "deactivate ana A"},
		"without --delete-now": {key("A", 300*day, never), false, "deactivate ana A"},
	} {
		t.Run(name, func(t *testing.T) {
			s := about(user("ana", c.key)).unused("ana", "A")
			s.opt.DeleteNow = c.now
			p := s.want(t, c.want)
			if d := p.Steps[0]; d.Action == plan.Delete && (d.Reversible || d.Expect.Status != plan.Active || d.Then != "" || d.Expect.InactiveSince != nil) {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestMake_acceptedRiskKeepsAKeyFromBeingDeletedAtOnce(t *testing.T) {
	s := about(user("ana", key("A", 300*day, never))).unused("ana", "A").says(finding.Excepted, "key-age-90", finding.Rotate, "ana", "A")
	s.opt.DeleteNow = true
	s.want(t, "deactivate ana A")
}

func TestMake_stepsWaitForTheMomentThatWasJudged(t *testing.T) {
	for _, asOf := range []time.Time{now.Add(-30 * day), now, now.Add(30 * day)} {
		s := about(user("ana", key("A", 91*day, 50*day), off(key("X", 200*day, never)))).unused("ana", "A").left("ana", "X")
		s.opt.AsOf, s.opt.TrustInactive = asOf, true
		p := s.want(t, "delete ana X", "deactivate ana A")
		want := now
		if asOf.After(now) {
			want = asOf
		}
		for _, st := range p.Steps {
			if !st.NotBefore.Equal(want) {
				t.Errorf("as of %v: %s not before %v, want %v", asOf, st.Action, st.NotBefore, want)
			}
		}
	}
}

func TestMake_idsStayTheSame(t *testing.T) {
	one := about(user("ana", key("A", 91*day, 50*day))).unused("ana", "A").make(t)
	s := about(user("abe", key("Z", 91*day, 50*day)), user("ana", key("A", 91*day, 50*day))).unused("abe", "Z").unused("ana", "A").rotate("ana", "A")
	s.opt.Now = now.Add(50 * hour)
	two := s.make(t)
	if one.Steps[0].ID != two.Steps[1].ID || len(one.Steps[0].ID) != 8 {
		t.Errorf("%s and %s", one.Steps[0].ID, two.Steps[1].ID)
	}
	// The golden value: a step is found again by the next version.
	if got := one.Steps[0].ID; got != goldenID {
		t.Errorf("id %s, want %s", got, goldenID)
	}
}

func TestShorten_growsOnlyWhereTwoBeginAlike(t *testing.T) {
	got := plan.Shorten([]string{"aaaaaaaabb00", "cccccccccccc", "aaaaaaaabc00", "aaaaaaaad000"})
	if want := []string{"aaaaaaaabb", "cccccccc", "aaaaaaaabc", "aaaaaaaad"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMake_narrowsToStepsAndUsers(t *testing.T) {
	s := about(user("ana", key("A", 91*day, 50*day), key("B", 90*day, 50*day)), user("bob", key("C", 91*day, 50*day)), root()).
		says(finding.Fail, "root-access-key", finding.Guide, fact.RootName, "").unused("ana", "A").unused("ana", "B").unused("bob", "C")
	p := s.want(t, "deactivate ana A", "deactivate ana B", "deactivate bob C", "- root <root_account>")
	s.opt.Only = []string{p.Steps[1].ID[:4], p.Steps[2].ID}
	only := s.want(t, "deactivate ana B", "deactivate bob C")
	if len(only.Steps[0].DependsOn) != 0 || only.LeftOut == nil {
		t.Errorf("%+v", only)
	}
	s.opt.Only = nil
	s.opt.Users = func(name, arn string) bool { return name == "bob" && arn == "arn:aws:iam::"+account+":user/bob" }
	s.want(t, "deactivate bob C")
}

func TestMake_reportsEveryMistakenIdAtOnce(t *testing.T) {
	s := about(user("ana", key("A", 91*day, hour), key("B", 90*day, hour)), user("bob", key("C", 91*day, 50*day))).many("ana").unused("bob", "C")
	s.opt.Keep, s.opt.AllowUsed, s.opt.Only = []string{"A", "B", "C", "NONE"}, []string{"NADA"}, []string{"ffff0000"}
	e := s.inputError(t)
	contains(t, e.Problem, "--keep A, B: user \"ana\" may have 1 active key", "--keep C: there is nothing to choose", "--keep NONE: account "+account+" has no such key",
		"--allow-used NADA", "--only ffff0000: the plan has no such step")
	if e.Hint == "" {
		t.Error("no hint")
	}
}

func TestMake_onlyRefusesAPrefixThatMeansSeveral(t *testing.T) {
	const users = 2000 // so that some two ids begin with the same four digits
	var all []fact.User
	for i := range users {
		all = append(all, user(fmt.Sprintf("u%04d", i), key(fmt.Sprintf("K%04d", i), 91*day, 50*day)))
	}
	s := about(all...)
	for i := range users {
		s.unused(all[i].Name, all[i].Keys[0].ID)
	}
	seen := map[string]bool{}
	for _, st := range s.make(t).Steps {
		if seen[st.ID[:4]] {
			s.opt.Only = []string{st.ID[:4]}
			contains(t, s.inputError(t).Problem, "--only "+st.ID[:4]+" means ", " steps: ", st.ID)
			return
		}
		seen[st.ID[:4]] = true
	}
	t.Error("no two ids begin alike")
}

func TestOptions_reportsEveryMistakeAtOnce(t *testing.T) {
	o := plan.Options{Settling: -1, Quiet: -day, Grace: time.Millisecond, Keep: []string{""}, AllowUsed: []string{""}, Only: []string{"abc"}}
	var e *plan.InputError
	if !errors.As(o.Validate(), &e) {
		t.Fatal("no InputError")
	}
	contains(t, e.Problem, "no time", "settling time is negative", "quiet period is negative", "grace is not in whole seconds", "--keep with an empty", "--allow-used with an empty", `--only "abc"`)
	if err := (&plan.Options{Now: now}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestMake_refusesEvidenceThatNoPlanMayRestOn(t *testing.T) {
	for name, change := range map[string]func(*plan.Input){
		"none":            func(in *plan.Input) { in.Snapshot = nil },
		"no account":      func(in *plan.Input) { in.Snapshot.Account.ID = "" },
		"a report":        func(in *plan.Input) { in.Snapshot.Evidence.Source = fact.Report },
		"no time":         func(in *plan.Input) { in.Snapshot.Evidence.ReadAt = fact.Time{} },
		"another account": func(in *plan.Input) { in.Caller.Account.ID = "999" },
		"foreign verdict": func(in *plan.Input) { in.Verdicts[0].Account.ID = "999" },
	} {
		s := about(user("ana", key("A", 91*day, 50*day))).unused("ana", "A")
		change(&s.in)
		if p, err := plan.Make(s.in, s.opt); err == nil || p != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

func TestMake_describesTheEvidence(t *testing.T) {
	s := about(user("ana", key("A", 91*day, 50*day), off(key("B", 91*day, never))), root())
	p := s.make(t)
	want := plan.Account{
		ID: account, Partition: "aws", Name: "prod", Caller: s.in.Caller.ARN, Source: "live", ReadAt: now.Add(-time.Minute), Complete: true,
		Users: 1, Keys: 2, ActiveKeys: 1,
	}
	if d := cmp.Diff([]plan.Account{want}, p.Accounts); d != "" {
		t.Error(d)
	}
	if p.Schema != plan.Schema || p.Terms != (plan.Terms{Settling: 604800, Quiet: 604800}) || !p.AsOf.Equal(now) || p.Tool.Version != "1.2.3" {
		t.Errorf("%+v", p)
	}
	for name, change := range map[string]func(*fact.Snapshot){
		"users":      func(s *fact.Snapshot) { s.UsersRead = false },
		"quarantine": func(s *fact.Snapshot) { s.QuarantineRead = false },
		"gap":        func(s *fact.Snapshot) { s.Gaps = []fact.Gap{{}} },
		"tags":       func(s *fact.Snapshot) { s.Users[0].TagsRead = false },
	} {
		s := about(user("ana"), user("bob", key("B", 91*day, 50*day))).unused("bob", "B")
		change(s.in.Snapshot)
		p := s.want(t, "deactivate bob B") // whoever was wholly read gets steps
		if p.Accounts[0].Complete {
			t.Errorf("%s: called complete", name)
		}
	}
}

func TestMake_riskSentences(t *testing.T) {
	global := key("A", 91*day, 3*hour)
	global.LastUsed.Region = "N/A"
	for _, c := range []struct {
		key    fact.Key
		remedy finding.Remedy
		now    bool
		want   string
	}{
		{key("A", 91*day, 3*hour), finding.Deactivate, false, "used 3 hours ago by s3 in us-east-1; sessions made with it may live up to 36 hours"},
		{global, finding.Deactivate, false, "used 3 hours ago by s3; sessions made with it may live up to 36 hours"},
		{key("A", 91*day, 60*day), finding.Deactivate, false, "used 60 days ago by s3 in us-east-1"},
		{key("A", 210*day, never), finding.Deactivate, false, "never used in the 210 days since it was made"},
		{key("A", 210*day, never), finding.Deactivate, true, "never used in the 210 days since it was made; deleting it cannot be undone"},
		{key("A", 210*day, -hour), finding.Rotate, false, "used 1 minute ago by s3 in us-east-1; whatever uses it needs the new key before this one goes"},
	} {
		s := about(user("ana", c.key, key("B", 10*day, hour))).says(finding.Fail, "r", c.remedy, "ana", "A")
		s.opt.DeleteNow = c.now
		if got := s.make(t).Steps[0].Risk; got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

const goldenID = "c8b0e2d6"
