package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
)

// serveTick is how often serve looks for what is due.
const serveTick = 15 * time.Second

func (a *app) serveCommand() *cobra.Command {
	var f writerFlags
	var only string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Move rotations on as they become due, until interrupted",
		Long: "serve --only rotations looks every few seconds which rotations are due and moves them on. It can be killed at\n" +
			"any moment, and several can run on one journal: each step is taken once. On an interrupt it finishes what is\n" +
			"under way and stops.",
		Example: "  keyreeve serve --only rotations --rotate-profile keyreeve-rotate",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if only != "rotations" {
				return misuse("this version has --only rotations", "serve %q", only)
			}
			return a.serveRotations(c.Context(), f)
		},
	}
	registerRotator(&f, c)
	c.Flags().StringVar(&only, "only", "", "serve only that `PART`: rotations")
	completeValues(c, "only", []string{"rotations"})
	return c
}

func (a *app) serveRotations(ctx context.Context, f writerFlags) error {
	r, err := a.rotating(ctx, f)
	if err != nil {
		return err
	}
	defer r.close()
	a.say("serving the rotations of account %s; Ctrl-C stops", r.engine.Caller.Account.ID)
	for {
		if _, err := r.engine.TickDue(ctx, 1000); err != nil {
			a.log().Error("tick", "error", err)
		}
		if err := a.wait(ctx, serveTick); err != nil {
			if errors.Is(err, context.Canceled) {
				return nil // as asked
			}
			return err
		}
	}
}
