package rule

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

var asOf = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const everybody = "    user: \"*\"\n" + accepted

const accepted = "    reason: vendor\n    owner: payments@example.com\n    expires: 2027-03-31\n"

func parsed(t *testing.T, text string) *Exceptions {
	t.Helper()
	e, err := ParseExceptions("x.yaml", []byte(text), asOf, asOf)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return e
}

func TestParseExceptions_readsWhatTheContractShows(t *testing.T) {
	e := parsed(t, `exceptions:
  - rule: key-age-90            # id, alias or "*"
    account: "123456789012"
    user: "ci-*"
    key: AKIAIOSFODNN7EXAMPLE
    tag: {owner: payments}
    reason: vendor cannot rotate before the March release
    owner: payments@example.com
    expires: 2027-03-31
`)
	got := e.All()[0]
	if got.Rule != "key-age-90" || got.Account != "123456789012" || got.User != "ci-*" || got.Key != "AKIAIOSFODNN7EXAMPLE" ||
		got.Tag["owner"] != "payments" || got.Origin != "x.yaml:2" ||
		!got.Expires.Time().Equal(time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("read %+v", got)
	}
}

func TestParseExceptions_accountDefaultsToAll(t *testing.T) {
	got := parsed(t, "exceptions:\n  - rule: \"*\"\n"+everybody).All()[0]
	if got.Account != "*" || got.User != "*" || got.Key != "" {
		t.Errorf("read %+v", got)
	}
	if got := parsed(t, "exceptions:\n  - rule: \"*\"\n    key: AKIA1\n"+accepted).All()[0]; got.User != "*" || got.Key != "AKIA1" {
		t.Errorf("a key alone: read %+v", got)
	}
	for _, text := range []string{"exceptions: []\n", "exceptions:\n", "exceptions: # none yet\n"} {
		if n := len(parsed(t, text).All()); n != 0 {
			t.Errorf("%q: %d exceptions", text, n)
		}
	}
	got = parsed(t, "exceptions:\n  - rule: \"*\"\n    account: 012345678901\n"+everybody).All()[0]
	if got.Account != "012345678901" {
		t.Errorf("account without quotes read as %q", got.Account)
	}
}

func TestParseExceptions_refuses(t *testing.T) {
	entry := func(lines string) string { return "exceptions:\n  - rule: key-age-90\n" + lines }
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", []string{"x.yaml: is empty"}},
		{"another file", "rules: []\n", []string{`x.yaml:1:1: unknown key "rules" in an exceptions file`}},
		{"no list", "exceptions: 3\n", []string{`x.yaml:1:13: "3" where a list of exceptions is wanted`}},
		{"no reason", entry("    owner: a\n    expires: 2027-03-31\n"), []string{"x.yaml:2:5: exception without reason", "2 |   - rule: key-age-90"}},
		{"no owner", entry("    reason: a\n    expires: 2027-03-31\n"), []string{"exception without owner"}},
		{"no expiry", entry("    reason: a\n    owner: b\n"), []string{"exception without expires", "hint: say until when"}},
		{"nobody", entry(accepted), []string{"x.yaml:2:5: exception without user or key", `user: "*" for everybody`}},
		{"account alone", entry("    account: \"111122223333\"\n" + accepted), []string{"exception without user or key"}},
		{"tag alone", entry("    tag: {a: b}\n" + accepted), []string{"exception without user or key"}},
		{"blank user", entry("    user:\n" + accepted), []string{"user is blank"}},
		{"no rule", "exceptions:\n  - user: bob\n" + accepted, []string{"x.yaml:2:5: exception without rule"}},
		{"blank reason", entry("    reason: '  '\n    owner: b\n    expires: 2027-03-31\n"), []string{"x.yaml:3:13: reason is blank"}},
		{"empty owner", entry("    reason: a\n    owner:\n    expires: 2027-03-31\n"), []string{"owner is blank"}},
		{"unknown key", entry("    usr: bob\n" + accepted), []string{`x.yaml:3:5: unknown key "usr" in an exception`, "3 |     usr: bob", "hint: did you mean user"}},
		{"a year and a day", entry("    reason: a\n    owner: b\n    expires: 2027-11-23\n"), []string{"x.yaml:5:14: expires 2027-11-23 is more than one year ahead", "latest date allowed is 2027-11-22"}},
		{"a year and a second", entry("    reason: a\n    owner: b\n    expires: 2027-11-22T12:00:01Z\n"), []string{"more than one year ahead"}},
		{"no date", entry("    reason: a\n    owner: b\n    expires: next year\n"), []string{`expires "next year" is not a date`}},
		{"no such day", entry("    reason: a\n    owner: b\n    expires: 2027-02-30\n"), []string{"is not a date"}},
		{"account glob", entry("    account: \"1234*\"\n" + accepted), []string{`account "1234*" is not an account id`}},
		{"key glob", entry("    key: AKIA*\n" + accepted), []string{`x.yaml:3:10: key "AKIA*" is not an access key id`}},
		{"rule glob", "exceptions:\n  - rule: key-age-*\n" + everybody, []string{`rule "key-age-*" is a glob`}},
		{"ambiguous control", "exceptions:\n  - rule: \"1.13\"\n" + everybody, []string{`rule "1.13" is a number without its version`, "cis-5.0:1.13 (key-age-90)"}},
		{"tag without value", entry("    tag: owner\n" + accepted), []string{"tag: \"owner\" where a mapping"}},
		{"same key twice", entry("    user: a\n    user: b\n" + accepted), []string{"x.yaml:4:5: not YAML: mapping key \"user\" already defined"}},
		{"anchor", entry("    user: &a bob\n" + accepted), []string{"an anchor"}},
		{"two documents", "exceptions: []\n---\nexceptions: []\n", []string{"a second document"}},
		{"binary", "\x00\x01", []string{"x.yaml: is not text"}},
	} {
		_, err := ParseExceptions("x.yaml", []byte(c.text), asOf, asOf)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error lacks %q:\n%v", c.name, want, err)
			}
		}
	}
}

