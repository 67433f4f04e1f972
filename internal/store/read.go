package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// shortest is how many characters of a run's id are needed to mean it.
const shortest = 4

// scope is the three questions that fetch some runs whole.
type scope struct{ runs, steps, entries string }

const (
	selectRuns = `SELECT id, kind, account, caller, plan, undoes, rotation, version, host, pid, started_at, ended_at,
		(SELECT note FROM entries WHERE run_id = runs.id AND kind = 'end') FROM runs WHERE id IN `
	selectSteps = `SELECT run_id, id, action, user_name, user_id, key_id, key_created, last_used, from_state,
		because, rules, then_action FROM steps WHERE run_id IN `
	selectEntries = `SELECT seq, run_id, step_id, kind, at, result, note, data, prev, hash
		FROM entries WHERE (step_id IS NOT NULL OR kind = 'event') AND run_id IN `

	theOne    = `(SELECT id FROM runs WHERE id = $1)`
	theNewest = `(SELECT id FROM runs WHERE ($1 = '' OR account = $1)
		AND ($2 = '' OR begun < (SELECT begun FROM runs WHERE id = $2)) ORDER BY begun DESC LIMIT $3)`

	orderRuns    = ` ORDER BY begun`
	orderSteps   = ` ORDER BY run_id, position`
	orderEntries = ` ORDER BY seq`
)

func one() scope {
	return scope{selectRuns + theOne + orderRuns, selectSteps + theOne + orderSteps, selectEntries + theOne + orderEntries}
}

func latest() scope {
	return scope{selectRuns + theNewest + orderRuns, selectSteps + theNewest + orderSteps, selectEntries + theNewest + orderEntries}
}

