package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// onBoth runs the benchmark for a new database of each kind.
func onBoth(b *testing.B, run func(b *testing.B, url string)) {
	b.Run("sqlite", func(b *testing.B) { run(b, "sqlite:"+b.TempDir()+"/journal.db") })
	b.Run("postgres", func(b *testing.B) { run(b, postgres.URL(b)) })
}

// BenchmarkBook reads the book of an account with 5,000 runs of 10 steps, each of which was carried out.
func BenchmarkBook(b *testing.B) { onBoth(b, readBook) }

func readBook(b *testing.B, url string) {
	d, err := Open(b.Context(), url, Options{})
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

// BenchmarkLedger ticks one of 10,000 rotations that are all due: what is due, load it, save it with an event.
func BenchmarkLedger(b *testing.B) { onBoth(b, tickLedger) }

func tickLedger(b *testing.B, url string) {
	d, err := Open(b.Context(), url, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	l := d.Ledger(Origin{})
	tx, err := d.db.BeginTx(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10000 {
		r := rotate.Rotation{
			ID: fmt.Sprintf("rot-%05d", i), State: rotate.Requested, Account: "111122223333", User: fmt.Sprint("user-", i),
			UserID: fmt.Sprint("AIDA", i), StartedAt: noon, NextAt: noon.Add(time.Duration(i) * time.Second), Terms: rotate.Terms{}.WithDefaults(),
			Old: rotate.KeyRecord{ID: fmt.Sprint("AKIA", i), Active: true, Created: noon}, Targets: []rotate.Target{{Name: "vault", State: rotate.Pending}},
		}
		text, err := prepare(&r)
		if err != nil {
			b.Fatal(err)
		}
		run := l.run(&r)
		e := rotate.Event{At: noon, From: rotate.Requested, To: rotate.Requested}
		if err := insertRotation(b.Context(), tx, &r, text, run, journal.Record(run), &e); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	now := noon.Add(10000 * time.Second)
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Second)
		ids, err := l.Due(b.Context(), "111122223333", now, 1)
		if err != nil || len(ids) != 1 {
			b.Fatal(ids, err)
		}
		r, err := l.Load(b.Context(), ids[0])
		if err != nil {
			b.Fatal(err)
		}
		r.NextAt = now
		if err := l.Save(b.Context(), r, rotate.Event{At: now, From: r.State, To: r.State, Name: rotate.NotYet}); err != nil {
			b.Fatal(err)
		}
	}
}
