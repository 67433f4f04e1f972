package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/rule"
)

func (a *app) demoCommand() *cobra.Command {
	var asOf, html string
	var serve bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "The whole story on a built-in company, no AWS account needed",
		Long: "demo audits an invented company that lives in this program: a few dozen users with every kind\n" +
			"of trouble. It runs the same code as a live audit, over the AWS protocol on a loopback port,\n" +
			"calls nothing else, and writes a page. It exits with 0 although much fails there.",
		Example: "  keyreeve demo\n  keyreeve demo --html page.html\n" +
			"  keyreeve demo --serve    # try plan, apply and undo on it, from another terminal",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			now := a.sys.Now().UTC()
			if asOf != "" {
				t, err := parseTime(asOf)
				if err != nil {
					return err
				}
				now = t
			}
			if serve {
				return a.serveDemo(c.Context(), fakeaws.Demo(now))
			}
			return a.demo(c.Context(), fakeaws.Demo(now), html)
		},
	}
	c.Flags().StringVar(&html, "html", "keyreeve-demo.html", "`FILE` to write the page to")
	c.Flags().BoolVar(&serve, "serve", false, "serve the company on a loopback port until interrupted, for other commands to be tried on it")
	c.Flags().StringVar(&asOf, "as-of", "", "as if it were `TIME` (RFC 3339)")
	return c
}

func (a *app) demo(ctx context.Context, cloud *fakeaws.Cloud, html string) error {
	result, calls, err := a.auditCloud(ctx, cloud)
	if err != nil {
		return err
	}
	if err := writeFile(html, func(w io.Writer) error {
		return report.Write(w, report.HTML, result, report.Options{MaskKeys: a.global.maskKeys})
	}); err != nil {
		return err
	}
	opt := report.Options{MaskKeys: a.global.maskKeys, Color: a.color(a.sys.Stdout), Width: a.width(), DueWithin: demoDue}
	return a.writeStdout(func(w io.Writer) error {
		if err := report.Write(w, report.Text, result, opt); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, `
What happened: keyreeve asked an invented company for its credential report, judged every key by
the default ruleset, read the keys of the %d failing users live, and judged those again: %d calls in
all. Nothing left this machine.

  The same as a page                    %s
  One rule explained, with commands     keyreeve rules show key-created-with-user
  Your own account, read-only           keyreeve audit
  A credential report on disk           keyreeve audit report.csv
  What to do about it, changing nothing keyreeve plan
  Try plan, apply and undo on this one  keyreeve demo --serve
  The permissions that an audit needs   keyreeve iam-policy --for audit
`, calls[1], calls[0], html)
		return err
	})
}

// serveDemo lets other processes, keyreeve and the AWS CLI among them, work on the company.
func (a *app) serveDemo(ctx context.Context, cloud *fakeaws.Cloud) error {
	server, err := cloud.Start()
	if err != nil {
		return err
	}
	defer server.Close()
	_, err = fmt.Fprintf(a.sys.Stdout, `export AWS_ENDPOINT_URL=%s AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=demo AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
export XDG_STATE_HOME=$(mktemp -d)   # a journal of its own
`, server.URL, cloud.Accounts()[0].Credential())
	if err != nil {
		return err
	}
	a.say("the built-in company is served until Ctrl-C; in another terminal, run the two lines above, then:\n" +
		"  keyreeve plan --user samir.patel --out plan.json && keyreeve apply plan.json && keyreeve runs")
	<-ctx.Done()
	return nil
}

// demoDue is how far the demo looks ahead.
const demoDue = 14 * rule.Day

// auditCloud audits the first account of cloud over its own HTTP, as a live account is audited. calls are those
// made in all, and those for the keys of failing users.
func (a *app) auditCloud(ctx context.Context, cloud *fakeaws.Cloud) (_ *finding.Audit, calls [2]int, err error) {
	server, err := cloud.Start()
	if err != nil {
		return nil, calls, fmt.Errorf("open a loopback port for the demo: %w", err)
	}
	defer server.Close()
	ruleset, err := rule.Builtin("default")
	if err != nil {
		return nil, calls, err
	}
	s := a.settings(0, 0)
	s.Profile, s.Region, s.EndpointURL = "", "", server.URL
	s.Credentials = &awsiam.Credentials{ID: cloud.Accounts()[0].Credential(), Secret: fact.NewSecret("demo")}
	r, err := awsiam.Open(ctx, s)
	if err != nil {
		return nil, calls, err
	}
	defer r.Close()
	result, err := audit.Live(ctx, r,
		audit.LiveOptions{Options: collect.Options{Now: cloud.Now}, Evidence: fact.Report, Confirm: true},
		audit.Options{Version: a.version, Ruleset: ruleset, AsOf: cloud.Now(), DueWithin: demoDue})
	if err == nil && len(result.Accounts) == 0 {
		err = errors.New("the demo has no account")
	}
	calls = [2]int{r.Attempts(), r.Calls()["iam:ListAccessKeys"]}
	return result, calls, err
}
