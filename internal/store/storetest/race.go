package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

// turns is how many edges the racers take of each rotation.
const turns = 4

// raced are the states that a rotation goes through in a race, and why.
var raced = [turns + 1]struct {
	state rotate.State
	why   rotate.EventName
}{
	{rotate.Requested, ""},
	{rotate.Creating, rotate.SlotFree},
	{rotate.Delivering, rotate.Made},
	{rotate.BackingOut, rotate.Cancel},
	{rotate.Cancelled, rotate.BackedOut},
}

// tickAll takes the edges of all rotations as fast as it can, until none is due; it says how many edges it took and how
// often another one was faster.
func tickAll(ctx context.Context, l *store.Ledger) error {
	took, lost := 0, 0
	for {
		ids, err := l.Due(ctx, "", start.AddDate(1, 0, 0), 16)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			fmt.Println(took, lost)
			return nil
		}
		for _, id := range ids {
			won, err := tickOne(ctx, l, id)
			switch {
			case errors.Is(err, rotate.ErrLost):
				lost++
			case err != nil:
				return err
			case won:
				took++
			}
		}
	}
}

func tickOne(ctx context.Context, l *store.Ledger, id string) (bool, error) {
	r, err := l.Load(ctx, id)
	if err != nil || r.State.Over() {
		return false, err
	}
	next := raced[r.Version]
	from := r.State
	r.State = next.state
	return true, l.Save(ctx, r, event(r, from, next.why))
}

// beginAll begins a rotation of each user, and says how many.
func beginAll(ctx context.Context, l *store.Ledger, racer string, count int) error {
	won := 0
	for i := range count {
		r := rotating(fmt.Sprintf("rot-%04d-%s", i, racer), fmt.Sprint("u", i), i)
		err := l.Begin(ctx, &r, event(&r, r.State, ""))
		switch {
		case err == nil:
			won++
		case !errors.Is(err, rotate.ErrLive):
			return err
		}
	}
	fmt.Println(won)
	return nil
}

// racersShareRotations has two processes begin and then move the same 500 rotations.
func racersShareRotations(t *testing.T, fresh func(t testing.TB) string) {
	url := fresh(t)
	const count = 500
	both := func(one, two string) (a, b string) {
		t.Helper()
		p, q := launch(t, url, one), launch(t, url, two)
		p.goOn(t)
		q.goOn(t)
		a, err := p.end()
		b, otherErr := q.end()
		if err := errors.Join(err, otherErr); err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	a, b := both(fmt.Sprintf("begin one %d", count), fmt.Sprintf("begin two %d", count))
	one, oneErr := strconv.Atoi(a)
	two, twoErr := strconv.Atoi(b)
	if err := errors.Join(oneErr, twoErr); err != nil || one+two != count {
		t.Fatalf("one began %q and the other %q of %d: %v", a, b, count, err)
	}
	a, b = both("tick", "tick")
	var took, lost [2]int
	for i, said := range []string{a, b} {
		if _, err := fmt.Sscan(said, &took[i], &lost[i]); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("took %v, lost %v", took, lost)
	if took[0]+took[1] != count*turns {
		t.Errorf("%d and %d edges were taken, of %d", took[0], took[1], count*turns)
	}
	d := reopen(t, url)
	found, err := ledgerOf(d).Rotations(t.Context(), store.RotationFilter{})
	if err != nil || len(found) != count {
		t.Fatalf("%d rotations, %v", len(found), err)
	}
	for i := range found {
		r := &found[i]
		events, err := ledgerOf(d).Events(t.Context(), r.ID)
		if err != nil || len(events) != turns+1 || r.Version != turns+1 || r.State != rotate.Cancelled {
			t.Errorf("%d events, %v, of %+v", len(events), err, r)
		}
	}
	shut(t, d)
}

// dieRotating begins a rotation and moves it on, to be killed on the way.
func dieRotating(ctx context.Context, l *store.Ledger) error {
	r := rotating("rot-dies", "ci", 0)
	if err := l.Begin(ctx, &r, event(&r, r.State, "")); err != nil {
		return err
	}
	for range turns {
		if _, err := tickOne(ctx, l, r.ID); err != nil {
			return err
		}
	}
	return nil
}

// diesAmidSave kills the process before and after a write of the ledger: row and events are both there, or neither.
func diesAmidSave(t *testing.T, fresh func(t testing.TB) string) {
	for version, at := range []string{"before begin", "before save", "after save"} {
		url := fresh(t)
		p := launch(t, url, "rotate-die "+at)
		p.goOn(t)
		if _, err := p.end(); err == nil {
			t.Fatalf("%s: it did not die", at)
		}
		d := reopen(t, url)
		l := ledgerOf(d)
		r, err := l.Load(t.Context(), "rot-dies")
		if version == 0 {
			if !errors.Is(err, rotate.ErrNoRotation) {
				t.Errorf("%s: %+v, %v", at, r, err)
			}
			shut(t, d)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		events, err := l.Events(t.Context(), r.ID)
		if err != nil || r.Version != int64(version) || len(events) != version || events[version-1].To != r.State {
			t.Errorf("%s: %d events, %v, of %+v", at, len(events), err, r)
		}
		if won, err := tickOne(t.Context(), l, r.ID); err != nil || !won { // the next process goes on
			t.Errorf("%s: %v", at, err)
		}
		shut(t, d)
	}
}

// savesRace has many who loaded the same version save it: one of them does, each time.
func savesRace(t *testing.T, d *store.DB) {
	const many = 8
	l := ledgerOf(d)
	r := rotating("rot-0001", "ci", 0)
	beginRotation(t, l, &r)
	for version := 1; version <= turns; version++ {
		loaded := make([]*rotate.Rotation, many)
		for i := range loaded {
			var err error
			if loaded[i], err = l.Load(t.Context(), r.ID); err != nil {
				t.Fatal(err)
			}
		}
		errs := make([]error, many)
		var wait sync.WaitGroup
		for i, r := range loaded {
			wait.Go(func() {
				from := r.State
				r.State = raced[version].state
				errs[i] = l.Save(t.Context(), r, event(r, from, raced[version].why))
			})
		}
		wait.Wait()
		won := 0
		for i, err := range errs {
			switch {
			case err == nil && loaded[i].Version == int64(version+1):
				won++
			case !errors.Is(err, rotate.ErrLost) || loaded[i].Version != int64(version):
				t.Errorf("version %d: %v", loaded[i].Version, err)
			}
		}
		if events, err := l.Events(t.Context(), r.ID); won != 1 || err != nil || len(events) != version+1 {
			t.Errorf("%d saved version %d, %d events, %v", won, version, len(events), err)
		}
	}
}
