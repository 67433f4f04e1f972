//go:build unix

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// crashUsers is a small account. Keys named 0GO are to be deactivated, 0DEL to be deleted, 0KEEP to stay.
func crashUsers(now time.Time) []fakeaws.User {
	ago := func(days int) time.Time { return now.Add(-time.Duration(days) * 24 * time.Hour) }
	used := func(id string, days, last int) fakeaws.Key {
		return fakeaws.Key{ID: id, Created: ago(days), LastUsed: ago(last), Service: "s3", Region: "eu-west-1"}
	}
	return []fakeaws.User{
		{Name: "ana", ID: "AIDACRASHANA00000000", Created: ago(300), Keys: []fakeaws.Key{
			{ID: "AKIACRASHANA0000DEL1", Created: ago(290), Inactive: true}, {ID: "AKIACRASHANA00000GO1", Created: ago(200)},
		}},
		{Name: "bea", ID: "AIDACRASHBEA00000000", Created: ago(900), Keys: []fakeaws.Key{
			used("AKIACRASHBEA00000GO1", 400, 300), used("AKIACRASHBEA00000GO2", 300, 200),
		}},
		{Name: "dan", ID: "AIDACRASHDAN00000000", Created: ago(900), Keys: []fakeaws.Key{
			used("AKIACRASHDAN00000GO1", 400, 120), used("AKIACRASHDAN000KEEP1", 10, 0),
		}},
		{Name: "eve", ID: "AIDACRASHEVE00000000", Created: ago(900), Keys: []fakeaws.Key{used("AKIACRASHEVE000KEEP1", 5, 1)}},
	}
}

// keysTo gives every key with that in its id the action.
func keysTo(actions map[string]journal.Action) map[string]journal.Action {
	wanted := map[string]journal.Action{}
	for _, u := range crashUsers(time.Now()) {
		for _, k := range u.Keys {
			for part, action := range actions {
				if strings.Contains(k.ID, part) {
					wanted[k.ID] = action
				}
			}
		}
	}
	return wanted
}

// crashScenes prepares the commands that are killed: an apply that also deletes, and its undo; one that only
// deactivates, and its undo; eight days later the deletions.
func crashScenes(t *testing.T, dir string) []*scene {
	now := time.Now().UTC().Truncate(time.Second)
	c := &crashes{t: t, dir: dir}
	goes, comes, dies := journal.Deactivate, journal.Activate, journal.Delete
	bare := &scene{name: "plan", expectation: expectation{users: described(t, crashUsers(now))}}
	mixed := c.applyOf(bare, "apply", 0, keysTo(map[string]journal.Action{"GO": goes, "DEL": dies}), "--trust-inactive")
	soft := c.applyOf(bare, "apply without deletions", 0, keysTo(map[string]journal.Action{"GO": goes}))
	mixed.whole = true
	back := keysTo(map[string]journal.Action{"GO": comes})
	undo := c.undoOf(soft, "undo", 0, back)
	undo.whole = true
	return []*scene{
		mixed, soft, undo,
		c.undoOf(mixed, "undo of deletions too", 6, back),
		c.applyOf(undo.before(), "apply of deletions", 8*24*time.Hour, keysTo(map[string]journal.Action{"GO": dies})),
	}
}

// before is the world in which s begins, without its command.
func (s *scene) before() *scene {
	return &scene{journal: s.journal, expectation: expectation{users: s.users, known: s.known}}
}

// described is the users as the fake describes them, with all that it fills in.
func described(t *testing.T, users []fakeaws.User) []fakeaws.User {
	w, err := newWorld(&scene{expectation: expectation{users: users}}, goodDay, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.account.Users()
}

// applyOf is the apply of a plan that the real program makes in the world of s, so much later.
func (c *crashes) applyOf(s *scene, name string, ahead time.Duration, wanted map[string]journal.Action, flags ...string) *scene {
	c.t.Helper()
	out := *s.before()
	out.name, out.ahead, out.wanted = name, ahead, wanted
	out.args = []string{"apply", "plan.json", "--yes", "--max-steps", "25"}
	w, err := newWorld(&out, goodDay, c.dir, c.on)
	if err != nil {
		c.t.Fatal(err)
	}
	end, err := w.run(kill{}, append([]string{"plan", "--out", "plan.json"}, flags...)...)
	if err != nil || end.code != 0 {
		c.t.Fatalf("%s: %v, %+v", name, err, end)
	}
	if out.plan, err = os.ReadFile(filepath.Join(w.dir, "plan.json")); err != nil {
		c.t.Fatal(err)
	}
	return &out
}

// undoOf is the undo of s, in the world as s leaves it.
func (c *crashes) undoOf(s *scene, name string, exit int, wanted map[string]journal.Action) *scene {
	c.t.Helper()
	_, w := c.rehearse(s, goodDay)
	e, err := w.look()
	if err != nil {
		c.t.Fatal(err)
	}
	files, err := journalFiles(w.state())
	if err != nil {
		c.t.Fatal(err)
	}
	return &scene{
		name: name, exit: exit, args: []string{"undo", e.runs[0].ID, "--yes"}, journal: files,
		expectation: expectation{users: e.users, known: map[string]bool{e.runs[0].ID: true}, wanted: wanted},
	}
}

// stage prepares every scene with the real program, and has each command run to its end under each condition.
func (c *crashes) stage() []*staged {
	for _, s := range crashScenes(c.t, c.dir) {
		for _, cond := range []condition{goodDay, staleLists, noReply} {
			st, _ := c.rehearse(s, cond)
			c.all = append(c.all, st)
		}
	}
	return c.all
}

// rehearse runs a scene's command without a kill, and gives the world as it left it.
func (c *crashes) rehearse(s *scene, cond condition) (*staged, *world) {
	c.t.Helper()
	w, err := newWorld(s, cond, c.dir, c.on)
	if err != nil {
		c.t.Fatal(err)
	}
	end, err := w.run(kill{}, s.args...)
	if err != nil {
		c.t.Fatal(err)
	}
	wrong, e, err := w.check(end)
	if err != nil || len(wrong) > 0 {
		c.t.Fatalf("%s, %s, without a kill: %v\n  %s\n%s%s", s.name, cond, err, strings.Join(wrong, "\n  "), end.stdout, end.stderr)
	}
	for _, args := range [][]string{{"runs", "verify"}, {"runs", "show", e.runs[0].ID}} {
		if end, err := w.run(kill{}, args...); err != nil || end.code != 0 {
			c.t.Fatalf("%s: %v: %v, %+v", s.name, args, err, end)
		}
	}
	st := &staged{scene: s, condition: cond, points: end.points, took: end.took}
	for n := range w.writePoints() {
		st.points = append(st.points, kill{write: n + 1})
	}
	return st, w
}
