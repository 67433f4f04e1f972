package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// planFlags are the flags of `keyreeve plan`, as they were written.
type planFlags struct {
	selectionFlags
	orgFlags
	out       string
	output    string
	only      []string
	users     []string
	account   string
	keep      []string
	allowUsed []string
	settling  string
	quiet     string
	trust     bool
	deleteNow bool
}

// planRequest is what the flags ask for, checked.
type planRequest struct {
	out     string
	format  report.Format
	account string
	judge   audit.Options
	read    collect.Options
	rate    float64
	make    plan.Options
	org     orgFlags
}

func (a *app) planCommand() *cobra.Command {
	var f planFlags
	c := &cobra.Command{
		Use:   "plan",
		Short: "Turn failing verdicts into an ordered, reviewable plan; changes nothing",
		Long: "plan reads the account live, user by user, judges it like audit, and says for every key that fails\n" +
			"what to do about it, why, who may notice, and whether it can be taken back. It changes nothing:\n" +
			"keyreeve apply carries out the file that --out names, after reading every key again.\n\n" +
			"Keys are deactivated first. What the journal says was deactivated and has been quiet for the\n" +
			"--quiet-period is proposed for deletion. Where a user has several active keys, the one that is shown to\n" +
			"work is kept; where more than one is in use, --keep decides. What cannot be planned is listed with\n" +
			"its reason.",
		Example: "  keyreeve plan --out plan.json\n" +
			"  keyreeve plan --user 'ci-*' --rule key-unused-90 --out plan.json\n" +
			"  keyreeve plan --only 3f9a1c2d --out narrow.json\n" +
			"  keyreeve plan --keep AKIAIOSFODNN7EXAMPLE --out plan.json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 && len(f.only) == 0 {
				return misuse("keyreeve plan --out plan.json reads the account; step ids follow --only", "unexpected argument %q", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			if err := f.check(c); err != nil {
				return asMisuse(err)
			}
			if f.org && !c.Flags().Changed("concurrency") {
				f.concurrency = accountsAtOnce
			}
			f.only = append(f.only, args...)
			p, err := a.planRequest(&f)
			if err != nil {
				return err
			}
			if p.org.org {
				return a.planOrganization(c.Context(), p)
			}
			return a.plan(c.Context(), p)
		},
	}
	f.selectionFlags.register(c)
	f.orgFlags.register(c)
	fs := c.Flags()
	fs.StringVar(&f.out, "out", "", "`FILE` to write the plan to, for keyreeve apply; with --org a directory, for a plan an account")
	fs.StringVarP(&f.output, "output", "o", "text", "`FORMAT` of standard output: text, json (the plan itself)")
	fs.StringSliceVar(&f.only, "only", nil, "only these steps, by `ID`")
	fs.StringSliceVar(&f.users, "user", nil, "only users with that `NAME`, glob or ARN")
	fs.StringVar(&f.account, "account", "", "refuse unless the credentials reach the account `ID`")
	fs.StringSliceVar(&f.keep, "keep", nil, "keep the key `KEYID` where several of a user are in use, deactivate the others")
	fs.StringSliceVar(&f.allowUsed, "allow-used", nil, "let the key `KEYID` go although it is its user's last active one and in use")
	fs.StringVar(&f.settling, "settling", "7d", "a key used within that `TIME` is in use")
	fs.StringVar(&f.quiet, "quiet-period", "7d", "delete a key only after it was inactive for that `TIME`")
	fs.BoolVar(&f.trust, "trust-inactive", false, "also delete inactive keys that the journal knows nothing of")
	fs.BoolVar(&f.deleteNow, "delete-now", false, "delete keys that were never used at once, without deactivating them first")
	completeValues(c, "output", []string{"text", "json"})
	return c
}

