package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

const account = "111122223333"

func openAt(t *testing.T, url string, o Options) *DB {
	t.Helper()
	d, err := Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// begun is a run of one step, on record.
func begun(t *testing.T, d *DB, id string) {
	t.Helper()
	step := journal.Step{ID: "step", Action: journal.Deactivate, User: "u", UserID: "AIDA", KeyID: "AKIA", KeyCreated: noon, From: journal.Active}
	if err := d.Begin(t.Context(), journal.Run{ID: id, Kind: journal.Apply, Account: account, StartedAt: noon, Steps: []journal.Step{step}}); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, d *DB, run string, kind journal.EntryKind, result journal.Result) (journal.Entry, error) {
	t.Helper()
	return d.Append(t.Context(), journal.Entry{Run: run, Step: "step", Kind: kind, Result: result, At: noon})
}

// hasEntries wants so many, whole.
func hasEntries(t *testing.T, d *DB, want int) {
	t.Helper()
	entries, err := d.Entries(t.Context())
	if err != nil || len(entries) != want {
		t.Errorf("%d entries, %v, want %d", len(entries), err, want)
	}
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// until asks until the answer is yes.
func until(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !yes(); {
		if time.Now().After(end) {
			t.Fatalf("waited %s until %s", patience, what)
		}
	}
}

// terminate ends the sessions of others in the database for which the condition holds, and says how many.
func terminate(t *testing.T, d *DB, condition string) int {
	t.Helper()
	var n int
	err := d.db.QueryRowContext(t.Context(), `SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND `+condition).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPostgres_writesAgainWhatAKilledSessionUndid(t *testing.T) {
	at := postgres.URL(t)
	killer := openAt(t, at, Options{})
	wrote, kills := 0, 0
	d := openAt(t, at, WithAmid(Options{}, func(string) {
		if wrote++; wrote <= kills && terminate(t, killer, `state = 'idle in transaction'`) != 1 {
			t.Error("nothing was killed")
		}
	}))
	begun(t, d, "run-1")
	wrote, kills = 0, 2
	if _, err := appendTo(t, d, "run-1", journal.Intent, ""); err != nil || wrote != 3 {
		t.Errorf("written %d times, %v", wrote, err)
	}
	hasEntries(t, d, 2)
	wrote, kills = 0, 1000
	_, err := appendTo(t, d, "run-1", journal.Outcome, journal.OK)
	var e *Error
	if !errors.As(err, &e) || e.Hint == "" || wrote != writeTries {
		t.Errorf("killed each time: written %d times, %v", wrote, err)
	}
	hasEntries(t, d, 2)
}

func TestPostgres_writesAgainWhatTheServerUndidForAnother(t *testing.T) {
	d := openAt(t, postgres.URL(t), Options{})
	for _, code := range []string{codeSerialization, codeDeadlock} {
		for _, when := range []string{"EXECUTE", "COMMIT"} {
			tries := 0
			err := d.write(t.Context(), "other", func(ctx context.Context, tx *sql.Tx) error {
				if tries++; tries > 1 {
					return nil
				}
				raise := fmt.Sprintf(`BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '%s'; END`, code)
				if when == "EXECUTE" {
					_, err := tx.ExecContext(ctx, `DO $$ `+raise+` $$`)
					return fmt.Errorf("in our words: %w", err)
				}
				_, err := tx.ExecContext(ctx, `CREATE TABLE once (a int);
					CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ `+raise+` $$;
					CREATE CONSTRAINT TRIGGER t AFTER INSERT ON once DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
					INSERT INTO once VALUES (1)`)
				return err
			}, nil)
			if err != nil || tries != 2 {
				t.Errorf("%s at %s: tried %d times, %v", code, when, tries, err)
			}
		}
	}
}

func TestPostgres_outlivesARestartOfItsServer(t *testing.T) {
	s := postgres.Start(t)
	at := s.URL(t)
	d := openAt(t, at, Options{})
	begun(t, d, "run-1")
	entries := 1
	for _, mode := range []string{"fast", "immediate"} {
		if err := s.Down(mode); err != nil {
			t.Fatal(err)
		}
		_, writeErr := appendTo(t, d, "run-1", journal.Left, journal.NotDue)
		_, readErr := d.Entries(t.Context())
		_, openErr := Open(t.Context(), at, Options{})
		_, existsErr := Exists(t.Context(), at)
		for what, err := range map[string]error{"write": writeErr, "read": readErr, "open": openErr, "exists": existsErr} {
			var e *Error
			if !errors.As(err, &e) || e.Hint == "" || !strings.Contains(e.Problem, d.Name()) || strings.Contains(err.Error(), password(t, at)) {
				t.Errorf("%s, server down: %v", what, err)
			}
		}
		if err := s.Up(); err != nil {
			t.Fatal(err)
		}
		if _, err := appendTo(t, d, "run-1", journal.Left, journal.NotDue); err != nil {
			t.Errorf("write after %s: %v", mode, err)
		}
		entries++
		hasEntries(t, d, entries)
	}
}

func password(t *testing.T, at string) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	word, ok := u.User.Password()
	if !ok || len(word) < 8 {
		t.Fatalf("no password in the URL: this test shows nothing")
	}
	return word
}

// A lock is gone with its session, while its holder lives on and could go on changing keys.
func TestPostgres_announcesNothingUnderALockThatWasLost(t *testing.T) {
	at := postgres.URL(t)
	d, other := openAt(t, at, Options{}), openAt(t, at, Options{})
	release, err := d.Lock(t.Context(), account, "run one")
	if err != nil {
		t.Fatal(err)
	}
	begun(t, d, "run-1")
	if _, err := appendTo(t, d, "run-1", journal.Intent, ""); err != nil {
		t.Fatal(err)
	}
	if n := terminate(t, other, `application_name = 'run one'`); n != 1 {
		t.Fatalf("%d sessions bear the name of the holder", n)
	}
	taken, err := other.Lock(t.Context(), account, "run two")
	if err != nil {
		t.Fatalf("the lock is not free: %v", err)
	}
	if _, err := appendTo(t, d, "run-1", journal.Outcome, journal.OK); err != nil {
		t.Errorf("what was done cannot be recorded: %v", err)
	}
	if _, err := appendTo(t, d, "run-1", journal.Verification, journal.Unmoved); err != nil {
		t.Errorf("what was seen cannot be recorded: %v", err)
	}
	for range 2 {
		_, intentErr := appendTo(t, d, "run-1", journal.Intent, "")
		beginErr := d.Begin(t.Context(), journal.Run{ID: "run-2", Kind: journal.Apply, Account: account, StartedAt: noon})
		for _, err := range []error{intentErr, beginErr} {
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.Problem, "lock of account "+account+" was lost") || e.Hint == "" {
				t.Errorf("announced under a lock that was lost: %v", err)
			}
		}
	}
	release()
	var held *HeldError
	if _, err := d.Lock(t.Context(), account, "run three"); !errors.As(err, &held) || held.Holder != "run two" {
		t.Errorf("to release a lock that was lost freed that of another: %v", err)
	}
	if err := d.e.held(t.Context()); !errors.As(err, &held) || held.Account != account || held.Holder != "run two" {
		t.Errorf("held: %v", err)
	}
	taken()
	if err := d.e.held(t.Context()); err != nil {
		t.Errorf("held by nobody: %v", err)
	}
	if _, err := appendTo(t, d, "run-1", journal.Intent, ""); err != nil {
		t.Errorf("without a lock that was lost: %v", err)
	}
}

func TestPostgres_saysWhatIsWrongWithTheServerAndNeverThePassword(t *testing.T) {
	s := postgres.Start(t)
	right := s.URL(t)
	secret := password(t, right)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes calls, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = deaf.Close()
	edit := func(f func(u *url.URL)) string {
		u, err := url.Parse(right)
		if err != nil {
			t.Fatal(err)
		}
		f(u)
		return u.String()
	}
	foreign, latin, taken := s.URL(t), s.Database("latin"), s.URL(t)
	s.Exec(t, `CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`)
	s.Exec(t, `CREATE ROLE weak LOGIN PASSWORD '`+secret+`'`)
	raw := (&server{}).of(t, foreign)
	if _, err := raw.ExecContext(t.Context(), `CREATE TABLE photos (id int)`); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ url, says, hint string }{
		{edit(func(u *url.URL) { u.User = url.UserPassword("keyreeve", secret+"x") }), "password authentication failed", "PGPASSWORD"},
		{edit(func(u *url.URL) { u.User = url.UserPassword("nobody", secret) }), "authentication failed", "PGPASSWORD"},
		{edit(func(u *url.URL) { u.Path = "/none" }), "does not exist", "createdb"},
		{edit(func(u *url.URL) { u.Host = deaf.Addr().String() }), "refused", "is the server up"},
		{edit(func(u *url.URL) { u.Host = silent.Addr().String(); u.RawQuery += "&connect_timeout=1" }), "", "is the server up"},
		{edit(func(u *url.URL) { u.RawQuery = "sslmode=require" }), "TLS", "is the server up"},
		{edit(func(u *url.URL) { u.RawQuery += "&search_path=nowhere" }), "no schema has been selected", "search_path"},
		{edit(func(u *url.URL) { u.User = url.UserPassword("weak", secret) }), "permission denied", "CREATE"},
		{foreign, "is a database of another program", "--db"},
		{latin, "encoded in LATIN1", "createdb"},
	} {
		_, err := Open(t.Context(), test.url, Options{})
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), test.says) || !strings.Contains(e.Hint, test.hint) || !strings.Contains(e.Problem, "postgres://") {
			t.Errorf("%s: got %v", test.says, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: it tells the password", test.says)
		}
	}
	for _, name := range []string{"sslmod", "statement_timeout"} {
		_, err := Open(t.Context(), edit(func(u *url.URL) { u.RawQuery += "&" + name + "=" + url.QueryEscape(secret) }), Options{})
		var e *journal.InputError
		if !errors.As(err, &e) || !strings.Contains(e.Problem, `"`+name+`"`) || !strings.Contains(e.Hint, "sslmode") || strings.Contains(err.Error(), secret) {
			t.Errorf("the parameter %s: got %v", name, err)
		}
	}
	d := openAt(t, taken, Options{})
	if name := d.Name(); strings.Contains(name, secret) || !strings.Contains(name, "postgres://keyreeve@127.0.0.1:") || d.Path() != "" {
		t.Errorf("name %q, path %q", name, d.Path())
	}
}

