//go:build !unix

package postgres

import "os/exec"

// unprivileged is for systems on which programs finds nothing.
func unprivileged(*exec.Cmd, string) error { return nil }
