package fleet

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

func locksOf(t *testing.T, at string) *locks {
	t.Helper()
	config, err := pgx.ParseConfig(at)
	if err != nil {
		t.Fatal(err)
	}
	l := &locks{
		config: config, log: slog.New(slog.DiscardHandler), health: &daemon.Health{}, now: time.Now,
		held: map[int64]context.CancelCauseFunc{},
	}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.drop(context.Background())
	})
	return l
}

func TestLocks_areOneMachinesAndOneJobs(t *testing.T) {
	t.Parallel()
	at := postgres.URL(t)
	one, two := locksOf(t, at), locksOf(t, at)
	key, err := accountKey("111122223333")
	if err != nil {
		t.Fatal(err)
	}
	_, release, err := one.take(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]*locks{"the same machine": one, "another": two} {
		if _, _, err := l.take(t.Context(), key); !errors.Is(err, errBusy) {
			t.Errorf("%s: got %v, want that it is busy", name, err)
		}
	}
	release()
	release()
	if _, _, err := two.take(t.Context(), key); err != nil {
		t.Errorf("released: %v", err)
	}
	if _, _, err := one.take(t.Context(), partKey("delivery")); err != nil {
		t.Errorf("another lock: %v", err)
	}
}

func TestLocks_areTakenAgainAfterACutOrEndTheirJob(t *testing.T) {
	t.Parallel()
	server := postgres.Start(t)
	at := server.URL(t)
	one, two := locksOf(t, at), locksOf(t, at)
	mine, lost := partKey("mine"), partKey("lost")
	kept, _, err := one.take(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	ended, release, err := one.take(t.Context(), lost)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(server.Down("immediate"), server.Up()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := two.take(t.Context(), lost); err != nil { // before the first one looks
		t.Fatal(err)
	}
	if err := one.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(context.Cause(ended), errLost) || kept.Err() != nil {
		t.Errorf("the lost one ended with %v, the kept one with %v", context.Cause(ended), kept.Err())
	}
	release()
	for _, key := range []int64{mine, lost} {
		if _, _, err := locksOf(t, at).take(t.Context(), key); !errors.Is(err, errBusy) {
			t.Errorf("a third machine: %v, want that it is busy", err)
		}
	}
}
