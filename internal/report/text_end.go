package report

import (
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/finding"
)

// due lists what passes now and will fail soon.
func (t *text) due() {
	if len(t.audit.Due) == 0 {
		return
	}
	title := "Due soon"
	if d := t.options.DueWithin; d > 0 {
		title = "Due within " + span(d)
	}
	t.blank()
	t.heading(strong, title)
	t.dueList()
}

func (t *text) dueList() {
	width := 0
	for i := range t.audit.Due {
		width = max(width, lipgloss.Width(clean(t.audit.Due[i].Rule)))
	}
	for i := range t.audit.Due {
		v := &t.audit.Due[i]
		t.put("  " + t.style(severityTone(v.Severity), severityMark(v.Severity)) + "  ")
		who := userName(v.User)
		if v.Key != nil {
			who += " " + keyName(v.Key)
		}
		if len(t.audit.Accounts) > 1 {
			who += " in " + clean(v.Account.ID)
		}
		t.flow(8, 10, piece{minute(v.Due), strong}, piece{cellText(clean(v.Rule), min(width, t.width/2)), normal}, piece{who, normal})
	}
}

// asides tells what stands beside the findings: exceptions that did nothing, rules not judged, notes.
func (t *text) asides() {
	a := t.audit
	if len(a.Exceptions) > 0 {
		t.blank()
		t.heading(strong, "Exceptions that did nothing")
		for i := range a.Exceptions {
			t.exception(&a.Exceptions[i])
		}
	}
	if len(a.NotJudged) > 0 {
		t.blank()
		t.heading(strong, "Not judged")
		for _, n := range a.NotJudged {
			t.notJudged(n)
		}
	}
	if len(a.Notes) > 0 {
		t.blank()
		t.heading(strong, "Notes")
		for _, n := range a.Notes {
			t.line(2, 4, piece{"-", faint}, piece{clean(n), normal})
		}
	}
}

// notJudged writes a rule and why; a reason may hold a line for each account.
func (t *text) notJudged(n finding.NotJudged) {
	lines := whyLines(n)
	t.line(2, 4, piece{clean(n.Rule) + ":", strong}, piece{lines[0], normal})
	for _, l := range lines[1:] {
		t.line(4, 6, piece{l, normal})
	}
}

func (t *text) exception(n *finding.ExceptionNotice) {
	e := &n.Exception
	tn := warn
	if n.State == finding.Expired {
		tn = bad
	}
	t.line(2, 4, piece{stateText(n.State) + ":", tn}, piece{exceptionScope(e, asIs, asIs), normal})
	t.line(4, 4, piece{exceptionTail(e), faint})
}

func (t *text) scoreboard() {
	s := t.audit.Scoreboard
	if s == nil {
		return
	}
	t.blank()
	t.heading(strong, clean(s.Framework))
	wide := 0
	for _, r := range s.Rows {
		wide = max(wide, lipgloss.Width(clean(r.Control)))
	}
	wide = min(wide, t.width/3)
	for _, r := range s.Rows {
		mark, tn := scoreMark(r)
		t.put("  " + t.style(tn, mark) + "  " + cellText(clean(r.Control), wide) + "  ")
		pieces := []piece{{countText(r.Fail, r.Unknown, r.Excepted, r.Pass), normal}}
		if len(r.Rules) > 0 {
			pieces = append(pieces, piece{"(" + clean(strings.Join(r.Rules, ", ")) + ")", faint})
		}
		t.flow(12+wide, 12+wide, pieces...)
	}
	t.line(2, 4, piece{scoreCaveat, faint})
}

func scoreMark(r finding.ScoreRow) (string, tone) {
	if rowStatus(r) == notJudged {
		return "-     ", warn
	}
	switch r.Status() {
	case finding.Fail:
		return "FAIL  ", bad
	case finding.Unknown:
		return "?     ", warn
	case finding.Excepted:
		return "except", faint
	default:
		return "pass  ", good
	}
}

// result is the end: counts by severity, one sentence with the outcome, and the next move.
func (t *text) result() {
	t.blank()
	t.heading(strong, "Result")
	t.bars()
	total := t.audit.Totals()
	if total.Unknown+total.Excepted > 0 {
		t.line(2, 4, piece{number(total.Unknown) + " unknown, " + number(total.Excepted) + " excepted", normal})
	}
	if t.tally.fails+total.Unknown+total.Excepted > 0 {
		t.blank()
	}
	t.outcome()
}

// bars draws one line a severity, its bar in proportion to the most frequent one.
func (t *text) bars() {
	most, digits := 0, 1
	for _, n := range t.tally.bySeverity {
		most = max(most, n)
		digits = max(digits, len(number(n)))
	}
	if most == 0 {
		return
	}
	block := "#"
	if t.color {
		block = "█"
	}
	room := max(8, min(40, t.width-16-digits))
	for _, s := range severitiesDown() {
		n := t.tally.bySeverity[s]
		bar := 0
		if n > 0 {
			bar = max(1, n*room/most)
		}
		tn := severityTone(s)
		if tn == critical {
			tn = bad
		}
		if n == 0 {
			tn = faint
		}
		line := "  " + t.style(tn, cellText(string(s), 8)) + "  " + rightText(number(n), digits) + "  " +
			t.style(tn, strings.Repeat(block, bar))
		t.put(strings.TrimRight(line, " ") + "\n")
	}
}

func (t *text) outcome() {
	read := countsOf(t.audit) + ", " + plural(len(t.audit.Summary), "rule")
	switch {
	case t.tally.fails > 0:
		t.line(2, 4, piece{"FAIL", bad}, piece{fmt.Sprintf("%s on %s of %s; read: %s.",
			plural(t.tally.fails, "finding"), plural(t.tally.keys, "key"), plural(t.tally.users, "user"), read), strong})
	case !t.audit.Complete:
		t.line(2, 4, piece{"NOTHING FAILS in what was read:", warn}, piece{read + ".", normal})
	default:
		t.line(2, 4, piece{"PASS", good}, piece{"Nothing fails. Read: " + read + ".", normal})
	}
	if !t.audit.Complete {
		why := "some evidence is too old or was not read"
		if gaps := gapCount(t.audit); gaps > 0 {
			why = plural(gaps, "reading") + " did not succeed (" + gapKinds(t.audit.Accounts) + ")"
		}
		t.line(2, 4, piece{"INCOMPLETE", bad}, piece{why + ": what rests on it is unknown, not clean.", strong})
	}
	if t.tally.worstRule != "" {
		t.line(2, 4, piece{"hint:", faint}, piece{"keyreeve rules show " + clean(t.tally.worstRule), normal})
	}
}
