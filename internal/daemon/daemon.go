// Package daemon is continuous assurance: it reads every account when its time has come, judges it, keeps what changed,
// sees to it that people are told, moves rotations on, and forgets what is too old.
//
// It knows what has to be done and when (Schedule), and the handlers that do it, each of which may be broken off at any moment
// and run again: where an account, a notice or a rotation stands is in the store, never here. Loop runs them on one machine; on
// many, a queue hands the same handlers out.
//
// It refuses to end: an account that cannot be read, a list that does not come, a database that is away are noted, told by
// Health, and tried again. Its promises: an account is read once for each time of its schedule that was not missed;
// what was recorded as changed is handed to the outbox, also after a kill between the two; stopping waits for what is under
// way.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/history"
)

// Listing is which accounts there are.
type Listing struct {
	Members      []audit.Member // those to read
	Organization string         // id of the one that was listed; empty: There is nil
	// There are the ids of all accounts that exist and can be read, also those that are not to be read here. What is open of
	// others is closed: they are gone. nil: that was not asked, and nobody is gone.
	There []string
	Notes []string
}

// Store keeps what was judged.
type Store interface {
	Observe(ctx context.Context, o *history.Observation) (history.Changes, error)
	Leave(ctx context.Context, organization string, there []string, at time.Time) ([]history.Changes, error)
	Known(ctx context.Context, account string) (*history.Known, error)
	// KnownTags gives the tags of users that were read before, nil for others.
	KnownTags(ctx context.Context, account string) (func(user string) map[string]string, error)
	// JudgedAt is when each account was last judged, those that are gone left out.
	JudgedAt(ctx context.Context) (map[string]time.Time, error)
}

// Work is the handlers and what they work with. All fields are required unless they say otherwise; they are not changed while
// it works.
type Work struct {
	Store Store
	List  func(ctx context.Context) (Listing, error)
	// Judge gives how to judge at an instant: the rules and accepted risks as they are in force then. AsOf is not looked at.
	Judge func(now time.Time) (audit.Options, error)
	How   audit.LiveOptions // Known and KnownTags are filled in
	// Owners tells whether anybody asks whose a user is. nil: nobody does.
	Owners func(now time.Time) (bool, error)

	// Tell hands what changed and what falls due to the outbox; urgent: only what cannot wait until all accounts are read. nil: nobody
	// does, as of the next three.
	Tell func(ctx context.Context, urgent bool) error
	// Send delivers what is in the outbox, Rotate moves rotations on, Prune forgets what is too old.
	Send, Rotate, Prune func(ctx context.Context) error

	Now    func() time.Time
	Wait   func(ctx context.Context, d time.Duration) error // the error is that of ctx
	Log    *slog.Logger
	Health *Health
	// Collected hears of each account that was read, with what that changed; may be nil.
	Collected func(o *history.Observation, c *history.Changes)
}

// Collect reads one account, judges it and keeps what changed. The error is that of ctx, of the rules or of the store: what
// could not be read is kept as a gap.
func (w *Work) Collect(ctx context.Context, m *audit.Member) error {
	opt, err := w.Judge(w.Now())
	if err != nil {
		return fmt.Errorf("read the rules: %w", err)
	}
	how := w.How
	if how.Known, err = w.Store.Known(ctx, m.Account.ID); err != nil {
		return err
	}
	if w.Owners != nil {
		asked, err := w.Owners(w.Now())
		if err != nil {
			return fmt.Errorf("read whom to tell: %w", err)
		}
		if asked {
			if how.KnownTags, err = w.Store.KnownTags(ctx, m.Account.ID); err != nil {
				return err
			}
		}
	}
	opt.AsOf = time.Time{}
	o, err := audit.Watch(ctx, m, how, opt)
	if err != nil {
		return err
	}
	c, err := w.record(ctx, o)
	if err != nil {
		return err
	}
	if !o.UsersRead {
		w.Log.Warn("account not read", "account", m.Account.ID, "why", firstWhy(o.Gaps))
	}
	if !c.Empty() {
		w.Log.Info("account judged", "account", m.Account.ID, "opened", len(c.Opened), "closed", len(c.Closed), "complete", o.Complete)
	}
	if w.Collected != nil {
		w.Collected(o, &c)
	}
	return nil
}

func firstWhy(gaps []fact.Gap) string {
	if len(gaps) == 0 {
		return ""
	}
	return gaps[0].Reading + ": " + gaps[0].Why
}

// Accounts lists the accounts and closes what is open of those that are gone.
func (w *Work) Accounts(ctx context.Context) (Listing, error) {
	l, err := w.List(ctx)
	if err != nil {
		return Listing{}, fmt.Errorf("list the accounts: %w", err)
	}
	for _, n := range l.Notes {
		w.Log.Warn("accounts", "note", n)
	}
	if l.There == nil {
		return l, nil
	}
	gone, err := w.Store.Leave(ctx, l.Organization, l.There, w.Now().UTC().Truncate(time.Second))
	for i := range gone {
		w.Log.Info("account gone", "account", gone[i].Account.ID, "closed", len(gone[i].Closed))
	}
	return l, err
}

// Health is what is in order, and what is not, for /readyz. Its zero value is usable.
type Health struct {
	mu     sync.Mutex
	checks map[string]Check
}

// Check is how a part of the work fares.
type Check struct {
	Err   error     // of the last try; nil: it went well
	At    time.Time // of the last try, or look whether there is something to do
	Since time.Time // since when it goes as it does
}

// Note records a try of a part of the work. The end of ctx is no fault.
func (h *Health) Note(part string, err error, at time.Time) {
	if errors.Is(err, context.Canceled) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(part, err, at)
}

func (h *Health) note(part string, err error, at time.Time) {
	if h.checks == nil {
		h.checks = map[string]Check{}
	}
	c := Check{Err: err, At: at.UTC(), Since: at.UTC()}
	if was, ok := h.checks[part]; ok && (was.Err == nil) == (err == nil) {
		c.Since = was.Since
	}
	h.checks[part] = c
}

// Heard records that a part of the work went well elsewhere at an instant. What was tried here since then stands.
func (h *Health) Heard(part string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if was, ok := h.checks[part]; !ok || was.At.Before(at) {
		h.note(part, nil, at)
	}
}

// Checks are the last tries by part.
func (h *Health) Checks() map[string]Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[string]Check, len(h.checks))
	for part, c := range h.checks {
		out[part] = c
	}
	return out
}
