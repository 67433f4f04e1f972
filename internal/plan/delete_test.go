package plan_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
)

func TestMake_deletesWhatWeDeactivatedOnceItWasQuiet(t *testing.T) {
	p := about(user("ana", off(key("A", 60*day, never)), key("B", 20*day, hour))).
		changed("ana", "A", journal.Deactivate, journal.Delete, 3*day).want(t, "delete ana A") // without any verdict
	s := p.Steps[0]
	if !s.NotBefore.Equal(now.Add(4*day)) || s.Expect.InactiveSince == nil || !s.Expect.InactiveSince.Equal(now.Add(-3*day)) || s.Expect.Status != plan.Inactive {
		t.Errorf("%+v", s)
	}
	if !slices.Equal(s.Because, []string{"old/A"}) || !slices.Equal(s.Rules, []string{"key-never-used"}) || s.Reversible {
		t.Errorf("%+v", s)
	}
	contains(t, s.Why, "deactivated 2026-11-19 09:00Z by run run1")
	contains(t, s.Risk, "never used in the 60 days", "cannot be undone")
}

func TestMake_quietPeriodIsThatOfTheOptions(t *testing.T) {
	s := about(user("ana", off(key("A", 60*day, never)))).changed("ana", "A", journal.Deactivate, journal.Delete, 3*day)
	s.opt.Quiet = 36 * hour
	p := s.want(t, "delete ana A")
	if !p.Steps[0].NotBefore.Equal(now.Add(-36*hour)) || p.Terms.Quiet != 36*3600 {
		t.Errorf("%+v", p)
	}
}

