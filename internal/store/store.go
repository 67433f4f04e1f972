// Package store keeps the journal and the ledger of rotations in a database: SQLite, in one file.
//
// It knows the tables, how they came to be (numbered migrations), how entries are chained by one writer after
// the other, and how one process keeps others off an account. The rules of the journal are package journal's;
// the database checks them again where SQL can. Where a rotation stands is a row that changes, how it came there
// a run that only grows; both are written at once, and by one of those who saw the same version.
//
// It refuses a file that is no journal of ours, one that a newer version wrote, one that others may write, and
// every entry that cannot follow those of its run. OpenReader reads a journal that cannot be written, and leaves
// nothing beside it. Its promises: an entry that was accepted is on disk, and stays as it is; a sealed secret that
// was wiped is overwritten in the file, and gone from the one beside it, as soon as nobody else is reading; a process
// that dies leaves whole entries and no lock; a write that has begun is finished or undone, whatever becomes of the
// caller's context.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver that database/sql calls sqlite; no cgo

	"github.com/keyreeve/keyreeve/internal/journal"
)

// writeTime bounds one write, waiting for another process included (busyTime).
const (
	busyTime  = 10 * time.Second
	writeTime = 30 * time.Second
	scrubTime = time.Second // to wait for others before the file of changes is cut
)

// DB is an open journal. Its methods may be called at the same time.
type DB struct {
	db   *sql.DB
	path string
	o    Options
	view *view        // how OpenReader reads the file; nil: it is open for writing too
	worn atomic.Int64 // above 0: a sealed secret was wiped, and may still stand in the file of changes
}

// Options are for tests; the zero value is right.
type Options struct {
	// OnWrite is called with "before KIND" and "after KIND" of an entry's write, which lies between the two; of writes of
	// the ledger, KIND is begin, save, use or request. A write that is refused or fails has no after. nil: nothing is called.
	OnWrite func(point string)
	// amid is called within the transaction, with everything written and nothing committed.
	amid func(what string)
}

// Error says what is wrong with the database itself.
type Error struct {
	Problem string
	Hint    string // the next move; may be empty
	Err     error  // may be nil
}

func (e *Error) Error() string {
	text := e.Problem
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		text += "\nhint: " + e.Hint
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Open opens the journal at the URL, sqlite:PATH, and makes it if there is none: the directory for the user
// alone (0700), the file likewise (0600). Tables of an older version are brought up to date. A URL that
// cannot be meant is a journal.InputError, anything wrong with the file an Error.
func Open(ctx context.Context, at string, o Options) (*DB, error) {
	path, err := parse(at)
	if err != nil {
		return nil, err
	}
	if err := makeFile(path); err != nil {
		return nil, err
	}
	named := path
	if path, err = real(named); err != nil { // only now: before, there may be no file to resolve
		return nil, &Error{Problem: fmt.Sprintf("open the journal %s", named), Hint: elsewhere, Err: err}
	}
	release, err := openLock(ctx, path)
	if err != nil {
		return nil, err
	}
	defer release()
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		return nil, &Error{Problem: fmt.Sprintf("open the journal %s", path), Err: err}
	}
	// One connection: SQLite has one writer, and a reader that waits for it in the same process gains nothing.
	db.SetMaxOpenConns(1)
	d := &DB{db: db, path: path, o: o}
	if err := d.migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	d.worn.Add(1) // the process before may have died between a wipe and this
	d.scrub(ctx)
	return d, nil
}

// parse gives the path of a URL. It never repeats a URL that may hold a password.
func parse(at string) (string, error) {
	const form = "--db sqlite:PATH"
	scheme, rest, found := strings.Cut(at, ":")
	switch {
	case at == "":
		return "", &journal.InputError{Problem: "no database is named", Hint: form}
	case found && scheme == "sqlite" && strings.HasPrefix(rest, "//"):
		return "", &journal.InputError{Problem: "a database sqlite: with //", Hint: form + ", such as sqlite:/var/lib/keyreeve/keyreeve.db"}
	case found && scheme == "sqlite" && rest != "" && !strings.HasPrefix(rest, ":memory:"):
		return rest, nil
	case found && scheme == "sqlite":
		return "", &journal.InputError{Problem: "the database sqlite: names no file", Hint: form}
	case found && (scheme == "postgres" || scheme == "postgresql"):
		return "", &journal.InputError{Problem: "this version has no PostgreSQL", Hint: form}
	case found && strings.HasPrefix(rest, "//"):
		return "", &journal.InputError{Problem: fmt.Sprintf("a database of the unknown kind %q", scheme), Hint: form}
	default:
		return "", &journal.InputError{Problem: fmt.Sprintf("%q is no URL of a database", at), Hint: "if it is a file: --db sqlite:" + at}
	}
}

// dsn is the path as the driver takes it. These pragmas hold for one connection, and are given to each.
func dsn(path string) string {
	return location(path, url.Values{"_txlock": {"immediate"}, "_dqs": {"0"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTime.Milliseconds()), // first: the others may have to wait
		"synchronous(FULL)", // an intent must be on disk before the call that it announces
		"foreign_keys(1)",
		"secure_delete(1)",      // what is wiped is overwritten
		"recursive_triggers(1)", // a REPLACE fires the triggers that forbid a DELETE
	}})
}

func location(path string, q url.Values) string {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // C:/... of Windows
	}
	return "file://" + (&url.URL{Path: slashed}).EscapedPath() + "?" + q.Encode()
}

// Close ends the use of the database. Locks of accounts stay until they are released.
func (d *DB) Close() error {
	err := d.db.Close()
	if d.view != nil {
		err = errors.Join(err, d.view.close())
	}
	return err
}

// Path is the file of the database, from the root and without symbolic links.
func (d *DB) Path() string { return d.path }

func (d *DB) told(point string) {
	if d.o.OnWrite != nil {
		d.o.OnWrite(point)
	}
}

// read runs do on one state of the database.
func (d *DB) read(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := d.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // deferred: it takes no lock from writers
	if err != nil {
		return fmt.Errorf("read the journal %s: %w", d.path, err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	err = do(tx)
	if moved := d.view.moved(); moved != nil { // then what was read is worth nothing
		return moved
	}
	if err != nil {
		var input *journal.InputError
		if errors.As(err, &input) {
			return err // about what was asked for, not about the journal
		}
		return fmt.Errorf("read the journal %s: %w", d.path, err)
	}
	return nil
}

// write runs do in a transaction. what names it for OnWrite: the kind of its entry, or what it saves.
func (d *DB) write(ctx context.Context, what string, do func(ctx context.Context, tx *sql.Tx) error) error {
	if d.view != nil {
		return d.onlyRead()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// A context that ends halfway would leave open whether the entry is on record.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	d.told("before " + what)
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("write the journal %s: %w", d.path, err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if err := do(ctx, tx); err != nil {
		return err
	}
	if d.o.amid != nil {
		d.o.amid(what)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("write the journal %s: %w", d.path, err)
	}
	d.told("after " + what)
	d.scrub(ctx)
	return nil
}
