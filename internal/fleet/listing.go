package fleet

import (
	"context"
	"fmt"
	"slices"
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
	turn    chan struct{} // taken by who looks, and lists if need be
	at      time.Time     // zero: not listed yet
	members map[string]*audit.Member
	put     map[collectArgs]bool // what was put in since it was listed
}

func (l *listing) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// member is an account to be read; nil: it is not listed. Its error is that of the first list, or of ctx.
func (l *listing) member(ctx context.Context, id string) (*audit.Member, error) {
	unlock, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	age := l.work.Now().Sub(l.at)
	if l.at.IsZero() || age >= l.Relist || l.members[id] == nil && age >= newcomer {
		if err := l.list(ctx, l.work.List); err != nil {
			return nil, err
		}
	}
	return l.members[id], nil
}

// list asks which accounts there are. When that cannot be had the list of before serves on.
func (l *listing) list(ctx context.Context, ask func(context.Context) (daemon.Listing, error)) error {
	got, err := ask(ctx)
	now := l.work.Now()
	l.work.Health.Note(daemon.Accounts, err, now)
	switch {
	case err != nil && l.at.IsZero():
		return fmt.Errorf("list the accounts: %w", err)
	case err != nil:
		if ctx.Err() == nil {
			l.log.Error(daemon.Accounts, "error", err)
		}
		return ctx.Err()
	}
	l.at, l.members, l.put = now, make(map[string]*audit.Member, len(got.Members)), map[collectArgs]bool{}
	for i := range got.Members {
		l.members[got.Members[i].Account.ID] = &got.Members[i]
	}
	return nil
}

// accounts puts in a job for each account that is due, and for those that will be before the schedule comes by again. What is
// open of accounts that are gone is closed when they are listed, which is so when the schedule has come by, or the list is old.
func (l *listing) accounts(ctx context.Context) error {
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	now := l.work.Now().UTC()
	last := l.Schedule.Last(now)
	if l.at.IsZero() || now.Sub(l.at) >= l.Relist || last.After(l.at) {
		if err := l.list(ctx, l.work.Accounts); err != nil {
			return err
		}
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
	ids := make([]string, 0, len(l.members))
	for id := range l.members {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
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
