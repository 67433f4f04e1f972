package rule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/finding"
)

func builtin(t *testing.T, name string) *Ruleset {
	t.Helper()
	rs, err := Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func loaded(t *testing.T, text string) *Ruleset {
	t.Helper()
	rs, err := Load("rules.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return rs
}

// listing writes a ruleset as "id severity" words.
func listing(rs *Ruleset) string {
	var out []string
	for _, r := range rs.Rules {
		out = append(out, fmt.Sprintf("%s:%s", r.ID, r.Severity))
	}
	return strings.Join(out, " ")
}

func TestBuiltin_holdsTheRulesOfItsSource(t *testing.T) {
	cis := "root-access-key:critical key-age-90:high key-created-with-user:medium multiple-active-keys:medium key-unused-45:medium key-never-used-console:medium"
	want := map[string]string{
		"default": "root-access-key:critical exposed-key:critical key-age-30:low key-age-45:low key-age-90:high key-created-with-user:medium " +
			"multiple-active-keys:medium key-unused-45:medium key-unused-90:medium key-never-used:medium key-never-used-console:medium inactive-key:low",
		"conformity": "root-access-key:high key-age-30:low key-age-45:low key-age-90:high key-created-with-user:medium " +
			"multiple-active-keys:medium key-unused-90:medium password-and-key:medium",
		"cis-1.4": cis, "cis-3.0": cis, "cis-5.0": cis, "cis-6.0": cis,
		"cis-7.0":  "root-access-key:critical key-age-90:high key-unused-45:medium",
		"aws-fsbp": "root-access-key:critical key-age-90:high key-unused-90:medium",
	}
	if len(want) != len(BuiltinNames()) {
		t.Errorf("names %v", BuiltinNames())
	}
	for _, name := range BuiltinNames() {
		rs := builtin(t, name)
		if got := listing(rs); got != want[name] || rs.Name != name || rs.Title == "" {
			t.Errorf("%s (%q, %q):\n got %s\nwant %s", name, rs.Name, rs.Title, got, want[name])
		}
	}
}

func TestBuiltin_rulesOfABenchmarkCarryItsControls(t *testing.T) {
	for name, framework := range map[string]string{
		"cis-1.4": "CIS AWS Foundations 1.4", "cis-3.0": "CIS AWS Foundations 3.0", "cis-5.0": "CIS AWS Foundations 5.0",
		"cis-6.0": "CIS AWS Foundations 6.0", "cis-7.0": "CIS AWS Foundations 7.0", "aws-fsbp": "AWS Security Hub",
	} {
		for _, r := range builtin(t, name).Rules {
			if !slices.ContainsFunc(r.Controls, func(c finding.Control) bool { return c.Framework == framework }) {
				t.Errorf("%s: %s has no control of %s", name, r.ID, framework)
			}
		}
	}
}

func TestBuiltin_unknownNameListsNearOnes(t *testing.T) {
	if _, err := Builtin("cis-5"); err == nil || !strings.Contains(err.Error(), "did you mean cis-5.0") {
		t.Errorf("got %v", err)
	}
}

func TestLoad_buildsOnABuiltinRuleset(t *testing.T) {
	rs := loaded(t, `name: ours
extends: default
rules:
  - id: key-age-30
    enabled: false
  - id: key-age-90
    severity: critical
  - id: key-never-used
    grace: 1d12h
  - id: password-and-key
  - id: key-age-60
    kind: key-age
    max_age: 60d
    severity: low
`)
	if rs.Name != "ours" {
		t.Errorf("name %q", rs.Name)
	}
	want := "root-access-key:critical exposed-key:critical key-age-45:low key-age-90:critical key-created-with-user:medium " +
		"multiple-active-keys:medium key-unused-45:medium key-unused-90:medium key-never-used:medium key-never-used-console:medium " +
		"inactive-key:low password-and-key:medium key-age-60:low"
	if got := listing(rs); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, r := range rs.Rules {
		switch r.ID {
		case "key-never-used":
			if r.Params.Grace != 36*time.Hour || r.Title != "Active keys are used within 1 d 12 h of their making" {
				t.Errorf("key-never-used: %+v %q", r.Params, r.Title)
			}
		case "key-age-60":
			if r.Params.MaxAge != 60*Day || r.Title != "Active keys are at most 60 days old" {
				t.Errorf("key-age-60: %+v %q", r.Params, r.Title)
			}
		}
	}
	if again := builtin(t, "default"); !strings.Contains(listing(again), "key-age-90:high") {
		t.Error("a file changed the built-in ruleset")
	}
}

func TestLoad_onlyExactlyTheThresholdOfTheCatalogueServesItsControls(t *testing.T) {
	for _, c := range []struct {
		kind, param string
		want        string // a control of CIS AWS Foundations 3.0, or none
	}{
		{"key-age", "max_age: 60d", ""}, {"key-age", "max_age: 90d", "1.14"}, {"key-age", "max_age: 90d1s", ""}, {"key-age", "max_age: 89d23h59m59s", ""},
		{"key-age", "max_age: 90d\n    scope: {paths: [\"/service/*\"]}", ""},
		{"key-unused", "max_unused: 45d", "1.12"}, {"key-unused", "max_unused: 30d", ""}, {"key-unused", "max_unused: 60d", ""},
		{"multiple-active-keys", "max_active: 1", "1.13"}, {"multiple-active-keys", "max_active: 2", ""}, {"multiple-active-keys", "max_active: 0", ""},
		{"key-created-with-user", "window: 60s", "1.11"}, {"key-created-with-user", "window: 5m", ""}, {"key-created-with-user", "window: 59s", ""},
		{"key-never-used", "grace: 0s\n    console_only: true", "1.11"}, {"key-never-used", "grace: 0s", ""}, {"key-never-used", "grace: 1d", ""},
	} {
		rs := loaded(t, fmt.Sprintf("rules:\n  - id: mine\n    kind: %s\n    severity: low\n    %s\n", c.kind, c.param))
		got := ""
		for _, control := range rs.Rules[0].Controls {
			if control.Framework == "CIS AWS Foundations 3.0" {
				got = strings.Join(control.IDs, " ")
			}
		}
		if got != c.want {
			t.Errorf("%s with %s serves %q, want %q", c.kind, c.param, got, c.want)
		}
	}
	for _, lines := range []string{"max_active: 2", "max_active: 0", "scope: {users: [a]}"} {
		r := loaded(t, "rules:\n  - id: multiple-active-keys\n    "+lines+"\n").Rules[0]
		if len(r.Controls) != 0 {
			t.Errorf("a catalogue rule with %s still serves %v", lines, r.Controls)
		}
	}
}

func TestLoad_refuses(t *testing.T) {
	mine := func(lines string) string {
		return "rules:\n  - id: mine\n    kind: key-age\n    severity: low\n" + lines
	}
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", []string{"rules.yaml: is empty"}},
		{"no rules", "title: x\n", []string{"no rule is switched on"}},
		{"all off", "rules:\n  - id: key-age-90\n    enabled: false\n", []string{"no rule is switched on"}},
		{"not YAML", "rules: [\n", []string{"rules.yaml:1:8: not YAML"}},
		{"a list", "- a\n", []string{"a list where a mapping"}},
		{"unknown key", mine("    max_agee: 60d\n"), []string{`rules.yaml:5:5: unknown key "max_agee" in a rule`, "5 |     max_agee: 60d", "did you mean max_age"}},
		{"another kind's threshold", mine("    max_unused: 60d\n"), []string{"rules.yaml:5:5: kind key-age has no max_unused", "hint: it has max_age"}},
		{"no thresholds at all", "rules:\n  - id: password-and-key\n    max_age: 3d\n", []string{"kind password-and-key has no max_age", "it has no thresholds"}},
		{"custom key", mine("    fail: 'true'\n"), []string{"kind key-age has no fail"}},
		{"number", mine("    max_age: 60\n"), []string{"rules.yaml:5:14: max_age: a number without a unit", "such as 90d"}},
		{"unit", mine("    max_age: 3w\n"), []string{`"3w" is not a duration`}},
		{"zero", mine("    max_age: 0d\n"), []string{"0d would fail every key"}},
		{"too long", mine("    max_age: 99999999d\n"), []string{"longer than a century"}},
		{"severity", "rules:\n  - id: key-age-90\n    severity: urgent\n", []string{`rules.yaml:3:15: unknown severity "urgent"`}},
		{"own without severity", "rules:\n  - id: mine\n    kind: key-age\n", []string{`rule "mine" has no severity`}},
		{"own without kind", "rules:\n  - id: key-age-91\n", []string{`rules.yaml:2:9: rule "key-age-91" is not in the catalogue`, "key-age-90"}},
		{"kind", "rules:\n  - id: mine\n    kind: keyage\n    severity: low\n", []string{`unknown kind "keyage"`, "did you mean key-age"}},
		{"kind of another", "rules:\n  - id: key-age-90\n    kind: key-unused\n", []string{"key-age-90 is of kind key-age, not key-unused"}},
		{"number in the name", "rules:\n  - id: key-age-90\n    max_age: 365d\n", []string{"key-age-90 promises its number of days", "enabled: false"}},
		{"twice", "rules:\n  - id: key-age-90\n  - id: key-age-90\n", []string{`rules.yaml:3:9: a second entry with id "key-age-90"`}},
		{"id", "rules:\n  - id: Key-Age\n", []string{`id "Key-Age" is not one`}},
		{"no id", "rules:\n  - kind: key-age\n", []string{"rules.yaml:2:5: rule without id"}},
		{"extends", "extends: cis-4.2\n", []string{"extends names no built-in ruleset"}},
		{"reserved name", "name: default\nextends: default\n", []string{`name "default" is a built-in ruleset's`}},
		{"scope key", mine("    scope: {user: [a]}\n"), []string{`unknown key "user" in a scope`, "did you mean users"}},
		{"empty scope", mine("    scope: {}\n"), []string{"empty scope"}},
		{"empty list", mine("    scope: {users: []}\n"), []string{"scope with no users"}},
		{"scope text", mine("    scope: {users: bob}\n"), []string{"where users as a list is wanted"}},
		{"bool", mine("    enabled: 'yes'\n"), []string{"true or false"}},
		{"count", "rules:\n  - id: multiple-active-keys\n    max_active: -1\n", []string{"max_active"}},
		{"merge key", "x: &a\n  id: b\nrules: []\n", []string{`unknown key "x"`}},
	} {
		_, err := Load("rules.yaml", []byte(c.text))
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

func TestSelect_takesFromTheRulesetThenFromTheCatalogue(t *testing.T) {
	rs := loaded(t, "extends: cis-5.0\nrules:\n  - id: key-age-90\n    severity: low\n  - id: mine\n    kind: key-age\n    max_age: 5d\n    severity: low\n")
	for _, c := range []struct {
		ids  []string
		want string
	}{
		{[]string{"key-age-90"}, "key-age-90:low"},
		{[]string{"mine", "IAM-043"}, "key-created-with-user:medium mine:low"},
		{[]string{"password-and-key"}, "password-and-key:medium"},
		{[]string{"iam_user_accesskey_unused"}, "key-unused-45:medium key-unused-90:medium"},
		{[]string{"key-age-90", "KEY-AGE-90", "IAM.3"}, "key-age-90:low"},
	} {
		got, err := Select(rs, c.ids)
		if err != nil || listing(got) != c.want {
			t.Errorf("Select(%v) = %s, %v; want %s", c.ids, listing(got), err, c.want)
		}
	}
	if same, err := Select(rs, nil); err != nil || same != rs {
		t.Error("no ids change the ruleset")
	}
	_, err := Select(rs, []string{"key-age-9", "min", "zzz"})
	for _, want := range []string{`unknown rule "key-age-9"`, "key-age-90", "did you mean mine?", `unknown rule "zzz"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestParseDuration_isStrict(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90d": 90 * Day, "36h": 36 * time.Hour, "1d12h": 36 * time.Hour, "60s": time.Minute, "0s": 0, "1d1h1m1s": Day + time.Hour + time.Minute + time.Second,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "90", "d", "-1d", "1.5d", "1 d", "1h1d", "1d1d", "1w", "1ms", "99999999999999999999d", "36501d", "1d ", "٣d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, name := range BuiltinNames() {
		data, err := builtins.ReadFile("rulesets/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("rules:\n  - id: a\n    kind: key-age\n    severity: low\n    scope: {tags: {a: b}}\n"))
	f.Add([]byte("rules:\n  - id: a\n    kind: custom\n    subject: key\n    severity: low\n    title: a\n    message: b\n    fail: |\n      é &&\n\n      key.age > duration(\"90d\")\n    when: \"key.agee\"\n"))
	f.Add([]byte("exceptions:\n  - rule: \"*\"\n    expires: 2027-01-01\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if rs, err := Load("f", data); err == nil && len(rs.Rules) == 0 {
			t.Errorf("%q: a ruleset without rules", data)
		}
		_, _ = ParseExceptions("f", data, asOf, asOf)
	})
}
