package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var morning = time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)

// clock is one that stands until it is moved; who waits is let go when its time has come.
type clock struct {
	mu      sync.Mutex
	now     time.Time
	waiting map[chan struct{}]time.Time
	parked  chan struct{} // one for each that begins to wait
}

func newClock(at time.Time) *clock {
	return &clock{now: at, waiting: map[chan struct{}]time.Time{}, parked: make(chan struct{}, 1000)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Wait(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	free := make(chan struct{})
	c.waiting[free] = c.now.Add(d)
	c.mu.Unlock()
	c.parked <- struct{}{}
	select {
	case <-free:
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, free)
		c.mu.Unlock()
		return ctx.Err()
	}
}

// move lets d go by, and waits until all that it let go wait again.
func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	free := 0
	for ch, at := range c.waiting {
		if !at.After(c.now) {
			delete(c.waiting, ch)
			close(ch)
			free++
		}
	}
	c.mu.Unlock()
	for range free {
		<-c.parked
	}
}

// company is accounts with one failing and one good key each.
func company(t *testing.T, n int) (*fakeaws.Cloud, []audit.Member) {
	t.Helper()
	cloud := fakeaws.New(morning)
	for i := range n {
		acc := cloud.AddAccount(fact.Account{ID: fmt.Sprintf("1111%08d", i)})
		made := morning.AddDate(0, 0, -200)
		if err := acc.AddUser(fakeaws.User{Name: "ci", Created: made.AddDate(-1, 0, 0), Keys: []fakeaws.Key{{Created: made, LastUsed: morning.Add(-time.Hour)}}}); err != nil {
			t.Fatal(err)
		}
	}
	server, err := cloud.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	var members []audit.Member
	for _, acc := range cloud.Accounts() {
		members = append(members, audit.Member{Account: fact.Account{ID: acc.ID(), Partition: "aws"}, Open: func(ctx context.Context) (audit.Reader, func(), error) {
			r, err := awsiam.Open(ctx, awsiam.Settings{
				EndpointURL: server.URL, Region: "us-east-1", Credentials: &awsiam.Credentials{ID: acc.Credential(), Secret: fact.NewSecret("none")},
				BackoffCap: time.Millisecond, MaxAttempts: 1,
			})
			if err != nil {
				return nil, nil, err
			}
			return r, r.Close, nil
		}})
	}
	return cloud, members
}

// work is what reads the members and keeps what changed in a new store.
func work(t *testing.T, c *clock, cloud *fakeaws.Cloud, members []audit.Member) (*daemon.Work, *store.DB) {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+t.TempDir()+"/keyreeve.db", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	rs, err := rule.Builtin("default")
	if err != nil {
		t.Fatal(err)
	}
	how := audit.LiveOptions{Evidence: fact.Report, Confirm: true}
	how.Now = func() time.Time { cloud.SetNow(c.Now()); return c.Now() }
	return &daemon.Work{
		Store: db, Now: how.Now, Log: slog.New(slog.DiscardHandler), Health: &daemon.Health{}, How: how,
		List:  func(context.Context) (daemon.Listing, error) { return daemon.Listing{Members: members}, nil },
		Judge: func(time.Time) (audit.Options, error) { return audit.Options{Ruleset: rs}, nil },
	}, db
}

// start runs the loop until the test ends, and waits until it waits.
func start(t *testing.T, l *daemon.Loop, c *clock, parts int) (stop func()) {
	t.Helper()
	l.Wait = c.Wait
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	for range parts {
		<-c.parked
	}
	return stop
}

func reports(cloud *fakeaws.Cloud) (n int) {
	for _, c := range cloud.Calls() {
		if c.Action == "iam:GetCredentialReport" {
			n++
		}
	}
	cloud.ResetCalls()
	return n
}

