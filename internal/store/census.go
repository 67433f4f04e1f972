package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

// Census is what there is, counted at one instant.
type Census struct {
	Accounts  []AccountCount // that are there, by id
	Gone      int            // accounts that were judged and are no more
	Rules     []RuleCount    // open verdicts, by rule and severity; those that occur
	Rotations map[rotate.State]int
	Notices   []NoticeCount // by channel
}

// AccountCount is an account as it was last judged.
type AccountCount struct {
	ID                      string
	JudgedAt                time.Time
	Source                  fact.Source // of the last evidence that listed its users; empty: they were never read, and nothing below was counted
	MadeAt                  fact.Time   // when that was made
	Complete                bool
	Gaps                    int
	UnreadSince             time.Time // zero: its users were read; else what was counted is of before
	Users, Keys, ActiveKeys int
	Ages                    []finding.AgeBand        // active keys
	Failing                 map[finding.Severity]int // open verdicts; those that occur
}

// RuleCount counts the open verdicts of a rule that have a severity.
type RuleCount struct {
	Rule     string
	Severity finding.Severity
	Open     int
}

// NoticeCount counts the messages of a channel.
type NoticeCount struct {
	Channel string
	Waiting int // to be delivered
	GivenUp int // and still kept
}

// Census counts, all on one state of the database.
func (d *DB) Census(ctx context.Context) (Census, error) {
	var c Census
	err := d.read(ctx, func(tx *sql.Tx) error {
		c = Census{Rotations: map[rotate.State]int{}}
		for _, count := range []func(context.Context, *sql.Tx) error{c.accounts, c.verdicts, c.rotations, c.notices} {
			if err := count(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	return c, err
}

// rowsOf calls take for each row of an answer.
func rowsOf(ctx context.Context, tx *sql.Tx, query string, take func(rows *sql.Rows) error) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		if err := take(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (c *Census) accounts(ctx context.Context, tx *sql.Tx) error {
	err := tx.QueryRowContext(ctx, `SELECT count(*) FROM accounts WHERE gone_at IS NOT NULL`).Scan(&c.Gone)
	if err != nil {
		return err
	}
	const query = `SELECT id, judged_at, source, made_at, complete, gaps, unread_since, users, keys, active_keys, ages
		FROM accounts WHERE gone_at IS NULL ORDER BY id`
	return rowsOf(ctx, tx, query, func(rows *sql.Rows) error {
		var a AccountCount
		var judged, gaps, ages string
		var made, unread sql.NullString
		if err := rows.Scan(&a.ID, &judged, &a.Source, &made, &a.Complete, &gaps, &unread, &a.Users, &a.Keys, &a.ActiveKeys, &ages); err != nil {
			return err
		}
		var rd reading
		a.JudgedAt, a.UnreadSince, a.MadeAt = rd.at(judged), rd.at(unread.String), fact.At(rd.at(made.String))
		var steps map[int]int
		if rd.err == nil {
			rd.err = json.Unmarshal([]byte(ages), &steps)
		}
		var list []json.RawMessage
		if rd.err == nil {
			rd.err = json.Unmarshal([]byte(gaps), &list)
		}
		if rd.err != nil {
			return fmt.Errorf("account %s: %w", a.ID, rd.err)
		}
		a.Ages, a.Gaps, a.Failing = history.Bands(steps), len(list), map[finding.Severity]int{}
		c.Accounts = append(c.Accounts, a)
		return nil
	})
}

// verdicts counts those that are open in one go through the index of open verdicts: by account, and summed over all of them.
func (c *Census) verdicts(ctx context.Context, tx *sql.Tx) error {
	sums := map[RuleCount]int{} // with Open 0
	next := 0
	err := rowsOf(ctx, tx, `SELECT account, rule, severity, count(*) FROM verdicts WHERE closed_at IS NULL
		GROUP BY account, rule, severity ORDER BY account`, func(rows *sql.Rows) error {
		var account string
		var k RuleCount
		var n int
		if err := rows.Scan(&account, &k.Rule, &k.Severity, &n); err != nil {
			return err
		}
		sums[k] += n
		for next < len(c.Accounts) && c.Accounts[next].ID < account {
			next++
		}
		if next < len(c.Accounts) && c.Accounts[next].ID == account {
			c.Accounts[next].Failing[k.Severity] += n
		}
		return nil
	})
	for k, n := range sums {
		k.Open = n
		c.Rules = append(c.Rules, k)
	}
	slices.SortFunc(c.Rules, func(a, b RuleCount) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Severity, b.Severity))
	})
	return err
}

func (c *Census) rotations(ctx context.Context, tx *sql.Tx) error {
	return rowsOf(ctx, tx, `SELECT state, count(*) FROM rotations GROUP BY state`, func(rows *sql.Rows) error {
		var state rotate.State
		var n int
		err := rows.Scan(&state, &n)
		c.Rotations[state] = n
		return err
	})
}

func (c *Census) notices(ctx context.Context, tx *sql.Tx) error {
	const query = `SELECT channel, sum(CASE WHEN closed_at IS NULL THEN 1 ELSE 0 END), sum(CASE WHEN state = 'given up' THEN 1 ELSE 0 END)
		FROM notices GROUP BY channel ORDER BY channel`
	return rowsOf(ctx, tx, query, func(rows *sql.Rows) error {
		var n NoticeCount
		if err := rows.Scan(&n.Channel, &n.Waiting, &n.GivenUp); err != nil {
			return err
		}
		c.Notices = append(c.Notices, n)
		return nil
	})
}
