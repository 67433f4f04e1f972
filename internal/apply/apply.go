// Package apply carries out plans, takes them back, and is the only engine that changes an account.
//
// It knows how to compare the account with what a step expects, to write the intention down before the call
// and the answer after it, to read back until the change shows, and to find out by looking what became of
// a call whose answer never came.
//
// It refuses to repeat blindly, to act on what it could not read, and to touch a key that is not exactly as
// the plan expects it. Its promises: nothing is changed without an intent on record; after a crash at any
// moment each step is either as before or as planned, and the next run says which; a step happens once.
package apply

import (
	"context"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
)

// Looker reads what a step is compared with. Its errors wrap fact.ErrNotFound for what does not exist
// (any more).
type Looker interface {
	// User has at least Name, ARN, Path, ID and Tags.
	User(ctx context.Context, name string) (fact.User, error)
	Keys(ctx context.Context, user string) ([]fact.Key, error)
	LastUse(ctx context.Context, keyID string) (fact.Use, error)
	// Quarantined gives the users to whom AWS attached a policy for exposed keys.
	Quarantined(ctx context.Context, partition string) (map[string][]string, error)
}

// Actor is the verbs that may touch an account. An error that wraps fact.ErrUnclear leaves open whether the
// change happened; after any other error it did not.
type Actor interface {
	SetActive(ctx context.Context, user, keyID string, active bool) error
	DeleteKey(ctx context.Context, user, keyID string) error
	// The May methods ask for permission without changing anything.
	MaySetActive(ctx context.Context, user string) error
	MayDelete(ctx context.Context, user string) error
}

// Account is one account, by credentials that may change it.
type Account interface {
	Looker
	Actor
}

// Journal keeps the record. Append returns the entry as it was chained.
type Journal interface {
	Begin(ctx context.Context, run journal.Run) error
	Append(ctx context.Context, e journal.Entry) (journal.Entry, error)
	Run(ctx context.Context, id string) (*journal.Run, error)
	Book(ctx context.Context, account string) (journal.Book, error)
}

// Engine changes one account. Its fields are required unless they say otherwise. The caller holds the lock
// of the account while it works.
type Engine struct {
	Account Account
	Journal Journal
	Caller  fact.Caller
	// OwnKeys are the access key ids of the credentials in use, all of their chain; OwnUsers are users of whom a session stands
	// in it, so that any of their keys may be our own. Both may be empty.
	OwnKeys  []string
	OwnUsers []fact.Caller

	Now  func() time.Time
	Wait func(ctx context.Context, d time.Duration) error

	RunID   string // of the run to begin
	Version string
	Host    string
	PID     int

	// Patience is how long a change may take to show, and how old an intent must be before a key that looks
	// untouched is believed to be so; 0 means a minute. IAM is eventually consistent: 10 to 15 s are usual.
	Patience time.Duration
	// StepTime is how long one step may take in all; 0 means 5 minutes.
	StepTime time.Duration
	// Told hears of each step when it has ended, Doing of what takes long; both may be nil.
	Told  func(s *journal.Step)
	Doing func(what string)
}

// Options say how to carry out a plan, or an undo, which has no age.
type Options struct {
	Limits    plan.Limits
	MaxAge    time.Duration // of the plan; 0 means 24 h
	AllowUsed []string      // key ids that may go although they are a user's last active key and in use
	DryRun    bool          // all but the change: no run is recorded
	// Excepted gives the accepted risk in force that covers one of the rules for the user and key, or nil.
	// nil: there is none.
	Excepted func(rules []string, u *fact.User, k *fact.Key) *finding.Exception
}

// Result is what became of a plan.
type Result struct {
	Run *journal.Run // in a dry run not recorded: steps that would be done are planned
	// Rotations and Undecided are steps of the plan that a run does not carry out.
	Rotations, Undecided []plan.Step
	Interrupted          bool // the context ended before the last step
	// Unresolved are steps of earlier runs of which nobody can tell what became: the account could not be read. Their keys
	// are left alone.
	Unresolved []string
}

const (
	defaultPatience = time.Minute
	defaultStepTime = 15 * time.Minute // ten attempts of a call are five
)

func (e *Engine) patience() time.Duration {
	if e.Patience > 0 {
		return e.Patience
	}
	return defaultPatience
}

func (e *Engine) stepTime() time.Duration {
	if e.StepTime > 0 {
		return e.StepTime
	}
	return defaultStepTime
}

func (e *Engine) now() time.Time { return e.Now().UTC() }

// open reads the journal, resolves what dangles in it, and ends runs that died. What cannot be resolved stays so; the
// texts say why, by access key id.
func (e *Engine) open(ctx context.Context) (journal.Book, map[string]string, error) {
	book, err := e.Journal.Book(ctx, e.Caller.Account.ID)
	if err != nil || len(book.Unresolved)+len(book.Dead) == 0 {
		return book, nil, err
	}
	stuck := map[string]string{}
	for i := range book.Unresolved {
		open := &book.Unresolved[i]
		if e.Doing != nil {
			e.Doing("finding out what became of run " + open.Run.ID)
		}
		why, err := e.resolve(ctx, open)
		if err != nil {
			return book, nil, err
		}
		if why != "" {
			stuck[open.Step.KeyID] = fmt.Sprintf("what became of step %s of run %s is not known: %s", open.Step.ID, open.Run.ID, why)
		}
	}
	for _, id := range book.Dead {
		entry := journal.Entry{Run: id, Kind: journal.End, At: e.now(), Note: "it died; found by run " + e.RunID}
		if err := e.append(ctx, &entry); err != nil {
			return book, nil, err
		}
	}
	book, err = e.Journal.Book(ctx, e.Caller.Account.ID)
	return book, stuck, err
}

// append puts an entry on record, also when the time of the step is over: what was begun must be told. The
// journal bounds its own time.
func (e *Engine) append(ctx context.Context, entry *journal.Entry) error {
	got, err := e.Journal.Append(context.WithoutCancel(ctx), *entry)
	if err == nil {
		*entry = got
	}
	return err
}

// begin records the run.
func (e *Engine) begin(ctx context.Context, run *journal.Run) error {
	run.ID, run.Account, run.Caller = e.RunID, e.Caller.Account.ID, e.Caller.ARN
	run.Version, run.Host, run.PID = e.Version, e.Host, e.PID
	run.StartedAt = e.now().Truncate(time.Microsecond)
	return e.Journal.Begin(ctx, *run)
}

// end records that the run is over, also when it was interrupted.
func (e *Engine) end(ctx context.Context, run *journal.Run, note string) error {
	entry := journal.Entry{Run: run.ID, Kind: journal.End, At: e.now(), Note: note}
	err := e.append(ctx, &entry)
	run.EndedAt, run.EndNote = entry.At, note
	return err
}

// note adds an entry to the step, on record when the run is.
func (t *task) note(ctx context.Context, kind journal.EntryKind, result journal.Result, note string) error {
	entry := journal.Entry{Run: t.run.ID, Step: t.step.ID, Kind: kind, At: t.e.now(), Result: result, Note: note}
	if !t.dry {
		if err := t.e.append(ctx, &entry); err != nil {
			return err
		}
	}
	t.step.Entries = append(t.step.Entries, entry)
	return nil
}

// left records why the step is not tried.
func (t *task) left(ctx context.Context, result journal.Result, why string) error {
	return t.note(ctx, journal.Left, result, why)
}
