package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/seal"
	"github.com/keyreeve/keyreeve/internal/store"
)

func (a *app) rotateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Replace a key in use without an outage: start, list, show, advance, confirm, approve, cancel, watch",
		Long: "rotate replaces an access key over days: a new key is made, handed over to where its consumer reads it,\n" +
			"tried, and proven by the consumer's own use; then the old key is deactivated, and deleted after a quiet\n" +
			"period. Where the new key goes is in the settings file, under rotation:. Each step is on record before it is\n" +
			"made; a rotation that was killed at any moment goes on where it stood. What keyreeve is not sure of waits for\n" +
			"a person: rotate show tells for what.",
		Example: "  keyreeve rotate start ci-deploy --reason 'due this month'\n" +
			"  keyreeve rotate advance          # do what is due now, once: for cron\n" +
			"  keyreeve rotate list\n  keyreeve rotate show ID\n  keyreeve rotate cancel ID",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.rotateStartCommand(), a.rotateListCommand(), a.rotateShowCommand(), a.rotateAdvanceCommand(),
		a.rotatePersonCommand("confirm", "Say that the consumer uses the new key", (*rotate.Engine).Confirm),
		a.rotatePersonCommand("approve", "Let a rotation go on that is held or in conflict, as the account is now", (*rotate.Engine).Approve),
		a.rotatePersonCommand("cancel", "Back out: the old key active, the targets restored, the new key gone", (*rotate.Engine).Cancel),
		a.rotateWatchCommand())
	return c
}

// rotatorFlags name the credentials that may rotate.
func registerRotator(f *writerFlags, c *cobra.Command) {
	c.Flags().StringVar(&f.profile, "rotate-profile", "", "`NAME` of the AWS profile that may rotate keys (default: --profile)")
	c.Flags().StringVar(&f.role, "rotate-role", "", "`ARN` of a role to assume for rotating")
	c.Flags().StringVar(&f.external, "rotate-external-id", "", "`ID` that the role asks for")
}

// rotating is what a command about rotations works with.
type rotating struct {
	engine *rotate.Engine
	ledger *store.Ledger
	places *places
	closes []func()
}

func (r *rotating) close() {
	for _, f := range slices.Backward(r.closes) {
		f()
	}
}

// rotating opens the account, the ledger and the seal.
func (a *app) rotating(ctx context.Context, f writerFlags) (*rotating, error) {
	set, _, err := a.readConfig(a.sys.Now())
	if err != nil {
		return nil, asMisuse(err)
	}
	if err := noCore(); err != nil {
		return nil, fmt.Errorf("switch off core dumps: %w", err)
	}
	out := &rotating{}
	fail := func(err error) (*rotating, error) {
		out.close()
		return nil, err
	}
	w, err := awsiam.OpenRotator(ctx, a.writerSettings(f))
	if err != nil {
		return fail(err)
	}
	out.closes = append(out.closes, w.Close)
	caller, err := w.Caller(ctx)
	if err != nil {
		return fail(err)
	}
	if err := checkSkew(w); err != nil {
		return fail(err)
	}
	db, err := a.openStore(ctx)
	if err != nil {
		return fail(err)
	}
	out.closes = append(out.closes, func() { _ = db.Close() })
	dir, err := a.besideJournal(db)
	if err != nil {
		return fail(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "backup"), 0o700); err != nil {
		return fail(err)
	}
	box, err := seal.OpenBox(filepath.Join(dir, sealKey), a.sys.Getenv)
	if err != nil {
		return fail(err)
	}
	host, _ := os.Hostname() // unknown is fine
	out.ledger = db.Ledger(store.Origin{Version: a.version, Host: host, PID: os.Getpid()})
	own, err := w.KeyIDs(ctx)
	if err != nil {
		return fail(err)
	}
	users, err := w.SessionUsers(ctx)
	if err != nil {
		return fail(err)
	}
	out.places = a.places(set, f, caller.Account.ID, box, dir)
	out.closes = append(out.closes, out.places.close)
	out.engine = &rotate.Engine{
		Account: w, Ledger: out.ledger, Uses: out.ledger, Sealer: box, Caller: caller, OwnKeys: own, OwnUsers: users,
		Courier: out.places.courier(ctx), Skew: w.Skew, Now: a.sys.Now, Wait: a.wait,
		Moved: func(r *rotate.Rotation, e rotate.Event) {
			a.log().Info("rotation", "id", r.ID, "user", r.User, "from", e.From, "to", e.To, "event", e.Name)
		},
	}
	return out, nil
}

