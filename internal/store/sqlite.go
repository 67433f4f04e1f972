package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // the driver that database/sql calls sqlite; no cgo
)

// What SQLite answers about a file that it cannot read as a database.
const (
	codeCorrupt = 11
	codeNotDB   = 26
)

// codesOfDisk are what SQLite answers where the file cannot be written now: busy, read-only, disk I/O, full, cannot be opened.
var codesOfDisk = []int{5, 8, 10, 13, 14}

const (
	elsewhere = "--db sqlite:PATH names another file"
	busyTime  = 10 * time.Second // to wait for another process that writes
	lockTime  = 30 * time.Second
	lockPause = 20 * time.Millisecond
	scrubTime = time.Second // to wait for others before the file of changes is cut
)

var dialectSQLite = dialect{
	name: "sqlite", goose: goose.DialectSQLite3, text: "TEXT", elsewhere: elsewhere,
	tables:   `SELECT count(*), count(*) FILTER (WHERE name = $1) FROM sqlite_master WHERE type = 'table'`,
	headFree: `DROP TRIGGER journal_head_grows`,
	headKept: `SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'journal_head_grows'`,
}

// file is the path of a database of SQLite, as it was named.
type file string

// engineSQLite is a file. Its writers queue for the file itself; locks of accounts are locks of files beside it.
type engineSQLite struct {
	db   *sql.DB
	path string
	view *view // how OpenReader reads the file; nil: it is open for writing too
}

func (f file) open(ctx context.Context, o Options) (*DB, error) {
	if err := makeFile(string(f)); err != nil {
		return nil, err
	}
	path, err := real(string(f)) // only now: before, there may be no file to resolve
	if err != nil {
		return nil, &Error{Problem: fmt.Sprintf("open the journal %s", f), Hint: elsewhere, Err: err}
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
	d := &DB{db: db, e: &engineSQLite{db: db, path: path}, kind: &dialectSQLite, name: path, path: path, o: o}
	if d.was, err = d.version(ctx); err == nil {
		// The file remembers it; so it is asked for only once the file is known to be ours.
		if _, err = db.ExecContext(ctx, `PRAGMA journal_mode = WAL`); err != nil {
			err = d.e.explain("open", err)
		}
	}
	if err == nil {
		err = d.migrate(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	d.worn.Add(1) // the process before may have died between a wipe and this
	d.e.scrub(ctx, &d.worn)
	return d, nil
}

func (f file) called() string { return "sqlite:" + string(f) }

func (f file) exists(context.Context) (bool, error) {
	_, err := os.Stat(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
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
	if len(slashed) == 0 || slashed[0] != '/' {
		slashed = "/" + slashed // C:/... of Windows
	}
	return "file://" + (&url.URL{Path: slashed}).EscapedPath() + "?" + q.Encode()
}

// real is the path without symbolic links: of two names for one file, one lock must keep off the other.
func real(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// makeFile sees to it that the file is there before SQLite opens it, which would make it with the mode that
// the umask allows. SQLite gives the files beside it (-wal, -shm) the mode of the file itself.
func makeFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return &Error{Problem: fmt.Sprintf("make the directory of the journal %s", path), Hint: elsewhere, Err: err}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return &Error{Problem: fmt.Sprintf("open the journal %s", path), Hint: elsewhere, Err: err}
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return &Error{Problem: fmt.Sprintf("open the journal %s", path), Hint: elsewhere, Err: err}
	}
	switch {
	case !info.Mode().IsRegular():
		return &Error{Problem: fmt.Sprintf("the journal %s is no regular file", path), Hint: elsewhere}
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0: // Windows has no such bits
		return &Error{
			Problem: fmt.Sprintf("the journal %s may be written by others (mode %04o): it would prove nothing", path, info.Mode().Perm()),
			Hint:    "find out who has written it, then chmod 600 " + path,
		}
	default:
		return nil
	}
}

// openLock keeps other processes from opening the same file at the same time: of two that find it new, one
// makes the tables. It waits.
func openLock(ctx context.Context, path string) (func(), error) {
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	l := flock.New(path+".lock", flock.SetFlag(os.O_RDWR|os.O_CREATE), flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, lockPause); err != nil {
		hint := elsewhere
		if errors.Is(err, context.DeadlineExceeded) {
			hint = "another keyreeve is opening it: wait for that one, or end it"
		}
		return nil, &Error{Problem: fmt.Sprintf("lock the journal %s", path), Hint: hint, Err: err}
	}
	return func() { _ = l.Unlock() }, nil // an error leaves the lock to the end of the process
}

func (e *engineSQLite) read(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := e.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // deferred: it takes no lock from writers
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	err = do(tx)
	if moved := e.view.moved(); moved != nil { // then what was read is worth nothing
		return moved
	}
	return err
}

// write needs no proof: a commit of SQLite is answered by this very process.
func (e *engineSQLite) write(ctx context.Context, _ string, do func(ctx context.Context, tx *sql.Tx) error, _ proof) error {
	tx, err := e.db.BeginTx(ctx, nil)
	if err != nil {
		return e.explain("write", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if err := do(ctx, tx); err != nil {
		var s *sqlite.Error
		if errors.As(err, &s) && slices.Contains(codesOfDisk, s.Code()&0xff) {
			return e.explain("write", err)
		}
		return err // about what was written
	}
	if err := tx.Commit(); err != nil {
		return e.explain("write", err)
	}
	return nil
}

// scrub cuts the file of changes to nothing once all of it is in the database, where what was wiped is overwritten
// (secure_delete). Somebody who reads or writes in another process may be in the way: then the next write tries again, and so does
// the next process. What the file system or the disk keeps of a file that was cut is out of our hands.
func (e *engineSQLite) scrub(ctx context.Context, worn *atomic.Int64) {
	n := worn.Load()
	if n == 0 {
		return
	}
	c, err := e.db.Conn(ctx)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }() // goes back to the pool
	var busy, inFile, moved int
	if _, err := c.ExecContext(ctx, fmt.Sprintf(`PRAGMA busy_timeout(%d)`, scrubTime.Milliseconds())); err != nil {
		return
	}
	err = c.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &inFile, &moved)
	_, resetErr := c.ExecContext(ctx, fmt.Sprintf(`PRAGMA busy_timeout(%d)`, busyTime.Milliseconds()))
	if err == nil && resetErr == nil && busy == 0 {
		worn.CompareAndSwap(n, 0) // not if another wipe came meanwhile
	}
}

// sound asks SQLite about the file, and about references between tables.
func (e *engineSQLite) sound(ctx context.Context, tx *sql.Tx) error {
	var says string
	if err := tx.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&says); err != nil {
		return err
	}
	if says != "ok" {
		return errors.New("the file is damaged: " + says)
	}
	var table, parent string
	var row, key sql.NullInt64
	err := tx.QueryRowContext(ctx, `PRAGMA foreign_key_check`).Scan(&table, &row, &parent, &key)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("row %d of %s refers to a row of %s that is missing", row.Int64, table, parent)
	}
}

func (e *engineSQLite) explain(doing string, err error) error {
	var s *sqlite.Error
	if errors.As(err, &s) && (s.Code()&0xff == codeNotDB || s.Code()&0xff == codeCorrupt) {
		return &Error{Problem: fmt.Sprintf("%s is no database, or a damaged one", e.path), Hint: elsewhere, Err: err}
	}
	return &Error{Problem: fmt.Sprintf("%s the journal %s", doing, e.path), Err: err}
}

func (e *engineSQLite) close() error {
	if e.view == nil {
		return nil
	}
	return e.view.close()
}
