package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/internal/journal"
)

const (
	connectTime = 10 * time.Second // unless the URL has connect_timeout
	readTime    = time.Hour        // bounds one reading: a copy of millions of rows takes its time
	settleTime  = 30 * time.Second // to learn what became of a commit
	settlePause = 50 * time.Millisecond
	writeTries  = 5 // of a write that was undone by no fault of its own

	poolSize     = 6 // connections of one process, beside one for each account that it has locked
	poolIdle     = 2
	poolIdleTime = 5 * time.Minute
	poolLifetime = 30 * time.Minute // so that a server that moved is found again

	oldestServer = 130000 // pg_xact_status takes the ids of pg_current_xact_id since then
)

// What PostgreSQL answers, by code.
const (
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeBadValue      = "22023"
	codeUnknownName   = "42704"
	codeLockTimeout   = "55P03"
	codePassword      = "28P01"
	codeLogin         = "28000"
	codeNoDatabase    = "3D000"
	codeNoSchema      = "3F000"
	codeNoRight       = "42501"
	codeReadOnly      = "25006"
	codeTooMany       = "53300"
	codeStarting      = "57P03"
)

var dialectPostgres = dialect{
	name: "postgres", goose: goose.DialectPostgres, elsewhere: "--db postgres://... names another database; ?search_path=NAME another schema of it",
	tables: `SELECT count(*), count(*) FILTER (WHERE tablename = $1) FROM pg_tables WHERE schemaname = current_schema()`,
	// As SQLite compares: by bytes. Indexes stay whole when the server gets another C library, and both sort alike.
	text:     `TEXT COLLATE "C"`,
	headFree: `ALTER TABLE journal_head DISABLE TRIGGER journal_head_grows`,
	headKept: `SELECT 'ALTER TABLE journal_head ENABLE TRIGGER journal_head_grows'`,
}

// server is a database of PostgreSQL.
type server struct {
	config *pgx.ConnConfig
	name   string // the URL without password and settings
}

// enginePostgres is a server. Its writers queue for the row that they write first, of the journal that of journal_head;
// locks of accounts are session-level advisory locks on connections of their own.
type enginePostgres struct {
	server
	db *sql.DB

	mu    sync.Mutex
	locks map[*serverLock]bool // that were taken and not yet released
}

// parseServer never says what is wrong with the URL in the words of others, which may quote a piece of the password.
func parseServer(at string) (place, error) {
	config, err := pgx.ParseConfig(at)
	if err != nil {
		return nil, &journal.InputError{
			Problem: "the URL of the PostgreSQL database cannot be read, or a file that it names",
			Hint: "--db postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full; escape what is special in a password (%2F for /), " +
				"or leave it to PGPASSWORD or ~/.pgpass",
		}
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTime
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "keyreeve"
	}
	u := url.URL{Scheme: "postgres", User: url.User(config.User), Host: net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), Path: "/" + config.Database}
	if strings.HasPrefix(config.Host, "/") { // a socket
		u.Host, u.RawQuery = "", url.Values{"host": {config.Host}}.Encode()
	}
	return &server{config, u.String()}, nil
}

// connect gives the pool. Nothing is called before it is used.
func (s *server) connect() *DB {
	db := stdlib.OpenDB(*s.config, stdlib.OptionAfterConnect(setUp),
		// A connection that was cut while nobody used it is found out before it is used again.
		stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return true }))
	db.SetMaxOpenConns(poolSize)
	db.SetMaxIdleConns(poolIdle)
	db.SetConnMaxIdleTime(poolIdleTime)
	db.SetConnMaxLifetime(poolLifetime)
	e := &enginePostgres{server: *s, db: db, locks: map[*serverLock]bool{}}
	return &DB{db: db, e: e, kind: &dialectPostgres, name: s.name}
}

// setUp makes a session what the journal needs: an intent must be on disk before the call that it announces; a process
// that hangs amid a write must not keep others from writing; a machine that vanished must not keep its locks.
func setUp(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, `
		SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
		SET idle_in_transaction_session_timeout = '5min';
		SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3`)
	return err
}

