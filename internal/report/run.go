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
	runSchema  = "keyreeve.run/1"
	runsSchema = "keyreeve.runs/1"

	statusWidth = len("not possible")
	nextLook    = "the next apply or undo looks at the account first" // of an unresolved step
)

// RunFormats lists the formats that WriteRuns and WriteRun take.
func RunFormats() []Format { return []Format{Text, JSON} }

// WriteRuns lists runs, in the order given.
func WriteRuns(w io.Writer, f Format, runs []journal.Run, o Options) error {
	runs = slices.Clone(runs)
	for i := range runs {
		runs[i] = *shownRun(&runs[i], o)
	}
	return writeRun(w, f, o, func(b *bufio.Writer) error { return runsJSON(b, runs) }, func(t *runText) { t.list(runs) })
}

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

// StepLine is one line about a step as it ended, without a newline and however long.
func StepLine(s *journal.Step, o Options) string {
	var b strings.Builder
	t := &runText{page: page{w: bufio.NewWriter(&b), width: 1 << 20, color: o.Color}}
	t.outcome(shownStep(s, o))
	_ = t.w.Flush() // a builder takes everything
	return strings.TrimSuffix(b.String(), "\n")
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

// shownRun is r, with key ids masked where that is asked for. Hashes stay: nobody can read an id from them.
func shownRun(r *journal.Run, o Options) *journal.Run {
	if !o.MaskKeys {
		return r
	}
	out := *r
	out.Caller, out.Host = Mask(r.Caller), Mask(r.Host)
	out.Steps = slices.Clone(r.Steps)
	for i := range out.Steps {
		out.Steps[i] = *shownStep(&r.Steps[i], o)
	}
	return &out
}

func shownStep(s *journal.Step, o Options) *journal.Step {
	if !o.MaskKeys {
		return s
	}
	out := *s
	out.KeyID, out.User = maskID(s.KeyID), Mask(s.User)
	out.Entries = slices.Clone(s.Entries)
	for i := range out.Entries {
		note := out.Entries[i].Note
		if s.KeyID != "" {
			note = strings.ReplaceAll(note, s.KeyID, out.KeyID)
		}
		out.Entries[i].Note = Mask(note)
	}
	return &out
}

type runText struct {
	page
	rehearsal bool // of a dry run: nothing was tried, on purpose
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
			t.flow(before+by+2, before+by+2, ending(r), piece{countSteps(r), normal})
			continue
		}
		t.line(4, 6, piece{"by " + shortARN(r.Caller) + ":", normal}, ending(r), piece{countSteps(r), normal})
	}
}

// ending warns of a run that has no end.
func ending(r *journal.Run) piece {
	if r.EndedAt.IsZero() && r.ID != "" { // a rehearsal has no id
		return piece{"under way or died:", warn}
	}
	return piece{}
}

func (t *runText) run(r *journal.Run) {
	t.heading(strong, product+" "+clean(string(r.Kind))+" "+clean(r.ID))
	field := func(name string, pieces ...piece) {
		t.put(t.style(faint, padded(name, len("account"))) + "  ")
		t.flow(9, 9, pieces...) // a digest just fits into 80 columns
	}
	field("account", piece{orDash(clean(r.Account)), normal})
	field("by", piece{orDash(clean(r.Caller)), normal})
	when := []piece{{clock(r.StartedAt, time.Time{}) + " UTC,", normal}}
	if r.EndedAt.IsZero() {
		when = append(when, piece{"and no end: under way or died", warn})
	} else {
		when = append(when, piece{"took " + max(0, r.EndedAt.Sub(r.StartedAt)).Round(time.Second).String(), normal})
	}
	field("started", when...)
	field("on", piece{fmt.Sprintf("%s, process %d, %s %s", orDash(clean(r.Host)), r.PID, product, clean(r.Version)), normal})
	if r.Undoes != "" {
		field("undoes", piece{"run " + clean(r.Undoes), normal})
	}
	field("plan", piece{orDash(clean(r.Plan)), normal})
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
	t.line(0, 2, ending(r), piece{countSteps(r), strong})
	if n := tallySteps(r)[journal.StatusUnresolved]; n > 0 {
		t.line(0, 2, piece{"UNRESOLVED", bad}, piece{"It is not known whether " + plural(n, "step") + " took effect: " + nextLook + ".", strong})
	}
}

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

