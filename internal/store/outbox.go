package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// Outbox is the database as notices see it: a notice.Outbox. It is for as long as the database is open.
type Outbox struct{ d *DB }

// Outbox gives the outbox.
func (d *DB) Outbox() *Outbox { return &Outbox{d} }

// Fresh gives those of ids that no message covers.
func (o *Outbox) Fresh(ctx context.Context, ids []string) ([]string, error) {
	var fresh []string
	err := o.d.read(ctx, func(tx *sql.Tx) error {
		ask, err := tx.PrepareContext(ctx, `SELECT 1 FROM notice_covers WHERE id = $1`)
		if err != nil {
			return err
		}
		defer func() { _ = ask.Close() }() // only read
		for _, id := range ids {
			var one int
			switch err := ask.QueryRowContext(ctx, id).Scan(&one); {
			case errors.Is(err, sql.ErrNoRows):
				fresh = append(fresh, id)
			case err != nil:
				return err
			}
		}
		return nil
	})
	return fresh, err
}

// Add puts all entries in, or none.
func (o *Outbox) Add(ctx context.Context, entries []notice.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	err := o.d.write(ctx, "notice", func(ctx context.Context, tx *sql.Tx) error {
		for i := range entries {
			if err := addNotice(ctx, tx, &entries[i]); err != nil {
				return err
			}
		}
		return nil
	}, leaves(`SELECT 1 FROM notices WHERE id = $1`, entries[0].ID))
	if err != nil && !errors.Is(err, notice.ErrKnown) {
		return fmt.Errorf("put notices into the outbox: %w", err)
	}
	return err
}

func addNotice(ctx context.Context, tx *sql.Tx, e *notice.Entry) error {
	res, err := tx.ExecContext(ctx, `
		INSERT INTO notices (id, channel, body, added_at, tries, next_at, token) VALUES ($1, $2, $3, $4, $5, $6, '') ON CONFLICT (id) DO NOTHING`,
		e.ID, e.Channel, e.Body, journal.Stamp(e.AddedAt), e.Tries, journal.Stamp(e.NextTry))
	if err := isNew(res, err); err != nil {
		return err
	}
	for _, id := range e.Covers {
		res, err := tx.ExecContext(ctx, `INSERT INTO notice_covers (id, notice) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`, id, e.ID)
		if err := isNew(res, err); err != nil {
			return err
		}
	}
	return nil
}

// isNew is notice.ErrKnown where the row was there.
func isNew(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return notice.ErrKnown
	}
	return err
}

// Take gives what is due on the channel, and keeps it from others until then.
func (o *Outbox) Take(ctx context.Context, channel string, now, until time.Time, limit int) ([]notice.Entry, error) {
	due := false
	err := o.d.read(ctx, func(tx *sql.Tx) error { // most looks find nothing: they need no write
		var one int
		err := tx.QueryRowContext(ctx, `SELECT 1 FROM notices WHERE channel = $1 AND closed_at IS NULL AND next_at <= $2 LIMIT 1`,
			channel, journal.Stamp(now)).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		due = err == nil
		return err
	})
	if err != nil || !due {
		return nil, err
	}
	token := rand.Text()
	var taken []notice.Entry
	err = o.d.write(ctx, "take", func(ctx context.Context, tx *sql.Tx) error {
		taken = nil
		due, err := dueNotices(ctx, tx, channel, now, limit)
		if err != nil {
			return err
		}
		for _, e := range due {
			var added string
			err := tx.QueryRowContext(ctx, `
				UPDATE notices SET next_at = $1, token = $2 WHERE id = $3 AND closed_at IS NULL AND next_at <= $4 RETURNING body, added_at, tries`,
				journal.Stamp(until), token, e.ID, journal.Stamp(now)).Scan(&e.Body, &added, &e.Tries)
			if errors.Is(err, sql.ErrNoRows) {
				continue // somebody else was first
			}
			if err != nil {
				return err
			}
			if e.AddedAt, err = instant(added); err != nil {
				return err
			}
			taken = append(taken, e)
		}
		return nil
	}, leaves(`SELECT 1 FROM notices WHERE token = $1`, token))
	if err != nil {
		return nil, fmt.Errorf("take notices of channel %q: %w", channel, err)
	}
	return taken, nil
}

