package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/config"
	"github.com/keyreeve/keyreeve/internal/courier"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

// freshUser is how young a user is for whom a key wants a second reason: keys are asked for later, on purpose.
const freshUser = time.Hour

// requestFlags are the flags of `keyreeve request`, as they were written.
type requestFlags struct {
	writerFlags
	reason, second string
	to, seal, out  string
}

func (a *app) requestCommand() *cobra.Command {
	var f requestFlags
	c := &cobra.Command{
		Use:   "request USER",
		Short: "Ask for an access key for a user, which somebody else approves",
		Long: "request asks for a first or another key of a user, with a reason, and says where it goes: --to a target of the\n" +
			"settings file, or --seal to a person's public key. Somebody with another ARN decides: keyreeve requests\n" +
			"approve makes the key as a step of its own and hands it over sealed. So no key is made while a user is set up.",
		Example: "  keyreeve request report-bot --reason 'nightly export to the bank' --to report-bot\n" +
			"  keyreeve request ana --reason 'Terraform from her machine' --seal age1... --out ana.age",
		Args: oneArg("user", "keyreeve request USER --reason WORDS --to TARGET"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			return a.request(c.Context(), &f, args[0])
		},
	}
	registerRotator(&f.writerFlags, c)
	fs := c.Flags()
	fs.StringVar(&f.reason, "reason", "", "why the user needs a key, in `WORDS`; required")
	fs.StringVar(&f.second, "second-reason", "", "why it cannot wait, for a user made within the last hour, in `WORDS`")
	fs.StringVar(&f.to, "to", "", "hand the key over to that `TARGET` of the settings file")
	fs.StringVar(&f.seal, "seal", "", "seal the key to that public `KEY`: age1..., or an ssh-ed25519 or ssh-rsa one")
	fs.StringVar(&f.out, "out", "", "`FILE` for the sealed key (default: USER.age)")
	return c
}

func (a *app) request(ctx context.Context, f *requestFlags, user string) error {
	if f.reason == "" || (f.to == "") == (f.seal == "") {
		return misuse("keyreeve request USER --reason WORDS, with --to TARGET or --seal KEY", "a request needs a reason and one place where the key goes")
	}
	r, err := a.rotating(ctx, f.writerFlags)
	if err != nil {
		return err
	}
	defer r.close()
	u, err := r.engine.Account.User(ctx, user)
	if err != nil {
		return err
	}
	destination := f.to
	if f.seal != "" {
		out := f.out
		if out == "" {
			out = u.Name + ".age"
		}
		if out, err = filepath.Abs(out); err != nil {
			return err
		}
		destination = sealedPrefix + f.seal + " to " + out
	}
	q := &rotate.Request{
		ID: newRunID(a.sys.Now()), State: rotate.RequestPending, Account: r.engine.Caller.Account.ID, User: u.Name, UserID: u.ID,
		Reason: f.reason, SecondReason: f.second, Destination: destination, AskedBy: r.engine.Caller.ARN, AskedAt: a.sys.Now().UTC(),
	}
	if age := a.sys.Now().Sub(u.Created.Time()); age < freshUser && f.second == "" {
		return &rotate.Refusal{
			Why:   fmt.Sprintf("user %q was made %s ago: a key is asked for later, on purpose", u.Name, age.Round(time.Second)),
			Widen: "wait until it is an hour old, or say --second-reason why it cannot wait",
		}
	}
	if _, err := r.places.destination(ctx, u, q); err != nil {
		return asMisuse(err)
	}
	if err := r.ledger.AskKey(ctx, q); err != nil {
		return err
	}
	a.say("somebody else than %s has to approve: keyreeve requests approve %s", q.AskedBy, q.ID)
	_, err = fmt.Fprintf(a.sys.Stdout, "request %s\n", q.ID)
	return err
}

// sealedPrefix begins the name of a destination, and of a target, that is sealed to a person: sealed RECIPIENT to PATH.
const sealedPrefix = "sealed "

func sealedName(name string) (recipient, path string, ok bool) {
	rest, ok := strings.CutPrefix(name, sealedPrefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, " to ")
}

