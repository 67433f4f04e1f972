package fleet_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sim"
	"github.com/keyreeve/keyreeve/internal/fleet"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

func open(t *testing.T, at string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), at, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestMigrate_canBeDoneByManyAtOnceAndAgain(t *testing.T) {
	t.Parallel()
	at := postgres.URL(t)
	open(t, at)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if err := fleet.Migrate(t.Context(), at); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := query[int](t, at, `SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'river\_%'`); n < 4 {
		t.Errorf("there are %d tables of the queue", n)
	}
}

func TestMigrate_leavesTheJournalWhatItWas(t *testing.T) {
	t.Parallel()
	at, other := postgres.URL(t), postgres.URL(t)
	open(t, at)
	if err := fleet.Migrate(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	query[int](t, at, `INSERT INTO river_job (kind, args, max_attempts) VALUES ('collect', '{"account": "111122223333"}', 1) RETURNING id`)
	db := open(t, at) // as any command does
	if err := db.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	contents, err := db.Contents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contents {
		if strings.HasPrefix(c.Table, "river") {
			t.Errorf("the journal counts %s as its own", c.Table)
		}
	}
	file := open(t, "sqlite:"+filepath.Join(t.TempDir(), "copy.db"))
	if err := store.Copy(t.Context(), db, file, nil); err != nil {
		t.Errorf("copy to a file: %v", err)
	}
	back := open(t, other)
	if err := fleet.Migrate(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := store.Copy(t.Context(), file, back, nil); err != nil {
		t.Errorf("copy to a database with a queue: %v", err)
	}
	if n := query[int](t, other, `SELECT count(*) FROM river_job`); n != 0 {
		t.Errorf("%d jobs were copied", n)
	}
}

func TestMigrate_refusesADatabaseWithoutAJournalAndTellsNoPassword(t *testing.T) {
	t.Parallel()
	empty := postgres.URL(t)
	password, _ := parsed(t, empty).User.Password()
	away := parsed(t, empty)
	away.Host = "127.0.0.1:1"
	for _, test := range []struct{ at, says string }{
		{empty, "holds no journal\nhint: keyreeve db migrate"},
		{away.String(), "hint: is the server up"},
		{"postgres://keyreeve:" + password + "@[half", "cannot be read"},
	} {
		err := fleet.Migrate(t.Context(), test.at)
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), password) {
			t.Errorf("want %q without the password, got %v", test.says, err)
		}
	}
	if n := query[int](t, empty, `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`); n != 0 {
		t.Errorf("%d tables were made", n)
	}
}

func TestMigrate_refusesAQueueThatANewerVersionMade(t *testing.T) {
	t.Parallel()
	at := postgres.URL(t)
	open(t, at)
	if err := fleet.Migrate(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	query[int](t, at, `INSERT INTO river_migration (line, version) VALUES ('main', 999) RETURNING version`)
	err := fleet.Migrate(t.Context(), at)
	if err == nil || !strings.Contains(err.Error(), "a newer keyreeve made the queue") || !strings.Contains(err.Error(), "999") {
		t.Errorf("got %v", err)
	}
}

func TestRun_worksInASchemaOfItsOwn(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 2, Users: 1})
	at := parsed(t, postgres.URL(t))
	query[string](t, at.String(), `CREATE SCHEMA apart`)
	at.RawQuery += "&search_path=apart"
	r := begin(t, w.machine("one", at.String()), nil)
	w.wait(t, "all judged", func(n map[string]int) bool { return n["judged"] >= 3 })
	r.end(t)
	if n := query[int](t, at.String(), `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`); n != 0 {
		t.Errorf("%d tables stand outside of the schema", n)
	}
}

func TestSettings_validateReportsEveryMistake(t *testing.T) {
	s := fleet.Settings{
		Rotate: func(context.Context, string, string) error { return nil }, Concurrency: -1, Turns: 2000, Tick: time.Millisecond, Missing: -1,
	}
	err := fleet.Run(t.Context(), s)
	for _, want := range []string{"is missing", "rotations need both", "accounts at once", "rotations at once", "whole seconds", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	s = fleet.Settings{Work: &daemon.Work{}, Schedule: &daemon.Schedule{}, Book: &store.DB{}}
	if err := s.Validate(); err != nil {
		t.Errorf("the zero values are refused: %v", err)
	}
}