// of opens the database itself, as another program would.
func (*server) of(t *testing.T, at string) *sql.DB {
	t.Helper()
	p, err := parse(at)
	if err != nil {
		t.Fatal(err)
	}
	d := p.(*server).connect()
	t.Cleanup(func() { _ = d.Close() })
	return d.db
}

func TestPostgres_canBeReadByWhoMayNotWrite(t *testing.T) {
	s := postgres.Start(t)
	at := s.URL(t)
	var e *Error
	if _, err := OpenReader(t.Context(), at); !errors.As(err, &e) || !strings.Contains(e.Problem, "is empty") {
		t.Errorf("a reader of an empty database: %v", err)
	}
	if there, err := Exists(t.Context(), at); there || err != nil {
		t.Errorf("an empty database: %t, %v", there, err)
	}
	older(t, at, 3)
	if _, err := OpenReader(t.Context(), at); !errors.As(err, &e) || !strings.Contains(e.Problem, fmt.Sprintf("its schema is 3, this program reads %d", newest())) {
		t.Errorf("a reader of an older one: %v", err)
	}
	d := filledAt(t, at)
	if there, err := Exists(t.Context(), at); !there || err != nil {
		t.Errorf("a journal: %t, %v", there, err)
	}
	secret := password(t, at)
	s.Exec(t, `CREATE ROLE auditor LOGIN PASSWORD '`+secret+`'`)
	exec(t, d, `GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor`)
	s.Exec(t, `CREATE ROLE writer LOGIN PASSWORD '`+secret+`'`)
	exec(t, d, `GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO writer`)
	u, _ := url.Parse(at)
	u.User = url.UserPassword("auditor", secret)
	for _, open := range opens {
		r, err := open(t.Context(), u.String())
		if err != nil {
			t.Fatal(err)
		}
		hasEntries(t, r, 5)
		err = r.Begin(t.Context(), journal.Run{ID: "run-2", Kind: journal.Apply, Account: account, StartedAt: noon})
		if !errors.As(err, &e) || e.Hint == "" || r.still != errors.Is(err, ErrReadOnly) {
			t.Errorf("write: %v", err)
		}
		if release, err := r.Lock(t.Context(), account, "x"); r.still != errors.Is(err, ErrReadOnly) {
			t.Errorf("lock: %v", err)
		} else if err == nil {
			release()
		}
		_ = r.Close()
	}
	u.User = url.UserPassword("writer", secret)
	w := openAt(t, u.String(), Options{})
	release, err := w.Lock(t.Context(), account, "writer")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	begun(t, w, "run-w")
	for _, kind := range []journal.EntryKind{journal.Intent, journal.Outcome} {
		result := journal.Result("")
		if kind == journal.Outcome {
			result = journal.OK
		}
		if _, err := appendTo(t, w, "run-w", kind, result); err != nil {
			t.Error(err)
		}
	}
	hasEntries(t, w, 8)
	if _, err := d.Lock(t.Context(), account, "x"); err == nil || !strings.Contains(err.Error(), "worked on by writer") {
		t.Errorf("the holder, to another user: %v", err)
	}
}

