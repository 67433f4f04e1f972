package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/daemon"
)

const (
	atOnce   = 500         // jobs that are put in by one statement
	newcomer = time.Minute // an account that is not listed is looked for again in a list that is older
)

// listing is which accounts there are, as this machine last heard: jobs name an account by its id alone.
type listing struct {
	*fleet
	turn   chan struct{}        // taken by the one who lists, or puts in; guards the next two
	put    map[collectArgs]bool // what was put in since it was listed
	closed time.Time            // when what is open of accounts that are gone was last closed; zero: not yet
	fails  int                  // in a row
	again  time.Time            // after a failure it is not listed before then

	mu      sync.Mutex // guards what follows
	at      time.Time  // zero: not listed yet
	members map[string]*audit.Member
	failed  error // of the last try; nil: it went well
}

func (l *listing) take(ctx context.Context) (release func(), err error) {
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// last is what was heard, and when.
func (l *listing) last() (members map[string]*audit.Member, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.members, l.at
}

// keep lists at once, so that the first job need not wait for it, and again when the list is old.
func (l *listing) keep(ctx context.Context) {
	for ctx.Err() == nil {
		if release, err := l.take(ctx); err == nil {
			if _, at := l.last(); at.IsZero() || l.work.Now().Sub(at) >= l.Relist {
				_ = l.list(ctx, l.work.List) // who needs it asks again, and says why there is none
			}
			release()
		}
		_ = pause(ctx, l.Relist)
	}
}

// member is an account to be read; nil: it is not listed. Its error is that of the first list, or of ctx.
func (l *listing) member(ctx context.Context, id string) (*audit.Member, error) {
	if members, _ := l.last(); members[id] != nil {
		return members[id], nil
	}
	release, err := l.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	members, at := l.last()
	switch now := l.work.Now(); {
	case now.Before(l.again):
		if at.IsZero() {
			return nil, fmt.Errorf("list the accounts: %w", l.trouble())
		}
	case at.IsZero() || members[id] == nil && now.Sub(at) >= newcomer:
		if err := l.list(ctx, l.work.List); err != nil {
			return nil, err
		}
	}
	members, _ = l.last()
	return members[id], nil
}

// trouble is why the last list could not be had; nil: it could.
func (l *listing) trouble() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// fare keeps how a try to list went: after each that fails the next is later. The caller has the turn.
func (l *listing) fare(err error, now time.Time) {
	l.fails++
	l.again = now.Add(daemon.PauseAfter(l.fails))
	if err == nil {
		l.fails, l.again = 0, time.Time{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
}

// list asks which accounts there are; the caller has the turn. When that cannot be had the list of before serves on.
func (l *listing) list(ctx context.Context, ask func(context.Context) (daemon.Listing, error)) error {
	got, err := ask(ctx)
	now := l.work.Now()
	l.work.Health.Note(daemon.Accounts, err, now)
	_, before := l.last()
	if ctx.Err() == nil {
		l.fare(err, now)
	}
	switch {
	case err != nil && before.IsZero():
		return fmt.Errorf("list the accounts: %w", err)
	case err != nil:
		if ctx.Err() == nil {
			l.log.Error(daemon.Accounts, "error", err)
		}
		return ctx.Err()
	}
	members := make(map[string]*audit.Member, len(got.Members))
	for i := range got.Members {
		members[got.Members[i].Account.ID] = &got.Members[i]
	}
	l.put = map[collectArgs]bool{}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at, l.members = now, members
	return nil
}

// accounts puts in a job for each account that is due, and for those that will be before the schedule comes by again. What is
// open of accounts that are gone is closed when they are listed, which is so when the schedule has come by, or the list is old.
func (l *listing) accounts(ctx context.Context) error {
	release, err := l.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	now := l.work.Now().UTC()
	last := l.Schedule.Last(now)
	if !now.Before(l.again) && (now.Sub(l.closed) >= l.Relist || last.After(l.closed)) {
		if err := l.list(ctx, l.work.Accounts); err != nil {
			return err
		}
	}
	members, at := l.last()
	if !at.Before(now) {
		l.closed = now
	}
	judged, err := l.work.Store.JudgedAt(ctx)
	if err != nil {
		return err
	}
	var jobs []river.InsertManyParams
	add := func(account string, due, from time.Time) {
		if a := (collectArgs{account, due.UTC()}); !due.IsZero() && !l.put[a] {
			jobs = append(jobs, river.InsertManyParams{Args: a, InsertOpts: &river.InsertOpts{ScheduledAt: from}})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(members)) {
		add(id, l.Schedule.Due(id, judged[id], now), time.Time{})
		if coming := last.Add(l.Schedule.Offset(id)); !last.IsZero() && coming.After(now) {
			add(id, coming, coming)
		}
	}
	for some := range slices.Chunk(jobs, atOnce) {
		if _, err := l.queue.InsertMany(ctx, some); err != nil {
			return fmt.Errorf("put %d accounts into the queue: %w", len(some), err)
		}
		for i := range some {
			l.put[some[i].Args.(collectArgs)] = true
		}
	}
	return nil
}
