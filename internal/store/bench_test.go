package store

import (
	"fmt"
	"testing"

	"github.com/keyreeve/keyreeve/internal/journal"
)

// BenchmarkBook reads the book of an account with 5,000 runs of 10 steps, each of which was carried out.
func BenchmarkBook(b *testing.B) {
	d, err := Open(b.Context(), "sqlite:"+b.TempDir()+"/journal.db", Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	tx, err := d.db.BeginTx(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 5000 {
		run := journal.Run{ID: fmt.Sprintf("run-%04d", i), Kind: journal.Apply, Account: "111122223333", StartedAt: noon}
		for j := range 10 {
			run.Steps = append(run.Steps, journal.Step{
				ID: fmt.Sprintf("step%04d", j), Action: journal.Deactivate, User: "user", UserID: "AIDAEXAMPLE", KeyID: fmt.Sprintf("AKIA%d-%d", i, j),
				KeyCreated: noon, From: journal.Active, Because: []string{"0123456789abcdef"}, Rules: []string{"key-unused"},
			})
		}
		if err := insertRun(b.Context(), tx, &run, journal.Record(&run)); err != nil {
			b.Fatal(err)
		}
		seq, hash, err := head(b.Context(), tx)
		if err != nil {
			b.Fatal(err)
		}
		for j := range 30 {
			e := journal.Entry{Run: run.ID, Step: run.Steps[j/3].ID, At: noon, Note: "a sentence about what was asked or seen", Kind: journal.Intent}
			switch j % 3 {
			case 1:
				e.Kind, e.Result = journal.Outcome, journal.OK
			case 2:
				e.Kind, e.Result = journal.Verification, journal.Shows
			}
			if err := insertEntry(b.Context(), tx, &e, seq, hash); err != nil {
				b.Fatal(err)
			}
			seq, hash = e.Seq, e.Hash
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := d.Book(b.Context(), "111122223333"); err != nil {
			b.Fatal(err)
		}
	}
}
