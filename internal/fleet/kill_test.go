package fleet_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws/sim"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// Three machines, three hundred accounts; one machine is killed, and the server stopped twice, once as by a crash.
func TestRun_losesNoAccountWhenAMachineIsKilledAndTheServerStopped(t *testing.T) {
	t.Parallel()
	const accounts, atOnce = 300, 8
	w := organise(t, sim.Options{Accounts: accounts - 1, Users: 10, Latency: 40 * time.Millisecond})
	server := postgres.Start(t)
	db := server.URL(t)
	var machines []*process
	for _, name := range []string{"one", "two", "three"} {
		m := w.machine(name, db)
		m.Concurrency = atOnce
		machines = append(machines, launch(t, m))
	}
	for _, p := range machines {
		p.goOn(t)
	}
	begun := func(n int) func(map[string]int) bool {
		return func(count map[string]int) bool { return count["begin"] >= n }
	}
	w.wait(t, "60 begun", begun(60))
	log := machines[2].kill(t)
	had := w.lost("three")
	for i, mode := range []string{"immediate", "fast"} {
		w.wait(t, "more begun", begun(110+80*i))
		if err := server.Down(mode); err != nil {
			t.Fatal(err)
		}
		if err := server.Up(); err != nil {
			t.Fatal(err)
		}
	}
	w.wait(t, "all judged", func(count map[string]int) bool {
		for _, id := range w.accounts() {
			if count["judged "+id] == 0 && !had[id] {
				return false
			}
		}
		// It may have died between the record and telling of it.
		return query[int](t, db, `SELECT count(*) FROM accounts WHERE judged_at <> ''`) == accounts
	})
	for _, p := range machines[:2] {
		log += p.stop(t)
	}

	again := 0
	for _, id := range w.accounts() {
		n := w.of("assumed " + id)
		if id == sim.Management { // is read by its own credentials
			n = w.of("begin " + id)
		}
		if n > 1 {
			again++
		}
		if n > 1 && !had[id] || n > 2 {
			t.Errorf("account %s was read %d times; the killed machine had it: %t", id, n, had[id])
		}
	}
	if again > atOnce || len(had) > atOnce || len(had) == 0 {
		t.Errorf("%d accounts were read again, of %d that the killed machine had, which reads %d at once", again, len(had), atOnce)
	}
	if len(w.overlaps) > 0 {
		t.Error(w.overlaps)
	}
	password, _ := parsed(t, db).User.Password()
	if strings.Contains(log, password) || !strings.Contains(log, "the machine that had it is gone") {
		t.Errorf("the logs tell the password, or not what happened:\n%s", log)
	}
	t.Logf("%d of %d accounts that the killed machine had were read again", again, len(had))
}

func parsed(t *testing.T, at string) *url.URL {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