func TestParseExceptions_reportsEveryMistakeInOrder(t *testing.T) {
	_, err := ParseExceptions("x.yaml", []byte("exceptions:\n  - rule: key-age-90\n    ownr: a\n  - rule: IAM-043\n    account: 12\n"+accepted), asOf, asOf)
	if err == nil {
		t.Fatal("no error")
	}
	var places []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if strings.HasPrefix(line, "x.yaml:") {
			places = append(places, line)
		}
	}
	want := []string{
		"x.yaml:2:5: exception without reason", "x.yaml:2:5: exception without owner", "x.yaml:2:5: exception without expires",
		"x.yaml:2:5: exception without user or key", `x.yaml:3:5: unknown key "ownr" in an exception`, "x.yaml:4:5: exception without user or key",
		`x.yaml:5:14: account "12" is not an account id`,
	}
	if strings.Join(places, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(places, "\n"), strings.Join(want, "\n"))
	}
}

func TestReadExceptions_notesItsMistakesInTheFile(t *testing.T) {
	section := func(text string) (*Exceptions, error) {
		f := &yamlfile.File{Name: "k.yaml"}
		e := ReadExceptions(f, f.Parse([]byte(text)).Values[1].Value, asOf, asOf)
		return e, f.Err()
	}
	e, err := section("db: x\nexceptions:\n  - rule: key-age-90\n" + everybody)
	if err != nil || len(e.All()) != 1 || e.All()[0].Origin != "k.yaml:3" {
		t.Errorf("got %+v, %v", e.All(), err)
	}
	if e, err := section("db: x\nexceptions: # none yet\n"); err != nil || len(e.All()) != 0 {
		t.Errorf("an empty section: %+v, %v", e, err)
	}
	if _, err := section("db: x\nexceptions: 3\n"); err == nil || !strings.Contains(err.Error(), "k.yaml:2:13: ") {
		t.Errorf("no list: %v", err)
	}
}

