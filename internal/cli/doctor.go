package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/seal"
)

// check is one thing that the program needs, and whether it has it.
type check struct {
	name string
	err  error  // nil: it is there
	told string // what was found, or why it was not tried
	idle bool   // not tried: what it needs is not there, which is no fault
}

func (a *app) doctorCommand() *cobra.Command {
	var f writerFlags
	var user string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Can it do its work here: credentials, each permission, report, clock, settings, journal",
		Long: "doctor makes each call of the audit once and tells which succeed. It reads only, and judges\n" +
			"nothing. With --remediate-profile or --remediate-role it also asks, without changing anything,\n" +
			"whether those credentials may do what apply does. Targets of rotations are asked whether they would\n" +
			"take a key for --user. It exits with 0 when all is there, else with 1.",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.doctor(c.Context(), f, user) },
	}
	f.register(c)
	c.Flags().StringVar(&user, "user", "", "the user `NAME` to ask about changes and rotation targets (default: the first)")
	return c
}

func (a *app) doctor(ctx context.Context, f writerFlags, user string) error {
	checks := append([]check{a.checkSettings()}, a.checkJournal(ctx)...)
	r, err := awsiam.Open(ctx, a.settings(0, 0))
	if err != nil {
		checks = append(checks, check{name: "credentials", err: err})
	} else {
		checks = append(checks, a.checkAccount(ctx, r)...)
		if user == "" {
			user, _ = firstUser(ctx, r) // its failure is among the checks
		}
		r.Close()
	}
	if f.profile != "" || f.role != "" {
		checks = append(checks, a.checkWriter(ctx, f, user)...)
	}
	checks = append(checks, a.checkTargets(ctx, f, user)...)
	if ctx.Err() != nil {
		return &interrupted{"checking the account"}
	}
	failed, denied := 0, false
	for _, c := range checks {
		state := "ok  "
		switch {
		case c.err != nil:
			state = "FAIL"
			failed++
			denied = denied || errors.Is(c.err, fact.ErrDenied)
			c.told = c.err.Error()
		case c.idle:
			state = "-   "
		}
		told := strings.ReplaceAll(c.told, "\n", "\n                                  ")
		if _, err := fmt.Fprintf(a.sys.Stdout, "%s  %-28s%s\n", state, c.name, told); err != nil {
			return err
		}
	}
	if failed == 0 {
		return nil
	}
	err = fmt.Errorf("%d of %d checks failed", failed, len(checks))
	if denied {
		err = fmt.Errorf("%w\nhint: keyreeve iam-policy prints the policies that audit and apply need", err)
	}
	return &exitError{ExitBroke, err}
}

func (a *app) checkSettings() check {
	c, path, err := a.readConfig(a.sys.Now())
	switch {
	case err != nil:
		return check{name: "settings file", err: err}
	case path == "":
		return check{name: "settings file", told: "none, which is fine", idle: true}
	}
	return check{name: "settings file", told: settingsTold(path, c)}
}

// checkJournal opens the journal, if there is one, and checks its chain. One on a server may be shared by machines: then
// each needs the key that secrets are sealed with.
func (a *app) checkJournal(ctx context.Context) []check {
	const name = "journal"
	db, err := a.openExisting(ctx)
	switch {
	case err != nil:
		return []check{{name: name, err: err}}
	case db == nil:
		return []check{{name: name, told: "none yet; keyreeve apply makes it", idle: true}}
	}
	defer func() { _ = db.Close() }() // only read
	checks := []check{{name: name, told: db.Name() + ", every link holds", err: db.Check(ctx)}}
	if db.Path() == "" && a.sys.Getenv(seal.KeyVariable) == "" {
		told := "that of this machine alone; set " + seal.KeyVariable + " alike on all that rotate with this journal"
		checks = append(checks, check{name: "seal key", told: told, idle: true})
	}
	return checks
}

// checkWriter asks whether the credentials for changes may make them, by calls about a key that cannot exist.
func (a *app) checkWriter(ctx context.Context, f writerFlags, user string) []check {
	const name = "credentials for changes"
	w, err := awsiam.OpenWriter(ctx, a.writerSettings(f))
	if err != nil {
		return []check{{name: name, err: err}}
	}
	defer w.Close()
	caller, err := w.Caller(ctx)
	if err != nil {
		return []check{{name: name, err: err}}
	}
	checks := []check{{name: name, told: caller.ARN}}
	if user == "" {
		return append(checks, check{name: "permission for changes", told: "not tried: no user to ask about", idle: true})
	}
	_, err = w.User(ctx, user)
	checks = append(checks, check{name: "iam:GetUser", told: fmt.Sprintf("of %q", user), err: err})
	_, err = w.Quarantined(ctx, caller.Account.Partition)
	checks = append(checks, check{name: "iam:ListEntitiesForPolicy", told: "users with an exposed key", err: err})
	keys, err := w.Keys(ctx, user)
	checks = append(checks, check{name: "iam:ListAccessKeys", told: fmt.Sprintf("%s of %q", counted(len(keys), "key"), user), err: err})
	if len(keys) > 0 {
		use, err := w.LastUse(ctx, keys[0].ID)
		checks = append(checks, check{name: "iam:GetAccessKeyLastUsed", told: "last use of a key: " + use.At.String(), err: err})
	}
	told := fmt.Sprintf("allowed for %q; nothing was changed", user)
	return append(checks, check{name: "iam:UpdateAccessKey", told: told, err: w.MaySetActive(ctx, user)},
		check{name: "iam:DeleteAccessKey", told: told, err: w.MayDelete(ctx, user)})
}

