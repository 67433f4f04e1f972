package report

import (
	"bufio"
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// writeText writes the report that people read first: an account at a time, the worst user first, one line
// a key with every rule it fails, then what was not read, not judged or accepted, and the result last,
// where a terminal ends up.
func writeText(w *bufio.Writer, a *finding.Audit, o Options) error {
	t := &text{page: page{w: w, width: o.width(), color: o.Color}, audit: a, options: o}
	t.line(0, 2, piece{product, strong}, piece{"audit,", normal}, piece{clean(a.Ruleset), normal},
		piece{"rules, as of", normal}, piece{minute(fact.At(a.AsOf)), strong})
	many := len(a.Accounts) > listed
	var calm []string
	var closed []*shutGroup
	for s := range sections(a, o) {
		t.tally.count(s)
		switch {
		case many && quiet(s):
			calm = append(calm, accountName(s.result.Account))
		case many && shut(s.result):
			closed = addShut(closed, s.result)
		default:
			t.account(s)
		}
	}
	t.tally.pickWorst(a)
	t.shutOnes(closed)
	t.calmOnes(calm)
	t.units()
	t.due()
	t.asides()
	t.scoreboard()
	t.result()
	return nil
}

type text struct {
	page
	audit   *finding.Audit
	options Options
	tally   tally
}

func (t *text) account(s *section) {
	r := s.result
	t.blank()
	t.heading(strong, accountName(r.Account))
	t.line(2, 4, piece{countsText(r), normal})
	t.line(2, 4, piece{"evidence: " + evidenceText(r, t.audit.AsOf), faint})
	if n := len(r.Gaps); n > 0 {
		t.gaps(r.Gaps)
	}
	if len(s.failing) == 0 {
		t.calm(s)
	} else {
		t.table(s.failing, false)
	}
	if len(s.unknown) > 0 {
		t.bundles("could not be judged: unknown, not clean", warn, s.unknown)
	}
	if len(s.excepted) > 0 {
		t.bundles("accepted risks", faint, s.excepted)
	}
	if len(s.passing) > 0 {
		t.blank()
		t.line(2, 4, piece{"passing", good})
		t.table(s.passing, true)
	}
}

func (t *text) calm(s *section) {
	t.blank()
	if len(s.result.Gaps) > 0 || len(s.unknown) > 0 {
		t.line(2, 4, piece{"Nothing fails in what was read; see what was not.", warn})
		return
	}
	t.line(2, 4, piece{"Nothing fails here.", good})
}

// shutOnes names the accounts of a long list of which nothing was read.
func (t *text) shutOnes(groups []*shutGroup) {
	if len(groups) == 0 {
		return
	}
	t.blank()
	t.heading(bad, shutTitle(groups))
	for _, g := range groups {
		t.line(2, 4, piece{g.reading + ":", strong}, piece{g.why, normal})
		t.line(4, 4, piece{g.accountsText(asIs), normal})
	}
	t.line(2, 4, piece{"What the rules ask of them is unknown, not clean.", faint})
}

// calmOnes names the accounts of a long list in which nothing fails.
func (t *text) calmOnes(names []string) {
	if len(names) == 0 {
		return
	}
	t.blank()
	t.heading(strong, "Nothing fails in "+plural(len(names), "account"))
	more := ""
	if len(names) > listed {
		more = fmt.Sprintf(" and %s more, all in -o summary", number(len(names)-listed))
		names = names[:listed]
	}
	t.line(2, 4, piece{strings.Join(names, ", ") + more, normal})
}

func (t *text) units() {
	if len(t.audit.Units) == 0 {
		return
	}
	t.blank()
	t.heading(strong, "By organisational unit, those below included")
	unitTable(&t.page, t.audit.Units, 2)
}

// listed is how many of a long list are written out; the rest is counted. -o json has them all.
const listed = 12

func (t *text) gaps(gaps []fact.Gap) {
	t.blank()
	t.line(2, 4, piece{"not read: " + plural(len(gaps), "gap"), bad})
	groups := groupGaps(gaps)
	for i, g := range groups {
		if i == listed {
			rest := 0
			for _, g := range groups[i:] {
				rest += g.count
			}
			t.line(4, 6, piece{fmt.Sprintf("and %s more, all in -o json", number(rest)), faint})
			break
		}
		t.line(4, 6, piece{g.what(fact.Account{}, asIs, asIs) + ":", strong}, piece{g.why, normal})
	}
}

func (t *text) bundles(title string, tn tone, bs []*bundle) {
	t.blank()
	t.line(2, 4, piece{title, tn})
	for _, b := range bs {
		for _, l := range b.lines {
			names, more := l.names(listed, who.text)
			t.line(4, 6, piece{strings.Join(names, ", ") + more + ":", strong}, piece{ruleList(l.rules), normal})
		}
		t.line(6, 6, piece{b.text, faint})
	}
}

func ruleList(rules []ruleMark) string {
	names := make([]string, 0, len(rules))
	for _, r := range foldTiers(rules) {
		names = append(names, r.name)
	}
	return strings.Join(names, ", ")
}

// columns are the widths of one account's key table.
type columns struct {
	key, age, used, failing int
	stacked                 bool // the rules stand below the key, for want of room beside it
}

const markWidth = 4

func (c columns) before() int { // columns left of the rules
	return 4 + markWidth + 2 + c.key + 2 + c.age + 2 + c.used + 2 + c.failing + 2
}

// fit measures the table. Rules that do not fit beside the key go below it.
func (t *text) fit(hs []*holder, now time.Time) columns {
	c := columns{key: len("slot 1"), age: len("age"), used: len("last used"), failing: len("for")}
	longest := 0
	for _, h := range hs {
		for _, s := range h.subjects {
			if s.key == nil {
				continue
			}
			c.key = max(c.key, lipgloss.Width(keyName(s.key)))
			c.age = max(c.age, len(ageText(s.key.Created, now)))
			c.failing = max(c.failing, len(failingFor(s, now)))
			c.used = max(c.used, lipgloss.Width(lastUse(s.key.LastUsed, now)))
			words := 0
			for _, r := range foldTiers(s.rules) {
				words += lipgloss.Width(r.name) + 1
			}
			longest = max(longest, words)
		}
	}
	c.key = min(c.key, 24)
	c.used = min(c.used, max(18, t.width/4))
	if t.width-c.before() >= min(longest, 24) {
		return c
	}
	c.stacked = true
	c.used = max(9, c.used-max(0, c.before()-2-t.width))
	return c
}

// failingFor says how long the earliest of a subject's rules has failed; a dash when the evidence cannot tell.
func failingFor(s *subject, now time.Time) string {
	if s.since.Unknown() {
		return "-"
	}
	return sinceThen(s.since, now)
}

func (t *text) table(hs []*holder, passing bool) {
	now := t.audit.AsOf
	c := t.fit(hs, now)
	titles := []string{
		cellText("", markWidth), cellText("key", c.key), rightText("age", c.age), cellText("last used", c.used),
	}
	span, last := "for", "fails"
	if passing {
		span, last = "", "passes"
	}
	titles = append(titles, cellText(span, c.failing))
	if !c.stacked {
		titles = append(titles, last)
	}
	head := strings.TrimRight(strings.Join(titles, "  "), " ")
	if anyKey(hs) {
		t.put("\n    " + t.style(faint, cutColumns(head, t.width-4)) + "\n")
	} else {
		t.blank()
	}
	for _, h := range hs {
		t.line(2, 4, piece{userName(h.user), strong})
		for _, s := range h.subjects {
			if s.key == nil {
				t.userLine(s, passing)
			} else {
				t.keyLine(s, c, passing)
			}
		}
	}
}

func anyKey(hs []*holder) bool {
	for _, h := range hs {
		for _, s := range h.subjects {
			if s.key != nil {
				return true
			}
		}
	}
	return false
}

func cutColumns(s string, n int) string { return strings.TrimRight(cellText(s, max(n, 2)), " ") }

// userLine is about the user itself, such as two active keys.
func (t *text) userLine(s *subject, passing bool) {
	mark, tn := severityMark(s.worst), severityTone(s.worst)
	if passing {
		mark, tn = "ok  ", good
	}
	t.put("    " + t.style(tn, mark) + "  ")
	pieces := t.rulePieces(s.rules, passing)
	if len(s.rules) == 1 && s.message != "" && !passing {
		pieces[len(pieces)-1].text += ":"
		pieces = append(pieces, piece{s.message, normal})
	}
	if s.since.Known() && !passing {
		pieces = append(pieces, piece{"(since " + date(s.since) + ")", faint})
	}
	col := 4 + markWidth + 2
	t.flow(col, col, pieces...)
}

func (t *text) keyLine(s *subject, c columns, passing bool) {
	now := t.audit.AsOf
	mark, tn := severityMark(s.worst), severityTone(s.worst)
	failing := failingFor(s, now)
	if passing {
		mark, tn, failing = "ok  ", good, ""
	}
	used := t.style(normal, cellText(lastUse(s.key.LastUsed, now), c.used))
	if !s.key.LastUsed.At.Known() {
		used = t.style(faint, cellText(lastUse(s.key.LastUsed, now), c.used))
	}
	t.put("    " + t.style(tn, mark) + "  " + cellText(keyName(s.key), c.key) + "  " +
		rightText(ageText(s.key.Created, now), c.age) + "  ")
	if c.stacked {
		t.put(strings.TrimRight(used+"  "+failing, " ") + "\n")
		hang := 4 + markWidth + 2
		t.line(hang, hang+2, t.rulePieces(s.rules, passing)...)
		return
	}
	t.put(used + "  " + cellText(failing, c.failing) + "  ")
	t.flow(c.before(), c.before(), t.rulePieces(s.rules, passing)...)
}

func (t *text) rulePieces(rules []ruleMark, passing bool) []piece {
	var out []piece
	for _, r := range foldTiers(rules) {
		tn := severityTone(r.severity)
		if tn == critical {
			tn = bad
		}
		if passing {
			tn = faint
		}
		out = append(out, piece{r.name, tn})
	}
	return out
}
