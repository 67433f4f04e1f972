//go:build unix

package courier

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// lock takes an advisory lock without waiting. The kernel frees it when its holder dies; the file stays, for
// others may be about to lock it.
func lock(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errBusy
		}
		return nil, errors.Join(fmt.Errorf("lock %q: %w", path, err), f.Close())
	}
	return f.Close, nil
}

// own gives a new file the owner of the one whose place it takes.
func own(f *os.File, like fs.FileInfo) error {
	if like == nil {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	want, ok := like.Sys().(*syscall.Stat_t)
	have, alsoOK := info.Sys().(*syscall.Stat_t)
	if !ok || !alsoOK || want.Uid == have.Uid && want.Gid == have.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

func readOnly(err error) bool { return errors.Is(err, syscall.EROFS) }
