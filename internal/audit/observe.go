package audit

import (
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// Observe judges what was read of one account as Snapshot does, in the form that history compares with what stood open
// before. opt.AsOf is required; opt.DueWithin says how far what falls due is
// looked for; what else opt asks to keep is of no matter.
func Observe(s *fact.Snapshot, opt Options) (*history.Observation, error) {
	opt.All, opt.CountOnly, opt.Framework = false, false, ""
	a, err := Snapshot(s, opt)
	if err != nil {
		return nil, err
	}
	acc := &a.Accounts[0]
	users := make(map[string]*fact.User, len(s.Users))
	ages := map[int]int{}
	for i := range s.Users {
		u := &s.Users[i]
		users[u.Name] = u
		for k := range u.Keys {
			if u.Keys[k].Active && u.Keys[k].Created.Known() {
				ages[history.AgeStep(fact.At(opt.AsOf).Sub(u.Keys[k].Created))]++
			}
		}
	}
	o := &history.Observation{
		Account: acc.Account, At: a.AsOf, Evidence: acc.Evidence, Ruleset: a.Ruleset, Complete: a.Complete, Gaps: acc.Gaps, UsersRead: s.UsersRead,
		Users: acc.Users, Keys: acc.Keys, ActiveKeys: acc.ActiveKeys, Ages: ages,
		Terms: Terms(opt.Ruleset),
		Has:   func(user string) bool { return users[user] != nil },
		Of: func(user string) time.Time {
			u, made := users[user], s.Evidence.GeneratedAt
			if s.Evidence.Source != fact.Report || !made.Known() || u != nil && (u.Confirmed || u.Root && !u.KeysRead) || slices.Contains(s.Gone, user) {
				return a.AsOf
			}
			return made.Time()
		},
		Outside: func(id, user string) bool {
			i := slices.IndexFunc(opt.Ruleset.Rules, func(r rule.Rule) bool { return r.ID == id })
			return i >= 0 && users[user] != nil && opt.Ruleset.Rules[i].Scope.Holds(&s.Account, users[user]) == fact.No
		},
		Tags: func(user string) map[string]string {
			if u := users[user]; u != nil && u.TagsRead {
				return u.Tags
			}
			return nil
		},
	}
	if opt.DueWithin > 0 {
		o.Due = []history.Due{}
	}
	for _, n := range a.NotJudged {
		o.Unjudged = append(o.Unjudged, n.Rule)
	}
	for v := range a.Verdicts {
		o.Verdicts = append(o.Verdicts, *v)
	}
	for i := range a.Due {
		v := &a.Due[i]
		d := history.Due{
			ID: v.ID, User: v.User, Rule: v.Rule, Kind: v.Kind, Title: v.Title, Severity: v.Severity, At: v.Due.Time(), Tags: o.Tags(v.User),
		}
		if v.Key != nil {
			d.KeyID, d.KeyCreated = v.Key.ID, v.Key.Created
		}
		o.Due = append(o.Due, d)
	}
	return o, nil
}

// Terms are the terms of each rule of the ruleset, by its id.
func Terms(rs *rule.Ruleset) map[string]string {
	out := make(map[string]string, len(rs.Rules))
	for i := range rs.Rules {
		out[rs.Rules[i].ID] = rs.Rules[i].Terms()
	}
	return out
}
