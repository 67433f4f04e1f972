package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	lockSpace   = 0x6b72 << 48    // "kr": others in the database have advisory locks too
	lockGrace   = time.Second     // a server needs a moment to notice that a holder has died
	standTime   = 5 * time.Second // for a lock to answer that it stands
	sessionTime = 5 * time.Second // to take leave
	holderRoom  = 63              // bytes that PostgreSQL keeps of the name of a session
)

// tablesKey is the advisory lock of who makes or changes tables; no account has that number.
const tablesKey = lockSpace | (1<<40 - 1)

// lockKey is the advisory lock of an account.
func lockKey(account int64) int64 { return lockSpace | account }

// serverLock is the lock of an account: as long as its session lives, and only so long, it stands.
type serverLock struct {
	account string
	mu      sync.Mutex // a session answers one question at a time
	session *pgx.Conn
}

// session is a connection outside of the pool.
func (s *server) session(ctx context.Context) (*pgx.Conn, error) {
	c, err := pgx.ConnectConfig(ctx, s.config.Copy())
	if err != nil {
		return nil, err
	}
	if err := setUp(ctx, c); err != nil {
		closeSession(ctx, c)
		return nil, err
	}
	return c, nil
}

// closeSession does so also when ctx has ended.
func closeSession(ctx context.Context, c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sessionTime)
	defer cancel()
	_ = c.Close(ctx) // one that is cut is closed too
}

// lock names the session after the holder, of which PostgreSQL keeps 63 bytes of ASCII, and takes the account.
func (e *enginePostgres) lock(ctx context.Context, account, holder string) (release func(), err error) {
	number, err := strconv.ParseInt(account, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("lock account %q: %w", account, err)
	}
	doing := "lock account " + account + " in"
	c, err := e.session(ctx)
	if err != nil {
		return nil, e.explain(doing, err)
	}
	_, err = c.Exec(ctx, `SELECT set_config('application_name', $1, false), set_config('lock_timeout', $2, false)`,
		strings.ToValidUTF8(holder[:min(len(holder), holderRoom)], "?"), strconv.FormatInt(lockGrace.Milliseconds(), 10))
	if err == nil {
		_, err = c.Exec(ctx, `SELECT pg_advisory_lock($1)`, lockKey(number))
	}
	if err != nil {
		closeSession(ctx, c)
		var said *pgconn.PgError
		if errors.As(err, &said) && said.Code == codeLockTimeout {
			return nil, &HeldError{account, e.holder(ctx, lockKey(number))}
		}
		return nil, e.explain(doing, err)
	}
	l := &serverLock{account: account, session: c}
	e.mu.Lock()
	e.locks[l] = true
	e.mu.Unlock()
	return sync.OnceFunc(func() { e.release(context.WithoutCancel(ctx), l, number) }), nil
}

func (e *enginePostgres) release(ctx context.Context, l *serverLock, number int64) {
	e.mu.Lock()
	delete(e.locks, l)
	e.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	timed, cancel := context.WithTimeout(ctx, sessionTime)
	defer cancel()
	_, _ = l.session.Exec(timed, `SELECT pg_advisory_unlock($1)`, lockKey(number)) // free at once; the end of the session frees it too
	closeSession(ctx, l.session)
}

// stand makes sure that each lock still stands, by asking the session that it belongs to.
func (e *enginePostgres) stand(ctx context.Context) error {
	e.mu.Lock()
	var locks []*serverLock
	for l := range e.locks {
		locks = append(locks, l)
	}
	e.mu.Unlock()
	for _, l := range locks {
		if err := l.stands(ctx); err != nil {
			return &Error{
				Problem: fmt.Sprintf("the lock of account %s was lost with its connection to %s: another run may work on it by now", l.account, e.name),
				Hint:    "the same command takes it again, and looks at the account first", Err: why(err),
			}
		}
	}
	return nil
}

func (l *serverLock) stands(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, standTime)
	defer cancel()
	return l.session.Ping(ctx) // an error closes the session: from then on it is always one
}

// holder is the name of the session that has the lock; empty if it has just been freed.
func (e *enginePostgres) holder(ctx context.Context, key int64) string {
	var name sql.NullString
	err := e.db.QueryRowContext(ctx, heldLocks+` AND l.classid = $1 AND l.objid = $2`, key>>32, key&0xffffffff).Scan(new(int64), &name)
	if err != nil {
		return ""
	}
	return name.String
}

// heldLocks asks for the account and the holder of advisory locks in this database.
const heldLocks = `SELECT ((l.classid::bigint << 32) | l.objid::bigint), a.application_name FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
	WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`

func (e *enginePostgres) held(ctx context.Context) error {
	var key int64
	var name sql.NullString
	err := e.db.QueryRowContext(ctx, heldLocks+` AND l.classid::bigint >> 16 = $1 AND (l.classid::bigint << 32) | l.objid::bigint <> $2 ORDER BY 1 LIMIT 1`,
		lockSpace>>48, tablesKey).Scan(&key, &name)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return e.explain("ask for locks of", err)
	default:
		return &HeldError{fmt.Sprintf("%012d", key&^lockSpace), name.String}
	}
}

// lostOnTheWay tells whether the connection ended under a call.
func lostOnTheWay(err error) bool {
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
