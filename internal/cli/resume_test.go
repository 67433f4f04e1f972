package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// again is the same program in the same directory with other arguments.
func again(cmd *exec.Cmd, args ...string) *exec.Cmd {
	return &exec.Cmd{Path: cmd.Path, Args: append([]string{"keyreeve"}, args...), Dir: cmd.Dir, Env: cmd.Env}
}

// breakOff starts an audit of accounts that are read one after the other, and kills it over the report of the nth.
func breakOff(t *testing.T, cloud *fakeaws.Cloud, cmd *exec.Cmd, n int32) {
	t.Helper()
	arrived, release := make(chan struct{}), make(chan struct{})
	var reports atomic.Int32
	cloud.OnCall(func(action string, phase fakeaws.Phase) {
		if action == "iam:GetCredentialReport" && phase == fakeaws.Arrived && reports.Add(1) == n {
			close(arrived)
			<-release
		}
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-arrived
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as asked
	close(release)
	cloud.OnCall(nil)
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
	breakOff(t, cloud, again(whole, args...), 5)
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

// What was read was read for the rules and accepted risks of then: who fails by others was not read again, and would have no key ids.
func TestResume_beginsAnewWhereOthersMayFail(t *testing.T) {
	cloud := fakeaws.Demo(storyTime)
	if err := organize(cloud, 3); err != nil {
		t.Fatal(err)
	}
	args := []string{"audit", "--org", "--external-id", "7f3a", "--concurrency", "1", "-o", "json"}
	first := program(t, cloud, append(args, "--rule", "root-access-key")...)
	if err := os.WriteFile(filepath.Join(first.Dir, "accepted.yaml"), []byte(accepted), 0o600); err != nil {
		t.Fatal(err)
	}
	clock := filepath.Join(first.Dir, "clock")
	if err := setClock(clock, storyTime); err != nil {
		t.Fatal(err)
	}
	first.Env = append(first.Env, clockFile+"="+clock)
	for name, c := range map[string]struct{ then, now []string }{
		"rules":          {[]string{"--rule", "root-access-key"}, []string{"--rule", "key-age-90"}},
		"accepted risks": {[]string{"--rule", "key-age-90", "--exceptions", "accepted.yaml"}, []string{"--rule", "key-age-90"}},
		"instant":        {[]string{"--rule", "key-age-90", "--as-of", "2020-01-01"}, []string{"--rule", "key-age-90", "--as-of", "2026-11-22"}},
	} {
		breakOff(t, cloud, again(first, append(args, c.then...)...), 4)
		resumed := again(first, slices.Concat(args, c.now, []string{"--resume"})...)
		var stderr bytes.Buffer
		resumed.Stderr = &stderr
		out, _ := resumed.Output()
		if code := resumed.ProcessState.ExitCode(); code != 3 || !strings.Contains(stderr.String(), "went by other rules, accepted risks or flags; starting anew") {
			t.Errorf("%s: exit code %d: %s", name, code, &stderr)
		}
		var found struct {
			Complete bool
			Verdicts []struct{ Key *struct{ ID string } }
		}
		if err := json.Unmarshal(out, &found); err != nil {
			t.Fatal(err)
		}
		if !found.Complete || len(found.Verdicts) == 0 {
			t.Errorf("%s: complete %v, %d verdicts", name, found.Complete, len(found.Verdicts))
		}
		for _, v := range found.Verdicts {
			if v.Key == nil || v.Key.ID == "" {
				t.Errorf("%s: a verdict without the id of its key: %+v", name, v)
			}
		}
	}
}

// accepted is the risk of every old key.
const accepted = `exceptions:
  - rule: key-age-90
    user: "*"
    reason: a test
    owner: ops@example.com
    expires: 2027-01-31
`
