package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/report"
)

func TestBundles_neverLendASubjectTheRuleOfAnother(t *testing.T) {
	accepted := &finding.Exception{Rule: "*", Account: "*", User: "*", Reason: "migration", Owner: "it@example.com", Expires: daysAgo(-9)}
	var vs []finding.Verdict
	add := func(user, rule string, st finding.Status) {
		v := verdict(prod, user, nil, rule, "key-age", finding.High, st, fact.Time{}, "not stated", nil)
		if st == finding.Excepted {
			v.Exception = accepted
		}
		vs = append(vs, v)
	}
	for _, st := range []finding.Status{finding.Excepted, finding.Unknown} {
		add("ana-"+string(st), "key-age-90", st)
		add("bob-"+string(st), "key-age-90", st)
		add("cat-"+string(st), "key-age-30", st)
		add("cat-"+string(st), "inactive-key", st)
	}
	a := emptyAudit()
	a.Verdicts = each(vs)
	text := render(t, report.Text, a, report.Options{Width: 200})
	page := render(t, report.Markdown, a, report.Options{})
	for _, st := range []string{"excepted", "unknown"} {
		for out, wants := range map[string][]string{
			text: {"\n    ana-" + st + ", bob-" + st + ": key-age-90\n    cat-" + st + ": inactive-key, key-age-30\n"},
			page: {"- `ana-" + st + "`, `bob-" + st + "`: key-age-90. ", "- `cat-" + st + "`: inactive-key, key-age-30. "},
		} {
			for _, want := range wants {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
		}
	}
	if n := strings.Count(text, "it@example.com: migration"); n != 1 {
		t.Errorf("the reason stands %d times:\n%s", n, text)
	}
}

func TestGaps_ofOneReasonAreToldOnce(t *testing.T) {
	a := emptyAudit()
	a.Complete = false
	for i := range 5000 {
		user := fmt.Sprintf("user-%04d", i)
		a.Accounts[0].Gaps = append(a.Accounts[0].Gaps, fact.Gap{
			Reading: "ListAccessKeys", Subject: user, Why: fmt.Sprintf("list access keys of user %q: access denied: iam:ListAccessKeys", user),
		})
	}
	a.Accounts[0].Gaps = append(a.Accounts[0].Gaps, fact.Gap{Reading: "ListAccountAliases", Why: "throttled"})
	for _, f := range []report.Format{report.Text, report.Markdown, report.HTML} {
		out := render(t, f, a, report.Options{Width: 300})
		if n := strings.Count(out, "access denied"); n != 1 {
			t.Errorf("%s gives the reason %d times", f, n)
		}
		for _, want := range []string{"ListAccessKeys of 5,000 (", "user-0000", "user-0004", "and 4,995 more", `list access keys of user "..."`, "ListAccountAliases"} {
			if f == report.HTML {
				want = strings.ReplaceAll(want, `"`, "&#34;")
			}
			if !strings.Contains(out, want) {
				t.Errorf("%s does not say %q:\n%.2000s", f, want, out)
			}
		}
		if strings.Contains(out, "user-0005") {
			t.Errorf("%s lists too many", f)
		}
	}
	for _, f := range []report.Format{report.Text, report.Summary} {
		if out := render(t, f, a, report.Options{Width: 200}); !strings.Contains(out, "(5,000 ListAccessKeys, 1 ListAccountAliases)") {
			t.Errorf("%s does not say what failed how often:\n%.2000s", f, out)
		}
	}
	if n := strings.Count(render(t, report.JSON, a, report.Options{}), `"reading": "ListAccessKeys"`); n != 5000 {
		t.Errorf("json has %d gaps, want 5000", n)
	}
}

func TestText_aReasonOfSeveralLinesStaysReadable(t *testing.T) {
	a := emptyAudit()
	a.NotJudged = []finding.NotJudged{{Rule: "root-access-key", Why: "no row for root in the report of account 111122223333\nno row for root in the report of account 444455556666\x1b"}}
	out := render(t, report.Text, a, report.Options{Width: 80})
	want := "\n  root-access-key: no row for root in the report of account 111122223333\n    no row for root in the report of account 444455556666\\x1b\n"
	if !strings.Contains(out, want) {
		t.Errorf("no %q in:\n%s", want, out)
	}
}

func TestText_theColumnIsForAtEveryWidth(t *testing.T) {
	for _, width := range []int{60, 80, 120, 200} {
		out := render(t, report.Text, fixture(), report.Options{Width: width})
		heads := 0
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, "          key  ") {
				continue
			}
			heads++
			if !strings.Contains(line, "  for") || strings.Contains(line, "since") {
				t.Errorf("width %d: the head is %q", width, line)
			}
		}
		if heads != 2 {
			t.Errorf("width %d: %d heads, want 2", width, heads)
		}
	}
}

