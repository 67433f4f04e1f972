package rule

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/internal/finding"
)

func TestControls_numbersOfCISByVersion(t *testing.T) {
	// version: root, setup, unused (and after how many days), one active key, rotation; - where it has none.
	for version, row := range map[string][6]string{
		"1.2": {"1.12", "1.21", "1.3", "90", "-", "1.4"}, "1.3": {"1.4", "1.11", "1.12", "90", "1.13", "1.14"},
		"1.4": {"1.4", "1.11", "1.12", "45", "1.13", "1.14"}, "3.0": {"1.4", "1.11", "1.12", "45", "1.13", "1.14"},
		"4.0": {"1.4", "1.11", "1.12", "45", "1.13", "1.14"}, "5.0": {"1.3", "1.10", "1.11", "45", "1.12", "1.13"},
		"6.0": {"2.3", "2.10", "2.11", "45", "2.12", "2.13"}, "7.0": {"2.4", "-", "2.11", "45", "-", "2.12"},
	} {
		other := map[string]string{"45": "key-unused-90", "90": "key-unused-45"}[row[3]]
		for id, want := range map[string]string{
			"root-access-key": row[0], "key-created-with-user": row[1], "key-never-used-console": row[1],
			"key-unused-" + row[3]: row[2], other: "-", "multiple-active-keys": row[4], "key-age-90": row[5],
			"key-age-30": "-", "key-age-45": "-", "key-never-used": "-", "inactive-key": "-",
		} {
			got := strings.Join(ControlsOf(id, "cis-"+version), " ")
			if got == "" {
				got = "-"
			}
			if got != want {
				t.Errorf("CIS %s, %s: %s, want %s", version, id, got, want)
			}
		}
	}
}

func TestControls_everyMappingHasASourceAndAClauseOfItsFramework(t *testing.T) {
	for _, row := range controls().Mappings {
		if _, ok := entry(row.Rule); !ok {
			t.Errorf("%s is not in the catalogue", row.Rule)
		}
		if len(row.IDs) == 0 || len(row.Sources) == 0 {
			t.Errorf("%s, %s: ids %v, sources %v", row.Rule, row.Framework, row.IDs, row.Sources)
		}
		for _, id := range row.IDs {
			// A source's own spellings, and a control that is about certificates.
			if strings.HasPrefix(id, "ac_") || strings.HasPrefix(id, "gv_") || strings.Contains(id, ".aws.") || id == "IAM.26" || strings.Contains(id, "_a3") {
				t.Errorf("%s, %s: %s is no id of the framework", row.Rule, row.Framework, id)
			}
		}
	}
	for _, row := range controls().Named {
		if len(row.IDs) != 0 || len(row.Sources) == 0 {
			t.Errorf("named: %+v", row)
		}
		if slices.ContainsFunc(controls().Mappings, func(m controlRow) bool { return m.Rule == row.Rule && m.Framework == row.Framework }) {
			t.Errorf("%s, %s is both mapped and only named", row.Rule, row.Framework)
		}
	}
}

func TestControls_ofTheShortLists(t *testing.T) {
	for _, c := range []struct{ rule, framework, want string }{
		{"key-age-90", "nist-800-53-r5", "AC-2(1) AC-2(3) AC-3(15)"},
		{"key-unused-90", "NIST 800-53 r5", "AC-2(1) AC-2(3) AC-3(15)"},
		{"key-unused-45", "nist-800-53-r5", "AC-2(1) AC-2(3) AC-3(15)(a) AC-3(15)(b)"}, // no source gives AC-3(15) itself
		{"key-created-with-user", "asd-essential-eight-nov-2023", "E8-4.2"}, {"multiple-active-keys", "ASD Essential Eight Nov 2023", "E8-4.2"},
		{"key-created-with-user", "nist-800-53", "AC-3 AC-6(2) AC-6(5) MP-2"},
		{"key-created-with-user", "cis-controls-v6", "16"}, {"key-created-with-user", "cis-controls-v7", "16"},
		{"key-unused-45", "aws-fsbp", ""}, {"key-unused-90", "aws-fsbp", "IAM.8"}, {"key-unused-45", "aws-security-hub", "IAM.22"},
		{"key-age-90", "pci-dss-4.0.1", "8.3.9 8.6.3"}, {"key-unused-90", "iso-27001-2022", "A.5.15"},
		{"key-age-30", "soc-2", ""},
	} {
		if got := strings.Join(ControlsOf(c.rule, c.framework), " "); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.rule, c.framework, got, c.want)
		}
	}
}

