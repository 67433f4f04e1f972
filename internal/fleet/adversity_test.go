package fleet_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sim"
	"github.com/keyreeve/keyreeve/internal/fleet"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

func TestRun_goesOnWithinSecondsWhenTheMachineThatLeadsIsKilled(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 3, Users: 2})
	db := postgres.URL(t)
	machines := map[string]*process{}
	for _, name := range []string{"one", "two"} {
		p := launch(t, w.machine(name, db))
		machines[p.id] = p
		p.goOn(t)
	}
	w.wait(t, "people told", func(n map[string]int) bool { return n["told"] >= 3 && n["judged"] >= 4 })
	leader := query[string](t, db, `SELECT leader_id FROM river_leader`)
	machines[leader].kill(t)
	start, told := time.Now(), w.of("told")
	w.wait(t, "people told again", func(n map[string]int) bool { return n["told"] >= told+3 })
	took := time.Since(start)
	// River's leader is replaced when it has not been heard of for 15 seconds, by whoever asks next, which is every 5 to 6.
	if took > 45*time.Second {
		t.Errorf("it took %s, want half a minute", took)
	}
	t.Logf("the beat was back after %s", took.Round(time.Second))
	if next := query[string](t, db, `SELECT leader_id FROM river_leader`); next == leader {
		t.Errorf("%s still leads", next)
	}
	delete(machines, leader)
	for _, p := range machines {
		p.stop(t)
	}
	if n := query[int](t, db, twice); n != 0 {
		t.Errorf("%d beats were put in twice", n)
	}
}

// twice counts beats that were put in more than once for a second, which is the tick of the tests.
const twice = `SELECT count(*) FROM (SELECT FROM river_job WHERE kind = 'part' GROUP BY args, date_trunc('second', scheduled_at) HAVING count(*) > 1) AS t`

func TestRun_beatsOnceWhereTwoLead(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 1, Users: 1})
	db := postgres.URL(t)
	one := begin(t, w.machine("one", db), nil)
	w.wait(t, "messages sent", func(n map[string]int) bool { return n["sent one"] >= 2 })
	// The first one leads on until it looks again, in five seconds; the second takes over at once.
	query[int](t, db, `WITH gone AS (DELETE FROM river_leader RETURNING 1) SELECT count(*) FROM gone`)
	two := begin(t, w.machine("two", db), nil)
	w.wait(t, "more of them", func(n map[string]int) bool { return n["sent"] >= 12 })
	one.end(t)
	two.end(t)
	if n := query[int](t, db, twice); n != 0 {
		t.Errorf("%d beats were put in twice", n)
	}
}

func TestRun_putsNothingButIdsIntoTheQueue(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 5, Users: 3})
	db := postgres.URL(t)
	turns := &turning{next: map[string]time.Time{"rot-0001": {}}, left: map[string]int{"rot-0001": 1}}
	r := begin(t, w.machine("one", db), turns.join)
	w.wait(t, "all judged", func(n map[string]int) bool { return n["judged"] >= 6 && n["told"] > 0 && turns.over() })
	r.end(t)
	all := query[[]string](t, db, `SELECT array_agg(DISTINCT kind || ' ' || keys) FROM (
		SELECT kind, (SELECT string_agg(k, ' ' ORDER BY k) FROM jsonb_object_keys(args) k) AS keys FROM river_job) AS t`)
	slices.Sort(all)
	if got, want := fmt.Sprint(all), "[collect account due part part rotate account due rotation]"; got != want {
		t.Errorf("the jobs hold %s, want %s", got, want)
	}
	if n := query[int](t, db, `SELECT count(*) FROM river_job WHERE args ->> 'account' !~ '^[0-9]{12}$' OR args ->> 'due' !~ '^[0-9TZ:.-]+$'`); n != 0 {
		t.Errorf("%d jobs hold something else than an id or an instant", n)
	}
	text := query[string](t, db, `SELECT string_agg(j::text, E'\n') FROM river_job j`)
	for _, name := range []string{"team-", "user-", "management", "Root", w.url, w.Cloud().Account(sim.Management).Credential()} {
		if strings.Contains(text, name) {
			t.Errorf("the jobs hold %q", name)
		}
	}
}

// members changes the accounts that a machine lists.
func members(s *fleet.Settings, change func(m *audit.Member)) {
	list := s.Work.List
	s.Work.List = func(ctx context.Context) (daemon.Listing, error) {
		l, err := list(ctx)
		for i := range l.Members {
			change(&l.Members[i])
		}
		return l, err
	}
}

