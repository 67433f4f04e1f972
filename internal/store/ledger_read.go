package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

const (
	selectRotations = `SELECT r.id, r.version, r.account, r.user_id, r.user_name, r.state, r.next_at, r.started_at, r.changed_at, r.body, r.sealed
		FROM rotations r `
	rotationIDs = `SELECT id FROM rotations WHERE substr(id, 1, $1) = $2 ORDER BY started_at DESC, id DESC LIMIT 100`
)

// Load is the rotation of that id, or the only one whose id begins so; of four characters or more. An error wraps
// rotate.ErrNoRotation if there is none; several are a journal.InputError.
func (l *Ledger) Load(ctx context.Context, id string) (*rotate.Rotation, error) {
	var r *rotate.Rotation
	err := l.d.read(ctx, func(tx *sql.Tx) (err error) {
		if !storable(id) {
			return nil
		}
		if r, err = standing(ctx, tx, id); !errors.Is(err, rotate.ErrNoRotation) {
			return err
		}
		full, err := resolve(ctx, tx, rotationIDs, "rotations", id)
		if err != nil || full == "" {
			return err
		}
		r, err = standing(ctx, tx, full)
		return err
	})
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("rotation %q: %w", id, rotate.ErrNoRotation)
	}
	return r, nil
}

// standing is the rotation of exactly that id.
func standing(ctx context.Context, tx *sql.Tx, id string) (*rotate.Rotation, error) {
	found, err := rotations(ctx, tx, selectRotations+`WHERE r.id = $1`, id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, rotate.ErrNoRotation
	}
	return &found[0], nil
}

// RotationFilter says which rotations are meant. Zero values do not limit.
type RotationFilter struct {
	Account string
	User    string // the whole name
	State   rotate.State
	Live    bool   // only those that are not over
	Before  string // only those that began before the rotation of exactly that id: none where there is no such rotation
	Limit   int    // 0: all
}

// Rotations lists rotations, those that began last first: by the order of the journal, not by clocks.
func (l *Ledger) Rotations(ctx context.Context, f RotationFilter) ([]rotate.Rotation, error) {
	query := selectRotations + `JOIN runs ON runs.id = r.id WHERE ($1 = '' OR r.account = $1) AND ($2 = '' OR r.user_name = $2)
		AND ($3 = '' OR r.state = $3) AND r.live >= $4 AND ($5 = '' OR runs.begun < (SELECT begun FROM runs WHERE id = $5))
		ORDER BY runs.begun DESC LIMIT $6`
	least := 0
	if f.Live {
		least = 1
	}
	var found []rotate.Rotation
	err := l.d.read(ctx, func(tx *sql.Tx) (err error) {
		found, err = rotations(ctx, tx, query, f.Account, f.User, string(f.State), least, f.Before, bound(f.Limit))
		return err
	})
	return found, err
}

