package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keyreeve/keyreeve/internal/journal"
)

// Begin records a run that is about to start: its row, its steps and its begin entry, all or nothing. The
// caller gives the id and the times. The run must be new, and what it undoes on record.
func (d *DB) Begin(ctx context.Context, run journal.Run) error {
	if !run.EndedAt.IsZero() {
		return fmt.Errorf("begin run %s: it has ended", run.ID)
	}
	for i := range run.Steps {
		if len(run.Steps[i].Entries) > 0 {
			return fmt.Errorf("begin run %s: step %s has entries", run.ID, run.Steps[i].ID)
		}
	}
	data := journal.Record(&run)
	r, err := journal.ReadRecord(data) // what the record says goes into the rows, to the microsecond
	if err != nil {
		return fmt.Errorf("begin run %s: %w", run.ID, err)
	}
	if r.Kind == journal.Rotate {
		return fmt.Errorf("begin run %s: a rotation is begun in the ledger", r.ID)
	}
	return d.write(ctx, string(journal.Begin), func(ctx context.Context, tx *sql.Tx) error {
		if err := insertRun(ctx, tx, r, data); err != nil {
			return fmt.Errorf("begin run %s: %w", r.ID, err)
		}
		return nil
	}, leaves(`SELECT 1 FROM runs WHERE id = $1`, r.ID)) // it was new within the transaction
}

// leaves is the proof of a write that leaves such a row.
func leaves(query string, args ...any) proof { return func() (string, []any) { return query, args } }

func insertRun(ctx context.Context, tx *sql.Tx, r *journal.Run, data json.RawMessage) error {
	seq, hash, err := head(ctx, tx)
	if err != nil {
		return err
	}
	var undoes *string
	if r.Undoes != "" {
		undoes = &r.Undoes
		var kind journal.RunKind
		err := tx.QueryRowContext(ctx, `SELECT kind FROM runs WHERE id = $1`, r.Undoes).Scan(&kind)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("it undoes run %q: %w", r.Undoes, journal.ErrNoRun)
		}
		if err != nil {
			return err
		}
		if kind == journal.Rotate {
			return fmt.Errorf("it undoes run %q, a rotation", r.Undoes)
		}
	}
	rotation, err := rotationText(r.Rotation)
	if err != nil {
		return err
	}
	res, err := tx.ExecContext(ctx, `
		INSERT INTO runs (id, begun, kind, account, caller, plan, undoes, rotation, version, host, pid, started_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (id) DO NOTHING`,
		r.ID, seq+1, string(r.Kind), r.Account, r.Caller, r.Plan, undoes, rotation, r.Version, r.Host, r.PID, journal.Stamp(r.StartedAt))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(errors.New("the journal has a run of that id"), err)
	}
	for i := range r.Steps {
		if err := insertStep(ctx, tx, r.ID, i+1, &r.Steps[i]); err != nil {
			return fmt.Errorf("step %s: %w", r.Steps[i].ID, err)
		}
	}
	e := journal.Entry{Run: r.ID, Kind: journal.Begin, At: r.StartedAt, Data: data}
	return insertEntry(ctx, tx, &e, seq, hash)
}

func insertStep(ctx context.Context, tx *sql.Tx, run string, position int, s *journal.Step) error {
	because, err := listText(s.Because)
	if err != nil {
		return err
	}
	rules, err := listText(s.Rules)
	if err != nil {
		return err
	}
	var used *string // null: never
	if !s.LastUsed.IsZero() {
		text := journal.Stamp(s.LastUsed)
		used = &text
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO steps (run_id, id, position, action, user_name, user_id, key_id, key_created, last_used,
			from_state, because, rules, then_action)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		run, s.ID, position, string(s.Action), s.User, s.UserID, s.KeyID, journal.Stamp(s.KeyCreated), used,
		string(s.From), because, rules, string(s.Then))
	return err
}

// rotationText is null for a run that is no rotation.
func rotationText(r *journal.Rotation) (*string, error) {
	if r == nil {
		return nil, nil
	}
	body, err := json.Marshal(subjectRow{r.User, r.UserID, r.Old, journal.Stamp(r.Created), r.Others, r.Targets})
	text := string(body)
	return &text, err
}

// subjectRow is a journal.Rotation in the row of its run.
type subjectRow struct {
	User    string   `json:"user"`
	UserID  string   `json:"user_id"`
	Old     string   `json:"old_key_id"`
	Created string   `json:"old_key_created_at"`
	Others  []string `json:"other_key_ids"`
	Targets []string `json:"targets"`
}

func readSubject(text string) (*journal.Rotation, error) {
	var row subjectRow
	if err := journal.DecodeStrict([]byte(text), &row); err != nil {
		return nil, err
	}
	created, err := instant(row.Created)
	return &journal.Rotation{User: row.User, UserID: row.UserID, Old: row.Old, Created: created, Others: row.Others, Targets: row.Targets}, err
}

