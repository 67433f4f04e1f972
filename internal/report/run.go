package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/journal"
)

const (
	statusWidth = len("not possible")
	nextLook    = "the next apply or undo looks at the account first" // of an unresolved step
)

// RunFormats lists the formats that WriteRuns and WriteRun take.
func RunFormats() []Format { return []Format{Text, JSON} }

// WriteRun writes all that the journal holds of a run's steps.
func WriteRun(w io.Writer, f Format, r *journal.Run, o Options) error {
	r = shownRun(r, o)
	return writeRun(w, f, o, func(b *bufio.Writer) error { return runJSON(b, r) }, func(t *runText) { t.run(r) })
}

// WriteOutcome writes what became of each step, and the counts, for the end of an apply or an undo. A run without an id
// is a rehearsal: what was not tried would be done.
func WriteOutcome(w io.Writer, r *journal.Run, o Options) error {
	r = shownRun(r, o)
	return writeRun(w, Text, o, nil, func(t *runText) {
		t.rehearsal = r.ID == ""
		for i := range r.Steps {
			t.outcome(&r.Steps[i])
		}
		t.counts(r)
	})
}

func writeRun(w io.Writer, f Format, o Options, asJSON func(*bufio.Writer) error, asText func(*runText)) error {
	buf := bufio.NewWriter(w)
	var err error
	switch f {
	case JSON:
		err = asJSON(buf)
	case Text:
		asText(&runText{page: page{w: buf, width: o.width(), color: o.Color}})
	default:
		return fmt.Errorf("a run is written as %v, not as %q", RunFormats(), string(f))
	}
	if err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return fmt.Errorf("write run: %w", err)
	}
	return nil
}

// shownRun is r, with key ids masked in every text where that is asked for: those of its steps wherever they stand,
// and whatever looks like one. Hashes stay: nobody can read an id from them.
func shownRun(r *journal.Run, o Options) *journal.Run {
	if !o.MaskKeys {
		return r
	}
	var pairs []string
	for i := range r.Steps {
		if id := r.Steps[i].KeyID; id != "" {
			pairs = append(pairs, id, fact.MaskID(id))
		}
	}
	ids := strings.NewReplacer(pairs...)
	mask := func(texts ...*string) {
		for _, text := range texts {
			*text = Mask(ids.Replace(*text))
		}
	}
	out := *r
	mask(&out.ID, &out.Caller, &out.Plan, &out.Undoes, &out.Version, &out.Host, &out.EndNote)
	if r.Rotation != nil {
		about := *r.Rotation
		about.Old = fact.MaskID(about.Old)
		out.Rotation, out.Events = &about, slices.Clone(r.Events)
		for i := range out.Events {
			mask(&out.Events[i].Note)
		}
	}
	out.Steps = slices.Clone(r.Steps)
	for i := range out.Steps {
		s := &out.Steps[i]
		s.KeyID = fact.MaskID(s.KeyID)
		mask(&s.ID, &s.User, &s.UserID)
		s.Because, s.Rules, s.Entries = slices.Clone(s.Because), slices.Clone(s.Rules), slices.Clone(s.Entries)
		for j := range s.Because {
			mask(&s.Because[j])
		}
		for j := range s.Rules {
			mask(&s.Rules[j])
		}
		for j := range s.Entries {
			mask(&s.Entries[j].Note)
		}
	}
	return &out
}

type runText struct {
	page
	rehearsal bool // of a dry run: nothing was tried, on purpose
}

