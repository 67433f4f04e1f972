package rule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// now is when the tests of kinds judge.
var now = fact.At(asOf)

// ago is the instant d before now.
func ago(d time.Duration) fact.Time { return now.Add(-d) }

// used is a last use at t.
func used(t fact.Time) fact.Use { return fact.Use{At: t} }

func pass(until fact.Time) Outcome { return Outcome{Result: Passes, At: until} }
func fail(since fact.Time) Outcome { return Outcome{Result: Fails, At: since} }
func inapplicable() Outcome        { return Outcome{} }

// Judge judges one subject.
func (kind Kind) Judge(p *Params, u *fact.User, k *fact.Key, now fact.Time) Outcome {
	r, missing := kind.Prepare(p, now)(u, k)
	return kind.outcome(p, u, k, r, missing)
}

// kindCase is one row of a kind's table.
type kindCase struct {
	name string
	p    Params
	u    fact.User
	k    *fact.Key
	want Outcome
}

// judgeAll runs a table, and makes sure that every outcome can be put in words.
func judgeAll(t *testing.T, kind Kind, cases []kindCase) {
	t.Helper()
	for _, c := range cases {
		var got Outcome
		if c.k == nil || kind.Keys.holds(c.k.Active) {
			got = kind.Judge(&c.p, &c.u, c.k, now)
		}
		if got != c.want {
			t.Errorf("%s: %s: got %+v, want %+v", kind.Name, c.name, got, c.want)
		}
		if got.Result == Inapplicable {
			continue
		}
		text, facts := kind.Explain(&c.p, &c.u, c.k, now, got)
		if text == "" || strings.Contains(text, "%!") || got.Result == Undecided && !strings.Contains(text, "unknown") {
			t.Errorf("%s: %s: explained as %q", kind.Name, c.name, text)
		}
		for name := range facts {
			if name != strings.ToLower(name) || strings.ContainsAny(name, " -") {
				t.Errorf("%s: %s: fact %q is not snake_case", kind.Name, c.name, name)
			}
		}
		if got.Result == Fails && kind.Remedy(&c.p, &c.u, c.k) == "" {
			t.Errorf("%s: %s: no remedy", kind.Name, c.name)
		}
	}
}

// around are the durations whose side of a limit each rule must get right.
func around(limit time.Duration) []time.Duration {
	return []time.Duration{limit - time.Second, limit - 1, limit, limit + 1, limit + time.Second}
}

func account() *fact.Account { return &fact.Account{ID: "111122223333", Partition: "aws"} }

// verdicts judges u and writes each as "rule key status".
func verdicts(j *Judge, from fact.Source, u *fact.User) []string {
	var out []string
	for _, g := range j.User(account(), from, u, nil) {
		out = append(out, fmt.Sprintf("%s %d %s", j.Rules()[g.Rule].ID, g.Key, g.Status()))
	}
	return out
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "; "), strings.Join(want, "; "))
	}
}

func TestJudge_secondSlotMayHoldTheOlderKey(t *testing.T) {
	rs := loaded(t, "rules:\n  - id: key-age-90\n  - id: multiple-active-keys\n")
	u := &fact.User{Name: "bob", KeysRead: true, Keys: []fact.Key{
		{Slot: 1, Active: true, Created: ago(Day)}, {Slot: 2, Active: true, Created: ago(200 * Day)}}}
	same(t, "two keys", verdicts(NewJudge(rs, nil, now), fact.ReportFile, u),
		"multiple-active-keys -1 fail", "key-age-90 0 pass", "key-age-90 1 fail")
	u.Keys[0].Active = false
	same(t, "first key inactive", verdicts(NewJudge(rs, nil, now), fact.ReportFile, u),
		"multiple-active-keys -1 pass", "key-age-90 1 fail")
}

func TestJudge_countsAThirdKey(t *testing.T) {
	rs := loaded(t, "rules:\n  - id: key-age-90\n  - id: two\n    kind: multiple-active-keys\n    max_active: 2\n    severity: low\n")
	made := ago(100 * Day)
	u := &fact.User{Name: "bob", KeysRead: true, Keys: []fact.Key{
		{ID: "A", Active: true, Created: made}, {ID: "B", Active: true, Created: made}, {ID: "C", Active: true, Created: made}}}
	j := NewJudge(rs, nil, now)
	same(t, "three keys", verdicts(j, fact.Live, u), "two -1 fail", "key-age-90 0 fail", "key-age-90 1 fail", "key-age-90 2 fail")
	ids := map[string]bool{}
	for _, g := range j.User(account(), fact.Live, u, nil) {
		ids[j.Verdict(account(), u, &g).ID] = true
	}
	if len(ids) != 4 {
		t.Errorf("keys made in the same second share a fingerprint: %d of 4", len(ids))
	}
}

func TestJudge_rootIsJudgedByItsOwnRuleAlone(t *testing.T) {
	root := &fact.User{Name: fact.RootName, Root: true, KeysRead: true, Password: fact.Yes,
		Keys: []fact.Key{{Active: true, Created: ago(900 * Day), LastUsed: used(fact.Never())}}}
	same(t, "root", verdicts(NewJudge(builtin(t, "default"), nil, now), fact.Live, root), "root-access-key -1 fail")
	user := *root
	user.Root, user.Name = false, "bob"
	for _, v := range verdicts(NewJudge(builtin(t, "default"), nil, now), fact.Live, &user) {
		if strings.HasPrefix(v, "root-access-key") {
			t.Errorf("a user was judged: %s", v)
		}
	}
}

