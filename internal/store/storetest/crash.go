package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/store"
)

// Processes runs the part of the suite that needs several processes, in a package whose TestMain is Main. url
// gives that of a new store each time, of which nothing is there yet.
func Processes(t *testing.T, url func(t testing.TB) string) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, url func(t testing.TB) string)
	}{
		{"two processes that find it new both succeed", twoAtOnce},
		{"a process that dies between writes leaves what was written", diesBetween},
		{"a process that dies at any moment leaves whole entries", diesAnywhere},
		{"a lock names its holder and dies with it", lockDies},
		{"two processes share rotations, and each edge is taken once", racersShareRotations},
		{"a process that dies while it saves a rotation leaves row and events together", diesAmidSave},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, url) })
	}
}

func reopen(t *testing.T, url string) *store.DB {
	t.Helper()
	d, err := store.Open(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func shut(t *testing.T, d *store.DB) {
	t.Helper()
	if err := errors.Join(d.Check(t.Context()), d.Close()); err != nil {
		t.Error(err)
	}
}

// twoAtOnce also shows that two writers make one chain.
func twoAtOnce(t *testing.T, fresh func(t testing.TB) string) {
	url := fresh(t)
	const count = 200
	one, two := launch(t, url, fmt.Sprintf("append one %d", count)), launch(t, url, fmt.Sprintf("append two %d", count))
	one.goOn(t)
	two.goOn(t)
	if _, err := one.end(); err != nil {
		t.Error(err)
	}
	if _, err := two.end(); err != nil {
		t.Error(err)
	}
	d := reopen(t, url)
	entries, err := d.Entries(t.Context())
	if err != nil || len(entries) != 2*(count+1) {
		t.Errorf("%d entries, %v, want %d", len(entries), err, 2*(count+1))
	}
	shut(t, d)
}

func diesBetween(t *testing.T, fresh func(t testing.TB) string) {
	for i, kind := range points {
		for _, when := range []string{"before", "after"} {
			want := i
			if when == "after" {
				want++
			}
			at := fmt.Sprintf("%s %s", when, kind)
			url := fresh(t)
			p := launch(t, url, "die "+at)
			p.goOn(t)
			if _, err := p.end(); err == nil || strings.Contains(err.Error(), "it did not die") {
				t.Errorf("%s: %v", at, err)
			}
			d := reopen(t, url)
			entries, err := d.Entries(t.Context())
			if err != nil || len(entries) != want {
				t.Errorf("%s: %d entries, %v, want %d", at, len(entries), err, want)
			}
			if want > 0 {
				goesOn(t, d, at, want)
			}
			shut(t, d)
		}
	}
}

// goesOn shows that the next process knows where the step stands, and that it can go on from there.
func goesOn(t *testing.T, d *store.DB, at string, entries int) {
	t.Helper()
	want := journal.StatusPlanned
	switch {
	case entries >= 5:
		want = journal.StatusDone
	case entries >= 3:
		want = journal.StatusUnresolved
	}
	r, err := d.Run(t.Context(), "run-whole")
	if err != nil || r.Steps[0].Status() != want || r.EndedAt.IsZero() != (entries < len(points)) {
		t.Errorf("%s: run %+v, %v, want a step that is %s", at, r, err, want)
	}
	book, err := d.Book(t.Context(), Account)
	if err != nil || (len(book.Unresolved) == 1) != (want == journal.StatusUnresolved) {
		t.Errorf("%s: %d unresolved, %v", at, len(book.Unresolved), err)
	}
	if want == journal.StatusUnresolved {
		add(t, d, entry(apply("run-whole", 0, 1), "step0000", 60, journal.Verification, journal.Unmoved))
	}
}

func diesAnywhere(t *testing.T, fresh func(t testing.TB) string) {
	for i := range 20 {
		url := fresh(t)
		p := launch(t, url, "append run 1000000")
		p.goOn(t)
		for range 1 + i*i/4 {
			if !p.lines.Scan() {
				t.Fatalf("it ended: %s", p.err.String())
			}
		}
		said, err := strconv.ParseInt(p.lines.Text(), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if last, err := strconv.ParseInt(p.kill(t), 10, 64); err == nil && last > said {
			said = last // it went on while it was being killed; what it said last may be cut short
		}
		d := reopen(t, url)
		entries, err := d.Entries(t.Context())
		if err != nil || int64(len(entries)) < said || int64(len(entries)) > said+2 {
			t.Errorf("%d entries, %v; it had said that %d are on record", len(entries), err, said)
		}
		shut(t, d)
	}
}

func lockDies(t *testing.T, fresh func(t testing.TB) string) {
	url := fresh(t)
	p := launch(t, url, "hold "+Account+" run-1")
	p.goOn(t)
	p.expect(t, "held")
	d := reopen(t, url)
	var held *store.HeldError
	if _, err := d.Lock(t.Context(), Account, "run-2"); !errors.As(err, &held) || held.Holder != "run-1" || held.Hint() == "" {
		t.Errorf("lock held by another process: %v", err)
	}
	p.kill(t)
	release, err := d.Lock(t.Context(), Account, "run-2")
	if err != nil {
		t.Fatalf("lock after its holder was killed: %v", err)
	}
	release()
	shut(t, d)
}
