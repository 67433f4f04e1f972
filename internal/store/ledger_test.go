package store

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

// rotated is filled, with a rotation of two events under way.
func rotated(t *testing.T, path string) (*DB, *rotate.Rotation) {
	t.Helper()
	return rotatedAt(t, "sqlite:"+path)
}

func rotatedAt(t *testing.T, url string) (*DB, *rotate.Rotation) {
	t.Helper()
	d := filledAt(t, url)
	r := &rotate.Rotation{
		ID: "rot-1", State: rotate.Requested, Account: "111122223333", User: "ci", UserID: "AIDACI", StartedAt: noon,
		Old: rotate.KeyRecord{ID: "AKIAOLD", Active: true, Created: noon},
	}
	if err := d.Ledger(Origin{}).Begin(t.Context(), r, rotate.Event{At: noon, To: rotate.Requested}); err != nil {
		t.Fatal(err)
	}
	saveIn(t, d, r, rotate.Creating, rotate.SlotFree)
	return d, r
}

func saveIn(t *testing.T, d *DB, r *rotate.Rotation, to rotate.State, why rotate.EventName) {
	t.Helper()
	from := r.State
	r.State = to
	if err := d.Ledger(Origin{}).Save(t.Context(), r, rotate.Event{At: noon, From: from, To: to, Name: why}); err != nil {
		t.Fatal(err)
	}
}

func ledgerRows() (rotation, use, request row) {
	at := journal.Stamp(noon)
	rotation = row{
		"id": "run-1", "version": 1, "account": "111122223333", "user_id": "AIDA", "user_name": "u", "state": "creating", "live": 1, "next_at": at,
		"started_at": at, "changed_at": at, "body": "{}", "sealed": nil,
	}
	use = row{"account": "111122223333", "key_id": "AKIA", "used_at": at, "service": "", "region": "", "seen_at": at}
	request = row{
		"id": "req-1", "version": 1, "account": "111122223333", "user_name": "u", "user_id": "AIDA", "reason": "r", "second_reason": "",
		"destination": "d", "asked_by": "ana", "asked_at": at, "state": "approved", "decided_by": "bob", "decided_at": at, "why": "", "key_id": nil,
	}
	return rotation, use, request
}

func TestSchema_takesEveryStateOfARotationAndSealedSecretsWhereTheyAreNeeded(t *testing.T) {
	both(t, takesEveryState)
}

func takesEveryState(t *testing.T, url string) {
	d := filledAt(t, url)
	rotation, _, _ := ledgerRows()
	for _, s := range rotate.States() {
		r := rotation.with("state", string(s))
		if s.Over() {
			if d.accepts(t, "rotations", r) == nil {
				t.Errorf("%s is taken for live", s)
			}
			r = r.with("live", 0).with("next_at", nil)
		} else if d.accepts(t, "rotations", r.with("live", 0).with("next_at", nil)) == nil {
			t.Errorf("%s is taken for over", s)
		}
		if err := d.accepts(t, "rotations", r); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		err := d.accepts(t, "rotations", r.with("sealed", []byte{0, 1}))
		if (err == nil) != maySeal(s) {
			t.Errorf("%s with a sealed secret: %v", s, err)
		}
	}
	needed := []rotate.State{rotate.Requested, rotate.Creating, rotate.Delivering, rotate.Probing, rotate.BackingOut, rotate.Blocked, rotate.Held, rotate.Conflict}
	for _, s := range rotate.States() {
		if maySeal(s) != slices.Contains(needed, s) {
			t.Errorf("%s: a sealed secret may be there: %t", s, maySeal(s))
		}
	}
}

func TestSchema_takesEveryStateOfARequest(t *testing.T) {
	both(t, takesEveryRequest)
}