func (a *app) rotateStartCommand() *cobra.Command {
	var f writerFlags
	var key, reason, from, ruleset string
	var due bool
	c := &cobra.Command{
		Use:   "start [USER]",
		Short: "Begin the rotation of a user's key, or of all that a plan asks for",
		Long: "start checks first that there is a slot for a new key, that every target would take it, that the permissions\n" +
			"are there, and that the key is not keyreeve's own; then it begins, and does what can be done at once. The\n" +
			"oldest key is never deleted to make room.",
		Example: "  keyreeve rotate start ci-deploy --reason 'due this month'\n  keyreeve rotate start --from-plan plan.json",
		RunE: func(c *cobra.Command, args []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			ways := len(args)
			for _, way := range []bool{from != "", due} {
				if way {
					ways++
				}
			}
			switch {
			case ways != 1:
				return misuse("keyreeve rotate start USER, or --from-plan PLAN, or --due", "start takes one user, one plan, or all that is due")
			case from != "":
				return a.rotatePlan(c.Context(), f, from, reason)
			case due:
				return a.rotateDue(c.Context(), f, ruleset, reason)
			}
			return a.rotateUsers(c.Context(), f, []rotate.Order{{User: args[0], KeyID: key, Reason: reason}})
		},
	}
	registerRotator(&f, c)
	c.Flags().StringVar(&key, "key", "", "the `KEYID` to replace (default: the user's only active one)")
	c.Flags().StringVar(&reason, "reason", "", "why, in `WORDS`, for the record")
	c.Flags().StringVar(&from, "from-plan", "", "begin every rotate step of the `PLAN`")
	c.Flags().BoolVar(&due, "due", false, "begin every rotation that is due by the ruleset, for users of whom the settings say where new keys go")
	c.Flags().StringVar(&ruleset, "ruleset", "default", "with --due: built-in `NAME` or a file")
	return c
}

// rotatePlan begins the rotations that a plan asks for.
func (a *app) rotatePlan(ctx context.Context, f writerFlags, path, reason string) error {
	p, err := a.readPlan(path)
	if err != nil {
		return err
	}
	if err := p.Fresh(a.sys.Now().UTC(), 0); err != nil {
		return err
	}
	orders := ordersOf(p, reason)
	if len(orders) == 0 {
		return &plan.InputError{Problem: "the plan has no step that rotates a key"}
	}
	return a.rotateUsers(ctx, f, orders)
}

// rotateDue begins what is due. A user whose terms say before begins early enough for the old key to be gone when a rule would
// fail; the others begin when it fails.
func (a *app) rotateDue(ctx context.Context, f writerFlags, ruleset, reason string) error {
	p, err := a.planRequest(&planFlags{selectionFlags: selectionFlags{ruleset: ruleset, concurrency: 8}, output: "text"})
	if err != nil {
		return err
	}
	set, _, err := a.readConfig(a.sys.Now())
	if err != nil {
		return asMisuse(err)
	}
	read, err := a.readToPlan(ctx, p)
	if err != nil {
		return err
	}
	leads := map[time.Duration][]string{} // names of users, by how early they begin
	for i := range read.snapshot.Users {
		u := &read.snapshot.Users[i]
		terms, ok, err := set.For(*u)
		if err != nil {
			return err
		}
		if ok {
			lead := terms.Terms.Lead()
			leads[lead] = append(leads[lead], u.Name)
		}
	}
	var orders []rotate.Order
	for _, lead := range slices.Sorted(maps.Keys(leads)) {
		at := *p
		at.judge.AsOf = a.sys.Now().UTC().Add(lead)
		at.make.AsOf = at.judge.AsOf
		at.make.Users = func(name, _ string) bool { return slices.Contains(leads[lead], name) }
		made, _, err := a.planFrom(read, &at)
		if err != nil {
			return err
		}
		orders = append(orders, ordersOf(made, reason)...)
	}
	if len(orders) == 0 {
		a.say("no rotation is due")
		return nil
	}
	return a.rotateUsers(ctx, f, orders)
}

// ordersOf are the rotations that the plan asks for. reason, if any, stands in the record in place of the plan's own.
func ordersOf(p *plan.Plan, reason string) []rotate.Order {
	var orders []rotate.Order
	for i := range p.Steps {
		if s := &p.Steps[i]; s.Action == plan.Rotate {
			o := rotate.Order{User: s.User, KeyID: s.KeyID, Reason: s.Why, Plan: p.Digest}
			if reason != "" {
				o.Reason = reason
			}
			orders = append(orders, o)
		}
	}
	return orders
}

