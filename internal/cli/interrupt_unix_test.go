//go:build unix

package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// A pipe that nobody writes to cannot even be opened, and yet the program ends.
func TestInterrupt_stopsWaitingForAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "report.csv")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := program(t, fakeaws.Demo(storyTime), "--log-level", "debug", "audit", pipe, "-o", "json=out.json")
	var stderr bytes.Buffer
	started, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The program says what it begins to read.
	line := make([]byte, 256)
	n, err := started.Read(line)
	if err != nil || !strings.Contains(string(line[:n]), "report.csv") {
		t.Fatalf("standard error begins with %q, %v", line[:n], err)
	}
	go func() { _, _ = stderr.ReadFrom(started) }()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	endsSoon(t, cmd, &stderr)
}
