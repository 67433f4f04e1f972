package cli_test

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyreeve/keyreeve/internal/cli"
)

// What a test tells the program that it runs in a process of its own, by its environment.
const (
	clockFile = "KEYREEVE_TEST_CLOCK"  // a file that holds how far the clock is ahead, as a Go duration; absent or empty: not at all
	noWait    = "KEYREEVE_TEST_NOWAIT" // pauses end at once, and the clock has moved on
	killAt    = "KEYREEVE_TEST_KILL"   // the process ends, by SIGKILL, at the nth point around its writes to the journal
	pointFile = "KEYREEVE_TEST_POINTS" // a file to which the name of each such point is added
	testDB    = "KEYREEVE_TEST_DB"     // the URL of the journal, as if every command line ended in --db URL
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"consumer": consumer,
		"keyreeve": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			args := os.Args[1:]
			if url := os.Getenv(testDB); url != "" {
				args = append(args, "--db", url)
			}
			code := cli.Run(ctx, args, programSystem())
			stop()
			os.Exit(code)
		},
	})
}

// programSystem is the host, with what the test asked for.
func programSystem() cli.System {
	sys := cli.Host()
	var ahead atomic.Int64
	if path := os.Getenv(clockFile); path != "" {
		text, err := os.ReadFile(path)
		if d, perr := time.ParseDuration(strings.TrimSpace(string(text))); err == nil && perr == nil {
			ahead.Store(int64(d))
		}
	}
	sys.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	if os.Getenv(noWait) != "" {
		sys.Wait = func(ctx context.Context, d time.Duration) error {
			ahead.Add(int64(d))
			return ctx.Err()
		}
	}
	if url := os.Getenv(conductorURL); url != "" {
		conducted(&sys, url)
	}
	at, _ := strconv.Atoi(os.Getenv(killAt))
	points := os.Getenv(pointFile)
	n := 0
	if at > 0 || points != "" {
		sys.OnWrite = func(point string) {
			n++
			if points != "" {
				appendLine(points, point)
			}
			if n == at {
				die()
			}
		}
	}
	return sys
}

func appendLine(path, line string) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = f.WriteString(line + "\n")
		_ = f.Close()
	}
}
