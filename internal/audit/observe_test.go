package audit_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// The life of an account, read again and again: what is found is what was done to it.
func TestObserve_tellsHistoryWhatHappenedInTheAccount(t *testing.T) {
	cloud := fakeaws.New(judgedAt)
	acc := cloud.AddAccount(fact.Account{ID: "111122223333"})
	old := judgedAt.AddDate(0, 0, -200)
	for _, name := range []string{"fixed", "gone", "stays"} {
		must(t, acc.AddUser(fakeaws.User{Name: name, Created: old, Keys: []fakeaws.Key{{Created: old.Add(time.Hour), LastUsed: judgedAt.Add(-time.Hour)}}}))
	}
	r := cloudReader(t, cloud)
	open := map[string]history.Entry{}
	var last time.Time
	cycle := func() history.Changes {
		s, err := collect.Report(t.Context(), r, collect.Options{Now: cloud.Now})
		must(t, err)
		opt := options(t)
		opt.AsOf = cloud.Now()
		o, err := audit.Observe(s, opt)
		must(t, err)
		var before []history.Entry
		for _, e := range open {
			before = append(before, e)
		}
		c := history.Compare(before, last, o)
		for _, e := range c.Opened {
			open[e.ID] = e
		}
		for _, e := range c.Closed {
			delete(open, e.ID)
		}
		last = o.At
		return c
	}
	first := cycle()
	rules := len(first.Opened) / 3
	if rules == 0 || len(first.Opened)%3 != 0 {
		t.Fatalf("opened %+v", first.Opened)
	}
	cloud.SetNow(cloud.Now().Add(12 * time.Hour))
	if c := cycle(); !c.Empty() {
		t.Errorf("nothing happened: %+v", c)
	}
	for _, u := range acc.Users() {
		if u.Name == "fixed" {
			must(t, acc.SetActive("fixed", u.Keys[0].ID, false))
		}
	}
	must(t, acc.DeleteUser("gone"))
	cloud.SetNow(cloud.Now().Add(12 * time.Hour))
	c := cycle()
	why := map[string]int{}
	for _, e := range c.Closed {
		why[e.User+" "+string(e.Why)]++
	}
	if len(c.Closed) != 2*rules || why["fixed fixed"] != rules || why["gone user-gone"] != rules {
		t.Errorf("closed %v", why)
	}
	if len(open) != rules+1 || len(c.Opened) != 1 || c.Opened[0].Rule != "inactive-key" {
		t.Errorf("%d open, want %d and that an old key is left behind inactive; opened %+v", len(open), rules, c.Opened)
	}
}

// An account that moves out of the units of a rule has fixed nothing.
func TestObserve_anAccountThatMovedIsNotFixed(t *testing.T) {
	made := fact.At(judgedAt.AddDate(0, 0, -200))
	rs, err := rule.Load("r.yaml", []byte("rules:\n  - id: key-age-90\n    scope: {ous: [Root/Prod]}\n"))
	must(t, err)
	observe := func(ou string) *history.Observation {
		o, err := audit.Observe(&fact.Snapshot{
			Account: fact.Account{ID: "111122223333", Partition: "aws", OU: ou}, UsersRead: true,
			Evidence: fact.Evidence{Source: fact.Live, ReadAt: fact.At(judgedAt)},
			Users:    []fact.User{{Name: "ci", KeysRead: true, Keys: []fact.Key{{ID: "AKIAEXAMPLE", Slot: 1, Active: true, Created: made}}}},
		}, audit.Options{Ruleset: rs, AsOf: judgedAt})
		must(t, err)
		return o
	}
	before := history.Compare(nil, time.Time{}, observe("Root/Prod/EU"))
	if len(before.Opened) != 1 {
		t.Fatalf("opened %+v", before.Opened)
	}
	moved := history.Compare(before.Opened, judgedAt, observe("Root/Sandbox"))
	if len(moved.Closed) != 1 || moved.Closed[0].Why != history.RuleChanged {
		t.Errorf("closed %+v, want %s", moved.Closed, history.RuleChanged)
	}
}