func (a *app) planRequest(f *planFlags) (*planRequest, error) {
	now := a.sys.Now().UTC().Truncate(time.Second)
	p := &planRequest{org: f.orgFlags, out: f.out, format: report.Format(f.output), account: f.account, rate: f.rate}
	p.read = collect.Options{Concurrency: f.concurrency, Now: a.sys.Now}
	p.judge = audit.Options{Version: a.version, AsOf: now}
	p.make = plan.Options{
		Only: f.only, Keep: f.keep, AllowUsed: f.allowUsed, TrustInactive: f.trust, DeleteNow: f.deleteNow,
	}
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	check(f.limits())
	if f.asOf != "" {
		p.judge.AsOf, err = parseTime(f.asOf)
		check(err)
		p.make.AsOf = p.judge.AsOf
	}
	p.make.Settling, err = parseFlagDuration("--settling", f.settling)
	check(err)
	p.make.Quiet, err = parseFlagDuration("--quiet-period", f.quiet)
	check(err)
	if p.format != report.Text && p.format != report.JSON {
		check(misuse("use text or json; --out writes the plan to a file", "unknown output format %q", p.format))
	}
	if a.global.maskKeys && (p.out != "" || p.format == report.JSON) {
		check(misuse("leave out --mask-keys, or --out and -o json", "a plan that is to be applied names its keys"))
	}
	switch {
	case f.org:
		check(f.checkOrganization())
	case p.out != "":
		check(checkOutputs([]output{{report.JSON, p.out}}, nil))
	}
	p.judge.Ruleset, err = loadRuleset(f.ruleset, f.rules)
	check(err)
	p.judge.Exceptions, err = a.loadExceptions(f.exceptions, p.judge.AsOf, p.judge.Ruleset)
	check(err)
	if len(f.users) > 0 {
		p.make.Users = func(name, arn string) bool {
			return slices.ContainsFunc(f.users, func(pattern string) bool { return rule.MatchesUser(pattern, name, arn) })
		}
	}
	if len(f.rules) > 0 && p.judge.Ruleset != nil {
		for i := range p.judge.Ruleset.Rules {
			p.make.Rules = append(p.make.Rules, p.judge.Ruleset.Rules[i].ID)
		}
	}
	p.make.Grace = graceOf(p.judge.Ruleset)
	if len(errs) > 0 {
		return nil, asMisuse(errors.Join(errs...))
	}
	return p, nil
}

// checkOrganization finds what makes sense for one account only.
func (f *planFlags) checkOrganization() error {
	var errs []error
	for _, one := range []struct {
		name string
		set  bool
	}{
		{"--only", len(f.only) > 0}, {"--keep", len(f.keep) > 0}, {"--allow-used", len(f.allowUsed) > 0}, {"--account", f.account != ""},
		{"-o json", f.output == string(report.JSON)},
	} {
		if one.set {
			errs = append(errs, misuse("plan that account alone, with a profile or a role of it", "%s is about one account, not about --org", one.name))
		}
	}
	return errors.Join(errs...)
}

// graceOf is how old a key must be, by the ruleset, before not having been used counts; the longest where rules differ.
func graceOf(rs *rule.Ruleset) time.Duration {
	var grace time.Duration
	if rs == nil {
		return 0
	}
	for i := range rs.Rules {
		if rs.Rules[i].Kind.Name == "key-never-used" {
			grace = max(grace, rs.Rules[i].Params.Grace)
		}
	}
	return grace
}

func (a *app) plan(ctx context.Context, p *planRequest) error {
	made, result, err := a.makePlan(ctx, p)
	if err != nil {
		return err
	}
	body, err := made.Encode()
	if err != nil {
		return err
	}
	if p.out != "" {
		if err := writeFile(p.out, func(w io.Writer) error { _, err := w.Write(body); return err }); err != nil {
			return err
		}
	}
	opt := report.Options{MaskKeys: a.global.maskKeys, Color: a.color(a.sys.Stdout), Width: a.width()}
	limit := plan.Limits{}.Allowed(result.Accounts[0].ActiveKeys)
	err = a.writeStdout(func(w io.Writer) error { return report.WritePlan(w, p.format, made, opt, a.sys.Now().UTC(), limit) })
	if err != nil {
		return err
	}
	a.tellGaps(result)
	if p.out != "" && len(made.Steps) > 0 && !a.global.quiet {
		a.say("wrote %s; next: keyreeve apply %s", p.out, p.out)
	}
	incomplete := slices.ContainsFunc(made.Accounts, func(acc plan.Account) bool { return !acc.Complete })
	if !result.Complete || incomplete {
		a.warn("the plan is incomplete: what was not read has no step")
		return &exitError{code: ExitIncomplete}
	}
	return nil
}

