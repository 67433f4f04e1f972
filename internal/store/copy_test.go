package store_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/store/storetest"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// kinds make a new store of each kind.
var kinds = map[string]func(t testing.TB) string{
	"sqlite":   func(t testing.TB) string { return "sqlite:" + t.TempDir() + "/journal.db" },
	"postgres": postgres.URL,
}

// pairs runs the test for each kind of source and target.
func pairs(t *testing.T, test func(t *testing.T, from, to string)) {
	for a, from := range kinds {
		for b, to := range kinds {
			t.Run(a+" to "+b, func(t *testing.T) { test(t, from(t), to(t)) })
		}
	}
}

// same wants both to hold the same.
func same(t *testing.T, one, other *store.DB) {
	t.Helper()
	c, err := store.Compare(t.Context(), one, other)
	if err != nil {
		t.Fatal(err)
	}
	if c.Count != 0 || len(c.Differences) != 0 {
		t.Errorf("%d differences: %+v", c.Count, c.Differences)
	}
	if diff := cmp.Diff(c.One, c.Other); diff != "" {
		t.Errorf("contents (-one +other):\n%s", diff)
	}
	contents, err := other.Contents(t.Context())
	if diff := cmp.Diff(c.Other, contents); err != nil || diff != "" {
		t.Errorf("contents by themselves, %v (-compared +alone):\n%s", err, diff)
	}
	for _, d := range []*store.DB{one, other} {
		if err := d.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestCopy_holdsWhatItsSourceHolds(t *testing.T) {
	pairs(t, func(t *testing.T, from, to string) {
		source, target := openAt(t, from), openAt(t, to)
		same(t, source, target) // nothing
		seed := uint64(len(t.Name()))
		storetest.Fill(t, source, seed)
		reader, err := store.OpenReader(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = reader.Close() }()
		told := map[string]int64{}
		if err := store.Copy(t.Context(), reader, target, func(table string, rows int64) { told[table] = rows }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		same(t, source, target)
		contents, err := target.Contents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range contents {
			if c.Rows == 0 || c.Table != "journal_head" && told[c.Table] != c.Rows {
				t.Errorf("seed %d: table %s has %d rows, told %d", seed, c.Table, c.Rows, told[c.Table])
			}
		}
		// It goes on where the source stood, and is guarded as a journal is.
		if err := target.Begin(t.Context(), run("run-next")); err != nil {
			t.Error(err)
		}
		if err := target.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCopy_holdsAnyContent(t *testing.T) {
	for seed := range uint64(6) {
		source, middle, target := openAt(t, kinds["sqlite"](t)), openAt(t, kinds["postgres"](t)), openAt(t, kinds["sqlite"](t))
		storetest.Fill(t, source, seed)
		if err := errors.Join(store.Copy(t.Context(), source, middle, nil), store.Copy(t.Context(), middle, target, nil)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		same(t, source, middle)
		same(t, source, target)
	}
}

// cell is a value in a file of SQLite.
type cell struct {
	table, column string
	row           int64 // SQLite's own number of it
	value         any
}

func cells(t *testing.T, db *sql.DB) (all []cell) {
	t.Helper()
	for _, table := range []string{"runs", "steps", "entries", "journal_head", "rotations", "key_uses", "requests"} {
		rows, err := db.QueryContext(t.Context(), `SELECT rowid, * FROM `+table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range into {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			for i := 1; i < len(columns); i++ {
				all = append(all, cell{table, columns[i], values[0].(int64), values[i]})
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// other is another value of the same type; there is always something in its place.
func (c *cell) other() any {
	switch v := c.value.(type) {
	case int64:
		return v + 1000003
	case string:
		return v + "x"
	case []byte:
		return append(slices.Clone(v), 0)
	default:
		return "x"
	}
}

func TestCompare_findsAChangeOfAnyOneCell(t *testing.T) {
	path := t.TempDir() + "/copy.db"
	source, target := openAt(t, kinds["postgres"](t)), open(t, path)
	storetest.Fill(t, source, 7)
	if err := store.Copy(t.Context(), source, target, nil); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path+"?_pragma=synchronous(OFF)&_pragma=ignore_check_constraints(1)&_pragma=foreign_keys(0)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, name := range []string{
		"entries_no_update", "steps_no_update", "runs_only_end", "journal_head_grows", "rotations_go_on", "key_uses_no_update", "requests_go_on",
	} {
		file(t, path, `DROP TRIGGER `+name)
	}
	all := cells(t, db)
	if len(all) < 200 {
		t.Fatalf("only %d cells", len(all))
	}
	set := func(c *cell, value any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf(`UPDATE %s SET %s = $1 WHERE rowid = $2`, c.table, c.column), value, c.row); err != nil {
			t.Fatalf("%s.%s: %v", c.table, c.column, err)
		}
	}
	for i := range all {
		c := &all[i]
		set(c, c.other())
		found, err := store.Compare(t.Context(), source, target)
		if err != nil {
			t.Fatal(err)
		}
		set(c, c.value)
		named := slices.ContainsFunc(found.Differences, func(d store.Difference) bool {
			return d.Table == c.table && (slices.Contains(strings.Split(d.What, ", "), c.column) || strings.HasPrefix(d.What, "only in"))
		})
		digests := slices.IndexFunc(found.One, func(x store.Content) bool { return !slices.Contains(found.Other, x) })
		if found.Count == 0 || !named || digests < 0 || found.One[digests].Table != c.table {
			t.Errorf("%s.%s of row %d: %+v", c.table, c.column, c.row, found)
		}
	}
	same(t, source, target)
}

func TestCompare_namesRowsThatOneLacks(t *testing.T) {
	pairs(t, func(t *testing.T, from, to string) {
		one, other := openAt(t, from), openAt(t, to)
		storetest.Fill(t, one, 1)
		c, err := store.Compare(t.Context(), one, other)
		if err != nil {
			t.Fatal(err)
		}
		first := c.Differences[0]
		if first.Table != "runs" || first.Row != "begun 1" || first.What != "only in "+one.Name() {
			t.Errorf("first difference: %+v", first)
		}
		back, err := store.Compare(t.Context(), other, one)
		if err != nil || back.Count != c.Count || back.Differences[0].What != "only in "+one.Name() {
			t.Errorf("the other way round: %+v, %v", back, err)
		}
		named := map[string]int{}
		for _, d := range c.Differences {
			if named[d.Table]++; named[d.Table] > 3 {
				t.Errorf("more than three of %s: %+v", d.Table, d)
			}
		}
	})
}

func TestCopy_refusesATargetThatHoldsAnything(t *testing.T) {
	pairs(t, func(t *testing.T, from, to string) {
		source, target := openAt(t, from), openAt(t, to)
		storetest.Fill(t, source, 2)
		if err := target.Begin(t.Context(), run("run-1")); err != nil {
			t.Fatal(err)
		}
		before, err := target.Contents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var input *journal.InputError
		if err := store.Copy(t.Context(), source, target, nil); !errors.As(err, &input) || !strings.Contains(input.Problem, "rows of runs") || input.Hint == "" {
			t.Errorf("got %v", err)
		}
		after, err := target.Contents(t.Context())
		if diff := cmp.Diff(before, after); err != nil || diff != "" {
			t.Errorf("%v (-before +after):\n%s", err, diff)
		}
		reader, err := store.OpenReader(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = reader.Close() }()
		if err := store.Copy(t.Context(), source, reader, nil); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("to one that may not be written: %v", err)
		}
	})
}

func TestCopy_refusesWhileSomebodyWorksOnAnAccount(t *testing.T) {
	pairs(t, func(t *testing.T, from, to string) {
		source, target := openAt(t, from), openAt(t, to)
		storetest.Fill(t, source, 3)
		release, err := source.Lock(t.Context(), storetest.Account, "run one, pid 1 on ops-1")
		if err != nil {
			t.Fatal(err)
		}
		var held *store.HeldError
		if err := store.Copy(t.Context(), source, target, nil); !errors.As(err, &held) || held.Account != storetest.Account || held.Holder != "run one, pid 1 on ops-1" {
			t.Errorf("got %v", err)
		}
		if contents, err := target.Contents(t.Context()); err != nil || contents[0].Rows != 0 {
			t.Errorf("copied %+v, %v", contents, err)
		}
		release()
		if err := store.Copy(t.Context(), source, target, nil); err != nil {
			t.Error(err)
		}
		same(t, source, target)
	})
}

func TestCopy_copiesNothingOfWhatIsWrittenMeanwhile(t *testing.T) {
	pairs(t, func(t *testing.T, from, to string) {
		source, target := openAt(t, from), openAt(t, to)
		storetest.Fill(t, source, 4)
		other := openAt(t, from)
		once := false
		err := store.Copy(t.Context(), source, target, func(table string, _ int64) {
			if table == "requests" && !once { // the last
				once = true
				if err := other.Begin(t.Context(), run("run-meanwhile")); err != nil {
					t.Error(err)
				}
			}
		})
		var e *store.Error
		if !errors.As(err, &e) || !strings.Contains(e.Problem, "was written while it was copied") || e.Hint == "" {
			t.Errorf("got %v", err)
		}
		if contents, err := target.Contents(t.Context()); err != nil || contents[0].Rows != 0 {
			t.Errorf("copied %+v, %v", contents, err)
		}
	})
}

// A copy of what somebody changed would give it a clean look.
func TestCopy_refusesAJournalWhoseChainDoesNotHold(t *testing.T) {
	path := t.TempDir() + "/journal.db"
	source, target := open(t, path), openAt(t, kinds["postgres"](t))
	storetest.Fill(t, source, 5)
	file(t, path, `DROP TRIGGER entries_no_update`)
	file(t, path, `UPDATE entries SET note = 'changed' WHERE seq = 2`)
	if err := store.Copy(t.Context(), source, target, nil); err == nil || !strings.Contains(err.Error(), "does not hold") {
		t.Errorf("got %v", err)
	}
	if contents, err := target.Contents(t.Context()); err != nil || contents[0].Rows != 0 {
		t.Errorf("copied %+v, %v", contents, err)
	}
}