func TestLoop_readsEachAccountOnceForEachTimeOfItsSchedule(t *testing.T) {
	c := newClock(morning.Add(-time.Hour))
	cloud, members := company(t, 5)
	w, db := work(t, c, cloud, members)
	l := &daemon.Loop{Work: w, Schedule: schedule(t, "0 6 * * *", "", 0), Tick: time.Minute}
	start(t, l, c, 1)
	if n := reports(cloud); n != 5 {
		t.Errorf("at the start %d accounts were read, want all 5: they never were", n)
	}
	for range 59 {
		c.move(time.Minute)
	}
	if n := reports(cloud); n != 0 {
		t.Errorf("before its time %d accounts were read", n)
	}
	for range 120 {
		c.move(time.Minute)
	}
	if n := reports(cloud); n != 5 {
		t.Errorf("at its time %d accounts were read, want 5", n)
	}
	open, err := db.History(t.Context(), store.HistoryFilter{Open: true})
	if err != nil || len(open) == 0 || len(open)%5 != 0 {
		t.Errorf("%d open, %v", len(open), err)
	}
}

func TestLoop_aSteadyDayCostsEightCallsAnAccount(t *testing.T) {
	c := newClock(morning)
	cloud, members := company(t, 3)
	w, _ := work(t, c, cloud, members)
	start(t, &daemon.Loop{Work: w, Schedule: schedule(t, "0 6 * * *", "", 0), Tick: time.Hour}, c, 1)
	first := len(cloud.Calls())
	cloud.ResetCalls()
	for range 24 {
		c.move(time.Hour)
	}
	if second := len(cloud.Calls()); first != 3*(8+1) || second != 3*8 {
		t.Errorf("%d calls on the first day, %d on the second; want %d and %d: keys that are known are not read again", first, second, 3*9, 3*8)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLoop_startedAgainGoesOnWhereItStood(t *testing.T) {
	c := newClock(morning)
	cloud, members := company(t, 4)
	w, _ := work(t, c, cloud, members)
	l := &daemon.Loop{Work: w, Schedule: schedule(t, "0 6 * * *", "", 0), Tick: time.Hour}
	stop := start(t, l, c, 1)
	stop()
	reports(cloud)
	stop = start(t, l, c, 1)
	if n := reports(cloud); n != 0 {
		t.Errorf("started again within the day it read %d accounts", n)
	}
	stop()
	c.move(25 * time.Hour)
	start(t, l, c, 1)
	if n := reports(cloud); n != 4 {
		t.Errorf("started after its time went by it read %d accounts, want 4", n)
	}
}

func TestLoop_partsDoNotStopEachOther(t *testing.T) {
	c := newClock(morning)
	cloud, members := company(t, 2)
	w, db := work(t, c, cloud, members)
	list := w.List
	broken := true
	w.List = func(ctx context.Context) (daemon.Listing, error) {
		if broken {
			return daemon.Listing{}, errors.New("organizations is away")
		}
		return list(ctx)
	}
	ticks := 0
	w.Rotate = func(context.Context) error { ticks++; panic("rotations are broken") }
	w.Send = func(context.Context) error { return errors.New("no channel") }
	start(t, &daemon.Loop{Work: w, Schedule: schedule(t, "0 6 * * *", "", 0), Tick: time.Minute}, c, 3)
	checks := w.Health.Checks()
	for _, part := range []string{daemon.Collect, daemon.Rotations, daemon.Delivery} {
		if checks[part].Err == nil {
			t.Errorf("%s is well: %+v", part, checks)
		}
	}
	since := checks[daemon.Collect].Since
	broken = false
	c.move(time.Minute)
	judged, err := db.JudgedAt(t.Context())
	if err != nil || len(judged) != 2 || ticks != 2 {
		t.Errorf("%v, %v; %d ticks of rotations", judged, err, ticks)
	}
	if c := w.Health.Checks()[daemon.Collect]; c.Err != nil || !c.Since.After(since) {
		t.Errorf("it has recovered: %+v", c)
	}
}

func TestLoop_oneAccountThatCannotBeRecordedIsTriedAgainAndStopsNobody(t *testing.T) {
	c := newClock(morning)
	cloud, members := company(t, 3)
	w, db := work(t, c, cloud, members)
	bad := &failing{DB: db, account: members[1].Account.ID}
	w.Store = bad
	start(t, &daemon.Loop{Work: w, Schedule: schedule(t, "0 6 * * *", "", 0), Tick: time.Minute}, c, 1)
	if judged, _ := db.JudgedAt(t.Context()); len(judged) != 2 {
		t.Errorf("%v", judged)
	}
	bad.account = ""
	c.move(time.Minute)
	if judged, _ := db.JudgedAt(t.Context()); len(judged) != 3 {
		t.Errorf("%v", judged)
	}
}

func TestLoop_anAccountThatCannotBeRecordedIsReadLessAndLess(t *testing.T) {
	c := newClock(morning)
	cloud, members := company(t, 2)
	w, db := work(t, c, cloud, members)
	w.Store = &failing{DB: db, account: members[1].Account.ID}
	start(t, &daemon.Loop{Work: w, Schedule: schedule(t, "0 6 * * *", "", 0), Tick: 15 * time.Second}, c, 1)
	reports(cloud)
	for range 40 {
		c.move(15 * time.Second)
		if h := w.Health.Checks()[daemon.Collect]; h.Err == nil || !h.At.Equal(c.Now()) || !h.Since.Equal(morning) {
			t.Fatalf("%s: %+v, want that an account fails since %s, and that it was looked at", c.Now(), h, morning)
		}
	}
	if n := reports(cloud); n != 6 { // after 15, 30, 60, 105, 195 and 360 seconds
		t.Errorf("read %d more times within ten minutes, want 6", n)
	}
}

// An alert tells of a part that was not tried for long: one that has nothing to do is none.
func TestLoop_everyPartIsLookedAtThoughNothingIsDue(t *testing.T) {
	c := newClock(morning)
	cloud, members := company(t, 1)
	w, _ := work(t, c, cloud, members)
	nothing := func(context.Context) error { return nil }
	w.Send, w.Rotate, w.Tell = nothing, nothing, func(context.Context, bool) error { return nil }
	start(t, &daemon.Loop{Work: w, Schedule: schedule(t, "0 6 * * *", "", 12*time.Hour), Tick: time.Hour}, c, 3)
	for range 24 {
		c.move(time.Hour)
		for _, part := range []string{daemon.Accounts, daemon.Collect, daemon.Notices, daemon.Delivery, daemon.Rotations} {
			if h := w.Health.Checks()[part]; !h.At.Equal(c.Now()) || h.Err != nil {
				t.Errorf("%s at %s: %+v", part, c.Now(), h)
			}
		}
	}
}

func TestHealth_whatWentWellElsewhereDoesNotHideALaterFailureHere(t *testing.T) {
	var h daemon.Health
	h.Heard("retention", morning)
	h.Note("retention", errors.New("no"), morning.Add(time.Hour))
	h.Heard("retention", morning.Add(time.Minute))
	if c := h.Checks()["retention"]; c.Err == nil {
		t.Errorf("%+v: it failed since", c)
	}
	h.Heard("retention", morning.Add(2*time.Hour))
	if c := h.Checks()["retention"]; c.Err != nil || !c.Since.Equal(morning.Add(2*time.Hour)) || !c.At.Equal(c.Since) {
		t.Errorf("%+v: it went well elsewhere", c)
	}
}

func TestLoop_waitsToRecordWhatWasRead(t *testing.T) {
	c := newClock(morning)
	cloud, members := company(t, 1)
	w, db := work(t, c, cloud, members)
	w.Store = &failing{DB: db, account: members[0].Account.ID, times: 3, err: &store.Error{Problem: "disk is full"}}
	start(t, &daemon.Loop{Work: w, Schedule: schedule(t, "0 6 * * *", "", 0), Tick: time.Minute}, c, 1)
	for range 3 {
		c.move(2 * time.Second)
	}
	if judged, err := db.JudgedAt(t.Context()); len(judged) != 1 || err != nil {
		t.Errorf("%v, %v", judged, err)
	}
	if n := reports(cloud); n != 1 {
		t.Errorf("it was read %d times, want once", n)
	}
}

// failing does not record an account: never, or so many times.
type failing struct {
	*store.DB
	account string
	times   int // 0: never
	err     error
}

func (f *failing) Observe(ctx context.Context, o *history.Observation) (history.Changes, error) {
	if o.Account.ID != f.account {
		return f.DB.Observe(ctx, o)
	}
	if f.times--; f.times == 0 {
		f.account = ""
	}
	if f.err != nil {
		return history.Changes{}, f.err
	}
	return history.Changes{}, errors.New("it is refused")
}

func TestLoop_asksLessAndLessForAListThatDoesNotCome(t *testing.T) {
	for _, first := range []bool{true, false} {
		c := newClock(morning.Add(-time.Minute))
		cloud, members := company(t, 1)
		w, _ := work(t, c, cloud, members)
		list, asked, broken := w.List, 0, first
		w.List = func(ctx context.Context) (daemon.Listing, error) {
			asked++
			if broken {
				return daemon.Listing{}, errors.New("organizations is away")
			}
			return list(ctx)
		}
		start(t, &daemon.Loop{Work: w, Schedule: schedule(t, "0 6 * * *", "", 0), Tick: 15 * time.Second}, c, 1)
		if !first {
			broken = true
			for range 4 {
				c.move(15 * time.Second) // the schedule comes by
			}
		}
		asked = 0
		began := c.Now()
		for range 40 {
			c.move(15 * time.Second)
			if h := w.Health.Checks()[daemon.Accounts]; h.Err == nil || h.Since.After(began) {
				t.Fatalf("%+v", h)
			}
		}
		if asked != 6 {
			t.Errorf("asked %d more times within ten minutes, want 6", asked)
		}
		broken = false
		c.move(10 * time.Minute)
		if h := w.Health.Checks(); h[daemon.Accounts].Err != nil || h[daemon.Collect].Err != nil {
			t.Errorf("it has recovered: %+v", h)
		}
	}
}

func TestPauseAfter_growsToTenMinutes(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		0: 5 * time.Second, 1: 5 * time.Second, 2: 10 * time.Second, 7: 320 * time.Second, 8: 10 * time.Minute, 25: 10 * time.Minute, 1000: 10 * time.Minute,
	} {
		if got := daemon.PauseAfter(failures); got != want {
			t.Errorf("after %d failures %s, want %s", failures, got, want)
		}
	}
}

func TestLoop_accountsThatLeaveAreClosed(t *testing.T) {
	c := newClock(morning)
	cloud, members := company(t, 3)
	w, db := work(t, c, cloud, members)
	there := []string{members[0].Account.ID, members[1].Account.ID, members[2].Account.ID}
	for i := range members {
		members[i].Account.Organization = "o-exampleorg1"
	}
	w.List = func(context.Context) (daemon.Listing, error) {
		return daemon.Listing{Organization: "o-exampleorg1", Members: members[:len(there)], There: slices.Clone(there)}, nil
	}
	start(t, &daemon.Loop{Work: w, Schedule: schedule(t, "0 6 * * *", "", 0), Tick: time.Hour}, c, 1)
	there = there[:2]
	for range 24 {
		c.move(time.Hour)
	}
	closed, err := db.History(t.Context(), store.HistoryFilter{Closed: true})
	if err != nil || len(closed) == 0 || closed[0].Account != members[2].Account.ID || closed[0].Why != history.AccountGone {
		t.Errorf("%+v, %v", closed, err)
	}
}

func TestLoop_tellsOnceOfAllAccountsThatAreSpread(t *testing.T) {
	c := newClock(morning.Add(-time.Hour))
	cloud, members := company(t, 6)
	w, db := work(t, c, cloud, members)
	var told []int
	urgent := 0
	w.Tell = func(ctx context.Context, only bool) error {
		if only {
			urgent++
			return nil
		}
		untold, err := db.Untold(ctx)
		if err != nil {
			return err
		}
		if len(untold) > 0 {
			told = append(told, len(untold))
		}
		for _, a := range untold {
			if err := db.Told(ctx, a.Account.ID, a.JudgedAt); err != nil {
				return err
			}
		}
		return nil
	}
	start(t, &daemon.Loop{Work: w, Schedule: schedule(t, "0 6 * * *", "", 30*time.Minute), Tick: time.Minute}, c, 1)
	for range 120 {
		c.move(time.Minute)
	}
	if !slices.Equal(told, []int{6, 6}) {
		t.Errorf("told of %v accounts at a time, want all 6 at the start and all 6 after the spread", told)
	}
	if urgent != 30 {
		t.Errorf("what is urgent was told %d times, want at each look while accounts are spread: 30 times", urgent)
	}
}
