package courier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// What the couriers that write files have in common. They look, compare and write under a lock beside the file;
// whoever else writes it without that lock is found by a second look right before the new file takes its place.

const (
	mayWrite fs.FileMode = 0o022 // others may change the file
	mayRead  fs.FileMode = 0o044

	longestFile = 16 << 20 // of a file that we rewrite, in bytes
)

// place is a file as it was read.
type place struct {
	path string // with symbolic links followed
	body []byte
	info fs.FileInfo // nil: there is no file
}

// kindOfFile puts the kind beside an error of the file system.
func kindOfFile(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission), readOnly(err):
		return fmt.Errorf("%w: %w", fact.ErrDenied, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", fact.ErrNotFound, err)
	}
	return err
}

// look reads the file at path. allow are the permissions that others may have.
func look(path string, allow fs.FileMode) (place, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return lookBeside(path)
	}
	if err != nil {
		return place{}, kindOfFile(err)
	}
	f, err := os.Open(real)
	if err != nil {
		return place{}, kindOfFile(err)
	}
	defer func() { _ = f.Close() }() // was only read
	info, err := f.Stat()
	if err != nil {
		return place{}, kindOfFile(err)
	}
	p := place{path: real, info: info}
	if err := p.trusted(allow); err != nil {
		return place{}, err
	}
	p.body, err = io.ReadAll(io.LimitReader(f, longestFile+1))
	if err == nil && len(p.body) > longestFile {
		err = fmt.Errorf("%q is longer than %d bytes", path, longestFile)
	}
	return p, kindOfFile(err)
}

// lookBeside is for a file that is not there: its directory must be, and no link may point to nowhere.
func lookBeside(path string) (place, error) {
	if _, err := os.Lstat(path); err == nil {
		return place{}, fmt.Errorf("%w: the link %q leads nowhere", fact.ErrNotFound, path)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return place{}, kindOfFile(err)
	}
	p := place{path: filepath.Join(dir, filepath.Base(path))}
	return p, p.trusted(0)
}

// trusted refuses a file that others may change or, unless allowed, read.
func (p place) trusted(allow fs.FileMode) error {
	if runtime.GOOS == "windows" { // which keeps its permissions elsewhere
		return nil
	}
	if p.info != nil {
		switch mode := p.info.Mode(); {
		case !mode.IsRegular():
			return fmt.Errorf("%q is not a file", p.path)
		case mode.Perm()&mayWrite != 0:
			return fmt.Errorf("%q has mode %v, others may change it: chmod 600 it, if nobody else needs it", p.path, mode)
		case mode.Perm()&mayRead&^allow != 0:
			return fmt.Errorf("%q has mode %v, others may read it: chmod 600 it, if nobody else needs it", p.path, mode)
		}
	}
	dir, err := os.Stat(filepath.Dir(p.path))
	if err != nil {
		return kindOfFile(err)
	}
	if mode := dir.Mode(); mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0 {
		return fmt.Errorf("%q has mode %v, everybody may replace the files in it", filepath.Dir(p.path), mode)
	}
	return nil
}

// newName is the file beside, before it takes its place. A fixed name, so that what a kill left behind is found
// and removed by the next attempt.
func (p place) newName() string {
	return filepath.Join(filepath.Dir(p.path), "."+filepath.Base(p.path)+".keyreeve-new")
}

// replace puts body in the place of what was read, in one step, if that still stands there.
func (p place) replace(ctx context.Context, body []byte) error {
	mode := fs.FileMode(0o600)
	if p.info != nil {
		mode = p.info.Mode().Perm() &^ 0o111
	}
	name := p.newName()
	if err := write(name, body, mode, p.info); err != nil {
		return errors.Join(kindOfFile(err), p.tidy())
	}
	err := ctx.Err()
	if err == nil {
		err = p.same()
	}
	if err == nil {
		err = kindOfFile(os.Rename(name, p.path))
	}
	if err != nil {
		return errors.Join(err, p.tidy())
	}
	return syncDir(filepath.Dir(p.path))
}

// remove takes the file away, if what was read still stands there.
func (p place) remove() error {
	if err := p.same(); err != nil {
		return err
	}
	if err := os.Remove(p.path); err != nil {
		return kindOfFile(err)
	}
	return syncDir(filepath.Dir(p.path))
}

// tidy removes what a killed attempt left beside.
func (p place) tidy() error {
	if err := os.Remove(p.newName()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return kindOfFile(err)
	}
	return nil
}

// same looks a second time.
func (p place) same() error {
	body, err := os.ReadFile(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.info == nil:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return kindOfFile(err)
	case err != nil, p.info == nil, string(body) != string(p.body):
		return fmt.Errorf("%q was changed while we worked on it: %w", p.path, ErrMoved)
	}
	return nil
}

// write makes a file that is on disk when it returns, of the owner of like.
func write(name string, body []byte, mode fs.FileMode, like fs.FileInfo) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = own(f, like)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		_, err = f.Write(body)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes a rename last. Not every file system can; the rename stands all the same.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return kindOfFile(err)
	}
	_ = d.Sync()
	return d.Close()
}

// locked does work under the lock beside a path, for one process and one goroutine at a time.
func locked(ctx context.Context, path string, work func() error) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil { // not there yet, or look will say
		real = path
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	release, err := lock(filepath.Join(filepath.Dir(real), "."+filepath.Base(real)+".keyreeve-lock"))
	if err != nil {
		return kindOfFile(err)
	}
	return errors.Join(work(), release())
}

var errBusy = errors.New("another process of ours works on it, try again")
