package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
)

func TestMake_neverTouchesTheKeyItRunsWith(t *testing.T) {
	s := about(user("ana", key("A", 91*day, 50*day), key("B", 91*day, 50*day)), user("bob", off(key("C", 91*day, 50*day)))).
		unused("ana", "A").rotate("ana", "B").left("bob", "C")
	s.opt.TrustInactive = true
	s.in.OwnKeys = []string{"A", "B", "C"}
	p := s.want(t, "- own-key ana A", "- own-key ana B", "- own-key bob C")
	contains(t, p.LeftOut[0].Hint, "other credentials")

	// A session of a user does not tell which of its keys it was made with.
	s = about(user("ana", key("A", 91*day, 50*day), key("B", 91*day, 50*day)), user("anabel", key("C", 91*day, 50*day))).
		unused("ana", "A").rotate("ana", "B").unused("anabel", "C")
	s.in.Caller.ARN = "arn:aws:iam::" + account + ":user/ana"
	s.want(t, "deactivate ana A", "rotate ana B", "deactivate anabel C")
	s.in.OwnUsers = []fact.Caller{{ARN: "arn:aws:iam::999900001111:user/eve"}, s.in.Caller}
	s.want(t, "deactivate anabel C", "- own-key ana A", "- own-key ana B")
	s.in.OwnUsers = []fact.Caller{{ARN: "arn:aws:iam::" + account + ":user/renamed", ID: "AIDAANA"}}
	s.want(t, "deactivate anabel C", "- own-key ana A", "- own-key ana B")
}

func TestMake_neverChoosesAgainstTheKeyItRunsWith(t *testing.T) {
	s := about(user("ana", key("A", 60*day, 50*day), key("B", 20*day, hour))).many("ana")
	s.in.OwnKeys = []string{"A"}
	s.want(t, "- own-key ana A")
	s = about(user("ana", key("A", 60*day, hour), key("B", 20*day, hour))).many("ana")
	s.in.OwnKeys = []string{"A", "B"}
	s.want(t, "- own-key ana")
}

func TestMake_neverTouchesRoot(t *testing.T) {
	r := root()
	r.Keys, r.KeysRead = []fact.Key{key("R", 400*day, 399*day)}, true
	p := about(r).says(finding.Fail, "root-access-key", finding.Guide, fact.RootName, "").says(finding.Fail, "custom", finding.Delete, fact.RootName, "R").
		want(t, "- root <root_account>", "- root <root_account> R")
	if got := p.LeftOut[0].Hint; got != "keyreeve rules show root-access-key lists the steps" {
		t.Error(got)
	}
}

func TestMake_neverTouchesAQuarantinedUser(t *testing.T) {
	u := user("ana", key("A", 91*day, 50*day), off(key("B", 91*day, never)))
	u.Quarantine = fact.Yes
	u.TagsRead = false // quarantine is the reason that is told
	p := about(u).says(finding.Fail, "exposed-key", finding.Guide, "ana", "").unused("ana", "A").many("ana").
		says(finding.Fail, "password-and-key", finding.Guide, "ana", "").changed("ana", "B", journal.Deactivate, journal.Delete, 30*day).
		make(t)
	for _, l := range p.LeftOut {
		if l.Guard != plan.GuardQuarantine {
			t.Errorf("%+v", l)
		}
	}
	if len(p.Steps) > 0 || len(p.LeftOut) < 3 {
		t.Errorf("%q", lines(p))
	}
}

func TestMake_whatIsLeftOutTogetherNamesAllReasons(t *testing.T) {
	u := user("ana", off(key("B", 91*day, never)))
	u.Quarantine = fact.Yes
	p := about(u).left("ana", "B").changed("ana", "B", journal.Deactivate, journal.Delete, 30*day).want(t, "- quarantined ana B")
	if want := []string{"inactive-key/ana/B", "old/B"}; !slices.Equal(p.LeftOut[0].Because, want) {
		t.Errorf("because %q, want %q", p.LeftOut[0].Because, want)
	}
}

func TestMake_exposedKeyAndOtherGuidanceAreForAPerson(t *testing.T) {
	p := about(user("ana", key("A", 91*day, 50*day))).says(finding.Fail, "exposed-key", finding.Guide, "ana", "").
		says(finding.Fail, "password-and-key", finding.Guide, "ana", "").want(t, "- guidance ana", "- quarantined ana")
	contains(t, p.LeftOut[0].Hint, "keyreeve rules show password-and-key")
}

func TestMake_neverTouchesAUserNotWhollyRead(t *testing.T) {
	for want, change := range map[string]func(*fact.User){
		"its keys":                    func(u *fact.User) { u.KeysRead = false },
		"when A was last used":        func(u *fact.User) { u.Keys[0].LastUsed.At = fact.Time{} },
		"when B was last used":        func(u *fact.User) { u.Keys[1].LastUsed.At = fact.Time{} },
		"when B was made":             func(u *fact.User) { u.Keys[1].Created = fact.Time{} },
		"the id of a key":             func(u *fact.User) { u.Keys[1].ID = "" },
		"its unique id":               func(u *fact.User) { u.ID = "" },
		"its ARN":                     func(u *fact.User) { u.ARN = "" },
		"whether it has a password":   func(u *fact.User) { u.Password = fact.Unknown },
		"its tags":                    func(u *fact.User) { u.TagsRead = false },
		"whether it is quarantined":   func(u *fact.User) { u.Quarantine = fact.Unknown },
		"its tags, whether it is qua": func(u *fact.User) { u.TagsRead, u.Quarantine = false, fact.Unknown },
	} {
		s := about(user("ana", key("A", 91*day, 50*day), key("B", 91*day, 50*day))).unused("ana", "A").many("ana")
		change(&s.in.Snapshot.Users[0])
		p := s.make(t)
		if len(p.Steps) > 0 || len(p.LeftOut) == 0 || p.Accounts[0].Complete {
			t.Errorf("%s: %q", want, lines(p))
			continue
		}
		for _, l := range p.LeftOut {
			if l.Guard != plan.GuardIncomplete || !strings.Contains(l.Why, want) {
				t.Errorf("%s: %+v", want, l)
			}
		}
	}
}