func TestPostgres_isMadeOnceByManyWhoFindItNew(t *testing.T) {
	at := postgres.URL(t)
	const many = 8
	errs := make([]error, many)
	var wait sync.WaitGroup
	for i := range many {
		wait.Go(func() {
			d, err := Open(t.Context(), at, Options{})
			if err == nil {
				err = errors.Join(d.Check(t.Context()), d.Close())
			}
			errs[i] = err
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// What sorts one way in SQLite and another on a server would give other answers; and an index by the rules of a C library
// is broken by the next one.
func TestPostgres_comparesTextsByTheirBytes(t *testing.T) {
	d := openAt(t, postgres.URL(t), Options{})
	var columns, bytewise int
	err := d.db.QueryRowContext(t.Context(), `SELECT count(*), count(*) FILTER (WHERE collation_name = 'C') FROM information_schema.columns
		WHERE table_schema = current_schema() AND data_type = 'text'`).Scan(&columns, &bytewise)
	if err != nil || columns < 40 || columns != bytewise {
		t.Errorf("%d of %d text columns, %v", bytewise, columns, err)
	}
}

func TestPostgres_sessionsAreWhatTheJournalNeeds(t *testing.T) {
	at := postgres.URL(t)
	d := openAt(t, at, Options{})
	exec(t, d, `ALTER DATABASE `+databaseOf(t, at)+` SET synchronous_commit = off`)
	exec(t, d, `ALTER DATABASE `+databaseOf(t, at)+` SET default_transaction_isolation = 'serializable'`)
	d = openAt(t, at, Options{})
	for setting, want := range map[string]string{"synchronous_commit": "on", "tcp_keepalives_idle": "30", "idle_in_transaction_session_timeout": "5min"} {
		var got string
		if err := d.db.QueryRowContext(t.Context(), "SHOW "+setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %s", setting, got, err, want)
		}
	}
	var level string
	err := d.write(t.Context(), "other", func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SHOW transaction_isolation`).Scan(&level)
	}, nil)
	if err != nil || level != "read committed" {
		t.Errorf("writes are %s, %v", level, err)
	}
	err = d.read(t.Context(), func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(t.Context(), `SHOW transaction_isolation`).Scan(&level); err != nil {
			return err
		}
		_, err := tx.ExecContext(t.Context(), `DELETE FROM key_uses`)
		return err
	})
	if err == nil || level != "repeatable read" {
		t.Errorf("readings are %s and may write: %v", level, err)
	}
}

func databaseOf(t *testing.T, at string) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

func TestCheck_findsTriggersThatWereSwitchedOffAndReferencesToNothing(t *testing.T) {
	d := filledAt(t, postgres.URL(t))
	exec(t, d, `ALTER TABLE entries DISABLE TRIGGER entries_no_update`)
	if err := d.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "trigger entries_no_update of entries is switched off") {
		t.Errorf("got %v", err)
	}
	exec(t, d, `ALTER TABLE entries ENABLE TRIGGER entries_no_update`)
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
	exec(t, d, `ALTER TABLE steps DISABLE TRIGGER ALL`)
	exec(t, d, `INSERT INTO steps SELECT 'run-9', 'more', 2, action, user_name, user_id, key_id, key_created, last_used, from_state, because, rules, then_action FROM steps`)
	exec(t, d, `ALTER TABLE steps ENABLE TRIGGER ALL`)
	if err := d.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "1 rows of steps refer to rows of runs that are missing") {
		t.Errorf("got %v", err)
	}
}
