package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

// Ledger is the database as rotations and requests see it. Where a rotation stands is a row that changes; how it came
// there is a run of the journal that only grows. Both are written in one transaction.
type Ledger struct {
	d  *DB
	by Origin
}

// Origin is the process that begins rotations, as their runs name it. Zero values are fine.
type Origin struct {
	Version string // of the program
	Host    string
	PID     int
}

// Ledger gives the ledger. It is for as long as the database is open.
func (d *DB) Ledger(by Origin) *Ledger { return &Ledger{d, by} }

// Begin records a new rotation with its first event, whose From may be empty, and sets its version to 1. The error wraps
// rotate.ErrLive when the user, which is the account and the unique id, has one under way.
func (l *Ledger) Begin(ctx context.Context, r *rotate.Rotation, e rotate.Event) error {
	if e.From == "" {
		e.From = e.To
	}
	text, err := prepare(r)
	if err == nil {
		err = connected(e.From, r.State, []rotate.Event{e})
	}
	if err == nil && (r.State.Over() || r.Version > 1) {
		err = fmt.Errorf("it is %s in version %d", r.State, r.Version)
	}
	if err != nil {
		return fmt.Errorf("begin rotation %s of user %q: %w", r.ID, r.User, err)
	}
	data := journal.Record(l.run(r))
	run, err := journal.ReadRecord(data)
	if err != nil {
		return fmt.Errorf("begin rotation %s of user %q: %w", r.ID, r.User, err)
	}
	err = l.d.write(ctx, "begin", func(ctx context.Context, tx *sql.Tx) error {
		if _, _, err := head(ctx, tx); err != nil { // first: from here on nobody else writes
			return err
		}
		var live string
		err := tx.QueryRowContext(ctx, `SELECT id FROM rotations WHERE account = $1 AND user_id = $2 AND live = 1`, r.Account, r.UserID).Scan(&live)
		if err == nil {
			return fmt.Errorf("%w: rotation %s", rotate.ErrLive, live)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return insertRotation(ctx, tx, r, text, run, data, &e)
	}, leaves(`SELECT 1 FROM rotations WHERE id = $1`, r.ID)) // it was new within the transaction
	if err != nil {
		return fmt.Errorf("begin rotation %s of user %q: %w", r.ID, r.User, err)
	}
	r.Version = 1
	return nil
}

func insertRotation(ctx context.Context, tx *sql.Tx, r *rotate.Rotation, text string, run *journal.Run, data []byte, e *rotate.Event) error {
	if err := insertRun(ctx, tx, run, data); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO rotations (id, version, account, user_id, user_name, state, live, next_at, started_at, changed_at, body, sealed)
		VALUES ($1, 1, $2, $3, $4, $5, 1, $6, $7, $8, $9, $10)`,
		r.ID, r.Account, r.UserID, r.User, string(r.State), stamp(r.NextAt), journal.Stamp(r.StartedAt), changedAt(r), text, sealedOrNull(r))
	if err != nil {
		return err
	}
	return addEvents(ctx, tx, r, []rotate.Event{*e})
}

// run is the rotation as the journal knows it.
func (l *Ledger) run(r *rotate.Rotation) *journal.Run {
	about := &journal.Rotation{User: r.User, UserID: r.UserID, Old: r.Old.ID, Created: r.Old.Created}
	for i := range r.Others {
		about.Others = append(about.Others, r.Others[i].ID)
	}
	for i := range r.Targets {
		about.Targets = append(about.Targets, r.Targets[i].Name)
	}
	return &journal.Run{
		ID: r.ID, Kind: journal.Rotate, Account: r.Account, Caller: r.Caller, Plan: r.Plan, Rotation: about,
		Version: l.by.Version, Host: l.by.Host, PID: l.by.PID, StartedAt: r.StartedAt,
	}
}

// Save writes the rotation where its version is still the one that was loaded, with the events that brought it there,
// and makes its version one more. Otherwise the error wraps rotate.ErrLost (or rotate.ErrNoRotation), nothing is written
// and r stays as it is.
//
// The state changes by events alone: the first begins in the state on record, each in the one where the event before
// ended, the last ends in r.State; without events the state stays. A rotation that is over loses its NextAt and its run
// ends. When a sealed secret goes, or another one takes its place, SQLite's changes are moved into the file, which
// overwrites it, and the file of changes is cut to nothing. Somebody who reads meanwhile puts that off: until then the old
// sealed bytes may stand in both files. What PostgreSQL keeps of it, the comment of the package says.
func (l *Ledger) Save(ctx context.Context, r *rotate.Rotation, events ...rotate.Event) error {
	text, err := prepare(r)
	if err == nil {
		err = l.d.write(ctx, "save", func(ctx context.Context, tx *sql.Tx) error { return l.save(ctx, tx, r, text, events) },
			leaves(`SELECT 1 FROM rotations WHERE id = $1 AND version = $2 AND state = $3 AND body = $4`, r.ID, r.Version+1, string(r.State), text))
	}
	if err != nil {
		return fmt.Errorf("save rotation %s: %w", r.ID, err)
	}
	r.Version++
	if r.State.Over() {
		r.NextAt = time.Time{}
	}
	return nil
}

func (l *Ledger) save(ctx context.Context, tx *sql.Tx, r *rotate.Rotation, text string, events []rotate.Event) error {
	if _, _, err := head(ctx, tx); err != nil { // first: from here on nobody else writes
		return err
	}
	was, err := standing(ctx, tx, r.ID)
	switch {
	case err != nil:
		return err
	case was.Version != r.Version:
		return fmt.Errorf("%w: it has the version %d, this was loaded with %d", rotate.ErrLost, was.Version, r.Version)
	case was.State.Over():
		return fmt.Errorf("it is over: %s", was.State)
	case was.Account != r.Account, was.UserID != r.UserID, was.User != r.User, !was.StartedAt.Equal(r.StartedAt.Truncate(time.Microsecond)):
		return errors.New("its user, account or start is not the one on record")
	}
	if err := connected(was.State, r.State, events); err != nil {
		return err
	}
	next, live := new(string), 1
	*next = stamp(r.NextAt)
	if r.State.Over() {
		next, live = nil, 0
	}
	res, err := tx.ExecContext(ctx, `
		UPDATE rotations SET version = version + 1, state = $1, live = $2, next_at = $3, changed_at = $4, body = $5, sealed = $6
		WHERE id = $7 AND version = $8`,
		string(r.State), live, next, changedAt(r), text, sealedOrNull(r), r.ID, r.Version)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(rotate.ErrLost, err)
	}
	if was.Sealed != nil && !bytes.Equal(was.Sealed, r.Sealed) {
		l.d.worn.Add(1)
	}
	return addEvents(ctx, tx, r, events)
}

// addEvents chains the events behind the head, and the end of the run where the rotation is over.
func addEvents(ctx context.Context, tx *sql.Tx, r *rotate.Rotation, events []rotate.Event) error {
	for i := range events {
		e := &events[i]
		changed, err := changes(ctx, tx, r, e)
		if err != nil {
			return err
		}
		h := &journal.Happening{From: string(e.From), To: string(e.To), Name: string(e.Name), Act: string(e.Act), Changed: changed}
		data := journal.RecordHappening(h)
		if _, err := journal.ReadHappening(data); err != nil { // what cannot be read back would break the record of everything
			return err
		}
		entry := journal.Entry{Run: r.ID, Kind: journal.Event, At: e.At, Note: e.Note, Data: data}
		if err := chained(ctx, tx, &entry); err != nil {
			return err
		}
	}
	if !r.State.Over() {
		return nil
	}
	at := events[len(events)-1].At // there is one: the state on record was not over
	if err := chained(ctx, tx, &journal.Entry{Run: r.ID, Kind: journal.End, At: at, Note: string(r.State)}); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `UPDATE runs SET ended_at = $1 WHERE id = $2`, journal.Stamp(at), r.ID)
	return err
}

func chained(ctx context.Context, tx *sql.Tx, e *journal.Entry) error {
	seq, hash, err := head(ctx, tx)
	if err != nil {
		return err
	}
	return insertEntry(ctx, tx, e, seq, hash)
}

// changes are what the event says was seen done to keys. A key that was not made by us is none of them.
func changes(ctx context.Context, tx *sql.Tx, r *rotate.Rotation, e *rotate.Event) ([]journal.KeyChange, error) {
	did := func(k *rotate.KeyRecord, a journal.Action, from journal.State) journal.KeyChange {
		return journal.KeyChange{Action: a, KeyID: k.ID, KeyCreated: k.Created, LastUsed: k.LastUsed, From: from}
	}
	switch e.Name {
	case rotate.WentInert:
		return []journal.KeyChange{did(&r.Old, journal.Deactivate, journal.Active)}, nil
	case rotate.WentForGood:
		return []journal.KeyChange{did(&r.Old, journal.Delete, journal.Inactive)}, nil
	case rotate.BackedOut:
		var out []journal.KeyChange
		inert, err := leftInert(ctx, tx, r)
		if err != nil {
			return nil, err
		}
		if inert {
			out = append(out, did(&r.Old, journal.Activate, journal.Inactive))
		}
		if r.New.ID != "" && !r.New.Created.IsZero() {
			out = append(out, did(&r.New, journal.Delete, journal.Active))
		}
		return out, nil
	default:
		return nil, nil
	}
}

// leftInert tells whether the journal says that this rotation deactivated the old key.
func leftInert(ctx context.Context, tx *sql.Tx, r *rotate.Rotation) (bool, error) {
	entries, err := eventsOf(ctx, tx, r.ID)
	if err != nil {
		return false, err
	}
	inert := false
	for i := range entries {
		h, err := journal.ReadHappening(entries[i].Data)
		if err != nil {
			return false, err
		}
		for _, c := range h.Changed {
			if c.KeyID == r.Old.ID {
				inert = c.Action == journal.Deactivate
			}
		}
	}
	return inert, nil
}

// prepare says what is wrong with the rotation itself, and gives its body.
func prepare(r *rotate.Rotation) (string, error) {
	if err := sound(r); err != nil {
		return "", err
	}
	return encode(r)
}

// sound says what is wrong with the rotation itself.
func sound(r *rotate.Rotation) error {
	stands := r.State
	if r.State.Waiting() {
		stands = r.Resume
	}
	switch {
	case !r.State.Valid():
		return fmt.Errorf("unknown state %q", r.State)
	case !stands.Valid() || stands.Waiting() || stands.Over() != r.State.Over():
		return fmt.Errorf("%s, to go on in %q", r.State, r.Resume)
	case r.Intent != rotate.None && !slices.Contains(rotate.Acts(), r.Intent):
		return fmt.Errorf("unknown act %q", r.Intent)
	case r.Terms.Mode != "" && !slices.Contains(rotate.Modes(), r.Terms.Mode):
		return fmt.Errorf("unknown mode %q", r.Terms.Mode)
	case len(r.Sealed) > 0 && !maySeal(stands):
		return fmt.Errorf("a sealed secret that nobody needs any more: %s", stands)
	}
	for i := range r.Targets {
		if t := &r.Targets[i]; !slices.Contains(rotate.TargetStates(), t.State) {
			return fmt.Errorf("target %q in the unknown state %q", t.Name, t.State)
		}
	}
	return nil
}

// maySeal lists where a rotation may need the new secret.
func maySeal(s rotate.State) bool {
	switch s {
	case rotate.Requested, rotate.Creating, rotate.Delivering, rotate.Probing, rotate.BackingOut, rotate.Blocked, rotate.Held, rotate.Conflict:
		return true
	case rotate.Proving, rotate.Deactivating, rotate.Quiet, rotate.Deleting, rotate.Done, rotate.Cancelled, rotate.Gone:
		return false
	default:
		return false
	}
}

// connected says why the events do not lead from one state to the other.
func connected(from, to rotate.State, events []rotate.Event) error {
	for i := range events {
		e := &events[i]
		switch {
		case e.From != from:
			return fmt.Errorf("event %q begins in %q, the rotation is %s", e.Name, e.From, from)
		case !e.From.Valid() || !e.To.Valid():
			return fmt.Errorf("event %q from %q to %q", e.Name, e.From, e.To)
		case e.Name != "" && !slices.Contains(rotate.EventNames(), e.Name):
			return fmt.Errorf("unknown event %q", e.Name)
		case e.Act != rotate.None && !slices.Contains(rotate.Acts(), e.Act):
			return fmt.Errorf("event %q with the unknown act %q", e.Name, e.Act)
		case e.At.IsZero():
			return fmt.Errorf("event %q has no instant", e.Name)
		}
		from = e.To
	}
	if from != to {
		return fmt.Errorf("its events lead to %s, and it is %s", from, to)
	}
	return nil
}

func sealedOrNull(r *rotate.Rotation) any {
	if len(r.Sealed) == 0 {
		return nil
	}
	return r.Sealed
}

// changedAt is that of the start for a rotation that was never saved.
func changedAt(r *rotate.Rotation) string {
	if r.ChangedAt.IsZero() {
		return journal.Stamp(r.StartedAt)
	}
	return journal.Stamp(r.ChangedAt)
}
