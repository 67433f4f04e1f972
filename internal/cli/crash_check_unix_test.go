//go:build unix

package cli_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// evidence is the account and the journal after a process ended.
type evidence struct {
	users   []fakeaws.User
	writes  []fakeaws.Write // that took effect or found it so
	calls   map[string]int  // that asked AWS to change a key, by key id, whatever the answer
	runs    []journal.Run
	entries []journal.Entry
}

// expectation is what a command is to do, and where it begins.
type expectation struct {
	users  []fakeaws.User
	known  map[string]bool           // runs before it
	wanted map[string]journal.Action // by key id
}

// tally is what the journal and AWS say about one key.
type tally struct {
	calls, effects      int
	intents, done, open int
}

// violations says what is wrong at any moment, and, when final, also what is not complete.
func (x *expectation) violations(e *evidence, final bool) []string {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if err := journal.Verify(e.entries); err != nil {
		bad("the chain is broken: %v", err)
	}
	keys := x.tallies(e, bad)
	open := 0
	for _, id := range slices.Sorted(maps.Keys(x.wanted)) {
		t := keys[id]
		open += t.open
		x.judge(id, t, final, bad)
	}
	if open > 1 {
		bad("%d steps are unresolved, and one process tries one at a time", open)
	}
	if want := x.after(keys); !reflect.DeepEqual(e.users, want) {
		bad("the account is\n    %+v\n  and should be\n    %+v", e.users, want)
	}
	if final {
		x.ended(e, bad)
	}
	return wrong
}

// judge compares what AWS and the journal say about one key.
func (x *expectation) judge(id string, t tally, final bool, bad func(string, ...any)) {
	switch {
	case t.calls > 1 || t.effects > 1:
		bad("key %s: changed by %d calls, %d with effect", id, t.calls, t.effects)
	case t.calls > 0 && t.intents == 0:
		bad("key %s: called AWS without an intent on record", id)
	}
	switch {
	case t.done > 0 && t.effects == 0:
		bad("key %s: the journal says it was done, and nothing happened", id)
	case t.done == 0 && t.open == 0 && t.effects > 0:
		bad("key %s: it happened, and the journal knows nothing of it", id)
	case t.done > 1:
		bad("key %s: the journal says %d times that it was done", id, t.done)
	}
	if !final {
		return
	}
	if t.effects != 1 {
		bad("key %s: %s happened %d times", id, x.wanted[id], t.effects)
	}
	if t.open > 0 || t.done != 1 {
		bad("key %s: in the end %d times done, %d times unresolved", id, t.done, t.open)
	}
}

// tallies counts by key id, and finds what nobody asked for.
func (x *expectation) tallies(e *evidence, bad func(string, ...any)) map[string]tally {
	keys := map[string]tally{}
	for id, n := range e.calls {
		if x.wanted[id] == "" {
			bad("key %s: %d calls to change it, and it is no part of this", id, n)
		}
		t := keys[id]
		t.calls = n
		keys[id] = t
	}
	for _, w := range e.writes {
		t := keys[w.KeyID]
		if !w.Effect {
			bad("key %s: %s %s repeated what was so already", w.KeyID, w.Action, w.Status)
		} else {
			t.effects++
		}
		keys[w.KeyID] = t
	}
	for i := range e.runs {
		if x.known[e.runs[i].ID] {
			continue
		}
		for j := range e.runs[i].Steps {
			s := &e.runs[i].Steps[j]
			t := keys[s.KeyID]
			x.count(&t, s, bad)
			keys[s.KeyID] = t
		}
	}
	return keys
}

func (x *expectation) count(t *tally, s *journal.Step, bad func(string, ...any)) {
	for _, entry := range s.Entries {
		if entry.Kind == journal.Intent {
			t.intents++
		}
	}
	switch status := s.Status(); status {
	case journal.StatusDone:
		t.done++
	case journal.StatusUnresolved:
		t.open++
	case journal.StatusPlanned, journal.StatusAlready, journal.StatusFailed:
	case journal.StatusBeyond:
		if x.wanted[s.KeyID] != "" {
			bad("key %s: %s", s.KeyID, s.Last())
		}
	default:
		bad("key %s: the step is %s: %s", s.KeyID, status, s.Last())
	}
}

// after is the account as it must be, going by what took effect.
func (x *expectation) after(keys map[string]tally) []fakeaws.User {
	users := slices.Clone(x.users)
	for i := range users {
		users[i].Keys = slices.Clone(users[i].Keys)
		for j := range users[i].Keys {
			k := &users[i].Keys[j]
			if keys[k.ID].effects > 0 && x.wanted[k.ID] != journal.Delete {
				k.Inactive = x.wanted[k.ID] == journal.Deactivate
			}
		}
		users[i].Keys = slices.DeleteFunc(users[i].Keys, func(k fakeaws.Key) bool {
			return keys[k.ID].effects > 0 && x.wanted[k.ID] == journal.Delete
		})
		if len(users[i].Keys) == 0 {
			users[i].Keys = nil
		}
	}
	return users
}

// ended checks the last run: it is over, and each of its steps is done or was before.
func (x *expectation) ended(e *evidence, bad func(string, ...any)) {
	if len(e.runs) == 0 || x.known[e.runs[0].ID] {
		bad("no run is on record")
		return
	}
	last := &e.runs[0] // the newest is first
	if last.EndedAt.IsZero() {
		bad("run %s has no end on record", last.ID)
	}
	for i := range last.Steps {
		s := &last.Steps[i]
		switch status := s.Status(); {
		case status == journal.StatusDone, status == journal.StatusAlready:
		case status == journal.StatusBeyond && x.wanted[s.KeyID] == "":
		default:
			bad("key %s: its last step is %s: %s", s.KeyID, status, s.Last())
		}
	}
}
