package cli_test

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// again is the same program in the same directory with other arguments.
func again(cmd *exec.Cmd, args ...string) *exec.Cmd {
	return &exec.Cmd{Path: cmd.Path, Args: append([]string{"keyreeve"}, args...), Dir: cmd.Dir, Env: cmd.Env}
}

// An audit of an organisation is killed in the middle. With --resume the accounts that were read are not read again, and the
// report is the one of an audit that nobody killed.
func TestResume_goesOnAfterAKillAndReportsTheSame(t *testing.T) {
	cloud := fakeaws.Demo(storyTime)
	if err := organize(cloud, 9); err != nil {
		t.Fatal(err)
	}
	args := []string{"audit", "--org", "--external-id", "7f3a", "--as-of", storyTime.Format("2006-01-02T15:04:05Z07:00"), "--concurrency", "1", "-o", "json"}
	whole := program(t, cloud, args...)
	want, err := whole.Output()
	if code := whole.ProcessState.ExitCode(); code != 3 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	// The accounts are read one after the other, in the order of their ids: it dies over the fifth.
	arrived, release := make(chan struct{}), make(chan struct{})
	var reports atomic.Int32
	cloud.OnCall(func(action string, phase fakeaws.Phase) {
		if action == "iam:GetCredentialReport" && phase == fakeaws.Arrived && reports.Add(1) == 5 {
			close(arrived)
			<-release
		}
	})
	killed := again(whole, args...)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	<-arrived
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait() // killed, as asked
	close(release)
	cloud.ResetCalls()
	resumed := again(whole, append(args, "--resume")...)
	var stderr bytes.Buffer
	resumed.Stderr = &stderr
	got, err := resumed.Output()
	if code := resumed.ProcessState.ExitCode(); code != 3 {
		t.Fatalf("exit code %d, %v: %s", code, err, &stderr)
	}
	if !strings.Contains(stderr.String(), "4 accounts read already") {
		t.Errorf("it does not say what was read already: %s", &stderr)
	}
	readAt := regexp.MustCompile(`"read_at": "[^"]*"`)
	if got, want := readAt.ReplaceAll(got, nil), readAt.ReplaceAll(want, nil); !bytes.Equal(got, want) {
		t.Error("the report differs from that of an audit that nobody killed")
	}
	for _, c := range cloud.Calls() {
		if strings.HasPrefix(c.Action, "iam:") && c.Account < "222200000004" {
			t.Errorf("account %s was read again: %s", c.Account, c.Action)
		}
	}
	// Done is done: nothing is left to take up.
	stderr.Reset()
	third := again(whole, append(args, "--resume")...)
	third.Stderr = &stderr
	_, _ = third.Output() // its exit code is that of the others
	if !strings.Contains(stderr.String(), "starting anew") {
		t.Errorf("a run that was done is taken up again: %s", &stderr)
	}
}
