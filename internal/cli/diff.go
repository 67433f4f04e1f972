package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/report"
)

func (a *app) diffCommand() *cobra.Command {
	var format string
	var onlyNew bool
	c := &cobra.Command{
		Use:   "diff BEFORE.json AFTER.json",
		Short: "Compare two audits: what is new, gone, still failing",
		Long: "diff compares two audits written by keyreeve audit -o json. Verdicts are told by their\n" +
			"fingerprint, so a report on disk and a live reading of the same account compare. What was not\n" +
			"read in the later audit is not called fixed.",
		Example: "  keyreeve audit -o json=today.json && keyreeve diff yesterday.json today.json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return misuse("keyreeve diff BEFORE.json AFTER.json", "diff takes two files, not %d", len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return a.diff(args[0], args[1], report.Format(format), onlyNew)
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "text", "`FORMAT`: text, json")
	c.Flags().BoolVar(&onlyNew, "fail-on-new", false, "exit with 3 only when something new fails, not for what still does")
	completeValues(c, "output", []string{"text", "json"})
	return c
}

func (a *app) diff(before, after string, format report.Format, onlyNew bool) error {
	if format != report.Text && format != report.JSON {
		return misuse("use text or json", "unknown output format %q", format)
	}
	was, wasVerdicts, err := a.readAudit(before)
	if err != nil {
		return err
	}
	is, isVerdicts, err := a.readAudit(after)
	if err != nil {
		return err
	}
	d := finding.Diff(wasVerdicts, isVerdicts)
	opt := report.Options{MaskKeys: a.global.maskKeys, Color: a.color(a.sys.Stdout), Width: a.width()}
	err = a.writeStdout(func(w io.Writer) error { return report.WriteDiff(w, format, d, was, is, opt) })
	switch {
	case err != nil:
		return err
	case !is.Complete:
		return &exitError{code: ExitIncomplete}
	case len(d.New) > 0 || len(d.Same) > 0 && !onlyNew:
		return &exitError{code: ExitFindings}
	default:
		return nil
	}
}

func (a *app) readAudit(path string) (*finding.Audit, []finding.Verdict, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, misuse("write it with keyreeve audit -o json="+path, "%v", err)
	}
	result, verdicts, err := report.ReadAudit(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, nil, asMisuse(fmt.Errorf("%q: %w", path, err))
	}
	return result, verdicts, nil
}
