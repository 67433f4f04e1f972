package rule

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// customOf loads one custom rule with the given lines.
func customOf(t *testing.T, subject, when, fails string) *Rule {
	t.Helper()
	text := fmt.Sprintf("rules:\n  - id: mine\n    kind: custom\n    subject: %s\n    severity: low\n    title: ours\n    message: it fails\n    fail: '%s'\n", subject, strings.ReplaceAll(fails, "'", "''"))
	if when != "" {
		text += fmt.Sprintf("    when: '%s'\n", strings.ReplaceAll(when, "'", "''"))
	}
	return &loaded(t, text).Rules[0]
}

func TestCustom_judgesKeysByTheirFacts(t *testing.T) {
	u := fact.User{
		Name: "ci-deploy", Path: "/service/", ARN: "arn:aws-cn:iam::111122223333:user/service/ci-deploy", Created: ago(100 * Day),
		Password: fact.No, MFA: fact.Yes, KeysRead: true, TagsRead: true, Tags: map[string]string{"owner": "payments"},
	}
	u.Keys = []fact.Key{
		{ID: "AKIA1", Active: true, Created: ago(91 * Day), LastUsed: fact.Use{At: ago(2 * Day), Service: "s3"}},
		{ID: "AKIA2", Created: ago(10 * Day), LastUsed: used(fact.Never())},
	}
	blank := fact.User{Name: "ci-deploy", Keys: []fact.Key{{Active: true}}}
	for _, c := range []struct {
		fail         string
		first, blank Result // of the first key of u, and of a key of which nothing was read
	}{
		{`key.active`, Fails, Fails},
		{`!key.active`, Passes, Passes},
		{`key.id == "AKIA1"`, Fails, Undecided},
		{`key.age > duration("2160h")`, Fails, Undecided},
		{`key.age > duration("2184h")`, Passes, Undecided},
		{`now - key.created == key.age`, Fails, Undecided},
		{`key.ever_used`, Fails, Undecided},
		{`key.idle >= duration("48h")`, Fails, Undecided},
		{`key.last_used < now`, Fails, Undecided},
		{`key.last_used_service == "s3" && key.last_used_region == ""`, Fails, Undecided},
		{`user.name.startsWith("ci-")`, Fails, Fails},
		{`user.name.matches("^ci-[a-z]+$")`, Fails, Fails},
		{`user.path == "/service/"`, Fails, Undecided},
		{`user.mfa && !user.password`, Fails, Undecided},
		{`user.created < key.created`, Fails, Undecided},
		{`"owner" in user.tags`, Fails, Undecided},
		{`user.tags["owner"] == "payments"`, Fails, Undecided},
		{`user.tags["none"] == "payments"`, Undecided, Undecided}, // an error, not an answer
		{`user.active_keys == 1`, Fails, Undecided},
		{`size(user.keys) == 2`, Fails, Undecided},
		{`user.keys.exists(k, !k.active && k.age < duration("264h"))`, Fails, Undecided},
		{`user.keys.all(k, k.active)`, Passes, Undecided},
		{`user.keys.filter(k, k.ever_used).size() == 1`, Fails, Undecided},
		{`user.keys.exists(k, k.id == "AKIA2")`, Fails, Undecided},
		{`account.id == "111122223333" && account.partition == "aws-cn"`, Fails, Undecided},
		{`key == user.keys[0]`, Fails, Undecided},
		// What was not read does not matter where the rest decides.
		{`false && user.mfa`, Passes, Passes},
		{`user.mfa && false`, Passes, Passes},
		{`true || user.mfa`, Fails, Fails},
		{`user.mfa || true`, Fails, Fails},
		{`user.mfa ? true : true`, Fails, Undecided},
		{`key.active ? false : user.mfa`, Passes, Passes},
		{`1 / (user.active_keys - 1) == 1`, Undecided, Undecided}, // division by zero
	} {
		r := customOf(t, "key", "", c.fail)
		if got := r.Kind.Judge(&r.Params, &u, &u.Keys[0], now).Result; got != c.first {
			t.Errorf("%s: %v, want %v", c.fail, got, c.first)
		}
		if got := r.Kind.Judge(&r.Params, &blank, &blank.Keys[0], now); got.Result != c.blank || got.Result == Undecided && got.Missing != MissingFact {
			t.Errorf("%s, nothing read: %+v, want %v", c.fail, got, c.blank)
		}
	}
}

