package report

import (
	"bufio"
	"strconv"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// writeSummary writes counts only: a line an account, a row a rule, one for all. It walks no verdicts.
func writeSummary(w *bufio.Writer, a *finding.Audit, o Options) error {
	p := &page{w: w, width: o.width(), color: o.Color}
	p.line(0, 2, piece{"as of", normal}, piece{minute(fact.At(a.AsOf)), strong}, piece{"by " + clean(a.Ruleset) + " rules", normal})
	for i := range a.Accounts {
		r := &a.Accounts[i]
		counts := countsText(r)
		if len(a.Accounts) > 1 && r.Counts != (finding.Counts{}) {
			counts += ", " + accountCounts(r)
		}
		if n := len(r.Gaps); n > 0 {
			counts += ", " + plural(n, "gap") + " (" + gapKinds(a.Accounts[i:i+1]) + ")"
		}
		p.line(0, 2, piece{accountName(r.Account) + ":", strong}, piece{counts, normal})
	}
	p.blank()
	summaryTable(p, a)
	if len(a.Units) > 0 {
		p.blank()
		unitTable(p, a.Units, 0)
	}
	if !a.Complete {
		p.line(0, 2, piece{"INCOMPLETE", bad}, piece{"some evidence is too old or was not read: unknown is not clean.", normal})
	}
	return nil
}

// summaryTable writes plain digits, for people cut columns out of it.
func summaryTable(p *page, a *finding.Audit) {
	total := a.Totals()
	total.Rule = "all"
	rows := append(append([]finding.RuleResult{}, a.Summary...), total)
	nameWidth, n := len("rule"), len("excepted")
	for _, r := range rows {
		nameWidth = max(nameWidth, lipgloss.Width(clean(r.Rule)))
		for _, s := range finding.Statuses() {
			n = max(n, len(strconv.Itoa(countOf(r, s))))
		}
	}
	// Eight columns of severity and four counts have to fit beside the name.
	nameWidth = min(nameWidth, max(8, p.width-10-4*(n+1)))
	head := cellText("severity", 8) + "  " + cellText("rule", nameWidth)
	for _, title := range []string{"fail", "unknown", "excepted", "pass"} {
		head += " " + rightText(title, n)
	}
	p.put(p.style(faint, head) + "\n")
	for _, r := range rows {
		tn := faint
		if r.Fail > 0 {
			tn = severityTone(r.Severity)
		}
		p.put(p.style(tn, cellText(string(r.Severity), 8)) + "  " + cellText(clean(r.Rule), nameWidth))
		for _, s := range []finding.Status{finding.Fail, finding.Unknown, finding.Excepted, finding.Pass} {
			c := countOf(r, s)
			tn := normal
			switch {
			case c == 0:
				tn = faint
			case s == finding.Fail:
				tn = bad
			case s == finding.Unknown:
				tn = warn
			}
			p.put(" " + p.style(tn, rightText(strconv.Itoa(c), n)))
		}
		p.put("\n")
	}
}
