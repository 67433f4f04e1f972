package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/fakeaws/truth"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// An organisation of 30 accounts, made by the API of AWS on an emulator written by others, with two years of keys in it. The
// program, in a process of its own, says of each rule and each key what a recomputation from what the test did says: none is
// missing, none too many. One account has no role: it is a gap with a hint and nothing more, and the exit code is 4.
func TestMoto_anOrganisationIsFoundAsItWasMade(t *testing.T) {
	server := moto.Start(t)
	o := foundOrganisation(t, server)
	server.SetNow(storyTime)
	for _, evidence := range []string{"report", "live"} {
		o.gate.reset()
		got, stderr := o.audit(t, evidence)
		o.verdicts(t, evidence, got)
		o.accounts(t, evidence, got)
		o.units(t, evidence, got)
		o.sessions(t, evidence)
		for _, want := range []string{
			"not read: AssumeRole of account " + o.roleless, "hint: keyreeve org setup prints what makes the role in each account",
			"the audit is incomplete",
		} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: people are not told %q: %s", evidence, want, stderr)
			}
		}
		if n := strings.Count(stderr, "not read:"); n != 1 {
			t.Errorf("%s: %d gaps are told of: %s", evidence, n, stderr)
		}
	}
}

// printed is as much of the program's JSON as the story looks at.
type printed struct {
	Complete bool
	Accounts []struct {
		ID, Name, OU               string
		Users, Keys, Fail, Unknown int
		ActiveKeys                 int `json:"active_keys"`
		Gaps                       []struct{ Reading, Why string }
	}
	Verdicts []struct {
		Rule, Status, Account, User string
		Key                         *struct {
			ID        string
			CreatedAt time.Time `json:"created_at"`
		}
	}
	Units []struct {
		Path                        string
		Accounts, Users, Keys, Fail int
		Incomplete                  int `json:"incomplete_accounts"`
	} `json:"organizational_units"`
}

// audit runs the program over the organisation, by every rule of the catalogue.
func (o *organisation) audit(t *testing.T, evidence string) (*printed, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, e := range rule.Catalogue() {
		rules = append(rules, e.ID)
	}
	dir := t.TempDir()
	clock := filepath.Join(dir, "clock")
	if err := setClock(clock, storyTime); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := &exec.Cmd{
		Path: self, Dir: dir, Stdout: &stdout, Stderr: &stderr,
		Args: []string{"keyreeve", "audit", "--org", "--org-role", adminRole, "--evidence", evidence, "--rule", strings.Join(rules, ","), "--all",
			"--as-of", storyTime.Format(time.RFC3339), "-o", "json"},
		Env: []string{
			"HOME=" + dir, clockFile + "=" + clock, "AWS_ENDPOINT_URL=" + o.gate.URL, "AWS_ACCESS_KEY_ID=" + motoAdmin,
			"AWS_SECRET_ACCESS_KEY=any", "AWS_REGION=us-east-1",
		},
	}
	_ = cmd.Run() // judged by its exit code
	if code := cmd.ProcessState.ExitCode(); code != 4 {
		t.Fatalf("%s: exit code %d, want 4: %s", evidence, code, &stderr)
	}
	if err := conforms(report.AuditSchema(), "", stdout.String()); err != nil {
		t.Errorf("%s: %v", evidence, err)
	}
	out := &printed{}
	if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
		t.Fatal(err)
	}
	return out, stderr.String()
}

