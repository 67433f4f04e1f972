package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// ErrOlder says that the account was judged since at a later instant: what is older is not recorded.
var ErrOlder = errors.New("the account was judged since")

// Observe records what was judged of an account, and says what that changed. The same observation again changes nothing; an older
// one is ErrOlder. An account that was gone is back.
func (d *DB) Observe(ctx context.Context, o *history.Observation) (history.Changes, error) {
	if !fact.IsAccountID(o.Account.ID) || o.At.IsZero() {
		return history.Changes{}, fmt.Errorf("record what was judged of account %q at %v: incomplete", o.Account.ID, o.At)
	}
	var c history.Changes
	err := d.write(ctx, "observe", func(ctx context.Context, tx *sql.Tx) error {
		c = history.Changes{}
		last, unread, err := takeAccount(ctx, tx, &o.Account, o.At)
		if err != nil {
			return err
		}
		at := *o
		at.At = o.At.UTC().Truncate(time.Microsecond)
		switch {
		case at.At.Before(last):
			return ErrOlder
		case at.At.Equal(last):
			return nil
		}
		open, err := verdictRows(ctx, tx, selectVerdicts+`WHERE account = $1 AND closed_at IS NULL`, o.Account.ID)
		if err != nil {
			return err
		}
		c = history.Compare(open, last, &at)
		if err := writeChanges(ctx, tx, &c, last); err != nil {
			return err
		}
		return writeAccount(ctx, tx, &at, unread, stillOpen(open, &c))
	}, leaves(`SELECT 1 FROM accounts WHERE id = $1 AND judged_at = $2`, o.Account.ID, journal.Stamp(o.At)))
	if err != nil {
		return history.Changes{}, fmt.Errorf("record what was judged of account %s: %w", o.Account.ID, err)
	}
	return c, nil
}

// takeAccount makes the row of the account if there is none, and locks it: until the transaction ends, nobody else judges the
// account. It tells when the account was last judged and since when its users could not be read; zero for never.
func takeAccount(ctx context.Context, tx *sql.Tx, a *fact.Account, at time.Time) (last, unread time.Time, err error) {
	var judged string
	var since sql.NullString
	err = tx.QueryRowContext(ctx, `
		INSERT INTO accounts (id, aws_partition, name, ou, first_at, judged_at, source, ruleset, complete, gaps,
			users, keys, active_keys, ages, failing, failing_keys, due, posted_at)
		VALUES ($1, $2, '', '', $3, '', '', '', 0, '[]', 0, 0, 0, '{}', 0, 0, '[]', '')
		ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING judged_at, unread_since`, a.ID, a.Partition, journal.Stamp(at)).Scan(&judged, &since)
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	var rd reading
	last, unread = rd.at(judged), rd.at(since.String)
	return last, unread, rd.err
}