// makePlan reads the account, judges it and plans.
func (a *app) makePlan(ctx context.Context, p *planRequest) (*plan.Plan, *finding.Audit, error) {
	read, err := a.readToPlan(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	if p.make.Users != nil && read.snapshot.UsersRead && !slices.ContainsFunc(read.snapshot.Users, func(u fact.User) bool { return p.make.Users(u.Name, u.ARN) }) {
		return nil, nil, misuse("a name, a glob such as 'ci-*', or an ARN, matched whole", "no user of account %s matches --user", read.snapshot.Account.ID)
	}
	return a.planFrom(read, p)
}

// toPlan is what was read for a plan.
type toPlan struct {
	snapshot *fact.Snapshot
	input    plan.Input // without verdicts
}

// readToPlan reads the account, user by user, and what the journal knows of it.
func (a *app) readToPlan(ctx context.Context, p *planRequest) (*toPlan, error) {
	bar := a.progress()
	defer bar.stop()
	r, err := awsiam.Open(ctx, a.settings(p.read.Concurrency, p.rate))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	how := p.read
	how.Progress = bar.show
	read, err := a.readAccount(ctx, r, p, how)
	if ctx.Err() != nil {
		return nil, &interrupted{fmt.Sprintf("reading %s, after %d calls to AWS", bar.said(), r.Attempts())}
	}
	return read, err
}

// readAccount reads the account of r, user by user, and what the journal knows of it.
func (a *app) readAccount(ctx context.Context, r *awsiam.Reader, p *planRequest, how collect.Options) (*toPlan, error) {
	s, err := collect.Live(ctx, r, how)
	a.logCalls(r)
	switch {
	case err != nil:
		return nil, err
	case p.account != "" && p.account != s.Account.ID:
		return nil, &plan.Refusal{
			Guard: plan.GuardAccount, Why: fmt.Sprintf("the credentials reach account %s, not %s", s.Account.ID, p.account),
			Widen: "name a profile of that account with --profile",
		}
	}
	if err := checkSkew(r); err != nil {
		return nil, err
	}
	in := plan.Input{Version: a.version, Ruleset: p.judge.Ruleset.Name, Snapshot: s}
	if in.Caller, err = r.Caller(ctx); err != nil {
		return nil, err
	}
	if in.OwnKeys, err = r.KeyIDs(ctx); err != nil {
		return nil, err
	}
	if in.OwnUsers, err = r.SessionUsers(ctx); err != nil {
		return nil, err
	}
	book, err := a.book(ctx, s.Account.ID)
	if err != nil {
		return nil, err
	}
	in.Changes, in.Rotating = book.Changes, book.Rotating
	return &toPlan{s, in}, nil
}

// planFrom judges what was read, and plans.
func (a *app) planFrom(read *toPlan, p *planRequest) (*plan.Plan, *finding.Audit, error) {
	result, err := audit.Snapshot(read.snapshot, p.judge)
	if err != nil {
		return nil, nil, err
	}
	in := read.input
	for v := range result.Verdicts {
		in.Verdicts = append(in.Verdicts, *v)
	}
	in.Excepted = func(rules []string, u *fact.User, k *fact.Key) *finding.Exception {
		return p.judge.Exceptions.Covers(rules, &read.snapshot.Account, u, k)
	}
	p.make.Now = a.sys.Now().UTC()
	made, err := plan.Make(in, p.make)
	return made, result, err
}

// readPlan reads a plan from a file, - for standard input.
func (a *app) readPlan(path string) (*plan.Plan, error) {
	in := a.sys.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, misuse("keyreeve plan --out "+path+" writes one", "the plan: %v", err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	return plan.Decode(in)
}
