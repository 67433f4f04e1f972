package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func run(id string) journal.Run {
	return journal.Run{ID: id, Kind: journal.Apply, Account: "111122223333", StartedAt: noon, Steps: []journal.Step{{
		ID: "step", Action: journal.Deactivate, User: "u", UserID: "AIDA", KeyID: "AKIA", KeyCreated: noon, From: journal.Active,
	}}}
}

func TestOpen_refusesURLsThatNameNoFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, test := range []struct{ url, says, hint string }{
		{"", "no database is named", "sqlite:PATH"},
		{"journal.db", `"journal.db" is no URL`, "sqlite:journal.db"},
		{"/var/lib/journal.db", "is no URL", "sqlite:/var/lib/journal.db"},
		{"sqlite:", "names no file", "sqlite:PATH"},
		{"sqlite::memory:", "names no file", "sqlite:PATH"},
		{"sqlite:///var/lib/x.db", "with //", "sqlite:PATH"},
		{"postgres://ops:hunter2@db:port/keyreeve", "cannot be read", "postgres://USER@HOST"},
		{"postgresql://ops:hunter2/x@db/keyreeve", "cannot be read", "%2F"},
		{"postgres://ops:hunter2@db/keyreeve?sslmode=perhaps", "cannot be read", "sslmode"},
		{"postgres://ops:hunter2@db/keyreeve?sslrootcert=/none/hunter2", "cannot be read", "sslmode"},
		{"postgres:ops:hunter2", "cannot be read", "postgres://USER@HOST"},
		{"mysql://ops:hunter2@db/keyreeve", `unknown kind "mysql"`, "sqlite:PATH"},
		{"file:x.db", "is no URL", "sqlite:"},
	} {
		_, err := store.Open(t.Context(), test.url, store.Options{})
		var input *journal.InputError
		if !errors.As(err, &input) || !strings.Contains(input.Problem, test.says) || !strings.Contains(input.Hint, test.hint) {
			t.Errorf("open %q: got %v", test.url, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("open %q repeats the password", test.url)
		}
	}
	if left, err := os.ReadDir("."); err != nil || len(left) != 0 {
		t.Errorf("made %v, %v", left, err)
	}
}

func TestOpen_saysWhichFileItCannotUse(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("file", "text")
	foreign := filepath.Join(dir, "foreign.db")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE photos (id INTEGER)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(foreign, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, says string }{
		{filepath.Join(file, "below", "journal.db"), "make the directory"},
		{dir, "open the journal"},
		{write("text.db", strings.Repeat("this is no database. ", 100)), "is no database"},
		{write("half.db", "SQLite format 3\x00"+strings.Repeat("x", 4096)), "is no database"},
		{foreign, "is a database of another program"},
	} {
		before, _ := os.ReadFile(test.path)
		_, err := store.Open(t.Context(), "sqlite:"+test.path, store.Options{})
		var e *store.Error
		if !errors.As(err, &e) || e.Hint == "" || !strings.Contains(e.Problem, test.says) || !strings.Contains(e.Problem, test.path) {
			t.Errorf("open %s: got %v", test.path, err)
		}
		if after, _ := os.ReadFile(test.path); string(before) != string(after) {
			t.Errorf("open changed %s", test.path)
		}
	}
}

func TestOpen_makesFilesForTheUserAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "keyreeve")
	path := filepath.Join(dir, "journal.db")
	d := open(t, path)
	if err := d.Begin(t.Context(), run("run-1")); err != nil {
		t.Fatal(err)
	}
	release, err := d.Lock(t.Context(), "111122223333", "run-1")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if want, err := filepath.EvalSymlinks(path); err != nil || d.Path() != want {
		t.Errorf("path %s, want %s, %v", d.Path(), want, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %o", f.Name(), info.Mode().Perm())
		}
	}
	want := []string{"journal.db", "journal.db-shm", "journal.db-wal", "journal.db.111122223333.lock", "journal.db.lock"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, made := range []string{dir, filepath.Dir(dir)} {
		info, err := os.Stat(made)
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", made, info.Mode(), err)
		}
	}
}

