package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gofrs/flock"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Where in the lock file the holder's name stands, and its room in bytes. Windows locks the first byte against
// reading too, and may not cut a locked file short: so that byte is left alone, and names are padded.
const (
	nameAt   = 1
	nameRoom = 512
)

// HeldError says that another run works on the account.
type HeldError struct {
	Account string
	Holder  string // as it named itself; empty if it has not yet
}

func (e *HeldError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another run"
	}
	return fmt.Sprintf("account %s is being worked on by %s", e.Account, holder)
}

// Hint is the next move for a person.
func (e *HeldError) Hint() string { return "wait until it has ended; its lock ends with its process" }

// Lock takes the account for one run, across all processes that use the same database (a file by whatever name), and
// waits no longer than a moment: a HeldError names who has it. The lock ends with its holder: the kernel frees that of a
// file, the server that of a session. release may be called twice.
//
// On PostgreSQL a lock can be lost while its holder lives, with the connection that it stands on. So Begin, and Append of
// an intent, first make sure that every lock of this DB still stands, and refuse otherwise: no change is announced, and
// so none is made, under a lock that is gone. What was done before can still be recorded. A lock that goes in the moment
// between an intent and the call that it announces is not noticed; who takes the account then finds the intent, and looks.
func (d *DB) Lock(ctx context.Context, account, holder string) (release func(), err error) {
	if !fact.IsAccountID(account) { // it becomes part of a path
		return nil, fmt.Errorf("lock account %q: it is not twelve digits", account)
	}
	if d.still {
		return nil, d.onlyRead()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return d.e.lock(ctx, account, holder)
}

func (e *engineSQLite) lock(_ context.Context, account, holder string) (release func(), err error) {
	path := e.path + "." + account + ".lock"
	l := flock.New(path, flock.SetFlag(os.O_RDWR|os.O_CREATE), flock.SetPermissions(0o600))
	taken, err := l.TryLock()
	if err != nil {
		return nil, &Error{Problem: fmt.Sprintf("lock account %s by %s", account, path), Err: err}
	}
	if !taken {
		return nil, &HeldError{account, holderOf(path)}
	}
	if err := name(path, holder); err != nil {
		return nil, &Error{Problem: fmt.Sprintf("lock account %s by %s", account, path), Err: errors.Join(err, l.Unlock())}
	}
	return sync.OnceFunc(func() {
		_ = name(path, "") // an old name only matters while somebody holds the lock
		_ = l.Unlock()     // an error leaves the lock to the end of the process
	}), nil
}

// held tries the lock of each account that ever had one.
func (e *engineSQLite) held(context.Context) error {
	files, err := os.ReadDir(filepath.Dir(e.path))
	if err != nil {
		return &Error{Problem: fmt.Sprintf("look for locks beside the journal %s", e.path), Err: err}
	}
	for _, f := range files {
		rest, ours := strings.CutPrefix(f.Name(), filepath.Base(e.path)+".")
		account, isLock := strings.CutSuffix(rest, ".lock")
		if !ours || !isLock || !fact.IsAccountID(account) {
			continue
		}
		path := filepath.Join(filepath.Dir(e.path), f.Name())
		l := flock.New(path, flock.SetFlag(os.O_RDONLY)) // it may be somebody else's
		free, err := l.TryRLock()
		if err := errors.Join(err, l.Close()); err != nil {
			return &Error{Problem: fmt.Sprintf("ask for the lock of account %s by %s", account, path), Err: err}
		}
		if !free {
			return &HeldError{account, holderOf(path)}
		}
	}
	return nil
}

// name writes who holds the lock; the file stays, since others may be about to lock it.
func name(path, holder string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.NewOffsetWriter(f, nameAt), "%-*s\n", nameRoom, holder[:min(len(holder), nameRoom)])
	return errors.Join(err, f.Close())
}

// holderOf is who holds the lock, as far as it can be read.
func holderOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // was only read
	body, _ := io.ReadAll(io.NewSectionReader(f, nameAt, nameRoom))
	return strings.TrimSpace(string(body))
}
