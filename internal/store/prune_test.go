package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// old is a database with that many closed verdicts and notices.
func old(t *testing.T, url string, verdicts, notices int, o Options) *DB {
	t.Helper()
	d := openAt(t, url, o)
	at := history.Observation{Account: fact.Account{ID: account, Partition: "aws"}, At: noon, UsersRead: true, Complete: true}
	for i := range verdicts {
		at.Verdicts = append(at.Verdicts, finding.Verdict{
			ID: fmt.Sprint("v", i), Rule: "key-age-90", Kind: "key-age", Status: finding.Fail, Severity: finding.High, Account: at.Account, User: fmt.Sprint("u", i),
		})
	}
	if _, err := d.Observe(t.Context(), &at); err != nil {
		t.Fatal(err)
	}
	at.At, at.Verdicts = noon.Add(time.Hour), nil
	if c, err := d.Observe(t.Context(), &at); err != nil || len(c.Closed) != verdicts {
		t.Fatalf("%d closed, %v", len(c.Closed), err)
	}
	var entries []notice.Entry
	for i := range notices {
		id := fmt.Sprint("n", i)
		entries = append(entries, notice.Entry{ID: id, Channel: "chat", Covers: []string{id + "/a", id + "/b"}, Body: []byte("x"), AddedAt: noon, NextTry: noon})
	}
	if err := d.Outbox().Add(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		if err := d.Outbox().Mark(t.Context(), entries[i].ID, notice.Attempt{At: noon, State: notice.Sent}); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// prunable counts what Prune can take away.
func prunable(t *testing.T, d *DB) (n int64) {
	t.Helper()
	err := d.db.QueryRow(`SELECT (SELECT count(*) FROM verdicts) + (SELECT count(*) FROM days) + (SELECT count(*) FROM notices)
		+ (SELECT count(*) FROM notice_covers) + (SELECT count(*) FROM notice_attempts)`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPrune_letsOthersInBetweenAndGoesOnWhereItWasStopped(t *testing.T) {
	for name, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + t.TempDir() + "/keyreeve.db" },
		"postgres": func() string { return postgres.URL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			const verdicts, notices = 2*rowsAtOnce + 1, noticesAtOnce + 1
			const all = verdicts + 1 + 4*notices
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			transactions, left := 0, []int64{}
			var d *DB
			d = old(t, url(), verdicts, notices, Options{OnWrite: func(point string) {
				if point != "after prune" {
					return
				}
				transactions++
				left = append(left, prunable(t, d)) // it has the connection between two of them
				if transactions == 2 {
					stop()
				}
			}})
			b := Before{Closed: noon.AddDate(1, 0, 0), Days: noon.AddDate(1, 0, 0), Notices: noon.AddDate(1, 0, 0)}
			gone, err := d.Prune(ctx, b)
			if err == nil || gone != 2*rowsAtOnce || prunable(t, d) != all-gone {
				t.Errorf("stopped: %d rows, %v, %d left of %d", gone, err, prunable(t, d), all)
			}
			more, err := d.Prune(t.Context(), b)
			if err != nil || gone+more != all || prunable(t, d) != 0 {
				t.Errorf("went on: %d rows, %v, %d left", more, err, prunable(t, d))
			}
			before := int64(all)
			for i, n := range left {
				if before-n > max(rowsAtOnce, 4*noticesAtOnce) {
					t.Errorf("transaction %d took away %d rows", i+1, before-n)
				}
				before = n
			}
			if again, err := d.Prune(t.Context(), b); err != nil || again != 0 {
				t.Errorf("once more: %d, %v", again, err)
			}
			if err := d.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