func TestFindFramework_byNameSlugAndWaysToWriteCIS(t *testing.T) {
	slugs := map[string]bool{}
	for _, f := range Frameworks() {
		if slugs[f.Slug] || strings.ContainsAny(f.Slug, " /:()&") {
			t.Errorf("slug %q of %s", f.Slug, f.Name)
		}
		slugs[f.Slug] = true
		for _, name := range []string{f.Name, f.Slug, strings.ToUpper(f.Name)} {
			if got, err := FindFramework(name); err != nil || got != f {
				t.Errorf("FindFramework(%q) = %v, %v", name, got, err)
			}
		}
	}
	for _, name := range []string{"cis-5.0", "CIS 5.0", "CIS 5.0.0", "cis-5.0.0", "CIS AWS Foundations Benchmark v5.0.0", "cis aws 5.0"} {
		if got, err := FindFramework(name); err != nil || got.Name != "CIS AWS Foundations 5.0" {
			t.Errorf("FindFramework(%q) = %v, %v", name, got, err)
		}
	}
	if _, err := FindFramework("soc2"); err == nil || !strings.Contains(err.Error(), "did you mean soc-2?") {
		t.Errorf("soc2: %v", err)
	}
	for _, f := range coreFrameworks() {
		if _, err := FindFramework(f); err != nil {
			t.Error(err)
		}
	}
}

func TestWithFramework_addsOnceAndLeavesTheRulesetAlone(t *testing.T) {
	rs := builtin(t, "default")
	f, err := FindFramework("pci-dss-3.2.1")
	if err != nil {
		t.Fatal(err)
	}
	count := func(rs *Ruleset) int {
		n := 0
		for _, r := range rs.Rules {
			for _, c := range r.Controls {
				if c.Framework == f.Name {
					n++
				}
			}
		}
		return n
	}
	with := WithFramework(WithFramework(rs, f), f)
	if count(rs) != 0 || count(with) != 3 {
		t.Errorf("before %d, after %d, want 0 and 3", count(rs), count(with))
	}
}

func TestWithFramework_leavesOutWhatIsNotTheControl(t *testing.T) {
	f, err := FindFramework("nist-800-53-r4")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		want bool
	}{
		{"  - id: key-age-90\n", true},
		{"  - id: mine\n    kind: key-age\n    severity: low\n    max_age: 90d\n", true},
		{"  - id: key-age-60\n    kind: key-age\n    severity: low\n    max_age: 60d\n", false},
		{"  - id: key-age-90\n    scope: {users: [\"ci-*\"]}\n", false},
		{"  - id: root-access-key\n    scope: {accounts: [\"111122223333\"]}\n", false},
	} {
		r := WithFramework(loaded(t, "rules:\n"+c.text), f).Rules[0]
		got := slices.ContainsFunc(r.Controls, func(c finding.Control) bool { return c.Framework == f.Name })
		if got != c.want || !c.want && len(r.Controls) != 0 {
			t.Errorf("%s carries %v", c.text, r.Controls)
		}
	}
}

func TestRules_verdictControlsAreTheCoreListOnly(t *testing.T) {
	for _, r := range builtin(t, "default").Rules {
		for _, c := range r.Controls {
			if !slices.Contains(coreFrameworks(), c.Framework) {
				t.Errorf("%s carries %s", r.ID, c.Framework)
			}
		}
		if r.ID == "key-age-90" && !slices.ContainsFunc(r.Controls, func(c finding.Control) bool {
			return c.Framework == "CIS AWS Foundations 5.0" && slices.Equal(c.IDs, []string{"1.13"})
		}) {
			t.Errorf("key-age-90: %v", r.Controls)
		}
	}
}
