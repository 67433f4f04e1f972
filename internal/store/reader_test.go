package store_test

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/store"
)

// begun is a journal that stays open, with a run of five entries.
func begun(t *testing.T, path string) *store.DB {
	t.Helper()
	d := open(t, path)
	if err := d.Begin(t.Context(), run("run-1")); err != nil {
		t.Fatal(err)
	}
	for _, e := range wholeStep() {
		if _, err := d.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// file runs a statement on the file itself, as somebody else would.
func file(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// copied puts the journal, with the files of these suffixes beside it, into a directory of its own.
func copied(t *testing.T, path string, suffixes ...string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range append([]string{""}, suffixes...) {
		body, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+suffix, body, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// contents are the files of a directory by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range files {
		body, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name()] = string(body)
		if strings.HasSuffix(f.Name(), "-shm") {
			out[f.Name()] = "" // within one process, readers note what they read where the writer does
		}
	}
	return out
}

// readsWhole reads all that there is, tries to write, and finds the directory as it was. A directory that cannot be
// written means nothing to the superuser: that nothing is made in one that can be is what is tested.
func readsWhole(t *testing.T, path string, entries int) {
	t.Helper()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp) // of Windows
	before := contents(t, filepath.Dir(path))
	d, err := store.OpenReader(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Entries(t.Context()); err != nil || len(got) != entries {
		t.Errorf("%d entries, %v, want %d", len(got), err, entries)
	}
	if r, err := d.Run(t.Context(), "run-1"); err != nil || len(r.Steps) != 1 {
		t.Errorf("run: %+v, %v", r, err)
	}
	if _, err := d.Book(t.Context(), "111122223333"); err != nil {
		t.Error(err)
	}
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
	_, appendErr := d.Append(t.Context(), journal.Entry{Run: "run-1", Kind: journal.End, At: noon})
	l := d.Ledger(store.Origin{})
	if found, err := l.Rotations(t.Context(), store.RotationFilter{}); err != nil || len(found) != 0 {
		t.Errorf("rotations: %+v, %v", found, err)
	}
	rotateErr := rotateTwice(t.Context(), l)
	_, lockErr := d.Lock(t.Context(), "111122223333", "run-2")
	for what, err := range map[string]error{"begin": d.Begin(t.Context(), run("run-2")), "append": appendErr, "lock": lockErr, "rotate": rotateErr} {
		if !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, contents(t, filepath.Dir(path))); diff != "" {
		t.Errorf("the directory (-before +after):\n%s", diff)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestOpenReader_leavesNoTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	d := begun(t, path)
	withChanges := copied(t, path, "-wal")
	withBoth := copied(t, path, "-wal", "-shm")
	t.Run("in use", func(t *testing.T) { readsWhole(t, path, 5) })
	file(t, path, `PRAGMA wal_checkpoint(TRUNCATE)`)
	alone, emptied := copied(t, path), copied(t, path, "-wal")
	t.Run("in use, all written to the file", func(t *testing.T) { readsWhole(t, path, 5) })
	t.Run("a copy of the file alone", func(t *testing.T) { readsWhole(t, alone, 5) })
	t.Run("a copy of the file and no changes", func(t *testing.T) { readsWhole(t, emptied, 5) })
	t.Run("a copy of the file and its changes", func(t *testing.T) { readsWhole(t, withChanges, 5) })
	t.Run("a copy of all three", func(t *testing.T) { readsWhole(t, withBoth, 5) })
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("closed", func(t *testing.T) { readsWhole(t, path, 5) })
	if runtime.GOOS != "windows" {
		link := filepath.Join(t.TempDir(), "link.db")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		t.Run("a link", func(t *testing.T) { readsWhole(t, link, 5) })
	}
}

func TestOpenReader_seesWhatIsWrittenToAJournalInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	w := begun(t, path)
	r, err := store.OpenReader(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for want := 6; want < 9; want++ {
		if err := w.Begin(t.Context(), run("run-"+strings.Repeat("x", want))); err != nil {
			t.Fatal(err)
		}
		if entries, err := r.Entries(t.Context()); err != nil || len(entries) != want {
			t.Errorf("%d entries, %v, want %d", len(entries), err, want)
		}
	}
}

func TestOpenReader_readsWhatAnotherProcessIsWriting(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "journal.db")
	begun(t, path)
	before := contents(t, filepath.Dir(path))
	c := exec.CommandContext(t.Context(), self)
	c.Env = append(os.Environ(), envRead+"="+path)
	if out, err := c.CombinedOutput(); err != nil || string(out) != "5 entries" {
		t.Errorf("it read %q, %v", out, err)
	}
	if diff := cmp.Diff(before, contents(t, filepath.Dir(path))); diff != "" {
		t.Errorf("the directory (-before +after):\n%s", diff)
	}
}

// The way that reads a file as one that cannot change would give old answers, or wrong ones.
func TestOpenReader_saysWhenAFileThatNobodyUsedWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	if err := begun(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	r, err := store.OpenReader(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	w := open(t, path)
	if err := w.Begin(t.Context(), run("run-2")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := r.Entries(t.Context())
		var e *store.Error
		if !errors.As(err, &e) || !strings.Contains(e.Problem, "was written while it was read") || e.Hint == "" {
			t.Errorf("entries: %v", err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenReader_makesNothingWhereThereIsNothing(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"journal.db", "below/journal.db"} {
		_, err := store.OpenReader(t.Context(), "sqlite:"+filepath.Join(dir, name))
		var e *store.Error
		if !errors.As(err, &e) || !errors.Is(err, fs.ErrNotExist) || e.Hint == "" || !strings.Contains(e.Problem, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var input *journal.InputError
	if _, err := store.OpenReader(t.Context(), "journal.db"); !errors.As(err, &input) {
		t.Errorf("no URL: %v", err)
	}
	if left := contents(t, dir); len(left) != 0 {
		t.Errorf("made %v", left)
	}
}

func TestOpenReader_saysWhyItCannotReadAFile(t *testing.T) {
	changed := func(statement string) string {
		path := filepath.Join(t.TempDir(), "journal.db")
		if err := begun(t, path).Close(); err != nil {
			t.Fatal(err)
		}
		file(t, path, statement)
		return path
	}
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "journal.db")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := write("")
	file(t, foreign, `CREATE TABLE photos (id INTEGER)`)
	for _, test := range []struct{ path, says, hint string }{
		{changed(`INSERT INTO schema_version (version_id, is_applied) VALUES (99, 1)`), "its schema is 99, this program knows 8", "newer"},
		{changed(`DELETE FROM schema_version WHERE version_id > 1`), "its schema is 1, this program reads 8", "copy it"},
		{write(""), "is empty", "--db"},
		{write(strings.Repeat("this is no database. ", 100)), "is no database", "--db"},
		{foreign, "is a database of another program", "--db"},
		{t.TempDir(), "read the journal", "--db"},
	} {
		var before map[string]string
		if !strings.HasPrefix(test.says, "read") {
			before = contents(t, filepath.Dir(test.path))
		}
		_, err := store.OpenReader(t.Context(), "sqlite:"+test.path)
		var e *store.Error
		if !errors.As(err, &e) || !strings.Contains(e.Problem, test.says) || !strings.Contains(e.Problem, test.path) || !strings.Contains(e.Hint, test.hint) {
			t.Errorf("%s: got %v", test.says, err)
		}
		if before == nil {
			continue
		}
		if diff := cmp.Diff(before, contents(t, filepath.Dir(test.path))); diff != "" {
			t.Errorf("%s: the directory (-before +after):\n%s", test.says, diff)
		}
	}
}

// An auditor's copy may have any mode.
func TestOpenReader_takesAFileThatOthersMayWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	if err := begun(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	readsWhole(t, path, 5)
}