func TestMake_neverTouchesAUserOrKeyThatTheEvidenceLacks(t *testing.T) {
	s := about(user("ana", key("A", 91*day, 50*day))).unused("bob", "B").unused("ana", "A")
	s.in.Verdicts[1].Key = &fact.Key{ID: "GONE", Active: true}
	s.want(t, "- incomplete ana", "- incomplete bob")
}

func TestMake_waitsForADeletionToShow(t *testing.T) {
	p := about(user("ana", key("A", 91*day, 50*day))).unused("ana", "A").changed("ana", "A", journal.Delete, "", time.Minute).
		want(t, "- incomplete ana A")
	contains(t, p.LeftOut[0].Why, "deleted 2026-11-22 08:59Z by run run1")
}

func TestMake_neverTakesTheLastActiveKeyInUse(t *testing.T) {
	for name, c := range map[string]struct {
		keys  []fact.Key
		allow []string
		want  []string
	}{
		"used exactly the settling time ago":           {[]fact.Key{key("A", 91*day, 7*day)}, nil, []string{"- last-active-key ana A"}},
		"used a second longer ago":                     {[]fact.Key{key("A", 91*day, 7*day+time.Second)}, nil, []string{"deactivate ana A"}},
		"never used":                                   {[]fact.Key{key("A", 91*day, never)}, nil, []string{"deactivate ana A"}},
		"allowed":                                      {[]fact.Key{key("A", 91*day, hour)}, []string{"A"}, []string{"deactivate ana A"}},
		"the older one is in use":                      {[]fact.Key{key("A", 91*day, hour), key("B", 80*day, 50*day)}, nil, []string{"deactivate ana B", "- last-active-key ana A"}},
		"the younger one is in use":                    {[]fact.Key{key("A", 91*day, 50*day), key("B", 80*day, hour)}, nil, []string{"deactivate ana A", "- last-active-key ana B"}},
		"both are: the one used last stays":            {[]fact.Key{key("A", 91*day, hour), key("B", 80*day, 2*hour)}, nil, []string{"deactivate ana B", "- last-active-key ana A"}},
		"one of two is allowed: the other stays":       {[]fact.Key{key("A", 91*day, hour), key("B", 80*day, 2*hour)}, []string{"A"}, []string{"deactivate ana A", "- last-active-key ana B"}},
		"both are allowed":                             {[]fact.Key{key("A", 91*day, hour), key("B", 80*day, 2*hour)}, []string{"A", "B"}, []string{"deactivate ana A", "deactivate ana B"}},
		"an inactive key is no help":                   {[]fact.Key{key("A", 91*day, hour), off(key("B", 91*day, hour))}, nil, []string{"- last-active-key ana A", "- guidance ana B"}},
		"allowed, though not in use: nothing to allow": {[]fact.Key{key("A", 91*day, 50*day)}, []string{"A"}, []string{"deactivate ana A"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := about(user("ana", c.keys...))
			for _, k := range c.keys {
				s.unused("ana", k.ID)
			}
			s.opt.AllowUsed = c.allow
			p := s.want(t, c.want...)
			for _, l := range p.LeftOut {
				if l.Guard == plan.GuardLastKey && l.Hint != "--allow-used "+l.KeyID {
					t.Errorf("hint %q", l.Hint)
				}
			}
			for _, st := range p.Steps {
				inUse := st.Expect.LastUsedAt != nil && !st.Expect.LastUsedAt.Before(now.Add(-7*day))
				if got, want := st.AllowUsed, len(p.LeftOut) == 0 && inUse; got != want {
					t.Errorf("%s: allow used %t, want %t", st.KeyID, got, want)
				}
			}
		})
	}
}

func TestMake_ownKeyThatStaysIsAnActiveKey(t *testing.T) {
	s := about(user("ana", key("A", 91*day, hour), key("B", 91*day, 50*day))).unused("ana", "A").unused("ana", "B")
	s.in.OwnKeys = []string{"B"}
	s.want(t, "deactivate ana A", "- own-key ana B")
}

func TestMake_leavesAUserAloneWhoseKeyIsBeingRotated(t *testing.T) {
	s := about(user("ana", key("A", 91*day, 50*day)), user("bob", key("B", 91*day, 50*day))).unused("ana", "A").unused("bob", "B")
	s.in.Rotating = map[string]string{"AIDAANA": "rot-1"}
	p := s.want(t, "deactivate bob B", "- rotating ana A")
	contains(t, p.LeftOut[0].Why, "rot-1")
	contains(t, p.LeftOut[0].Hint, "keyreeve rotate show rot-1")
}
