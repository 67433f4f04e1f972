// Package postgres starts a PostgreSQL server of its own for a test, or uses one that is there.
//
// It knows where Debian and others keep the server's programs, that a server does not run as root, and how to end one
// with the test binary, however that ends. The server listens on a free port of the loopback address, has no
// socket, and a password that is made anew each time. It writes nothing to disk that it would have to wait for: a crash
// of the server loses nothing, a crash of the machine does. It starts nothing outside tests: everything here wants a testing.TB.
//
// It refuses to pretend: without PostgreSQL the test is skipped with what to install, and where the environment
// says that it is required, it fails.
package postgres

import (
	"bufio"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed server.sh
var script string

// The environment of a test.
const (
	envURL     = "KEYREEVE_POSTGRES_URL"  // a server that is there, by a user who may make databases
	envUser    = "KEYREEVE_POSTGRES_USER" // whom the server runs as when the test is root's; default nobody
	envRequire = "KEYREEVE_REQUIRE"       // names what must not be missing: "postgres" among others
)

const (
	orderTime = 90 * time.Second
	callTime  = 30 * time.Second
)

// Server is a running server.
type Server struct {
	base url.URL // of its database postgres

	mu     sync.Mutex
	orders io.Writer // nil: a server that was there
	lines  *bufio.Scanner
	port   int
}

// shared is one server for the whole test binary.
var shared = sync.OnceValues(func() (*Server, error) { return begin() })

// URL is that of a new and empty database, for this test alone, on a server that all tests of the binary share.
func URL(t testing.TB) string {
	t.Helper()
	s, err := shared()
	need(t, err)
	return s.URL(t)
}

// Start starts a server for this test alone, to be stopped and started again. KEYREEVE_POSTGRES_URL does not count here.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := start()
	need(t, err)
	t.Cleanup(func() { _ = s.orders.(io.Closer).Close() }) // it stops, and is removed
	return s
}

// missing says that PostgreSQL is not there.
type missing struct{ why string }

func (m *missing) Error() string {
	return "PostgreSQL is missing: " + m.why + "; install Debian's postgresql (scripts/setup.sh does), or set " + envURL
}

// need skips a test that cannot run, and fails one that should.
func need(t testing.TB, err error) {
	t.Helper()
	var none *missing
	switch {
	case err == nil:
	case errors.As(err, &none) && !strings.Contains(os.Getenv(envRequire), "postgres"):
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

func begin() (*Server, error) {
	at := os.Getenv(envURL)
	if at == "" {
		return start()
	}
	base, err := url.Parse(at)
	if err != nil {
		return nil, errors.New(envURL + " is no URL")
	}
	return &Server{base: *base}, nil
}

func start() (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "keyreeve-postgres-")
	if err != nil {
		return nil, err
	}
	var secret [12]byte
	_, _ = rand.Read(secret[:]) // never fails
	password := hex.EncodeToString(secret[:])
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte(password+"\n"), 0o600); err != nil {
		return nil, err
	}
	c := exec.Command("sh", "-c", script, "server.sh", bin, dir) //nolint:gosec // our own script
	c.Dir = dir
	c.Env = append(os.Environ(), "LC_ALL=C")
	if err := unprivileged(c, dir); err != nil {
		return nil, err
	}
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	go func() { _ = c.Wait() }() // it ends after its input, which is after us
	s := &Server{orders: in, lines: bufio.NewScanner(out)}
	if err := s.order("init"); err != nil {
		return nil, err
	}
	settings := "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\nfull_page_writes = off\n" +
		"max_connections = 200\nshared_buffers = 64MB\nautovacuum = off\n"
	if err := appendTo(filepath.Join(dir, "data", "postgresql.conf"), settings); err != nil {
		return nil, err
	}
	for range 3 { // somebody may take the port before the server does
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = s.Up(); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	s.base = url.URL{
		Scheme: "postgres", User: url.UserPassword("keyreeve", password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path: "/postgres", RawQuery: "sslmode=disable",
	}
	return s, nil
}

// programs is the directory of initdb and pg_ctl, newest version first.
func programs() (string, error) {
	if runtime.GOOS == "windows" {
		return "", &missing{"these tests start it on Unix only"}
	}
	if path, err := exec.LookPath("pg_ctl"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			if _, err := os.Stat(filepath.Join(filepath.Dir(real), "initdb")); err == nil {
				return filepath.Dir(real), nil
			}
		}
	}
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is right
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	return "", &missing{"no initdb in PATH or under /usr/lib/postgresql"}
}

func version(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))) // 0 for what is none
	return n
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func (s *Server) order(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.orders == nil {
		return errors.New(envURL + " names a server that is not ours to stop")
	}
	if _, err := io.WriteString(s.orders, text+"\n"); err != nil {
		return fmt.Errorf("tell PostgreSQL to %s: %w", text, err)
	}
	answer := make(chan string, 1)
	go func() {
		s.lines.Scan()
		answer <- s.lines.Text()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), orderTime)
	defer cancel()
	select {
	case line := <-answer:
		if line != "ok" {
			return fmt.Errorf("tell PostgreSQL to %s: %s", text, line)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tell PostgreSQL to %s: it did not answer in %s", text, orderTime)
	}
}

// Up starts the server that was stopped, on the port that it had.
func (s *Server) Up() error { return s.order(fmt.Sprint("start ", s.port)) }

// Down stops the server as pg_ctl does: fast, or immediate, which is a crash.
func (s *Server) Down(mode string) error { return s.order("stop " + mode) }

// URL is that of a new and empty database on the server, which goes with the test.
func (s *Server) URL(t testing.TB) string {
	t.Helper()
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails
	name := "keyreeve_test_" + hex.EncodeToString(random[:])
	s.Exec(t, "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0")
	t.Cleanup(func() {
		// One that is still in use, or on a server that is down, stays.
		_ = s.exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)")
	})
	return s.Database(name)
}

// Database is the URL of a database of that name, which may be there or not.
func (s *Server) Database(name string) string {
	u := s.base
	u.Path = "/" + name
	return u.String()
}

// Exec runs a statement in the database postgres.
func (s *Server) Exec(t testing.TB, statement string) {
	t.Helper()
	if err := s.exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (s *Server) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	c, err := pgx.Connect(ctx, s.base.String())
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, statement)
	return errors.Join(err, c.Close(ctx))
}
