//go:build unix

package spool

import (
	"errors"
	"os"
	"syscall"
)

var errHeld = errors.New("another process works in it")

// lock takes the file for this process alone; the kernel frees it when its holder dies. A file system without locks has none.
func lock(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return errHeld
	}
	return nil
}
