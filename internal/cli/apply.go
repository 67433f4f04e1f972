package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/apply"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

// writerFlags name the credentials that may change the account.
type writerFlags struct {
	profile  string
	role     string
	external string // id that the role asks for; empty: none
}

func (f *writerFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.profile, "remediate-profile", "", "`NAME` of the AWS profile that may change keys (default: --profile)")
	c.Flags().StringVar(&f.role, "remediate-role", "", "`ARN` of a role to assume for the changes")
	c.Flags().StringVar(&f.external, "remediate-external-id", "", "`ID` that the role asks for")
}

// applyFlags are the flags of `keyreeve apply`, as they were written.
type applyFlags struct {
	writerFlags
	yes        bool
	dryRun     bool
	maxSteps   int
	maxShare   string
	steps      bool // --max-steps was given
	share      bool // --max-share was given
	maxAge     string
	allowUsed  []string
	exceptions string
}

func (a *app) applyCommand() *cobra.Command {
	var f applyFlags
	c := &cobra.Command{
		Use:   "apply PLAN",
		Short: "Carry out a plan, step by step, re-checking each",
		Long: "apply carries out what is due of a plan that keyreeve plan wrote. Before each step it reads the user's\n" +
			"keys and the key's last use again: what is not exactly as the plan expects is left alone, exit 5. Each\n" +
			"intention is in the journal before the call, the answer and what is seen afterwards follow. Ctrl-C\n" +
			"finishes the step under way. Its last line names the run, for keyreeve undo and keyreeve runs show.\n\n" +
			"It refuses, exit 6: a plan that was edited, is older than --max-plan-age or of another account; more\n" +
			"steps than --max-steps; credentials that lack a permission, before the first step.",
		Example: "  keyreeve apply plan.json\n" +
			"  keyreeve apply plan.json --remediate-profile keyreeve-write --yes\n" +
			"  keyreeve apply plan.json --dry-run",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misuse("keyreeve plan --out plan.json writes one", "apply takes one plan, not %d", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			f.steps, f.share = c.Flags().Changed("max-steps"), c.Flags().Changed("max-share")
			return a.apply(c.Context(), &f, args[0])
		},
	}
	f.register(c)
	fs := c.Flags()
	fs.BoolVar(&f.yes, "yes", false, "do not ask")
	fs.BoolVar(&f.dryRun, "dry-run", false, "do everything but the changes; no run is recorded")
	fs.IntVar(&f.maxSteps, "max-steps", 0, "most `STEPS` in one run (default: 10 % of the active keys, at least 3, at most 25)")
	fs.StringVar(&f.maxShare, "max-share", "10%", "most steps in one run, as a `SHARE` of the account's active keys")
	fs.StringVar(&f.maxAge, "max-plan-age", "24h", "oldest plan, in `TIME`")
	fs.StringSliceVar(&f.allowUsed, "allow-used", nil, "let the key `KEYID` go although it is its user's last active one and in use")
	fs.StringVar(&f.exceptions, "exceptions", "", "accepted risks, a YAML `FILE`: what they cover by now is left alone")
	return c
}

func (a *app) apply(ctx context.Context, f *applyFlags, path string) error {
	opt, err := applyOptions(f)
	if err != nil {
		return err
	}
	p, err := a.readPlan(path)
	if err != nil {
		return err
	}
	if err := knownKeys(p, f.allowUsed); err != nil {
		return err
	}
	if err := a.mayAsk(f.yes || f.dryRun, path == "-"); err != nil {
		return err
	}
	c := &change{writerFlags: f.writerFlags, exceptions: f.exceptions, opt: opt}
	c.agree = func(account string) error {
		if err := apply.Check(p, account, a.sys.Now().UTC(), opt.MaxAge); err != nil || f.yes || f.dryRun {
			return err
		}
		return a.confirm(ctx, p)
	}
	c.work = func(e *apply.Engine, opt apply.Options) (*apply.Result, error) { return e.Apply(ctx, p, opt) }
	orders, err := a.rotations(p)
	if err != nil || len(orders) == 0 {
		return errors.Join(err, a.change(ctx, c))
	}
	return a.applyWithRotations(ctx, c, p, orders, f)
}

