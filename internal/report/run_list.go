package report

import (
	"bufio"
	"io"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/journal"
)

// WriteRuns lists runs, in the order given.
func WriteRuns(w io.Writer, f Format, runs []journal.Run, o Options) error {
	runs = slices.Clone(runs)
	for i := range runs {
		runs[i] = *shownRun(&runs[i], o)
	}
	return writeRun(w, f, o, func(b *bufio.Writer) error { return runsJSON(b, runs) }, func(t *runText) { t.list(runs) })
}

func (t *runText) list(runs []journal.Run) {
	if len(runs) == 0 {
		t.put("The journal holds no runs.\n")
		return
	}
	id, kind, account, by := len("run"), len("kind"), len("111122223333"), len("by")
	for i := range runs {
		id = max(id, lipgloss.Width(clean(runs[i].ID)))
		kind = max(kind, lipgloss.Width(clean(string(runs[i].Kind))))
		account = max(account, lipgloss.Width(clean(runs[i].Account)))
		by = max(by, lipgloss.Width(shortARN(runs[i].Caller)))
	}
	const started = len("2006-01-02 15:04")
	by = min(by, 32)
	before := id + 2 + kind + 2 + started + 2 + account + 2
	stacked := before+by+2+22 > t.width
	head := padded("run", id) + "  " + padded("kind", kind) + "  " + padded("started (UTC)", started) + "  " + padded("account", account)
	if !stacked {
		head += "  " + padded("by", by) + "  outcome"
	}
	t.put(t.style(faint, cutColumns(head, t.width)) + "\n")
	for i := range runs {
		r := &runs[i]
		began := strings.TrimSuffix(moment(r.StartedAt), " UTC")
		row := "  " + padded(clean(string(r.Kind)), kind) + "  " + padded(began, started) + "  " + orDash(clean(r.Account))
		switch {
		case id+lipgloss.Width(row) > t.width: // an id is never cut
			t.line(0, 4, piece{clean(r.ID), strong}, piece{row, normal})
		case stacked:
			t.put(t.style(strong, padded(clean(r.ID), id)) + row + "\n")
		default:
			t.put(t.style(strong, padded(clean(r.ID), id)) + padded(row, before-id-2) + "  " + cellText(shortARN(r.Caller), by) + "  ")
			t.flow(before+by+2, before+by+2, outcomes(r, normal)...)
			continue
		}
		t.line(4, 6, append([]piece{{"by " + shortARN(r.Caller) + ":", normal}}, outcomes(r, normal)...)...)
	}
}
