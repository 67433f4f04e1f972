package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// DiffFormats lists the formats that WriteDiff takes.
func DiffFormats() []Format { return []Format{Text, JSON} }

// WriteDiff writes what changed between two audits, as text or as keyreeve.diff/1 JSON. What is gone is not
// called fixed: where the later audit did not judge it, it says so.
func WriteDiff(w io.Writer, f Format, d finding.Difference, before, after *finding.Audit, o Options) error {
	if !slices.Contains(DiffFormats(), f) {
		return fmt.Errorf("a difference is written as %v, not as %q", DiffFormats(), string(f))
	}
	if o.MaskKeys {
		d, before, after = maskDiff(d), maskAudit(before), maskAudit(after)
	}
	buf := bufio.NewWriter(w)
	var err error
	if f == JSON {
		err = diffJSON(buf, d, before, after)
	} else {
		diffText(buf, d, before, after, o)
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
}

func diffJSON(w *bufio.Writer, d finding.Difference, before, after *finding.Audit) error {
	side := func(a *finding.Audit) wireSide { return wireSide{instant(a.AsOf), a.Ruleset, a.Complete} }
	wire := func(vs []finding.Verdict) []wireVerdict {
		out := make([]wireVerdict, 0, len(vs))
		for i := range vs {
			out = append(out, toWireVerdict(&vs[i]))
		}
		return out
	}
	gone := make([]wireGone, 0, len(d.Gone))
	for i := range d.Gone {
		g := &d.Gone[i]
		row := wireGone{wireVerdict: toWireVerdict(&g.Verdict), Why: goneWhy(g, after)}
		if g.Now != "" {
			now := string(g.Now)
			row.Now = &now
		}
		gone = append(gone, row)
	}
	doc := newDocument(w)
	doc.field("schema", diffSchema)
	doc.field("tool", wireTool{product, after.Version})
	doc.field("before", side(before))
	doc.field("after", side(after))
	doc.field("new", wire(d.New))
	doc.field("gone", gone)
	doc.field("same", wire(d.Same))
	doc.field("warnings", diffWarnings(before, after))
	return doc.close()
}

// goneWhy says as much as the later audit allows about a failing verdict that it does not fail.
func goneWhy(g *finding.Gone, after *finding.Audit) string {
	switch g.Now {
	case finding.Pass:
		return "passes now"
	case finding.Unknown:
		return "unknown now: not fixed, not read"
	case finding.Excepted:
		return "excepted now: it still fails"
	case finding.Fail:
		return "still fails"
	}
	v := &g.Verdict
	at := slices.IndexFunc(after.Accounts, func(r finding.AccountResult) bool { return r.Account.ID == v.Account.ID })
	if at < 0 {
		return "its account is not in the later audit"
	}
	if !slices.ContainsFunc(after.Summary, func(r finding.RuleResult) bool { return r.Rule == v.Rule }) {
		return "its rule was not judged in the later audit"
	}
	if len(after.Accounts[at].Gaps) > 0 {
		return "not failing in what was read of its account, and not all was read"
	}
	return "no longer failing: it passes, or the key or user is gone"
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

func diffText(w *bufio.Writer, d finding.Difference, before, after *finding.Audit, o Options) {
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
	list("Gone", good, "-", len(d.Gone), func(i int) (*finding.Verdict, string) {
		return &d.Gone[i].Verdict, goneWhy(&d.Gone[i], after)
	})
	list("Still failing", strong, " ", len(d.Same), func(i int) (*finding.Verdict, string) { return &d.Same[i], "" })
	p.blank()
	if len(d.New)+len(d.Gone)+len(d.Same) == 0 {
		p.line(0, 2, piece{"Nothing failed then and nothing fails now.", good})
		return
	}
	p.line(0, 2, piece{fmt.Sprintf("%s new, %s gone, %s still failing.",
		number(len(d.New)), number(len(d.Gone)), number(len(d.Same))), strong})
}

func (p *page) diffLine(v *finding.Verdict, mark string, tn tone, why string) {
	p.put(p.style(tn, mark) + " " + p.style(severityTone(v.Severity), severityMark(v.Severity)) + "  ")
	who := clean(v.Account.ID) + " " + clean(v.User)
	if v.Key != nil {
		who += " " + keyName(v.Key)
	}
	text := clean(v.Message)
	if why != "" {
		text = why
	}
	p.flow(8, 10, piece{who, strong}, piece{clean(v.Rule) + ":", normal}, piece{text, faint})
}