// verdicts compares every verdict with the recomputation, and the id of every key that fails with the one that was made.
func (o *organisation) verdicts(t *testing.T, evidence string, got *printed) {
	t.Helper()
	found, ids := map[string]map[string]string{}, map[string]string{}
	for _, v := range got.Verdicts {
		if found[v.Account] == nil {
			found[v.Account] = map[string]string{}
		}
		name := truth.Name(v.Rule, v.User, time.Time{})
		if v.Key != nil {
			name = truth.Name(v.Rule, v.User, v.Key.CreatedAt)
			if v.Status == "fail" {
				ids[v.Account+" "+v.User+" "+v.Key.CreatedAt.Format(time.RFC3339)] = v.Key.ID
			}
		}
		if before, twice := found[v.Account][name]; twice {
			t.Errorf("%s: account %s: %s is %s and %s", evidence, v.Account, name, before, v.Status)
		}
		found[v.Account][name] = v.Status
	}
	total, failing := 0, 0
	for id, users := range o.users {
		want := truth.Verdicts(users, storyTime)
		if id == o.roleless {
			for name, status := range found[id] {
				if status != "unknown" {
					t.Errorf("%s: account %s lets nobody in, and %s is %s", evidence, id, name, status)
				}
			}
			if len(found[id]) == 0 {
				t.Errorf("%s: account %s lets nobody in, and nothing of it is unknown", evidence, id)
			}
			continue
		}
		if diff := cmp.Diff(want, found[id]); diff != "" {
			t.Errorf("%s: account %s: -recomputed +found\n%s", evidence, id, diff)
		}
		total += len(want)
		for _, status := range want {
			if status == "fail" {
				failing++
			}
		}
	}
	if len(found) != len(o.users) {
		t.Errorf("%s: verdicts of %d accounts, want %d", evidence, len(found), len(o.users))
	}
	if total < 3000 || failing < 500 {
		t.Errorf("only %d verdicts, %d failing: the story has lost its subjects", total, failing)
	}
	if len(ids) < 100 {
		t.Errorf("%s: only %d keys fail by their id", evidence, len(ids))
	}
	for of, id := range ids {
		if want := o.keyID(of); id != want {
			t.Errorf("%s: key %s bears the id %q, want %q", evidence, of, id, want)
		}
	}
	t.Logf("%s: %d verdicts compared, %d of them failing", evidence, total, failing)
}

// accounts compares what is said of each account beside its verdicts.
func (o *organisation) accounts(t *testing.T, evidence string, got *printed) {
	t.Helper()
	if got.Complete {
		t.Errorf("%s: an audit that could not read account %s is called complete", evidence, o.roleless)
	}
	var ids []string
	for _, a := range got.Accounts {
		ids = append(ids, a.ID)
		if a.OU != o.place[a.ID] || a.Name != o.name[a.ID] {
			t.Errorf("%s: account %s is %q at %q, want %q at %q", evidence, a.ID, a.Name, a.OU, o.name[a.ID], o.place[a.ID])
		}
		if a.ID == o.roleless {
			if len(a.Gaps) != 1 || a.Gaps[0].Reading != "AssumeRole" || !strings.Contains(a.Gaps[0].Why, a.ID+":role/"+adminRole) {
				t.Errorf("%s: gaps of the account without the role: %+v", evidence, a.Gaps)
			}
			continue
		}
		keys, active := o.countKeys(a.ID)
		if len(a.Gaps) > 0 || a.Unknown > 0 || a.Users != len(o.users[a.ID]) || a.Keys != keys || a.ActiveKeys != active {
			t.Errorf("%s: account %+v; it has %d users, %d keys, %d of them active", evidence, a, len(o.users[a.ID]), keys, active)
		}
	}
	if want := o.ids(); !slices.Equal(ids, want) {
		t.Errorf("%s: accounts %v, want %v", evidence, ids, want)
	}
}

// units compares the sums of the organisational units, those below included.
func (o *organisation) units(t *testing.T, evidence string, got *printed) {
	t.Helper()
	sums := map[string][5]int{} // accounts, incomplete, users, keys, failing
	for id, at := range o.place {
		keys, _ := o.countKeys(id)
		add := [5]int{1, 0, len(o.users[id]), keys, 0}
		for _, status := range truth.Verdicts(o.users[id], storyTime) {
			if status == "fail" {
				add[4]++
			}
		}
		if id == o.roleless {
			add = [5]int{1, 1}
		}
		for path := at; path != "."; path = filepath.ToSlash(filepath.Dir(path)) {
			sum := sums[path]
			for i := range add {
				sum[i] += add[i]
			}
			sums[path] = sum
		}
	}
	found := map[string][5]int{}
	for _, u := range got.Units {
		found[u.Path] = [5]int{u.Accounts, u.Incomplete, u.Users, u.Keys, u.Fail}
	}
	if diff := cmp.Diff(sums, found); diff != "" {
		t.Errorf("%s: units: -recomputed +found\n%s", evidence, diff)
	}
}

// sessions looks at how the accounts were entered: each by its role, once; the management account by its own credentials.
func (o *organisation) sessions(t *testing.T, evidence string) {
	t.Helper()
	want := map[string]int{}
	for _, id := range o.ids() {
		if id != management {
			want[fmt.Sprintf("arn:aws:iam::%s:role/%s as keyreeve", id, adminRole)] = 1
		}
	}
	if diff := cmp.Diff(want, o.gate.entered()); diff != "" {
		t.Errorf("%s: roles assumed: -want +seen\n%s", evidence, diff)
	}
}
