package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// Account is an account as it was last judged.
type Account struct {
	Account     fact.Account
	FirstAt     time.Time // when it was first judged
	JudgedAt    time.Time
	Source      fact.Source // of the last evidence that listed its users
	MadeAt      fact.Time   // when that was made
	Ruleset     string
	Complete    bool
	Gaps        []fact.Gap // the first hundred
	UnreadSince time.Time  // zero: its users were read; else the numbers below are those of before
	Users       int
	Keys        int
	ActiveKeys  int
	Ages        map[int]int // by history.AgeStep
	Failing     int
	FailingKeys int
	Due         []history.Due // what passes and fails soon, as far as it was asked for when it was judged
	PostedAt    time.Time     // until when what changed has been told; zero: nothing was
	GoneAt      time.Time     // zero: it is there
}

// HistoryFilter says which entries of the history are meant. Zero values do not limit.
type HistoryFilter struct {
	Account  string
	User     string   // the whole name
	Rules    []string // any of them
	Severity finding.Severity
	Open     bool      // only what is open
	Closed   bool      // only what is closed
	From, To time.Time // open at some instant from From on and before To
	After    *Place    // those that come after it in the order of the list
	Limit    int       // 0: all
}

// Place is a place in the list: that of an entry.
type Place struct {
	OpenedAt time.Time
	ID       string
}

// History lists entries, those that opened last first.
func (d *DB) History(ctx context.Context, f HistoryFilter) ([]history.Entry, error) {
	query, args := f.query()
	var out []history.Entry
	err := d.read(ctx, func(tx *sql.Tx) (err error) {
		out, err = verdictRows(ctx, tx, query, args...)
		return err
	})
	return out, err
}

// query asks only for what is given, so that the indexes serve.
func (f *HistoryFilter) query() (string, []any) {
	var where []string
	var args []any
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where = append(where, condition)
	}
	for _, c := range []struct{ column, value string }{
		{"account", f.Account}, {"user_name", f.User}, {"severity", string(f.Severity)},
	} {
		if c.value != "" {
			add(c.column+" = ?", c.value)
		}
	}
	if n := len(f.Rules); n > 0 {
		values := make([]any, n)
		for i, id := range f.Rules {
			values[i] = id
		}
		add("rule IN (?"+strings.Repeat(", ?", n-1)+")", values...)
	}
	if f.Open {
		add("closed_at IS NULL")
	}
	if f.Closed {
		add("closed_at IS NOT NULL")
	}
	if !f.From.IsZero() {
		add("(closed_at IS NULL OR closed_at >= ?)", journal.Stamp(f.From))
	}
	if !f.To.IsZero() {
		add("opened_at < ?", journal.Stamp(f.To))
	}
	if f.After != nil {
		add("(opened_at, id) < (?, ?)", journal.Stamp(f.After.OpenedAt), f.After.ID)
	}
	query := selectVerdicts
	if len(where) > 0 {
		query += "WHERE " + strings.Join(where, " AND ") + " "
	}
	query += "ORDER BY opened_at DESC, id DESC"
	if f.Limit > 0 {
		query += fmt.Sprintf(" LIMIT %d", f.Limit)
	}
	return query, args
}

const selectVerdicts = `SELECT id, opened_at, account, user_name, rule, kind, title, severity, remedy, message, key_id, key_created, since, tags, terms,
	seen_at, closed_at, why FROM verdicts `

func verdictRows(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]history.Entry, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var out []history.Entry
	for rows.Next() {
		var (
			e                                       history.Entry
			opened                                  string
			created, since, tags, seen, closed, why sql.NullString
		)
		err := rows.Scan(&e.ID, &opened, &e.Account, &e.User, &e.Rule, &e.Kind, &e.Title, &e.Severity, &e.Remedy, &e.Message, &e.KeyID, &created, &since,
			&tags, &e.Terms, &seen, &closed, &why)
		if err != nil {
			return nil, err
		}
		var rd reading
		e.OpenedAt, e.SeenAt, e.ClosedAt, e.Why = rd.at(opened), rd.at(seen.String), rd.at(closed.String), history.Reason(why.String)
		e.KeyCreated, e.Since = fact.At(rd.at(created.String)), fact.At(rd.at(since.String))
		if e.Tags, err = readTags(tags); err != nil && rd.err == nil {
			rd.err = err
		}
		if rd.err != nil {
			return nil, fmt.Errorf("verdict %s: %w", e.ID, rd.err)
		}
		out = append(out, e)
	}
	return out, rows.Err()
}

