package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
)

// Before says what is too old to keep. Zero keeps everything.
type Before struct {
	Closed  time.Time // verdicts that closed before it; open ones stay however old they are
	Days    time.Time // days of trends before it
	Notices time.Time // notices that were delivered or given up before it; the same change would then be told again
}

// What one transaction of Prune takes away at most: others wait for it.
const (
	rowsAtOnce    = 2000
	noticesAtOnce = 500
)

// Prune forgets what is too old, and tells how many rows that were. It does so in many transactions, between which others get their
// turn: what is gone when it ends with an error stays gone, and the next one goes on from there.
func (d *DB) Prune(ctx context.Context, b Before) (int64, error) {
	var gone int64
	for _, some := range []func(ctx context.Context, tx *sql.Tx) (int64, error){
		pruneRows(`DELETE FROM verdicts WHERE (id, opened_at) IN
			(SELECT id, opened_at FROM verdicts WHERE closed_at IS NOT NULL AND closed_at < $1 ORDER BY closed_at LIMIT $2)`, journal.Stamp(b.Closed)),
		pruneRows(`DELETE FROM days WHERE (account, day) IN
			(SELECT account, day FROM days WHERE day < $1 ORDER BY day LIMIT $2)`, b.Days.UTC().Format(time.DateOnly)),
		pruneNotices(journal.Stamp(b.Notices)),
	} {
		for n := int64(-1); n != 0; gone += n {
			err := d.write(ctx, "prune", func(ctx context.Context, tx *sql.Tx) (err error) {
				n, err = some(ctx, tx)
				return err
			}, leaves(`SELECT 1`)) // what a commit left, whose answer was lost, the next look finds
			if err != nil {
				return gone, fmt.Errorf("forget what is too old: %w", err)
			}
		}
	}
	return gone, nil
}

func pruneRows(query, before string) func(ctx context.Context, tx *sql.Tx) (int64, error) {
	return func(ctx context.Context, tx *sql.Tx) (int64, error) {
		res, err := tx.ExecContext(ctx, query, before, rowsAtOnce)
		if err != nil {
			return 0, err
		}
		return res.RowsAffected()
	}
}

// pruneNotices takes messages away, each with its receipts and what it covers.
func pruneNotices(before string) func(ctx context.Context, tx *sql.Tx) (int64, error) {
	return func(ctx context.Context, tx *sql.Tx) (gone int64, err error) {
		ids, err := noticesBefore(ctx, tx, before, noticesAtOnce)
		if err != nil {
			return 0, err
		}
		for _, query := range []string{
			`DELETE FROM notice_attempts WHERE notice = $1`, `DELETE FROM notice_covers WHERE notice = $1`, `DELETE FROM notices WHERE id = $1`,
		} {
			for _, id := range ids {
				res, err := tx.ExecContext(ctx, query, id)
				if err != nil {
					return 0, err
				}
				n, err := res.RowsAffected()
				if err != nil {
					return 0, err
				}
				gone += n
			}
		}
		return gone, nil
	}
}

func noticesBefore(ctx context.Context, tx *sql.Tx, before string, limit int) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT id FROM notices WHERE closed_at IS NOT NULL AND closed_at < $1 ORDER BY closed_at, id LIMIT $2`, before, limit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
