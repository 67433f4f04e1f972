package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/keyreeve/keyreeve/internal/finding"
)

// writeJSON writes the audit as keyreeve.audit/1, verdict by verdict.
func writeJSON(w *bufio.Writer, a *finding.Audit, o Options) error {
	accounts := make([]wireAccount, 0, len(a.Accounts))
	for i := range a.Accounts {
		accounts = append(accounts, toWireAccount(&a.Accounts[i]))
	}
	d := newDocument(w)
	d.field("schema", auditSchema)
	d.field("tool", wireTool{product, a.Version})
	d.field("as_of", instant(a.AsOf))
	d.field("ruleset", a.Ruleset)
	d.field("complete", a.Complete)
	d.field("accounts", accounts)
	d.verdicts("verdicts", func(yield func(wireVerdict) bool) {
		for v := range a.Verdicts {
			if o.shown(v.Status) && !yield(toWireVerdict(v)) {
				return
			}
		}
	})
	d.field("summary", wireSummary(a))
	due := make([]wireVerdict, 0, len(a.Due))
	for i := range a.Due {
		due = append(due, toWireVerdict(&a.Due[i]))
	}
	d.field("due", due)
	notJudged := make([]wireNotJudged, 0, len(a.NotJudged))
	for _, n := range a.NotJudged {
		notJudged = append(notJudged, wireNotJudged(n))
	}
	d.field("not_judged", notJudged)
	exceptions := make([]wireNotice, 0, len(a.Exceptions))
	for i := range a.Exceptions {
		e := &a.Exceptions[i]
		exceptions = append(exceptions, wireNotice{string(e.State), toWireException(&e.Exception)})
	}
	d.field("exceptions", exceptions)
	d.field("scoreboard", toWireScoreboard(a.Scoreboard))
	d.field("notes", append([]string{}, a.Notes...))
	units := make([]wireUnit, 0, len(a.Units))
	for _, u := range a.Units {
		units = append(units, wireUnit{u.Path, u.Accounts, u.Incomplete, u.Users, u.Keys, u.ActiveKeys, wireTally(u.Counts)})
	}
	d.field("organizational_units", units)
	return d.close()
}

func wireSummary(a *finding.Audit) []wireRule {
	out := make([]wireRule, 0, len(a.Summary))
	for _, r := range a.Summary {
		out = append(out, wireRule{
			Rule: r.Rule, Fail: r.Fail, Pass: r.Pass, Unknown: r.Unknown, Excepted: r.Excepted,
			Kind: r.Kind, Title: r.Title, Severity: string(r.Severity),
		})
	}
	return out
}

// writeNDJSON writes each verdict, in the shape it has in json, on a line of its own.
func writeNDJSON(w *bufio.Writer, a *finding.Audit, o Options) error {
	enc := newEncoder(w, "", "")
	for v := range a.Verdicts {
		if !o.shown(v.Status) {
			continue
		}
		if err := enc.write(toWireVerdict(v)); err != nil {
			return err
		}
		if err := w.WriteByte('\n'); err != nil {
			return err
		}
	}
	return nil
}

// encoder writes JSON values without HTML escapes and without a newline at their end. C1 control
// characters, which JSON allows and terminals obey, are written as \u escapes.
type encoder struct {
	w   io.Writer
	buf bytes.Buffer
	enc *json.Encoder
}

func newEncoder(w io.Writer, prefix, indent string) *encoder {
	e := &encoder{w: w}
	e.enc = json.NewEncoder(&e.buf)
	e.enc.SetEscapeHTML(false)
	e.enc.SetIndent(prefix, indent)
	return e
}

func (e *encoder) write(v any) error {
	e.buf.Reset()
	if err := e.enc.Encode(v); err != nil {
		return err
	}
	out := bytes.TrimSuffix(e.buf.Bytes(), []byte("\n"))
	for i := 0; i+1 < len(out); i++ {
		if out[i] == 0x7f || (out[i] == 0xc2 && out[i+1] < 0xa0) {
			out = escapeControls(out)
			break
		}
	}
	_, err := e.w.Write(out)
	return err
}

func escapeControls(in []byte) []byte {
	var out bytes.Buffer
	for i := 0; i < len(in); i++ {
		switch {
		case in[i] == 0x7f:
			out.WriteString(`\u007f`)
		case in[i] == 0xc2 && i+1 < len(in) && in[i+1] < 0xa0:
			fmt.Fprintf(&out, `\u%04x`, in[i+1])
			i++
		default:
			out.WriteByte(in[i])
		}
	}
	return out.Bytes()
}

// document writes one indented JSON object field by field, so that a list can be longer than memory.
type document struct {
	w     *bufio.Writer
	enc   *encoder
	began bool
	err   error
}

func newDocument(w *bufio.Writer) *document {
	return &document{w: w, enc: newEncoder(w, "  ", "  ")}
}

func (d *document) field(name string, v any) {
	d.name(name)
	if d.err == nil {
		d.err = d.enc.write(v)
	}
}

func (d *document) name(name string) {
	if d.err != nil {
		return
	}
	open := ",\n"
	if !d.began {
		open = "{\n"
	}
	d.began = true
	_, d.err = fmt.Fprintf(d.w, "%s  %q: ", open, name)
}

func (d *document) verdicts(name string, vs iter.Seq[wireVerdict]) {
	d.name(name)
	if d.err == nil {
		d.err = writeList(d.w, "    ", vs)
	}
}

func (d *document) close() error {
	if d.err == nil {
		_, d.err = d.w.WriteString("\n}\n")
	}
	return d.err
}

// writeList writes a JSON array, an item at a time, each indented by prefix.
func writeList[T any](w *bufio.Writer, prefix string, items iter.Seq[T]) error {
	enc := newEncoder(w, prefix, "  ")
	n := 0
	for item := range items {
		sep := ",\n"
		if n == 0 {
			sep = "[\n"
		}
		n++
		if _, err := w.WriteString(sep + prefix); err != nil {
			return err
		}
		if err := enc.write(item); err != nil {
			return err
		}
	}
	end := "[]"
	if n > 0 {
		end = "\n" + prefix[:max(0, len(prefix)-2)] + "]"
	}
	_, err := w.WriteString(end)
	return err
}