// rotations are the rotations that the plan asks for, where the settings say where new keys go at all.
func (a *app) rotations(p *plan.Plan) ([]rotate.Order, error) {
	set, _, err := a.readConfig(a.sys.Now())
	if err != nil {
		return nil, asMisuse(err)
	}
	if set.Entries() == 0 {
		return nil, nil
	}
	return ordersOf(p, ""), nil
}

// applyWithRotations carries out what a run does, then begins the rotations. Those count as steps of the run.
func (a *app) applyWithRotations(ctx context.Context, c *change, p *plan.Plan, orders []rotate.Order, f *applyFlags) error {
	steps := 0
	for i := range p.Steps {
		if s := &p.Steps[i]; !s.Open() && s.Action != plan.Rotate {
			steps++
		}
	}
	active := 0
	for i := range p.Accounts {
		active += p.Accounts[i].ActiveKeys
	}
	if err := c.opt.Limits.Check(len(p.Due(a.sys.Now().UTC()))+len(orders), active); err != nil {
		return err
	}
	var err error
	c.begun = true
	if steps > 0 {
		if err = a.change(ctx, c); err != nil && !errors.As(err, new(*exitError)) {
			return err
		}
	}
	if c.opt.DryRun {
		a.say("dry run: %d rotations would be begun", len(orders))
		return err
	}
	r, openErr := a.rotating(ctx, f.writerFlags)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	defer r.close()
	if steps == 0 {
		if err := c.agree(r.engine.Caller.Account.ID); err != nil {
			return err
		}
	}
	return errors.Join(err, a.begin(ctx, r, orders))
}

// knownKeys refuses a key id that no step of the plan is about: mostly a slip.
func knownKeys(p *plan.Plan, ids []string) error {
	for _, id := range ids {
		if !slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.KeyID == id }) {
			return misuse("name a key that a step of the plan is about", "--allow-used %s: no step of the plan is about that key", id)
		}
	}
	return nil
}

func applyOptions(f *applyFlags) (apply.Options, error) {
	opt := apply.Options{AllowUsed: f.allowUsed, DryRun: f.dryRun}
	var errs []error
	if f.steps {
		opt.Limits.Steps = f.maxSteps
		if f.maxSteps < 1 {
			errs = append(errs, misuse("use 1 or more", "--max-steps %d", f.maxSteps))
		}
	}
	var err error
	if f.share {
		if opt.Limits.Share, err = parseShare(f.maxShare); err != nil {
			errs = append(errs, err)
		}
	}
	if opt.MaxAge, err = parseFlagDuration("--max-plan-age", f.maxAge); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return opt, asMisuse(errors.Join(errs...))
	}
	return opt, nil
}

// parseShare reads 20% or 0.2.
func parseShare(s string) (float64, error) {
	number, percent := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v > 0 && v <= 1) || !percent && v == 1 {
		return 0, misuse("write a share such as 20%", "--max-share %q", s)
	}
	return v, nil
}

// change is what apply and undo have in common.
type change struct {
	writerFlags
	exceptions string // file
	opt        apply.Options
	// agree refuses the account, or asks a person, before the journal is made and the account locked.
	agree func(account string) error
	begun bool // rotations of the plan are begun beside the run
	work  func(e *apply.Engine, opt apply.Options) (*apply.Result, error)
}

