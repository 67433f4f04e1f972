package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/store"
)

func (a *app) runsCommand() *cobra.Command {
	var format, account string
	var limit int
	c := &cobra.Command{
		Use:   "runs",
		Short: "The journal: what was intended, done and seen",
		Long: "runs lists what keyreeve changed in accounts, newest first. runs show RUN tells one run: who, when, from\n" +
			"which plan, and for each step what was intended, what AWS answered and what was seen afterwards. runs\n" +
			"export writes the journal as one file in which every entry holds the hash of the one before it, and\n" +
			"runs verify checks such a file, or the journal itself.",
		Example: "  keyreeve runs\n  keyreeve runs show 20261122T093000Z-5f3a1c -o json\n" +
			"  keyreeve runs export --out journal.json && keyreeve runs verify journal.json",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			return a.listRuns(c.Context(), format, account, limit)
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "text", "`FORMAT`: text, json")
	c.Flags().StringVar(&account, "account", "", "only runs in the account `ID`")
	c.Flags().IntVar(&limit, "limit", 20, "most `RUNS` to list; 0: all")
	completeValues(c, "output", []string{"text", "json"})
	c.AddCommand(a.runsShowCommand(), a.runsExportCommand(), a.runsVerifyCommand())
	return c
}

func (a *app) listRuns(ctx context.Context, format, account string, limit int) error {
	f, err := textOrJSON(format)
	if err != nil {
		return err
	}
	if limit < 0 {
		return misuse("use 0 for all", "--limit %d", limit)
	}
	if account != "" && !fact.IsAccountID(account) {
		return misuse("an account id has twelve digits", "--account %q", account)
	}
	var runs []journal.Run
	db, err := a.openNamed(ctx)
	if err != nil {
		return err
	}
	if db != nil {
		defer func() { _ = db.Close() }()
		if runs, err = db.Runs(ctx, store.RunFilter{Account: account, Limit: limit}); err != nil {
			return err
		}
	}
	opt := a.reportOptions()
	return a.writeStdout(func(w io.Writer) error { return report.WriteRuns(w, f, runs, opt) })
}

func (a *app) runsShowCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "show RUN",
		Short: "Tell one run: each step's intent, outcome and verification",
		Args:  oneArg("RUN", "keyreeve runs lists them"),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := textOrJSON(format)
			if err != nil {
				return err
			}
			run, err := a.findRun(c.Context(), args[0])
			if err != nil {
				return err
			}
			opt := a.reportOptions()
			return a.writeStdout(func(w io.Writer) error { return report.WriteRun(w, f, run, opt) })
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "text", "`FORMAT`: text, json")
	completeValues(c, "output", []string{"text", "json"})
	return c
}

func (a *app) runsExportCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "export",
		Short: "Write the journal as one tamper-evident JSON file",
		Long: "export writes every entry of the journal, each with the hash of the one before it. Whoever keeps the last\n" +
			"hash (runs verify prints it) can tell later that nothing before it was changed or removed.",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			if a.global.maskKeys {
				return misuse("leave out --mask-keys; runs show and runs show -o json can mask", "an export is evidence: with masked key ids its hashes would not hold")
			}
			return a.exportRuns(c.Context(), out)
		},
	}
	c.Flags().StringVar(&out, "out", "", "`FILE` to write (default: standard output)")
	return c
}

func (a *app) exportRuns(ctx context.Context, out string) error {
	db, err := a.mustExist(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	entries, err := db.Entries(ctx)
	if err != nil {
		return err
	}
	if err := journal.Verify(entries); err != nil {
		return &exitError{ExitFindings, fmt.Errorf("the journal %s was changed by somebody else: %w", db.Name(), err)}
	}
	doc := journal.NewExport(a.version, a.sys.Now(), entries)
	if out == "" {
		return a.writeStdout(doc.Encode)
	}
	return writeFile(out, doc.Encode)
}

func (a *app) runsVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify [FILE|-]",
		Short: "Check an exported journal, or the journal itself, for changes",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misuse("keyreeve runs verify FILE", "verify takes one file, not %d", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			doc, err := a.readExport(c.Context(), args)
			if err != nil {
				return err
			}
			sum, err := doc.Verify()
			if err != nil {
				return &exitError{ExitFindings, fmt.Errorf("changed since it was written: %w", err)}
			}
			_, err = fmt.Fprintf(a.sys.Stdout, "%d entries of %d runs, %s to %s: every link holds\nhead %s\n",
				sum.Entries, sum.Runs, journal.Stamp(sum.From), journal.Stamp(sum.To), sum.Head)
			return err
		},
	}
}

func (a *app) readExport(ctx context.Context, args []string) (*journal.Export, error) {
	if len(args) == 0 {
		db, err := a.mustExist(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { _ = db.Close() }()
		entries, err := db.Entries(ctx)
		if err != nil {
			return nil, err
		}
		return journal.NewExport(a.version, a.sys.Now(), entries), nil
	}
	in := a.sys.Stdin
	if args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return nil, misuse("keyreeve runs export --out FILE writes one", "the journal: %v", err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	return journal.DecodeExport(in)
}

// findRun finds a run by its id, or by the beginning of one.
func (a *app) findRun(ctx context.Context, id string) (*journal.Run, error) {
	db, err := a.openExisting(ctx)
	if err != nil {
		return nil, err
	}
	err = journal.ErrNoRun
	var run *journal.Run
	if db != nil {
		defer func() { _ = db.Close() }()
		run, err = db.Run(ctx, id)
	}
	if errors.Is(err, journal.ErrNoRun) {
		return nil, misuse("keyreeve runs lists them; --db names another journal", "no run %q", id)
	}
	return run, err
}
