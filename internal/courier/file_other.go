//go:build !unix

package courier

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// lock makes a file that only one can make. A killed holder leaves it behind, and its error says so.
func lock(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("lock %q: %w, or delete that file if none does", path, errBusy)
	}
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(f.Close(), os.Remove(path)) }, nil
}

// own: permissions are inherited from the directory.
func own(*os.File, fs.FileInfo) error { return nil }

func readOnly(error) bool { return false }