func TestMake_followsOnlyItsOwnDeactivations(t *testing.T) {
	const ago = 30 * day
	base := func() *story {
		return about(user("ana", off(key("A", 60*day, never)))).changed("ana", "A", journal.Deactivate, journal.Delete, ago)
	}
	for name, change := range map[string]func(*story, *journal.Change){
		"to be kept":             func(_ *story, c *journal.Change) { c.Step.Then = "" },
		"activated since":        func(_ *story, c *journal.Change) { c.State = journal.Active },
		"another user's":         func(_ *story, c *journal.Change) { c.Step.UserID = "AIDAOTHER" },
		"another key's":          func(_ *story, c *journal.Change) { c.Step.KeyCreated = c.Step.KeyCreated.Add(time.Second) },
		"active again":           func(s *story, _ *journal.Change) { s.in.Snapshot.Users[0].Keys[0].Active = true },
		"the user was not read":  func(s *story, _ *journal.Change) { s.in.Snapshot.Users = nil },
		"the key is not there":   func(s *story, _ *journal.Change) { s.in.Snapshot.Users[0].Keys = nil },
		"nothing in the journal": func(s *story, _ *journal.Change) { s.in.Changes = nil },
	} {
		s := base()
		c := s.in.Changes["A"]
		change(s, &c)
		if s.in.Changes != nil {
			s.in.Changes["A"] = c
		}
		if got := lines(s.make(t)); len(got) > 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
	base().want(t, "delete ana A")
	s := base() // the journal keeps whole seconds of what IAM states
	c := s.in.Changes["A"]
	c.Step.KeyCreated = c.Step.KeyCreated.Add(400 * time.Millisecond)
	s.in.Changes["A"] = c
	s.want(t, "delete ana A")
}

func TestMake_followUpOfAnUnsoundUserIsTold(t *testing.T) {
	s := about(user("ana", off(key("A", 60*day, never)))).changed("ana", "A", journal.Deactivate, journal.Delete, 30*day)
	s.in.Snapshot.Users[0].TagsRead = false
	s.want(t, "- incomplete ana A")
	s.in.OwnKeys = []string{"A"}
	s.in.Snapshot.Users[0].TagsRead = true
	s.want(t, "- own-key ana A")
}

func TestMake_doesNotDeleteWhatWasUsedSince(t *testing.T) {
	for _, c := range []struct {
		used time.Duration
		want string
	}{{3 * day, "delete ana A"}, {3*day - time.Second, "- used ana A"}} {
		for _, then := range []journal.Action{"", journal.Delete} {
			p := about(user("ana", off(key("A", 160*day, c.used)))).left("ana", "A").changed("ana", "A", journal.Deactivate, then, 3*day).want(t, c.want)
			if len(p.LeftOut) > 0 {
				contains(t, p.LeftOut[0].Why, "deactivated 2026-11-19 09:00Z", "used since: 2026-11-19 09:00Z by s3 in us-east-1")
			}
		}
	}
}

func TestMake_inactiveKeysOfOldNeedTrust(t *testing.T) {
	for name, c := range map[string]struct {
		key   fact.Key
		trust bool
		want  string
	}{
		"untrusted":                       {off(key("A", 100*day, never)), false, "- quiet-period ana A"},
		"trusted":                         {off(key("A", 100*day, never)), true, "delete ana A"},
		"made exactly the quiet period":   {off(key("A", 7*day, never)), true, "delete ana A"},
		"made a second later":             {off(key("A", 7*day-time.Second, never)), true, "- quiet-period ana A"},
		"used exactly the quiet period":   {off(key("A", 100*day, 7*day)), true, "delete ana A"},
		"used a second later":             {off(key("A", 100*day, 7*day-time.Second)), true, "- quiet-period ana A"},
		"used by a clock that is ahead":   {off(key("A", 100*day, -hour)), true, "- quiet-period ana A"},
		"used lately, and trust is asked": {off(key("A", 100*day, hour)), false, "- quiet-period ana A"},
	} {
		t.Run(name, func(t *testing.T) {
			s := about(user("ana", c.key)).left("ana", "A")
			s.opt.TrustInactive = c.trust
			p := s.want(t, c.want)
			if !c.trust {
				contains(t, p.LeftOut[0].Hint, "--trust-inactive")
			}
			if len(p.Steps) > 0 && (p.Steps[0].Expect.InactiveSince != nil || !p.Steps[0].NotBefore.Equal(now)) {
				t.Errorf("%+v", p.Steps[0])
			}
		})
	}
}

// An undo of ours switched the key on; somebody else switched it off later, nobody knows when.
func TestMake_trustDoesNotReachBehindOurOwnActivation(t *testing.T) {
	for ago, want := range map[time.Duration]string{7 * day: "delete ana A", 7*day - time.Second: "- quiet-period ana A"} {
		s := about(user("ana", off(key("A", 100*day, never)))).left("ana", "A").changed("ana", "A", journal.Activate, "", ago)
		s.opt.TrustInactive = true
		s.want(t, want)
	}
}

func TestMake_journalSaysSinceWhenAlsoWhereARuleAsks(t *testing.T) {
	p := about(user("ana", off(key("A", 100*day, never)))).left("ana", "A").changed("ana", "A", journal.Deactivate, "", 8*day).want(t, "delete ana A")
	s := p.Steps[0]
	if !s.NotBefore.Equal(now.Add(-day)) || s.Expect.InactiveSince == nil || !slices.Equal(s.Because, []string{"inactive-key/ana/A"}) {
		t.Errorf("%+v", s)
	}
	p = about(user("ana", off(key("A", 100*day, never)))).left("ana", "A").changed("ana", "A", journal.Deactivate, journal.Delete, 8*day).want(t, "delete ana A")
	if want := []string{"inactive-key/ana/A", "old/A"}; !slices.Equal(p.Steps[0].Because, want) {
		t.Errorf("because %q, want %q", p.Steps[0].Because, want)
	}
}

func TestMake_acceptedRiskKeepsAKeyFromBeingDeleted(t *testing.T) {
	s := about(user("ana", off(key("A", 100*day, never)))).changed("ana", "A", journal.Deactivate, journal.Delete, 8*day)
	var asked []string
	s.in.Excepted = func(rules []string, u *fact.User, k *fact.Key) *finding.Exception {
		asked = append(asked, rules[0], u.Name, k.ID)
		return &finding.Exception{Reason: "vendor needs it"}
	}
	p := s.want(t, "- exception ana A")
	contains(t, p.LeftOut[0].Why, "key-never-used", "vendor needs it")
	if !slices.Equal(asked, []string{"key-never-used", "ana", "A"}) || !slices.Equal(p.LeftOut[0].Because, []string{"old/A"}) {
		t.Errorf("asked %q, because %q", asked, p.LeftOut[0].Because)
	}
	s.left("ana", "A").want(t, "- exception ana A")
	s.in.Excepted = func([]string, *fact.User, *fact.Key) *finding.Exception { return nil }
	s.want(t, "delete ana A")
	s.says(finding.Excepted, "custom", finding.Delete, "ana", "A").want(t, "- exception ana A")
}

func TestMake_deletionWaitsForTheMomentJudgedWhereOnlyARuleAsks(t *testing.T) {
	for then, want := range map[journal.Action]time.Time{"": now.Add(20 * day), journal.Delete: now.Add(-day)} {
		s := about(user("ana", off(key("A", 80*day, never)))).left("ana", "A").changed("ana", "A", journal.Deactivate, then, 8*day)
		s.opt.AsOf = now.Add(20 * day)
		if got := s.want(t, "delete ana A").Steps[0].NotBefore; !got.Equal(want) {
			t.Errorf("then %q: not before %v, want %v", then, got, want)
		}
	}
}

// An undo of an undo deactivates again what a plan meant to delete in the end.
func TestMake_followsTheUndoOfAnUndoToo(t *testing.T) {
	s := about(user("ana", off(key("A", 100*day, never)))).changed("ana", "A", journal.Deactivate, journal.Delete, 8*day)
	c := s.in.Changes["A"]
	c.Undoing = true
	s.in.Changes["A"] = c
	p := s.want(t, "delete ana A")
	if st := p.Steps[0]; !st.NotBefore.Equal(now.Add(-day)) {
		t.Errorf("%+v", st)
	}
}

// A use shows late: also one from before the deactivation stops the deletion when nobody knew of it then.
func TestMake_neverDeletesAKeyWhoseUseShowedLate(t *testing.T) {
	for name, used := range map[string]time.Duration{"before": 8*day + 10*time.Minute, "since": 8*day - time.Minute} {
		s := about(user("ana", off(key("A", 100*day, used)))).changed("ana", "A", journal.Deactivate, journal.Delete, 8*day)
		c := s.in.Changes["A"]
		c.Step.LastUsed = time.Time{} // as the plan of the deactivation knew it
		s.in.Changes["A"] = c
		p := s.want(t, "- used ana A")
		if p.LeftOut[0].Hint == "" {
			t.Errorf("%s: no hint", name)
		}
		c.Step.LastUsed = now.Add(-used) // it was known, and somebody let the key go all the same
		s.in.Changes["A"] = c
		s.want(t, "delete ana A")
	}
}

func TestMake_followsUpOnlyWhatTheChosenRulesAskedFor(t *testing.T) {
	s := about(user("ana", off(key("A", 100*day, never)))).changed("ana", "A", journal.Deactivate, journal.Delete, 8*day)
	s.opt.Rules = []string{"multiple-active-keys"}
	s.want(t)
	s.opt.Rules = []string{"multiple-active-keys", "key-never-used"}
	s.want(t, "delete ana A")
}

// Three tiers of one kind that fail at once are one reason: the one that weighs most, and of equal ones the last.
func TestMake_saysOnceWhyWhereTiersOfOneKindFail(t *testing.T) {
	s := about(user("ana", key("A", 100*day, hour)))
	for i, severity := range []finding.Severity{finding.Low, finding.High, finding.Low} {
		s.says(finding.Fail, fmt.Sprintf("age-%d", i), finding.Rotate, "ana", "A")
		v := &s.in.Verdicts[len(s.in.Verdicts)-1]
		v.Kind, v.Severity, v.Message = "key-age", severity, fmt.Sprintf("tier %d", i)
	}
	p := s.want(t, "rotate ana A")
	if got := p.Steps[0]; got.Why != "tier 1" || len(got.Rules) != 3 {
		t.Errorf("why %q by %q", got.Why, got.Rules)
	}
}

func TestMake_saysTheQuietPeriodInItsOwnUnit(t *testing.T) {
	for quiet, want := range map[time.Duration]string{day: "for 1 day", 36 * hour: "for 36 hours", 90 * time.Minute: "for 90 minutes", 5400*time.Second + time.Second: "for 5401 seconds"} {
		s := about(user("ana", off(key("A", 100*day, time.Minute)))).left("ana", "A")
		s.opt.Quiet, s.opt.TrustInactive = quiet, true
		contains(t, s.want(t, "- quiet-period ana A").LeftOut[0].Why, want)
	}
}
