package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/store/storetest"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

func open(t *testing.T, path string) *store.DB {
	t.Helper()
	return openAt(t, "sqlite:"+path)
}

func openAt(t *testing.T, url string) *store.DB {
	t.Helper()
	d, err := store.Open(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestStore_isWhatTheSuiteDefines(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.DB { return open(t, t.TempDir()+"/journal.db") })
}

func TestStore_isWhatTheSuiteDefinesAcrossProcesses(t *testing.T) {
	storetest.Processes(t, func(t testing.TB) string { return "sqlite:" + t.TempDir() + "/journal.db" })
}

// envAmid makes the test binary the process that dies with a write half made, envRead one that reads and checks.
const (
	envAmid = "KEYREEVE_STORE_AMID"
	envRead = "KEYREEVE_STORE_READ"
	envPath = "KEYREEVE_STORE_PATH"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(envAmid); kind != "" {
		dieAmid(kind, os.Getenv(envPath))
	}
	if path := os.Getenv(envRead); path != "" {
		readAll(path)
	}
	storetest.Main(m)
}

func readAll(path string) {
	d, err := store.OpenReader(context.Background(), "sqlite:"+path)
	if err == nil {
		var entries []journal.Entry
		entries, err = d.Entries(context.Background())
		err = errors.Join(err, d.Check(context.Background()), d.Close())
		fmt.Print(len(entries), " entries")
	}
	if err != nil {
		fmt.Println(err)
	}
	os.Exit(0)
}

func dieAmid(kind, path string) {
	o := store.WithAmid(store.Options{}, func(what string) {
		if what == kind {
			p, _ := os.FindProcess(os.Getpid())
			_ = p.Kill()
			select {}
		}
	})
	ctx := context.Background()
	d, err := store.Open(ctx, "sqlite:"+path, o)
	if err == nil {
		err = d.Begin(ctx, run("run-1"))
	}
	for _, e := range wholeStep() {
		if err == nil {
			_, err = d.Append(ctx, e)
		}
	}
	if err == nil {
		err = rotateTwice(ctx, d.Ledger(store.Origin{}))
	}
	fmt.Println("alive:", err)
	os.Exit(0)
}

func wholeStep() []journal.Entry {
	entries := []journal.Entry{
		{Step: "step", Kind: journal.Intent},
		{Step: "step", Kind: journal.Outcome, Result: journal.OK},
		{Step: "step", Kind: journal.Verification, Result: journal.Shows},
		{Kind: journal.End},
	}
	for i := range entries {
		entries[i].Run, entries[i].At = "run-1", noon
	}
	return entries
}

func TestStore_holdsNothingOfAWriteDuringWhichTheProcessWasKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for want, kind := range []journal.EntryKind{journal.Begin, journal.Intent, journal.Outcome, journal.Verification, journal.End} {
		path := t.TempDir() + "/journal.db"
		c := exec.CommandContext(t.Context(), self)
		c.Env = append(os.Environ(), envAmid+"="+string(kind), envPath+"="+path)
		if out, err := c.CombinedOutput(); err == nil {
			t.Fatalf("%s: the process lived: %s", kind, out)
		}
		d := open(t, path)
		if entries, err := d.Entries(t.Context()); err != nil || len(entries) != want {
			t.Errorf("%s: %d entries, %v, want %d", kind, len(entries), err, want)
		}
		if err := d.Check(t.Context()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if want == 0 {
			if err := d.Begin(t.Context(), run("run-1")); err != nil {
				t.Fatal(err)
			}
			want++
		}
		for _, e := range wholeStep()[want-1:] { // the write can be made again
			if _, err := d.Append(t.Context(), e); err != nil {
				t.Errorf("after a death amid %s: %v", kind, err)
			}
		}
	}
}

// rotateTwice begins a rotation and saves it once.
func rotateTwice(ctx context.Context, l *store.Ledger) error {
	r := &rotate.Rotation{
		ID: "rot-1", State: rotate.Requested, Account: "111122223333", User: "ci", UserID: "AIDACI", StartedAt: noon,
		Old: rotate.KeyRecord{ID: "AKIAOLD", Active: true, Created: noon},
	}
	if err := l.Begin(ctx, r, rotate.Event{At: noon, To: rotate.Requested}); err != nil {
		return err
	}
	return saveOnce(ctx, l, r)
}

func saveOnce(ctx context.Context, l *store.Ledger, r *rotate.Rotation) error {
	from := r.State
	r.State, r.Sealed = rotate.Delivering, []byte("sealed")
	return l.Save(ctx, r,
		rotate.Event{At: noon, From: from, To: rotate.Creating, Name: rotate.SlotFree, Act: rotate.Create},
		rotate.Event{At: noon, From: rotate.Creating, To: rotate.Delivering, Name: rotate.Made})
}

func TestSave_holdsRowAndEventsOrNeitherWhenTheProcessWasKilledInItsMidst(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/journal.db"
	c := exec.CommandContext(t.Context(), self)
	c.Env = append(os.Environ(), envAmid+"=save", envPath+"="+path)
	if out, err := c.CombinedOutput(); err == nil {
		t.Fatalf("the process lived: %s", out)
	}
	d := open(t, path)
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
	l := d.Ledger(store.Origin{})
	events := func(want int) {
		t.Helper()
		if got, err := l.Events(t.Context(), "rot-1"); err != nil || len(got) != want {
			t.Errorf("%d events, %v, want %d", len(got), err, want)
		}
	}
	r, err := l.Load(t.Context(), "rot-1")
	if err != nil || r.Version != 1 || r.State != rotate.Requested || r.Sealed != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	events(1)
	if err := saveOnce(t.Context(), l, r); err != nil { // the write can be made again
		t.Error(err)
	}
	events(3)
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPostgres_isWhatTheSuiteDefines(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.DB { return openAt(t, postgres.URL(t)) })
}

func TestPostgres_isWhatTheSuiteDefinesAcrossProcesses(t *testing.T) {
	storetest.Processes(t, postgres.URL)
}
