package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/store"
)

// auditFlags are the flags of `keyreeve audit`, as they were written.
type auditFlags struct {
	selectionFlags
	orgFlags
	resume    bool
	outputs   []string
	framework string
	dueWithin string
	all       bool
	evidence  string
	confirm   string
	maxAge    string
	failOn    string
	record    bool
}

// confirmNew is the value of --confirm that trusts the history.
const confirmNew = "new"

// auditPlan is what the flags ask for, checked.
type auditPlan struct {
	outputs []output
	files   []audit.File
	failOn  finding.Severity // empty: never
	how     audit.LiveOptions
	opt     audit.Options
	rate    float64
	record  bool
	org     orgFlags
	resume  bool
	confirm string // as --confirm says

	left func(ctx context.Context, o *organization) error // hears which accounts there are; nil: nobody keeps that
}

func (a *app) auditCommand() *cobra.Command {
	var f auditFlags
	c := &cobra.Command{
		Use:   "audit [FILE|DIR|-]...",
		Short: "Judge access keys: a live account, or credential reports on disk",
		Long: "audit judges the access keys of the account that your credentials belong to, or of the\n" +
			"credential reports given: a CSV as AWS makes it, or the JSON reply of\n" +
			"aws iam get-credential-report, gzip or not. A directory is read for *.csv and *.json (and those\n" +
			"with .gz), - is standard input. Several reports are several accounts.\n\n" +
			"Live, it asks for the credential report: eight calls for the whole account, nine where AWS has to\n" +
			"make the report first or leaves root out of it. Then it reads the keys of failing users again, one\n" +
			"call each, so that findings carry key ids, and keys that were deactivated or deleted since the\n" +
			"report are not reported.\n\n" +
			"With --org it audits every account of an organisation as one, by a role in each, which keyreeve org\n" +
			"setup makes. An account that lets nobody in is a gap and exit 4, never a clean account, and the rest\n" +
			"is whole. A run that was broken off goes on with --resume.",
		Example: "  keyreeve audit\n" +
			"  keyreeve audit --profile prod --evidence live -o text -o html=keys.html\n" +
			"  keyreeve audit --org --ou Root/Workloads --external-id 7f3a -o summary\n" +
			"  keyreeve audit reports/ --ruleset cis-5.0 --framework cis-5.0 --fail-on high\n" +
			"  aws iam get-credential-report | keyreeve audit - --due-within 14d",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeReports,
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
			p, err := a.planAudit(c.Context(), &f, args)
			if err != nil {
				return err
			}
			return a.audit(c.Context(), p)
		},
	}
	fs := c.Flags()
	fs.StringArrayVarP(&f.outputs, "output", "o", nil, "`FORMAT[=PATH]`, repeatable: "+joinFormats()+" (default text)")
	f.selectionFlags.register(c)
	f.orgFlags.register(c)
	fs.BoolVar(&f.resume, "resume", false, "go on with the audit of the organisation that was broken off: what it has read of the last day is not read again")
	fs.StringVar(&f.framework, "framework", "", "add a scoreboard per control of the framework `NAME`, such as cis-5.0")
	fs.StringVar(&f.dueWithin, "due-within", "", "also list what starts to fail in that `TIME`, such as 14d, soonest first")
	fs.BoolVar(&f.all, "all", false, "also print passing verdicts")
	fs.StringVar(&f.evidence, "evidence", "report", "`KIND`: report, eight calls for the whole account; live, every user by calls of its own")
	fs.StringVar(&f.confirm, "confirm", "flagged", "`WHOM` to read again after the report, so that findings are of now: flagged; new, those whose failing keys the history does not know (with --record); never")
	fs.StringVar(&f.maxAge, "max-evidence-age", "", "evidence older than `TIME`, such as 24h, makes the audit incomplete (default: warn above 4h)")
	fs.StringVar(&f.failOn, "fail-on", "low", "exit with 3 from this `SEVERITY` on: low, medium, high, critical, never")
	fs.BoolVar(&f.record, "record", false, "keep what fails in the history (--db): keyreeve history and keyreeve trend tell of it")
	completeValues(c, "evidence", []string{"report", "live"})
	completeValues(c, "confirm", []string{"flagged", "new", "never"})
	completeValues(c, "fail-on", []string{"low", "medium", "high", "critical", "never"})
	completeLater(c, "framework", frameworkSlugs)
	return c
}