func TestOpen_locksOneFileUnderAllItsNames(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // links need a privilege there
	}
	names := []string{"real/journal.db", "dir/journal.db", "file.db", "./real/../dir/journal.db"}
	for _, first := range names { // which makes the file, also through a link to what is not there yet
		dir := t.TempDir()
		if err := errors.Join(
			os.Mkdir(filepath.Join(dir, "real"), 0o700),
			os.Symlink("real", filepath.Join(dir, "dir")),
			os.Symlink(filepath.Join("dir", "journal.db"), filepath.Join(dir, "file.db")),
		); err != nil {
			t.Fatal(err)
		}
		a := open(t, dir+"/"+first)
		release, err := a.Lock(t.Context(), "111122223333", "run-1")
		if err != nil {
			t.Fatal(err)
		}
		for _, second := range names {
			b := open(t, dir+"/"+second)
			var held *store.HeldError
			if _, err := b.Lock(t.Context(), "111122223333", "run-2"); !errors.As(err, &held) || held.Holder != "run-1" || b.Path() != a.Path() {
				t.Errorf("%s is locked, and %s is not: %v", first, second, err)
			}
		}
		release()
		if left, err := filepath.Glob(filepath.Join(dir, "*.lock")); err != nil || len(left) != 0 {
			t.Errorf("locks beside the link: %v, %v", left, err)
		}
	}
}

func TestOpen_refusesAFileThatOthersMayWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	open(t, path)
	for _, mode := range []os.FileMode{0o620, 0o602, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := store.Open(t.Context(), "sqlite:"+path, store.Options{})
		var e *store.Error
		refused := errors.As(err, &e) && strings.Contains(e.Problem, path) && strings.Contains(e.Hint, "chmod 600")
		if refused != (runtime.GOOS != "windows") {
			t.Errorf("mode %o: got %v", mode, err)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil { // to be read by an auditor
		t.Fatal(err)
	}
	open(t, path)
}

func TestOpen_takesAnyPath(t *testing.T) {
	t.Chdir(t.TempDir())
	names := []string{"a b.db", "a%41.db", "a#b.db", "ü.db", "sub/journal.db", "a&mode=ro.db", "a;b'c.db"}
	if runtime.GOOS != "windows" {
		names = append(names, "a?b.db", `a"b.db`, `a\b.db`, "a:b.db")
	}
	for _, name := range names {
		d, err := store.Open(t.Context(), "sqlite:"+name, store.Options{})
		if err != nil {
			t.Errorf("open %s: %v", name, err)
			continue
		}
		if err := errors.Join(d.Begin(t.Context(), run("run-1")), d.Close()); err != nil {
			t.Errorf("open %s: %v", name, err)
		}
		if info, err := os.Stat(name); err != nil || info.Size() == 0 {
			t.Errorf("open %s made another file: %v", name, err)
		}
	}
}

func TestOptions_hearOfEachWrite(t *testing.T) {
	var heard []string
	o := store.Options{OnWrite: func(point string) { heard = append(heard, point) }}
	d, err := store.Open(t.Context(), "sqlite:"+t.TempDir()+"/journal.db", o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Begin(t.Context(), run("run-1")); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []journal.EntryKind{journal.Intent, journal.Intent} {
		_, _ = d.Append(t.Context(), journal.Entry{Run: "run-1", Step: "step", Kind: kind, At: noon}) // the second is refused
	}
	if want := []string{"before begin", "after begin", "before intent", "after intent", "before intent"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
}

// A context that ends in the middle would leave the caller in doubt whether the entry is on record.
func TestAppend_finishesWhatItBegan(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := store.WithAmid(store.Options{}, func(what string) {
		if what == string(journal.Intent) {
			cancel()
		}
	})
	d, err := store.Open(t.Context(), "sqlite:"+t.TempDir()+"/journal.db", o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Begin(ctx, run("run-1")); err != nil {
		t.Fatal(err)
	}
	e, err := d.Append(ctx, journal.Entry{Run: "run-1", Step: "step", Kind: journal.Intent, At: noon})
	if err != nil || e.Seq != 2 {
		t.Errorf("append: %+v, %v", e, err)
	}
	if entries, err := d.Entries(t.Context()); err != nil || len(entries) != 2 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}
