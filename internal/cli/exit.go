package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/credreport"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

// Exit codes; `keyreeve help exit-codes` prints exitTable.
const (
	ExitOK         = 0
	ExitBroke      = 1
	ExitMisuse     = 2
	ExitFindings   = 3
	ExitIncomplete = 4
	ExitStale      = 5
	ExitRefused    = 6
	ExitPartly     = 7
)

var exitTable = [...]struct {
	code    int
	meaning string
}{
	{ExitOK, "nothing fails"},
	{ExitBroke, "broke: keyreeve could not do its work, or was interrupted"},
	{ExitMisuse, "misuse or bad input: nothing was judged or changed"},
	{ExitFindings, "something fails at or above --fail-on"},
	{ExitIncomplete, "incomplete: some evidence could not be read; findings are still printed; wins over 3"},
	{ExitStale, "stale: the account moved since the plan"},
	{ExitRefused, "refused by a guard"},
	{ExitPartly, "some steps failed"},
}

// exitError ends the run with a code; err is nil where the output has said it all.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// misuse is an error of the caller's, with the next move.
func misuse(hint, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if hint != "" {
		err = fmt.Errorf("%w\nhint: %s", err, hint)
	}
	return &exitError{ExitMisuse, err}
}

// codeOf tells bad input from breakage.
func codeOf(err error) int {
	var (
		report *credreport.Error
		input  *audit.InputError
		doc    *plan.InputError
		record *journal.InputError
		no     *plan.Refusal
		held   *store.HeldError
		wait   *rotate.Refusal
	)
	switch {
	case errors.As(err, &report), errors.As(err, &input), errors.As(err, &doc), errors.As(err, &record), errors.Is(err, awsiam.ErrSettings):
		return ExitMisuse
	case errors.As(err, &no), errors.As(err, &held), errors.As(err, &wait):
		return ExitRefused
	default:
		return ExitBroke
	}
}

// exitCodesTopic is `keyreeve help exit-codes`.
func exitCodesTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("Exit codes of every keyreeve command:\n\n")
	for _, e := range exitTable {
		fmt.Fprintf(&b, "  %d  %s\n", e.code, e.meaning)
	}
	text := b.String()
	c := &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(c.OutOrStdout(), text)
			return err
		},
	}
	c.SetHelpFunc(func(c *cobra.Command, _ []string) { _, _ = fmt.Fprint(c.OutOrStdout(), text) })
	return c
}