// planAudit checks the flags and reads the files that they name, before anything is judged.
func (a *app) planAudit(ctx context.Context, f *auditFlags, args []string) (*auditPlan, error) {
	now := a.sys.Now().UTC().Truncate(time.Second)
	p := &auditPlan{rate: f.rate, org: f.orgFlags, resume: f.resume, opt: audit.Options{Version: a.version, All: f.all, AsOf: now}}
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	p.outputs, err = parseOutputs(f.outputs)
	check(err)
	check(f.limits())
	if f.asOf != "" {
		p.opt.AsOf, err = parseTime(f.asOf)
		check(err)
	}
	p.opt.DueWithin, err = parseFlagDuration("--due-within", f.dueWithin)
	check(err)
	p.opt.MaxEvidenceAge, err = parseFlagDuration("--max-evidence-age", f.maxAge)
	check(err)
	p.failOn, err = parseFailOn(f.failOn)
	check(err)
	check(p.parseEvidence(f, len(args) > 0))
	p.opt.Ruleset, err = loadRuleset(f.ruleset, f.rules)
	check(err)
	if f.framework != "" && p.opt.Ruleset != nil {
		fw, err := rule.FindFramework(f.framework)
		check(err)
		if err == nil {
			p.opt.Framework = fw.Name
			p.opt.Ruleset = rule.WithFramework(p.opt.Ruleset, fw)
		}
	}
	p.opt.Exceptions, err = a.loadExceptions(f.exceptions, p.opt.AsOf, p.opt.Ruleset)
	check(err)
	p.files, err = a.findReports(ctx, args)
	check(err)
	check(checkOutputs(p.outputs, p.files))
	if f.org && len(args) > 0 {
		check(misuse("leave out the files, or --org", "reports on disk are no organisation"))
	}
	if p.record = f.record; f.record && (len(args) > 0 || f.asOf != "") {
		check(misuse("leave it out, or audit the account itself as of now", "--record keeps what is true of an account now: not of files, and not --as-of another time"))
	}
	if f.record && len(f.rules) > 0 {
		check(misuse("leave out --rule, or --record", "--record with a part of the rules would close what the others have found"))
	}
	if f.asOf == "" && len(args) == 0 {
		p.opt.AsOf = time.Time{} // when the account has been read
	}
	p.how.Options = collect.Options{Concurrency: f.concurrency, Now: a.sys.Now}
	p.opt.CountOnly = !slices.ContainsFunc(p.outputs, output.needsVerdicts)
	if len(errs) > 0 {
		return nil, asMisuse(errors.Join(errs...))
	}
	return p, nil
}

func parseEvidence(text string) (fact.Source, error) {
	switch text {
	case "report":
		return fact.Report, nil
	case "live":
		return fact.Live, nil
	default:
		return "", misuse("use report or live", "unknown evidence %q", text)
	}
}

func (p *auditPlan) parseEvidence(f *auditFlags, files bool) error {
	if files && f.evidence == "live" {
		return misuse("leave out the files, or --evidence live", "reports on disk are no live evidence")
	}
	var err error
	if p.how.Evidence, err = parseEvidence(f.evidence); err != nil {
		return err
	}
	switch p.confirm = f.confirm; p.confirm {
	case "flagged":
		p.how.Confirm = true
	case confirmNew:
		p.how.Confirm = true
		if !f.record {
			return misuse("add --record", "--confirm new goes by the history")
		}
	case "never":
	default:
		return misuse("use flagged, new or never", "unknown --confirm %q", f.confirm)
	}
	return nil
}

// audit carries out p and ends with the exit code of what it found.
func (a *app) audit(ctx context.Context, p *auditPlan) error {
	result, err := a.judge(ctx, p)
	if err != nil {
		return err
	}
	if err := a.render(result, p); err != nil {
		return err
	}
	a.tellPeople(result, p)
	return outcome(result, p.failOn)
}