func dueNotices(ctx context.Context, tx *sql.Tx, channel string, now time.Time, limit int) ([]notice.Entry, error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT id, next_at FROM notices WHERE channel = $1 AND closed_at IS NULL AND next_at <= $2 ORDER BY next_at, id LIMIT $3`,
		channel, journal.Stamp(now), limit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var out []notice.Entry
	for rows.Next() {
		e := notice.Entry{Channel: channel}
		var next string
		if err := rows.Scan(&e.ID, &next); err != nil {
			return nil, err
		}
		if e.NextTry, err = instant(next); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, rows.Err()
}

// Mark records an attempt.
func (o *Outbox) Mark(ctx context.Context, id string, a notice.Attempt) error {
	err := o.d.write(ctx, "mark", func(ctx context.Context, tx *sql.Tx) error {
		var closed sql.NullString
		var tries int
		// The update that changes nothing locks the row: of two attempts, one is recorded after the other.
		err := tx.QueryRowContext(ctx, `UPDATE notices SET tries = tries WHERE id = $1 RETURNING closed_at, tries`, id).Scan(&closed, &tries)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return notice.ErrNoEntry
		case err != nil || closed.Valid:
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO notice_attempts (notice, n, at, state, answer, why) VALUES ($1, $2, $3, $4, $5, $6)`,
			id, tries+1, journal.Stamp(a.At), string(a.State), clean(a.Answer), clean(a.Why))
		if err != nil {
			return err
		}
		if a.State == notice.Failed {
			_, err = tx.ExecContext(ctx, `UPDATE notices SET tries = $1, next_at = $2 WHERE id = $3`, tries+1, journal.Stamp(a.NextTry), id)
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE notices SET tries = $1, closed_at = $2, state = $3 WHERE id = $4`,
			tries+1, journal.Stamp(a.At), string(a.State), id)
		return err
	}, leaves(`SELECT 1 FROM notice_attempts WHERE notice = $1 AND at = $2`, id, journal.Stamp(a.At)))
	if err != nil && !errors.Is(err, notice.ErrNoEntry) {
		return fmt.Errorf("record an attempt to deliver notice %s: %w", id, err)
	}
	return err
}

// Notices lists messages, those put in last first, at most limit (0: all).
func (o *Outbox) Notices(ctx context.Context, limit int) ([]notice.Record, error) {
	const query = `SELECT id, channel, added_at, next_at, coalesce(state, ''), body FROM notices ORDER BY added_at DESC, id LIMIT $1`
	var out []notice.Record
	err := o.d.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query, bound(limit))
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err tells
		for rows.Next() {
			var n notice.Record
			var added, next string
			var body []byte
			if err := rows.Scan(&n.ID, &n.Channel, &added, &next, &n.State, &body); err != nil {
				return err
			}
			if m, err := notice.Decode(body); err == nil { // the others are to be seen
				n.Subject = m.Subject
			}
			var rd reading
			n.AddedAt = rd.at(added)
			if n.State == "" {
				n.NextTry = rd.at(next)
			}
			if rd.err != nil {
				return rd.err
			}
			out = append(out, n)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for i := range out {
			if out[i].Attempts, err = attempts(ctx, tx, out[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// Waiting counts the notices that are to be delivered yet.
func (o *Outbox) Waiting(ctx context.Context) (int, error) {
	var n int
	err := o.d.read(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM notices WHERE closed_at IS NULL`).Scan(&n)
	})
	return n, err
}

func attempts(ctx context.Context, tx *sql.Tx, id string) ([]notice.Attempt, error) {
	rows, err := tx.QueryContext(ctx, `SELECT at, state, answer, why FROM notice_attempts WHERE notice = $1 ORDER BY n`, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var out []notice.Attempt
	for rows.Next() {
		var a notice.Attempt
		var at string
		if err := rows.Scan(&at, &a.State, &a.Answer, &a.Why); err != nil {
			return nil, err
		}
		if a.At, err = instant(at); err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, rows.Err()
}
