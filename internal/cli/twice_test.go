package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// rival is a process of the program that has ended.
type rival struct {
	code           int
	stdout, stderr bytes.Buffer
}

// startRival starts the real program in a process of its own.
func startRival(dir string, env []string, out *rival, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: self, Args: append([]string{"keyreeve"}, args...), Dir: dir, Env: env, Stdout: &out.stdout, Stderr: &out.stderr,
	}
	return cmd, cmd.Start()
}

// heldBy is how a run is refused that another one keeps out.
var heldBy = regexp.MustCompile(`run \d{8}T\d{6}Z-[0-9a-f]+, process \d+ on `)

// rivals runs the program twice at the same time. One must do well; the other must too, or be refused with the one
// that holds the account named. It tells how many were refused.
func rivals(dir string, env []string, args ...string) (refused int, err error) {
	var results [2]rival
	var cmds [2]*exec.Cmd
	for i := range cmds {
		if cmds[i], err = startRival(dir, env, &results[i], args...); err != nil {
			return 0, err
		}
	}
	for i := range cmds {
		_ = cmds[i].Wait() // the exit code is looked at below
		results[i].code = cmds[i].ProcessState.ExitCode()
	}
	for i := range results {
		r := &results[i]
		switch {
		case r.code == 0:
		case r.code == 6 && heldBy.Match(r.stderr.Bytes()):
			refused++
		default:
			return refused, fmt.Errorf("process %d: exit code %d\n%s%s", i, r.code, &r.stdout, &r.stderr)
		}
	}
	if refused == 2 {
		return refused, fmt.Errorf("both were refused:\n%s%s", &results[0].stderr, &results[1].stderr)
	}
	return refused, nil
}

func TestTwice_eachStepOfAPlanHappensOnce(t *testing.T) {
	const times = 20
	refused := 0
	for range times {
		n := twiceOnce(t)
		refused += n
		if t.Failed() {
			return
		}
	}
	t.Logf("%d times two at once: %d were refused by the one under way, %d came after it", times, refused, times-refused)
}

// twiceOnce applies one plan twice at once in a new account, and tells how many were refused.
func twiceOnce(t *testing.T) (refused int) {
	t.Helper()
	now := time.Now()
	cloud := fakeaws.New(now)
	account := cloud.AddAccount(fact.Account{ID: "111122223333"})
	wantWrites, wantKeys := map[string]int{}, map[string]bool{}
	for _, name := range []string{"ana", "bo", "ci", "healthy"} {
		k := fakeaws.Key{ID: "AKIAEXAMPLE" + name, Created: now.AddDate(0, 0, -200)}
		wantKeys[k.ID] = true
		if name == "healthy" {
			k.Created, k.LastUsed = now.AddDate(0, 0, -20), now.Add(-time.Hour)
		} else {
			wantWrites[k.ID] = 1
			wantKeys[k.ID] = false
		}
		if err := account.AddUser(fakeaws.User{Name: name, Created: now.AddDate(0, 0, -300), Keys: []fakeaws.Key{k}}); err != nil {
			t.Fatal(err)
		}
	}
	server, err := cloud.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	dir := t.TempDir()
	env := []string{
		"HOME=" + dir, "AWS_ENDPOINT_URL=" + server.URL, "AWS_ACCESS_KEY_ID=" + account.Credential(),
		"AWS_SECRET_ACCESS_KEY=any", "AWS_REGION=us-east-1",
	}
	run := func(args ...string) string {
		var out rival
		cmd, err := startRival(dir, env, &out, args...)
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("keyreeve %v: %v\n%s%s", args, err, &out.stdout, &out.stderr)
		}
		return out.stdout.String()
	}
	run("plan", "--rule", "key-unused-90", "--out", "plan.json")
	if refused, err = rivals(dir, env, "apply", "plan.json", "--yes"); err != nil {
		t.Error(err)
	}
	run("apply", "plan.json", "--yes") // once more: there is nothing left to do
	writes, keys := map[string]int{}, map[string]bool{}
	for _, w := range account.Writes() {
		writes[w.KeyID]++
	}
	for _, u := range account.Users() {
		for _, k := range u.Keys {
			keys[k.ID] = !k.Inactive
		}
	}
	if diff := cmp.Diff(wantWrites, writes); diff != "" {
		t.Errorf("writes by key (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantKeys, keys); diff != "" {
		t.Errorf("keys, active or not (-want +got):\n%s", diff)
	}
	run("runs", "verify")
	return refused
}
