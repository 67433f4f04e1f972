package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man [DIR]",
		Short: "Print the manual page, or write one page a command to DIR",
		Example: "  keyreeve man | man -l -\n" +
			"  keyreeve man /usr/local/share/man/man1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misuse("keyreeve man [DIR]", "man takes one directory, not %d", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return doc.GenMan(c.Root(), a.manHeader(), c.OutOrStdout())
			}
			return a.writeMan(c.Root(), args[0])
		},
	}
}

func (a *app) manHeader() *doc.GenManHeader {
	now := a.sys.Now()
	return &doc.GenManHeader{Section: "1", Date: &now, Source: "keyreeve " + a.version, Manual: "keyreeve"}
}

// writeMan writes the page of c and of every command under it.
func (a *app) writeMan(c *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // G301: manual pages are for everybody
		return fmt.Errorf("write manual pages: %w", err)
	}
	name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
	errs := []error{writeFile(filepath.Join(dir, name), func(w io.Writer) error { return doc.GenMan(c, a.manHeader(), w) })}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			errs = append(errs, a.writeMan(sub, dir))
		}
	}
	return errors.Join(errs...)
}
