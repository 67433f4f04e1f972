package courier_test

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

// withoutPermission takes the permission to write into a directory away: for root, by being nobody where files
// are concerned, on this thread.
func withoutPermission(t *testing.T, dir string) (heal func()) {
	t.Helper()
	info, err := os.Stat(dir)
	must(t, err)
	must(t, os.Chmod(dir, 0o000))
	const nobody = 65534
	root := os.Geteuid() == 0
	if root {
		runtime.LockOSThread()
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0)
	}
	return func() {
		if root {
			_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 0, 0, 0)
			runtime.UnlockOSThread()
		}
		must(t, os.Chmod(dir, info.Mode().Perm()))
	}
}