// change opens what a run needs, has it done, and tells how it went.
func (a *app) change(ctx context.Context, c *change) error {
	exceptions, err := a.loadExceptions(c.exceptions, a.sys.Now(), nil)
	if err != nil {
		return asMisuse(err)
	}
	w, err := awsiam.OpenWriter(ctx, a.writerSettings(c.writerFlags))
	if err != nil {
		return err
	}
	defer w.Close()
	caller, err := w.Caller(ctx)
	if err != nil {
		return err
	}
	if err := checkSkew(w); err != nil {
		return err
	}
	if err := c.agree(caller.Account.ID); err != nil {
		return err
	}
	db, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // each entry was committed when it was written
	e, err := a.engine(ctx, w, caller, db)
	if err != nil {
		return err
	}
	if !c.opt.DryRun {
		release, err := db.Lock(ctx, caller.Account.ID, fmt.Sprintf("run %s, process %d on %s", e.RunID, e.PID, e.Host))
		if err != nil {
			return err
		}
		defer release()
	}
	c.opt.Excepted = func(rules []string, u *fact.User, k *fact.Key) *finding.Exception {
		return exceptions.Covers(rules, &caller.Account, u, k)
	}
	bar := a.progress()
	defer bar.stop()
	done := 0
	e.Told = func(s *journal.Step) {
		done++
		bar.show("steps", done, 0)
		a.log().Info("step", "id", s.ID, "action", s.Action, "user", s.User, "status", s.Status())
	}
	e.Doing = func(what string) { bar.show(what, 0, 0) }
	result, err := c.work(e, c.opt)
	bar.stop()
	switch {
	case result == nil && ctx.Err() != nil:
		return &exitError{ExitBroke, errors.New("interrupted before the first step: no key was changed")}
	case result == nil:
		return err
	}
	if c.begun {
		result.Rotations = nil
	}
	return a.tellRun(result, c.opt.DryRun, err)
}

// mostSkew is what AWS tolerates before it refuses signatures, less a margin.
const mostSkew = 4 * time.Minute

// checkSkew refuses a clock that is far off AWS's: the SDK signs by AWS's time then, and all seems well, but quiet periods
// and ages would be measured by ours.
func checkSkew(c interface{ Skew() (time.Duration, bool) }) error {
	skew, ok := c.Skew()
	if !ok || skew.Abs() <= mostSkew {
		return nil
	}
	return &plan.Refusal{
		Guard: plan.GuardClock, Why: fmt.Sprintf("this machine's clock is %s off AWS's", skew.Abs().Round(time.Second)),
		Widen: "set it: ages and quiet periods are measured by it",
	}
}

// engine wires the account and the journal.
func (a *app) engine(ctx context.Context, w *awsiam.Writer, caller fact.Caller, db *store.DB) (*apply.Engine, error) {
	own, err := w.KeyIDs(ctx)
	if err != nil {
		return nil, err
	}
	users, err := w.SessionUsers(ctx)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return &apply.Engine{
		Account: w, Journal: db, Caller: caller, OwnKeys: own, OwnUsers: users,
		Now: a.sys.Now, Wait: a.wait, RunID: newRunID(a.sys.Now()), Version: a.version, Host: host, PID: os.Getpid(),
	}, nil
}