// Accounts lists the accounts that were judged, by id; after one, at most limit of them (0: all). Those that are gone are part of it.
func (d *DB) Accounts(ctx context.Context, after string, limit int) ([]Account, error) {
	tail := `WHERE id > $1 ORDER BY id`
	if limit > 0 {
		tail += fmt.Sprintf(" LIMIT %d", limit)
	}
	var out []Account
	err := d.read(ctx, func(tx *sql.Tx) (err error) {
		out, err = accountRows(ctx, tx, selectAccounts+tail, after)
		return err
	})
	return out, err
}

// AccountOf is the account of that id; false: it was never judged.
func (d *DB) AccountOf(ctx context.Context, id string) (Account, bool, error) {
	var out []Account
	err := d.read(ctx, func(tx *sql.Tx) (err error) {
		out, err = accountRows(ctx, tx, selectAccounts+`WHERE id = $1`, id)
		return err
	})
	if err != nil || len(out) == 0 {
		return Account{}, false, err
	}
	return out[0], true, nil
}

const selectAccounts = `SELECT id, aws_partition, organization, name, ou, tags, first_at, judged_at, source, made_at, ruleset, complete, gaps, unread_since,
	users, keys, active_keys, ages, failing, failing_keys, due, posted_at, gone_at FROM accounts `

func accountRows(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]Account, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var out []Account
	for rows.Next() {
		var (
			a                         Account
			first, judged, gaps, ages string
			due, posted               string
			tags, made, unread, gone  sql.NullString
		)
		err := rows.Scan(&a.Account.ID, &a.Account.Partition, &a.Account.Organization, &a.Account.Name, &a.Account.OU, &tags, &first, &judged, &a.Source, &made, &a.Ruleset, &a.Complete,
			&gaps, &unread, &a.Users, &a.Keys, &a.ActiveKeys, &ages, &a.Failing, &a.FailingKeys, &due, &posted, &gone)
		if err != nil {
			return nil, err
		}
		var rd reading
		a.FirstAt, a.JudgedAt, a.UnreadSince, a.GoneAt, a.PostedAt = rd.at(first), rd.at(judged), rd.at(unread.String), rd.at(gone.String), rd.at(posted)
		a.MadeAt = fact.At(rd.at(made.String))
		if rd.err == nil {
			a.Account.Tags, rd.err = readTags(tags)
		}
		if rd.err == nil {
			rd.err = json.Unmarshal([]byte(ages), &a.Ages)
		}
		if rd.err == nil {
			a.Gaps, rd.err = readGaps(a.Account.ID, gaps)
		}
		if rd.err == nil {
			a.Due, rd.err = readDue(due)
		}
		if rd.err != nil {
			return nil, fmt.Errorf("account %s: %w", a.Account.ID, rd.err)
		}
		out = append(out, a)
	}
	return out, rows.Err()
}

func readGaps(account, text string) ([]fact.Gap, error) {
	var rows []gapRow
	if err := journal.DecodeStrict([]byte(text), &rows); err != nil {
		return nil, err
	}
	var out []fact.Gap
	for _, g := range rows {
		out = append(out, fact.Gap{Account: account, Reading: g.Reading, Subject: g.Subject, Why: g.Why, Denied: g.Denied})
	}
	return out, nil
}

// KnownTags are the tags of users of the account about whom something is open, or falls due, as they were last read.
func (d *DB) KnownTags(ctx context.Context, account string) (func(user string) map[string]string, error) {
	known := map[string]map[string]string{}
	err := d.read(ctx, func(tx *sql.Tx) error {
		accounts, err := accountRows(ctx, tx, selectAccounts+`WHERE id = $1`, account)
		if err != nil {
			return err
		}
		for i := range accounts {
			for _, due := range accounts[i].Due {
				if due.Tags != nil {
					known[due.User] = due.Tags
				}
			}
		}
		rows, err := tx.QueryContext(ctx, `SELECT user_name, tags FROM verdicts WHERE account = $1 AND closed_at IS NULL AND tags IS NOT NULL`, account)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err tells
		for rows.Next() {
			var user string
			var text sql.NullString
			if err := rows.Scan(&user, &text); err != nil {
				return err
			}
			if known[user], err = readTags(text); err != nil {
				return fmt.Errorf("tags of user %q: %w", user, err)
			}
		}
		return rows.Err()
	})
	return func(user string) map[string]string { return known[user] }, err
}

