//go:build unix

package cli_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// An AWS that gets each change twice is what a program looks like that repeats blindly.
func TestCrash_noticesAChangeThatIsMadeTwice(t *testing.T) {
	c := newCrashes(t)
	bare := &scene{expectation: expectation{users: described(t, crashUsers(time.Now().UTC().Truncate(time.Second)))}}
	s := c.applyOf(bare, "apply", 0, keysTo(map[string]journal.Action{"GO": journal.Deactivate}))
	w, err := newWorld(s, goodDay, c.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.double = true
	end, err := w.run(kill{}, s.args...)
	if err != nil {
		t.Fatal(err)
	}
	wrong, _, err := w.check(end)
	if err != nil {
		t.Fatal(err)
	}
	for id := range s.wanted {
		if text := strings.Join(wrong, "\n"); !strings.Contains(text, "key "+id+": changed by 2 calls") {
			t.Errorf("key %s is not among the violations:\n%s", id, text)
		}
	}
}

const (
	goes  = "AKIACRASHANA00000GO1"
	stays = "AKIACRASHEVE000KEEP1"
)

// finished is a world in which the one key that was to go is deactivated, as it should be.
func finished() (*expectation, *evidence) {
	people := func(inactive bool) []fakeaws.User {
		return []fakeaws.User{
			{Name: "ana", Keys: []fakeaws.Key{{ID: goes, Inactive: inactive}}},
			{Name: "eve", Keys: []fakeaws.Key{{ID: stays}}},
		}
	}
	e := &evidence{
		users:  people(true),
		writes: []fakeaws.Write{{Action: "iam:UpdateAccessKey", User: "ana", KeyID: goes, Status: "Inactive", Effect: true}},
		calls:  map[string]int{goes: 1},
		runs: []journal.Run{{ID: "run-1", EndedAt: time.Unix(1, 0), Steps: []journal.Step{{
			KeyID: goes, Action: journal.Deactivate, From: journal.Active, Entries: []journal.Entry{
				{Kind: journal.Intent}, {Kind: journal.Outcome, Result: journal.OK}, {Kind: journal.Verification, Result: journal.Shows},
			},
		}}}},
	}
	return &expectation{users: people(false), wanted: map[string]journal.Action{goes: journal.Deactivate}}, e
}

func TestCrash_noticesEachWayInWhichAWorldIsWrong(t *testing.T) {
	step := func(e *evidence) *journal.Step { return &e.runs[0].Steps[0] }
	for name, c := range map[string]struct {
		forge func(e *evidence)
		final bool // only then it is wrong
		want  string
	}{
		"called twice":        {func(e *evidence) { e.calls[goes] = 2 }, false, "changed by 2 calls"},
		"took effect twice":   {func(e *evidence) { e.writes = append(e.writes, e.writes[0]) }, false, "2 with effect"},
		"repeated blindly":    {func(e *evidence) { e.writes = append(e.writes, fakeaws.Write{KeyID: goes}) }, false, "repeated what was so already"},
		"no intent on record": {func(e *evidence) { step(e).Entries = step(e).Entries[1:] }, false, "without an intent"},
		"done says only the journal": {func(e *evidence) {
			e.users[0].Keys[0].Inactive, e.writes, e.calls = false, nil, map[string]int{}
		}, false, "nothing happened"},
		"done and taken for failed": {func(e *evidence) { step(e).Entries[2].Result = journal.Unmoved }, false, "knows nothing of it"},
		"undone since":              {func(e *evidence) { e.users[0].Keys[0].Inactive = false }, false, "the account is"},
		"another key is gone":       {func(e *evidence) { e.users[1].Keys = nil }, false, "the account is"},
		"another user is gone":      {func(e *evidence) { e.users = e.users[:1] }, false, "the account is"},
		"another key was called":    {func(e *evidence) { e.calls[stays] = 1 }, false, "no part of this"},
		"stale by our own doing": {func(e *evidence) {
			stale := journal.Step{KeyID: goes, Entries: []journal.Entry{{Kind: journal.Left, Result: journal.Stale}}}
			e.runs = append(e.runs, journal.Run{ID: "run-0", Steps: []journal.Step{stale}})
		}, false, "the step is stale"},
		"in a state of nobody": {func(e *evidence) { step(e).Entries[2].Result = journal.Other }, false, "the step is conflict"},
		"a broken chain":       {func(e *evidence) { e.entries = []journal.Entry{{Seq: 1, Hash: "0"}} }, false, "the chain is broken"},
		"two steps unresolved": {func(e *evidence) {
			step(e).Entries = step(e).Entries[:1]
			e.runs = append(e.runs, journal.Run{ID: "run-0", Steps: []journal.Step{*step(e)}})
		}, false, "2 steps are unresolved"},
		"unresolved in the end": {func(e *evidence) { step(e).Entries = step(e).Entries[:2] }, true, "1 times unresolved"},
		"not done in the end": {func(e *evidence) {
			e.users[0].Keys[0].Inactive, e.writes, e.calls = false, nil, map[string]int{}
			step(e).Entries = nil
		}, true, "happened 0 times"},
		"no end": {func(e *evidence) { e.runs[0].EndedAt = time.Time{} }, true, "no end on record"},
		"no run": {func(e *evidence) { e.runs = nil }, true, "no run is on record"},
	} {
		x, e := finished()
		if wrong := append(x.violations(e, true), x.violations(e, false)...); len(wrong) > 0 {
			t.Fatalf("nothing is wrong with the world before it is forged: %v", wrong)
		}
		c.forge(e)
		if wrong := strings.Join(x.violations(e, true), "\n"); !strings.Contains(wrong, c.want) {
			t.Errorf("%s: not noticed in the end, want %q: %s", name, c.want, wrong)
		}
		wrong := strings.Join(x.violations(e, false), "\n")
		if found := strings.Contains(wrong, c.want); found == c.final {
			t.Errorf("%s: noticed before the end: %t, want %t: %s", name, found, !c.final, wrong)
		}
	}
}
