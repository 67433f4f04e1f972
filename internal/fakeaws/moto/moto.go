// Package moto starts moto, an AWS emulator written by others, for a test, with a clock that the test moves.
//
// It knows how to find a Python with moto, to start a server on a free port of the loopback address, and
// to end it with the test. It starts nothing outside tests: Start wants a testing.TB.
//
// It refuses to pretend: without moto the test is skipped with what to install, and where the environment
// says that moto is required, it fails.
package moto

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed clock.py
var launcher string

const (
	startTimeout   = 60 * time.Second // loading moto takes seconds on a busy machine
	commandTimeout = 10 * time.Second
)

// Server is a running moto.
type Server struct {
	t    testing.TB
	port string

	mu      sync.Mutex
	process *exec.Cmd
	orders  io.Writer
	lines   <-chan string // what the process prints; closed when it ends
}

// Start starts moto and returns when it listens. The test that called it ends it.
//
// The Python is KEYREEVE_PYTHON, else python3. Without moto in it the test is skipped, or fails when
// KEYREEVE_REQUIRE contains "moto".
func Start(t testing.TB) *Server {
	t.Helper()
	python := os.Getenv("KEYREEVE_PYTHON")
	if python == "" {
		python = "python3"
	}
	if _, err := exec.LookPath(python); err != nil {
		missing(t, err.Error())
	}
	s := &Server{t: t}
	var stderr bytes.Buffer
	s.process = exec.Command(python, "-u", "-c", launcher)
	s.process.Stderr = &stderr
	in, err := s.process.StdinPipe()
	if err != nil {
		t.Fatalf("start moto: %v", err)
	}
	out, err := s.process.StdoutPipe()
	if err != nil {
		t.Fatalf("start moto: %v", err)
	}
	if err := s.process.Start(); err != nil {
		t.Fatalf("start moto: %v", err)
	}
	lines := make(chan string, 16)
	s.orders, s.lines = in, lines
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	t.Cleanup(s.stop)

	first := s.read(startTimeout)
	switch word, value, _ := strings.Cut(first, " "); word {
	case "port":
		s.port = value
	case "missing":
		missing(t, value)
	default:
		s.stop()
		t.Fatalf("start moto: it printed %q\n%s", first, stderr.String())
	}
	return s
}

func missing(t testing.TB, why string) {
	t.Helper()
	const advice = "install moto: python3 -m pip install 'moto[server]', or set KEYREEVE_PYTHON to a Python that has it"
	if strings.Contains(os.Getenv("KEYREEVE_REQUIRE"), "moto") {
		t.Fatalf("moto is required and missing: %s; %s", why, advice)
	}
	t.Skipf("moto is missing: %s; %s", why, advice)
}

// stop is safe to call twice.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	for range s.lines { // until the reader has seen the end
	}
	_ = s.process.Wait() // "killed" is what we asked for
	s.process = nil
}

func (s *Server) read(timeout time.Duration) string {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	select {
	case line := <-s.lines:
		return line
	case <-ctx.Done():
		return "nothing in " + timeout.String()
	}
}

// URL is the endpoint of every service.
func (s *Server) URL() string { return "http://127.0.0.1:" + s.port }

// SetNow stops moto's clock at t, to the second.
func (s *Server) SetNow(t time.Time) { s.order(fmt.Sprintf("freeze %d", t.Unix())) }

// RunFrom lets moto's clock run on from t, to the second.
func (s *Server) RunFrom(t time.Time) { s.order(fmt.Sprintf("run %d", t.Unix())) }

func (s *Server) order(command string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := io.WriteString(s.orders, command+"\n"); err != nil {
		s.t.Fatalf("tell moto %q: %v", command, err)
	}
	if answer := s.read(commandTimeout); answer != "ok" {
		s.t.Fatalf("tell moto %q: it answered %q", command, answer)
	}
}

// Reset forgets every account. The clock stays.
func (s *Server) Reset() {
	s.t.Helper()
	s.post("reset", "")
}

// Enforce has moto check signatures and the policies of users from now on, or, with false, take everybody
// for an administrator again, as it does at the start. It knows the actions of a policy, not its resources
// and conditions.
func (s *Server) Enforce(on bool) {
	s.t.Helper()
	free := "inf" // calls that go unchecked
	if on {
		free = "0"
	}
	s.post("reset-auth", free)
}

func (s *Server) post(command, body string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/moto-api/"+command, strings.NewReader(body))
	if err != nil {
		s.t.Fatalf("tell moto to %s: %v", command, err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatalf("tell moto to %s: %v", command, err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("tell moto to %s: HTTP %d", command, res.StatusCode)
	}
}
