package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/store"
)

func keepsBook(t *testing.T, d *store.DB) {
	r := apply("run-apply", 0, 3)
	begin(t, d, r)
	done(t, d, r, "step0000", 1)
	done(t, d, r, "step0001", 11)
	add(t, d, entry(r, "step0002", 21, journal.Intent, ""))
	undo := apply("run-undo", 5, 1)
	undo.Kind, undo.Undoes, undo.Steps[0].Action, undo.Steps[0].From = journal.Undo, r.ID, journal.Activate, journal.Inactive
	begin(t, d, undo)
	done(t, d, undo, "step0000", 1)
	other := apply("run-other", 90, 1)
	other.Account = "444455556666"
	begin(t, d, other)
	done(t, d, other, "step0000", 1)
	add(t, d, entry(other, "", 7200, journal.End, ""))

	book, err := d.Book(t.Context(), Account)
	if err != nil {
		t.Fatal(err)
	}
	if len(book.Changes) != 2 || len(book.Unresolved) != 1 {
		t.Fatalf("book: %+v", book)
	}
	if c := book.Changes["AKIAEXAMPLE00000"]; c.Run != "run-undo" || c.State != journal.Active || !c.Undoing {
		t.Errorf("change of the key that was undone: %+v", c)
	}
	c := book.Changes["AKIAEXAMPLE00001"]
	if c.Run != r.ID || c.State != journal.Inactive || c.Undoing || c.Step.Then != journal.Delete || !c.At.Equal(r.StartedAt.Add(13*time.Second)) {
		t.Errorf("change of the key that was deactivated: %+v", c)
	}
	if u := book.Unresolved[0]; u.Run.ID != r.ID || u.Step.ID != "step0002" || !u.Step.IntendedAt().Equal(r.StartedAt.Add(21*time.Second)) {
		t.Errorf("unresolved: %+v", u)
	}
	if _, err := d.Book(t.Context(), ""); err == nil {
		t.Error("the book of no account")
	}
}

func keepsOrder(t *testing.T, d *store.DB) {
	r := apply("run-apply", 60, 1)
	begin(t, d, r)
	done(t, d, r, "step0000", 1)
	add(t, d, entry(r, "", 9, journal.End, ""))
	undo := apply("run-undo", 0, 1) // the clock was set back by an hour
	undo.Kind, undo.Undoes, undo.Steps[0].Action, undo.Steps[0].From = journal.Undo, r.ID, journal.Activate, journal.Inactive
	begin(t, d, undo)
	done(t, d, undo, "step0000", 1)
	book, err := d.Book(t.Context(), Account)
	if err != nil {
		t.Fatal(err)
	}
	c := book.Changes["AKIAEXAMPLE00000"]
	if c.Run != "run-undo" || c.State != journal.Active || c.Seq != 9 || !c.Step.LastUsed.Equal(undo.Steps[0].LastUsed) {
		t.Errorf("the last change: %+v, want that of the undo", c)
	}
}

func listsDead(t *testing.T, d *store.DB) {
	for i, id := range []string{"run-a", "run-b", "run-c"} {
		begin(t, d, apply(id, -i, 1)) // its clock goes back
	}
	other := apply("run-d", 9, 1)
	other.Account = "444455556666"
	begin(t, d, other)
	dead := func(want ...string) {
		t.Helper()
		book, err := d.Book(t.Context(), Account)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, book.Dead); diff != "" {
			t.Errorf("dead (-want +got):\n%s", diff)
		}
	}
	dead("run-a", "run-b", "run-c")
	end := entry(apply("run-b", 0, 1), "", 60, journal.End, "")
	end.Note = "it died; found by run run-c"
	add(t, d, end)
	dead("run-a", "run-c")
	runs, err := d.Runs(t.Context(), store.RunFilter{Account: Account})
	if err != nil || len(runs) != 3 || runs[1].EndNote != end.Note || runs[0].EndNote != "" {
		t.Errorf("runs: %+v, %v", runs, err)
	}
}

func keepsText(t *testing.T, d *store.DB) {
	r := apply("run-text", 0, 1)
	r.Host, r.Caller = "höst", "'; DROP TABLE entries; --"
	r.Steps[0].User = `Jürgen "=,.@-_ <&>` + "\u2028"
	r.Steps[0].Rules = []string{`a"b`, "c,d", "<e>", "\\"}
	begin(t, d, r)
	e := entry(r, "step0000", 1, journal.Left, journal.Refused)
	for _, test := range []struct{ note, want string }{
		{"", ""},
		{"line\nline\t\r\n", "line\nline\t\r\n"},
		{"<&> \u2028 é 🔑", "<&> \u2028 é 🔑"},
		{"nul \x00 byte", "nul \uFFFD byte"}, // a text of PostgreSQL holds none
		{"not \xff UTF-8", "not \uFFFD UTF-8"},
		{strings.Repeat("long ", 50000), strings.Repeat("long ", 50000)},
	} {
		e.Note = test.note
		if got := add(t, d, e); got.Note != test.want {
			t.Errorf("note %q came back as %q", test.note, got.Note)
		}
	}
	got, err := d.Run(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&r, got, cmpopts.IgnoreFields(journal.Step{}, "Entries")); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
}