// checkTargets asks, for the first user, every target that the settings name for it whether it would take a key.
func (a *app) checkTargets(ctx context.Context, f writerFlags, user string) []check {
	set, _, err := a.readConfig(a.sys.Now())
	if err != nil || set.Targets() == 0 || user == "" {
		return nil // told above, or nothing to ask
	}
	w, err := awsiam.OpenRotator(ctx, a.writerSettings(f))
	if err != nil {
		return []check{{name: "credentials for rotations", err: err}}
	}
	defer w.Close()
	u, err := w.User(ctx, user)
	if err != nil {
		return []check{{name: "targets of rotations", err: err}}
	}
	p := a.places(set, f, "", &seal.Box{}, os.TempDir())
	defer p.close()
	var o rotate.Order
	if err := p.order(ctx, u, &o); err != nil {
		return []check{{name: "targets of rotations", err: err}}
	}
	if len(o.Targets) == 0 {
		return []check{{name: "targets of rotations", told: fmt.Sprintf("not tried: the settings name none for %q", user), idle: true}}
	}
	var checks []check
	for i := range o.Targets {
		c := check{name: "target " + o.Targets[i].Name, told: o.Targets[i].Where}
		c.err = p.open[o.Targets[i].Name+" "+u.Name].Preflight(ctx)
		checks = append(checks, c)
	}
	return checks
}

// checkAccount makes each call of the audit once.
func (a *app) checkAccount(ctx context.Context, r *awsiam.Reader) []check {
	caller, err := r.Caller(ctx)
	if err != nil {
		return []check{{name: "credentials", err: err}}
	}
	checks := []check{{name: "credentials", told: caller.ARN}, a.checkClock(r)}
	add := func(name, told string, err error) { checks = append(checks, check{name: name, told: told, err: err}) }

	alias, err := r.Alias(ctx)
	add("iam:ListAccountAliases", orNone(alias), err)
	has, err := r.RootHasKeys(ctx)
	add("iam:GetAccountSummary", "root has keys: "+fact.YesNo(has).String(), err)
	exposed, err := r.Quarantined(ctx, caller.Account.Partition)
	add("iam:ListEntitiesForPolicy", counted(len(exposed), "user")+" with an exposed key", err)
	checks = append(checks, a.checkReport(ctx, r))

	first, err := firstUser(ctx, r)
	add("iam:ListUsers", "first user: "+orNone(first), err)
	if err != nil {
		return checks // whom to ask about is not known
	}
	return append(checks, checkUser(ctx, r, first)...)
}

// checkClock compares the clocks: ages are judged by ours, dates are AWS's.
func (a *app) checkClock(r *awsiam.Reader) check {
	skew, ok := r.Skew()
	switch {
	case !ok:
		return check{name: "clock", told: "AWS did not say what time it is", idle: true}
	case skew.Abs() > mostSkew:
		return check{name: "clock", err: fmt.Errorf("this machine's clock is %s off AWS's\nhint: set it; AWS refuses calls that are five minutes off", skew.Abs().Round(time.Second))}
	default:
		return check{name: "clock", told: "within " + (skew.Abs() + time.Second).Truncate(time.Second).String() + " of AWS's"}
	}
}

func (a *app) checkReport(ctx context.Context, r *awsiam.Reader) check {
	const name = "credential report"
	body, generated, err := r.Report(ctx)
	if err != nil {
		return check{name: name, err: err}
	}
	return check{name: name, told: fmt.Sprintf("%d bytes, made %s", len(body), generated.UTC().Format(time.RFC3339))}
}

// checkUser makes the calls of live evidence about one user.
func checkUser(ctx context.Context, r *awsiam.Reader, user string) []check {
	names := [...]string{"iam:ListAccessKeys", "iam:GetLoginProfile", "iam:ListUserTags", "iam:GetAccessKeyLastUsed"}
	var checks []check
	if user == "" {
		for _, n := range names {
			checks = append(checks, check{name: n, told: "not tried: the account has no user to try it with", idle: true})
		}
		return checks
	}
	keys, err := r.Keys(ctx, user)
	checks = append(checks, check{name: names[0], told: fmt.Sprintf("%s of %q", counted(len(keys), "key"), user), err: err})
	password, err := r.Password(ctx, user)
	checks = append(checks, check{name: names[1], told: "console password of " + fmt.Sprintf("%q: %s", user, password), err: err})
	tags, err := r.Tags(ctx, user)
	checks = append(checks, check{name: names[2], told: fmt.Sprintf("%s of %q", counted(len(tags), "tag"), user), err: err})
	if len(keys) == 0 {
		return append(checks, check{name: names[3], told: fmt.Sprintf("not tried: %q has no key", user), idle: true})
	}
	use, err := r.LastUse(ctx, keys[0].ID)
	return append(checks, check{name: names[3], told: "last use of a key: " + use.At.String(), err: err})
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// errEnough stops the listing of users after the first page.
var errEnough = errors.New("enough")

func firstUser(ctx context.Context, r *awsiam.Reader) (string, error) {
	name := ""
	err := r.Users(ctx, func(page []fact.User) error {
		if len(page) > 0 {
			name = page[0].Name
		}
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return name, err
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