func TestExceptions_freshOnesHaveCoveredNothing(t *testing.T) {
	e := parsed(t, "exceptions:\n  - rule: key-age-90\n"+everybody)
	if !(failure{rule: "key-age-90"}).covered(e) || len(e.Notices(nil)) != 0 {
		t.Fatal("it covers nothing")
	}
	fresh := e.Fresh()
	if n := fresh.Notices(nil); len(n) != 1 || n[0].State != finding.Unmatched {
		t.Errorf("fresh: notices %+v", n)
	}
	if !(failure{rule: "key-age-90"}).covered(fresh) || (*Exceptions)(nil).Fresh() != nil {
		t.Error("a fresh copy does not work like its original")
	}
}

func TestExceptions_checkRefusesRulesThatExistNowhere(t *testing.T) {
	rs := &Ruleset{Rules: []Rule{{ID: "our-own"}}}
	for _, id := range []string{"key-age-90", "our-own", "IAM-043", "iam.3", "access-keys-rotated", "CIS 5.0.0 1.13", `"*"`, "password-and-key"} {
		if err := parsed(t, "exceptions:\n  - rule: "+id+"\n"+everybody).Check(rs); err != nil {
			t.Errorf("rule %s: %v", id, err)
		}
	}
	err := parsed(t, "exceptions:\n  - rule: key-age-9\n"+everybody).Check(rs)
	if err == nil || !strings.Contains(err.Error(), `x.yaml:2:11: unknown rule "key-age-9"`) || !strings.Contains(err.Error(), "did you mean key-age-90") {
		t.Errorf("got %v", err)
	}
}

// A failing key of a user, as cover is asked about it.
type failure struct {
	rule string
	a    fact.Account
	u    fact.User
	k    *fact.Key
}

func (f failure) covered(e *Exceptions) bool {
	return e.cover(&Rule{ID: f.rule}, &f.a, &f.u, f.k) != nil
}

func TestExceptions_coverMatchesWhole(t *testing.T) {
	bob := fact.User{Name: "Bob", ARN: "arn:aws:iam::111122223333:user/Bob", TagsRead: true, Tags: map[string]string{"owner": "payments"}}
	at := failure{"key-age-90", fact.Account{ID: "111122223333"}, bob, &fact.Key{ID: "AKIA1"}}
	with := func(change func(*failure)) failure { f := at; change(&f); return f }
	for _, c := range []struct {
		name, text string
		f          failure
		want       bool
	}{
		{"name", "user: bob", at, true},
		{"part of a name", "user: bo", at, false},
		{"longer name", "user: bobby", at, false},
		{"glob", `user: "b?b"`, at, true},
		{"arn", "user: arn:aws:iam::111122223333:user/bob", at, true},
		{"arn of another account", "user: arn:aws:iam::444455556666:user/bob", at, false},
		{"arn glob", `user: "arn:aws:iam::*:user/*"`, at, true},
		{"account", "user: '*'\n    account: '111122223333'", at, true},
		{"other account", "user: '*'\n    account: '444455556666'", at, false},
		{"key", "key: AKIA1", at, true},
		{"other key", "key: AKIA2", at, false},
		{"key in another case", "key: akia1", at, false},
		{"key, verdict about the user", "key: AKIA1", with(func(f *failure) { f.k = nil }), false},
		{"no key, verdict about the user", "user: bob", with(func(f *failure) { f.k = nil }), true},
		{"key not read", "key: AKIA1", with(func(f *failure) { f.k = &fact.Key{} }), false},
		{"tag", "user: '*'\n    tag: {owner: pay*}", at, true},
		{"other tag", "user: '*'\n    tag: {owner: core}", at, false},
		{"tags not read", "user: '*'\n    tag: {owner: payments}", with(func(f *failure) { f.u.TagsRead = false }), false},
		{"other rule", "user: bob", with(func(f *failure) { f.rule = "key-age-30" }), false},
	} {
		e := parsed(t, "exceptions:\n  - rule: key-age-90\n    "+c.text+"\n"+accepted)
		if got := c.f.covered(e); got != c.want {
			t.Errorf("%s: covered %v, want %v", c.name, got, c.want)
		}
	}
	for rule, want := range map[string]bool{"IAM-038": true, "access-keys-rotated": true, "IAM-001": false, `"*"`: true} {
		if got := at.covered(parsed(t, "exceptions:\n  - rule: "+rule+"\n"+everybody)); got != want {
			t.Errorf("rule %s: covered %v, want %v", rule, got, want)
		}
	}
}

