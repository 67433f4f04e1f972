package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/history"
)

// A disk that is full is trouble of the database, not of what was written: it is waited for.
func TestObserve_aFullDiskIsAnErrorOfTheDatabase(t *testing.T) {
	d := openAt(t, "sqlite:"+t.TempDir()+"/keyreeve.db", Options{})
	var pages int
	if err := d.db.QueryRow(`PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if _, err := d.db.Exec(fmt.Sprintf(`PRAGMA max_page_count(%d)`, pages)); err != nil {
		t.Fatal(err)
	}
	o := history.Observation{
		Account: fact.Account{ID: "111122223333", Partition: "aws"}, At: time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC), UsersRead: true,
		Gaps: []fact.Gap{{Reading: "users", Why: strings.Repeat("long ", 100_000)}},
	}
	_, err := d.Observe(t.Context(), &o)
	var trouble *Error
	if !errors.As(err, &trouble) || !strings.Contains(err.Error(), "full") {
		t.Fatalf("%v: want an Error that says the disk is full", err)
	}
	if _, err := d.db.Exec(`PRAGMA max_page_count(1000000)`); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Observe(t.Context(), &o); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