func TestRun_triesAgainWhatPanicsAndReadsTheOthersMeanwhile(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 10, Users: 2})
	db := postgres.URL(t)
	var healed atomic.Bool
	var health *daemon.Health
	m := w.machine("one", db)
	m.Concurrency = 2
	r := begin(t, m, func(s *fleet.Settings) {
		health = s.Work.Health
		members(s, func(m *audit.Member) {
			open := m.Open
			m.Open = func(ctx context.Context) (audit.Reader, func(), error) {
				if m.Account.ID == sim.ID(3) && !healed.Load() {
					panic("the sky falls")
				}
				return open(ctx)
			}
		})
	})
	w.wait(t, "the others judged", func(n map[string]int) bool { return n["judged"] >= 10 && n["sent"] > 3 })
	q, err := fleet.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	stand, err := q.Stand(t.Context())
	if err != nil || len(stand.Troubled) != 1 {
		t.Fatalf("stand %+v, %v: want one job in trouble", stand, err)
	}
	if j := stand.Troubled[0]; j.Account != sim.ID(3) || j.Kind != "collect" || !strings.Contains(j.Why, "panic: the sky falls") || strings.Contains(j.Why, "\n") || j.Given {
		t.Errorf("the trouble is told as %+v", j)
	}
	var first daemon.Check
	for range 3 { // also while the beats go on
		sent := w.of("sent")
		w.wait(t, "the account in trouble", func(n map[string]int) bool { return n["sent"] >= sent+2 && health.Checks()[daemon.Collect].Err != nil })
		c := health.Checks()[daemon.Collect]
		if first.At.IsZero() {
			first = c
		}
		if c.Err == nil || !strings.Contains(c.Err.Error(), sim.ID(3)) || strings.Contains(c.Err.Error(), "\n") || !c.Since.Equal(first.Since) {
			t.Errorf("%+v: want that account %s fails since %s", c, sim.ID(3), first.Since)
		}
	}
	healed.Store(true)
	w.wait(t, "the last one judged", func(n map[string]int) bool { return n["judged "+sim.ID(3)] == 1 })
	w.wait(t, "no trouble", func(map[string]int) bool { return health.Checks()[daemon.Collect].Err == nil })
	r.end(t)
	if stand, err = q.Stand(t.Context()); err != nil || len(stand.Troubled) != 0 || stand.Accounts != (fleet.Count{}) {
		t.Errorf("afterwards %+v, %v: want nothing left", stand, err)
	}
	if log := r.log.String(); !strings.Contains(log, "the sky falls") || !strings.Contains(log, "adversity_test.go") {
		t.Errorf("the log does not tell of the panic and where it was:\n%s", log)
	}
}

func TestRun_hasOneJobOfAnAccountAtATimeOnAllMachines(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 2, Users: 2})
	db := postgres.URL(t)
	arrived, release := w.Cloud().Hold("iam:GetCredentialReport")
	for _, name := range []string{"one", "two"} {
		m := w.machine(name, db)
		m.Schedule = "@every 2s" // is due again while it is being read
		begin(t, m, nil)
	}
	for range 3 {
		<-arrived
	}
	sent := w.of("sent")
	w.wait(t, "due again", func(n map[string]int) bool { return n["sent"] >= sent+6 })
	if n := query[int](t, db, `SELECT count(*) FROM river_job WHERE kind = 'collect' AND metadata ? 'snoozes'`); n == 0 {
		t.Error("no job had to wait for another one of its account")
	}
	if n := w.of("begin"); n != 3 {
		t.Errorf("%d readings of 3 accounts were begun, want 3", n)
	}
	release()
	w.wait(t, "judged again", func(n map[string]int) bool {
		return n["judged "+sim.ID(0)] >= 3 && n["judged "+sim.ID(1)] >= 3 && n["judged "+sim.Management] >= 3
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.overlaps) > 0 {
		t.Error(w.overlaps)
	}
}

func TestRun_stopsWithinTenSecondsAndLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 4, Users: 2})
	db := postgres.URL(t)
	arrived, release := w.Cloud().Hold("iam:GetCredentialReport")
	defer release()
	m := w.machine("one", db)
	m.Concurrency = 3
	r := begin(t, m, nil)
	for range 3 {
		<-arrived
	}
	if took := r.end(t); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if n := query[int](t, db, `SELECT count(*) FROM river_job WHERE state = 'running'`); n != 0 {
		t.Errorf("%d jobs are still running", n)
	}
	if n := query[int](t, db, `SELECT count(*) FROM river_job WHERE kind = 'collect' AND state = 'available' AND attempt = 0`); n != 5 {
		t.Errorf("%d accounts wait to be read as if they had not been begun, want 5", n)
	}
	release()
	begin(t, w.machine("two", db), nil)
	w.wait(t, "all judged", func(n map[string]int) bool { return n["judged"] >= 5 })
}

func TestRun_stopsWithinTenSecondsThoughAHandlerDoesNotEnd(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 1, Users: 1})
	db := postgres.URL(t)
	begun, release := make(chan struct{}, 1), make(chan struct{})
	defer close(release)
	r := begin(t, w.machine("one", db), func(s *fleet.Settings) {
		s.Work.Send = func(context.Context) error {
			begun <- struct{}{}
			<-release
			return nil
		}
	})
	<-begun
	if took := r.end(t); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestRun_putsAccountsInForTheirTimeWithinTheSchedule(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 20, Users: 1})
	db := postgres.URL(t)
	schedule, err := daemon.ParseSchedule("0 2 * * *", "", 6*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 2).Add(2*time.Hour + time.Minute) // the schedule has just come by
	r := begin(t, w.machine("one", db), func(s *fleet.Settings) {
		s.Schedule = schedule
		s.Work.Now = func() time.Time { return now }
	})
	w.wait(t, "those of yesterday judged", func(n map[string]int) bool { return n["judged"] >= 21 })
	r.end(t)
	later := 0
	for _, id := range w.accounts() {
		if schedule.Offset(id) <= time.Minute {
			continue
		}
		later++
		due := schedule.Last(now).Add(schedule.Offset(id))
		at := query[time.Time](t, db, `SELECT scheduled_at FROM river_job WHERE state = 'scheduled' AND args ->> 'account' = $1`, id)
		if !at.Equal(due) {
			t.Errorf("account %s is put in for %s, want %s", id, at, due)
		}
	}
	if later < 10 {
		t.Fatalf("only %d accounts are due later", later)
	}
}
