package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// The tags of one account cannot be read: whether the rule is meant for it is unknown, and the others are judged as ever.
func TestOrganization_tagsThatCannotBeReadAreAGapOfThatAccount(t *testing.T) {
	cloud := fakeaws.Demo(storyTime)
	if err := organize(cloud, 4); err != nil {
		t.Fatal(err)
	}
	cmd := program(t, cloud, "audit", "--org", "--external-id", "7f3a", "--as-of", storyTime.Format("2006-01-02T15:04:05Z07:00"), "--concurrency", "1",
		"--accounts", "222200000001,222200000002,222200000004", "--ruleset", "tagged.yaml", "-o", "json")
	cmd.Env = append(cmd.Env, "AWS_MAX_ATTEMPTS=1")
	rules := "rules:\n  - id: untagged-old\n    kind: key-age\n    severity: high\n    max_age: 90d\n  - id: tagged-old\n    kind: key-age\n    severity: high\n    max_age: 90d\n    scope: {account_tags: {stage: prod}}\n"
	if err := os.WriteFile(filepath.Join(cmd.Dir, "tagged.yaml"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]fakeaws.Fault{
		"denied": {Kind: fakeaws.Deny, Action: "organizations:ListTagsForResource", Times: 1},
		"broken": {Kind: fakeaws.ErrorBefore, Action: "organizations:ListTagsForResource", Times: 1},
	} {
		cloud.Heal()
		cloud.Inject(fault)
		run := again(cmd, cmd.Args[1:]...)
		var stderr bytes.Buffer
		run.Stderr = &stderr
		out, _ := run.Output()
		if code := run.ProcessState.ExitCode(); code != 4 {
			t.Errorf("%s: exit code %d: %s", name, code, &stderr)
		}
		if hinted := strings.Contains(stderr.String(), "hint: keyreeve iam-policy --for org"); hinted != (name == "denied") {
			t.Errorf("%s: %s", name, &stderr)
		}
		var found struct {
			Accounts []struct {
				ID   string
				Gaps []struct{ Reading, Why string }
			}
			Summary []struct {
				Rule          string
				Fail, Unknown int
			}
		}
		if err := json.Unmarshal(out, &found); err != nil {
			t.Fatalf("%s: %v: %s", name, err, &stderr)
		}
		for i, a := range found.Accounts {
			if first := i == 0; (len(a.Gaps) == 1) != first || first && (a.Gaps[0].Reading != "ListTagsForResource" || a.Gaps[0].Why == "") {
				t.Errorf("%s: gaps of account %s: %+v", name, a.ID, a.Gaps)
			}
		}
		for _, r := range found.Summary {
			tagged := r.Rule == "tagged-old"
			if tagged && (r.Fail != 0 || r.Unknown == 0) || !tagged && (r.Fail != 3 || r.Unknown != 0) {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
}

// AWS makes the report after the run began, and the audit is as of that beginning: nothing to warn of.
func TestOrganization_aReportMadeMeanwhileIsNoWarning(t *testing.T) {
	cloud := fakeaws.Demo(storyTime)
	if err := organize(cloud, 1); err != nil {
		t.Fatal(err)
	}
	cmd := program(t, cloud, "audit", "--org", "--external-id", "7f3a", "-o", "summary")
	clock := filepath.Join(cmd.Dir, "clock")
	if err := setClock(clock, storyTime.Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, clockFile+"="+clock)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 3 || strings.Contains(string(out), "the instant judged at") {
		t.Errorf("exit code %d: %s", code, out)
	}
}