func writeChanges(ctx context.Context, tx *sql.Tx, c *history.Changes, last time.Time) error {
	if err := insertVerdicts(ctx, tx, c.Opened); err != nil {
		return err
	}
	for i := range c.Closed {
		e := &c.Closed[i]
		_, err := tx.ExecContext(ctx, `UPDATE verdicts SET seen_at = $1, closed_at = $2, why = $3 WHERE id = $4 AND closed_at IS NULL`,
			journal.Stamp(e.SeenAt), journal.Stamp(e.ClosedAt), string(e.Why), e.ID)
		if err != nil {
			return err
		}
	}
	for i := range c.Changed {
		e := &c.Changed[i]
		tags, err := tagsText(e.Tags)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE verdicts SET severity = $1, key_id = $2, terms = $3, tags = $4 WHERE id = $5 AND closed_at IS NULL`,
			string(e.Severity), clean(e.KeyID), e.Terms, tags, e.ID)
		if err != nil {
			return err
		}
	}
	for _, id := range c.Unseen {
		if _, err := tx.ExecContext(ctx, `UPDATE verdicts SET seen_at = $1 WHERE id = $2 AND closed_at IS NULL`, journal.Stamp(last), id); err != nil {
			return err
		}
	}
	for _, id := range c.Seen {
		if _, err := tx.ExecContext(ctx, `UPDATE verdicts SET seen_at = NULL WHERE id = $1 AND closed_at IS NULL`, id); err != nil {
			return err
		}
	}
	return nil
}

// insertVerdicts reads the statement once: on the first day of an organisation that is half of the work.
func insertVerdicts(ctx context.Context, tx *sql.Tx, opened []history.Entry) error {
	if len(opened) == 0 {
		return nil
	}
	insert, err := tx.PrepareContext(ctx, `
		INSERT INTO verdicts (id, opened_at, account, user_name, rule, kind, title, severity, remedy, message, key_id, key_created, since, tags, terms)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`)
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }() // it ends with the transaction
	for i := range opened {
		if err := insertVerdict(ctx, insert, &opened[i]); err != nil {
			return err
		}
	}
	return nil
}

func insertVerdict(ctx context.Context, insert *sql.Stmt, e *history.Entry) error {
	tags, err := tagsText(e.Tags)
	if err != nil {
		return err
	}
	_, err = insert.ExecContext(ctx, e.ID, journal.Stamp(e.OpenedAt), e.Account, clean(e.User), e.Rule, e.Kind, clean(e.Title), string(e.Severity), string(e.Remedy), clean(e.Message),
		clean(e.KeyID), stampOrNull(e.KeyCreated), stampOrNull(e.Since), tags, e.Terms)
	return err
}

// failures count what is open of an account.
type failures struct{ verdicts, keys int }

// stillOpen counts what is open after the changes, also of what could not be judged this time.
func stillOpen(open []history.Entry, c *history.Changes) failures {
	closed := make(map[string]bool, len(c.Closed))
	for i := range c.Closed {
		closed[c.Closed[i].ID] = true
	}
	type key struct {
		user    string
		created fact.Time
		id      string // where that is unknown
	}
	n, keys := 0, map[key]bool{}
	count := func(e *history.Entry) {
		n++
		switch {
		case e.KeyCreated.Known():
			keys[key{e.User, e.KeyCreated, ""}] = true
		case e.KeyID != "":
			keys[key{e.User, e.KeyCreated, e.KeyID}] = true
		}
	}
	for i := range open {
		if !closed[open[i].ID] {
			count(&open[i])
		}
	}
	for i := range c.Opened {
		count(&c.Opened[i])
	}
	return failures{n, len(keys)}
}

// writeAccount writes how the account stands now, and the day's row.
func writeAccount(ctx context.Context, tx *sql.Tx, o *history.Observation, unread time.Time, fail failures) error {
	switch {
	case o.UsersRead:
		unread = time.Time{}
	case unread.IsZero():
		unread = o.At
	}
	gaps, err := json.Marshal(gapTexts(o.Gaps))
	if err != nil {
		return err
	}
	tags, err := tagsText(o.Account.Tags)
	if err != nil {
		return err
	}
	ages, err := json.Marshal(o.Ages)
	if err != nil {
		return err
	}
	if len(o.Ages) == 0 {
		ages = []byte("{}")
	}
	due, err := dueText(o.Due)
	if err != nil {
		return err
	}
	if !o.UsersRead { // what it counts is not the account: the numbers of before stay, and the day has none
		_, err := tx.ExecContext(ctx, `
			UPDATE accounts SET aws_partition = $1, name = $2, ou = $3, tags = $4, judged_at = $5, ruleset = $6, complete = 0, gaps = $7,
				unread_since = $8, gone_at = NULL, failing = $9, failing_keys = $10, organization = coalesce(nullif($11, ''), organization) WHERE id = $12`,
			o.Account.Partition, clean(o.Account.Name), clean(o.Account.OU), tags, journal.Stamp(o.At), o.Ruleset, clean(string(gaps)),
			journal.Stamp(unread), fail.verdicts, fail.keys, o.Account.Organization, o.Account.ID)
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE accounts SET aws_partition = $1, name = $2, ou = $3, tags = $4, judged_at = $5, source = $6, made_at = $7, ruleset = $8, complete = $9,
			gaps = $10, unread_since = NULL, users = $11, keys = $12, active_keys = $13, ages = $14, failing = $15, failing_keys = $16,
			due = coalesce($17, due), gone_at = NULL, organization = coalesce(nullif($18, ''), organization) WHERE id = $19`,
		o.Account.Partition, clean(o.Account.Name), clean(o.Account.OU), tags, journal.Stamp(o.At), string(o.Evidence.Source),
		stampOrNull(o.Evidence.MadeAt()), o.Ruleset, bit(o.Complete), clean(string(gaps)), o.Users, o.Keys, o.ActiveKeys, string(ages), fail.verdicts, fail.keys, due, o.Account.Organization, o.Account.ID)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO days (account, day, ou, complete, users, keys, active_keys, ages, failing, failing_keys)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (account, day) DO UPDATE SET ou = excluded.ou, complete = excluded.complete, users = excluded.users, keys = excluded.keys,
			active_keys = excluded.active_keys, ages = excluded.ages, failing = excluded.failing, failing_keys = excluded.failing_keys`,
		o.Account.ID, o.At.Format(time.DateOnly), clean(o.Account.OU), bit(o.Complete), o.Users, o.Keys, o.ActiveKeys, string(ages), fail.verdicts, fail.keys)
	return err
}

// Leave closes everything that is open of accounts that the organisation of that id lists no more: not those named in there. It
// says what that changed, an account each. Accounts that this organisation never listed, or that another one listed since, and
// those that are gone already, are left alone.
func (d *DB) Leave(ctx context.Context, organization string, there []string, at time.Time) ([]history.Changes, error) {
	if organization == "" {
		return nil, errors.New("record which accounts are gone: of no organisation")
	}
	present := make(map[string]bool, len(there))
	for _, id := range there {
		present[id] = true
	}
	all, err := d.Accounts(ctx, "", 0)
	if err != nil {
		return nil, err
	}
	var out []history.Changes
	for i := range all {
		if a := &all[i].Account; a.Organization == organization && !present[a.ID] && all[i].GoneAt.IsZero() {
			c, err := d.leave(ctx, *a, at)
			if err != nil {
				return out, fmt.Errorf("record that account %s is gone: %w", a.ID, err)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

func (d *DB) leave(ctx context.Context, a fact.Account, at time.Time) (history.Changes, error) {
	var c history.Changes
	err := d.write(ctx, "leave", func(ctx context.Context, tx *sql.Tx) error {
		last, _, err := takeAccount(ctx, tx, &a, at)
		if err != nil {
			return err
		}
		if at.Before(last) { // somebody read it meanwhile
			return ErrOlder
		}
		open, err := verdictRows(ctx, tx, selectVerdicts+`WHERE account = $1 AND closed_at IS NULL`, a.ID)
		if err != nil {
			return err
		}
		c = history.Leave(open, a, last, at.UTC().Truncate(time.Microsecond))
		if err := writeChanges(ctx, tx, &c, last); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE accounts SET gone_at = $1, failing = 0, failing_keys = 0, due = '[]' WHERE id = $2`, journal.Stamp(at), a.ID)
		return err
	}, leaves(`SELECT 1 FROM accounts WHERE id = $1 AND gone_at = $2`, a.ID, journal.Stamp(at)))
	return c, err
}