// judge collects and judges, with progress for people.
func (a *app) judge(ctx context.Context, p *auditPlan) (*finding.Audit, error) {
	bar := a.progress()
	defer bar.stop()
	if len(p.files) > 0 {
		for i := range p.files {
			a.log().Debug("read a credential report", "file", p.files[i].Path)
			p.files[i].Open = bar.watch(p.files[i])
		}
		result, err := audit.Files(ctx, p.files, p.opt)
		if ctx.Err() != nil {
			return nil, &interrupted{"reading " + bar.said()}
		}
		return result, err
	}
	if p.record {
		db, err := a.openStore(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { _ = db.Close() }()
		var kept recorded
		defer func() {
			bar.stop()
			a.tellRecorded(&kept, db.Name(), p.opt.Ruleset.Name)
		}()
		p.how.Seen = recorder(db, p.opt, &kept)
		p.how.KnownIn = a.known(db, p.confirm == confirmNew)
		p.left = func(ctx context.Context, o *organization) error {
			gone, err := db.Leave(ctx, o.id, o.there, a.sys.Now())
			for i := range gone {
				kept.add(&gone[i])
			}
			return err
		}
	}
	if p.org.org {
		return a.auditOrganization(ctx, p, bar)
	}
	r, err := a.reader(ctx, p)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p.how.Progress = bar.show
	result, err := audit.Live(ctx, r, p.how, p.opt)
	a.logCalls(r)
	if ctx.Err() != nil {
		return nil, &interrupted{fmt.Sprintf("reading %s, after %d calls to AWS", bar.said(), r.Attempts())}
	}
	return result, err
}

// recorded counts what the history was given, of many accounts at once.
type recorded struct{ accounts, opened, closed, otherRules atomic.Int64 }

func (r *recorded) add(c *history.Changes) {
	r.accounts.Add(1)
	r.opened.Add(int64(len(c.Opened)))
	r.closed.Add(int64(len(c.Closed)))
	for i := range c.Closed {
		if c.Closed[i].Why == history.RuleChanged {
			r.otherRules.Add(1)
		}
	}
}

// tellRecorded says what was kept, of a run that was broken off too.
func (a *app) tellRecorded(kept *recorded, where, ruleset string) {
	if a.global.quiet || kept.accounts.Load() == 0 {
		return
	}
	a.say("recorded in %s: %d opened, %d closed", where, kept.opened.Load(), kept.closed.Load())
	if n := kept.otherRules.Load(); n > 0 {
		a.warn("in the history %s as rule-changed: ruleset %s does not ask what was asked before", closedVerdicts(n), ruleset)
	}
}

func closedVerdicts(n int64) string {
	if n == 1 {
		return "1 verdict was closed"
	}
	return fmt.Sprintf("%d verdicts were closed", n)
}

// recorder keeps what is judged of an account in the history, and counts what that changed.
func recorder(db *store.DB, opt audit.Options, kept *recorded) func(ctx context.Context, s *fact.Snapshot, asOf time.Time) error {
	opt.Exceptions = opt.Exceptions.Fresh() // what the history matches is not what is reported
	return func(ctx context.Context, s *fact.Snapshot, asOf time.Time) error {
		opt := opt
		opt.AsOf = asOf
		o, err := audit.Observe(s, opt)
		if err != nil {
			return err
		}
		c, err := db.Observe(ctx, o)
		if errors.Is(err, store.ErrOlder) {
			return nil // somebody judged it meanwhile, and knows better
		}
		if err == nil {
			kept.add(&c)
		}
		return err
	}
}

// known gives what the history knows of an account, its keys only if they are to count. Where it cannot be read, nothing is known:
// then all who fail are read again, and what the history knows better it keeps.
func (a *app) known(db *store.DB, keys bool) func(ctx context.Context, account string) *history.Known {
	return func(ctx context.Context, account string) *history.Known {
		known, err := db.Known(ctx, account)
		if err != nil {
			if ctx.Err() == nil {
				a.log().Warn("what the history knows was not read", "account", account, "error", err)
			}
			return nil
		}
		if !keys {
			known.Keys = nil
		}
		return known
	}
}

// render writes the files first, each whole or not at all, then standard output.
func (a *app) render(result *finding.Audit, p *auditPlan) error {
	opt := report.Options{MaskKeys: a.global.maskKeys, All: p.opt.All, DueWithin: p.opt.DueWithin}
	stdout := opt
	stdout.Color, stdout.Width = a.color(a.sys.Stdout), a.width()
	var last []output
	for _, o := range p.outputs {
		if o.path == "" {
			last = append(last, o)
			continue
		}
		if err := writeFile(o.path, func(w io.Writer) error { return report.Write(w, o.format, result, opt) }); err != nil {
			return err
		}
	}
	for _, o := range last {
		if err := a.writeStdout(func(w io.Writer) error { return report.Write(w, o.format, result, stdout) }); err != nil {
			return fmt.Errorf("write %s to standard output: %w", o.format, err)
		}
	}
	return nil
}

// width is that of the terminal, or of the variable COLUMNS; 0 where neither is known.
func (a *app) width() int {
	if w, ok := terminal(a.sys.Stdout); ok {
		return w
	}
	var w int
	if _, err := fmt.Sscanf(a.sys.Getenv("COLUMNS"), "%d", &w); err != nil || w < 40 {
		return 0
	}
	return w
}

// tellPeople repeats on standard error what a reader of standard output may not see: a pipe, a format
// without notes. On a terminal the text report has said it already.
func (a *app) tellPeople(result *finding.Audit, p *auditPlan) {
	_, onTerminal := terminal(a.sys.Stdout)
	shown := onTerminal && slices.ContainsFunc(p.outputs, func(o output) bool { return o.path == "" && o.format == report.Text })
	if shown {
		return
	}
	for _, n := range result.Notes {
		a.warn("%s", n)
	}
	for _, n := range result.NotJudged {
		a.warn("%s was not judged: %s", n.Rule, n.Why)
	}
	for _, n := range result.Exceptions {
		state := "is " + string(n.State)
		if n.State == finding.Unreadable {
			state = "needs live evidence: it names a key id or a tag"
		}
		a.warn("the exception of %s for %s at %s %s", n.Exception.Owner, n.Exception.Rule, n.Exception.Origin, state)
	}
	a.tellGaps(result)
	if !result.Complete {
		a.warn("the audit is incomplete: what was not read is unknown, not clean")
	}
}

// tellGaps tells what was not read, once a kind of reading: five thousand users denied are one line, and so are a thousand
// accounts that let nobody in.
func (a *app) tellGaps(result *finding.Audit) {
	count := map[string]int{}
	denied, shut, untold := false, false, false
	for _, acc := range result.Accounts {
		for _, g := range acc.Gaps {
			count[g.Reading]++
			shut = shut || g.Reading == "AssumeRole"
			untold = untold || g.Denied && g.Reading == accountTags
			denied = denied || g.Denied && g.Reading != "AssumeRole" && g.Reading != accountTags
		}
	}
	for _, acc := range result.Accounts {
		for _, g := range acc.Gaps {
			n := count[g.Reading]
			delete(count, g.Reading)
			if n > 0 {
				a.warn("not read: %s", a.gapText(g, n-1))
			}
		}
	}
	if a.global.quiet {
		return
	}
	if denied {
		a.say("hint: keyreeve iam-policy --for audit prints the policy that an audit needs")
	}
	if untold {
		a.say("hint: keyreeve iam-policy --for org prints the policy that reading the organisation needs")
	}
	if shut {
		a.say("hint: keyreeve org setup prints what makes the role in each account; --org-role and --external-id say which it is")
	}
}

// gapText words a gap and how many more there are of its reading.
func (a *app) gapText(g fact.Gap, more int) string {
	text := fmt.Sprintf("%s of account %s: %s", g.Reading, g.Account, g.Why)
	if g.Subject != "" {
		text = fmt.Sprintf("%s of %q in account %s: %s", g.Reading, g.Subject, g.Account, g.Why)
	}
	if more > 0 {
		text += fmt.Sprintf("; and %d more of the kind", more)
	}
	return text
}

// outcome is the exit code: incomplete wins over findings.
func outcome(result *finding.Audit, failOn finding.Severity) error {
	switch {
	case !result.Complete:
		return &exitError{code: ExitIncomplete}
	case failOn != "" && result.Worst().Rank() >= failOn.Rank():
		return &exitError{code: ExitFindings}
	default:
		return nil
	}
}

func parseFailOn(s string) (finding.Severity, error) {
	if s == "never" {
		return "", nil
	}
	if sev := finding.Severity(s); sev.Valid() {
		return sev, nil
	}
	return "", misuse("use low, medium, high, critical or never", "unknown --fail-on %q", s)
}

// parseTime reads an instant; a date alone is its first instant in UTC.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil && t.Unix() >= 0 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, misuse("write RFC 3339 from 1970 on, such as 2026-11-22T00:00:00Z", "%q is no time", s)
}

func parseFlagDuration(flag, s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := rule.ParseDuration(s)
	if err == nil && d == 0 {
		err = errors.New("no time at all")
	}
	if err != nil {
		return 0, misuse("write days, hours, minutes, seconds, such as 14d or 36h", "%s: %v", flag, err)
	}
	return d, nil
}

func frameworkSlugs() []string {
	var out []string
	for _, f := range rule.Frameworks() {
		out = append(out, f.Slug)
	}
	return out
}

// asMisuse gives an error of input that has no code of its own the one for misuse.
func asMisuse(err error) error {
	return &exitError{ExitMisuse, err}
}

func completeValues(c *cobra.Command, flag string, values []string) {
	// The only failure is a flag that does not exist or is completed twice: a test runs every command.
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}

// completeLater is completeValues for a list that takes time to make: only completion itself pays for it.
func completeLater(c *cobra.Command, flag string, values func() []string) {
	later := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values(), cobra.ShellCompDirectiveNoFileComp
	}
	if err := c.RegisterFlagCompletionFunc(flag, later); err != nil {
		panic(err) // as in completeValues
	}
}

func completeReports(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"csv", "json", "gz"}, cobra.ShellCompDirectiveFilterFileExt
}
