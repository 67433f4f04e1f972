package rotate_test

import (
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/internal/rotate"
)

// Every cell of the table: each pair of state and event has at most one edge, and what it leads to keeps what a
// rotation promises.
func TestEdges_everyCellKeepsThePromises(t *testing.T) {
	edges := rotate.Edges()
	for _, from := range rotate.States() {
		for _, on := range rotate.EventNames() {
			var found []rotate.Edge
			for _, e := range edges {
				if e.From == from && e.On == on {
					found = append(found, e)
				}
			}
			if len(found) > 1 {
				t.Errorf("%s on %q: %d edges", from, on, len(found))
				continue
			}
			got, ok := rotate.Next(from, on)
			if ok != (len(found) == 1) || ok && got != found[0] {
				t.Errorf("Next(%s, %q) = %+v, %v; the table has %+v", from, on, got, ok, found)
			}
			to := from // no edge: nothing changes
			if ok {
				to = got.To
			}
			checkCell(t, from, on, to, ok)
		}
	}
}

func checkCell(t *testing.T, from rotate.State, on rotate.EventName, to rotate.State, edge bool) {
	t.Helper()
	cell := string(from) + " on " + string(on)
	switch {
	case from.Over() && edge:
		t.Errorf("%s: what is over stays over", cell)
	case to == rotate.Deactivating && from != to && (from != rotate.Proving || on != rotate.Proven):
		t.Errorf("%s: the old key goes only after proof", cell)
	case to == rotate.Quiet && from != to && (from != rotate.Deactivating || on != rotate.WentInert):
		t.Errorf("%s: quiet begins with the deactivation seen", cell)
	case to == rotate.Deleting && from != to && (from != rotate.Quiet || on != rotate.QuietOver):
		t.Errorf("%s: nothing is deleted before its quiet period is over", cell)
	case to == rotate.Done && from != to && (from != rotate.Deleting || on != rotate.WentForGood) && (from != rotate.Probing || on != rotate.HandedOver):
		t.Errorf("%s: done only when the old key is seen gone, or a first key handed over", cell)
	case to == rotate.Creating && from != to && (from != rotate.Requested || on != rotate.SlotFree):
		t.Errorf("%s: a key is made only where there is a slot", cell)
	case on == rotate.Unreadable && to != from:
		t.Errorf("%s leads to %s: what could not be read moves nothing", cell, to)
	case on == rotate.UserGone && !from.Over() && to != rotate.Gone:
		t.Errorf("%s leads to %s, want gone", cell, to)
	case on == rotate.TooLong && edge && to != rotate.Held:
		t.Errorf("%s leads to %s: at a limit a person is asked", cell, to)
	case on == rotate.UsedAgain && edge && to != rotate.Held:
		t.Errorf("%s leads to %s: a use after deactivation reaches a person", cell, to)
	case on == rotate.Cancel && !from.Over() && from != rotate.Deleting && from != rotate.BackingOut && to != rotate.BackingOut:
		t.Errorf("%s leads to %s: every state before deleting can be backed out of", cell, to)
	case on == rotate.Approve && edge && (!from.Waiting() || to != rotate.ToResume):
		t.Errorf("%s leads to %s: a person lets a waiting rotation go on where it was", cell, to)
	case to == rotate.ToResume && !from.Waiting():
		t.Errorf("%s: nothing to resume", cell)
	}
}

func TestEdges_everyStateIsReachedAndEveryEndIsReachable(t *testing.T) {
	reached := map[rotate.State]bool{rotate.Requested: true}
	for range rotate.States() {
		for _, e := range rotate.Edges() {
			if reached[e.From] && e.To != rotate.ToResume {
				reached[e.To] = true
			}
		}
	}
	for _, s := range rotate.States() {
		if !reached[s] {
			t.Errorf("no way leads to %s", s)
		}
		out := slices.ContainsFunc(rotate.Edges(), func(e rotate.Edge) bool { return e.From == s && e.To != s })
		if out == s.Over() {
			t.Errorf("%s: leads on: %v, is over: %v", s, out, s.Over())
		}
	}
}
