package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"

	"github.com/keyreeve/keyreeve/internal/journal"
)

// Check reads the whole database and says everything that is wrong with it: what is beneath the tables, the references between
// them, the chain of hashes and its head, and rows of runs, steps and rotations that differ from what the chain says.
func (d *DB) Check(ctx context.Context) error {
	return d.read(ctx, func(tx *sql.Tx) error { return d.check(ctx, tx) })
}

func (d *DB) check(ctx context.Context, tx *sql.Tx) error {
	if err := d.e.sound(ctx, tx); err != nil {
		return err
	}
	entries, err := chain(ctx, tx)
	if err != nil {
		return err
	}
	told, err := journal.Fold(entries)
	if err != nil {
		return err
	}
	if err := headFits(ctx, tx, entries); err != nil {
		return err
	}
	runs, err := load(ctx, tx, latest(), (&RunFilter{}).args()...)
	if err != nil {
		return err
	}
	if err := compare(runs, told); err != nil {
		return err
	}
	return ledgerFits(ctx, tx, told)
}

// headFits compares the head with the last entry: entries cut off at the end leave the chain whole.
func headFits(ctx context.Context, tx *sql.Tx, entries []journal.Entry) error {
	var seq int64
	var hash, last string
	if err := tx.QueryRowContext(ctx, `SELECT seq, hash FROM journal_head`).Scan(&seq, &hash); err != nil {
		return fmt.Errorf("the head of the journal: %w", err)
	}
	if len(entries) > 0 {
		last = entries[len(entries)-1].Hash
	}
	if seq != int64(len(entries)) || hash != last {
		return fmt.Errorf("the journal had %d entries up to the hash %q, and has %d up to %q", seq, hash, len(entries), last)
	}
	return nil
}

// compare finds runs whose rows are not what the chain of entries tells.
func compare(rows, told []journal.Run) error {
	if len(rows) != len(told) {
		return fmt.Errorf("%d runs are on record, the entries tell of %d", len(rows), len(told))
	}
	for i := range rows {
		r, want := &rows[i], &told[i]
		if !bytes.Equal(journal.Record(r), journal.Record(want)) || !r.EndedAt.Equal(want.EndedAt) {
			return fmt.Errorf("the rows of run %s differ from what its entries tell", want.ID)
		}
	}
	return nil
}
