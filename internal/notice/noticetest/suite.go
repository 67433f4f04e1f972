package noticetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/notice"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Run checks an implementation of notice.Outbox. open gives an empty one each time.
func Run(t *testing.T, open func(t *testing.T) notice.Outbox) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, o notice.Outbox)
	}{
		{"an id is fresh until a message covers it", freshOnce},
		{"messages are put in all or none", allOrNone},
		{"a body comes back byte for byte", keepsBytes},
		{"what is due is taken, the longest due first, and by nobody else before its time", takesDue},
		{"a channel sees its own messages only", channelsApart},
		{"an attempt closes a message or puts it off", marks},
		{"a closed message stays closed", staysClosed},
		{"many takers share the messages, each taken once", takersShare},
		{"many posters of the same message: one puts it in", postersRace},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func entry(id, channel string, minutes int, covers ...string) notice.Entry {
	if len(covers) == 0 {
		covers = []string{"item-" + id}
	}
	at := start.Add(time.Duration(minutes) * time.Minute)
	return notice.Entry{ID: id, Channel: channel, Covers: covers, Body: []byte(`{"id":"` + id + `"}`), AddedAt: at, NextTry: at}
}

func add(t *testing.T, o notice.Outbox, entries ...notice.Entry) {
	t.Helper()
	if err := o.Add(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
}

// take gives the ids of what is due so many minutes after start, and keeps it from others for a minute.
func take(t *testing.T, o notice.Outbox, channel string, minutes, limit int) []string {
	t.Helper()
	now := start.Add(time.Duration(minutes) * time.Minute)
	got, err := o.Take(t.Context(), channel, now, now.Add(time.Minute), limit)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range got {
		ids = append(ids, e.ID)
	}
	return ids
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func freshOnce(t *testing.T, o notice.Outbox) {
	fresh := func(ids ...string) []string {
		t.Helper()
		got, err := o.Fresh(t.Context(), ids)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	expect(t, fresh("c", "a", "b"), "c", "a", "b")
	add(t, o, entry("one", "x", 0, "a", "b"))
	expect(t, fresh("c", "a", "b"), "c")
	expect(t, fresh("a"))
	expect(t, fresh())
	var many []string
	for i := range 2500 {
		many = append(many, fmt.Sprintf("many-%04d", i))
	}
	add(t, o, entry("two", "x", 0, many[:2000]...))
	expect(t, fresh(many...), many[2000:]...)
	if err := o.Mark(t.Context(), "one", notice.Attempt{At: start, State: notice.Sent}); err != nil {
		t.Fatal(err)
	}
	expect(t, fresh("a"))
}

func allOrNone(t *testing.T, o notice.Outbox) {
	add(t, o, entry("one", "x", 0, "a"))
	for what, entries := range map[string][]notice.Entry{
		"covers what is covered":      {entry("two", "x", 0, "b"), entry("three", "x", 0, "c", "a")},
		"has an id that is there":     {entry("two", "x", 0, "b"), entry("one", "x", 0, "d")},
		"covers the same twice":       {entry("two", "x", 0, "b"), entry("three", "x", 0, "b")},
		"has the same id twice":       {entry("two", "x", 0, "b"), entry("two", "x", 0, "c")},
		"is exactly what is there":    {entry("one", "x", 0, "a")},
		"is another channel's, alike": {entry("one", "y", 0, "d")},
	} {
		if err := o.Add(t.Context(), entries); !errors.Is(err, notice.ErrKnown) {
			t.Errorf("%s: %v, want %v", what, err, notice.ErrKnown)
		}
	}
	expect(t, take(t, o, "x", 0, 10), "one")
	got, err := o.Fresh(t.Context(), []string{"b", "c", "d"})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, got, "b", "c", "d")
}

func keepsBytes(t *testing.T, o notice.Outbox) {
	e := entry("one", "x", 0)
	e.Body = []byte("{\"text\": \"<&> \\u2028 é 🔑 \\\\ '; DROP TABLE\",  \"b\":1, \"a\": 2}\n")
	e.AddedAt, e.NextTry = start.Add(time.Microsecond), start.Add(-time.Microsecond)
	add(t, o, e)
	got, err := o.Take(t.Context(), "x", start, start.Add(time.Minute), 1)
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	if d := cmp.Diff(string(e.Body), string(got[0].Body)); d != "" {
		t.Errorf("body (-want +got):\n%s", d)
	}
	if g := got[0]; g.Channel != "x" || g.Tries != 0 || !g.AddedAt.Equal(e.AddedAt) || g.AddedAt.Location() != time.UTC || !g.NextTry.Equal(e.NextTry) {
		t.Errorf("got %+v, want %+v", g, e)
	}
}

func takesDue(t *testing.T, o notice.Outbox) {
	add(t, o, entry("d", "x", 2), entry("b", "x", 1), entry("c", "x", 1), entry("a", "x", 9))
	expect(t, take(t, o, "x", 0, 10))
	expect(t, take(t, o, "x", 2, 2), "b", "c")
	expect(t, take(t, o, "x", 2, 2), "d")
	expect(t, take(t, o, "x", 2, 2))
	expect(t, take(t, o, "x", 3, 10), "b", "c", "d") // nobody marked them
	expect(t, take(t, o, "x", 9, 10), "b", "c", "d", "a")
}

func channelsApart(t *testing.T, o notice.Outbox) {
	add(t, o, entry("a", "x", 0), entry("b", "y", 0))
	expect(t, take(t, o, "y", 0, 10), "b")
	expect(t, take(t, o, "z", 0, 10))
	expect(t, take(t, o, "x", 0, 10), "a")
}

func marks(t *testing.T, o notice.Outbox) {
	add(t, o, entry("a", "x", 0), entry("b", "x", 0), entry("c", "x", 0))
	expect(t, take(t, o, "x", 0, 10), "a", "b", "c")
	for id, a := range map[string]notice.Attempt{
		"a": {At: start, State: notice.Sent, Answer: "id-1"},
		"b": {At: start, State: notice.Failed, Why: "no answer: \"<é>\"", NextTry: start.Add(5 * time.Minute)},
		"c": {At: start, State: notice.GivenUp, Why: "refused"},
	} {
		if err := o.Mark(t.Context(), id, a); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	expect(t, take(t, o, "x", 4, 10))
	now := start.Add(5 * time.Minute)
	got, err := o.Take(t.Context(), "x", now, now.Add(time.Minute), 10)
	if err != nil || len(got) != 1 || got[0].ID != "b" || got[0].Tries != 1 || !got[0].NextTry.Equal(now) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := o.Mark(t.Context(), "nobody", notice.Attempt{At: start, State: notice.Sent}); !errors.Is(err, notice.ErrNoEntry) {
		t.Errorf("%v, want %v", err, notice.ErrNoEntry)
	}
}

func staysClosed(t *testing.T, o notice.Outbox) {
	add(t, o, entry("a", "x", 0))
	for _, a := range []notice.Attempt{
		{At: start, State: notice.Sent},
		{At: start, State: notice.Failed, Why: "a slow one", NextTry: start},
	} {
		if err := o.Mark(t.Context(), "a", a); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, take(t, o, "x", 60, 10))
}

func takersShare(t *testing.T, o notice.Outbox) {
	const count = 60
	var entries []notice.Entry
	for i := range count {
		entries = append(entries, entry(fmt.Sprintf("n-%02d", i), "x", 0))
	}
	add(t, o, entries...)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		taken = map[string]int{}
	)
	for range 4 {
		wg.Go(func() {
			for {
				got, err := o.Take(t.Context(), "x", start, start.Add(time.Hour), 5)
				if err != nil {
					t.Error(err)
				}
				if err != nil || len(got) == 0 {
					return
				}
				mu.Lock()
				for _, e := range got {
					taken[e.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for id, n := range taken {
		if n != 1 {
			t.Errorf("%s was taken %d times", id, n)
		}
	}
	if len(taken) != count {
		t.Errorf("%d messages were taken, want %d", len(taken), count)
	}
}

func postersRace(t *testing.T, o notice.Outbox) {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for i := range 4 {
		wg.Go(func() {
			err := o.Add(t.Context(), []notice.Entry{entry(fmt.Sprintf("own-%d", i), "x", 0), entry(fmt.Sprintf("of-%d", i), "x", 0, "shared")})
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, notice.ErrKnown):
			t.Error(err)
		}
	}
	if got := take(t, o, "x", 0, 10); won != 1 || len(got) != 2 {
		t.Errorf("%d posters won, %q is in the outbox", won, got)
	}
}