// dueRow is a verdict in the column due: one that passes, and fails from an instant on.
type dueRow struct {
	ID         string            `json:"id"`
	User       string            `json:"user"`
	Rule       string            `json:"rule"`
	Kind       string            `json:"kind"`
	Title      string            `json:"title"`
	Severity   string            `json:"severity"`
	KeyID      string            `json:"key_id,omitempty"`
	KeyCreated string            `json:"key_created,omitempty"`
	Due        string            `json:"due"`
	Tags       map[string]string `json:"tags,omitempty"`
}

// dueText is null for what was not looked for.
func dueText(list []history.Due) (sql.NullString, error) {
	if list == nil {
		return sql.NullString{}, nil
	}
	rows := make([]dueRow, 0, len(list))
	for _, d := range list {
		row := dueRow{d.ID, d.User, d.Rule, d.Kind, d.Title, string(d.Severity), d.KeyID, "", journal.Stamp(d.At), d.Tags}
		if d.KeyCreated.Known() {
			row.KeyCreated = journal.Stamp(d.KeyCreated.Time())
		}
		rows = append(rows, row)
	}
	text, err := json.Marshal(rows)
	return sql.NullString{String: clean(string(text)), Valid: true}, err
}

func readDue(text string) ([]history.Due, error) {
	var rows []dueRow
	if err := journal.DecodeStrict([]byte(text), &rows); err != nil {
		return nil, err
	}
	var out []history.Due
	var rd reading
	for _, r := range rows {
		out = append(out, history.Due{
			ID: r.ID, User: r.User, Rule: r.Rule, Kind: r.Kind, Title: r.Title, Severity: finding.Severity(r.Severity), KeyID: r.KeyID,
			KeyCreated: fact.At(rd.at(r.KeyCreated)), At: rd.at(r.Due), Tags: r.Tags,
		})
	}
	return out, rd.err
}

func tagsText(tags map[string]string) (sql.NullString, error) {
	if tags == nil {
		return sql.NullString{}, nil
	}
	text, err := json.Marshal(tags)
	return sql.NullString{String: clean(string(text)), Valid: true}, err
}

func readTags(text sql.NullString) (map[string]string, error) {
	if !text.Valid {
		return nil, nil
	}
	var tags map[string]string
	return tags, journal.DecodeStrict([]byte(text.String), &tags)
}

// gapRow is a gap in the column gaps.
type gapRow struct {
	Reading string `json:"reading"`
	Subject string `json:"subject,omitempty"`
	Why     string `json:"why"`
	Denied  bool   `json:"denied,omitempty"`
}

// mostGaps bounds what is kept of the gaps of one account: five thousand users may be denied.
const mostGaps = 100

func gapTexts(gaps []fact.Gap) []gapRow {
	out := make([]gapRow, 0, min(len(gaps), mostGaps))
	for _, g := range gaps[:min(len(gaps), mostGaps)] {
		out = append(out, gapRow{g.Reading, g.Subject, g.Why, g.Denied})
	}
	return out
}

// stampOrNull is null for what is no instant.
func stampOrNull(t fact.Time) sql.NullString {
	if !t.Known() {
		return sql.NullString{}
	}
	return sql.NullString{String: journal.Stamp(t.Time()), Valid: true}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Told records until when what changed in the account has been told. An earlier instant than that on record changes nothing.
func (d *DB) Told(ctx context.Context, account string, until time.Time) error {
	at := journal.Stamp(until)
	err := d.write(ctx, "told", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE accounts SET posted_at = $1 WHERE id = $2 AND posted_at < $1`, at, account)
		return err
	}, leaves(`SELECT 1 FROM accounts WHERE id = $1 AND posted_at >= $2`, account, at))
	if err != nil {
		return fmt.Errorf("record what was told of account %s: %w", account, err)
	}
	return nil
}
