package daemon

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
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
	Concurrency int           // accounts read at once; 0 means 8
	Tick        time.Duration // between two looks at what is due; 0 means 15 s

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
	was := w.Health.Checks()[part].Err
	err := guarded(ctx, do)
	w.Health.Note(part, err, w.Now())
	if err != nil && ctx.Err() == nil && (was == nil || was.Error() != err.Error()) { // what stands is told once; /readyz tells it each time
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
	unheard failure // the list, since it cannot be had

	mu      sync.Mutex         // guards the next one
	trouble map[string]failure // accounts that are due and failed
}

// round reads the accounts that are due, and has people told. While the accounts are spread, what changed is gathered: people
// are told once, of all of them, except what cannot wait.
func (c *collecting) round(ctx context.Context) error {
	err := c.read(ctx)
	if c.Tell != nil && ctx.Err() == nil {
		c.try(ctx, Notices, func(ctx context.Context) error { return c.Tell(ctx, c.Schedule.Underway(c.Now())) })
	}
	return err
}

// read lists the accounts when it is time to, and reads those that are due.
func (c *collecting) read(ctx context.Context) error {
	now := c.Now().UTC()
	if err := c.list(ctx, now); err != nil {
		return err
	}
	judged, err := c.Store.JudgedAt(ctx)
	if err != nil {
		return err
	}
	trouble := map[string]failure{}
	var due []*audit.Member
	for i := range c.listing.Members {
		m := &c.listing.Members[i]
		if c.Schedule.Due(m.Account.ID, judged[m.Account.ID], now).IsZero() {
			continue
		}
		f, failed := c.trouble[m.Account.ID]
		if failed {
			trouble[m.Account.ID] = f
		}
		if !now.Before(f.next) {
			due = append(due, m)
		}
	}
	c.trouble = trouble
	c.collect(ctx, due)
	return c.troubled()
}

// troubled names the accounts that failed and were not read since; nil: there are none.
func (c *collecting) troubled() error {
	ids := slices.Sorted(maps.Keys(c.trouble))
	if len(ids) == 0 {
		return nil
	}
	return Trouble("account "+ids[0], len(ids)-1, c.trouble[ids[0]].err)
}

// list asks again which accounts there are once the schedule has come by since it asked last. When the list cannot be had, that of
// before serves on, and a later round asks again.
func (c *collecting) list(ctx context.Context, now time.Time) error {
	if now.Before(c.unheard.next) || c.unheard.err == nil && !c.listed.IsZero() && !c.Schedule.Last(now).After(c.listed) {
		c.Health.Note(Accounts, c.unheard.err, now)
		return c.first()
	}
	l, err := c.Accounts(ctx)
	c.Health.Note(Accounts, err, now)
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		c.unheard = c.unheard.again(err, c.Now().UTC())
		if !c.listed.IsZero() {
			c.Log.Error(Accounts, "error", err)
		}
		return c.first()
	}
	c.listing, c.listed, c.unheard = l, now, failure{}
	return nil
}

// first is why there is no list at all; nil: there is one.
func (c *collecting) first() error {
	if c.listed.IsZero() {
		return c.unheard.err
	}
	return nil
}

// collect reads accounts, some at once. One that fails is tried again later, each time after a longer pause.
func (c *collecting) collect(ctx context.Context, due []*audit.Member) {
	c.queue.Store(int64(len(due)))
	defer c.queue.Store(0)
	n := c.Concurrency
	if n <= 0 {
		n = 8
	}
	var g errgroup.Group
	g.SetLimit(n)
	for _, m := range due {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			defer c.queue.Add(-1)
			err := guarded(ctx, func(ctx context.Context) error { return c.Collect(ctx, m) })
			if ctx.Err() == nil {
				c.note(m.Account.ID, err)
			}
			return nil
		})
	}
	_ = g.Wait() // errors stand beside it
}

// note keeps how an account fared.
func (c *collecting) note(account string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.trouble, account)
		return
	}
	c.trouble[account] = c.trouble[account].again(err, c.Now().UTC())
	c.Log.Error(Collect, "account", account, "error", err, "next_try", c.trouble[account].next)
}
