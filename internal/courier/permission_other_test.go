//go:build !linux

package courier_test

import (
	"os"
	"testing"
)

// withoutPermission takes the permission to a directory away.
func withoutPermission(t *testing.T, dir string) (heal func()) {
	t.Helper()
	info, err := os.Stat(dir)
	must(t, err)
	must(t, os.Chmod(dir, 0o000))
	return func() { must(t, os.Chmod(dir, info.Mode().Perm())) }
}