func takesEveryRequest(t *testing.T, url string) {
	d := filledAt(t, url)
	_, _, request := ledgerRows()
	for _, s := range rotate.RequestStates() {
		r := request.with("state", string(s))
		switch s {
		case rotate.RequestPending:
			r = r.with("decided_by", nil).with("decided_at", nil)
		case rotate.RequestMade:
			r = r.with("key_id", "AKIA")
		default:
		}
		if err := d.accepts(t, "requests", r); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestSchema_refusesRowsOfTheLedgerThatMakeNoSense(t *testing.T) {
	both(t, refusesRowsOfTheLedger)
}

func refusesRowsOfTheLedger(t *testing.T, url string) {
	d, _ := rotatedAt(t, url)
	rotation, use, request := ledgerRows()
	for table, r := range map[string]row{"rotations": rotation.with("next_at", ""), "key_uses": use, "requests": request} {
		if err := d.accepts(t, table, r); err != nil {
			t.Fatalf("the row of %s that the others differ from: %v", table, err)
		}
	}
	for _, test := range []struct {
		table string
		row   row
	}{
		{"rotations", rotation.with("id", "run-9")},
		{"rotations", rotation.with("id", "rot-1")},
		{"rotations", rotation.with("user_id", "AIDACI")}, // who has one
		{"rotations", rotation.with("version", 0)},
		{"rotations", rotation.with("account", "1111")},
		{"rotations", rotation.with("user_id", "")},
		{"rotations", rotation.with("user_name", "")},
		{"rotations", rotation.with("state", "nonsense")},
		{"rotations", rotation.with("state", nil)},
		{"rotations", rotation.with("live", 2)},
		{"rotations", rotation.with("live", 0)},
		{"rotations", rotation.with("next_at", nil)},
		{"rotations", rotation.with("next_at", "2026-03-01")},
		{"rotations", rotation.with("state", "done").with("live", 0)}, // and with a next look
		{"rotations", rotation.with("started_at", "")},
		{"rotations", rotation.with("changed_at", "")},
		{"rotations", rotation.with("body", "")},
		{"rotations", rotation.with("sealed", []byte{})},
		{"key_uses", use.with("account", "")},
		{"key_uses", use.with("key_id", "")},
		{"key_uses", use.with("used_at", "")},
		{"key_uses", use.with("seen_at", "")},
		{"requests", request.with("id", "")},
		{"requests", request.with("decided_by", "ana")}, // who asked
		{"requests", request.with("decided_by", nil)},
		{"requests", request.with("decided_by", "")},
		{"requests", request.with("decided_at", nil)},
		{"requests", request.with("state", "pending")},
		{"requests", request.with("state", "made")}, // without a key
		{"requests", request.with("state", "denied").with("key_id", "AKIA")},
		{"requests", request.with("state", "nonsense")},
		{"requests", request.with("reason", "")},
		{"requests", request.with("asked_by", "")},
	} {
		if d.accepts(t, test.table, test.row) == nil {
			t.Errorf("%s takes %v", test.table, test.row)
		}
	}
}

func TestSchema_letsTheLedgerOnlyGoForward(t *testing.T) {
	both(t, onlyForward)
}

func onlyForward(t *testing.T, url string) {
	d, _ := rotatedAt(t, url)
	exec(t, d, `INSERT INTO key_uses VALUES ('111122223333', 'AKIA', '2026-03-01T12:00:00.000000Z', '', '', '2026-03-01T12:00:00.000000Z')`)
	exec(t, d, `INSERT INTO requests VALUES ('req-1', 1, '111122223333', 'u', 'AIDA', 'r', '', 'd', 'ana', '2026-03-01T12:00:00.000000Z',
		'approved', 'bob', '2026-03-01T12:00:00.000000Z', '', NULL)`)
	for _, statement := range []string{
		`DELETE FROM rotations`, `UPDATE rotations SET body = '{}'`, `UPDATE rotations SET version = version - 1`, `UPDATE rotations SET version = version + 1, user_id = 'x'`,
		`UPDATE rotations SET version = version + 1, account = '444455556666'`, `UPDATE key_uses SET used_at = seen_at`,
		`DELETE FROM requests`, `UPDATE requests SET why = 'x'`, `UPDATE requests SET version = version + 1, decided_by = 'carol'`,
		`UPDATE requests SET version = version + 1, asked_by = 'carol'`, `UPDATE requests SET version = version + 1, destination = 'x'`,
		`UPDATE requests SET version = version + 1, state = 'pending', decided_by = NULL, decided_at = NULL`, `UPDATE requests SET version = version + 1, state = 'denied'`,
	} {
		if _, err := d.db.ExecContext(t.Context(), statement); err == nil {
			t.Errorf("%s: nothing kept it off", statement)
		}
	}
}

func TestCheck_findsRotationsThatSomebodyChangedInTheFile(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		d, _ := rotatedAt(t, url)
		unguard(t, d)
		for _, statement := range []string{
			`UPDATE rotations SET state = 'deleting'`,
			`UPDATE rotations SET state = 'cancelled', live = 0, next_at = NULL`,
			`UPDATE rotations SET user_id = 'AIDAX'`,
			`UPDATE rotations SET account = '444455556666'`,
			`UPDATE rotations SET body = replace(body, 'AKIAOLD', 'AKIAOTHER')`,
			`UPDATE rotations SET body = '{}'`,
			`UPDATE rotations SET body = replace(body, '"version":1', '"version":2')`,
			`UPDATE rotations SET body = replace(body, '"tries":', '"x":1,"tries":')`,
			`UPDATE runs SET rotation = replace(rotation, 'AKIAOLD', 'AKIAOTHER') WHERE kind = 'rotate'`,
			`UPDATE entries SET data = replace(data, 'creating', 'quiet') WHERE kind = 'event'`,
			`DELETE FROM rotations`,
			`INSERT INTO rotations SELECT 'run-1', version, account, 'AIDAX', user_name, state, live, next_at, started_at, changed_at, body, sealed FROM rotations`,
		} {
			found(t, d, statement)
		}
	})
}

