//go:build unix

package cli

import "golang.org/x/sys/unix"

// noCore keeps the system from writing this process's memory to a file when it dies: secrets stand in it for a while.
func noCore() error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }
