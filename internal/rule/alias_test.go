package rule

import (
	"slices"
	"strings"
	"testing"
)

func TestResolve_knowsNamesElsewhere(t *testing.T) {
	for name, want := range map[string]string{
		"key-age-90": "key-age-90", "KEY-AGE-90": "key-age-90", " key-age-90 ": "key-age-90",
		"IAM-001": "key-age-30", "IAM-002": "key-age-45", "IAM-038": "key-age-90", "IAM-043": "key-created-with-user", "iam-043": "key-created-with-user",
		"IAM-004": "multiple-active-keys", "IAM-003": "key-unused-90", "IAM-024": "password-and-key", "IAM-015": "root-access-key",
		"access-keys-rotated":               "key-age-30 key-age-45 key-age-90",
		"iam-user-unused-credentials-check": "key-unused-45 key-unused-90",
		"iam-root-access-key-check":         "root-access-key",
		"IAM.3":                             "key-age-90", "IAM.4": "root-access-key", "IAM.8": "key-unused-90", "iam.22": "key-unused-45",
		"iam_rotate_access_key_90_days": "key-age-90", "iam_user_two_active_access_key": "multiple-active-keys",
		"iam_user_accesskey_unused": "key-unused-45 key-unused-90", "iam_user_no_setup_initial_access_key": "key-never-used-console",
		"iam_no_root_access_key": "root-access-key",
		"cis-5.0:1.13":           "key-age-90", "CIS 5.0.0 1.13": "key-age-90", "CIS AWS Foundations 5.0 1.13": "key-age-90", "cis-1.2:1.4": "key-age-90",
		"cis-1.2:1.3": "key-unused-90", "cis-1.4:1.12": "key-unused-45", "CIS 4.0.1 1.13": "multiple-active-keys", "cis-7.0:2.11": "key-unused-45",
		"cis-6.0:2.10":   "key-created-with-user key-never-used-console",
		"cis-6.0:2.13":   "key-age-90",
		"aws-fsbp:IAM.8": "key-unused-90",
	} {
		got, err := Resolve(name)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("Resolve(%q) = %v, %v; want %s", name, got, err, want)
		}
	}
}

func TestResolve_refusesWhatIsAmbiguousOrUnknown(t *testing.T) {
	for name, want := range map[string][]string{
		"1.13":            {"without its version", "cis-3.0:1.13 (multiple-active-keys)", "cis-5.0:1.13 (key-age-90)"},
		"CIS 1.13":        {"without its version", "cis-5.0:1.13"},
		"1.10":            {"without its version", "hint: ", "cis-5.0:1.10 (key-created-with-user, key-never-used-console)"},
		"1.14":            {"without its version", "cis-3.0:1.14 (key-age-90)"}, // the same in all that have it
		"2.11":            {"without its version", "cis-6.0:2.11", "cis-7.0:2.11"},
		"CIS 2.13":        {"without its version", "hint: write cis-6.0:2.13 (key-age-90)"}, // 6.0 alone has it
		"key-age-9":       {"unknown rule", "did you mean key-age-90"},
		"IAM-44":          {"did you mean"},
		"cis-7.0:2.10":    {"unknown rule"}, // dropped there
		"IAM.26":          {"unknown rule"}, // about certificates
		"aws-fsbp:IAM.22": {"unknown rule"},
		"":                {"unknown rule"},
		"*":               {"unknown rule"},
	} {
		_, err := Resolve(name)
		for _, part := range want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("Resolve(%q): error lacks %q: %v", name, part, err)
			}
		}
	}
}

// The table of the rule catalogue: id, kind, severity, threshold, names elsewhere.
func TestCatalogue_isTheOneOfTheDesign(t *testing.T) {
	want := []struct {
		id, kind, severity string
		params             Params
		names              string
	}{
		{"root-access-key", "root-access-key", "critical", Params{}, "IAM-015 IAM.4 iam-root-access-key-check iam_no_root_access_key"},
		{"exposed-key", "exposed-key", "critical", Params{}, ""},
		{"key-age-30", "key-age", "low", Params{MaxAge: 30 * Day}, "IAM-001 access-keys-rotated"},
		{"key-age-45", "key-age", "low", Params{MaxAge: 45 * Day}, "IAM-002 access-keys-rotated"},
		{"key-age-90", "key-age", "high", Params{MaxAge: 90 * Day}, "IAM-038 IAM.3 access-keys-rotated iam_rotate_access_key_90_days"},
		{"key-created-with-user", "key-created-with-user", "medium", Params{Window: 60e9}, "IAM-043"},
		{"multiple-active-keys", "multiple-active-keys", "medium", Params{MaxActive: 1}, "IAM-004 iam_user_two_active_access_key"},
		{"key-unused-45", "key-unused", "medium", Params{MaxUnused: 45 * Day}, "IAM.22 iam-user-unused-credentials-check iam_user_accesskey_unused"},
		{"key-unused-90", "key-unused", "medium", Params{MaxUnused: 90 * Day}, "IAM-003 IAM.8 iam-user-unused-credentials-check iam_user_accesskey_unused"},
		{"key-never-used", "key-never-used", "medium", Params{Grace: 7 * Day}, ""},
		{"key-never-used-console", "key-never-used", "medium", Params{ConsoleOnly: true}, "iam_user_no_setup_initial_access_key"},
		{"inactive-key", "inactive-key", "low", Params{MaxInactive: 90 * Day}, ""},
		{"password-and-key", "password-and-key", "medium", Params{}, "IAM-024"},
	}
	got := Catalogue()
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		var names []string
		for _, a := range g.Aliases {
			if !isCIS(a.Scheme) {
				names = append(names, a.Name)
			}
		}
		if g.ID != w.id || g.Kind.Name != w.kind || string(g.Severity) != w.severity || g.Params != w.params ||
			strings.Join(names, " ") != w.names || g.Title == "" || g.Title == g.Kind.Name {
			t.Errorf("entry %d: %s %s %s %+v %v %q, want %+v", i, g.ID, g.Kind.Name, g.Severity, g.Params, names, g.Title, w)
		}
	}
}

func TestCatalogue_followsTheOrderOfKinds(t *testing.T) {
	var kinds []string
	for _, e := range Catalogue() {
		kinds = append(kinds, e.Kind.Name)
	}
	kinds = slices.Compact(kinds)
	for i, k := range Kinds() {
		if kinds[i] != k.Name {
			t.Errorf("place %d: %s, want %s", i, kinds[i], k.Name)
		}
	}
}
