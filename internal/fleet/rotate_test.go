package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws/sim"
	"github.com/keyreeve/keyreeve/internal/fleet"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// turning is a ledger of rotations, and who moves them on: a second later each time, so many times.
type turning struct {
	mu    sync.Mutex
	next  map[string]time.Time // zero: at once
	left  map[string]int
	fails map[string]int // the turns that fail first
	idle  map[string]int // the turns that move nothing first

	turns map[string]int // by rotation and instant
	under map[string]bool
	wrong []string
}

func (r *turning) join(s *fleet.Settings) { s.Rotations, s.Rotate = r, r.rotate }

func (r *turning) Due(_ context.Context, _ string, now time.Time, _ int) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for id, next := range r.next {
		if r.left[id] > 0 && !next.After(now) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func (r *turning) Load(_ context.Context, id string) (*rotate.Rotation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &rotate.Rotation{ID: id, Account: sim.ID(0), NextAt: r.next[id], State: rotate.Proving}
	if r.left[id] == 0 {
		out.State = rotate.Done
	}
	return out, nil
}

func (r *turning) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.left {
		if n > 0 {
			return false
		}
	}
	return true
}

func (r *turning) rotate(ctx context.Context, id, account string) error {
	r.mu.Lock()
	if r.turns == nil {
		r.turns, r.under = map[string]int{}, map[string]bool{}
	}
	if r.under[account] {
		r.wrong = append(r.wrong, "two turns in an account at once: "+id)
	}
	r.under[account] = true
	r.mu.Unlock()
	err := ctx.Err() // lets others in
	r.mu.Lock()
	defer r.mu.Unlock()
	r.under[account] = false
	switch {
	case err != nil:
		return err
	case r.fails[id] > 0:
		r.fails[id]--
		return errors.New("the ledger is away")
	case r.idle[id] > 0:
		r.idle[id]--
		return nil
	}
	r.turns[fmt.Sprint(id, " ", r.next[id].UnixMicro())]++
	r.left[id]--
	r.next[id] = time.Now().Add(time.Second).Truncate(time.Microsecond)
	return nil
}

func TestRun_takesEachTurnOfARotationOnce(t *testing.T) {
	t.Parallel()
	const rotations, each = 12, 3
	w := organise(t, sim.Options{Accounts: 1, Users: 1})
	db := postgres.URL(t)
	turns := &turning{next: map[string]time.Time{}, left: map[string]int{}, fails: map[string]int{"rot-0003": 1}, idle: map[string]int{"rot-0005": 2}}
	for i := range rotations {
		id := fmt.Sprintf("rot-%04d", i)
		turns.next[id], turns.left[id] = time.Now().Truncate(time.Microsecond), each
	}
	var machines []*running
	for _, name := range []string{"one", "two", "three"} {
		machines = append(machines, begin(t, w.machine(name, db), turns.join))
	}
	w.wait(t, "all turns taken", func(map[string]int) bool { return turns.over() })
	for _, m := range machines {
		m.end(t)
	}
	if len(turns.turns) != rotations*each || len(turns.wrong) > 0 {
		t.Errorf("%d turns, want %d; %v", len(turns.turns), rotations*each, turns.wrong)
	}
	for turn, n := range turns.turns {
		if n != 1 {
			t.Errorf("%s was taken %d times", turn, n)
		}
	}
}