// destination is the target that a request names: one that the settings name for this user, or a file sealed to a person.
func (p *places) destination(ctx context.Context, u fact.User, q *rotate.Request) (rotate.Target, error) {
	t := config.Target{Name: q.Destination, Kind: config.SealedFile}
	if recipient, path, ok := sealedName(q.Destination); ok {
		t.Sealed = &courier.SealedSettings{Path: path, Recipients: []string{recipient}, User: q.User}
	} else {
		terms, ok, err := p.set.For(u)
		if err != nil {
			return rotate.Target{}, err
		}
		at := -1
		if ok {
			at = slices.IndexFunc(terms.Targets, func(x config.Target) bool { return x.Name == q.Destination })
		}
		if at < 0 { // another user's place would be overwritten
			return rotate.Target{}, misuse("name the target for this user under rotation: users: in the settings file", "the settings name no target %q for user %q", q.Destination, q.User)
		}
		t = terms.Targets[at]
	}
	c, err := p.make(ctx, &t)
	if err != nil {
		return rotate.Target{}, err
	}
	return rotate.Target{Name: t.Name, Kind: string(t.Kind), Where: c.Describe()}, nil
}

func (a *app) requestsCommand() *cobra.Command {
	var format, state string
	c := &cobra.Command{
		Use:   "requests",
		Short: "List the requests for keys; approve or deny one that somebody else made",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			return a.listRequests(c.Context(), format, rotate.RequestState(state))
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "text", "`FORMAT`: text, json")
	c.Flags().StringVar(&state, "state", "", "only those that are `STATE`: pending, approved, denied, made, failed")
	completeValues(c, "output", []string{"text", "json"})
	c.AddCommand(a.decideCommand("approve", "Approve a request: the key is made and handed over", rotate.RequestApproved),
		a.decideCommand("deny", "Deny a request", rotate.RequestDenied))
	return c
}

// reconcile tells of an approved request what its rotation came to, where another process moved that on.
func reconcile(ctx context.Context, ledger *store.Ledger, q *rotate.Request) {
	if q.State != rotate.RequestApproved {
		return
	}
	switch r, err := ledger.Load(ctx, q.ID); {
	case err != nil: // not begun yet
	case r.State == rotate.Done:
		q.State, q.KeyID = rotate.RequestMade, r.New.ID
	case r.State.Over():
		q.State, q.Why = rotate.RequestFailed, "the rotation is "+string(r.State)
	}
}

// requestLine is a request in `requests -o json`.
type requestLine struct {
	ID           string `json:"id"`
	State        string `json:"state"`
	Account      string `json:"account"`
	User         string `json:"user"`
	Reason       string `json:"reason"`
	SecondReason string `json:"second_reason"`
	Destination  string `json:"destination"`
	AskedBy      string `json:"asked_by"`
	AskedAt      string `json:"asked_at"`
	DecidedBy    string `json:"decided_by"`
	Why          string `json:"why"`
	KeyID        string `json:"key_id"`
}

func (a *app) listRequests(ctx context.Context, format string, state rotate.RequestState) error {
	if _, err := textOrJSON(format); err != nil {
		return err
	}
	if state != "" && !state.Valid() {
		return misuse("use pending, approved, denied, made or failed", "unknown state %q", state)
	}
	lines := []requestLine{}
	db, err := a.openNamed(ctx)
	if err != nil {
		return err
	}
	if db != nil {
		defer func() { _ = db.Close() }()
		ledger := db.Ledger(store.Origin{})
		found, err := ledger.Requests(ctx, state)
		if err != nil {
			return err
		}
		for _, q := range found {
			reconcile(ctx, ledger, &q)
			lines = append(lines, requestLine{
				q.ID, string(q.State), q.Account, q.User, q.Reason, q.SecondReason, q.Destination, q.AskedBy,
				q.AskedAt.UTC().Format(time.RFC3339), q.DecidedBy, q.Why, q.KeyID,
			})
		}
	}
	return a.writeStdout(func(w io.Writer) error {
		if format == "json" {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			return enc.Encode(map[string]any{"schema": "keyreeve.requests/1", "requests": lines})
		}
		if len(lines) == 0 {
			_, err := fmt.Fprintln(w, "There are no requests.")
			return err
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(t, "request\tstate\tuser\tgoes to\tasked by\treason") // Flush has its error
		for _, l := range lines {
			reason := l.Reason
			if l.SecondReason != "" {
				reason += "; made just now: " + l.SecondReason
			}
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.State, l.User, l.Destination, l.AskedBy, strings.Map(printable, reason))
		}
		return t.Flush()
	})
}

