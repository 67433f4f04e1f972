package cli_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// program is the real program in a process of its own, in an empty directory, before the built-in company.
func program(t *testing.T, cloud *fakeaws.Cloud, args ...string) *exec.Cmd {
	t.Helper()
	server, err := cloud.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &exec.Cmd{
		Path: self, Args: append([]string{"keyreeve"}, args...), Dir: dir,
		Env: []string{
			"HOME=" + dir, "AWS_ENDPOINT_URL=" + server.URL, "AWS_ACCESS_KEY_ID=" + cloud.Accounts()[0].Credential(),
			"AWS_SECRET_ACCESS_KEY=any", "AWS_REGION=us-east-1",
		},
	}
}

// endsSoon waits for the interrupted process; a second is what a person is promised.
func endsSoon(t *testing.T, cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the exit code is looked at below
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
		_ = cmd.Process.Kill()
		t.Fatalf("still running a second after the interrupt: %s", stderr)
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1: %s", code, stderr)
	}
	files, err := filepath.Glob(filepath.Join(cmd.Dir, "*"))
	if err != nil || len(files) > 0 {
		t.Errorf("files left behind: %v %v", files, err)
	}
	if hidden, _ := filepath.Glob(filepath.Join(cmd.Dir, ".*")); len(hidden) > 0 {
		t.Errorf("files left behind: %v", hidden)
	}
}

func TestInterrupt_stopsALiveAuditSaysWhatWasReadAndWritesNothing(t *testing.T) {
	for _, action := range []string{"iam:GetCredentialReport", "iam:ListAccessKeys"} {
		cloud := fakeaws.Demo(storyTime)
		arrived, release := cloud.Hold(action)
		cmd := program(t, cloud, "audit", "-o", "json=out.json", "-o", "text", "-o", "html=out.html")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-arrived
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		endsSoon(t, cmd, &stderr)
		release()
		if stdout.Len() > 0 {
			t.Errorf("%s: standard output: %s", action, &stdout)
		}
		if !strings.Contains(stderr.String(), "interrupted: reading ") {
			t.Errorf("%s: standard error: %s", action, &stderr)
		}
		t.Logf("%s: %s", action, strings.TrimSpace(stderr.String()))
	}
}

func TestInterrupt_stopsReadingStandardInput(t *testing.T) {
	cmd := program(t, fakeaws.Demo(storyTime), "audit", "-", "-o", "json=out.json")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds: when the write is done, the program reads.
	if _, err := io.WriteString(stdin, "user,arn,user_creation_time"+strings.Repeat(" ", 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	endsSoon(t, cmd, &stderr)
}
