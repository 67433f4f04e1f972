package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

func remembersUses(t *testing.T, d *store.DB) {
	l := ledgerOf(d)
	want := func(key string, gap time.Duration, uses int) {
		t.Helper()
		if g, n, err := l.LongestGap(t.Context(), Account, key); err != nil || g != gap || n != uses {
			t.Errorf("longest gap of %s: %s, %d uses, %v, want %s, %d", key, g, n, err, gap, uses)
		}
	}
	want("AKIA1", 0, 0)
	for _, hours := range []int{100, 1, 100, 2, 40, 41} { // seen in any order, and twice
		use := fact.Use{At: fact.At(start.Add(time.Duration(hours) * time.Hour)), Service: "s3", Region: "N/A"}
		if err := l.RecordUse(t.Context(), Account, "AKIA1", use, start); err != nil {
			t.Fatal(err)
		}
	}
	want("AKIA1", 59*time.Hour, 5)
	want("AKIA2", 0, 0)
	if err := l.RecordUse(t.Context(), Account, "AKIA2", fact.Use{At: fact.Never()}, start); err != nil {
		t.Error(err)
	}
	want("AKIA2", 0, 0)
	for name, err := range map[string]error{
		"unknown":    l.RecordUse(t.Context(), Account, "AKIA2", fact.Use{}, start),
		"no account": l.RecordUse(t.Context(), "", "AKIA2", fact.Use{At: fact.At(start)}, start),
		"no key":     l.RecordUse(t.Context(), Account, "", fact.Use{At: fact.At(start)}, start),
		"not seen":   l.RecordUse(t.Context(), Account, "AKIA2", fact.Use{At: fact.At(start)}, time.Time{}),
	} {
		if err == nil {
			t.Errorf("%s: recorded", name)
		}
	}
}

func asking(id string, minutes int) rotate.Request {
	return rotate.Request{
		ID: id, State: rotate.RequestPending, Account: Account, User: "ci", UserID: "AIDACI", Reason: "a new consumer <é>",
		SecondReason: "made today, by hand", Destination: "vault", AskedBy: "arn:ana", AskedAt: start.Add(time.Duration(minutes) * time.Minute),
	}
}

func keepsRequests(t *testing.T, d *store.DB) {
	l := ledgerOf(d)
	q := asking("req-0001", 0)
	if err := l.AskKey(t.Context(), &q); err != nil || q.Version != 1 {
		t.Fatal(err)
	}
	same := func(ask string) {
		t.Helper()
		got, err := l.Request(t.Context(), ask)
		if diff := cmp.Diff(&q, got); err != nil || diff != "" {
			t.Errorf("request %q, %v (-want +got):\n%s", ask, err, diff)
		}
	}
	same("req-0001")
	same("req-")
	stale := q
	decide := func(q rotate.Request, by string) error {
		q.State, q.DecidedBy, q.DecidedAt, q.Why, q.AskedBy = rotate.RequestApproved, by, start.Add(time.Hour), "fine", "arn:nobody"
		return l.DecideRequest(t.Context(), &q)
	}
	if err := decide(q, "arn:ana"); !errors.Is(err, rotate.ErrSameEyes) {
		t.Errorf("who asked decided: %v", err)
	}
	early := q
	early.State, early.KeyID = rotate.RequestMade, "AKIA"
	if err := l.SaveRequest(t.Context(), &early); !errors.Is(err, rotate.ErrLost) {
		t.Errorf("made before it was decided: %v", err)
	}
	q.State, q.DecidedBy, q.DecidedAt, q.Why = rotate.RequestApproved, "arn:bob", start.Add(time.Hour), "fine"
	if err := l.DecideRequest(t.Context(), &q); err != nil || q.Version != 2 {
		t.Fatalf("version %d, %v", q.Version, err)
	}
	same("req-0001")
	if err := decide(stale, "arn:carol"); !errors.Is(err, rotate.ErrLost) {
		t.Errorf("decided twice: %v", err)
	}
	if err := decide(q, "arn:carol"); !errors.Is(err, rotate.ErrLost) {
		t.Errorf("decided again: %v", err)
	}
	q.KeyID = "AKIANEW"
	if err := l.SaveRequest(t.Context(), &q); err != nil {
		t.Fatal(err)
	}
	same("req-0001")
	q.State = rotate.RequestMade
	if err := l.SaveRequest(t.Context(), &q); err != nil || q.Version != 4 {
		t.Fatalf("version %d, %v", q.Version, err)
	}
	same("req-0001")
	if err := l.SaveRequest(t.Context(), &q); !errors.Is(err, rotate.ErrLost) {
		t.Errorf("made twice: %v", err)
	}
	refusesRequests(t, l)
}

func refusesRequests(t *testing.T, l *store.Ledger) {
	for name, edit := range map[string]func(q *rotate.Request){
		"an id that is taken": func(q *rotate.Request) { q.ID = "req-0001" },
		"no id":               func(q *rotate.Request) { q.ID = "" },
		"no reason":           func(q *rotate.Request) { q.Reason = "" },
		"no destination":      func(q *rotate.Request) { q.Destination = "" },
		"nobody who asks":     func(q *rotate.Request) { q.AskedBy = "" },
		"a decision":          func(q *rotate.Request) { q.DecidedBy = "arn:bob" },
		"another state":       func(q *rotate.Request) { q.State = rotate.RequestApproved },
		"an account of words": func(q *rotate.Request) { q.Account = "production" },
	} {
		q := asking("req-0009", 0)
		edit(&q)
		if err := l.AskKey(t.Context(), &q); err == nil {
			t.Errorf("a request with %s was taken", name)
		}
	}
	for i, id := range []string{"req-0004", "req-0003", "req-0002"} {
		q := asking(id, i+1)
		if err := l.AskKey(t.Context(), &q); err != nil {
			t.Fatal(err)
		}
	}
	for state, want := range map[rotate.RequestState][]string{
		"": {"req-0001", "req-0004", "req-0003", "req-0002"}, rotate.RequestPending: {"req-0004", "req-0003", "req-0002"},
		rotate.RequestMade: {"req-0001"}, rotate.RequestDenied: nil,
	} {
		found, err := l.Requests(t.Context(), state)
		var got []string
		for i := range found {
			got = append(got, found[i].ID)
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("requests in %q, %v (-want +got):\n%s", state, err, diff)
		}
	}
	if _, err := l.Request(t.Context(), "req-x"); !errors.Is(err, rotate.ErrNoRequest) {
		t.Errorf("no request: %v", err)
	}
	var input *journal.InputError
	if _, err := l.Request(t.Context(), "req-"); !errors.As(err, &input) {
		t.Errorf("several requests: %v", err)
	}
	lost := asking("req-none", 0)
	lost.State, lost.DecidedBy, lost.DecidedAt = rotate.RequestDenied, "arn:bob", start
	if err := l.DecideRequest(t.Context(), &lost); !errors.Is(err, rotate.ErrNoRequest) {
		t.Errorf("decided about none: %v", err)
	}
}