// rotateUsers begins rotations, one after the other; one that is refused does not keep the others from beginning.
func (a *app) rotateUsers(ctx context.Context, f writerFlags, orders []rotate.Order) error {
	r, err := a.rotating(ctx, f)
	if err != nil {
		return err
	}
	defer r.close()
	return a.begin(ctx, r, orders)
}

// begin begins each of the orders and does what can be done at once.
func (a *app) begin(ctx context.Context, r *rotating, orders []rotate.Order) error {
	under, err := r.ledger.Rotations(ctx, store.RotationFilter{Account: r.engine.Caller.Account.ID, Live: true})
	if err != nil {
		return err
	}
	slices.SortStableFunc(orders, func(x, y rotate.Order) int { // our own key last: the others need us
		return cmp.Compare(slices.Index(r.engine.OwnKeys, x.KeyID), slices.Index(r.engine.OwnKeys, y.KeyID))
	})
	var errs []error
	for i := range orders {
		o := &orders[i]
		o.ID = newRunID(a.sys.Now())
		u, err := r.engine.Account.User(ctx, o.User)
		if at := slices.IndexFunc(under, func(x rotate.Rotation) bool { return x.UserID == u.ID }); err == nil && at >= 0 {
			err = &rotate.Refusal{Why: fmt.Sprintf("rotation %s of user %q is under way", under[at].ID, u.Name), Widen: "keyreeve rotate show " + under[at].ID + " tells where it stands"}
		}
		if err == nil {
			err = r.places.order(ctx, u, o)
		}
		var begun *rotate.Rotation
		if err == nil {
			begun, err = r.engine.Start(ctx, *o)
		}
		if err == nil {
			if _, werr := fmt.Fprintf(a.sys.Stdout, "rotation %s\n", begun.ID); werr != nil {
				return werr
			}
			moved, terr := r.engine.Tick(ctx, begun.ID)
			switch {
			case terr == nil:
				begun = moved
			case !errors.Is(terr, rotate.ErrLost): // another runner is at it
				err = terr
			}
		}
		if err == nil {
			a.sayRotation(begun)
			continue
		}
		if len(orders) > 1 {
			err = fmt.Errorf("user %q: %w", o.User, err)
		}
		errs = append(errs, err)
	}
	switch {
	case len(errs) == 0:
		return nil
	case len(errs) == len(orders):
		return errors.Join(errs...)
	default:
		return &exitError{ExitPartly, errors.Join(errs...)}
	}
}

// sayRotation tells people where a rotation stands.
func (a *app) sayRotation(r *rotate.Rotation) {
	if r == nil || a.global.quiet {
		return
	}
	text := fmt.Sprintf("rotation %s of user %q is %s", r.ID, r.User, r.State)
	if r.Why != "" {
		text += ": " + r.Why
	}
	if !r.State.Over() && !r.NextAt.IsZero() {
		text += "; next " + r.NextAt.UTC().Format(time.RFC3339)
	}
	a.say("%s", text)
}

func (a *app) rotateListCommand() *cobra.Command {
	var format string
	var all bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the rotations under way",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := textOrJSON(format)
			if err != nil {
				return err
			}
			var list []rotate.Rotation
			db, err := a.openNamed(c.Context())
			if err != nil {
				return err
			}
			if db != nil {
				defer func() { _ = db.Close() }()
				if list, err = db.Ledger(store.Origin{}).Rotations(c.Context(), store.RotationFilter{Live: !all}); err != nil {
					return err
				}
			}
			opt := a.reportOptions()
			return a.writeStdout(func(w io.Writer) error { return report.WriteRotations(w, f, list, opt, a.sys.Now().UTC()) })
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "text", "`FORMAT`: text, json")
	c.Flags().BoolVar(&all, "all", false, "also those that are over")
	completeValues(c, "output", []string{"text", "json"})
	return c
}

func (a *app) rotateShowCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Tell where a rotation stands, why it waits, what comes next, and every event",
		Args:  oneArg("rotation", "keyreeve rotate list lists them"),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := textOrJSON(format)
			if err != nil {
				return err
			}
			db, err := a.openExisting(c.Context())
			if err != nil {
				return err
			}
			if db == nil {
				return noRotation(args[0])
			}
			defer func() { _ = db.Close() }()
			ledger := db.Ledger(store.Origin{})
			r, err := ledger.Load(c.Context(), args[0])
			if err != nil {
				return orNoRotation(err, args[0])
			}
			events, err := ledger.Events(c.Context(), r.ID)
			if err != nil {
				return err
			}
			opt := a.reportOptions()
			return a.writeStdout(func(w io.Writer) error {
				return report.WriteRotation(w, f, r, events, opt, a.sys.Now().UTC())
			})
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "text", "`FORMAT`: text, json")
	completeValues(c, "output", []string{"text", "json"})
	return c
}

