package cli

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is set at link time for a release; a build from a checkout says which commit it is.
var release string

// Version names the build: a release such as 1.2.0, or dev with the commit when it is known.
func Version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "keyreeve "+a.version)
			return err
		},
	}
}

// noArgs refuses arguments as misuse.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misuse(c.CommandPath()+" takes none", "unexpected argument %q", args[0])
	}
	return nil
}
