// Package store keeps the journal and the ledger of rotations in a database: SQLite, in one file, or PostgreSQL, on a
// server that many machines share.
//
// It knows the tables, how they came to be (numbered migrations), how entries are chained by one writer after
// the other, and how one process keeps others off an account. The rules of the journal are package journal's;
// the database checks them again where SQL can. Where a rotation stands is a row that changes, how it came there
// a run that only grows; both are written at once, and by one of those who saw the same version. One SQL text serves
// both databases; what each does in its own way is an engine, in files that bear its name.
//
// It refuses a database that is no journal of ours, one that a newer version wrote, a file that others may write, and
// every entry that cannot follow those of its run. OpenReader reads a journal that cannot be written, and leaves
// nothing beside it. Its promises: an entry that was accepted is on disk, and stays as it is; a process
// that dies leaves whole entries and no lock; a write that has begun is finished or undone, whatever becomes of the
// caller's context. Where a server's answer to a commit is lost, it is asked what became of it: nothing is written twice.
//
// A sealed secret that was wiped is overwritten in SQLite's file, and gone from the one beside it, as soon as nobody else
// is reading. PostgreSQL has no equal: the old row stays in its pages until vacuum takes it away, and for longer in its
// write-ahead log, in archives of that, on replicas and in backups. What is left there is sealed, and worth nothing
// without the seal key, which is never in the database.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
)

// writeTime bounds one write, waiting for other processes included.
const writeTime = 30 * time.Second

// DB is an open journal. Its methods may be called at the same time.
type DB struct {
	db    *sql.DB
	e     engine
	kind  *dialect
	name  string // what people call it: the path, or the URL without its password
	path  string // empty: no file
	o     Options
	still bool         // open to be read only
	worn  atomic.Int64 // above 0: a sealed secret was wiped, and may still stand in SQLite's file of changes
	was   int64        // the version of the tables when it was opened
}

// engine is what SQLite and PostgreSQL do each in its own way.
type engine interface {
	// read runs do on one state of the database, and sees to it that nothing is written.
	read(ctx context.Context, do func(tx *sql.Tx) error) error
	// write runs do in a transaction and commits it. what is that of DB.write. Where nothing was committed it may do so again.
	write(ctx context.Context, what string, do func(ctx context.Context, tx *sql.Tx) error, by proof) error
	// scrub overwrites what was wiped, as far as the engine can; worn counts the wipes.
	scrub(ctx context.Context, worn *atomic.Int64)
	// lock takes the account, or says who has it by a HeldError. release may be called twice.
	lock(ctx context.Context, account, holder string) (release func(), err error)
	// held is a HeldError about any account that somebody has; nil: nobody has one.
	held(ctx context.Context) error
	// sound says what is wrong with the database beneath the tables.
	sound(ctx context.Context, tx *sql.Tx) error
	// explain says in our words what the database answered, where it has words for it; doing is a verb.
	explain(doing string, err error) error
	close() error
}

// proof is a question that has a row once a write is on record, and only then: by it a commit whose answer was lost is
// settled. It is asked when the transaction is over. nil: nobody can tell.
type proof func() (query string, args []any)

// Options are for tests; the zero value is right.
type Options struct {
	// OnWrite is called with "before KIND" and "after KIND" of an entry's write, which lies between the two; of writes of
	// the ledger, KIND is begin, save, use or request. A write that is refused or fails has no after. nil: nothing is called.
	OnWrite func(point string)
	// amid is called within the transaction, with everything written and nothing committed.
	amid func(what string)
	// version is the schema to make; 0: the newest.
	version int64
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

// Open opens the journal at the URL and makes it if there is none; tables of an older version are brought up to date.
// sqlite:PATH is a file: the directory is made for the user alone (0700), the file likewise (0600). postgres:// and
// postgresql:// are as libpq takes them (TLS by sslmode; PGPASSWORD and ~/.pgpass serve); the database must be there. A
// URL that cannot be meant is a journal.InputError, anything wrong with the file or the server an Error. No text of either
// repeats a password.
func Open(ctx context.Context, at string, o Options) (*DB, error) {
	p, err := parse(at)
	if err != nil {
		return nil, err
	}
	return p.open(ctx, o)
}

// OpenReader opens the journal at the URL to be read: somebody else's file, a copy, one on a mount that cannot be written; of
// PostgreSQL also a standby, or with the rights of a reader. It makes nothing beside a file and changes nothing in it.
// What writes, and Lock, answers with an error that wraps ErrReadOnly. Errors are those of Open, but the mode of
// a file does not matter: Check says whether what is told was told by us. An Error wraps fs.ErrNotExist where there is no file.
//
// A file that somebody goes on writing can be read all the while, but one that nobody had open when it was
// opened here gives an error after somebody has written to it: then it must be opened again.
func OpenReader(ctx context.Context, at string) (*DB, error) {
	p, err := parse(at)
	if err != nil {
		return nil, err
	}
	return p.openReader(ctx)
}

// Exists tells whether there is a journal at the URL: a file, or tables of ours in the database; an error where that
// cannot be said.
func Exists(ctx context.Context, at string) (bool, error) {
	p, err := parse(at)
	if err != nil {
		return false, err
	}
	return p.exists(ctx)
}

// Close ends the use of the database. Locks of accounts stay until they are released.
func (d *DB) Close() error { return errors.Join(d.db.Close(), d.e.close()) }

// Name is what messages call the database: its Path, or the URL without its password.
func (d *DB) Name() string { return d.name }

// Path is the file of the database, from the root and without symbolic links; empty where it is no file.
func (d *DB) Path() string { return d.path }

// Schema is the version of the tables when the database was opened, -1 for one that was empty, and as it is now.
func (d *DB) Schema() (was, now int64) { return d.was, newest() }

func (d *DB) told(point string) {
	if d.o.OnWrite != nil {
		d.o.OnWrite(point)
	}
}

// read runs do on one state of the database.
func (d *DB) read(ctx context.Context, do func(tx *sql.Tx) error) error {
	return d.reading(d.e.read(ctx, do))
}

// reading says what was being done when an error came up that does not say so itself.
func (d *DB) reading(err error) error {
	var input *journal.InputError
	var ours *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &input), errors.As(err, &ours):
		return err // about what was asked for, or said already
	default:
		return fmt.Errorf("read the journal %s: %w", d.name, err)
	}
}

// write runs do in a transaction, and again where nothing of it was committed: so do begins anew each time. what names
// it for OnWrite: the kind of its entry, or what it saves.
func (d *DB) write(ctx context.Context, what string, do func(ctx context.Context, tx *sql.Tx) error, by proof) error {
	if d.still {
		return d.onlyRead()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// A context that ends halfway would leave open whether the entry is on record.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	d.told("before " + what)
	err := d.e.write(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		if err := do(ctx, tx); err != nil {
			return err
		}
		if d.o.amid != nil {
			d.o.amid(what)
		}
		return nil
	}, by)
	if err != nil {
		return err
	}
	d.told("after " + what)
	d.e.scrub(ctx, &d.worn)
	return nil
}