func TestExceptions_noLongerHoldFromTheirExpiryOn(t *testing.T) {
	text := "exceptions:\n  - rule: key-age-90\n    user: '*'\n    reason: a\n    owner: b\n    expires: 2026-11-22\n"
	midnight := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		now  time.Time
		want bool
	}{{midnight.Add(-time.Nanosecond), true}, {midnight, false}, {midnight.Add(time.Second), false}} {
		e, err := ParseExceptions("x", []byte(text), c.now, c.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := (failure{rule: "key-age-90"}).covered(e); got != c.want {
			t.Errorf("at %v: covered %v, want %v", c.now, got, c.want)
		}
		if c.want {
			continue
		}
		if n := e.Notices([]fact.Source{fact.Live}); len(n) != 1 || n[0].State != finding.Expired {
			t.Errorf("at %v: notices %+v", c.now, n)
		}
	}
}

func TestExceptions_noticesTellWhatDidNothing(t *testing.T) {
	bob := fact.User{Name: "bob"}
	for _, c := range []struct {
		name, text string
		keys       []fact.Key
		sources    []fact.Source
		want       finding.ExceptionState
	}{
		{"matched", "user: bob", []fact.Key{{}}, []fact.Source{fact.ReportFile}, ""},
		{"nobody", "user: eve", []fact.Key{{}}, []fact.Source{fact.ReportFile}, finding.Unmatched},
		{"key in a file", "key: AKIA1", []fact.Key{{}}, []fact.Source{fact.ReportFile}, finding.Unreadable},
		{"key in a report, not confirmed", "key: AKIA1", []fact.Key{{}}, []fact.Source{fact.Report}, finding.Unreadable},
		{"key in a report, confirmed as another", "key: AKIA1", []fact.Key{{}, {ID: "AKIA2"}}, []fact.Source{fact.Report}, finding.Unmatched},
		{"key in a report, confirmed", "key: AKIA1", []fact.Key{{}, {ID: "AKIA1"}}, []fact.Source{fact.Report}, ""},
		{"tag in a report", "user: '*'\n    tag: {a: b}", []fact.Key{{}}, []fact.Source{fact.Report}, finding.Unreadable},
		{"tag, nothing fails, live", "user: '*'\n    tag: {a: b}", nil, []fact.Source{fact.Live}, finding.Unmatched},
	} {
		e := parsed(t, "exceptions:\n  - rule: key-age-90\n    "+c.text+"\n"+accepted)
		for i := range c.keys {
			failure{rule: "key-age-90", u: bob, k: &c.keys[i]}.covered(e)
		}
		var got finding.ExceptionState
		if n := e.Notices(c.sources); len(n) > 0 {
			got = n[0].State
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	e := parsed(t, "exceptions:\n  - rule: exposed-key\n"+everybody)
	if n := e.Notices([]fact.Source{fact.ReportFile}); len(n) != 1 || n[0].State != finding.Unreadable {
		t.Errorf("exposed-key in a file: %+v", n)
	}
}

func TestExceptions_mergeKeepsOrderAndNilIsNone(t *testing.T) {
	a := parsed(t, "exceptions:\n  - rule: key-age-30\n"+everybody)
	b := parsed(t, "exceptions:\n  - rule: key-age-90\n"+everybody)
	all := MergeExceptions(nil, a, nil, b).All()
	if len(all) != 2 || all[0].Rule != "key-age-30" || all[1].Rule != "key-age-90" {
		t.Errorf("merged %+v", all)
	}
	var none *Exceptions
	if none.All() != nil || none.Notices(nil) != nil || none.Check(&Ruleset{}) != nil || (failure{}).covered(none) {
		t.Error("nil Exceptions do something")
	}
}

func TestExceptions_coverFromManyGoroutines(t *testing.T) {
	e := parsed(t, "exceptions:\n  - rule: key-age-90\n"+everybody)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				failure{rule: "key-age-90", k: &fact.Key{}}.covered(e)
			}
		})
	}
	wg.Wait()
	if n := e.Notices(nil); len(n) != 0 {
		t.Errorf("notices %+v", n)
	}
}
