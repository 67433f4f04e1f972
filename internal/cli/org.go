package cli

import "github.com/spf13/cobra"

func (a *app) orgCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "org",
		Short: "An organisation: its accounts, and the roles that keyreeve assumes in them",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misuse(c.CommandPath()+" --help lists its commands", "unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.orgSetupCommand(), a.orgAccountsCommand())
	return c
}
