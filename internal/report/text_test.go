package report_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/report"
)

func TestText_neverGetsWiderThanAsked(t *testing.T) {
	ansi := regexp.MustCompile(`\x1b\[[0-9;]*m`)
	long := fixture()
	vs := fixtureVerdicts()
	for i := range vs {
		vs[i].Account.Name = strings.Repeat("名前", 40)
		vs[i].User += strings.Repeat("x", 150)
		vs[i].Rule += strings.Repeat("-rule", i*4)
		vs[i].Message += strings.Repeat(" word", 20) + strings.Repeat("w", 200)
	}
	long.Verdicts = each(vs)
	for name, a := range map[string]*finding.Audit{"fixture": fixture(), "empty": emptyAudit(), "long": long} {
		for _, f := range []report.Format{report.Text, report.Summary} {
			for _, width := range []int{60, 72, 80, 100, 120, 200} {
				for _, color := range []bool{false, true} {
					o := report.Options{Width: width, Color: color, All: true}
					for line := range strings.Lines(render(t, f, a, o)) {
						line = ansi.ReplaceAllString(strings.TrimSuffix(line, "\n"), "")
						cond := runewidth.Condition{}
						if n := cond.StringWidth(line); n > width {
							t.Errorf("%s of %s at %d: %d columns: %q", f, name, width, n, line)
						}
					}
				}
			}
		}
	}
}

func TestText_looksAsTheGoldenFilesShow(t *testing.T) {
	for _, width := range []int{80, 120} {
		for _, color := range []bool{false, true} {
			out := render(t, report.Text, fixture(), report.Options{Width: width, Color: color})
			kind := "plain"
			if color {
				kind = "color"
			}
			golden(t, fmt.Sprintf("full.%d.%s.text", width, kind), out)
		}
	}
	golden(t, "full.80.color.summary", render(t, report.Summary, fixture(), report.Options{Width: 80, Color: true}))
}

func TestText_isPlainASCIIWithoutColor(t *testing.T) {
	for _, f := range []report.Format{report.Text, report.Summary} {
		for i, r := range render(t, f, fixture(), report.Options{All: true}) {
			if r > 0x7e || r < 0x20 && r != '\n' {
				t.Errorf("%s: %U at byte %d", f, r, i)
			}
		}
	}
}

func TestText_colorChangesNoWord(t *testing.T) {
	ansi := regexp.MustCompile(`\x1b\[[0-9;]*m`)
	plain := render(t, report.Text, fixture(), report.Options{Width: 80})
	color := ansi.ReplaceAllString(render(t, report.Text, fixture(), report.Options{Width: 80, Color: true}), "")
	color = strings.NewReplacer("─", "-", "█", "#").Replace(color)
	if plain != color {
		t.Errorf("with colour it reads differently:\n%s\nwithout:\n%s", color, plain)
	}
}

func TestText_namesEveryFailingRuleOfAKey(t *testing.T) {
	out := render(t, report.Text, fixture(), report.Options{Width: 200})
	for line := range strings.Lines(out) {
		if strings.Contains(line, "1204d") {
			if !strings.Contains(line, "key-age-30/45/90 key-created-with-user key-unused-45/90") {
				t.Errorf("the key of ci-deploy: %q", line)
			}
			return
		}
	}
	t.Errorf("no line for the key of ci-deploy in:\n%s", out)
}

func TestText_putsTheWorstUserFirst(t *testing.T) {
	out := render(t, report.Text, fixture(), report.Options{})
	at := -1
	for _, user := range []string{"\n  <root_account>\n", "\n  ci-deploy\n", "\n  alice\n", "\n  =<script>"} {
		i := strings.Index(out, user)
		if i <= at {
			t.Errorf("user %q stands at byte %d, want it after %d", user, i, at)
		}
		at = i
	}
}

func TestText_saysIncompleteLoudlyAndNeverPassThen(t *testing.T) {
	a := emptyAudit()
	a.Complete = false
	for _, f := range []report.Format{report.Text, report.Markdown, report.HTML, report.Summary} {
		out := render(t, f, a, report.Options{})
		if !strings.Contains(out, "INCOMPLETE") {
			t.Errorf("%s of an incomplete audit does not say INCOMPLETE:\n%s", f, out)
		}
		if strings.Contains(out, "PASS") {
			t.Errorf("%s of an incomplete audit says PASS", f)
		}
	}
	if out := render(t, report.Text, emptyAudit(), report.Options{}); !strings.Contains(out, "PASS Nothing fails. Read: 4 users, 3 keys") {
		t.Errorf("a clean audit is not told calmly:\n%s", out)
	}
}

func TestText_tellsKeysOfOneSecondApart(t *testing.T) {
	made := daysAgo(100)
	one := &fact.Key{ID: "AKIAFAKETWIN00000001", Active: true, Created: made, LastUsed: fact.Use{At: fact.Never()}}
	two := &fact.Key{ID: "AKIAFAKETWIN00000002", Active: true, Created: made, LastUsed: fact.Use{At: fact.Never()}}
	var vs []finding.Verdict
	for _, rule := range []string{"key-age-30", "key-age-90"} { // in the order of Compare they alternate
		for _, k := range []*fact.Key{one, two} {
			vs = append(vs, verdict(prod, "twin", k, rule, "key-age", finding.High, finding.Fail, daysAgo(10), "old", nil))
		}
	}
	a := emptyAudit()
	a.Verdicts = each(vs)
	out := render(t, report.Text, a, report.Options{Width: 120})
	for _, k := range []*fact.Key{one, two} {
		if n := strings.Count(out, k.ID); n != 1 {
			t.Errorf("key %s has %d lines, want 1:\n%s", k.ID, n, out)
		}
	}
	if !strings.Contains(out, "4 findings on 2 keys of 1 user") {
		t.Errorf("result does not count two keys:\n%s", out)
	}
}
