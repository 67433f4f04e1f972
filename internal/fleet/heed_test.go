package fleet_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sim"
	"github.com/keyreeve/keyreeve/internal/fleet"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

func TestRun_aPartThatAnotherMachineDidIsWellHere(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 1, Users: 1})
	db := postgres.URL(t)
	var health *daemon.Health
	r := begin(t, w.machine("one", db), func(s *fleet.Settings) {
		health = s.Work.Health
		s.Work.Prune = func(context.Context) error { return errors.New("the disk is broken") }
	})
	w.wait(t, "a failure", func(map[string]int) bool { return health.Checks()[daemon.Retention].Err != nil })
	const another = `WITH did AS (UPDATE river_job SET state = 'completed', finalized_at = now() WHERE args ->> 'part' = 'retention' RETURNING 1)
		SELECT count(*) FROM did`
	if n := query[int](t, db, another); n != 1 {
		t.Fatalf("%d jobs of the part", n)
	}
	w.wait(t, "that it is well", func(map[string]int) bool { return health.Checks()[daemon.Retention].Err == nil })
	r.end(t)
}

func TestRun_whatFailsOnOneMachineAloneIsNotHiddenByTheOthers(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 1, Users: 1})
	db := postgres.URL(t)
	var health *daemon.Health
	var mended atomic.Bool
	begin(t, w.machine("one", db), func(s *fleet.Settings) {
		health = s.Work.Health
		send := s.Work.Send
		s.Work.Send = func(ctx context.Context) error {
			if !mended.Load() {
				return errors.New("a variable is missing here")
			}
			return send(ctx)
		}
	})
	w.wait(t, "a failure", func(map[string]int) bool { return health.Checks()[daemon.Delivery].Err != nil })
	since := health.Checks()[daemon.Delivery].Since
	begin(t, w.machine("two", db), nil)
	hidden := 0
	w.wait(t, "messages sent by the other one", func(n map[string]int) bool {
		if c := health.Checks()[daemon.Delivery]; c.Err == nil || !c.Since.Equal(since) {
			hidden++
		}
		return n["sent two"] >= 4
	})
	if hidden > 0 {
		t.Errorf("it was well %d times", hidden)
	}
	mended.Store(true)
	w.wait(t, "that it is well", func(map[string]int) bool { return health.Checks()[daemon.Delivery].Err == nil })
}

// An alert tells of a part that was not tried for long: one that has nothing to do is none.
func TestRun_everyPartIsLookedAtThoughNothingIsDue(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 1, Users: 1})
	db := postgres.URL(t)
	var machines []*daemon.Health
	for _, name := range []string{"one", "two"} {
		begin(t, w.machine(name, db), func(s *fleet.Settings) { machines = append(machines, s.Work.Health) })
	}
	w.wait(t, "all judged, and messages sent", func(n map[string]int) bool { return n["judged"] >= 2 && n["sent"] >= 3 })
	for _, h := range machines {
		before := h.Checks()
		w.wait(t, "that each part is looked at again", func(map[string]int) bool {
			now := h.Checks()
			for _, part := range []string{daemon.Accounts, daemon.Collect, daemon.Notices, daemon.Delivery} {
				if !now[part].At.After(before[part].At) || now[part].Err != nil {
					return false
				}
			}
			return true
		})
	}
}