func rotations(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]rotate.Rotation, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var found []rotate.Rotation
	for rows.Next() {
		var (
			r                      rotate.Rotation
			next                   sql.NullString
			started, changed, text string
		)
		err := rows.Scan(&r.ID, &r.Version, &r.Account, &r.UserID, &r.User, &r.State, &next, &started, &changed, &text, &r.Sealed)
		if err != nil {
			return nil, err
		}
		var rd reading
		r.NextAt, r.StartedAt, r.ChangedAt = rd.at(next.String), rd.at(started), rd.at(changed)
		if err := errors.Join(rd.err, decode(text, &r)); err != nil {
			return nil, fmt.Errorf("rotation %s: %w", r.ID, err)
		}
		if err := sound(&r); err != nil {
			return nil, fmt.Errorf("rotation %s: %w", r.ID, err)
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

// Due are the ids of rotations under way that are to be looked at by now: those whose NextAt is zero or not after now,
// oldest first; of all accounts if account is empty. No more than limit, unless that is 0.
func (l *Ledger) Due(ctx context.Context, account string, now time.Time, limit int) ([]string, error) {
	var ids []string
	err := l.d.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT id FROM rotations
			WHERE live = 1 AND next_at <= $1 AND ($2 = '' OR account = $2) ORDER BY next_at, id LIMIT $3`,
			journal.Stamp(now), account, bound(limit))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err tells
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	return ids, err
}

// Events are what happened in the rotation of exactly that id, oldest first. An error wraps rotate.ErrNoRotation if
// there is none.
func (l *Ledger) Events(ctx context.Context, id string) ([]rotate.Event, error) {
	var entries []journal.Entry
	err := l.d.read(ctx, func(tx *sql.Tx) (err error) {
		entries, err = eventsOf(ctx, tx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 { // the first came with its row
		return nil, fmt.Errorf("rotation %q: %w", id, rotate.ErrNoRotation)
	}
	events := make([]rotate.Event, len(entries))
	for i := range entries {
		e := &entries[i]
		h, err := journal.ReadHappening(e.Data)
		if err != nil {
			return nil, fmt.Errorf("rotation %s: entry %d: %w", id, e.Seq, err)
		}
		events[i] = rotate.Event{
			At: e.At, From: rotate.State(h.From), To: rotate.State(h.To), Name: rotate.EventName(h.Name), Act: rotate.Act(h.Act), Note: e.Note,
		}
	}
	return events, nil
}

func eventsOf(ctx context.Context, tx *sql.Tx, id string) ([]journal.Entry, error) {
	rows, err := tx.QueryContext(ctx,
		`SELECT seq, at, note, data FROM entries WHERE run_id = $1 AND step_id IS NULL AND kind = 'event' ORDER BY seq`, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var entries []journal.Entry
	for rows.Next() {
		e := journal.Entry{Run: id, Kind: journal.Event}
		var at, data string
		if err := rows.Scan(&e.Seq, &at, &e.Note, &data); err != nil {
			return nil, err
		}
		if e.At, err = instant(at); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		e.Data = json.RawMessage(data)
		entries = append(entries, e)
	}
	return entries, rows.Err()
}

// ledgerFits finds rotations whose rows are not what the chain of entries tells.
func ledgerFits(ctx context.Context, tx *sql.Tx, told []journal.Run) error {
	rows, err := rotations(ctx, tx, selectRotations+`ORDER BY r.id`)
	if err != nil {
		return err
	}
	byID := map[string]*rotate.Rotation{}
	for i := range rows {
		byID[rows[i].ID] = &rows[i]
	}
	count := 0
	for i := range told {
		run := &told[i]
		if run.Kind != journal.Rotate {
			continue
		}
		count++
		if r := byID[run.ID]; r == nil || !fits(r, run) {
			return fmt.Errorf("the row of rotation %s is missing, or differs from what its entries tell", run.ID)
		}
	}
	if count != len(rows) {
		return fmt.Errorf("%d rotations are on record, the entries tell of %d", len(rows), count)
	}
	return nil
}

func fits(r *rotate.Rotation, run *journal.Run) bool {
	about := run.Rotation
	state := rotate.State("")
	if n := len(run.Events); n > 0 {
		if h, err := journal.ReadHappening(run.Events[n-1].Data); err == nil {
			state = rotate.State(h.To)
		}
	}
	return r.Account == run.Account && r.User == about.User && r.UserID == about.UserID && r.Old.ID == about.Old &&
		r.Old.Created.Equal(about.Created) && r.Caller == run.Caller && r.Plan == run.Plan && r.StartedAt.Equal(run.StartedAt) &&
		r.State == state && r.State.Over() == !run.EndedAt.IsZero()
}

// Waiting are the rotations that wait for a person, by id.
func (l *Ledger) Waiting(ctx context.Context) ([]rotate.Rotation, error) {
	var found []rotate.Rotation
	err := l.d.read(ctx, func(tx *sql.Tx) (err error) {
		found, err = rotations(ctx, tx, selectRotations+`WHERE r.live = 1 AND r.state IN ('held', 'blocked', 'conflict') ORDER BY r.id`)
		return err
	})
	return found, err
}
