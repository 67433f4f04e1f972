package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/web"
)

const (
	// tokenTerm is how long a token opens the API where nobody says: one that never ends is what keyreeve finds in others.
	tokenTerm = "90d"
	never     = "never"

	longestTokenName = 100
)

func (a *app) serveTokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "The bearer tokens of the API: add, list, revoke",
		Long: "Who shows a token may read /api/v1/ of keyreeve serve, and nothing else: the API changes nothing. The journal keeps\n" +
			"a hash of each token, so that nobody can find it out there. A token added or revoked counts at once, without\n" +
			"a restart.",
		Example: "  keyreeve serve token add grafana\n  keyreeve serve token list\n  keyreeve serve token revoke 5f3a1c09d2e4",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.tokenAddCommand(), a.tokenListCommand(), a.tokenRevokeCommand())
	return c
}

func (a *app) tokenAddCommand() *cobra.Command {
	var expires string
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a token, and print it this once",
		Long: "add makes a token and prints it, alone, on standard output: it is shown this once, and nothing keeps it. NAME is\n" +
			"for people: who uses it, what for.",
		Example: "  keyreeve serve token add grafana\n  keyreeve serve token add nightly-export --expires 30d > token",
		Args:    oneArg("name", "keyreeve serve token add NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			return a.addToken(c.Context(), args[0], expires)
		},
	}
	c.Flags().StringVar(&expires, "expires", tokenTerm, "how long it is good for, as a `TIME` such as 30d; never: until it is revoked")
	return c
}

func (a *app) addToken(ctx context.Context, name, expires string) error {
	if name == "" || utf8.RuneCountInString(name) > longestTokenName || !utf8.ValidString(name) || !isPrintable(name) {
		return misuse(fmt.Sprintf("use 1 to %d letters that can be printed", longestTokenName), "%q is no name for a token", name)
	}
	now := a.sys.Now().UTC()
	var end time.Time
	if expires != never {
		d, err := parseFlagDuration("--expires", expires)
		if err != nil {
			return err
		}
		end = now.Add(d)
	}
	db, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was committed
	made, secret := web.NewToken(name, now, end)
	if err := db.AddToken(ctx, (*store.Token)(&made)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(a.sys.Stdout, secret.Reveal()); err != nil {
		return fmt.Errorf("print token %s: %w\nhint: nobody has it: keyreeve serve token revoke %s", made.ID, err, made.ID)
	}
	a.say("token %s (%s) opens the API %s; it is shown this once, and kept nowhere", made.ID, name, untilWhen(end))
	return nil
}

func isPrintable(text string) bool {
	for _, r := range text {
		if r == '\n' || printable(r) != r {
			return false
		}
	}
	return true
}

func untilWhen(end time.Time) string {
	if end.IsZero() {
		return "until it is revoked"
	}
	return "until " + end.UTC().Format(time.RFC3339)
}

func (a *app) tokenListCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the tokens, the oldest first",
		Long:  "list lists the tokens with when they were made and when they end, also those that are over or revoked. When a token\nwas used last is not kept.",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			return a.listTokens(c.Context(), format)
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "text", "`FORMAT`: text, json")
	completeValues(c, "output", []string{"text", "json"})
	return c
}

// tokenLine is a token in `serve token list -o json`. Its fields only grow.
type tokenLine struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	State     string     `json:"state"` // in force, over, revoked
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"` // null: never
	RevokedAt *time.Time `json:"revoked_at"` // null: it is not
}

func (a *app) listTokens(ctx context.Context, format string) error {
	if _, err := textOrJSON(format); err != nil {
		return err
	}
	lines := []tokenLine{}
	db, err := a.openNamed(ctx)
	if err != nil {
		return err
	}
	if db != nil {
		defer func() { _ = db.Close() }() // only read
		found, err := db.Tokens(ctx)
		if err != nil {
			return err
		}
		for i := range found {
			lines = append(lines, lineOf(&found[i], a.sys.Now()))
		}
	}
	return a.writeStdout(func(w io.Writer) error {
		if format == "json" {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			return enc.Encode(map[string]any{"schema": "keyreeve.tokens/1", "tokens": lines})
		}
		if len(lines) == 0 {
			_, err := fmt.Fprintln(w, "There are no tokens.")
			return err
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(t, "token\tname\tmade\tends\tstate") // Flush has its error
		for _, l := range lines {
			ends := never
			if l.ExpiresAt != nil {
				ends = l.ExpiresAt.Format(time.RFC3339)
			}
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", l.ID, l.Name, l.CreatedAt.Format(time.RFC3339), ends, l.State)
		}
		return t.Flush()
	})
}

func lineOf(t *store.Token, now time.Time) tokenLine {
	l := tokenLine{ID: t.ID, Name: t.Name, State: "in force", CreatedAt: t.CreatedAt.Truncate(time.Second)}
	if !t.ExpiresAt.IsZero() {
		at := t.ExpiresAt.Truncate(time.Second)
		if l.ExpiresAt = &at; !now.Before(t.ExpiresAt) {
			l.State = "over"
		}
	}
	if !t.RevokedAt.IsZero() {
		at := t.RevokedAt.Truncate(time.Second)
		l.State, l.RevokedAt = "revoked", &at
	}
	return l
}

func (a *app) tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a token, for good",
		Long: "revoke ends a token at once and for good. ID is as list shows it; a whole token that was found somewhere serves\n" +
			"too, though it is better not to write one on a command line.",
		Example: "  keyreeve serve token revoke 5f3a1c09d2e4",
		Args: func(_ *cobra.Command, args []string) error { // an argument may be a whole token: nothing repeats it
			if len(args) != 1 {
				return misuse("keyreeve serve token list shows the ids", "revoke takes the id of one token, not %d", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.revokeToken(c.Context(), args[0]) },
	}
}

func (a *app) revokeToken(ctx context.Context, id string) error {
	if whole, ok := web.TokenID(id); ok {
		id = whole
	}
	if !web.IsTokenID(id) {
		return misuse("keyreeve serve token list shows the ids", "this is no id of a token, which has twelve hex digits")
	}
	db, err := a.openWritten(ctx)
	if err != nil {
		return err
	}
	if db == nil {
		return misuse("--db names the journal that keyreeve serve uses", "there is no journal, and no token %s", id)
	}
	defer func() { _ = db.Close() }() // it was committed
	t, err := db.RevokeToken(ctx, id, a.sys.Now())
	if errors.Is(err, store.ErrNoToken) {
		return misuse("keyreeve serve token list shows the ids", "there is no token %s", id)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.sys.Stdout, "token %s (%s) is revoked since %s\n", t.ID, t.Name, t.RevokedAt.Format(time.RFC3339))
	return err
}