// holds tells which of the database's files have the bytes in them.
func holds(t *testing.T, path string, secret []byte) (files []string) {
	t.Helper()
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(body, secret) {
			files = append(files, strings.TrimPrefix(name, path))
		}
	}
	return files
}

func TestSave_leavesNothingOfASealedSecretInTheFilesOnceItWasWiped(t *testing.T) {
	for name, size := range map[string]int{"on its page": 300, "over many pages": 60000} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/journal.db"
			d, r := rotated(t, path)
			mark := []byte("age-encryption.example/only-here-0123456789")
			r.Sealed = bytes.Repeat(mark, 1+size/len(mark))
			saveIn(t, d, r, rotate.Delivering, rotate.Made)
			exec(t, d, `PRAGMA wal_checkpoint(PASSIVE)`) // so that the database itself holds it too
			saveIn(t, d, r, rotate.Probing, rotate.AllHold)
			if found := holds(t, path, mark); !slices.Contains(found, "") || !slices.Contains(found, "-wal") {
				t.Fatalf("only %q hold the sealed secret: this test shows nothing", found)
			}
			r.Sealed = nil
			saveIn(t, d, r, rotate.Proving, rotate.Answered)
			if found := holds(t, path, mark); found != nil {
				t.Errorf("%q still hold it", found)
			}
		})
	}
}

// A reader of another process keeps SQLite from cutting the file of changes; the next write does.
func TestSave_triesAgainToCutTheFileOfChangesThatSomebodyReads(t *testing.T) {
	path := t.TempDir() + "/journal.db"
	d, r := rotated(t, path)
	mark := []byte("age-encryption.example/only-here-0123456789")
	r.Sealed = mark
	saveIn(t, d, r, rotate.Delivering, rotate.Made)
	other, err := Open(t.Context(), "sqlite:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	tx, err := other.db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRowContext(t.Context(), `SELECT count(*) FROM rotations`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	r.Sealed = nil
	saveIn(t, d, r, rotate.BackingOut, rotate.Cancel)
	if found := holds(t, path, mark); found == nil {
		t.Fatal("nobody was in the way: this test shows nothing")
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	saveIn(t, d, r, rotate.BackingOut, rotate.NotYet)
	if found := holds(t, path, mark); found != nil {
		t.Errorf("%q still hold it", found)
	}
}

func TestOpen_cutsTheFileOfChangesOfAProcessThatDied(t *testing.T) {
	path := t.TempDir() + "/journal.db"
	d, r := rotated(t, path)
	mark := []byte("age-encryption.example/only-here-0123456789")
	r.Sealed = mark
	saveIn(t, d, r, rotate.Delivering, rotate.Made)
	exec(t, d, `UPDATE rotations SET version = version + 1, sealed = NULL`) // a wipe, and dead before the rest
	if holds(t, path, mark) == nil {
		t.Fatal("it is gone already: this test shows nothing")
	}
	next, err := Open(t.Context(), "sqlite:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.Close() }()
	if found := holds(t, path, mark); found != nil {
		t.Errorf("%q still hold it", found)
	}
}

func TestBody_isReadStrictly(t *testing.T) {
	r := rotate.Rotation{State: rotate.Creating, Gap: 36 * time.Hour, Terms: rotate.Terms{}.WithDefaults()}
	text, err := encode(&r)
	if err != nil {
		t.Fatal(err)
	}
	var got rotate.Rotation
	if err := decode(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "{}", "null", text + "{}", strings.Replace(text, `"version":1`, `"version":2`, 1), strings.Replace(text, `"tries"`, `"secret":"x","tries"`, 1),
		strings.Replace(text, `"36h0m0s"`, `"36h"`, 1), strings.Replace(text, `"36h0m0s"`, `129600`, 1),
		strings.Replace(text, `"due_at":""`, `"due_at":"2026-03-01"`, 1),
	} {
		if err := decode(bad, new(rotate.Rotation)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
