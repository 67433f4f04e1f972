package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// DiffFormats lists the formats that WriteDiff takes.
func DiffFormats() []Format { return []Format{Text, JSON} }

// WriteDiff writes what changed between two audits, as text or as keyreeve.diff/1 JSON. Of what is gone only
// that is called fixed which the later audit judged: the rest is not judged, unknown or excepted now.
func WriteDiff(w io.Writer, f Format, d finding.Difference, before, after *finding.Audit, o Options) error {
	if !slices.Contains(DiffFormats(), f) {
		return fmt.Errorf("a difference is written as %v, not as %q", DiffFormats(), string(f))
	}
	if o.MaskKeys {
		d, before, after = maskDiff(d), maskAudit(before), maskAudit(after)
	}
	gs := sortOut(d.Gone, after)
	buf := bufio.NewWriter(w)
	var err error
	if f == JSON {
		err = diffJSON(buf, d, gs, before, after)
	} else {
		diffText(buf, d, gs, before, after, o)
	}
	if err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return fmt.Errorf("write difference: %w", err)
	}
	return nil
}

type wireSide struct {
	AsOf     string `json:"as_of"`
	Ruleset  string `json:"ruleset"`
	Complete bool   `json:"complete"`
}

type wireGone struct {
	wireVerdict
	Now *string `json:"now"` // its status in the later audit; null when that does not have it
	Why string  `json:"why"`
	// Outcome says what became of it in one word: fixed, not-judged, unknown or excepted.
	Outcome string `json:"outcome"`
}

type wireCounts struct {
	New       int `json:"new"`
	Fixed     int `json:"fixed"`
	NotJudged int `json:"not_judged"`
	Unknown   int `json:"unknown"`
	Excepted  int `json:"excepted"`
	Same      int `json:"same"`
}

func diffJSON(w *bufio.Writer, d finding.Difference, gs []gone, before, after *finding.Audit) error {
	side := func(a *finding.Audit) wireSide { return wireSide{instant(a.AsOf), a.Ruleset, a.Complete} }
	wire := func(vs []finding.Verdict) []wireVerdict {
		out := make([]wireVerdict, 0, len(vs))
		for i := range vs {
			out = append(out, toWireVerdict(&vs[i]))
		}
		return out
	}
	rows := make([]wireGone, 0, len(gs))
	for i := range gs {
		g := &gs[i]
		row := wireGone{wireVerdict: toWireVerdict(&g.Verdict), Why: g.why, Outcome: string(g.outcome)}
		if g.Now != "" {
			now := string(g.Now)
			row.Now = &now
		}
		rows = append(rows, row)
	}
	doc := newDocument(w)
	doc.field("schema", diffSchema)
	doc.field("tool", wireTool{product, after.Version})
	doc.field("before", side(before))
	doc.field("after", side(after))
	doc.field("new", wire(d.New))
	doc.field("gone", rows)
	doc.field("same", wire(d.Same))
	doc.field("warnings", diffWarnings(before, after))
	doc.field("counts", wireCounts{
		New: len(d.New), Fixed: count(gs, goneFixed), NotJudged: count(gs, goneNotJudged),
		Unknown: count(gs, goneUnknown), Excepted: count(gs, goneExcepted), Same: len(d.Same),
	})
	return doc.close()
}

// diffWarnings tells what makes the two audits hard to compare.
func diffWarnings(before, after *finding.Audit) []string {
	out := []string{}
	if !before.Complete {
		out = append(out, "the earlier audit is incomplete: what looks new may be old")
	}
	if !after.Complete {
		out = append(out, "the later audit is incomplete: what is gone may not be fixed")
	}
	if before.Ruleset != after.Ruleset {
		out = append(out, fmt.Sprintf("the audits used different rulesets: %s, then %s", before.Ruleset, after.Ruleset))
	}
	if after.AsOf.Before(before.AsOf) {
		out = append(out, "the audit called later judged an earlier moment: are they the wrong way round?")
	}
	return out
}

func diffText(w *bufio.Writer, d finding.Difference, gs []gone, before, after *finding.Audit, o Options) {
	p := &page{w: w, width: o.width(), color: o.Color}
	p.line(0, 2, piece{product, strong}, piece{"diff from", normal}, piece{minute(fact.At(before.AsOf)), strong},
		piece{"to", normal}, piece{minute(fact.At(after.AsOf)), strong})
	for _, warning := range diffWarnings(before, after) {
		p.line(0, 2, piece{"warning:", warn}, piece{clean(warning), normal})
	}
	list := func(title string, tn tone, mark string, n int, row func(i int) (*finding.Verdict, string)) {
		if n == 0 {
			return
		}
		p.blank()
		p.heading(tn, fmt.Sprintf("%s: %s", title, number(n)))
		for i := range n {
			v, why := row(i)
			p.diffLine(v, mark, tn, why)
		}
	}
	list("New", bad, "+", len(d.New), func(i int) (*finding.Verdict, string) { return &d.New[i], "" })
	fixed, unclear := split(gs)
	list("Fixed", good, "-", len(fixed), func(i int) (*finding.Verdict, string) { return &fixed[i].Verdict, fixed[i].why })
	list("Not failing now, and not fixed", warn, "?", len(unclear), func(i int) (*finding.Verdict, string) {
		return &unclear[i].Verdict, unclear[i].why
	})
	list("Still failing", strong, " ", len(d.Same), func(i int) (*finding.Verdict, string) { return &d.Same[i], "" })
	p.blank()
	if len(d.New)+len(d.Gone)+len(d.Same) == 0 {
		p.line(0, 2, piece{"Nothing failed then and nothing fails now.", good})
		return
	}
	p.line(0, 2, piece{diffHeadline(d, gs), strong})
}

// diffHeadline counts what changed. What is not judged, unknown or excepted now is never among the fixed.
func diffHeadline(d finding.Difference, gs []gone) string {
	parts := []string{number(len(d.New)) + " new", number(count(gs, goneFixed)) + " fixed"}
	for _, o := range []outcome{goneNotJudged, goneUnknown, goneExcepted} {
		if n := count(gs, o); n > 0 {
			parts = append(parts, number(n)+" "+strings.ReplaceAll(string(o), "-", " ")+" now")
		}
	}
	return strings.Join(append(parts, number(len(d.Same))+" still failing"), ", ") + "."
}

func (p *page) diffLine(v *finding.Verdict, mark string, tn tone, why string) {
	p.put(p.style(tn, mark) + " " + p.style(severityTone(v.Severity), severityMark(v.Severity)) + "  ")
	who := clean(v.Account.ID) + " " + userName(v.User)
	if v.Key != nil {
		who += " " + keyName(v.Key)
	}
	text := clean(v.Message)
	if why != "" {
		text = why
	}
	p.flow(8, 10, piece{who, strong}, piece{clean(v.Rule) + ":", normal}, piece{text, faint})
}
