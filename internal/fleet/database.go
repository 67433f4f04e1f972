package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/keyreeve/keyreeve/internal/store"
)

const (
	connectTime = 10 * time.Second // unless the URL has connect_timeout
	migrateTime = 2 * time.Minute  // waiting for another machine that does the same included
)

// Migrate makes the tables of the queue beside those of the journal, or brings them up to date. All their names begin with
// river_, and nothing else in the database is touched. Where nothing is to be done it needs no right to do it. Many
// machines may do it at once. The database must hold a journal: store.Open makes one. Errors never repeat the URL.
func Migrate(ctx context.Context, url string) error {
	there, err := store.Exists(ctx, url)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("make the queue in %s: the database holds no journal\nhint: keyreeve db migrate makes one", store.NameOf(url))
	}
	ctx, cancel := context.WithTimeout(ctx, migrateTime)
	defer cancel()
	pool, err := connect(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	known := m.AllVersions()
	newest := known[len(known)-1].Version
	switch have, err := version(ctx, pool); {
	case err != nil:
		return unreachable(url, err)
	case have > newest:
		return fmt.Errorf("a newer keyreeve made the queue in %s: its version is %d, this program knows %d\nhint: use that version, or a newer one",
			store.NameOf(url), have, newest)
	case have == newest:
		return nil
	}
	c, err := pool.Acquire(ctx)
	if err != nil {
		return unreachable(url, err)
	}
	// Not given back: the lock goes with the connection.
	held := c.Hijack()
	defer func() { _ = held.Close(context.WithoutCancel(ctx)) }()
	if _, err := held.Exec(ctx, `SELECT pg_advisory_lock($1)`, partKey("migrate")); err != nil {
		return unreachable(url, err)
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("make the queue in %s: %w\nhint: the user needs the right to create tables; or a user who has it runs keyreeve db migrate", store.NameOf(url), err)
	}
	return nil
}

// version is that of the tables; 0: there are none.
func version(ctx context.Context, pool *pgxpool.Pool) (int, error) {
	var there bool
	err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'river_migration')`).Scan(&there)
	if err != nil || !there {
		return 0, err
	}
	var have int
	err = pool.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM river_migration`).Scan(&have)
	return have, err
}

// connect gives a pool that has reached the server once.
func connect(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil { // its text may quote a piece of the password
		return nil, errors.New("the URL of the PostgreSQL database cannot be read\nhint: the fleet takes --db postgres://USER@HOST:PORT/DATABASE")
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTime
	}
	config.ConnConfig.RuntimeParams["application_name"] = "keyreeve fleet"
	config.MaxConns = poolSize
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err == nil {
		err = pool.Ping(ctx)
	}
	if err != nil {
		if pool != nil {
			pool.Close()
		}
		return nil, unreachable(url, err)
	}
	return pool, nil
}

// unreachable names the database without its password. nil stays nil.
func unreachable(url string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reach the queue in %s: %w\nhint: is the server up, and reachable from here?", store.NameOf(url), err)
}
