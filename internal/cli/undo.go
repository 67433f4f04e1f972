package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/apply"
)

func (a *app) undoCommand() *cobra.Command {
	var f writerFlags
	var yes, dry bool
	c := &cobra.Command{
		Use:   "undo RUN [STEP...]",
		Short: "Back out: re-activate what a run deactivated",
		Long: "undo takes back what a run did, newest first: keys that it deactivated become active again. A key must\n" +
			"be as the run left it, else it is left alone, exit 5. What was deleted cannot come back, which is said,\n" +
			"exit 6. An undo is itself a run: undoing it deactivates the keys again.",
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
			return a.undo(c.Context(), f, yes, dry, args[0], args[1:])
		},
	}
	f.register(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&dry, "dry-run", false, "do everything but the changes; no run is recorded")
	return c
}

func (a *app) undo(ctx context.Context, f writerFlags, yes, dry bool, id string, steps []string) error {
	run, err := a.findRun(ctx, id)
	if err != nil {
		return err
	}
	if !yes && !dry && a.interactive() {
		if !a.ask(ctx, fmt.Sprintf("Undo run %s (%d steps)? Only yes is accepted: ", run.ID, len(run.Steps))) {
			return errNotConfirmed
		}
	}
	anywhere := func(string) error { return nil } // the engine knows whose run it is
	return a.change(ctx, f, dry, anywhere, func(e *apply.Engine) (*apply.Result, error) {
		return e.Undo(ctx, run.ID, steps, dry)
	})
}
