package report

import (
	"bufio"

	"github.com/keyreeve/keyreeve/internal/journal"
)

const (
	runSchema  = "keyreeve.run/1"
	runsSchema = "keyreeve.runs/1"
)

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
	EndNote   string  `json:"end_note"` // what ended it, if not its last step
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
	LastUsedAt   *string     `json:"last_used_at"` // null: never, when the step was decided on
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
		Version: r.Version, Host: r.Host, PID: r.PID, StartedAt: instant(r.StartedAt), EndedAt: stamp(known(r.EndedAt)), EndNote: r.EndNote,
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
			KeyCreatedAt: stamp(known(s.KeyCreated)), LastUsedAt: stamp(known(s.LastUsed)), From: string(s.From), Then: string(s.Then),
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
