package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/report"
)

func (a *app) orgAccountsCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "accounts",
		Short: "List the accounts of the organisation, and where each stands",
		Long: "accounts lists the accounts of the organisation that the credentials belong to: those of its management account\n" +
			"or a delegated administrator. It assumes no role and reads no key.",
		Example: "  keyreeve org accounts\n  keyreeve org accounts -o json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			f, err := textOrJSON(format)
			if err != nil {
				return err
			}
			return a.orgAccounts(c.Context(), f)
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "text", "`FORMAT`: text, json")
	completeValues(c, "output", []string{"text", "json"})
	return c
}

func (a *app) orgAccounts(ctx context.Context, f report.Format) error {
	r, err := awsiam.OpenOrganization(ctx, a.settings(callsInAccount, 0))
	if err != nil {
		return err
	}
	defer r.Close()
	org, err := r.Read(ctx)
	if err != nil {
		return err
	}
	if err := r.Place(ctx, &org); err != nil {
		if ctx.Err() != nil {
			return err
		}
		a.warn("organisational units were not read: %v", err)
	}
	opt := a.reportOptions()
	return a.writeStdout(func(w io.Writer) error { return report.WriteOrganization(w, f, &org, opt) })
}
