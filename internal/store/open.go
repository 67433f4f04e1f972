package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versionTable is where goose notes which migrations a database has seen.
const versionTable = "schema_version"

// What SQLite answers about a file that it cannot read as a database.
const (
	codeCorrupt = 11
	codeNotDB   = 26
)

const (
	elsewhere = "--db sqlite:PATH names another file"
	lockTime  = 30 * time.Second
	lockPause = 20 * time.Millisecond
)

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

// migrate brings the tables up to date. Only the holder of openLock may call it.
func (d *DB) migrate(ctx context.Context) error {
	version, known, err := d.versions(ctx)
	if err != nil {
		return err
	}
	// The file remembers it; so it is asked for only once the file is known to be ours.
	if _, err := d.db.ExecContext(ctx, `PRAGMA journal_mode = WAL`); err != nil {
		return d.unreadable(err)
	}
	if version == known {
		return nil
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, d.db, files,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return &Error{Problem: fmt.Sprintf("bring the journal %s up to date", d.path), Err: err}
	}
	return nil
}

// versions are that of the file, -1 for an empty one, and the newest that this program knows. A file of
// another program, or of a newer version of this one, is an Error.
func (d *DB) versions(ctx context.Context) (version, known int64, err error) {
	version, tables, err := d.schema(ctx)
	if err != nil {
		return 0, 0, d.unreadable(err)
	}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, 0, err
	}
	known = int64(len(names)) // a test keeps the numbers without gaps
	switch {
	case version < 0 && tables > 0:
		return 0, 0, &Error{Problem: fmt.Sprintf("%s is a database of another program", d.path), Hint: elsewhere}
	case version > known:
		return 0, 0, &Error{
			Problem: fmt.Sprintf("a newer keyreeve wrote the journal %s: its schema is %d, this program knows %d", d.path, version, known),
			Hint:    "use that version, or a newer one",
		}
	default:
		return version, known, nil
	}
}

// schema is the version of the tables, -1 if none was noted, and how many tables there are.
func (d *DB) schema(ctx context.Context) (version int64, tables int, err error) {
	var ours int
	err = d.db.QueryRowContext(ctx,
		`SELECT count(*), count(*) FILTER (WHERE name = $1) FROM sqlite_master WHERE type = 'table'`, versionTable).
		Scan(&tables, &ours)
	if err != nil || ours == 0 {
		return -1, tables, err
	}
	var last sql.NullInt64
	err = d.db.QueryRowContext(ctx, `SELECT max(version_id) FROM schema_version`).Scan(&last)
	return last.Int64, tables, err
}

// unreadable says in our words what SQLite answers about a file that is no database.
func (d *DB) unreadable(err error) error {
	var s *sqlite.Error
	if errors.As(err, &s) && (s.Code()&0xff == codeNotDB || s.Code()&0xff == codeCorrupt) {
		return &Error{Problem: fmt.Sprintf("%s is no database, or a damaged one", d.path), Hint: elsewhere, Err: err}
	}
	return &Error{Problem: fmt.Sprintf("open the journal %s", d.path), Err: err}
}
