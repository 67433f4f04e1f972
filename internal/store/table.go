package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// table is a table of ours, with the columns that tell its rows apart and put them into one order in both databases.
type table struct {
	name string
	key  []string
}

// headTable holds one row from the start.
const headTable = "journal_head"

// tables are all of them, each after those that it refers to: what is copied and compared. A new table is a line here.
func tables() []table {
	return []table{
		{"runs", []string{"begun"}}, // what a run undoes began before it
		{"steps", []string{"run_id", "position"}},
		{"entries", []string{"seq"}},
		{headTable, []string{"one"}},
		{"rotations", []string{"id"}},
		{"key_uses", []string{"account", "key_id", "used_at"}},
		{"requests", []string{"id"}},
		{"accounts", []string{"id"}},
		{"verdicts", []string{"id", "opened_at"}},
		{"days", []string{"account", "day"}},
		{"notices", []string{"id"}},
		{"notice_covers", []string{"id"}},
		{"notice_attempts", []string{"notice", "n"}},
		{"tokens", []string{"id"}},
	}
}

// cursor goes through the rows of a table in the order of its key.
type cursor struct {
	rows    *sql.Rows
	columns []string
	key     []int // where in the columns
	row     []any // nil, int64, float64, string or []byte each; nil as a whole: there are no more
	count   int64
	sum     hash.Hash
}

// walk begins before the first row. The caller closes rows.
func (t *table) walk(ctx context.Context, tx *sql.Tx) (*cursor, error) {
	rows, err := tx.QueryContext(ctx, fmt.Sprintf(`SELECT * FROM %s ORDER BY %s`, t.name, strings.Join(t.key, ", ")))
	if err != nil {
		return nil, err
	}
	c := &cursor{rows: rows, sum: sha256.New()}
	if c.columns, err = rows.Columns(); err != nil {
		return nil, fmt.Errorf("%w, %w", err, rows.Close())
	}
	for _, k := range t.key {
		for i, name := range c.columns {
			if name == k {
				c.key = append(c.key, i)
			}
		}
	}
	return c, nil
}

// next goes to the next row and adds it to the sum.
func (c *cursor) next() error {
	if !c.rows.Next() {
		c.row = nil
		return c.rows.Err()
	}
	c.row = make([]any, len(c.columns))
	into := make([]any, len(c.columns))
	for i := range into {
		into[i] = &c.row[i]
	}
	if err := c.rows.Scan(into...); err != nil {
		return err
	}
	c.count++
	for i := range c.row {
		if err := add(c.sum, c.row[i]); err != nil {
			return fmt.Errorf("column %s: %w", c.columns[i], err)
		}
	}
	return nil
}

// add writes the cell so that no two rows that differ write the same.
func add(h hash.Hash, cell any) error {
	var kind byte
	var body []byte
	switch v := cell.(type) {
	case nil:
		kind = 'n'
	case int64:
		kind, body = 'i', fmt.Appendf(nil, "%d", v)
	case float64:
		kind, body = 'f', fmt.Appendf(nil, "%x", v)
	case string:
		kind, body = 't', []byte(v)
	case []byte:
		kind, body = 'b', v
	default:
		return fmt.Errorf("a value of the unknown type %T", cell)
	}
	var length [9]byte
	length[0] = kind
	binary.BigEndian.PutUint64(length[1:], uint64(len(body)))
	_, _ = h.Write(length[:]) // a hash never fails
	_, _ = h.Write(body)
	return nil
}

// name is the key of the row for people: seq 3.
func (c *cursor) name() string {
	var parts []string
	for _, i := range c.key {
		parts = append(parts, fmt.Sprintf("%s %v", c.columns[i], c.row[i]))
	}
	return strings.Join(parts, ", ")
}

// before compares the keys of two rows, as both databases order them; the end comes after every row.
func (c *cursor) before(o *cursor) int {
	switch {
	case c.row == nil && o.row == nil:
		return 0
	case c.row == nil:
		return 1
	case o.row == nil:
		return -1
	}
	for i := range min(len(c.key), len(o.key)) {
		if n := order(c.row[c.key[i]], o.row[o.key[i]]); n != 0 {
			return n
		}
	}
	return 0
}

func order(a, b any) int {
	switch x := a.(type) {
	case int64:
		if y, ok := b.(int64); ok {
			return cmp.Compare(x, y)
		}
	case string:
		if y, ok := b.(string); ok {
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(fmt.Sprintf("%T %v", a, a), fmt.Sprintf("%T %v", b, b)) // nothing that we write is so
}

// differs names the columns in which two rows of one key differ.
func (c *cursor) differs(o *cursor) []string {
	var names []string
	for i, name := range c.columns {
		j := i
		if o.columns[j] != name {
			return []string{"its columns"}
		}
		a, aBytes := c.row[i].([]byte)
		b, bBytes := o.row[j].([]byte)
		if aBytes && bBytes {
			if !bytes.Equal(a, b) {
				names = append(names, name)
			}
		} else if aBytes || bBytes || c.row[i] != o.row[j] {
			names = append(names, name)
		}
	}
	return names
}

// digest is the sum of the rows so far, in hexadecimal.
func (c *cursor) digest() string { return hex.EncodeToString(c.sum.Sum(nil)) }
