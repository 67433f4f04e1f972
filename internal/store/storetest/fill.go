package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

// Fill writes runs, rotations, uses, requests, judged accounts, notices and tokens into the store, by its own methods and by chance: the same for the same
// seed.
func Fill(t testing.TB, d *store.DB, seed uint64) {
	t.Helper()
	f := &filler{t: t, d: d, rand: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // repeatable by design
	for i := range 2 + f.rand.IntN(4) {
		f.run(i)
	}
	for i := range 1 + f.rand.IntN(4) {
		f.rotation(i)
	}
	for i := range 1 + f.rand.IntN(5) {
		f.use(i)
	}
	for i := range 1 + f.rand.IntN(4) {
		f.request(i)
	}
	for i := range 1 + f.rand.IntN(3) {
		f.account(i)
	}
	for i := range 1 + f.rand.IntN(3) {
		f.notice(i)
	}
	for i := range 1 + f.rand.IntN(3) {
		f.token(i)
	}
}

// token is one that may end and may be revoked.
func (f *filler) token(i int) {
	x := token(fmt.Sprintf("%012x", i), i)
	if x.Name += f.text(); f.rand.IntN(2) == 0 {
		x.ExpiresAt = x.CreatedAt.AddDate(0, 3, 0)
	}
	f.must(f.d.AddToken(f.t.Context(), &x))
	if f.rand.IntN(2) == 0 {
		_, err := f.d.RevokeToken(f.t.Context(), x.ID, f.at())
		f.must(err)
	}
}

// notice is one that was tried once.
func (f *filler) notice(i int) {
	o, at := f.d.Outbox(), f.at()
	id := fmt.Sprintf("notice-%d", i)
	f.must(o.Add(f.t.Context(), []notice.Entry{{ID: id, Channel: "chat", Covers: []string{id + "/a", id + "/b"}, Body: []byte("x" + f.text()), AddedAt: at, NextTry: at}}))
	a := notice.Attempt{At: at.Add(time.Minute), State: notice.States()[f.rand.IntN(3)], Answer: f.text(), Why: f.text()}
	if a.State == notice.Failed {
		a.NextTry = at.Add(time.Hour)
	}
	f.must(o.Mark(f.t.Context(), id, a))
}

// account is one that is judged a few times, and may leave.
func (f *filler) account(i int) {
	id := fmt.Sprintf("5555%08d", i)
	for n := range 1 + f.rand.IntN(4) {
		o := judged(id, 24*n, f.text()+"u", "steady")
		o.Account.Name, o.Account.OU = f.text(), f.text()
		o.Account.Tags = map[string]string{f.text(): f.text()}
		o.UsersRead = f.rand.IntN(4) > 0
		o.Tags = func(string) map[string]string { return map[string]string{"owner": f.text()} }
		o.Gaps = []fact.Gap{{Account: id, Reading: "ListUserTags", Why: f.text()}}
		o.Due = []history.Due{{ID: "due", User: f.text(), Rule: "key-age-90", At: f.at()}}
		if n == 0 {
			o.UsersRead = true
		}
		if _, err := f.d.Observe(f.t.Context(), o); err != nil {
			f.t.Fatal(err)
		}
	}
}

type filler struct {
	t    testing.TB
	d    *store.DB
	rand *rand.Rand
	runs []string // that can be undone
}

func (f *filler) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// text has letters of many kinds, of which databases might lose some.
func (f *filler) text() string {
	words := []string{"", "a", "Zebra", "élan", "ß", "🔑", "\n\t", `"'\`, "%_", " ", "\u2028", "z", strings.Repeat("long ", 500), "a-b", "A_b"}
	var b strings.Builder
	for range f.rand.IntN(4) {
		b.WriteString(words[f.rand.IntN(len(words))])
	}
	return b.String()
}

func (f *filler) at() time.Time {
	return start.Add(time.Duration(f.rand.Int64N(int64(1000 * time.Hour)))).Truncate(time.Microsecond)
}

func (f *filler) run(i int) {
	r := apply(fmt.Sprintf("run-%04d%s", i, []string{"", "-É", "-a", "-B"}[f.rand.IntN(4)]), i, 1+f.rand.IntN(3))
	r.Host, r.Caller, r.PID = f.text(), f.text(), f.rand.IntN(1<<22)
	for j := range r.Steps {
		s := &r.Steps[j]
		s.User = "u" + f.text()
		if f.rand.IntN(3) == 0 {
			s.LastUsed, s.Then, s.Rules = time.Time{}, "", nil
		}
	}
	if len(f.runs) > 0 && f.rand.IntN(2) == 0 {
		r.Kind, r.Undoes = journal.Undo, f.runs[f.rand.IntN(len(f.runs))]
	}
	f.must(f.d.Begin(f.t.Context(), r))
	f.runs = append(f.runs, r.ID)
	kinds := journal.EntryKinds()
	for n := range f.rand.IntN(10) {
		e := entry(r, r.Steps[f.rand.IntN(len(r.Steps))].ID, n, kinds[f.rand.IntN(len(kinds))], "")
		if e.Note = f.text(); e.Kind == journal.End {
			e.Step = ""
		}
		if results := e.Kind.Results(); results != nil {
			e.Result = results[f.rand.IntN(len(results))]
		}
		if _, err := f.d.Append(f.t.Context(), e); !errors.Is(err, journal.ErrOutOfPlace) {
			f.must(err)
		}
	}
}

func (f *filler) rotation(i int) {
	l := ledgerOf(f.d)
	id, user := fmt.Sprintf("rot-%04d", i), fmt.Sprint("user", i)
	r := rotating(id, user, i)
	if f.rand.IntN(2) == 0 {
		r = full(id, user)
		r.Plan, r.Reason = f.text(), f.text()
		r.Sealed = make([]byte, 1+f.rand.IntN(400))
		for j := range r.Sealed {
			r.Sealed[j] = byte(f.rand.Uint32())
		}
	}
	beginRotation(f.t, l, &r)
	path := []struct {
		to  rotate.State
		why rotate.EventName
	}{{rotate.BackingOut, rotate.Cancel}, {rotate.BackingOut, rotate.NotYet}, {rotate.Cancelled, rotate.BackedOut}}
	for _, edge := range path[:f.rand.IntN(len(path)+1)] {
		if r.NextAt = f.at(); edge.to == rotate.Cancelled {
			r.Sealed = nil
		}
		move(f.t, l, &r, edge.to, edge.why)
	}
}

func (f *filler) use(i int) {
	use := fact.Use{At: fact.At(f.at()), Service: f.text(), Region: "eu-west-1"}
	f.must(ledgerOf(f.d).RecordUse(f.t.Context(), Account, fmt.Sprint("AKIAUSED", i%2), use, f.at()))
}

func (f *filler) request(i int) {
	l := ledgerOf(f.d)
	q := &rotate.Request{
		ID: fmt.Sprintf("req-%04d", i), Account: Account, User: "u" + f.text(), UserID: "AIDA", Reason: "r" + f.text(), SecondReason: f.text(),
		Destination: "d", AskedBy: "ana", AskedAt: f.at(), State: rotate.RequestPending,
	}
	f.must(l.AskKey(f.t.Context(), q))
	if f.rand.IntN(2) == 0 {
		return
	}
	q.State, q.DecidedBy, q.DecidedAt, q.Why = rotate.RequestApproved, "bob", f.at(), f.text()
	f.must(l.DecideRequest(f.t.Context(), q))
	if f.rand.IntN(2) == 0 {
		return
	}
	q.State, q.KeyID = rotate.RequestMade, "AKIAMADE"
	f.must(l.SaveRequest(f.t.Context(), q))
}