func (t *runText) run(r *journal.Run) {
	t.heading(strong, product+" "+clean(string(r.Kind))+" "+clean(r.ID))
	field := func(name string, pieces ...piece) {
		t.put(t.style(faint, padded(name, len("account"))) + "  ")
		t.flow(9, 9, pieces...) // a digest just fits into 80 columns
	}
	field("account", piece{orDash(clean(r.Account)), normal})
	field("by", piece{orDash(clean(r.Caller)), normal})
	began, note := clock(r.StartedAt, time.Time{})+" UTC", endNote(r)
	switch {
	case r.EndedAt.IsZero():
		field("started", piece{began + ",", normal}, piece{"and no end: under way or died", warn})
	case note != "": // not when it stopped working, if another run found it dead
		field("started", piece{began, normal})
		field("ended", piece{clock(r.EndedAt, r.StartedAt) + " UTC:", normal}, piece{note, warn})
	default:
		took := max(0, r.EndedAt.Sub(r.StartedAt)).Round(time.Second)
		field("started", piece{began + ",", normal}, piece{"took " + took.String(), normal})
	}
	field("on", piece{fmt.Sprintf("%s, process %d, %s %s", orDash(clean(r.Host)), r.PID, product, clean(r.Version)), normal})
	if r.Undoes != "" {
		field("undoes", piece{"run " + clean(r.Undoes), normal})
	}
	field("plan", piece{orDash(clean(r.Plan)), normal})
	if r.Rotation != nil {
		field("user", piece{userName(r.Rotation.User), normal}, piece{"key " + clean(r.Rotation.Old), normal})
		t.happened(r)
		return
	}
	for i := range r.Steps {
		t.blank()
		t.step(r, &r.Steps[i])
	}
	t.blank()
	t.counts(r)
}

// stepHead writes the columns that each line about a step begins with, and returns the column after them.
func (t *runText) stepHead(s *journal.Step) int {
	word, tn := statusWord(s.Status())
	key := orDash(clean(s.KeyID))
	t.put(t.style(tn, padded(word, statusWidth)) + "  " + padded(clean(string(s.Action)), actionWidth) + "  " + key + "  ")
	return statusWidth + 2 + actionWidth + 2 + lipgloss.Width(key) + 2
}

func (t *runText) step(r *journal.Run, s *journal.Step) {
	col := t.stepHead(s)
	t.flow(col, 4, piece{"user", normal}, piece{userName(s.User), strong}, piece{"step", faint}, piece{orDash(clean(s.ID)), normal},
		piece{because(s.Rules), faint})
	if s.Status() == journal.StatusUnresolved {
		t.line(4, 6, piece{"It is not known whether this was done:", bad}, piece{nextLook + ".", bad})
	}
	if s.Then == journal.Delete && s.Status() == journal.StatusDone {
		t.line(4, 6, piece{"then", faint}, piece{"delete, by a later plan, once it has been quiet for long enough", normal})
	}
	t.entries(r, s)
}

func (t *runText) entries(r *journal.Run, s *journal.Step) {
	at, result := 0, 0
	for i := range s.Entries {
		at = max(at, len(clock(s.Entries[i].At, r.StartedAt)))
		result = max(result, lipgloss.Width(clean(string(s.Entries[i].Result))))
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		const kind = len("verification")
		line := "    " + padded(clock(e.At, r.StartedAt), at) + "  " + strings.TrimRight(padded(clean(string(e.Kind)), kind)+"  "+clean(string(e.Result)), " ")
		col, note := 4+at+2+kind+2+result+min(result, 2), piece{strings.TrimSpace(clean(e.Note)), normal}
		switch {
		case note.text == "":
			t.put(line + "\n")
		case col+24 > t.width: // no room beside it
			t.put(line + "\n")
			t.line(6, 8, note)
		default:
			t.put(padded(line, col))
			t.flow(col, col, note)
		}
	}
}

// outcome is the line about a step as it ended.
func (t *runText) outcome(s *journal.Step) {
	col, who, tail := t.stepHead(s), userName(s.User), stepTail(s)
	if t.rehearsal && s.Status() == journal.StatusPlanned {
		tail = "would be done now"
	}
	if end := col + len("user ") + lipgloss.Width(who) + 2; s.Status() == journal.StatusDone && end+len(tail) <= t.width {
		t.put("user " + t.style(strong, who) + "  " + tail + "\n")
		return
	}
	pieces := []piece{{"user", normal}, {who + ":", strong}, {tail, normal}}
	if s.Status() == journal.StatusUnresolved {
		pieces = append(pieces, piece{nextLook, bad})
	}
	t.flow(col, statusWidth+2, pieces...)
}

// stepTail says why a step stands where it stands.
func stepTail(s *journal.Step) string {
	note := strings.TrimSpace(clean(s.Last()))
	switch s.Status() {
	case journal.StatusDone:
		words := map[journal.Action]string{journal.Deactivate: "inactive since ", journal.Activate: "active since ", journal.Delete: "deleted at "}
		return words[s.Action] + clock(s.DoneAt(), s.IntendedAt()) + " UTC"
	case journal.StatusUnresolved:
		return cmp.Or(note, "tried, and not seen since") + ";"
	case journal.StatusPlanned:
		return "not tried"
	default:
		return cmp.Or(note, "no reason was noted")
	}
}