// An age in days alone would look the same for a key that passes its limit and one that fails it.
func TestText_tellsAnAgeAtALimitFromOneJustOverIt(t *testing.T) {
	const d = 24 * time.Hour
	for _, c := range []struct {
		age  time.Duration
		want string
	}{
		{90 * d, "90d"}, {90*d + time.Second, "90d+"}, {90*d + time.Hour, "90d1h"}, {91*d - 1, "90d23h"}, {91 * d, "91d"}, {90*d - time.Second, "89d"},
		{45*d + 4*time.Hour, "45d4h"}, {30*d + 1, "30d+"}, {203*d + time.Hour, "203d"}, {60*d + time.Hour, "60d"}, {5 * time.Hour, "5h"}, {-time.Second, "future"},
	} {
		k := &fact.Key{Slot: 1, Active: true, Created: fact.At(asOf.Add(-c.age)), LastUsed: fact.Use{At: fact.Never()}}
		a := emptyAudit()
		a.Verdicts = each([]finding.Verdict{verdict(prod, "ana", k, "key-age-30", "key-age", finding.Low, finding.Fail, fact.Time{}, "old", nil)})
		for f, cell := range map[report.Format]string{report.Text: " " + c.want + "  never", report.Markdown: "| " + c.want + " | never", report.HTML: ">" + strings.ReplaceAll(c.want, "+", "&#43;") + "</td>"} {
			if out := render(t, f, a, report.Options{Width: 100}); !strings.Contains(out, cell) {
				t.Errorf("%s: age %v is not shown as %q:\n%s", f, c.age, cell, out)
			}
		}
	}
}

func TestScoreboard_saysNotJudgedAndWhatItCovers(t *testing.T) {
	for f, row := range map[report.Format]string{
		report.Text: "-       1.14  not judged\n", report.Markdown: "| 1.14 | not judged |", report.HTML: ">not judged</span>",
	} {
		out := render(t, f, fixture(), report.Options{Width: 200})
		if !strings.Contains(out, row) || !strings.Contains(out, "rests on access keys only") || strings.Contains(out, "nothing judged") {
			t.Errorf("%s lacks %q or what the scoreboard covers:\n%s", f, row, out)
		}
	}
	if out := render(t, report.JSON, fixture(), options()); !strings.Contains(out, "\"control\": \"1.14\",\n        \"status\": \"unknown\"") {
		t.Error("json no longer calls such a control unknown: the contract")
	}
}

func TestMarkdown_linksNothingAndMentionsNobody(t *testing.T) {
	v := verdict(prod, "@octocat", nil, "key-age-90", "key-age", finding.High, finding.Unknown, fact.Time{}, "see www.example.com and WWW.example.com, http://example.com", nil)
	a := emptyAudit()
	tricks := []string{"`` ` ``", " x ", `a\`, "a|b", "www.evil.example"}
	vs := []finding.Verdict{v}
	for _, name := range tricks {
		vs = append(vs, verdict(prod, name, nil, "key-age-90", "key-age", finding.High, finding.Fail, fact.Time{}, "old", nil))
	}
	a.Verdicts = each(vs)
	out := render(t, report.Markdown, a, report.Options{})
	for _, want := range []string{
		"- `@octocat`: ", "see www&#46;example.com and WWW&#46;example.com, http&#58;//", `| <code>\` + "`\\` \\` \\`\\`</code> |", "| <code> x </code> |",
		`| <code>a\\</code> |`, `| <code>a\|b</code> |`, "| `www.evil.example` |",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
