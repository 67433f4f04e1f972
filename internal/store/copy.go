package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/internal/journal"
)

// mostHoles is how many values one statement of a copy takes.
const mostHoles = 1000

// Copy copies everything that from holds into to, which must hold nothing, in one transaction: all of it is there
// afterwards, or nothing. Before that ends, the copy is checked as Check does, and compared with from anew: what was
// written to from meanwhile makes the copy fail. told hears, now and then, how many rows of a table are copied; nil is
// fine.
//
// Where somebody works on an account in from, a HeldError says so: the rest of that run would be in from alone. That nobody
// goes on writing to from afterwards, such as a server of rotations, is for the caller to see to. What to holds already is a
// journal.InputError.
func Copy(ctx context.Context, from, to *DB, told func(table string, rows int64)) error {
	if to.still {
		return to.onlyRead()
	}
	if told == nil {
		told = func(string, int64) {}
	}
	var seq int64
	var hash string
	return to.e.write(ctx, "copy", func(ctx context.Context, tx *sql.Tx) error {
		if err := vacant(ctx, tx, to); err != nil {
			return err
		}
		if err := from.e.held(ctx); err != nil {
			return err
		}
		err := from.e.read(ctx, func(source *sql.Tx) error {
			for _, t := range tables() {
				if err := t.copy(ctx, source, tx, to.kind, told); err != nil {
					return fmt.Errorf("copy table %s of %s to %s: %w", t.name, from.name, to.name, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := to.check(ctx, tx); err != nil {
			return fmt.Errorf("what was copied from %s does not hold: %w", from.name, err)
		}
		if err := unmoved(ctx, from, to, tx); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT seq, hash FROM journal_head`).Scan(&seq, &hash)
	}, func() (string, []any) { // of a copy without entries nobody can tell: then it is tried again, and refused if it is there
		return `SELECT 1 FROM journal_head WHERE seq = $1 AND hash = $2 AND seq > 0`, []any{seq, hash}
	})
}

// vacant takes the head of the journal, so that nobody else writes, and says what is there already.
func vacant(ctx context.Context, tx *sql.Tx, d *DB) error {
	seq, _, err := head(ctx, tx)
	if err != nil {
		return err
	}
	for _, t := range tables() {
		n := seq
		if t.name != headTable {
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM `+t.name).Scan(&n); err != nil {
				return err
			}
		}
		if n > 0 {
			return &journal.InputError{
				Problem: fmt.Sprintf("the journal %s holds something: %d rows of %s", d.name, n, t.name),
				Hint:    "copy to one that is new or empty: nothing is ever overwritten",
			}
		}
	}
	return nil
}

// unmoved compares the copy with what it was made from, as that stands by now.
func unmoved(ctx context.Context, from, to *DB, copied *sql.Tx) error {
	err := from.e.held(ctx)
	if err != nil {
		return err
	}
	var c *Comparison
	err = from.e.read(ctx, func(source *sql.Tx) (err error) {
		c, err = compareAll(ctx, source, copied, from.name, to.name)
		return err
	})
	if err != nil {
		return from.reading(err)
	}
	if c.Count == 0 {
		return nil
	}
	d := c.Differences[0]
	return &Error{
		Problem: fmt.Sprintf("the journal %s was written while it was copied (%s of %s: %s); nothing was copied", from.name, d.Row, d.Table, d.What),
		Hint:    "end what works with it, such as keyreeve serve, and copy again",
	}
}

// copy inserts the rows of one database into another, many at a time.
func (t *table) copy(ctx context.Context, from, to *sql.Tx, kind *dialect, told func(table string, rows int64)) error {
	c, err := t.walk(ctx, from)
	if err != nil {
		return err
	}
	defer func() { _ = c.rows.Close() }() // next tells
	if t.name == headTable {
		return c.moveHead(ctx, to, kind)
	}
	var values []any
	for {
		if err := c.next(); err != nil {
			return err
		}
		values = append(values, c.row...)
		if c.row == nil || len(values)+len(c.columns) > mostHoles {
			if err := t.insert(ctx, to, c.columns, values); err != nil {
				return err
			}
			told(t.name, c.count)
			values = values[:0]
		}
		if c.row == nil {
			return nil
		}
	}
}

func (t *table) insert(ctx context.Context, tx *sql.Tx, columns []string, values []any) error {
	if len(values) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", t.name, strings.Join(columns, ", "))
	for i := range values {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%len(columns) == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	b.WriteString(")")
	_, err := tx.ExecContext(ctx, b.String(), values...)
	return err
}

// moveHead sets the one row, past the trigger that lets it move by one.
func (c *cursor) moveHead(ctx context.Context, tx *sql.Tx, kind *dialect) error {
	if err := c.next(); err != nil {
		return err
	}
	if c.row == nil {
		return errors.New("it has no row")
	}
	row := map[string]any{}
	for i, name := range c.columns {
		row[name] = c.row[i]
	}
	var keep string
	if err := tx.QueryRowContext(ctx, kind.headKept).Scan(&keep); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, kind.headFree); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE journal_head SET seq = $1, hash = $2 WHERE one = 1`, row["seq"], row["hash"]); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, keep)
	return err
}
