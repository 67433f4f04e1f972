package rule

import (
	"regexp"
	"strings"
	"testing"
)

func TestGlob_coversTheWholeText(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		fold, want    bool
	}{
		{"bob", "bob", false, true},
		{"bob", "bobby", false, false},
		{"bob", "abob", false, false},
		{"bob", "Bob", false, false},
		{"bob", "BOB", true, true},
		{"BOB", "bob", true, true},
		{"ci-*", "ci-deploy", false, true},
		{"ci-*", "ci-", false, true},
		{"ci-*", "xci-deploy", false, false},
		{"*", "", false, true},
		{"", "", false, true},
		{"", "a", false, false},
		{"?", "", false, false},
		{"?", "é", false, true},
		{"??", "é", false, false},
		{"*é?", "aéb", false, true},
		{"a*b*c", "axxbyyc", false, true},
		{"a*b*c", "axxbyy", false, false},
		{"/service/*", "/service/deep/", false, true},
		{"a.c", "abc", false, false},
		{"[ab]", "a", false, false},
		{"a+b=c,d.e@f_g-h", "a+b=c,d.e@f_g-h", false, true},
		{"**a**", "a", false, true},
		{"k", "\u212a", true, false}, // the Kelvin sign is no ASCII letter
	} {
		from := len(c.text)
		if c.fold {
			from = 0
		}
		if got := glob(c.pattern, c.text, from); got != c.want {
			t.Errorf("glob(%q, %q, fold %v) = %v, want %v", c.pattern, c.text, c.fold, got, c.want)
		}
	}
}

func TestGlob_hostilePatternEndsSoon(t *testing.T) {
	// Exponential backtracking would not come back from this one.
	if glob(strings.Repeat("*a", 200)+"b", strings.Repeat("a", 20000), 0) {
		t.Error("matched")
	}
}

func TestMatchesUser_foldsNamesAndNotPaths(t *testing.T) {
	const arn = "arn:aws:iam::111122223333:user/Dev/Bob"
	for pattern, want := range map[string]bool{
		"bob": true, "BOB": true, "bo": false, "*ob": true, "Dev/Bob": false,
		arn:                                        true,
		"arn:aws:iam::111122223333:user/Dev/bOB":   true,
		"arn:aws:iam::111122223333:user/dev/Bob":   false,
		"arn:aws:iam::111122223333:user/Dev/*":     true,
		"arn:aws:iam::*:user/*":                    true,
		"arn:aws:iam::111122223333:user/Dev/Bobby": false,
		"arn:aws:iam::111122223333:user/Bob":       false,
	} {
		if got := matchesUser(pattern, "Bob", arn); got != want {
			t.Errorf("matchesUser(%q) = %v, want %v", pattern, got, want)
		}
	}
}

func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{{"a*b?", "axxbc"}, {"*", ""}, {"?*?", "é"}, {"[a]", "a"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 40 || len(text) > 200 || strings.ToValidUTF8(text, "") != text || strings.ToValidUTF8(pattern, "") != pattern {
			return
		}
		re := regexp.QuoteMeta(pattern)
		re = strings.ReplaceAll(strings.ReplaceAll(re, `\*`, `.*`), `\?`, `.`)
		want := regexp.MustCompile(`(?s)\A` + re + `\z`).MatchString(text)
		if got := glob(pattern, text, len(text)); got != want {
			t.Errorf("glob(%q, %q) = %v, a regular expression says %v", pattern, text, got, want)
		}
	})
}
