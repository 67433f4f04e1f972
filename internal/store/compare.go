package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// mostNamed is how many rows that differ are named of each table.
const mostNamed = 3

// Content is what a table holds.
type Content struct {
	Table  string
	Rows   int64
	Digest string // SHA-256 of all cells in the order of the key, in hexadecimal: the same in SQLite and PostgreSQL
}

// Difference is a row that two journals do not share.
type Difference struct {
	Table string
	Row   string // its key, such as "seq 3"
	What  string // "only in NAME", or the columns that differ
}

// Comparison is what two journals hold, table by table.
type Comparison struct {
	One, Other  []Content // of the same tables, in the same order
	Count       int64     // of rows that differ
	Differences []Difference
}

// Contents reads every table, in one state of the database. Only the order in which rows were written is left out, and
// the versions of the tables.
func (d *DB) Contents(ctx context.Context) ([]Content, error) {
	var all []Content
	err := d.e.read(ctx, func(tx *sql.Tx) error {
		for _, t := range tables() {
			c, err := t.walk(ctx, tx)
			if err == nil {
				for err = c.next(); err == nil && c.row != nil; err = c.next() {
				}
				err = errors.Join(err, c.rows.Close())
			}
			if err != nil {
				return fmt.Errorf("table %s: %w", t.name, err)
			}
			all = append(all, Content{t.name, c.count, c.digest()})
		}
		return nil
	})
	if err != nil {
		return nil, d.reading(err)
	}
	return all, nil
}

// Compare reads every table of both, row beside row. Each is read in one state; one that is written meanwhile may differ for
// that. The first rows that differ are named, of each table at most three.
func Compare(ctx context.Context, one, other *DB) (*Comparison, error) {
	var c *Comparison
	err := one.e.read(ctx, func(a *sql.Tx) error {
		return other.read(ctx, func(b *sql.Tx) (err error) {
			c, err = compareAll(ctx, a, b, one.name, other.name)
			return err
		})
	})
	if err != nil {
		return nil, one.reading(err)
	}
	return c, nil
}

func compareAll(ctx context.Context, a, b *sql.Tx, one, other string) (*Comparison, error) {
	var c Comparison
	for _, t := range tables() {
		if err := c.table(ctx, &t, a, b, one, other); err != nil {
			return nil, fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	return &c, nil
}

// table merges the rows of both by their keys.
func (c *Comparison) table(ctx context.Context, t *table, a, b *sql.Tx, one, other string) error {
	x, err := t.walk(ctx, a)
	if err != nil {
		return err
	}
	defer func() { _ = x.rows.Close() }() // next tells
	y, err := t.walk(ctx, b)
	if err != nil {
		return err
	}
	defer func() { _ = y.rows.Close() }() // next tells
	named := 0
	differ := func(row *cursor, what string) {
		if c.Count++; named < mostNamed {
			c.Differences = append(c.Differences, Difference{t.name, row.name(), what})
			named++
		}
	}
	err = errors.Join(x.next(), y.next())
	for err == nil && (x.row != nil || y.row != nil) {
		switch n := x.before(y); {
		case n < 0:
			differ(x, "only in "+one)
			err = x.next()
		case n > 0:
			differ(y, "only in "+other)
			err = y.next()
		default:
			if columns := x.differs(y); len(columns) > 0 {
				differ(x, strings.Join(columns, ", "))
			}
			err = errors.Join(x.next(), y.next())
		}
	}
	c.One = append(c.One, Content{t.name, x.count, x.digest()})
	c.Other = append(c.Other, Content{t.name, y.count, y.digest()})
	return err
}