func TestCustom_whenLimitsWhomItJudges(t *testing.T) {
	u := &fact.User{Name: "bob", KeysRead: true, Keys: []fact.Key{{Active: true, Created: ago(Day), LastUsed: used(fact.Never())}}}
	for _, c := range []struct {
		when, fail string
		want       Outcome
	}{
		{`key.active`, `true`, fail(fact.Time{})},
		{`!key.active`, `true`, inapplicable()},
		{`user.mfa`, `true`, undecided(MissingFact)},
		{`user.mfa`, `false`, pass(fact.Time{})},
		{`key.active`, `user.mfa`, undecided(MissingFact)},
		{`!key.active`, `user.mfa`, inapplicable()},
		{`key.ever_used`, `key.last_used < now`, inapplicable()},
		{`key.active`, `key.last_used < now`, undecided(MissingFact)}, // it never happened
		{`key.active`, `key.ever_used && key.last_used < now`, pass(fact.Time{})},
		{`key.active`, `key.idle >= duration("24h")`, fail(fact.Time{})},
	} {
		r := customOf(t, "key", c.when, c.fail)
		if got := r.Kind.Judge(&r.Params, u, &u.Keys[0], now); got != c.want {
			t.Errorf("when %s, fail %s: %+v, want %+v", c.when, c.fail, got, c.want)
		}
	}
}

func TestCustom_saysWhichFactIsMissing(t *testing.T) {
	u := &fact.User{Name: "bob", KeysRead: true, Keys: []fact.Key{{Active: true, LastUsed: used(fact.Never())}}}
	for text, want := range map[string]string{
		`user.mfa && key.active`:     "whether the rule fails is unknown: user.mfa could not be read",
		`user.keys[0].created < now`: "whether the rule fails is unknown: key.created could not be read",
		`key.last_used < now`:        "key.last_used: never; ask key.ever_used first",
	} {
		r := customOf(t, "key", "", text)
		o := r.Kind.Judge(&r.Params, u, &u.Keys[0], now)
		got, _ := r.Kind.Explain(&r.Params, u, &u.Keys[0], now, o)
		if o.Result != Undecided || !strings.Contains(got, want) {
			t.Errorf("%s: %+v, %q", text, o, got)
		}
	}
}

func TestCustom_costIsLimited(t *testing.T) {
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 40), ",") + "]"
	r := customOf(t, "key", "", list+".all(a, "+list+".all(b, "+list+".all(c, "+list+".all(d, a + b + c + d == 4))))")
	o := r.Kind.Judge(&r.Params, &fact.User{}, &fact.Key{}, now)
	if o != undecided(MissingFact) {
		t.Errorf("got %+v", o)
	}
}

