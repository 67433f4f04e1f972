package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// What SQLite keeps beside a file: changes that are not in it yet, and where each of them is to be found.
const (
	changesFile = "-wal"
	indexFile   = "-shm"
)

// ErrReadOnly says that the journal was opened to be read.
var ErrReadOnly = errors.New("the journal was opened to be read")

// view is how a journal is read without a trace. There are three ways, by what SQLite has beside the file:
//
//   - Neither changes nor their index: the file is whole, and nobody has it open. It is read as a file that
//     cannot change; that it did not, moved shows after each reading.
//   - Both: somebody works with it, or died. SQLite reads the two as they are.
//   - Changes alone: a copy that was made without the index. SQLite would make one, so a copy of the copy is
//     read, which close removes.
type view struct {
	path  string // of the journal itself
	fixed *marks // how the file stood, if it must not change while it is read
	dir   string // of the copy, if one is read
}

// marks tell one state of the file and of what is beside it from another.
type marks struct{ file, changes, index mark }

type mark struct {
	size int64 // -1: there is none
	at   time.Time
}

func (f file) openReader(ctx context.Context) (*DB, error) {
	path, err := real(string(f))
	if err != nil {
		return nil, &Error{Problem: fmt.Sprintf("read the journal %s", f), Hint: elsewhere, Err: err}
	}
	for tries := 3; ; tries-- {
		now, err := look(path)
		if err != nil {
			return nil, &Error{Problem: fmt.Sprintf("read the journal %s", path), Hint: elsewhere, Err: err}
		}
		d, err := openView(ctx, path, now, false)
		if err != nil && now.index.size >= 0 {
			// Whoever wrote it died, and SQLite cannot put the index right without writing it: in a copy it can.
			if copied, copyErr := openView(ctx, path, now, true); copyErr == nil {
				return copied, nil
			}
		}
		if err == nil || tries <= 1 {
			return d, err
		}
		if again, lookErr := look(path); lookErr != nil || again.same(now) {
			return nil, err
		} // somebody began to write, or ended, in the middle
	}
}

func openView(ctx context.Context, path string, now *marks, copied bool) (*DB, error) {
	v := &view{path: path}
	from, err := v.begin(now, copied)
	if err != nil {
		return nil, &Error{Problem: fmt.Sprintf("read the journal %s", path), Hint: elsewhere, Err: errors.Join(err, v.close())}
	}
	db, err := sql.Open("sqlite", from)
	if err != nil {
		return nil, &Error{Problem: fmt.Sprintf("read the journal %s", path), Err: errors.Join(err, v.close())}
	}
	db.SetMaxOpenConns(1)
	d := &DB{db: db, e: &engineSQLite{db: db, path: path, view: v}, kind: &dialectSQLite, name: path, path: path, still: true}
	err = d.current(ctx)
	if moved := v.moved(); moved != nil {
		err = moved
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// begin chooses the way, and gives what the driver is to open.
func (v *view) begin(now *marks, copied bool) (string, error) {
	q := url.Values{"_dqs": {"0"}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTime.Milliseconds()), "query_only(1)"}}
	switch {
	case copied, now.changes.size > 0 && now.index.size < 0:
		path, err := v.copy(now)
		return location(path, q), err
	case now.changes.size >= 0 && now.index.size >= 0:
		q["mode"], q["readonly_shm"] = []string{"ro"}, []string{"1"}
	default:
		v.fixed = now
		q["mode"], q["immutable"] = []string{"ro"}, []string{"1"}
	}
	return location(v.path, q), nil
}

// look says how the file stands.
func look(path string) (*marks, error) {
	var m marks
	for suffix, to := range map[string]*mark{"": &m.file, changesFile: &m.changes, indexFile: &m.index} {
		info, err := os.Stat(path + suffix)
		switch {
		case suffix != "" && errors.Is(err, fs.ErrNotExist):
			to.size = -1
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s is no regular file", path+suffix)
		default:
			*to = mark{info.Size(), info.ModTime()}
		}
	}
	return &m, nil
}

// copy puts the file and its changes, as they stand, into a directory for this user alone.
func (v *view) copy(now *marks) (string, error) {
	dir, err := os.MkdirTemp("", "keyreeve-journal-")
	if err != nil {
		return "", err
	}
	v.dir = dir
	to := filepath.Join(dir, "journal.db")
	for _, suffix := range []string{"", changesFile} {
		if err := copyFile(to+suffix, v.path+suffix); err != nil {
			return "", err
		}
	}
	v.fixed = now
	err = v.moved() // two files copied one after the other must belong together
	v.fixed = nil   // from here on only the copy counts
	return to, err
}

func copyFile(to, from string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // was only read
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// moved is an Error once the file no longer stands as it did, where that matters. A nil view is fine.
func (v *view) moved() error {
	if v == nil || v.fixed == nil {
		return nil
	}
	now, err := look(v.path)
	if err == nil && now.same(v.fixed) {
		return nil
	}
	return &Error{Problem: fmt.Sprintf("the journal %s was written while it was read", v.path), Hint: "try again", Err: err}
}

func (m *marks) same(o *marks) bool {
	return m.file.same(o.file) && m.changes.same(o.changes) && m.index.same(o.index)
}

func (m mark) same(o mark) bool { return m.size == o.size && m.at.Equal(o.at) }

// close removes the copy.
func (v *view) close() error {
	if v.dir == "" {
		return nil
	}
	return os.RemoveAll(v.dir)
}

func (d *DB) onlyRead() error {
	return &Error{Problem: fmt.Sprintf("write the journal %s", d.name), Hint: "it is written by those who may write where it is", Err: ErrReadOnly}
}