func TestLive_doesNotReadAgainTheKeysThatAreKnown(t *testing.T) {
	cloud := stamped(t, 40, 10)
	r := cloudReader(t, cloud)
	how := liveOptions(cloud, fact.Report, true)
	first, err := audit.Live(t.Context(), r, how, options(t))
	must(t, err)
	ids, open := map[history.KnownKey]string{}, map[string]map[string]bool{}
	for v := range first.Verdicts {
		if open[v.User] == nil {
			open[v.User] = map[string]bool{}
		}
		open[v.User][v.ID] = true
		if v.Key != nil {
			ids[history.KnownKey{User: v.User, Created: v.Key.Created.Unix()}] = v.Key.ID
		}
	}
	if len(ids) != 10 {
		t.Fatalf("%d keys are known", len(ids))
	}
	later := judgedAt.Add(time.Second)
	for _, c := range []struct {
		what   string
		judged time.Time // by the history, at judgedAt by the report
		change func()
		reads  int
	}{
		{"all known", judgedAt, func() {}, 0},
		{"an older report that says what is known", later, func() {}, 0},
		{"a user who has another verdict by now", later, func() { open["user-0005"]["else"] = true }, 1},
		{"the same of before the report", judgedAt, func() {}, 0},
		{"a user of whom nothing is open by now", later, func() { delete(open, "user-0006") }, 2},
		{"a user of whom nothing fails by the report", later, func() { open["user-0030"] = map[string]bool{"some": true} }, 3},
		{"a key that is not known", judgedAt, func() { maps.DeleteFunc(ids, func(k history.KnownKey, _ string) bool { return k.User == "user-0003" }) }, 1},
	} {
		c.change()
		how.Known = &history.Known{Keys: ids, Open: open, JudgedAt: c.judged}
		cloud.ResetCalls()
		again, err := audit.Live(t.Context(), r, how, options(t))
		must(t, err)
		if got, want := spelled(again), spelled(first); !slices.Equal(got, want) {
			t.Errorf("%s: found %v, want %v", c.what, got, want)
		}
		reads := 0
		for _, call := range cloud.Calls() {
			if call.Action == "iam:ListAccessKeys" {
				reads++
			}
		}
		if reads != c.reads {
			t.Errorf("%s: %d users were read again, want %d", c.what, reads, c.reads)
		}
	}
}

func TestTerms_differWithWhatARuleAsksAndNotWithItsWords(t *testing.T) {
	rs, err := rule.Builtin("default")
	must(t, err)
	terms := audit.Terms(rs)
	if len(terms) != len(rs.Rules) {
		t.Fatalf("%d terms of %d rules", len(terms), len(rs.Rules))
	}
	i := slices.IndexFunc(rs.Rules, func(r rule.Rule) bool { return r.ID == "key-age-90" })
	r := rs.Rules[i]
	r.Title, r.Severity, r.ID = "other words", "low", "other-id"
	if r.Terms() != terms["key-age-90"] {
		t.Error("the words are part of the terms")
	}
	longer := r
	longer.Params.MaxAge++
	scoped := r
	scoped.Scope = &rule.Scope{Users: []string{"ci-*"}}
	other := scoped
	other.Scope = &rule.Scope{Users: []string{"ci-?"}}
	seen := map[string]bool{}
	for _, r := range []rule.Rule{r, longer, scoped, other} {
		seen[r.Terms()] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d different terms, want 4", len(seen))
	}
}

func TestTerms_ofACustomRuleAreItsExpressions(t *testing.T) {
	terms := func(fail string) string {
		rs, err := rule.Load("r.yaml", []byte("name: mine\nrules:\n  - id: x\n    kind: custom\n    subject: key\n    severity: low\n    title: t\n    message: m\n    fail: "+fail+"\n"))
		must(t, err)
		return rs.Rules[0].Terms()
	}
	if a, b := terms(`key.age > duration("720h")`), terms(`key.age > duration("721h")`); a == b {
		t.Errorf("both %s", a)
	}
}

// spelled is every verdict with all that it says.
func spelled(a *finding.Audit) []string {
	var out []string
	for v := range a.Verdicts {
		out = append(out, spell(v))
	}
	return out
}

// The instant judged at is of whole seconds, that of the reading is not.
func TestLive_whatWasReadInTheSecondItIsJudgedAtIsNotAhead(t *testing.T) {
	cloud := stamped(t, 3, 1)
	how := liveOptions(cloud, fact.Live, false)
	how.Now = func() time.Time { return judgedAt.Add(864 * time.Millisecond) }
	opt := options(t)
	opt.AsOf = time.Time{}
	a, err := audit.Live(t.Context(), cloudReader(t, cloud), how, opt)
	must(t, err)
	if !a.AsOf.Equal(judgedAt) || len(a.Notes) > 0 {
		t.Errorf("as of %v, notes %q", a.AsOf, a.Notes)
	}
}