func listText(list []string) (string, error) {
	if len(list) == 0 {
		return "[]", nil
	}
	body, err := json.Marshal(list)
	return string(body), err
}

// Append adds an entry to a run that has begun, and gives it back as it was chained: Seq, Prev, Hash and the
// instant to the microsecond are set here. An End also ends the run. An error wraps journal.ErrNoRun for a
// run that is not on record, journal.ErrOutOfPlace for an entry that its run does not admit.
func (d *DB) Append(ctx context.Context, e journal.Entry) (journal.Entry, error) {
	if e.At.IsZero() || len(e.Data) > 0 {
		return journal.Entry{}, fmt.Errorf("%s of run %s: an entry has an instant, and no data of its own", e.Kind, e.Run)
	}
	err := d.write(ctx, string(e.Kind), func(ctx context.Context, tx *sql.Tx) error {
		seq, hash, err := head(ctx, tx) // first: from here on nobody else writes
		if err != nil {
			return fmt.Errorf("%s of run %s: %w", e.Kind, e.Run, err)
		}
		r, err := state(ctx, tx, e.Run, e.Step)
		if err != nil {
			return fmt.Errorf("%s of run %s: %w", e.Kind, e.Run, err)
		}
		if err := r.Admits(&e); err != nil {
			return err
		}
		if r.Kind == journal.Rotate { // its end must not come without that of its row
			return fmt.Errorf("%s of run %s: %w: a rotation is written by the ledger", e.Kind, e.Run, journal.ErrOutOfPlace)
		}
		if err := insertEntry(ctx, tx, &e, seq, hash); err != nil {
			return fmt.Errorf("%s of run %s: %w", e.Kind, e.Run, err)
		}
		if e.Kind == journal.End {
			_, err = tx.ExecContext(ctx, `UPDATE runs SET ended_at = $1 WHERE id = $2`, journal.Stamp(e.At), e.Run)
		}
		return err
	}, func() (string, []any) { return `SELECT 1 FROM entries WHERE hash = $1`, []any{e.Hash} })
	if err != nil {
		return journal.Entry{}, err
	}
	return e, nil
}

// head takes the end of the chain: until the transaction ends, nobody else can. The update that changes
// nothing is what locks the row.
func head(ctx context.Context, tx *sql.Tx) (seq int64, hash string, err error) {
	err = tx.QueryRowContext(ctx, `UPDATE journal_head SET seq = seq WHERE one = 1 RETURNING seq, hash`).Scan(&seq, &hash)
	if err != nil {
		return 0, "", fmt.Errorf("take the head of the journal: %w", err)
	}
	return seq, hash, nil
}

// state is as much of the run as Admits needs for an entry of that step.
func state(ctx context.Context, tx *sql.Tx, run, step string) (*journal.Run, error) {
	r := &journal.Run{ID: run}
	var ended sql.NullString
	err := tx.QueryRowContext(ctx, `SELECT kind, ended_at FROM runs WHERE id = $1`, run).Scan(&r.Kind, &ended)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, journal.ErrNoRun
	}
	if err != nil {
		return nil, err
	}
	if r.EndedAt, err = instant(ended.String); err != nil || step == "" {
		return r, err
	}
	var one int
	err = tx.QueryRowContext(ctx, `SELECT 1 FROM steps WHERE run_id = $1 AND id = $2`, run, step).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	s := journal.Step{ID: step}
	rows, err := tx.QueryContext(ctx, `SELECT kind, result FROM entries WHERE run_id = $1 AND step_id = $2 ORDER BY seq`, run, step)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var e journal.Entry
		if err := rows.Scan(&e.Kind, &e.Result); err != nil {
			return nil, err
		}
		s.Entries = append(s.Entries, e)
	}
	r.Steps = []journal.Step{s}
	return r, rows.Err()
}

// insertEntry chains e behind the head and moves the head.
func insertEntry(ctx context.Context, tx *sql.Tx, e *journal.Entry, seq int64, hash string) error {
	e.Chain(seq, hash)
	if err := e.Valid(); err != nil {
		return err
	}
	var step, data *string
	if e.Step != "" {
		step = &e.Step
	}
	if len(e.Data) > 0 {
		text := string(e.Data)
		data = &text
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO entries (seq, run_id, step_id, kind, at, result, note, data, prev, hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		e.Seq, e.Run, step, string(e.Kind), journal.Stamp(e.At), string(e.Result), e.Note, data, e.Prev, e.Hash)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE journal_head SET seq = $1, hash = $2 WHERE one = 1`, e.Seq, e.Hash)
	return err
}