func (s *server) open(ctx context.Context, o Options) (*DB, error) {
	d := s.connect()
	d.o = o
	err := s.suits(ctx, d.db)
	if err == nil {
		d.was, err = d.version(ctx)
	}
	if err == nil && d.was < newest() {
		err = s.alone(ctx, d.migrate)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (s *server) openReader(ctx context.Context) (*DB, error) {
	d := s.connect()
	d.still = true
	err := s.suits(ctx, d.db)
	if err == nil {
		err = d.current(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (s *server) called() string { return s.name }

func (s *server) exists(ctx context.Context) (bool, error) {
	d := s.connect()
	version, err := d.version(ctx)
	return version >= 0, errors.Join(err, d.Close())
}

// suits says why the database cannot hold a journal.
func (s *server) suits(ctx context.Context, db *sql.DB) error {
	var version int
	var encoding string
	err := db.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding')`).Scan(&version, &encoding)
	switch {
	case err != nil:
		return s.explain("open", err)
	case version < oldestServer:
		return &Error{Problem: fmt.Sprintf("the server of the journal %s is PostgreSQL %d", s.name, version/10000), Hint: "use 13 or newer"}
	case encoding != "UTF8":
		return &Error{
			Problem: fmt.Sprintf("the database of the journal %s is encoded in %s: it cannot hold every name", s.name, encoding),
			Hint:    "make one: createdb --encoding UTF8 --template template0 NAME",
		}
	default:
		return nil
	}
}

// alone runs do while no other process does the same in this database. It waits.
func (s *server) alone(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	c, err := s.session(ctx)
	if err != nil {
		return s.explain("lock", err)
	}
	defer closeSession(ctx, c) // and with it the lock
	if _, err := c.Exec(ctx, `SELECT pg_advisory_lock($1)`, tablesKey); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return &Error{Problem: fmt.Sprintf("lock the journal %s", s.name), Hint: "another keyreeve is opening it: wait for that one, or end it", Err: err}
		}
		return s.explain("lock", err)
	}
	return do(ctx)
}

// read takes one snapshot, and ends with its connection: the next one gets another.
func (e *enginePostgres) read(ctx context.Context, do func(tx *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	tx, err := e.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return e.explain("read", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return e.explain("read", do(tx))
}

// write tries again what the server undid: for a deadlock, or since the connection was cut before the commit.
func (e *enginePostgres) write(ctx context.Context, what string, do func(ctx context.Context, tx *sql.Tx) error, by proof) error {
	if what == string(journal.Begin) || what == string(journal.Intent) {
		if err := e.stand(ctx); err != nil {
			return err
		}
	}
	for tries := writeTries; ; tries-- {
		undone, err := e.try(ctx, do, by)
		if !undone || tries <= 1 || ctx.Err() != nil {
			return e.explain("write", err)
		}
	}
}

// try says, with an error, whether all was undone by no fault of what was written.
func (e *enginePostgres) try(ctx context.Context, do func(ctx context.Context, tx *sql.Tx) error, by proof) (undone bool, err error) {
	c, err := e.db.Conn(ctx)
	if err != nil {
		return false, err // there is no connection to be had
	}
	defer func() { _ = c.Close() }() // goes back to the pool
	tx, err := c.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return cut(c), err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	id := ""
	if err = do(ctx, tx); err == nil {
		err = tx.QueryRowContext(ctx, `SELECT pg_current_xact_id()::text`).Scan(&id)
	}
	if err != nil {
		return collided(err) || cut(c), err
	}
	err = tx.Commit()
	var said *pgconn.PgError
	if err == nil {
		return false, nil
	}
	if errors.As(err, &said) && !cut(c) || errors.Is(err, pgx.ErrTxCommitRollback) {
		return collided(err), err
	}
	_ = c.Close() // many may be cut at once: none must keep from the pool what the others need to look
	return e.settle(ctx, id, by, err)
}

// settle finds out, by looking, what became of the transaction whose commit was sent and not answered. First it waits
// until the server has done with it; then it looks for its proof.
func (e *enginePostgres) settle(ctx context.Context, id string, by proof, lost error) (undone bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	unknown := &Error{
		Problem: fmt.Sprintf("the connection to the journal %s was cut at a commit: whether it is on record is not known", e.name),
		Hint:    "look when the server is back: keyreeve runs", Err: lost,
	}
	if by == nil {
		return false, unknown
	}
	for {
		if over, err := e.over(ctx, id); err == nil && over {
			break
		} // a server that is away is asked again
		select {
		case <-ctx.Done():
			return false, unknown
		case <-time.After(settlePause):
		}
	}
	query, args := by()
	var one int
	switch err := e.db.QueryRowContext(ctx, query, args...).Scan(&one); {
	case err == nil:
		return false, nil
	case errors.Is(err, sql.ErrNoRows):
		return true, lost
	default:
		return false, unknown
	}
}

// over tells whether the server has done with the transaction. One that it never heard of was lost in a crash; by then
// another may bear its number, so that only the proof says whether it was committed.
func (e *enginePostgres) over(ctx context.Context, id string) (bool, error) {
	var status sql.NullString // null: long ago
	err := e.db.QueryRowContext(ctx, `SELECT pg_xact_status($1::text::xid8)`, id).Scan(&status)
	var said *pgconn.PgError
	if errors.As(err, &said) && said.Code == codeBadValue { // in the future
		return true, nil
	}
	return err == nil && status.String != "in progress", err
}

// cut tells whether the connection is gone.
func cut(c *sql.Conn) bool {
	gone := false
	err := c.Raw(func(driver any) error {
		gone = driver.(*stdlib.Conn).Conn().IsClosed()
		return nil
	})
	return gone || err != nil
}

// collided tells whether the server undid a transaction for the sake of another.
func collided(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && (said.Code == codeSerialization || said.Code == codeDeadlock)
}

// scrub does nothing: see the comment of the package.
func (e *enginePostgres) scrub(context.Context, *atomic.Int64) {}

// sound looks for triggers that are switched off, those of references among them, and for references to rows that are
// missing. The server itself checks its pages as it is set up to.
func (e *enginePostgres) sound(ctx context.Context, tx *sql.Tx) error {
	var off string
	err := tx.QueryRowContext(ctx, `SELECT format('trigger %s of %s', tgname, tgrelid::regclass) FROM pg_trigger
		WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace) AND tgenabled NOT IN ('O', 'A')
		ORDER BY 1 LIMIT 1`).Scan(&off)
	if err == nil {
		return fmt.Errorf("%s is switched off", off)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	questions, err := references(ctx, tx)
	if err != nil {
		return err
	}
	for _, q := range questions {
		var n int64
		if err := tx.QueryRowContext(ctx, q.query).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%d rows of %s refer to rows of %s that are missing", n, q.from, q.to)
		}
	}
	return nil
}

type reference struct{ from, to, query string }

// references gives, for each foreign key, a question that counts rows whose reference leads nowhere.
func references(ctx context.Context, tx *sql.Tx) ([]reference, error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT conrelid::regclass::text, confrelid::regclass::text, format('SELECT count(*) FROM %s c WHERE %s AND NOT EXISTS (SELECT 1 FROM %s p WHERE %s)',
			conrelid::regclass,
			(SELECT string_agg(format('c.%I IS NOT NULL', attname), ' AND ') FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)),
			confrelid::regclass,
			(SELECT string_agg(format('p.%I = c.%I', p.attname, c.attname), ' AND ') FROM unnest(conkey, confkey) AS k (c, p)
				JOIN pg_attribute c ON c.attrelid = conrelid AND c.attnum = k.c
				JOIN pg_attribute p ON p.attrelid = confrelid AND p.attnum = k.p))
		FROM pg_constraint WHERE contype = 'f' AND connamespace = current_schema()::regnamespace ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var all []reference
	for rows.Next() {
		var r reference
		if err := rows.Scan(&r.from, &r.to, &r.query); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

func (e *enginePostgres) close() error { return nil }

// explain gives what the server says, or that it says nothing, a hint. Other errors stay as they are.
func (s *server) explain(doing string, err error) error {
	var ours *Error
	var said *pgconn.PgError
	if err == nil || errors.As(err, &ours) || errors.Is(err, context.Canceled) {
		return err
	}
	problem := fmt.Sprintf("%s the journal %s", doing, s.name)
	if errors.As(err, &said) {
		if name := s.refusedParameter(said); name != "" {
			what := "the parameter"
			if said.Code == codeBadValue {
				what = "a value of the parameter"
			}
			return &journal.InputError{
				Problem: fmt.Sprintf("the URL of the database %s has %s %q, which PostgreSQL does not know", s.name, what, name),
				Hint:    "such as sslmode, sslrootcert, sslcert, sslkey, connect_timeout, target_session_attrs, application_name, search_path",
			}
		}
		if hint := hintOf(said.Code, s.config); hint != "" {
			return &Error{Problem: problem, Hint: hint, Err: said}
		}
		if doing == "write" || doing == "read" {
			return err // it says itself what was written
		}
		return &Error{Problem: problem, Err: said}
	}
	if away(err) {
		return &Error{Problem: problem, Hint: "is the server up, and reachable from here? once it is, the same command goes on", Err: why(err)}
	}
	return err
}

// refusedParameter is the parameter of the URL for which the server refused the session: what the client does not know is handed on to the
// server, which takes its own settings there. Empty: it is about something else.
func (s *server) refusedParameter(said *pgconn.PgError) string {
	if said.SeverityUnlocalized != "FATAL" || said.Code != codeUnknownName && said.Code != codeBadValue {
		return ""
	}
	for name := range s.config.RuntimeParams {
		if strings.Contains(said.Message, `"`+name+`"`) {
			return name
		}
	}
	return ""
}

func hintOf(code string, c *pgx.ConnConfig) string {
	switch code {
	case codePassword, codeLogin:
		return "check the user and the password: in --db, in PGPASSWORD, or in ~/.pgpass"
	case codeNoDatabase:
		return "make it: createdb --encoding UTF8 --template template0 " + c.Database
	case codeNoSchema:
		return "its search_path names no schema that is there: make it, or name another by ?search_path=NAME"
	case codeNoRight:
		return fmt.Sprintf("the user %s needs the right; to make or change the tables it must own the schema, or have CREATE on it, and own the tables", c.User)
	case codeReadOnly:
		return "it is a standby, or may only be read: name the server that can be written"
	case codeTooMany:
		return "the server has no connection left: raise max_connections, or run fewer processes"
	case codeStarting, "57P01", "57P02":
		return "the server is starting or stopping: try again in a moment"
	default:
		return ""
	}
}

// away tells whether the server could not be reached, or was lost on the way.
func away(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) || pgconn.Timeout(err) || lostOnTheWay(err)
}

// why is the innermost reason, in one line: what is around it repeats the address, once for each way that was tried.
func why(err error) error {
	var named *net.DNSError
	var dialed *net.OpError
	switch {
	case errors.As(err, &named):
		return named
	case errors.As(err, &dialed):
		return dialed
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("it did not answer in time")
	default:
		return errors.New(strings.Join(strings.Fields(err.Error()), " "))
	}
}
