//go:build !unix

package spool

import "os"

// lock takes nothing: Windows removes no file that is open.
func lock(*os.File) error { return nil }
