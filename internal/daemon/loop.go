package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyreeve/keyreeve/internal/audit"
)

// Names of the parts of the work, as Health and the log know them.
const (
	Accounts  = "accounts"
	Collect   = "collect"
	Notices   = "notices"
	Delivery  = "delivery"
	Rotations = "rotations"
	Retention = "retention"
)

// Loop runs the work on this machine, without a server.
type Loop struct {
	*Work
	Schedule    *Schedule
	Concurrency int                                              // accounts read at once; 0 means 8
	Tick        time.Duration                                    // between two looks at what is due; 0 means 15 s
	Wait        func(ctx context.Context, d time.Duration) error // the error is that of ctx

	queue atomic.Int64
}

// Queue is how many accounts are due and not read yet.
func (l *Loop) Queue() int { return int(l.queue.Load()) }

// Run works until ctx ends, and returns when what was under way has ended. Each part has a rhythm of its own: a part that is
// slow or broken does not stop the others.
func (l *Loop) Run(ctx context.Context) {
	var wg sync.WaitGroup
	every := func(d time.Duration, part string, do func(ctx context.Context) error) {
		if do == nil {
			return
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				l.try(ctx, part, do)
				if l.Wait(ctx, d) != nil {
					return
				}
			}
		})
	}
	c := &collecting{Loop: l}
	every(l.tick(), Collect, c.round)
	every(l.tick(), Rotations, l.Rotate)
	every(l.tick(), Delivery, l.Send)
	every(24*time.Hour, Retention, l.Prune)
	wg.Wait()
}

func (l *Loop) tick() time.Duration {
	if l.Tick > 0 {
		return l.Tick
	}
	return 15 * time.Second
}

// try runs a part of the work once; a panic in it is an error like another, and is logged with its stack.
func (w *Work) try(ctx context.Context, part string, do func(ctx context.Context) error) {
	err := guarded(ctx, do)
	w.Health.Note(part, err, w.Now())
	if err != nil && ctx.Err() == nil {
		w.Log.Error(part, "error", err)
	}
}

func guarded(ctx context.Context, do func(ctx context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do(ctx)
}

// collecting is the part that reads accounts.
type collecting struct {
	*Loop
	listing Listing
	listed  time.Time
}

// round lists the accounts when it is time to, reads those that are due, and has people told.
func (c *collecting) round(ctx context.Context) error {
	now := c.Now().UTC()
	if err := c.list(ctx, now); err != nil {
		return err
	}
	judged, err := c.Store.JudgedAt(ctx)
	if err != nil {
		return err
	}
	var due []*audit.Member
	for i := range c.listing.Members {
		m := &c.listing.Members[i]
		if !c.Schedule.Due(m.Account.ID, judged[m.Account.ID], now).IsZero() {
			due = append(due, m)
		}
	}
	err = c.collect(ctx, due)
	// While the accounts are spread, what changed is gathered: people are told once, of all of them.
	if c.Tell != nil && ctx.Err() == nil && !c.Schedule.Underway(c.Now()) {
		c.try(ctx, Notices, c.Tell)
	}
	return err
}

// list asks again which accounts there are once the schedule has come by since it asked last. When the list cannot be had, that of
// before serves on, and the next round asks again.
func (c *collecting) list(ctx context.Context, now time.Time) error {
	if !c.listed.IsZero() && !c.Schedule.Last(now).After(c.listed) {
		return nil
	}
	l, err := c.Accounts(ctx)
	c.Health.Note(Accounts, err, now)
	switch {
	case err == nil:
		c.listing, c.listed = l, now
		return nil
	case c.listed.IsZero():
		return err
	default:
		c.Log.Error(Accounts, "error", err)
		return nil
	}
}

// collect reads accounts, some at once. An account whose record fails is tried again in the next round, and the first such
// error returned.
func (c *collecting) collect(ctx context.Context, due []*audit.Member) error {
	c.queue.Store(int64(len(due)))
	defer c.queue.Store(0)
	n := c.Concurrency
	if n <= 0 {
		n = 8
	}
	var g errgroup.Group
	g.SetLimit(n)
	var first sync.Once
	var err error
	for _, m := range due {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			defer c.queue.Add(-1)
			one := guarded(ctx, func(ctx context.Context) error { return c.Collect(ctx, m) })
			if one != nil && ctx.Err() == nil {
				c.Log.Error(Collect, "account", m.Account.ID, "error", one)
				first.Do(func() { err = fmt.Errorf("account %s: %w", m.Account.ID, one) })
			}
			return nil
		})
	}
	_ = g.Wait() // errors stand beside it
	return err
}
