package fleet

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyreeve/keyreeve/internal/daemon"
)

const (
	lockSpace = 0x6b66 << 48    // "kf"; the journal's own locks of accounts have another one
	lockLook  = 2 * time.Second // between two looks whether the locks stand
	lockTime  = 5 * time.Second // for the server to answer about a lock
)

// part of the health that tells of the server, as this machine sees it.
const serverPart = "queue"

var (
	errBusy = errors.New("another machine is at it")
	errLost = errors.New("the connection to the server was cut, and another machine is at it by now")
)

// accountKey is the lock of an account: no number of twelve digits reaches 1<<40.
func accountKey(account string) (int64, error) {
	n, err := strconv.ParseInt(account, 10, 64)
	if err != nil || n < 0 || n >= 1<<40 {
		return 0, errors.New("an account id has twelve digits")
	}
	return lockSpace | n, nil
}

// partKey is the lock of what is not about an account.
func partKey(part string) int64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(part)) // never fails
	return lockSpace | 1<<40 | int64(h.Sum32())
}

// locks are those of one machine: advisory locks of the server on one session, which stand as long as it does. A machine that
// dies loses them at once; one whose session is cut takes them again, and ends what somebody else has taken meanwhile.
type locks struct {
	config *pgx.ConnConfig
	log    *slog.Logger
	health *daemon.Health
	now    func() time.Time

	mu      sync.Mutex // a session answers one question at a time
	session *pgx.Conn  // nil: cut
	held    map[int64]context.CancelCauseFunc
}

// take takes a lock, or says errBusy. The context that it gives ends with errLost when the lock is lost to another machine.
func (l *locks) take(ctx context.Context, key int64) (held context.Context, release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[key] != nil { // the server would give it to this session again
		return nil, nil, errBusy
	}
	if err := l.stand(ctx); err != nil {
		return nil, nil, err
	}
	mine, err := l.ask(ctx, `SELECT pg_try_advisory_lock($1)`, key)
	switch {
	case err != nil:
		return nil, nil, err
	case !mine:
		return nil, nil, errBusy
	}
	held, cancel := context.WithCancelCause(ctx)
	l.held[key] = cancel
	return held, sync.OnceFunc(func() { l.release(context.WithoutCancel(ctx), key) }), nil
}

func (l *locks) release(ctx context.Context, key int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cancel := l.held[key]
	if cancel == nil { // it was lost
		return
	}
	delete(l.held, key)
	cancel(nil)
	if l.session != nil {
		_, _ = l.ask(ctx, `SELECT pg_advisory_unlock($1)`, key) // or the session ends, and the lock with it
	}
}

// ask asks the session, and ends it when the answer does not come. The caller has the mutex.
func (l *locks) ask(ctx context.Context, question string, key int64) (yes bool, err error) {
	// A context that ended halfway would cut the session, and with it every lock.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTime)
	defer cancel()
	if err := l.session.QueryRow(ctx, question, key).Scan(&yes); err != nil {
		l.drop(ctx)
		return false, err
	}
	return yes, nil
}

func (l *locks) drop(ctx context.Context) {
	if l.session != nil {
		_ = l.session.Close(ctx) // one that is cut is closed too
		l.session = nil
	}
}

// stand sees to it that there is a session, and that it has all locks. The caller has the mutex.
func (l *locks) stand(ctx context.Context) error {
	if l.session != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTime)
	defer cancel()
	c, err := pgx.ConnectConfig(ctx, l.config.Copy())
	if err != nil {
		return err
	}
	l.session = c
	// A machine that vanished must not keep its locks.
	_, err = c.Exec(ctx, `SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3`)
	if err != nil {
		l.drop(ctx)
		return err
	}
	for key, cancel := range l.held {
		mine, err := l.ask(ctx, `SELECT pg_try_advisory_lock($1)`, key)
		if err != nil {
			return err
		}
		if !mine {
			delete(l.held, key)
			cancel(errLost)
		}
	}
	return nil
}

// keep looks after the session until ctx ends, and then ends it.
func (l *locks) keep(ctx context.Context) {
	tick := time.NewTicker(lockLook)
	defer tick.Stop()
	cut := false
	for ctx.Err() == nil {
		err := l.look(ctx)
		l.health.Note(serverPart, err, l.now())
		switch {
		case err != nil && !cut:
			l.log.Warn("the server of the queue is away; waiting for it", "error", err)
		case err == nil && cut:
			l.log.Warn("the server of the queue is back") // heard by who heard that it went
		}
		cut = err != nil
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTime)
	defer cancel()
	l.drop(ended)
}

func (l *locks) look(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != nil {
		if _, err := l.ask(ctx, `SELECT $1::bigint IS NOT NULL`, 0); err == nil {
			return nil
		}
	}
	return l.stand(ctx)
}