// counts ends the text of a run.
func (t *runText) counts(r *journal.Run) {
	t.line(0, 2, outcomes(r, strong)...)
	if n := tallySteps(r)[journal.StatusUnresolved]; n > 0 {
		t.line(0, 2, piece{"UNRESOLVED", bad}, piece{"It is not known whether " + plural(n, "step") + " took effect: " + nextLook + ".", strong})
	}
}

// outcomes counts the steps, and says when the run did not come to its own end.
func outcomes(r *journal.Run, tn tone) []piece {
	switch note := endNote(r); {
	case r.Rotation != nil:
		return []piece{{lastState(r), tn}}
	case r.EndedAt.IsZero() && r.ID != "": // a rehearsal has no id
		return []piece{{"under way or died:", warn}, {countSteps(r), tn}}
	case note != "":
		return []piece{{countSteps(r) + ";", tn}, {note, warn}}
	default:
		return []piece{{countSteps(r), tn}}
	}
}

// lastState is where the last event of a rotation led.
func lastState(r *journal.Run) string {
	for _, e := range slices.Backward(r.Events) {
		if h, err := journal.ReadHappening(e.Data); err == nil {
			return clean(h.To)
		}
	}
	return "begun"
}

func endNote(r *journal.Run) string { return strings.TrimSpace(clean(r.EndNote)) }

func tallySteps(r *journal.Run) map[journal.Status]int {
	out := map[journal.Status]int{}
	for i := range r.Steps {
		out[r.Steps[i].Status()]++
	}
	return out
}

// countSteps is 3 done, 1 stale, in the order of journal.Statuses but what is done first.
func countSteps(r *journal.Run) string {
	tally := tallySteps(r)
	var parts []string
	for i, s := range append([]journal.Status{journal.StatusDone}, journal.Statuses()...) {
		if n := tally[s]; n > 0 && (i == 0 || s != journal.StatusDone) {
			parts = append(parts, number(n)+" "+strings.ReplaceAll(string(s), "-", " "))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "no steps")
}

// statusWord is a status for people; what is not known to be done or not is written large.
func statusWord(s journal.Status) (string, tone) {
	word := strings.ReplaceAll(string(s), "-", " ")
	switch s {
	case journal.StatusDone:
		return word, good
	case journal.StatusUnresolved:
		return strings.ToUpper(word), bad
	case journal.StatusConflict, journal.StatusFailed:
		return word, bad
	case journal.StatusPlanned, journal.StatusAlready, journal.StatusNotDue:
		return word, faint
	default:
		return word, warn
	}
}

// shortARN is what an ARN names, without where: user/ana, or role and session, Admin/ana.
func shortARN(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 && parts[0] == "arn" {
		arn = strings.TrimPrefix(parts[5], "assumed-role/")
	}
	return orDash(clean(arn))
}

func orDash(s string) string { return cmp.Or(s, "-") }

// padded fills s up to n columns and never cuts it.
func padded(s string, n int) string { return s + strings.Repeat(" ", max(0, n-lipgloss.Width(s))) }

// because names rules, in brackets; empty for none.
func because(rules []string) string {
	if len(rules) == 0 {
		return ""
	}
	marks := make([]ruleMark, 0, len(rules))
	for _, r := range rules {
		marks = append(marks, ruleMark{name: clean(r)})
	}
	return "(" + ruleList(marks) + ")"
}

// happened lists the events of a rotation; where it stands is rotate show's to tell.
func (t *runText) happened(r *journal.Run) {
	t.blank()
	for i := range r.Events {
		e := &r.Events[i]
		h, err := journal.ReadHappening(e.Data)
		if err != nil {
			continue // Check tells of a journal that was changed
		}
		t.put("    " + t.style(faint, clock(e.At, r.StartedAt)) + "  ")
		t.flow(14, 14, piece{clean(cmp.Or(h.Name, h.Act)), strong}, piece{clean(e.Note), normal})
	}
	t.blank()
	t.line(0, 2, piece{"keyreeve rotate show " + clean(r.ID), strong}, piece{"tells where it stands", normal})
}
