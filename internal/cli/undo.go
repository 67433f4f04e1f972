package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/apply"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// undoFlags are the flags of `keyreeve undo`, as they were written.
type undoFlags struct {
	writerFlags
	yes        bool
	dryRun     bool
	maxSteps   int
	exceptions string
}

func (a *app) undoCommand() *cobra.Command {
	var f undoFlags
	c := &cobra.Command{
		Use:   "undo RUN [STEP...]",
		Short: "Back out: re-activate what a run deactivated",
		Long: "undo takes back what a run did, newest first: keys that it deactivated become active again. A key must\n" +
			"be as the run left it, else it is left alone, exit 5. What was deleted cannot come back, which is said,\n" +
			"exit 6. An undo is itself a run: undoing it deactivates the keys again, and then wants --yes where nobody\n" +
			"can be asked, as apply does.",
		Example: "  keyreeve undo 20261122T093000Z-5f3a1c\n" +
			"  keyreeve undo 20261122T093000Z-5f3a1c 3f9a1c2d\n" +
			"  keyreeve runs   # which runs there are",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misuse("keyreeve runs lists them", "undo takes a run")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			if c.Flags().Changed("max-steps") && f.maxSteps < 1 {
				return misuse("use 1 or more", "--max-steps %d", f.maxSteps)
			}
			return a.undo(c.Context(), &f, args[0], args[1:])
		},
	}
	f.register(c)
	fs := c.Flags()
	fs.BoolVar(&f.yes, "yes", false, "do not ask")
	fs.BoolVar(&f.dryRun, "dry-run", false, "do everything but the changes; no run is recorded")
	fs.IntVar(&f.maxSteps, "max-steps", 0, "most keys to deactivate where an undo is undone, in `STEPS` (default 3)")
	fs.StringVar(&f.exceptions, "exceptions", "", "accepted risks, a YAML `FILE`: what they cover is not deactivated again")
	return c
}

func (a *app) undo(ctx context.Context, f *undoFlags, id string, steps []string) error {
	of, err := a.findRun(ctx, id)
	if err != nil {
		return err
	}
	c := &change{writerFlags: f.writerFlags, exceptions: f.exceptions, opt: apply.Options{DryRun: f.dryRun}}
	c.opt.Limits.Steps = f.maxSteps
	c.agree = func(string) error { // the engine knows whose run it is
		if f.yes || f.dryRun {
			return nil
		}
		return a.agreeToUndo(ctx, of, steps)
	}
	c.work = func(e *apply.Engine, opt apply.Options) (*apply.Result, error) { return e.Undo(ctx, of.ID, steps, opt) }
	return a.change(ctx, c)
}

// agreeToUndo asks a person. Where nobody can be asked, the way back is open; taking keys away again is not.
func (a *app) agreeToUndo(ctx context.Context, of *journal.Run, steps []string) error {
	back, err := apply.Reverse(of, steps)
	if err != nil {
		return nil //nolint:nilerr // what dangles is resolved first; the engine says the same then
	}
	takes := slices.ContainsFunc(back.Steps, func(s journal.Step) bool { return s.Action == journal.Deactivate })
	if !a.interactive() {
		return a.mayAsk(!takes, false)
	}
	a.say("Undoing run %s of %s:", of.ID, of.StartedAt.UTC().Format(time.RFC3339))
	for i := range back.Steps {
		s := &back.Steps[i]
		what := string(s.Action)
		if s.Action == journal.Delete {
			what = "not possible: it was deleted:"
		}
		a.say("  %s %s of user %q", what, s.KeyID, s.User)
	}
	return a.ask(ctx, "Go on? Only yes is accepted: ")
}