// wait pauses for d, or until ctx ends.
func (a *app) wait(ctx context.Context, d time.Duration) error {
	if a.sys.Wait != nil {
		return a.sys.Wait(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// newRunID sorts by time and is hard to hit twice: 20261122T093000Z-5f3a1c.
func newRunID(now time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return now.UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(b[:])
}

func (a *app) writerSettings(f writerFlags) awsiam.Settings {
	s := a.settings(0, 0)
	if f.profile != "" {
		s.Profile = f.profile
	}
	s.RoleARN, s.ExternalID = f.role, f.external
	return s
}

// tellRun writes what became of each step, then the line that names the run, and chooses the exit code. broke is what
// ended the run early, if anything did: the journal could not be written.
func (a *app) tellRun(r *apply.Result, dry bool, broke error) error {
	opt := a.reportOptions()
	err := a.writeStdout(func(w io.Writer) error {
		if err := report.WriteOutcome(w, r.Run, opt); err != nil {
			return err
		}
		if dry {
			_, err := fmt.Fprintln(w, "dry run: nothing was changed")
			return err
		}
		_, err := fmt.Fprintf(w, "run %s\n", r.Run.ID)
		return err
	})
	for _, why := range r.Unresolved {
		a.warn("%s; its key is left alone", why)
	}
	if n := len(r.Rotations); n > 0 {
		a.warn("%s of the plan to be rotated, and the settings do not say where new keys go: see rotation: in docs/rotation.md", countKeys(n))
	}
	if n := len(r.Undecided); n > 0 {
		a.warn("%s: keyreeve plan --keep KEYID", waiting(n))
	}
	switch code := runCode(r.Run); {
	case broke != nil:
		return &exitError{max(code, ExitBroke), fmt.Errorf("the run ended early: %w\nhint: the next apply or undo looks at the account first", broke)}
	case err != nil:
		return err
	case r.Interrupted && code != ExitPartly:
		return &exitError{ExitBroke, errors.New("interrupted: the step under way was finished\nhint: the same command goes on")}
	case code == ExitStale:
		return &exitError{code, errors.New("the account moved since the plan: some steps were left alone\nhint: plan again")}
	case code != ExitOK:
		return &exitError{code: code}
	default:
		return nil
	}
}

// runCode is the exit code of a run: what failed wins over what was stale, that over what was refused. A step that was left
// because of another one says what that one says.
func runCode(run *journal.Run) int {
	worst := ExitOK
	rank := map[int]int{ExitOK: 0, ExitRefused: 1, ExitStale: 2, ExitPartly: 3}
	for i := range run.Steps {
		code := ExitOK
		switch run.Steps[i].Status() {
		case journal.StatusFailed, journal.StatusConflict, journal.StatusUnresolved, journal.StatusUnread:
			code = ExitPartly
		case journal.StatusStale:
			code = ExitStale
		case journal.StatusRefused, journal.StatusBeyond:
			code = ExitRefused
		default: // done, or not to be done now
		}
		if rank[code] > rank[worst] {
			worst = code
		}
	}
	return worst
}

// errNotConfirmed ends a run that a person did not agree to.
var errNotConfirmed = &exitError{ExitRefused, errors.New("not confirmed: nothing was changed")}

// mayAsk refuses to go on where nobody can be asked.
func (a *app) mayAsk(agreed, stdinTaken bool) error {
	if agreed || a.interactive() && !stdinTaken {
		return nil
	}
	if stdinTaken {
		return misuse("say --yes, or give the plan as a file", "standard input is the plan: nobody can be asked")
	}
	return misuse("look at the plan, then say --yes; --dry-run changes nothing", "there is no terminal to ask on")
}

// interactive tells whether a person can be asked.
func (a *app) interactive() bool {
	in, isFile := a.sys.Stdin.(*os.File)
	if !isFile {
		return false
	}
	_, onTerminal := terminal(in)
	_, errTerminal := terminal(a.sys.Stderr)
	return onTerminal && errTerminal
}

// confirm shows what will happen and asks for yes.
func (a *app) confirm(ctx context.Context, p *plan.Plan) error {
	opt := report.Options{MaskKeys: a.global.maskKeys, Color: a.color(a.sys.Stderr)}
	if w, ok := terminal(a.sys.Stderr); ok {
		opt.Width = w
	}
	if err := report.WritePlan(a.sys.Stderr, report.Text, p, opt, a.sys.Now().UTC(), 0); err != nil {
		return err
	}
	final := false
	for i := range p.Steps {
		if s := &p.Steps[i]; !s.Reversible && !a.sys.Now().Before(s.NotBefore) {
			if !final {
				a.say("\nThese cannot be undone:")
			}
			final = true
			a.say("  %s %s of user %q", s.Action, s.KeyID, s.User)
		}
	}
	return a.ask(ctx, "\nCarry out this plan? Only yes is accepted: ")
}

// ask asks a question; what is not yes is an error.
func (a *app) ask(ctx context.Context, question string) error {
	_, _ = fmt.Fprint(a.sys.Stderr, question)
	in := interruptible(ctx, func() (io.Reader, error) { return a.sys.Stdin, nil })
	answer, _ := bufio.NewReader(in).ReadString('\n') // no answer is a no
	switch {
	case ctx.Err() != nil:
		return &exitError{ExitBroke, errors.New("interrupted: nothing was changed")}
	case strings.TrimSpace(answer) != "yes":
		return errNotConfirmed
	default:
		return nil
	}
}

func countKeys(n int) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}

func waiting(n int) string {
	if n == 1 {
		return "1 user of the plan waits for a choice"
	}
	return fmt.Sprintf("%d users of the plan wait for a choice", n)
}
