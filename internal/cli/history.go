package cli

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/store"
)

// historyFlags are the flags of `keyreeve history`, as they were written.
type historyFlags struct {
	format, account, user, rule, severity, since string
	open, closed                                 bool
	limit                                        int
}

func (a *app) historyCommand() *cobra.Command {
	var f historyFlags
	c := &cobra.Command{
		Use:   "history",
		Short: "What failed, since when, and what became of it",
		Long: "history lists the verdicts that keyreeve serve and keyreeve audit --record have seen fail: when each was first\n" +
			"seen, whether it is open, and if not, when and why it closed: fixed, excepted (an accepted risk covers it now),\n" +
			"user gone, rule changed, account gone. What could not be judged stays open. Those that opened last come first.",
		Example: "  keyreeve history --open --severity high\n  keyreeve history --user ci-deploy\n  keyreeve history --account 111122223333 --rule key-age-90 -o json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			return a.listHistory(c.Context(), &f)
		},
	}
	fs := c.Flags()
	fs.StringVarP(&f.format, "output", "o", "text", "`FORMAT`: text, json")
	fs.StringVar(&f.account, "account", "", "only the account `ID`")
	fs.StringVar(&f.user, "user", "", "only the user `NAME`, whole")
	fs.StringVar(&f.rule, "rule", "", "only the rule `ID`, or an alias of it")
	fs.StringVar(&f.severity, "severity", "", "only this `SEVERITY`: low, medium, high, critical")
	fs.StringVar(&f.since, "since", "", "only what was open at some time from `TIME` on (RFC 3339, a date)")
	fs.BoolVar(&f.open, "open", false, "only what is open")
	fs.BoolVar(&f.closed, "closed", false, "only what has closed")
	fs.IntVar(&f.limit, "limit", 50, "most `VERDICTS` to list; 0: all")
	completeValues(c, "output", []string{"text", "json"})
	completeValues(c, "severity", []string{"low", "medium", "high", "critical"})
	completeLater(c, "rule", ruleIDs)
	return c
}

// filter checks the flags.
func (f *historyFlags) filter() (store.HistoryFilter, error) {
	out := store.HistoryFilter{Account: f.account, User: f.user, Open: f.open, Closed: f.closed}
	if f.rule != "" {
		var err error
		if out.Rules, err = rule.Resolve(f.rule); err != nil {
			out.Rules = []string{f.rule} // of a ruleset that is a file
		}
	}
	var errs []error
	if f.open && f.closed {
		errs = append(errs, misuse("leave one of them out", "--open and --closed exclude each other"))
	}
	errs = append(errs, checkAccount(f.account))
	if f.limit < 0 {
		errs = append(errs, misuse("use 0 for all", "--limit %d", f.limit))
	}
	if f.severity != "" {
		if out.Severity = finding.Severity(f.severity); !out.Severity.Valid() {
			errs = append(errs, misuse("use low, medium, high or critical", "unknown severity %q", f.severity))
		}
	}
	if f.since != "" {
		var err error
		out.From, err = parseTime(f.since)
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

func checkAccount(id string) error {
	if id != "" && !fact.IsAccountID(id) {
		return misuse("an account id has twelve digits", "--account %q", id)
	}
	return nil
}

func (a *app) listHistory(ctx context.Context, f *historyFlags) error {
	format, err := textOrJSON(f.format)
	if err != nil {
		return err
	}
	filter, err := f.filter()
	if err != nil {
		return asMisuse(err)
	}
	if f.limit > 0 {
		filter.Limit = f.limit + 1
	}
	var found []history.Entry
	db, err := a.openNamed(ctx)
	if err != nil {
		return err
	}
	if db != nil {
		defer func() { _ = db.Close() }()
		if found, err = db.History(ctx, filter); err != nil {
			return err
		}
	}
	more := f.limit > 0 && len(found) > f.limit
	if more {
		found = found[:f.limit]
	}
	slices.SortStableFunc(found, worstFirst)
	opt := a.reportOptions()
	return a.writeStdout(func(w io.Writer) error { return report.WriteHistory(w, format, found, more, a.sys.Now(), opt) })
}

// worstFirst orders entries of one opening instant, which the store gives by id: by severity, account, user.
func worstFirst(a, b history.Entry) int {
	return cmp.Or(b.OpenedAt.Compare(a.OpenedAt), cmp.Compare(b.Severity.Rank(), a.Severity.Rank()),
		strings.Compare(a.Account, b.Account), strings.Compare(a.User, b.User))
}

// trendFlags are the flags of `keyreeve trend`, as they were written.
type trendFlags struct {
	format, account, ou, span string
}

func (a *app) trendCommand() *cobra.Command {
	var f trendFlags
	c := &cobra.Command{
		Use:   "trend",
		Short: "How failing keys, their age and the time to fix went",
		Long: "trend tells by day how many keys fail a rule, the median age of active keys, what opened and closed, and the\n" +
			"median time that what was fixed had been open, from what keyreeve serve and keyreeve audit --record have seen.\n" +
			"An account counts as it was last judged, for a month. -o svg draws it.",
		Example: "  keyreeve trend\n  keyreeve trend --over 365d --ou Root/Workloads -o svg > trend.svg",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			return a.trend(c.Context(), &f)
		},
	}
	fs := c.Flags()
	fs.StringVarP(&f.format, "output", "o", "text", "`FORMAT`: text, json, svg")
	fs.StringVar(&f.account, "account", "", "only the account `ID`")
	fs.StringVar(&f.ou, "ou", "", "only the accounts of the organisational unit `PATH` and below, such as Root/Workloads")
	fs.StringVar(&f.span, "over", "30d", "the last `TIME`, such as 90d")
	completeValues(c, "output", []string{"text", "json", "svg"})
	return c
}

func (a *app) trend(ctx context.Context, f *trendFlags) error {
	format := report.Format(f.format)
	if format != report.SVG {
		var err error
		if format, err = textOrJSON(f.format); err != nil {
			return misuse("use text, json or svg", "unknown output format %q", f.format)
		}
	}
	over, err := parseFlagDuration("--over", f.span)
	if err := errors.Join(err, checkAccount(f.account)); err != nil {
		return asMisuse(err)
	}
	db, err := a.mustExist(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	now := a.sys.Now().UTC()
	from := now.Add(min(24*time.Hour-over, 0)) // days are whole: less than one is today
	points, err := db.Trend(ctx, store.TrendFilter{Account: f.account, OU: f.ou, From: from, To: now})
	if err != nil {
		return err
	}
	of := "all accounts"
	switch {
	case f.account != "":
		of = "account " + f.account
	case f.ou != "":
		of = "the accounts of " + f.ou
	}
	opt := a.reportOptions()
	return a.writeStdout(func(w io.Writer) error { return report.WriteTrend(w, format, points, of, opt) })
}