func noRotation(id string) error {
	return misuse("keyreeve rotate list --all lists them; --db names another journal", "no rotation %q", id)
}

func orNoRotation(err error, id string) error {
	if errors.Is(err, rotate.ErrNoRotation) {
		return noRotation(id)
	}
	return err
}

func (a *app) rotateAdvanceCommand() *cobra.Command {
	var f writerFlags
	c := &cobra.Command{
		Use:   "advance [ID]...",
		Short: "Do what is due now, once: for cron",
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.rotating(c.Context(), f)
			if err != nil {
				return err
			}
			defer r.close()
			if len(args) == 0 {
				if args, err = r.ledger.Due(c.Context(), r.engine.Caller.Account.ID, a.sys.Now().UTC(), 1000); err != nil {
					return err
				}
			}
			return a.advance(c.Context(), r, args)
		},
	}
	registerRotator(&f, c)
	return c
}

// advance ticks the rotations and tells where they stand. A rotation that waits for a person makes the exit code 6.
func (a *app) advance(ctx context.Context, r *rotating, ids []string) error {
	var errs []error
	waits := false
	for _, id := range ids {
		got, err := r.engine.Tick(ctx, id)
		switch {
		case errors.Is(err, rotate.ErrLost): // another runner is at it
		case err != nil:
			errs = append(errs, orNoRotation(err, id))
		default:
			a.sayRotation(got)
			waits = waits || got.State == rotate.Held || got.State == rotate.Conflict
		}
		if ctx.Err() != nil {
			return &exitError{ExitBroke, errors.New("interrupted: what was begun was finished")}
		}
	}
	under, err := r.ledger.Rotations(ctx, store.RotationFilter{Account: r.engine.Caller.Account.ID, Live: true})
	if err != nil {
		return err
	}
	waits = waits || slices.ContainsFunc(under, func(x rotate.Rotation) bool { return x.State == rotate.Held || x.State == rotate.Conflict })
	if len(errs) == 0 && waits {
		return &exitError{ExitRefused, errors.New("a rotation waits for a person\nhint: keyreeve rotate list")}
	}
	return errors.Join(errs...)
}

// rotatePersonCommand is a command by which a person moves a rotation.
func (a *app) rotatePersonCommand(name, short string, do func(e *rotate.Engine, ctx context.Context, id, by string) (*rotate.Rotation, error)) *cobra.Command {
	var f writerFlags
	c := &cobra.Command{
		Use:   name + " ID",
		Short: short,
		Args:  oneArg("rotation", "keyreeve rotate list lists them"),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			r, err := a.rotating(ctx, f)
			if err != nil {
				return err
			}
			defer r.close()
			got, err := do(r.engine, ctx, args[0], r.engine.Caller.ARN)
			if err != nil {
				return orNoRotation(err, args[0])
			}
			if moved, err := r.engine.Tick(ctx, got.ID); err == nil {
				got = moved
			} else if !errors.Is(err, rotate.ErrLost) { // another runner is at it: what was said is on record
				return err
			}
			a.sayRotation(got)
			return nil
		},
	}
	registerRotator(&f, c)
	return c
}

func (a *app) rotateWatchCommand() *cobra.Command {
	var f writerFlags
	c := &cobra.Command{
		Use:   "watch ID",
		Short: "Move a rotation on as it becomes due, until it is over or waits for a person",
		Args:  oneArg("rotation", "keyreeve rotate list lists them"),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			r, err := a.rotating(ctx, f)
			if err != nil {
				return err
			}
			defer r.close()
			for said := ""; ; {
				got, err := r.engine.Tick(ctx, args[0])
				if err != nil && !errors.Is(err, rotate.ErrLost) {
					return orNoRotation(err, args[0])
				}
				if now := string(got.State) + got.Why; now != said { // what has not changed was said
					a.sayRotation(got)
					said = now
				}
				switch {
				case got.State.Over():
					return nil
				case got.State == rotate.Held || got.State == rotate.Conflict:
					return &exitError{ExitRefused, errors.New("it waits for a person\nhint: keyreeve rotate show " + got.ID)}
				}
				if err := a.wait(ctx, max(got.NextAt.Sub(a.sys.Now()), time.Second)); err != nil {
					return nil // a person has seen enough
				}
			}
		},
	}
	registerRotator(&f, c)
	return c
}