func TestCustom_refusesAtLoad(t *testing.T) {
	head := "rules:\n  - id: mine\n    kind: custom\n    severity: low\n    title: a\n    message: b\n"
	for _, c := range []struct {
		name, lines string
		want        []string
	}{
		{"typo of a field", "    subject: key\n    fail: key.agee > duration(\"1h\")\n", []string{"rules.yaml:8:14: fail: undefined field 'agee' (CEL 1:4)", "8 |     fail: key.agee", "did you mean key.age?"}},
		{"typo in quotes", "    subject: key\n    fail: \"key.actve\"\n", []string{"rules.yaml:8:15: fail: undefined field 'actve'", "did you mean key.active"}},
		{"typo in when", "    subject: key\n    when: usr.mfa\n    fail: key.active\n", []string{"rules.yaml:8:11: when: undeclared reference to 'usr'"}},
		{"a block", "    subject: key\n    fail: |\n      key.active &&\n      key.agee > duration(\"1h\")\n", []string{"rules.yaml:10:10: fail: undefined field 'agee' (CEL 2:4)", "10 |       key.agee > "}},
		{"a block with empty lines", "    subject: key\n    fail: |\n\n      key.active &&\n\n        key.agee > duration(\"1h\")\n", []string{"rules.yaml:12:12: fail: undefined field 'agee'", "12 |         key.agee > "}},
		{"a folded block", "    subject: key\n    fail: >-\n      key.active &&\n      key.agee > duration(\"1h\")\n", []string{"rules.yaml:10:10: fail: undefined field 'agee'", "10 |       key.agee > "}},
		{"the end of a block", "    subject: key\n    fail: |\n      key.active &&\n", []string{"rules.yaml:9:20: fail: Syntax error"}},
		{"days in a block", "    subject: key\n    fail: |\n      key.active &&\n      key.age > duration(\"90d\")\n", []string{"rules.yaml:10:26: fail: invalid duration argument", `CEL has no days: write duration("2160h")`}},
		{"days", "    subject: key\n    fail: key.active && key.age > duration(\"90d\")\n", []string{"rules.yaml:8:44: fail: invalid duration argument (CEL 1:34)", `hint: CEL has no days: write duration("2160h")`}},
		{"days of a user rule", "    subject: user\n    fail: user.keys.exists(k, k.idle > duration('1d30m'))\n", []string{"invalid duration argument", `write duration("1470m")`}},
		{"no duration", "    subject: key\n    when: key.age > duration(\"a while\")\n    fail: key.active\n", []string{"rules.yaml:8:30: when: invalid duration argument", `duration("2160h") is 90 days`}},
		{"no time", "    subject: key\n    fail: key.created < timestamp(\"2026\")\n", []string{"invalid timestamp argument", "RFC 3339"}},
		{"no pattern", "    subject: key\n    fail: user.name.matches(\"(\")\n", []string{"invalid matches argument", "regular expression"}},
		{"days on the left", "    subject: key\n    fail: 90 <= key.age\n", []string{"found no matching overload", `hint: compare it with a duration: duration("2160h") is 90 days`}},
		{"days as text", "    subject: key\n    fail: key.idle == \"90d\"\n", []string{"found no matching overload", `hint: compare it with a duration`}},
		{"types", "    subject: key\n    fail: key.age > 90\n", []string{"rules.yaml:8:19: fail: found no matching overload for '_>_'", `hint: compare it with a duration: duration("2160h") is 90 days`}},
		{"not bool", "    subject: key\n    fail: key.age\n", []string{"fail is of type", "not bool"}},
		{"dyn", "    subject: key\n    fail: dyn(key.active)\n", []string{"not bool"}},
		{"syntax", "    subject: key\n    fail: key.active &&\n", []string{"Syntax error"}},
		{"a key of a user rule", "    subject: user\n    fail: key.active\n", []string{"undeclared reference to 'key'"}},
		{"has", "    subject: user\n    fail: has(user.mfa)\n", []string{"undeclared reference to 'has'"}},
		{"no fail", "    subject: user\n", []string{`rule "mine" has no fail`}},
		{"subject", "    subject: root\n    fail: user.mfa\n", []string{`unknown subject "root"`}},
		{"blank subject", "    subject:\n    fail: user.mfa\n", []string{"subject is blank"}},
		{"remedy", "    subject: user\n    fail: user.mfa\n    remedy: burn\n", []string{`unknown remedy "burn"`}},
		{"threshold", "    subject: user\n    fail: user.mfa\n    max_age: 9d\n", []string{"kind custom has no max_age"}},
	} {
		_, err := Load("rules.yaml", []byte(head+c.lines))
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

func TestCustom_makesVerdictsLikeAnyRule(t *testing.T) {
	rs := loaded(t, "rules:\n  - id: mine\n    kind: custom\n    subject: key\n    severity: high\n    title: ours\n    message: the key is ours\n    fail: key.active\n    remedy: rotate\n    why: because\n    scope: {users: [\"ci-*\"]}\n")
	j := NewJudge(rs, parsed(t, "exceptions:\n  - rule: mine\n    user: ci-old\n"+accepted), now)
	keys := []fact.Key{{Active: true, Created: ago(Day)}}
	u := &fact.User{Name: "ci-new", KeysRead: true, Keys: keys}
	gs := j.User(account(), fact.Live, u, nil)
	v := j.Verdict(account(), u, &gs[0])
	if v.Message != "the key is ours" || v.Remedy != "rotate" || v.Kind != "custom" || v.Facts["why"] != "because" || len(v.Controls) != 0 {
		t.Errorf("verdict %+v", v)
	}
	u.Name = "ci-old"
	same(t, "excepted", verdicts(j, fact.Live, u), "mine 0 excepted")
	u.Name = "bob"
	same(t, "out of scope", verdicts(j, fact.Live, u))
}

func BenchmarkCustom(b *testing.B) {
	rs, err := Load("f", []byte("rules:\n  - id: mine\n    kind: custom\n    subject: key\n    severity: low\n    title: a\n    message: b\n    fail: key.active && key.age > duration(\"2160h\")\n"))
	if err != nil {
		b.Fatal(err)
	}
	u, k := &fact.User{}, &fact.Key{Active: true, Created: ago(91 * Day)}
	for b.Loop() {
		rs.Rules[0].Kind.Judge(&rs.Rules[0].Params, u, k, now)
	}
}
