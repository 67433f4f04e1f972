package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// both runs the test for a new database of each kind.
func both(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+t.TempDir()+"/journal.db") })
	t.Run("postgres", func(t *testing.T) { test(t, postgres.URL(t)) })
}

// filled is a journal in SQLite with one run, ended, of one step that is done.
func filled(t *testing.T, path string) *DB {
	t.Helper()
	return filledAt(t, "sqlite:"+path)
}

func filledAt(t *testing.T, url string) *DB {
	t.Helper()
	d, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	step := journal.Step{
		ID: "step", Action: journal.Deactivate, User: "u", UserID: "AIDA", KeyID: "AKIA", KeyCreated: noon, LastUsed: noon, From: journal.Active,
		Because: []string{"0123"}, Rules: []string{"key-age"},
	}
	run := journal.Run{ID: "run-1", Kind: journal.Apply, Account: "111122223333", StartedAt: noon, Steps: []journal.Step{step}}
	if err := d.Begin(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	for _, e := range []journal.Entry{
		{Step: "step", Kind: journal.Intent},
		{Step: "step", Kind: journal.Outcome, Result: journal.OK},
		{Step: "step", Kind: journal.Verification, Result: journal.Shows},
		{Kind: journal.End},
	} {
		e.Run, e.At = "run-1", noon
		if _, err := d.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// row is values of a table by column.
type row map[string]any

func (r row) with(column string, value any) row {
	out := row{column: value}
	for c, v := range r {
		if c != column {
			out[c] = v
		}
	}
	return out
}

// accepts tells whether the database takes the row; it is not kept.
func (d *DB) accepts(t *testing.T, table string, r row) error {
	t.Helper()
	var columns, holes []string
	var values []any
	for c, v := range r {
		values = append(values, v)
		columns, holes = append(columns, c), append(holes, fmt.Sprintf("$%d", len(values)))
	}
	tx, err := d.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(t.Context(),
		fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(columns, ", "), strings.Join(holes, ", ")), values...)
	return err
}

func rows() (run, step, entry row) {
	at, hash := journal.Stamp(noon), strings.Repeat("a", 64)
	run = row{
		"id": "run-2", "begun": 9, "kind": "apply", "account": "111122223333", "caller": "", "plan": "", "undoes": nil, "rotation": nil,
		"version": "", "host": "", "pid": 1, "started_at": at, "ended_at": nil,
	}
	step = row{
		"run_id": "run-1", "id": "other", "position": 2, "action": "delete", "user_name": "u", "user_id": "AIDA", "key_id": "AKIA",
		"key_created": at, "last_used": nil, "from_state": "inactive", "because": "[]", "rules": "[]", "then_action": "",
	}
	entry = row{
		"seq": 6, "run_id": "run-1", "step_id": "step", "kind": "intent", "at": at, "result": "", "note": "", "data": nil,
		"prev": hash, "hash": hash,
	}
	return run, step, entry
}

func TestSchema_takesEveryValueOfTheJournalAndNoOther(t *testing.T) { both(t, takesEveryValue) }

func takesEveryValue(t *testing.T, url string) {
	d := filledAt(t, url)
	run, step, entry := rows()
	check := func(table string, r row, column string, values []string) {
		t.Helper()
		for _, v := range values {
			if err := d.accepts(t, table, r.with(column, v)); err != nil {
				t.Errorf("%s.%s %q: %v", table, column, v, err)
			}
		}
		for _, v := range []any{"nonsense", strings.ToUpper(values[0]) + "X", nil} {
			if d.accepts(t, table, r.with(column, v)) == nil {
				t.Errorf("%s.%s takes %v", table, column, v)
			}
		}
	}
	for _, kind := range journal.RunKinds() {
		r := run.with("kind", string(kind))
		if kind == journal.Undo {
			r["undoes"] = "run-1"
		}
		if kind == journal.Rotate {
			r["rotation"] = "{}"
		}
		check("runs", r, "kind", []string{string(kind)})
	}
	check("steps", step, "action", texts(journal.Actions()))
	check("steps", step, "from_state", texts(journal.States()))
	check("steps", step, "then_action", []string{"", "delete"})
	for _, kind := range journal.EntryKinds() {
		r := entry.with("kind", string(kind))
		switch kind {
		case journal.Begin, journal.End:
			// The run has one of each: only another run takes them.
			continue
		default:
		}
		if kind == journal.Event {
			r["step_id"], r["data"] = nil, "{}"
		}
		results := append([]string{}, texts(kind.Results())...)
		if len(results) == 0 {
			results = []string{""}
		}
		check("entries", r, "result", results)
		check("entries", r.with("result", results[0]), "kind", []string{string(kind)})
		for _, other := range journal.EntryKinds() {
			for _, result := range other.Results() {
				err := d.accepts(t, "entries", r.with("result", string(result)))
				if takes := slices.Contains(results, string(result)); (err == nil) != takes {
					t.Errorf("%s with the result %s: %v", kind, result, err)
				}
			}
		}
	}
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

func TestSchema_refusesRowsThatMakeNoSense(t *testing.T) { both(t, refusesRows) }

func refusesRows(t *testing.T, url string) {
	d := filledAt(t, url)
	run, step, entry := rows()
	for table, r := range map[string]row{"runs": run, "steps": step, "entries": entry} {
		if err := d.accepts(t, table, r); err != nil {
			t.Fatalf("the row of %s that the others differ from: %v", table, err)
		}
	}
	if err := d.accepts(t, "steps", step.with("last_used", journal.Stamp(noon))); err != nil {
		t.Errorf("a key that was used: %v", err)
	}
	for _, test := range []struct {
		table string
		row   row
	}{
		{"runs", run.with("id", "")},
		{"runs", run.with("id", "run-1")},
		{"runs", run.with("begun", 0)},
		{"runs", run.with("begun", 1)},
		{"runs", run.with("account", "1111")},
		{"runs", run.with("undoes", "run-1")},
		{"runs", run.with("kind", "undo")},
		{"runs", run.with("kind", "rotate")},
		{"runs", run.with("rotation", "{}")},
		{"runs", run.with("kind", "rotate").with("rotation", "")},
		{"runs", run.with("kind", "undo").with("undoes", "run-9")},
		{"runs", run.with("kind", "undo").with("undoes", "run-2")},
		{"runs", run.with("started_at", "2026-03-01")},
		{"runs", run.with("ended_at", "2026-03-01")},
		{"steps", step.with("run_id", "run-9")},
		{"steps", step.with("id", "")},
		{"steps", step.with("id", "step")},
		{"steps", step.with("position", 0)},
		{"steps", step.with("position", 1)},
		{"steps", step.with("user_name", "")},
		{"steps", step.with("user_id", "")},
		{"steps", step.with("key_id", "")},
		{"steps", step.with("key_created", "")},
		{"steps", step.with("last_used", "")},
		{"steps", step.with("last_used", "2026-03-01")},
		{"steps", step.with("because", "")},
		{"steps", step.with("rules", "null")},
		{"entries", entry.with("seq", 0)},
		{"entries", entry.with("seq", -1)},
		{"entries", entry.with("seq", 1)},
		{"entries", entry.with("seq", 5)},
		{"entries", entry.with("run_id", "run-9")},
		{"entries", entry.with("step_id", "other")},
		{"entries", entry.with("step_id", nil)},
		{"entries", entry.with("kind", "end")},
		{"entries", entry.with("kind", "begin")},
		{"entries", entry.with("kind", "end").with("step_id", nil)}, // a second one
		{"entries", entry.with("kind", "begin").with("step_id", nil).with("data", "{}")},
		{"entries", entry.with("kind", "begin").with("step_id", nil)},
		{"entries", entry.with("data", "{}")},
		{"entries", entry.with("kind", "event").with("data", "{}")},
		{"entries", entry.with("kind", "event").with("step_id", nil)},
		{"entries", entry.with("at", "2026-03-01T12:00:00Z")},
		{"entries", entry.with("hash", "aa")},
		{"entries", entry.with("prev", "")},
		{"entries", entry.with("prev", "aa")},
		{"journal_head", row{"one": 2, "seq": 0, "hash": ""}},
	} {
		if d.accepts(t, test.table, test.row) == nil {
			t.Errorf("%s takes %v", test.table, test.row)
		}
	}
}

func TestSchema_neverChangesWhatIsOnRecord(t *testing.T) { both(t, neverChanges) }

func neverChanges(t *testing.T, url string) {
	d := filledAt(t, url)
	own := []string{`INSERT OR REPLACE INTO entries SELECT * FROM entries`}
	if d.kind == &dialectPostgres {
		own = []string{`TRUNCATE entries`, `TRUNCATE steps, entries`, `TRUNCATE runs CASCADE`, `TRUNCATE journal_head`, `TRUNCATE rotations`, `TRUNCATE requests`}
	}
	for _, statement := range append(own,
		`UPDATE entries SET note = 'x'`, `DELETE FROM entries WHERE seq = 5`,
		`UPDATE steps SET key_id = 'x'`, `DELETE FROM steps`,
		`UPDATE runs SET ended_at = started_at`, `UPDATE runs SET ended_at = NULL`, `UPDATE runs SET host = 'x'`, `DELETE FROM runs`,
		`UPDATE journal_head SET seq = 0, hash = ''`, `UPDATE journal_head SET hash = prev FROM entries WHERE entries.seq = 5`,
		`DELETE FROM journal_head`,
	) {
		if _, err := d.db.ExecContext(t.Context(), statement); err == nil {
			t.Errorf("%s: nothing kept it off", statement)
		}
	}
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// unguard takes away what keeps mistakes out, as somebody could who may write the file or owns the tables.
func unguard(t *testing.T, d *DB) {
	t.Helper()
	if d.kind == &dialectPostgres {
		exec(t, d, `DO $$ DECLARE t record; BEGIN
			FOR t IN SELECT tgname, tgrelid::regclass AS of FROM pg_trigger WHERE NOT tgisinternal LOOP EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.of); END LOOP;
			FOR t IN SELECT conname, conrelid::regclass AS of FROM pg_constraint WHERE contype IN ('c', 'f') AND connamespace = current_schema()::regnamespace
				ORDER BY contype DESC LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', t.of, t.conname); END LOOP;
		END $$`)
		return
	}
	d.db.SetMaxIdleConns(1) // what follows holds for the one connection
	exec(t, d, `PRAGMA foreign_keys = OFF`)
	exec(t, d, `PRAGMA ignore_check_constraints = ON`)
	rows, err := d.db.QueryContext(t.Context(), `SELECT name FROM sqlite_master WHERE type = 'trigger'`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for rows.Next() {
		names = append(names, "")
		if err := rows.Scan(&names[len(names)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		exec(t, d, `DROP TRIGGER `+name)
	}
}

// Somebody who may write the file may take the triggers away too; the chain tells.
func TestCheck_findsWhatSomebodyChangedInTheFile(t *testing.T) {
	changes := []string{
		`UPDATE entries SET note = 'x' WHERE seq = 3`,
		`UPDATE entries SET at = '2026-03-01T12:00:00.000001Z' WHERE seq = 5`,
		`UPDATE entries SET result = 'unclear' WHERE seq = 3`,
		`UPDATE entries SET data = replace(data, 'AKIA', 'AKIB') WHERE seq = 1`,
		`DELETE FROM entries WHERE seq = 5`,
		`DELETE FROM entries WHERE seq = 5; UPDATE runs SET ended_at = NULL; UPDATE journal_head SET seq = 4`,
		`DELETE FROM entries`,
		`DELETE FROM entries; DELETE FROM steps; DELETE FROM runs`,
		`UPDATE runs SET caller = 'somebody else'`,
		`UPDATE runs SET ended_at = NULL`,
		`UPDATE runs SET ended_at = '2026-03-01T12:00:00.000001Z'`,
		`UPDATE steps SET key_id = 'AKIB'`,
		`UPDATE steps SET because = '[]'`,
		`UPDATE steps SET last_used = NULL`,
		`UPDATE steps SET last_used = '2026-03-01T12:00:00.000001Z'`,
		`UPDATE steps SET id = 'x'`,
		`DELETE FROM steps`,
		`DELETE FROM journal_head`,
		`UPDATE journal_head SET seq = 4`,
		`INSERT INTO runs SELECT 'run-2', 9, kind, account, caller, plan, undoes, rotation, version, host, pid, started_at, ended_at FROM runs`,
		`INSERT INTO steps SELECT run_id, 'more', 2, action, user_name, user_id, key_id, key_created, last_used, from_state, because, rules, then_action FROM steps`,
	}
	both(t, func(t *testing.T, url string) {
		d := filledAt(t, url)
		unguard(t, d)
		for _, statement := range changes {
			found(t, d, statement)
		}
	})
}

// found makes a change in a transaction that is undone, and wants Check to tell.
func found(t *testing.T, d *DB, statement string) {
	t.Helper()
	if err := d.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx, err := d.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for one := range strings.SplitSeq(statement, "; ") {
		if _, err := tx.ExecContext(t.Context(), one); err != nil {
			t.Fatalf("%s: %v", one, err)
		}
	}
	if err := d.check(t.Context(), tx); err == nil {
		t.Errorf("%s: nothing was found", statement)
	}
}

func exec(t *testing.T, d *DB, statement string) {
	t.Helper()
	if _, err := d.db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_setsWhatTheJournalNeedsOfSQLite(t *testing.T) {
	d := filled(t, t.TempDir()+"/journal.db")
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "recursive_triggers": "1", "secure_delete": "1", "busy_timeout": "10000",
	} {
		var got string
		if err := d.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %s", pragma, got, err, want)
		}
	}
}

func TestMigrations_areNumberedWithoutGapsAndHaveNoWayBack(t *testing.T) {
	for _, kind := range []*dialect{&dialectSQLite, &dialectPostgres} {
		names := kind.files()
		if len(names) == 0 || int64(len(names)) != newest() {
			t.Fatalf("%s: %d migrations %v, want %d", kind.name, len(names), names, newest())
		}
		for i, name := range names {
			if !strings.HasPrefix(name, fmt.Sprintf("migrations/%05d_", i+1)) {
				t.Errorf("%s: %s stands at place %d", kind.name, name, i+1)
			}
			text, err := fs.ReadFile(migrations, name)
			if err != nil || !strings.Contains(string(text), "-- +goose Up\n") || strings.Contains(string(text), "+goose Down") || strings.Contains(string(text), "NO TRANSACTION") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// opens are both ways to open a journal.
var opens = []func(ctx context.Context, url string) (*DB, error){
	func(ctx context.Context, url string) (*DB, error) { return Open(ctx, url, Options{}) }, OpenReader,
}

// older makes a journal of an older schema.
func older(t *testing.T, url string, version int64) {
	t.Helper()
	d, err := Open(t.Context(), url, Options{version: version})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_bringsAnOlderSchemaUpToDate(t *testing.T) {
	both(t, bringsUpToDate)
}

func bringsUpToDate(t *testing.T, url string) {
	older(t, url, 1)
	d := filledAt(t, url)
	if was, now := d.Schema(); was != 1 || now != newest() {
		t.Errorf("schema %d, then %d", was, now)
	}
	if _, err := d.db.ExecContext(t.Context(), `DELETE FROM entries`); err == nil {
		t.Error("the second migration is missing")
	}
}

func TestOpen_refusesANewerSchema(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		d := filledAt(t, url)
		exec(t, d, `INSERT INTO schema_version (version_id, is_applied) VALUES (99, '1')`)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		for _, open := range opens {
			_, err := open(t.Context(), url)
			var e *Error
			if !errors.As(err, &e) || e.Hint == "" || !strings.Contains(e.Problem, "99") || !strings.Contains(e.Problem, d.Name()) {
				t.Errorf("got %v", err)
			}
		}
	})
}

// What the process was doing when it died is undone by the next one.
func TestWrite_isAllOrNothing(t *testing.T) {
	both(t, allOrNothing)
}

func allOrNothing(t *testing.T, url string) {
	filledAt(t, url)
	o := WithAmid(Options{}, func(string) { panic("amid") })
	d, err := Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	func() {
		defer func() { _ = recover() }()
		_ = d.Begin(t.Context(), journal.Run{ID: "run-2", Kind: journal.Apply, Account: "111122223333", StartedAt: noon})
	}()
	runs, err := d.Runs(t.Context(), RunFilter{})
	if err != nil || len(runs) != 1 {
		t.Errorf("%d runs, %v", len(runs), err)
	}
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