// Run is the run of that id, or the only one whose id begins so; of four characters or more. An error wraps
// journal.ErrNoRun if there is none; several are a journal.InputError.
func (d *DB) Run(ctx context.Context, id string) (*journal.Run, error) {
	var found []journal.Run
	err := d.read(ctx, func(tx *sql.Tx) error {
		full, err := resolve(ctx, tx, runIDs, "runs", id)
		if err != nil || full == "" {
			return err
		}
		found, err = load(ctx, tx, one(), full)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("run %q: %w", id, journal.ErrNoRun)
	}
	return &found[0], nil
}

// storable tells whether a text can be in the database. PostgreSQL would not even take the question for another.
func storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// runIDs asks for the runs whose id begins so, newest first.
const runIDs = `SELECT id FROM runs WHERE substr(id, 1, $1) = $2 ORDER BY begun DESC LIMIT 100`

// resolve completes an id by one of the questions for ids; empty if there is none. what names many of them.
func resolve(ctx context.Context, tx *sql.Tx, query, what, id string) (string, error) {
	length := utf8.RuneCountInString(id)
	if !storable(id) {
		return "", nil
	}
	rows, err := tx.QueryContext(ctx, query, length, id)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var ids []string
	for rows.Next() {
		var full string
		if err := rows.Scan(&full); err != nil {
			return "", err
		}
		ids = append(ids, full)
	}
	switch {
	case rows.Err() != nil:
		return "", rows.Err()
	case length == 0, len(ids) == 0:
		return "", nil
	case slices.Contains(ids, id):
		return id, nil
	case length < shortest:
		return "", nil
	case len(ids) == 1:
		return ids[0], nil
	default:
		return "", &journal.InputError{
			Problem: fmt.Sprintf("the ids of several %s begin with %q", what, id),
			Hint:    "the newest are " + strings.Join(ids[:min(3, len(ids))], ", "),
		}
	}
}

// RunFilter says which runs are meant. Zero values do not limit.
type RunFilter struct {
	Account string
	Before  string // only those that began before the run of exactly that id: none where there is no such run
	Limit   int    // 0: all
}

func (f *RunFilter) args() []any { return []any{f.Account, f.Before, bound(f.Limit)} }

// Runs lists runs with their steps and entries, those that began last first: by the order of the journal, not by clocks.
func (d *DB) Runs(ctx context.Context, f RunFilter) ([]journal.Run, error) {
	var runs []journal.Run
	err := d.read(ctx, func(tx *sql.Tx) (err error) {
		runs, err = load(ctx, tx, latest(), f.args()...)
		return err
	})
	slices.Reverse(runs)
	return runs, err
}

// bound is a limit that both databases take for none.
func bound(limit int) int64 {
	if limit <= 0 {
		return math.MaxInt64
	}
	return int64(limit)
}

// Book is what the journal knows of the account.
func (d *DB) Book(ctx context.Context, account string) (journal.Book, error) {
	if !fact.IsAccountID(account) {
		return journal.Book{}, fmt.Errorf("the book of account %q: it is not twelve digits", account)
	}
	var runs []journal.Run
	err := d.read(ctx, func(tx *sql.Tx) (err error) {
		runs, err = load(ctx, tx, latest(), (&RunFilter{Account: account}).args()...)
		return err
	})
	if err != nil {
		return journal.Book{}, err
	}
	return journal.Read(runs), nil
}

// Entries is the whole chain in order.
func (d *DB) Entries(ctx context.Context) ([]journal.Entry, error) {
	var entries []journal.Entry
	err := d.read(ctx, func(tx *sql.Tx) (err error) {
		entries, err = chain(ctx, tx)
		return err
	})
	return entries, err
}

func chain(ctx context.Context, tx *sql.Tx) ([]journal.Entry, error) {
	rows, err := tx.QueryContext(ctx,
		`SELECT seq, run_id, step_id, kind, at, result, note, data, prev, hash FROM entries ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var entries []journal.Entry
	for rows.Next() {
		var (
			e          journal.Entry
			step, data sql.NullString
			at         string
		)
		if err := rows.Scan(&e.Seq, &e.Run, &step, &e.Kind, &at, &e.Result, &e.Note, &data, &e.Prev, &e.Hash); err != nil {
			return nil, err
		}
		if e.At, err = instant(at); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		e.Step = step.String
		if data.Valid {
			e.Data = json.RawMessage(data.String)
		}
		entries = append(entries, e)
	}
	return entries, rows.Err()
}

// load fetches runs in the order in which they began.
func load(ctx context.Context, tx *sql.Tx, q scope, args ...any) ([]journal.Run, error) {
	runs, err := loadRuns(ctx, tx, q.runs, args)
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	byID := make(map[string]*journal.Run, len(runs))
	for i := range runs {
		byID[runs[i].ID] = &runs[i]
	}
	if err := loadSteps(ctx, tx, q.steps, args, byID); err != nil {
		return nil, err
	}
	return runs, loadEntries(ctx, tx, q.entries, args, runs)
}

func loadRuns(ctx context.Context, tx *sql.Tx, query string, args []any) ([]journal.Run, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var runs []journal.Run
	for rows.Next() {
		var (
			r                   journal.Run
			undoes, ended, note sql.NullString
			rotation            sql.NullString
			started             string
		)
		err := rows.Scan(&r.ID, &r.Kind, &r.Account, &r.Caller, &r.Plan, &undoes, &rotation, &r.Version, &r.Host, &r.PID, &started, &ended, &note)
		if err != nil {
			return nil, err
		}
		r.Undoes, r.EndNote = undoes.String, note.String
		if r.StartedAt, err = instant(started); err != nil {
			return nil, fmt.Errorf("run %s: %w", r.ID, err)
		}
		if r.EndedAt, err = instant(ended.String); err != nil {
			return nil, fmt.Errorf("run %s: %w", r.ID, err)
		}
		if rotation.Valid {
			if r.Rotation, err = readSubject(rotation.String); err != nil {
				return nil, fmt.Errorf("run %s: its rotation: %w", r.ID, err)
			}
		}
		runs = append(runs, r)
	}
	return runs, rows.Err()
}

func loadSteps(ctx context.Context, tx *sql.Tx, query string, args []any, runs map[string]*journal.Run) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var (
			s                          journal.Step
			run, made, because, rulesJ string
			used                       sql.NullString
		)
		err := rows.Scan(&run, &s.ID, &s.Action, &s.User, &s.UserID, &s.KeyID, &made, &used, &s.From, &because, &rulesJ, &s.Then)
		if err != nil {
			return err
		}
		if s.KeyCreated, err = instant(made); err != nil {
			return fmt.Errorf("step %s of run %s: %w", s.ID, run, err)
		}
		if s.LastUsed, err = instant(used.String); err != nil {
			return fmt.Errorf("step %s of run %s: %w", s.ID, run, err)
		}
		if s.Because, err = textList(because); err != nil {
			return fmt.Errorf("step %s of run %s: %w", s.ID, run, err)
		}
		if s.Rules, err = textList(rulesJ); err != nil {
			return fmt.Errorf("step %s of run %s: %w", s.ID, run, err)
		}
		runs[run].Steps = append(runs[run].Steps, s)
	}
	return rows.Err()
}

func loadEntries(ctx context.Context, tx *sql.Tx, query string, args []any, runs []journal.Run) error {
	type place struct{ run, step string }
	steps := map[place]*journal.Step{}
	byID := make(map[string]*journal.Run, len(runs))
	for i := range runs {
		byID[runs[i].ID] = &runs[i]
		for j := range runs[i].Steps {
			steps[place{runs[i].ID, runs[i].Steps[j].ID}] = &runs[i].Steps[j]
		}
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var (
			e          journal.Entry
			step, data sql.NullString
			at         string
		)
		if err := rows.Scan(&e.Seq, &e.Run, &step, &e.Kind, &at, &e.Result, &e.Note, &data, &e.Prev, &e.Hash); err != nil {
			return err
		}
		e.Step = step.String
		if e.At, err = instant(at); err != nil {
			return fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		if e.Kind == journal.Event {
			e.Data = json.RawMessage(data.String)
			if _, err := journal.ReadHappening(e.Data); err != nil { // what it did to keys would be missing from the book
				return fmt.Errorf("entry %d: %w", e.Seq, err)
			}
			byID[e.Run].Events = append(byID[e.Run].Events, e)
			continue
		}
		s := steps[place{e.Run, e.Step}]
		if s == nil {
			return fmt.Errorf("entry %d is about step %q, which run %s does not have", e.Seq, e.Step, e.Run)
		}
		s.Entries = append(s.Entries, e)
	}
	return rows.Err()
}

// instant is the zero time for an empty text.
func instant(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return journal.ParseStamp(text)
}

func textList(text string) ([]string, error) {
	if text == "[]" {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("%q is no list: %w", text, err)
	}
	return list, nil
}
