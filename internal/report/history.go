package report

import (
	"bufio"
	_ "embed"
	"io"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
)

const (
	historySchema = "keyreeve.history/1"
	trendSchema   = "keyreeve.trend/1"
)

//go:embed schema/history.schema.json
var historySchemaText string

// HistorySchema is the JSON Schema (draft 2020-12) of the history of verdicts in JSON. Its $defs/trend is the schema of a
// trend.
func HistorySchema() []byte { return []byte(historySchemaText) }

// WriteHistory lists entries of the history, in the order given. more tells that there are others, which the list was cut before.
func WriteHistory(w io.Writer, f Format, entries []history.Entry, more bool, now time.Time, o Options) error {
	if o.MaskKeys {
		entries = slices.Clone(entries)
		for i := range entries {
			e := &entries[i]
			e.KeyID, e.User, e.Message = maskID(e.KeyID), Mask(e.User), Mask(e.Message)
			tags := make(map[string]string, len(e.Tags))
			for k, v := range e.Tags {
				tags[Mask(k)] = Mask(v)
			}
			e.Tags = tags
		}
	}
	return writeRun(w, f, o,
		func(b *bufio.Writer) error { return historyJSON(b, entries, more) },
		func(t *runText) { t.history(entries, more, now) })
}

type wirePast struct {
	ID         string            `json:"id"`
	OpenedAt   string            `json:"opened_at"`
	ClosedAt   *string           `json:"closed_at"` // null: it is open
	Why        string            `json:"why"`       // empty while it is open
	SeenAt     *string           `json:"seen_at"`   // null: whenever its account was last judged
	Rule       string            `json:"rule"`
	Kind       string            `json:"kind"`
	Title      string            `json:"title"`
	Severity   string            `json:"severity"`
	Account    string            `json:"account"`
	User       string            `json:"user"`
	KeyID      string            `json:"key_id"`
	KeyCreated *string           `json:"key_created_at"`
	Since      *string           `json:"since"`
	Remedy     finding.Remedy    `json:"remedy"`
	Message    string            `json:"message"`
	Tags       map[string]string `json:"tags,omitempty"`
}

func toWirePast(e *history.Entry) wirePast {
	return wirePast{
		ID: e.ID, OpenedAt: instant(e.OpenedAt), ClosedAt: stamp(known(e.ClosedAt)), Why: string(e.Why), SeenAt: stamp(known(e.SeenAt)),
		Rule: e.Rule, Kind: e.Kind, Title: e.Title, Severity: string(e.Severity), Account: e.Account, User: e.User, KeyID: e.KeyID,
		KeyCreated: stamp(e.KeyCreated), Since: stamp(e.Since), Remedy: e.Remedy, Message: e.Message, Tags: e.Tags,
	}
}

func historyJSON(w *bufio.Writer, entries []history.Entry, more bool) error {
	out := make([]wirePast, 0, len(entries))
	for i := range entries {
		out = append(out, toWirePast(&entries[i]))
	}
	d := newDocument(w)
	d.field("schema", historySchema)
	d.field("verdicts", out)
	d.field("more", more)
	return d.close()
}

// history writes an entry a line: what, of whom, when it opened and what became of it.
func (t *runText) history(entries []history.Entry, more bool, now time.Time) {
	if len(entries) == 0 {
		t.put("The history holds nothing of the kind.\n")
		return
	}
	rule := len("rule")
	for i := range entries {
		rule = max(rule, lipgloss.Width(clean(entries[i].Rule)))
	}
	rule = min(rule, 28)
	const opened = len("2006-01-02 15:04")
	before := markWidth + 2 + opened + 2 + rule + 2
	t.put(t.style(faint, cutColumns(padded("", markWidth)+"  "+padded("opened (UTC)", opened)+"  "+padded("rule", rule)+"  of whom, and what became of it", t.width)) + "\n")
	for i := range entries {
		e := &entries[i]
		tn := severityTone(e.Severity)
		if !e.Open() {
			tn = faint
		}
		t.put(t.style(tn, severityMark(e.Severity)) + "  " + strings.TrimSuffix(moment(e.OpenedAt), " UTC") + "  " + cellText(clean(e.Rule), rule) + "  ")
		who := userName(e.User)
		if e.KeyID != "" {
			who += " " + clean(e.KeyID)
		}
		pieces := []piece{{who, strong}, {"in " + clean(e.Account) + ":", normal}}
		t.flow(before, before, append(pieces, fate(e, now)...)...)
	}
	if more {
		t.line(0, 2, piece{"There are more: --limit shows them, --user, --account and --rule narrow the list.", faint})
	}
}

// fate says what became of the entry.
func fate(e *history.Entry, now time.Time) []piece {
	if e.Open() {
		text := "open for " + length(now.Sub(e.OpenedAt))
		if now.Sub(e.OpenedAt) < time.Minute {
			text = "new"
		}
		if !e.SeenAt.IsZero() {
			text += ", not seen since " + moment(e.SeenAt)
		}
		return []piece{{text, bad}}
	}
	tn := normal
	if e.Why == history.Fixed {
		tn = good
	}
	return []piece{{strings.ReplaceAll(clean(string(e.Why)), "-", " "), tn}, {"after " + length(e.ClosedAt.Sub(e.OpenedAt)) + ", " + moment(e.ClosedAt), normal}}
}
