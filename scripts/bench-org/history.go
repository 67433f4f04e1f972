package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/store"
)

// inAccount is how many verdicts each account of the history has; every fourth is open.
const inAccount = 1000

// measureHistory asks a long history about users: the query alone, and the command as a whole.
func measureHistory(ctx context.Context, o *options, b *board) error {
	places := map[string]string{"SQLite": "sqlite:" + filepath.Join(o.dir, "history.db")}
	if o.postgres != "" {
		places["PostgreSQL"] = o.postgres
	}
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		at, given := places[name]
		if !given {
			b.heading("history: %s is left out, KEYREEVE_BENCH_POSTGRES names none", name)
			continue
		}
		if err := o.askHistory(ctx, b, name, at); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (o *options) askHistory(ctx context.Context, b *board, name, at string) (err error) {
	b.heading("history of %d verdicts in %s", o.verdicts, name)
	db, err := store.Open(ctx, at, store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	start := time.Now()
	accounts := max(1, o.verdicts/inAccount)
	for i := range accounts {
		if err := fill(ctx, db, i, start); err != nil {
			return err
		}
	}
	b.tell("filled in", fmt.Sprintf("%.0f s", time.Since(start).Seconds()))

	var queries, commands []time.Duration
	for i := range 41 {
		user := userName(i*7%accounts, i*13)
		if i%2 == 1 {
			user = commonUser // of that name there is one in each account
		}
		start := time.Now()
		found, err := db.History(ctx, store.HistoryFilter{User: user, Limit: 51})
		if err != nil {
			return err
		}
		queries = append(queries, time.Since(start))
		if len(found) == 0 || found[0].User != user {
			return fmt.Errorf("the history of user %q holds %d verdicts", user, len(found))
		}
	}
	for i := range 11 {
		user := userName(i*7%accounts, i*13)
		r, err := o.run(ctx, nil, 0, "history", "--user", user, "--db", at)
		if err != nil {
			return err
		}
		if !strings.Contains(string(r.out), user) {
			return fmt.Errorf("history --user %s does not tell of it: %s", user, r.out)
		}
		commands = append(commands, r.wall)
	}
	b.atMost("history --user, the query: median of 41", milliseconds(median(queries)), 50, "ms")
	b.tell("history --user, the whole command: median of 11", fmt.Sprintf("%.1f ms", milliseconds(median(commands))))
	return nil
}

const commonUser = "deploy"

// userName is user i of account n. Most names are in one account only.
func userName(n, i int) string {
	if i%100 == 99 {
		return commonUser
	}
	return fmt.Sprintf("user-%05d-%03d", n, i%inAccount)
}

// fill records account n four times: each time other users fail, so that what failed before closes.
func fill(ctx context.Context, db *store.DB, n int, now time.Time) error {
	const rounds = 4
	acc := fact.Account{ID: fmt.Sprintf("2%011d", n), Partition: "aws", Name: fmt.Sprintf("team-%05d", n), OU: fmt.Sprintf("Root/Team-%02d", n%20)}
	for round := range rounds {
		o := &history.Observation{
			Account: acc, At: now.Add(time.Duration(24*(round-rounds)) * time.Hour).UTC(), Evidence: fact.Evidence{Source: fact.Report},
			Ruleset: "default", Complete: true, UsersRead: true, Users: inAccount, Keys: inAccount, ActiveKeys: inAccount,
			Ages: map[int]int{4: inAccount}, Has: func(string) bool { return true }, Terms: map[string]string{"key-age-90": "90d"},
		}
		for i := round; i < inAccount; i += rounds {
			k := &fact.Key{ID: fmt.Sprintf("AKIAB%07d%06d", n, i), Active: true, Created: fact.At(now.Add(-200 * 24 * time.Hour))}
			v := finding.Verdict{
				Rule: "key-age-90", Kind: "key-age", Title: "Active keys are at most 90 days old", Status: finding.Fail, Severity: finding.High,
				Account: acc, User: userName(n, i), Key: k, Message: "active key is 200 days old, the limit is 90 days", Remedy: finding.Rotate,
			}
			v.ID = fmt.Sprintf("%05d%05d%014d", n, i, 0)
			o.Verdicts = append(o.Verdicts, v)
		}
		if _, err := db.Observe(ctx, o); err != nil {
			return err
		}
	}
	return nil
}