// clock is the UTC time of day of t, with its date unless that is the day of base.
func clock(t, base time.Time) string {
	t, base = t.UTC(), base.UTC()
	if t.IsZero() {
		return "-"
	}
	if t.Truncate(day).Equal(base.Truncate(day)) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// moment writes an instant for people, to the minute: 2026-11-29 09:30 UTC.
func moment(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// relative writes how far t is from now, in brackets and rounded down; empty for the zero time.
func relative(t, now time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return ""
	case d.Abs() < time.Minute:
		return "(now)"
	case d < 0:
		unit := time.Hour // rounded up: nobody comes too early
		if -d >= 2*day {
			unit = day
		}
		return "(in " + length(-d+unit-1) + ")"
	default:
		return "(" + length(d) + " ago)"
	}
}

// length writes a time with its largest unit: 3 hours. It rounds down.
func length(d time.Duration) string {
	switch {
	case d < time.Minute:
		return plural(int(d/time.Second), "second")
	case d < time.Hour:
		return plural(int(d/time.Minute), "minute")
	case d < 2*day:
		return plural(int(d/time.Hour), "hour")
	default:
		return plural(int(d/day), "day")
	}
}

// seconds writes a length of time of the wire exactly where it is whole days: 7 days, 1 d 12 h.
func seconds(n int64) string {
	d := time.Duration(n) * time.Second
	if d%day == 0 {
		return plural(int(d/day), "day")
	}
	return span(d)
}

// known is t as evidence has it: the zero time is not known.
func known(t time.Time) fact.Time {
	if t.IsZero() {
		return fact.Time{}
	}
	return fact.At(t)
}

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

type wireRun struct {
	Run       string  `json:"run"`
	Kind      string  `json:"kind"`
	Account   string  `json:"account"`
	Caller    string  `json:"caller"`
	Plan      string  `json:"plan"`
	Undoes    string  `json:"undoes"`
	Version   string  `json:"version"`
	Host      string  `json:"host"`
	PID       int     `json:"pid"`
	StartedAt string  `json:"started_at"`
	EndedAt   *string `json:"ended_at"` // null: under way, or it died
}

type wireRunRow struct {
	wireRun
	Steps    int            `json:"steps"`
	Outcomes map[string]int `json:"outcomes"` // steps by status; those that occur
}

type wireRunDoc struct {
	Schema string `json:"schema"`
	wireRun
	Steps []wireStep `json:"steps"`
	Head  string     `json:"head"` // hash of the last entry of its steps; empty without one
}

type wireStep struct {
	ID           string      `json:"id"`
	Action       string      `json:"action"`
	User         string      `json:"user"`
	UserID       string      `json:"user_id"`
	KeyID        string      `json:"key_id"`
	KeyCreatedAt *string     `json:"key_created_at"`
	From         string      `json:"from"`
	Then         string      `json:"then"`
	Because      []string    `json:"because"`
	Rules        []string    `json:"rules"`
	Status       string      `json:"status"`
	DoneAt       *string     `json:"done_at"` // null unless done
	Entries      []wireEntry `json:"entries"`
}

type wireEntry struct {
	Seq    int64  `json:"seq"`
	Kind   string `json:"kind"`
	At     string `json:"at"`
	Result string `json:"result"`
	Note   string `json:"note"`
	Hash   string `json:"hash"`
}

func toWireRun(r *journal.Run) wireRun {
	return wireRun{
		Run: r.ID, Kind: string(r.Kind), Account: r.Account, Caller: r.Caller, Plan: r.Plan, Undoes: r.Undoes,
		Version: r.Version, Host: r.Host, PID: r.PID, StartedAt: instant(r.StartedAt), EndedAt: stamp(known(r.EndedAt)),
	}
}

func runsJSON(w *bufio.Writer, runs []journal.Run) error {
	rows := make([]wireRunRow, 0, len(runs))
	for i := range runs {
		row := wireRunRow{toWireRun(&runs[i]), len(runs[i].Steps), map[string]int{}}
		for s, n := range tallySteps(&runs[i]) {
			row.Outcomes[string(s)] = n
		}
		rows = append(rows, row)
	}
	d := newDocument(w)
	d.field("schema", runsSchema)
	d.field("runs", rows)
	return d.close()
}

func runJSON(w *bufio.Writer, r *journal.Run) error {
	doc := wireRunDoc{Schema: runSchema, wireRun: toWireRun(r), Steps: make([]wireStep, 0, len(r.Steps))}
	last := int64(0)
	for i := range r.Steps {
		s := &r.Steps[i]
		out := wireStep{
			ID: s.ID, Action: string(s.Action), User: s.User, UserID: s.UserID, KeyID: s.KeyID,
			KeyCreatedAt: stamp(known(s.KeyCreated)), From: string(s.From), Then: string(s.Then),
			Because: append([]string{}, s.Because...), Rules: append([]string{}, s.Rules...),
			Status: string(s.Status()), DoneAt: stamp(known(s.DoneAt())), Entries: make([]wireEntry, 0, len(s.Entries)),
		}
		for _, e := range s.Entries {
			out.Entries = append(out.Entries, wireEntry{e.Seq, string(e.Kind), instant(e.At), string(e.Result), e.Note, e.Hash})
			if e.Seq > last {
				last, doc.Head = e.Seq, e.Hash
			}
		}
		doc.Steps = append(doc.Steps, out)
	}
	if err := newEncoder(w, "", "  ").write(doc); err != nil {
		return err
	}
	return w.WriteByte('\n')
}
