package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

// Record is what changed, as the store has it.
type Record interface {
	Untold(ctx context.Context) ([]store.Account, error)
	Moves(ctx context.Context, account string, after time.Time) ([]history.Entry, error)
	Told(ctx context.Context, account string, until time.Time) error
	Accounts(ctx context.Context, after string, limit int) ([]store.Account, error)
	AccountOf(ctx context.Context, id string) (store.Account, bool, error)
}

// Standing is what stands open, and which rotations wait.
type Standing interface {
	History(ctx context.Context, f store.HistoryFilter) ([]history.Entry, error)
	Waiting(ctx context.Context) ([]rotate.Rotation, error)
}

// Teller hands what changed and what falls due to the outbox. What was recorded as changed and not handed over yet is told by
// the next run, whoever made the record; the outbox takes nothing twice.
type Teller struct {
	Record     Record
	Standing   Standing
	Outbox     notice.Outbox
	Terms      func(now time.Time) (notice.Routing, notice.Reminders, error) // as the settings are now
	Exceptions func(now time.Time) ([]finding.Exception, error)
	Now        func() time.Time

	mu       sync.Mutex
	reminded time.Time
	hurried  map[string]time.Time // accounts that were looked at for what is urgent and not told of since, as they were judged then
}

// remindEvery is the least time between two looks at what falls due: reminders come by the day.
const remindEvery = time.Hour

// Tell is a handler of Work. What passes by while settings tell nobody counts as told: who turns notices on is not flooded with
// what is old. Urgent are critical verdicts that opened, and rotations that wait for a person; with the rest the outbox does not
// take them again.
func (t *Teller) Tell(ctx context.Context, urgent bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.Now().UTC()
	routing, reminders, err := t.Terms(now)
	if err != nil {
		return fmt.Errorf("read the settings of notices: %w", err)
	}
	changes, told, err := t.changes(ctx, urgent)
	if err != nil {
		return err
	}
	waits, err := t.waits(ctx)
	if err != nil {
		return err
	}
	changes = append(changes, waits...)
	if !urgent && (now.Sub(t.reminded) >= remindEvery || now.Before(t.reminded)) {
		due, err := t.due(ctx, &reminders, now)
		if err != nil {
			return err
		}
		changes = append(changes, due...)
		t.reminded = now
	}
	if _, err := notice.Post(ctx, t.Outbox, &routing, changes, now); err != nil {
		t.reminded = time.Time{}
		return err
	}
	if urgent {
		if t.hurried == nil {
			t.hurried = map[string]time.Time{}
		}
		for i := range told {
			t.hurried[told[i].Account.ID] = latest(&told[i])
		}
		return nil
	}
	for i := range told {
		if err := t.Record.Told(ctx, told[i].Account.ID, latest(&told[i])); err != nil {
			return err
		}
	}
	t.hurried = nil
	return nil
}

// latest is until when what changed in the account is known.
func latest(a *store.Account) time.Time {
	if a.GoneAt.After(a.JudgedAt) {
		return a.GoneAt
	}
	return a.JudgedAt
}

// changes are what changed since it was last told, and the accounts that this is about. urgent: only what cannot wait, of accounts that
// were not looked at for that.
func (t *Teller) changes(ctx context.Context, urgent bool) ([]notice.Change, []store.Account, error) {
	accounts, err := t.Record.Untold(ctx)
	if err != nil {
		return nil, nil, err
	}
	if urgent {
		accounts = slices.DeleteFunc(accounts, func(a store.Account) bool { return t.hurried[a.Account.ID].Equal(latest(&a)) })
	}
	var out []notice.Change
	for i := range accounts {
		a := &accounts[i]
		moves, err := t.Record.Moves(ctx, a.Account.ID, a.PostedAt)
		if err != nil {
			return nil, nil, err
		}
		until := latest(a)
		for k := range moves {
			out = append(out, moved(a, &moves[k], until)...)
		}
		if u := a.UnreadSince; !u.IsZero() && u.After(a.PostedAt) && a.GoneAt.IsZero() {
			out = append(out, notice.Change{Kind: notice.Unreadable, At: u, Account: a.Account, Gap: firstGap(a)})
		}
	}
	if urgent {
		out = slices.DeleteFunc(out, func(c notice.Change) bool { return c.Kind != notice.Opened || c.Verdict.Severity != finding.Critical })
	}
	return out, accounts, nil
}

// moved are the changes that an entry tells, of what happened after the account was last told of and not after until: what is
// younger is told with the next record. A verdict that opened and closed in between is told as both.
func moved(a *store.Account, e *history.Entry, until time.Time) []notice.Change {
	v := verdictOf(e, a.Account)
	var out []notice.Change
	if e.OpenedAt.After(a.PostedAt) && !e.OpenedAt.After(until) {
		out = append(out, notice.Change{Kind: notice.Opened, At: e.OpenedAt, Account: a.Account, Tags: e.Tags, Verdict: v})
	}
	if !e.Open() && e.ClosedAt.After(a.PostedAt) && !e.ClosedAt.After(until) {
		out = append(out, notice.Change{Kind: notice.Closed, At: e.ClosedAt, Why: reasonOf(e.Why), Account: a.Account, Tags: e.Tags, Verdict: v})
	}
	return out
}

func verdictOf(e *history.Entry, a fact.Account) *finding.Verdict {
	v := &finding.Verdict{
		ID: e.ID, Rule: e.Rule, Kind: e.Kind, Title: e.Title, Status: finding.Fail, Severity: e.Severity, Account: a, User: e.User,
		Message: e.Message, Since: e.Since, Remedy: e.Remedy,
	}
	if e.KeyID != "" || e.KeyCreated.Known() {
		v.Key = &fact.Key{ID: e.KeyID, Active: true, Created: e.KeyCreated}
	}
	return v
}

