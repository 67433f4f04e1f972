package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// RecordUse remembers that the key was seen used; seen is when, by our clock. The same use again changes nothing, and a
// key that was never used has none. A use that could not be read is an error: unknown is no history.
func (l *Ledger) RecordUse(ctx context.Context, account, keyID string, use fact.Use, seen time.Time) error {
	switch {
	case use.At.Never():
		return nil
	case !use.At.Known():
		return fmt.Errorf("record a use of key %q: its time is unknown", keyID)
	case !fact.IsAccountID(account) || keyID == "" || seen.IsZero():
		return fmt.Errorf("record a use of key %q in account %q, seen %s: incomplete", keyID, account, journal.Stamp(seen))
	}
	used := journal.Stamp(use.At.Time())
	known := false
	err := l.d.read(ctx, func(tx *sql.Tx) error {
		var one int
		err := tx.QueryRowContext(ctx, `SELECT 1 FROM key_uses WHERE account = $1 AND key_id = $2 AND used_at = $3`, account, keyID, used).Scan(&one)
		known = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil || known { // most looks bring nothing new: they need no write
		return err
	}
	err = l.d.write(ctx, "use", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO key_uses (account, key_id, used_at, service, region, seen_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (account, key_id, used_at) DO NOTHING`,
			account, keyID, used, clean(use.Service), clean(use.Region), journal.Stamp(seen))
		return err
	}, leaves(`SELECT 1 FROM key_uses WHERE account = $1 AND key_id = $2 AND used_at = $3`, account, keyID, used))
	if err != nil {
		return fmt.Errorf("record a use of key %q: %w", keyID, err)
	}
	return nil
}

// LongestGap is the longest time between two uses of the key that were seen one after the other, and how many uses were
// seen; 0 for fewer than two. What lies between two looks at AWS is not seen: the true gaps may be shorter, never longer,
// within the history.
func (l *Ledger) LongestGap(ctx context.Context, account, keyID string) (time.Duration, int, error) {
	var longest time.Duration
	uses := 0
	err := l.d.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT used_at FROM key_uses WHERE account = $1 AND key_id = $2 ORDER BY used_at`, account, keyID)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err tells
		var last time.Time
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				return err
			}
			at, err := instant(text)
			if err != nil {
				return err
			}
			if uses > 0 {
				longest = max(longest, at.Sub(last))
			}
			last, uses = at, uses+1
		}
		return rows.Err()
	})
	return longest, uses, err
}
