//go:build !unix

package cli_test

import "os"

// die ends this process at once; crash tests run on Unix only.
func die() { os.Exit(137) }