// reasonOf is why a verdict closed, in the words of notices.
func reasonOf(r history.Reason) notice.Reason {
	switch r {
	case history.Excepted:
		return notice.Excepted
	case history.UserGone:
		return notice.UserGone
	case history.RuleChanged:
		return notice.RuleChanged
	case history.AccountGone:
		return notice.AccountGone
	case history.Fixed:
		return notice.Fixed
	default:
		return notice.Reason(r)
	}
}

func firstGap(a *store.Account) *fact.Gap {
	if len(a.Gaps) > 0 {
		return &a.Gaps[0]
	}
	return &fact.Gap{Account: a.Account.ID, Why: "not told"}
}

// waits are the rotations that wait for a person. The outbox knows those that were told.
func (t *Teller) waits(ctx context.Context) ([]notice.Change, error) {
	waiting, err := t.Standing.Waiting(ctx)
	if err != nil {
		return nil, err
	}
	var out []notice.Change
	for i := range waiting {
		w := &waiting[i]
		a, ok, err := t.Record.AccountOf(ctx, w.Account)
		if err != nil {
			return nil, err
		}
		if !ok {
			a.Account = fact.Account{ID: w.Account, Partition: w.Partition}
		}
		out = append(out, notice.Change{
			Kind: notice.Waits, At: w.EnteredAt, Account: a.Account,
			Rotation: &notice.Rotation{ID: w.ID, State: string(w.State), Why: w.Why, User: w.User, KeyID: w.Old.ID},
		})
	}
	return out, nil
}

// due are the reminders: what falls due soon or is overdue, accepted risks that end.
func (t *Teller) due(ctx context.Context, r *notice.Reminders, now time.Time) ([]notice.Change, error) {
	accounts, err := t.Record.Accounts(ctx, "", 0)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]fact.Account, len(accounts))
	var standing []notice.Standing
	for i := range accounts {
		a := &accounts[i]
		byID[a.Account.ID] = a.Account
		if !a.GoneAt.IsZero() {
			continue
		}
		for _, d := range a.Due {
			standing = append(standing, notice.Standing{Verdict: *dueVerdict(&d, a.Account), Tags: d.Tags})
		}
	}
	if r.Overdue > 0 {
		open, err := t.Standing.History(ctx, store.HistoryFilter{Open: true, To: now.Add(-r.Overdue + time.Microsecond)})
		if err != nil {
			return nil, err
		}
		for i := range open {
			standing = append(standing, notice.Standing{Verdict: *verdictOf(&open[i], byID[open[i].Account]), Opened: open[i].OpenedAt, Tags: open[i].Tags})
		}
	}
	out := r.Verdicts(standing, now)
	exceptions, err := t.Exceptions(now)
	if err != nil {
		return nil, err
	}
	return append(out, r.Exceptions(exceptions, now)...), nil
}

func dueVerdict(d *history.Due, a fact.Account) *finding.Verdict {
	v := &finding.Verdict{
		ID: d.ID, Rule: d.Rule, Kind: d.Kind, Title: d.Title, Status: finding.Pass, Severity: d.Severity, Account: a, User: d.User, Due: fact.At(d.At),
	}
	if d.KeyID != "" || d.KeyCreated.Known() {
		v.Key = &fact.Key{ID: d.KeyID, Active: true, Created: d.KeyCreated}
	}
	return v
}

// Senders are the deliveries of notices: a Sender a channel, so that a slow one delays nobody. The channels are those of the
// settings as they are now.
type Senders struct {
	Outbox notice.Outbox
	// Channels are those that could be opened, with how long a message is tried; the error is about the others.
	Channels func(ctx context.Context, now time.Time) ([]notice.Channel, time.Duration, error)
	Now      func() time.Time
	Random   func() float64
	Marked   func(e notice.Entry, a notice.Attempt) // may be nil
	Log      *slog.Logger                           // hears of channels that fail, and work again; may be nil

	mu      sync.Mutex
	failing map[string]notice.State // by channel, as the log heard it; none: it works
}

// Send is a handler of Work. A channel that cannot be opened does not stop the others, and is the error when they were served.
func (s *Senders) Send(ctx context.Context) error {
	channels, giveUp, err := s.Channels(ctx, s.Now())
	if err != nil {
		err = fmt.Errorf("open the channels of notices: %w", err)
	}
	sender := &notice.Sender{Outbox: s.Outbox, Channels: slices.Clone(channels), Now: s.Now, Random: s.Random, GiveUp: giveUp, Marked: s.marked}
	_, sent := sender.Tick(ctx)
	return errors.Join(err, sent)
}

func (s *Senders) marked(e notice.Entry, a notice.Attempt) {
	if s.Log != nil {
		s.tell(e.Channel, &a)
	}
	if s.Marked != nil {
		s.Marked(e, a)
	}
}

// tell logs what is new about a channel, not each message: that it fails, that it costs messages, and that it works again.
func (s *Senders) tell(channel string, a *notice.Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.failing[channel]
	switch {
	case a.State == notice.Sent && was != "":
		delete(s.failing, channel)
		s.Log.Warn("the channel of notices works again", "channel", channel)
		return
	case a.State == notice.Sent || a.State == was || was == notice.GivenUp:
		return
	case a.State == notice.GivenUp:
		s.Log.Warn("a notice is given up", "channel", channel, "why", a.Why)
	default:
		s.Log.Warn("a notice is not delivered; it is tried again", "channel", channel, "why", a.Why, "next", a.NextTry)
	}
	if s.failing == nil {
		s.failing = map[string]notice.State{}
	}
	s.failing[channel] = a.State
}