func (a *app) decideCommand(name, short string, to rotate.RequestState) *cobra.Command {
	var f writerFlags
	var why string
	c := &cobra.Command{
		Use:   name + " ID",
		Short: short,
		Args:  oneArg("request", "keyreeve requests lists them"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.decide(c.Context(), f, args[0], why, to)
		},
	}
	registerRotator(&f, c)
	c.Flags().StringVar(&why, "why", "", "for the record, in `WORDS`")
	return c
}

// decide records the decision; an approved key is then made by a rotation that replaces none, whose id is the request's, so
// that deciding again goes on where it stood.
func (a *app) decide(ctx context.Context, f writerFlags, id, why string, to rotate.RequestState) error {
	r, err := a.rotating(ctx, f)
	if err != nil {
		return err
	}
	defer r.close()
	q, err := r.ledger.Request(ctx, id)
	if errors.Is(err, rotate.ErrNoRequest) {
		return misuse("keyreeve requests lists them", "no request %q", id)
	}
	if err != nil {
		return err
	}
	if q.State == rotate.RequestPending {
		q.State, q.DecidedBy, q.DecidedAt, q.Why = to, r.engine.Caller.ARN, a.sys.Now().UTC(), why
		if err := r.ledger.DecideRequest(ctx, q); err != nil {
			if errors.Is(err, rotate.ErrSameEyes) {
				return &rotate.Refusal{Why: fmt.Sprintf("request %s was made by %s: who asks does not decide", q.ID, q.AskedBy), Widen: "let somebody else run it, with other credentials"}
			}
			return err
		}
	}
	if q.State != rotate.RequestApproved || to != rotate.RequestApproved {
		if q.State != to {
			return &rotate.Refusal{Why: fmt.Sprintf("request %s is %s already", q.ID, q.State), Widen: "ask anew: keyreeve request"}
		}
		a.say("request %s is %s", q.ID, q.State)
		return nil
	}
	return a.makeRequested(ctx, r, q)
}

// makeRequested makes the key of an approved request and waits until it is handed over.
func (a *app) makeRequested(ctx context.Context, r *rotating, q *rotate.Request) error {
	got, err := r.ledger.Load(ctx, q.ID)
	if errors.Is(err, rotate.ErrNoRotation) {
		u, uerr := r.engine.Account.User(ctx, q.User)
		if uerr != nil {
			return uerr
		}
		target, terr := r.places.destination(ctx, u, q)
		if terr != nil {
			return terr
		}
		got, err = r.engine.Start(ctx, rotate.Order{ID: q.ID, User: q.User, UserID: q.UserID, First: true, Reason: "requested: " + q.Reason, Targets: []rotate.Target{target}})
	}
	if err != nil {
		return err
	}
	for {
		got, err = r.engine.Tick(ctx, got.ID)
		if errors.Is(err, rotate.ErrLost) { // another runner is at it
			got, err = r.ledger.Load(ctx, q.ID)
		}
		if err != nil {
			return err
		}
		switch {
		case got.State == rotate.Done:
			q.State, q.KeyID = rotate.RequestMade, got.New.ID
			if err := r.ledger.SaveRequest(ctx, q); err != nil {
				return err
			}
			a.say("key %s of user %q is at %s", got.New.ID, q.User, got.Targets[0].Where)
			return nil
		case got.State.Over():
			q.State, q.Why = rotate.RequestFailed, "the rotation is "+string(got.State)+": "+got.Why
			return errors.Join(&rotate.Refusal{Why: "the key was not made: " + q.Why}, r.ledger.SaveRequest(ctx, q))
		case got.State.Waiting():
			return &exitError{ExitRefused, fmt.Errorf("it is %s: %s\nhint: keyreeve rotate show %s", got.State, got.Why, got.ID)}
		}
		if err := a.wait(ctx, max(got.NextAt.Sub(a.sys.Now()), time.Second)); err != nil {
			return &exitError{ExitBroke, fmt.Errorf("interrupted; keyreeve requests approve %s goes on", q.ID)}
		}
	}
}