// Known is what the history knows of the account.
func (d *DB) Known(ctx context.Context, account string) (*history.Known, error) {
	known := &history.Known{Keys: map[history.KnownKey]string{}, Open: map[string]map[string]bool{}}
	err := d.read(ctx, func(tx *sql.Tx) error {
		var judged string
		err := tx.QueryRowContext(ctx, `SELECT judged_at FROM accounts WHERE id = $1`, account).Scan(&judged)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var rd reading
		if known.JudgedAt = rd.at(judged); rd.err != nil {
			return rd.err
		}
		rows, err := tx.QueryContext(ctx, `SELECT id, user_name, coalesce(key_created, ''), key_id FROM verdicts WHERE account = $1 AND closed_at IS NULL`, account)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err tells
		for rows.Next() {
			var verdict, user, created, id string
			if err := rows.Scan(&verdict, &user, &created, &id); err != nil {
				return err
			}
			if known.Open[user] == nil {
				known.Open[user] = map[string]bool{}
			}
			known.Open[user][verdict] = true
			if created == "" || id == "" {
				continue
			}
			at, err := instant(created)
			if err != nil {
				return fmt.Errorf("key %s of user %q: %w", id, user, err)
			}
			known.Keys[history.KnownKey{User: user, Created: at.Unix()}] = id
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return known, nil
}

// TrendFilter says which accounts and days a trend is about. Zero values do not limit.
type TrendFilter struct {
	Account  string
	OU       string    // its path; those below it are part of it
	From, To time.Time // days from that of From to that of To, both included; required
}

// staleAfter is how long an account counts in a trend as it was last judged.
const staleAfter = 31

// Trend gives a point a day. An account counts as it was last judged, for a month.
func (d *DB) Trend(ctx context.Context, f TrendFilter) ([]history.Point, error) {
	from, to := f.From.UTC().Truncate(24*time.Hour), f.To.UTC().Truncate(24*time.Hour)
	if from.After(to) {
		return nil, &journal.InputError{Problem: fmt.Sprintf("a trend from %s to %s", from.Format(time.DateOnly), to.Format(time.DateOnly)), Hint: "the first day comes first"}
	}
	days := int(to.Sub(from)/(24*time.Hour)) + 1
	points := make([]history.Point, days)
	for i := range points {
		points[i].Day, points[i].Ages = from.AddDate(0, 0, i), map[int]int{}
	}
	err := d.read(ctx, func(tx *sql.Tx) error {
		if err := addDays(ctx, tx, &f, points); err != nil {
			return err
		}
		return addMoves(ctx, tx, &f, points)
	})
	if err != nil {
		return nil, err
	}
	return points, nil
}

// Of what stands in the unit $2 on its day, or now, or below it; of all where that is empty.
const (
	dayInUnit = `($2 = '' OR v.ou = $2 OR substr(v.ou, 1, length($2) + 1) = $2 || '/')`
	nowInUnit = `($2 = '' OR a.ou = $2 OR substr(a.ou, 1, length($2) + 1) = $2 || '/')`
)

// addDays adds the accounts as they stood at the end of each day, each in the unit where it was then.
func addDays(ctx context.Context, tx *sql.Tx, f *TrendFilter, points []history.Point) error {
	first, last := points[0].Day, points[len(points)-1].Day
	rows, err := tx.QueryContext(ctx, `
		SELECT v.account, v.day, v.complete, v.users, v.keys, v.active_keys, v.ages, v.failing, v.failing_keys,
			coalesce(substr(a.gone_at, 1, 10), ''), CASE WHEN `+dayInUnit+` THEN 1 ELSE 0 END
		FROM days v JOIN accounts a ON a.id = v.account
		WHERE ($1 = '' OR a.id = $1) AND v.day > $3 AND v.day <= $4 ORDER BY v.account, v.day`,
		f.Account, strings.TrimRight(f.OU, "/"), first.AddDate(0, 0, -staleAfter).Format(time.DateOnly), last.Format(time.DateOnly))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var was *dayRow
	until := func(next *dayRow) {
		if was == nil || !was.inUnit {
			return
		}
		end := was.day.AddDate(0, 0, staleAfter)
		if next != nil && next.account == was.account && next.day.Before(end) {
			end = next.day
		}
		if !was.gone.IsZero() && was.gone.Before(end) {
			end = was.gone
		}
		for i := max(0, int(was.day.Sub(first)/(24*time.Hour))); i < len(points) && points[i].Day.Before(end); i++ {
			was.addTo(&points[i])
		}
	}
	for rows.Next() {
		s, err := scanDay(rows)
		if err != nil {
			return err
		}
		until(s)
		was = s
	}
	until(nil)
	return rows.Err()
}

// dayRow is a row of days.
type dayRow struct {
	account                                       string
	day, gone                                     time.Time
	complete, inUnit                              bool
	users, keys, activeKeys, failing, failingKeys int
	ages                                          map[int]int
}

func scanDay(rows *sql.Rows) (*dayRow, error) {
	var s dayRow
	var day, ages, gone string
	if err := rows.Scan(&s.account, &day, &s.complete, &s.users, &s.keys, &s.activeKeys, &ages, &s.failing, &s.failingKeys, &gone, &s.inUnit); err != nil {
		return nil, err
	}
	var err error
	if s.day, err = time.Parse(time.DateOnly, day); err != nil {
		return nil, err
	}
	if gone != "" {
		if s.gone, err = time.Parse(time.DateOnly, gone); err != nil {
			return nil, err
		}
	}
	return &s, json.Unmarshal([]byte(ages), &s.ages)
}

func (s *dayRow) addTo(p *history.Point) {
	p.Accounts++
	if !s.complete {
		p.Incomplete++
	}
	p.Users, p.Keys, p.ActiveKeys = p.Users+s.users, p.Keys+s.keys, p.ActiveKeys+s.activeKeys
	p.Failing, p.FailingKeys = p.Failing+s.failing, p.FailingKeys+s.failingKeys
	for step, n := range s.ages {
		p.Ages[step] += n
	}
}

// addMoves adds what opened and closed on each day, in the unit where its account is now.
func addMoves(ctx context.Context, tx *sql.Tx, f *TrendFilter, points []history.Point) error {
	first, end := points[0].Day, points[len(points)-1].Day.AddDate(0, 0, 1)
	rows, err := tx.QueryContext(ctx, `
		SELECT v.opened_at, coalesce(v.closed_at, ''), coalesce(v.why, '') FROM verdicts v JOIN accounts a ON a.id = v.account
		WHERE ($1 = '' OR a.id = $1) AND `+nowInUnit+` AND ((v.opened_at >= $3 AND v.opened_at < $4) OR (v.closed_at >= $3 AND v.closed_at < $4)) ORDER BY v.opened_at, v.id`,
		f.Account, strings.TrimRight(f.OU, "/"), journal.Stamp(first), journal.Stamp(end))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		var opened, closed, why string
		if err := rows.Scan(&opened, &closed, &why); err != nil {
			return err
		}
		var rd reading
		from, to := rd.at(opened), rd.at(closed)
		if rd.err != nil {
			return rd.err
		}
		if !from.Before(first) && from.Before(end) {
			points[int(from.Sub(first)/(24*time.Hour))].Opened++
		}
		if !to.IsZero() && !to.Before(first) && to.Before(end) {
			p := &points[int(to.Sub(first)/(24*time.Hour))]
			p.Closed++
			if history.Reason(why) == history.Fixed {
				p.Fixes = append(p.Fixes, to.Sub(from))
			}
		}
	}
	return rows.Err()
}

// JudgedAt is when each account was last judged, those that are gone left out.
func (d *DB) JudgedAt(ctx context.Context) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	err := d.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT id, judged_at FROM accounts WHERE gone_at IS NULL`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err tells
		for rows.Next() {
			var id, at string
			if err := rows.Scan(&id, &at); err != nil {
				return err
			}
			if out[id], err = instant(at); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	return out, err
}

// Untold lists the accounts of which something changed since it was last told, by id.
func (d *DB) Untold(ctx context.Context) ([]Account, error) {
	var out []Account
	err := d.read(ctx, func(tx *sql.Tx) (err error) {
		out, err = accountRows(ctx, tx, selectAccounts+`WHERE posted_at < judged_at OR posted_at < coalesce(gone_at, '') ORDER BY id`)
		return err
	})
	return out, err
}

// Moves lists what opened or closed in the account after that instant.
func (d *DB) Moves(ctx context.Context, account string, after time.Time) ([]history.Entry, error) {
	since := journal.Stamp(after)
	var out []history.Entry
	err := d.read(ctx, func(tx *sql.Tx) (err error) {
		out, err = verdictRows(ctx, tx, selectVerdicts+`WHERE account = $1 AND (opened_at > $2 OR closed_at > $2) ORDER BY opened_at, id`, account, since)
		return err
	})
	return out, err
}
