package notice_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/notice/noticetest"
)

// sink is a channel that remembers what it took.
type sink struct {
	name string
	// answer decides about a delivery; nil takes everything.
	answer func(ctx context.Context, m notice.Message) error

	mu    sync.Mutex
	taken []notice.Message
	calls int
}

func (s *sink) Name() string { return s.name }

func (s *sink) Send(ctx context.Context, m notice.Message) (notice.Receipt, error) {
	s.mu.Lock()
	s.calls++
	s.mu.Unlock()
	if s.answer != nil {
		if err := s.answer(ctx, m); err != nil {
			return notice.Receipt{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = append(s.taken, m)
	return notice.Receipt{Answer: "ok " + m.ID}, nil
}

// told counts how often each change was taken, by its item's id.
func (s *sink) told() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for _, m := range s.taken {
		for _, it := range m.Items {
			out[it.ID]++
		}
	}
	return out
}

// watch is a clock that moves when a test says so.
type watch struct{ at atomic.Int64 }

func newWatch() *watch                { w := &watch{}; w.at.Store(now.UnixNano()); return w }
func (w *watch) now() time.Time       { return time.Unix(0, w.at.Load()).UTC() }
func (w *watch) move(d time.Duration) { w.at.Add(int64(d)) }

func sender(o notice.Outbox, w *watch, channels ...notice.Channel) *notice.Sender {
	return &notice.Sender{Outbox: o, Channels: channels, Now: w.now, Random: func() float64 { return 0.5 }}
}

func tick(t testing.TB, s *notice.Sender) notice.Tally {
	t.Helper()
	got, err := s.Tick(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func post(t testing.TB, o notice.Outbox, r *notice.Routing, at time.Time, changes ...notice.Change) int {
	t.Helper()
	n, err := notice.Post(context.Background(), o, r, changes, at)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func change(i int) notice.Change {
	return opened(verdict(prod, fmt.Sprintf("user-%03d", i), "key-age-90", finding.High), now, nil)
}

func TestMemory_isAnOutbox(t *testing.T) {
	noticetest.Run(t, func(*testing.T) notice.Outbox { return &noticetest.Memory{} })
}

func TestPost_theSameChangesAddNothing(t *testing.T) {
	o, r := &noticetest.Memory{}, routing(notice.Terms{Name: "a", Digest: true}, notice.Terms{Name: "b"})
	if n := post(t, o, r, now, cycle()...); n != 1+len(cycle()) {
		t.Errorf("%d messages", n)
	}
	if n := post(t, o, r, now.Add(day), cycle()...); n != 0 {
		t.Errorf("%d messages about the same", n)
	}
	if n := post(t, o, r, now.Add(day), append(cycle(), change(1))...); n != 2 {
		t.Errorf("%d messages about one more, want one in each channel", n)
	}
	if n := post(t, o, r, now); n != 0 {
		t.Errorf("%d messages about nothing", n)
	}
	a := &sink{name: "a"}
	tick(t, sender(o, newWatch(), a))
	if len(a.taken) != 1 { // the second one is due tomorrow, by the clock of its cycle
		t.Fatalf("%d messages", len(a.taken))
	}
}

// raced puts the same changes in between the question and the answer.
type raced struct {
	notice.Outbox
	before func()
}

func (r *raced) Add(ctx context.Context, entries []notice.Entry) error {
	if r.before != nil {
		f := r.before
		r.before = nil
		f()
	}
	return r.Outbox.Add(ctx, entries)
}

func TestPost_whatSomebodyElsePutInMeanwhileIsLeftOut(t *testing.T) {
	o, r := &noticetest.Memory{}, routing(notice.Terms{Name: "a", Digest: true})
	race := &raced{Outbox: o, before: func() { post(t, o, r, now, change(1), change(2)) }}
	if n := post(t, race, r, now, change(1), change(2), change(3)); n != 1 {
		t.Errorf("%d messages", n)
	}
	a := &sink{name: "a"}
	tick(t, sender(o, newWatch(), a))
	told := a.told()
	for id, n := range told {
		if n != 1 {
			t.Errorf("%s was told %d times", id, n)
		}
	}
	if len(told) != 3 {
		t.Errorf("%d changes were told", len(told))
	}
}

func TestTick_aDeadAndASlowChannelDoNotStopALiveOne(t *testing.T) {
	o, w := &noticetest.Memory{}, newWatch()
	r := routing(notice.Terms{Name: "dead"}, notice.Terms{Name: "live"}, notice.Terms{Name: "slow"})
	var changes []notice.Change
	for i := range 100 {
		changes = append(changes, change(i))
	}
	post(t, o, r, now, changes...)
	release := make(chan struct{})
	dead := &sink{name: "dead", answer: func(context.Context, notice.Message) error { return errors.New("connection refused") }}
	live := &sink{name: "live"}
	var once sync.Once
	live.answer = func(context.Context, notice.Message) error {
		live.mu.Lock()
		last := live.calls == 100
		live.mu.Unlock()
		if last { // the slow one hangs until the live one has everything
			once.Do(func() { close(release) })
		}
		return nil
	}
	slow := &sink{name: "slow", answer: func(ctx context.Context, _ notice.Message) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	got := tick(t, sender(o, w, dead, live, slow))
	if len(live.taken) != 100 || len(slow.taken) != 100 || dead.calls != 4 || got != (notice.Tally{Sent: 200, Failed: 4}) {
		t.Errorf("live %d, slow %d, dead was tried %d times, %+v", len(live.taken), len(slow.taken), dead.calls, got)
	}
}

func TestTick_aDeadChannelIsTriedLaterEachTimeAndGivenUpInTheEnd(t *testing.T) {
	o, w := &noticetest.Memory{}, newWatch()
	post(t, o, routing(notice.Terms{Name: "dead"}), now, change(1))
	c := change(1)
	id := c.ItemID("dead")
	dead := &sink{name: "dead", answer: func(context.Context, notice.Message) error { return errors.New("no route\nto host") }}
	s := sender(o, w, dead)
	for range 1000 {
		tick(t, s)
		if o.Open() == 0 {
			break
		}
		before := len(o.Attempts(id))
		next := o.Attempts(id)[before-1].NextTry
		w.move(next.Sub(w.now()) - 1)
		if tick(t, s); len(o.Attempts(id)) != before {
			t.Fatal("it was tried before its time")
		}
		w.move(1)
	}
	attempts := o.Attempts(id)
	last := attempts[len(attempts)-1]
	if last.State != notice.GivenUp || !last.At.Equal(now.Add(72*time.Hour)) || last.Why != "no route to host" || o.Open() != 0 {
		t.Errorf("last of %d: %+v", len(attempts), last)
	}
	var pauses []time.Duration
	for i := 1; i < len(attempts); i++ {
		pauses = append(pauses, attempts[i].At.Sub(attempts[i-1].At))
	}
	want := []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute}
	if !slices.Equal(pauses[:4], want) || slices.Max(pauses) != 6*time.Hour {
		t.Errorf("pauses %v", pauses)
	}
	w.move(day)
	if got := tick(t, s); got != (notice.Tally{}) {
		t.Errorf("after it was given up: %+v", got)
	}
}

func TestTick_aFailureSaysWhetherAndWhenToTryAgain(t *testing.T) {
	for _, want := range []struct {
		name  string
		err   error
		state notice.State
		after time.Duration
		why   string
	}{
		{"taken", nil, notice.Sent, 0, ""},
		{"any error", errors.New("broken"), notice.Failed, time.Minute, "broken"},
		{"never", &notice.Failure{Err: errors.New("too long"), Permanent: true}, notice.GivenUp, 0, "too long"},
		{"asked to wait", &notice.Failure{Err: errors.New("busy"), After: time.Hour}, notice.Failed, time.Hour, "busy"},
		{"asked to wait less than we would", &notice.Failure{Err: errors.New("busy"), After: time.Second}, notice.Failed, time.Minute, "busy"},
		{"asked to wait for a year", fmt.Errorf("x: %w", &notice.Failure{Err: errors.New("busy"), After: 365 * day}), notice.Failed, day, "x: busy"},
	} {
		o := &noticetest.Memory{}
		post(t, o, routing(notice.Terms{Name: "a"}), now, change(1))
		var marked []notice.Attempt
		s := sender(o, newWatch(), &sink{name: "a", answer: func(context.Context, notice.Message) error { return want.err }})
		s.Marked = func(_ notice.Entry, a notice.Attempt) { marked = append(marked, a) }
		tick(t, s)
		c := change(1)
		got := o.Attempts(c.ItemID("a"))
		if len(got) != 1 || got[0].State != want.state || got[0].Why != want.why || !got[0].At.Equal(now) || !slices.Equal(got, marked) {
			t.Errorf("%s: %+v, heard of %+v", want.name, got, marked)
			continue
		}
		if want.after == 0 != got[0].NextTry.IsZero() || want.after != 0 && !got[0].NextTry.Equal(now.Add(want.after)) {
			t.Errorf("%s: next at %s", want.name, got[0].NextTry)
		}
		if want.err == nil && got[0].Answer != "ok "+c.ItemID("a") {
			t.Errorf("%s: answer %q", want.name, got[0].Answer)
		}
	}
}

func TestTick_aDeliveryEndsAtItsLimit(t *testing.T) {
	o := &noticetest.Memory{}
	post(t, o, routing(notice.Terms{Name: "a"}), now, change(1))
	s := sender(o, newWatch(), &sink{name: "a", answer: func(ctx context.Context, _ notice.Message) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	s.Limit = time.Millisecond
	tick(t, s)
	c := change(1)
	got := o.Attempts(c.ItemID("a"))
	if len(got) != 1 || got[0].State != notice.Failed || !strings.HasPrefix(got[0].Why, "no answer within 1ms") {
		t.Errorf("%+v", got)
	}
}

func TestTick_whatIsUnderWayWhenItIsStoppedIsFinishedAndMarked(t *testing.T) {
	o := &noticetest.Memory{}
	post(t, o, routing(notice.Terms{Name: "a"}), now, change(1), change(2), change(3))
	ctx, cancel := context.WithCancel(t.Context())
	a := &sink{name: "a", answer: func(context.Context, notice.Message) error { cancel(); return nil }}
	s := sender(o, newWatch(), a)
	s.Concurrency = 1
	got, err := s.Tick(ctx)
	if err != nil || got != (notice.Tally{Sent: 1}) || o.Open() != 2 {
		t.Errorf("%+v, %v, %d open", got, err, o.Open())
	}
}

// synctest: the seconds are not waited for.
func TestTick_aSlowAnswerIsWaitedForWhenItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &noticetest.Memory{}
		post(t, o, routing(notice.Terms{Name: "a"}), now, change(1), change(2))
		ctx, cancel := context.WithCancel(t.Context())
		a := &sink{name: "a", answer: func(ctx context.Context, _ notice.Message) error {
			cancel()
			select {
			case <-time.After(6 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		s := sender(o, newWatch(), a)
		s.Concurrency = 1
		start := time.Now()
		got, err := s.Tick(ctx)
		if err != nil || got != (notice.Tally{Sent: 1}) || o.Open() != 1 {
			t.Errorf("%+v, %v, %d open: want one that was sent and marked, one that was not begun", got, err, o.Open())
		}
		if took := time.Since(start); took != 6*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestTick_whatIsNotAnsweredWhenItIsStoppedEndsAtItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &noticetest.Memory{}
		post(t, o, routing(notice.Terms{Name: "a"}), now, change(1))
		ctx, cancel := context.WithCancel(t.Context())
		a := &sink{name: "a", answer: func(ctx context.Context, _ notice.Message) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}}
		start := time.Now()
		got, err := sender(o, newWatch(), a).Tick(ctx)
		if took := time.Since(start); err != nil || got != (notice.Tally{Failed: 1}) || took != 7*time.Second {
			t.Errorf("%+v, %v, after %s; a clean stop has nine seconds", got, err, took)
		}
		c := change(1)
		if l := o.Attempts(c.ItemID("a")); len(l) != 1 || !strings.HasPrefix(l[0].Why, "no answer within 7s") {
			t.Errorf("%+v", l)
		}
	})
}

func TestTick_whatFailedIsTriedAgainAsItWasComposed(t *testing.T) {
	o, w := &noticetest.Memory{}, newWatch()
	r := routing(notice.Terms{Name: "a", Digest: true})
	post(t, o, r, now, change(1), change(2))
	var mu sync.Mutex // two are delivered at once
	var bodies []string
	fails := true
	a := &sink{name: "a"}
	a.answer = func(_ context.Context, m notice.Message) error {
		b, err := m.Encode()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, string(b))
		if fails {
			return errors.New("no")
		}
		return nil
	}
	s := sender(o, w, a)
	tick(t, s)
	post(t, o, r, now.Add(time.Second), change(1), change(2), change(3))
	fails = false
	w.move(time.Hour)
	tick(t, s)
	if len(bodies) != 3 || !slices.Contains(bodies[1:], bodies[0]) {
		t.Errorf("%d deliveries:\n%s", len(bodies), strings.Join(bodies, "\n"))
	}
}

func TestTick_aBodyThatIsNoNoticeIsGivenUp(t *testing.T) {
	o := &noticetest.Memory{}
	if err := o.Add(t.Context(), []notice.Entry{{ID: "x", Channel: "a", Covers: []string{"y"}, Body: []byte("torn"), AddedAt: now, NextTry: now}}); err != nil {
		t.Fatal(err)
	}
	if got := tick(t, sender(o, newWatch(), &sink{name: "a"})); got != (notice.Tally{GivenUp: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestBackoff_doublesAndStaysWithinItsBounds(t *testing.T) {
	for failures, want := range map[int]time.Duration{-1: time.Minute, 0: time.Minute, 1: time.Minute, 2: 2 * time.Minute, 9: 256 * time.Minute, 10: 6 * time.Hour, 1 << 40: 6 * time.Hour} {
		low, mid, high := notice.Backoff(failures, 0), notice.Backoff(failures, 0.5), notice.Backoff(failures, 0.999999)
		if mid != want || low != want*3/4 || high <= mid || high > want*5/4 {
			t.Errorf("%d failures: %s, %s, %s around %s", failures, low, mid, high, want)
		}
	}
}

// killed is an outbox whose process dies at a moment: from then on no call gets through until it is revived.
type killed struct {
	notice.Outbox
	calls int // that still get through; negative: all
}

var errKilled = errors.New("the process died")

func (k *killed) dies() bool {
	if k.calls == 0 {
		return true
	}
	k.calls--
	return false
}

func (k *killed) Fresh(ctx context.Context, ids []string) ([]string, error) {
	if k.dies() {
		return nil, errKilled
	}
	return k.Outbox.Fresh(ctx, ids)
}

func (k *killed) Add(ctx context.Context, e []notice.Entry) error {
	if k.dies() {
		return errKilled
	}
	return k.Outbox.Add(ctx, e)
}

func (k *killed) Take(ctx context.Context, c string, now, until time.Time, n int) ([]notice.Entry, error) {
	if k.dies() {
		return nil, errKilled
	}
	return k.Outbox.Take(ctx, c, now, until, n)
}

func (k *killed) Mark(ctx context.Context, id string, a notice.Attempt) error {
	if k.dies() {
		return errKilled
	}
	return k.Outbox.Mark(ctx, id, a)
}

// Any sequence of cycles, ticks, failures and crashes tells each change at least once; more often only where a crash came
// between the sending and the mark; and never to anybody whom it is not for.
func TestSender_tellsEachChangeAtLeastOnceAndWithoutACrashExactlyOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		memory, w := &noticetest.Memory{}, newWatch()
		r := routing(notice.Terms{Name: "each"}, notice.Terms{Name: "digest", Digest: true, Whole: true, Most: 3})
		failing := map[string]bool{}
		channels := []*sink{{name: "each"}, {name: "digest"}}
		for _, c := range channels {
			c.answer = func(context.Context, notice.Message) error {
				if failing[c.name] {
					return errors.New("down")
				}
				return nil
			}
		}
		crashes, pending, posted := 0, map[int]bool{}, map[int]bool{}
		process := func(calls int) (*killed, *notice.Sender) {
			k := &killed{Outbox: memory, calls: calls}
			s := sender(k, w, channels[0], channels[1])
			s.Concurrency = 1
			return k, s
		}
		step := func(calls int) {
			k, s := process(calls)
			// A cycle hands over again what was not posted: the record of verdicts and the outbox may part in a crash.
			var changes []notice.Change
			for _, i := range sortedKeys(pending) {
				changes = append(changes, change(i))
			}
			if _, err := notice.Post(context.Background(), k, r, changes, w.now()); err == nil {
				for i := range pending {
					posted[i] = true
				}
				clear(pending)
			}
			// One channel after the other, so that the dying call is the same in every run.
			for _, c := range channels {
				s.Channels = []notice.Channel{c}
				if _, err := s.Tick(context.Background()); err != nil {
					crashes++
				}
			}
		}
		for range rapid.IntRange(1, 12).Draw(t, "cycles") {
			for _, i := range rapid.SliceOfN(rapid.IntRange(0, 9), 0, 5).Draw(t, "changes") {
				pending[i] = true // also one that was posted long ago
			}
			failing["each"] = rapid.Bool().Draw(t, "each is down")
			failing["digest"] = rapid.Bool().Draw(t, "digest is down")
			calls := -1
			if rapid.Bool().Draw(t, "crash") {
				calls = rapid.IntRange(0, 12).Draw(t, "calls")
			}
			step(calls)
			w.move(rapid.SampledFrom([]time.Duration{time.Second, time.Hour, 5 * time.Hour}).Draw(t, "pause"))
		}
		clear(failing)
		for range 3 {
			w.move(7 * time.Hour)
			step(-1)
		}
		for _, c := range channels {
			told := c.told()
			twice := 0
			for i := range posted {
				x := change(i)
				n := told[x.ItemID(c.name)]
				if n == 0 {
					t.Fatalf("change %d was never told in %s", i, c.name)
				}
				if n > 1 {
					twice++
				}
				delete(told, x.ItemID(c.name))
			}
			if len(told) != 0 {
				t.Fatalf("%s told what nobody posted: %v", c.name, told)
			}
			if twice > 0 && crashes == 0 {
				t.Fatalf("%s told %d changes twice without a crash", c.name, twice)
			}
		}
		if memory.Open() != 0 {
			t.Fatalf("%d messages are open", memory.Open())
		}
	})
}

func sortedKeys(m map[int]bool) []int {
	var out []int
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
