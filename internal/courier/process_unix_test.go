//go:build unix

package courier_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/internal/courier"
	"github.com/keyreeve/keyreeve/internal/seal"
)

// self is this test program once more, to be killed.
type self struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func startSelf(t *testing.T, run, variable string) *self {
	t.Helper()
	program, err := os.Executable()
	must(t, err)
	cmd := exec.Command(program, "-test.run="+run)
	cmd.Env = append(os.Environ(), variable)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return &self{cmd, bufio.NewReader(out)}
}

func (s *self) firstLine(t *testing.T) {
	t.Helper()
	line, err := s.out.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		t.Fatalf("the child said %q, %v", line, err)
	}
}

func (s *self) kill(t *testing.T) {
	t.Helper()
	must(t, s.cmd.Process.Kill())
	_, _ = io.Copy(io.Discard, s.out)
	_ = s.cmd.Wait() // killed, as we asked for
}

func backupIn(t *testing.T, dir string) courier.Backup {
	t.Helper()
	box, err := seal.OpenBox(filepath.Join(dir, "seal.key"), nil)
	must(t, err)
	return courier.Backup{Dir: dir, Box: box}
}