func TestJudge_unreadKeysAreUnknownNotClean(t *testing.T) {
	u := &fact.User{Name: "bob", Password: fact.Yes, Created: ago(Day)}
	for _, v := range verdicts(NewJudge(builtin(t, "default"), nil, now), fact.Live, u) {
		if !strings.HasSuffix(v, "unknown") {
			t.Errorf("keys were not read, but: %s", v)
		}
	}
}

func TestJudge_saysWhatAFileCannotAnswer(t *testing.T) {
	rs := loaded(t, "rules:\n  - id: exposed-key\n  - id: key-age-90\n  - id: tagged\n    kind: key-age\n    severity: low\n    scope: {tags: {a: b}}\n")
	j := NewJudge(rs, nil, now)
	var ids []string
	for _, n := range j.NotJudged(fact.ReportFile) {
		ids = append(ids, n.Rule)
	}
	same(t, "file", ids, "exposed-key", "tagged")
	if n := j.NotJudged(fact.Live); len(n) != 0 {
		t.Errorf("live: %v", n)
	}
	u := &fact.User{Name: "bob", KeysRead: true, Keys: []fact.Key{{Active: true, Created: ago(91 * Day)}}}
	same(t, "file", verdicts(j, fact.ReportFile, u), "key-age-90 0 fail")
}

func TestJudge_scopeDecidesAndUnknownScopeIsUnknown(t *testing.T) {
	rs := loaded(t, "rules:\n  - id: scoped\n    kind: key-age\n    max_age: 90d\n    severity: low\n    scope: {tags: {team: pay*}}\n")
	key := func(age time.Duration) []fact.Key { return []fact.Key{{ID: "A", Active: true, Created: ago(age)}} }
	j := NewJudge(rs, nil, now)
	for _, c := range []struct {
		name string
		u    fact.User
		want []string
	}{
		{"in scope", fact.User{KeysRead: true, Keys: key(91 * Day), TagsRead: true, Tags: map[string]string{"team": "payments"}}, []string{"scoped 0 fail"}},
		{"out of scope", fact.User{KeysRead: true, Keys: key(91 * Day), TagsRead: true, Tags: map[string]string{"team": "core"}}, nil},
		{"not read, would fail", fact.User{KeysRead: true, Keys: key(91 * Day)}, []string{"scoped 0 unknown"}},
		{"not read, passes anyway", fact.User{KeysRead: true, Keys: key(Day)}, []string{"scoped 0 pass"}},
	} {
		same(t, c.name, verdicts(j, fact.Live, &c.u), c.want...)
	}
}

func TestJudge_exceptionCoversAFailureAndNothingElse(t *testing.T) {
	e := parsed(t, "exceptions:\n  - rule: key-age-90\n    user: bob\n"+accepted)
	rs := loaded(t, "rules:\n  - id: key-age-90\n  - id: key-age-30\n")
	j := NewJudge(rs, e, now)
	old := &fact.User{Name: "Bob", KeysRead: true, Keys: []fact.Key{{Active: true, Created: ago(91 * Day)}, {Active: true, Created: ago(Day)}, {Active: true}}}
	same(t, "bob", verdicts(j, fact.ReportFile, old),
		"key-age-90 0 excepted", "key-age-30 0 fail", "key-age-90 1 pass", "key-age-30 1 pass", "key-age-90 2 unknown", "key-age-30 2 unknown")
	bobby := *old
	bobby.Name = "bobby"
	same(t, "bobby", verdicts(j, fact.ReportFile, &bobby)[:1], "key-age-90 0 fail")
	gs := j.User(account(), fact.ReportFile, old, nil)
	if v := j.Verdict(account(), old, &gs[0]); v.Status != finding.Excepted || v.Exception == nil || v.Exception.Reason != "vendor" {
		t.Errorf("verdict %+v", v)
	}
}

func TestJudge_verdictSaysSinceWhenAndUntilWhen(t *testing.T) {
	rs := loaded(t, "rules:\n  - id: key-age-90\n")
	j := NewJudge(rs, nil, now)
	for _, c := range []struct {
		age        time.Duration
		status     finding.Status
		since, due fact.Time
	}{
		{91 * Day, finding.Fail, ago(Day), fact.Time{}},
		{90 * Day, finding.Pass, fact.Time{}, now},
		{80 * Day, finding.Pass, fact.Time{}, now.Add(10 * Day)},
	} {
		u := &fact.User{Name: "bob", KeysRead: true, Keys: []fact.Key{{Active: true, Created: ago(c.age)}}}
		gs := j.User(account(), fact.ReportFile, u, nil)
		v := j.Verdict(account(), u, &gs[0])
		if v.Status != c.status || v.Since != c.since || v.Due != c.due || v.Severity != finding.High || v.Kind != "key-age" {
			t.Errorf("age %v: %+v", c.age, v)
		}
	}
}
