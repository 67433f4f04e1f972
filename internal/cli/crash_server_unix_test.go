//go:build unix

package cli_test

import (
	"context"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

const fewestServerKills = 40 // of each harness, while the journal is on a server

// journals says where the journal of a world is: a database of its own on the server; nil: files.
type journals struct {
	t      *testing.T
	server *postgres.Server
}

func startJournals(t *testing.T) *journals { return &journals{t, postgres.Start(t)} }

// holding is the URL of a new database that holds what the files of a journal hold; of an empty one without files.
func (j *journals) holding(files map[string][]byte) (string, error) {
	at := j.server.URL(j.t)
	if len(files) == 0 {
		return at, nil
	}
	dir := j.t.TempDir()
	if err := writeJournal(dir, files); err != nil {
		return "", err
	}
	ctx := context.Background()
	from, err := store.Open(ctx, "sqlite:"+filepath.Join(dir, "keyreeve", "keyreeve.db"), store.Options{})
	if err != nil {
		return "", err
	}
	defer func() { _ = from.Close() }()
	to, err := store.Open(ctx, at, store.Options{})
	if err != nil {
		return "", err
	}
	defer func() { _ = to.Close() }()
	return at, store.Copy(ctx, from, to, nil)
}

// drop is for databases that are many: they go before the test ends.
func (j *journals) drop(at string) {
	if u, err := url.Parse(at); err == nil {
		j.server.Exec(j.t, "DROP DATABASE IF EXISTS "+strings.TrimPrefix(u.Path, "/")+" WITH (FORCE)")
	}
}

// alone waits until the server has noticed that whoever was killed is gone, and has ended what it had begun.
func (j *journals) alone(at string) error {
	ctx := context.Background()
	c, err := pgx.Connect(ctx, at)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	for n := 1; n > 0 && err == nil; {
		err = c.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&n)
	}
	return err
}

// What holds while the journal is a file holds while it is on a server.
func TestCrash_onAServerEachThingHappensOnceToo(t *testing.T) {
	least, seed, whole := crashSize(t, fewestServerKills)
	files := newCrashes(t)
	c := newCrashes(t)
	c.on = startJournals(t)
	for _, s := range crashScenes(t, files.dir) {
		if s.whole || s.ahead > 0 {
			st, _ := c.rehearse(s, goodDay)
			c.all = append(c.all, st)
		}
	}
	list := crashAttempts(c.all, true, seed)
	random := rand.New(rand.NewPCG(seed, 1))
	random.Shuffle(len(list), func(i, k int) { list[i], list[k] = list[k], list[i] })
	if whole {
		least = len(list)
	} else {
		list = list[:least]
	}
	for range 3 { // a process may be over before the kill at its last answer reaches it
		c.attempts(list)
		list = slices.DeleteFunc(list, func(a attempt) bool { return c.hit[a.point()] })
	}
	for c.kills < least && !t.Failed() {
		c.atAnyTime(least-c.kills, random)
	}
	t.Logf("crash on a server: %d kills, %d points of %d hit, %d violations (kills after a restart: %d, at any time: %d; seed %d)",
		c.kills, len(c.hit), len(c.planned), c.wrong, c.again, c.random, seed)
}

func TestCrash_onAServerARotationEndsWholeToo(t *testing.T) {
	least, seed, _ := crashSize(t, fewestServerKills)
	c := newRotCrashes(t, min(least, 10*fewestServerKills), seed)
	c.on = startJournals(t)
	scenes := []*rotScene{
		{name: "rotation", condition: goodDay, ends: rotate.Done},
		{name: "cancelled when proving", condition: goodDay, cancelAt: rotate.Proving, ends: rotate.Cancelled},
	}
	c.each(scenes, true)
	for !t.Failed() && c.kills < c.least {
		c.each(scenes, false)
	}
	t.Logf("rotation on a server: %d kills, states hit: %s, %d violations (points %d of %d, at any time: %d, rotations %d; seed %d)",
		c.kills, c.stateText(), c.wrong, c.planned()-len(c.open()), c.planned(), c.random, c.rotations, c.seed)
}