func endedContext(t *testing.T, d *store.DB) {
	r := apply("run-ctx", 0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Begin(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("begin: %v", err)
	}
	begin(t, d, r)
	if _, err := d.Append(ctx, entry(r, "step0000", 1, journal.Intent, "")); !errors.Is(err, context.Canceled) {
		t.Errorf("append: %v", err)
	}
	if entries, err := d.Entries(t.Context()); err != nil || len(entries) != 1 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

func manyWriters(t *testing.T, d *store.DB) {
	const writers, steps = 8, 10
	var wait sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wait.Go(func() {
			r := apply(fmt.Sprintf("run-%d", w), w, steps)
			errs[w] = d.Begin(t.Context(), r)
			for i := range steps {
				_, err := d.Append(t.Context(), entry(r, r.Steps[i].ID, i, journal.Intent, ""))
				_, bookErr := d.Runs(t.Context(), store.RunFilter{Account: Account, Limit: 1})
				errs[w] = errors.Join(errs[w], err, bookErr)
			}
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	entries, err := d.Entries(t.Context())
	if err != nil || len(entries) != writers*(steps+1) {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if err := journal.Verify(entries); err != nil {
		t.Error(err)
	}
}

// asTheModel appends entries by chance, and compares each answer and the run at the end with those of a run in
// memory.
func asTheModel(t *testing.T, d *store.DB) {
	count := 0
	rapid.Check(t, func(rt *rapid.T) {
		count++
		model := apply(fmt.Sprintf("run-%05d", count), count, 2)
		if err := d.Begin(t.Context(), model); err != nil {
			rt.Fatal(err)
		}
		for i := range rapid.IntRange(0, 12).Draw(rt, "entries") {
			kind := rapid.SampledFrom(journal.EntryKinds()).Draw(rt, "kind")
			e := entry(model, "", i, kind, "")
			if kind != journal.Begin && kind != journal.End {
				e.Step = rapid.SampledFrom([]string{"step0000", "step0001"}).Draw(rt, "step")
			}
			if results := kind.Results(); results != nil {
				e.Result = rapid.SampledFrom(results).Draw(rt, "result")
			}
			want := model.Admits(&e)
			got, err := d.Append(t.Context(), e)
			if (err == nil) != (want == nil) {
				rt.Fatalf("append %s %s of %q: got %v, want %v", e.Kind, e.Result, e.Step, err, want)
			}
			if err != nil {
				continue
			}
			if kind == journal.End {
				model.EndedAt, model.EndNote = got.At, got.Note
			}
			for j := range model.Steps {
				if model.Steps[j].ID == e.Step {
					model.Steps[j].Entries = append(model.Steps[j].Entries, got)
				}
			}
		}
		got, err := d.Run(t.Context(), model.ID)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(&model, got, cmpopts.EquateEmpty()); diff != "" {
			rt.Fatalf("run (-want +got):\n%s", diff)
		}
	})
}

func locks(t *testing.T, d *store.DB) {
	release, err := d.Lock(t.Context(), Account, "run one, pid 1 on ops-1")
	if err != nil {
		t.Fatal(err)
	}
	var held *store.HeldError
	if _, err := d.Lock(t.Context(), Account, "run two"); !errors.As(err, &held) || held.Holder != "run one, pid 1 on ops-1" || held.Account != Account {
		t.Errorf("second lock: %v", err)
	}
	other, err := d.Lock(t.Context(), "444455556666", "run two")
	if err != nil {
		t.Errorf("lock of another account: %v", err)
	} else {
		other()
	}
	release()
	release()
	again, err := d.Lock(t.Context(), Account, "three")
	if err != nil {
		t.Fatalf("lock after release: %v", err)
	}
	release() // of one that is no longer held: the third keeps it
	if _, err := d.Lock(t.Context(), Account, "four"); !errors.As(err, &held) || held.Holder != "three" {
		t.Errorf("lock held by a shorter name: %v", err)
	}
	again()
	for _, account := range []string{"", "1111", "../11112222", "11112222333x", "*"} {
		if _, err := d.Lock(t.Context(), account, "x"); err == nil || errors.As(err, &held) && held.Account == account {
			t.Errorf("lock of account %q: %v", account, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Lock(ctx, Account, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("lock with an ended context: %v", err)
	}
}
