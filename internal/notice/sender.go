package notice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Channel delivers messages to one place. It is safe for concurrent use.
type Channel interface {
	Name() string
	// Send delivers a message. It ends with ctx. A message may come twice, with the same id. The error is a *Failure where
	// it says more than "try again later"; no error holds a secret.
	Send(ctx context.Context, m Message) (Receipt, error)
}

// Receipt is what a channel says of a message that it took.
type Receipt struct {
	Answer string // id that the other side gave it; may be empty
}

// Failure is a delivery that did not succeed, and what to do about it.
type Failure struct {
	Err       error
	Permanent bool          // this message will never be taken: it is given up
	After     time.Duration // the other side asked to wait so long; 0: it did not say
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

const (
	defaultLimit       = 7 * time.Second // a clean stop waits for it, and for the mark
	defaultConcurrency = 4
	defaultGiveUp      = 72 * time.Hour

	// lease is for how long entries that were taken are kept from others, beside the limit of a delivery: for marking them.
	lease = time.Minute

	firstBackoff   = time.Minute
	longestBackoff = 6 * time.Hour
	longestAfter   = 24 * time.Hour
)

// Backoff is the pause after the given number of failures: a minute, doubled each time, six hours at most, times 0.75 to
// 1.25 by random, which is from 0 up to 1.
func Backoff(failures int, random float64) time.Duration {
	pause := longestBackoff
	if shift := max(failures, 1) - 1; shift < 9 {
		pause = min(firstBackoff<<shift, longestBackoff)
	}
	return time.Duration(float64(pause) * (0.75 + random/2))
}

// Sender delivers what waits in the outbox. Its fields are not changed while it works.
type Sender struct {
	Outbox   Outbox
	Channels []Channel // each name once; entries of other channels are left alone
	Now      func() time.Time
	Random   func() float64 // from 0 up to 1, for Backoff; called by several goroutines at once

	Limit       time.Duration // of one delivery; 0 means 7 s
	Concurrency int           // deliveries under way at once, for each channel; 0 means 4
	GiveUp      time.Duration // an entry that is older and failed again is given up; 0 means 72 h
	// Marked hears of each attempt after it is on record, from several goroutines at once; may be nil.
	Marked func(e Entry, a Attempt)
}

// Tally counts attempts.
type Tally struct{ Sent, Failed, GivenUp int }

// Tick delivers what is due, channel by channel beside each other, and returns when all have ended. A channel is left
// for the next Tick when nothing more is due, when a delivery failed in a way that is worth retrying, or when the Tick has
// lasted for Limit: so a Tick ends within twice that. Whoever wants a slow channel not to delay the next Tick of the
// others gives each a Sender of its own.
//
// The end of ctx stops taking entries; deliveries under way have the rest of their time, and are marked. The error is about
// the outbox: what went wrong with a delivery is in its receipt.
func (s *Sender) Tick(ctx context.Context) (Tally, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total Tally
		errs  []error
	)
	for _, c := range s.Channels {
		wg.Go(func() {
			t, err := s.channel(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			total.Sent, total.Failed, total.GivenUp = total.Sent+t.Sent, total.Failed+t.Failed, total.GivenUp+t.GivenUp
			if err != nil {
				errs = append(errs, fmt.Errorf("channel %q: %w", c.Name(), err))
			}
		})
	}
	wg.Wait()
	slices.SortFunc(errs, func(a, b error) int { return slices.Compare([]byte(a.Error()), []byte(b.Error())) })
	return total, errors.Join(errs...)
}

// channel delivers what is due for one channel, a few entries at a time.
func (s *Sender) channel(ctx context.Context, c Channel) (Tally, error) {
	var total Tally
	start := s.Now()
	for ctx.Err() == nil {
		now := s.Now()
		if now.Sub(start) >= s.limit() {
			return total, nil
		}
		entries, err := s.Outbox.Take(ctx, c.Name(), now.UTC(), now.Add(s.limit()+lease).UTC(), s.concurrency())
		switch {
		case ctx.Err() != nil: // what was taken, if anything, is due again when its lease is over
			return total, nil //nolint:nilerr // stopped, as asked
		case err != nil:
			return total, fmt.Errorf("take from the outbox: %w", err)
		case len(entries) == 0:
			return total, nil
		}
		attempts, err := s.round(ctx, c, entries)
		for _, a := range attempts {
			total.count(a.State)
		}
		if err != nil {
			return total, err
		}
		if slices.ContainsFunc(attempts, func(a Attempt) bool { return a.State == Failed }) {
			return total, nil
		}
	}
	return total, nil
}

func (t *Tally) count(s State) {
	switch s {
	case Sent:
		t.Sent++
	case Failed:
		t.Failed++
	case GivenUp:
		t.GivenUp++
	}
}

// round delivers entries beside each other, and marks each as soon as its channel has answered.
func (s *Sender) round(ctx context.Context, c Channel, entries []Entry) ([]Attempt, error) {
	var wg sync.WaitGroup
	attempts, errs := make([]Attempt, len(entries)), make([]error, len(entries))
	for i := range entries {
		wg.Go(func() {
			attempts[i] = s.deliver(ctx, c, &entries[i])
			// Also after the end of ctx: what was sent must not be sent again.
			errs[i] = s.mark(context.WithoutCancel(ctx), &entries[i], attempts[i])
		})
	}
	wg.Wait()
	return attempts, errors.Join(errs...)
}

func (s *Sender) mark(ctx context.Context, e *Entry, a Attempt) error {
	ctx, cancel := context.WithTimeout(ctx, s.limit())
	defer cancel()
	if err := s.Outbox.Mark(ctx, e.ID, a); err != nil {
		return fmt.Errorf("record that notice %q is %s: %w", e.ID, a.State, err)
	}
	if s.Marked != nil {
		s.Marked(*e, a)
	}
	return nil
}

// deliver tries one entry. The end of ctx does not end it: what the other side may have taken by then would be sent again.
func (s *Sender) deliver(ctx context.Context, c Channel, e *Entry) Attempt {
	m, err := Decode(e.Body)
	if err != nil {
		return Attempt{At: s.Now().UTC(), State: GivenUp, Why: err.Error()}
	}
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limit())
	defer cancel()
	receipt, err := c.Send(own, m)
	a := Attempt{At: s.Now().UTC(), State: Sent, Answer: cut(plain(receipt.Answer), longest)}
	if err == nil {
		return a
	}
	a.Answer, a.Why = "", plain(err.Error())
	var failure *Failure
	if !errors.As(err, &failure) {
		failure = &Failure{Err: err}
	}
	if errors.Is(own.Err(), context.DeadlineExceeded) {
		a.Why = cut(fmt.Sprintf("no answer within %s: %s", s.limit(), a.Why), longest)
	}
	end := e.AddedAt.Add(s.giveUp())
	if failure.Permanent || !a.At.Before(end) {
		a.State = GivenUp
		return a
	}
	pause := max(Backoff(e.Tries+1, s.Random()), min(failure.After, longestAfter))
	a.State, a.NextTry = Failed, a.At.Add(pause)
	if a.NextTry.After(end) {
		a.NextTry = end // one last try
	}
	return a
}

func (s *Sender) limit() time.Duration  { return orDefault(s.Limit, defaultLimit) }
func (s *Sender) giveUp() time.Duration { return orDefault(s.GiveUp, defaultGiveUp) }
func (s *Sender) concurrency() int      { return orDefault(s.Concurrency, defaultConcurrency) }

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
