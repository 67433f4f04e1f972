package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sdk"
)

// motoAdmin is a key that moto does not know, and so takes for the administrator of its only account.
const motoAdmin = "AKIAFAKE123456789012"

// Each file under testdata/moto is a story of remediation on moto, with the AWS CLI as the witness. moto differs from
// AWS in that each credential report says it was made in 2015, so stories audit live; in that an inactive key can still
// call, which stands for a use that came to light late; in that it never lags; and in that it takes who it does not
// know for an administrator, and of a policy looks at the actions only.
//
// Beside testscript's own commands, and exit of the other stories, there are
//
//	clock 200d ago | today | +8d       move the clock of moto and of the program
//	user NAME [console] [TAG=VALUE]    make a user; console: with a password
//	key USER VAR                       make a key: VAR is its id from now on, VAR_SECRET its secret
//	drop USER [VAR]                    delete a key, or a user without keys
//	use VAR                            call AWS with that key
//	as VAR|admin                       who the commands below and the program are
//	grant USER FILE                    make the policy in FILE the user's only one
//	enforce on|off                     moto checks policies; off: everybody may do everything
//	aws ARGS...                        the AWS CLI
//	account NAME VAR                   make an account of the organisation: VAR is its id
//	denied ARGS...                     the AWS CLI, which AWS denies that
//	same FILE FILE [SID...]            two policies have the same statements, but for these of the second
//	commands FILE                      run the shell commands in the head of a template, with the AWS CLI
//	sees USER [VAR=Active|Inactive]... the AWS CLI lists these keys of the user, and no others
//	keys USER [VAR=Active|Inactive]... so does the SDK, which is faster
//	run VAR                            VAR is the run that the last command named at the end of its output
//	tells FILE VAR ACTION STATUS [KIND=RESULT]...   the step of that run about that key, and its entries in order
//	wire VAR FILE                      that key made the calls that the policy in FILE allows, all of them and no others
//	change FILE OLD NEW                put NEW for the first OLD in the file
//	twice COMMAND ARGS...              two of it at once, at least one of which does well
func TestMoto_storiesOfRemediation(t *testing.T) {
	server := moto.Start(t)
	cli := awsCLI(t)
	files, err := filepath.Glob("testdata/moto/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files { // one after the other: they share moto and its clock
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Files: []string{file}, UpdateScripts: *update,
				Setup: func(env *testscript.Env) error { return setUpMoto(env, server, cli) },
				Cmds:  motoCommands(),
			})
		})
	}
}

func motoCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"exit":     exitCommand,
		"clock":    told(1, (*motoStory).clock),
		"user":     told(1, (*motoStory).user),
		"key":      told(2, (*motoStory).key),
		"drop":     told(1, (*motoStory).drop),
		"use":      told(1, (*motoStory).use),
		"as":       told(1, (*motoStory).as),
		"grant":    told(2, (*motoStory).grant),
		"enforce":  told(1, (*motoStory).enforce),
		"aws":      told(1, (*motoStory).aws),
		"account":  told(2, (*motoStory).account),
		"denied":   told(1, (*motoStory).denied),
		"same":     told(2, (*motoStory).same),
		"commands": told(1, (*motoStory).commands),
		"sees":     told(1, (*motoStory).sees),
		"keys":     told(1, (*motoStory).keys),
		"run":      told(1, (*motoStory).run),
		"tells":    told(4, (*motoStory).tells),
		"wire":     told(2, (*motoStory).wire),
		"change":   told(3, (*motoStory).change),
		"twice":    told(1, (*motoStory).twice),
	}
}

// awsCLI is the path of the AWS CLI. Without it the test is skipped, or fails when KEYREEVE_REQUIRE contains "awscli".
func awsCLI(t *testing.T) string {
	t.Helper()
	if python := os.Getenv("KEYREEVE_PYTHON"); python != "" { // make setup puts it there
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(python), "aws")); err == nil {
			return path
		}
	}
	path, err := exec.LookPath("aws")
	if err == nil {
		return path
	}
	const advice = "install the AWS CLI: python3 -m pip install awscli"
	if strings.Contains(os.Getenv("KEYREEVE_REQUIRE"), "awscli") {
		t.Fatalf("the AWS CLI is required and missing: %v; %s", err, advice)
	}
	t.Skipf("the AWS CLI is missing: %v; %s", err, advice)
	return ""
}

// motoStory is one story under way.
type motoStory struct {
	moto    *moto.Server
	url     string // of the recorder before moto
	cli     string
	file    string // that holds how far the program's clock is ahead
	ahead   time.Duration
	secrets map[string]string // by key id
	env     []string
	dir     string

	mu    sync.Mutex
	calls map[string][]string // actions by the key id that signed
}

// setUpMoto begins a story in an empty account, today, as the administrator.
func setUpMoto(env *testscript.Env, server *moto.Server, cli string) error {
	s := &motoStory{
		moto: server, cli: cli, file: filepath.Join(env.WorkDir, "clock"),
		secrets: map[string]string{motoAdmin: "any"}, calls: map[string][]string{},
	}
	server.Enforce(false)
	server.Reset()
	recorder, err := s.record(server.URL())
	if err != nil {
		return err
	}
	env.Defer(recorder.Close)
	s.url = recorder.URL
	env.Values["story"] = s
	for name, value := range map[string]string{
		"HOME": env.WorkDir, "AWS_ENDPOINT_URL": s.url, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": motoAdmin, "AWS_SECRET_ACCESS_KEY": "any",
		"AWS_PAGER": "", clockFile: s.file, "SOON": time.Now().AddDate(0, 3, 0).Format(time.DateOnly),
	} {
		env.Setenv(name, value)
	}
	s.env, s.dir = env.Vars, env.WorkDir
	return s.setClock(0)
}

// told makes a method of the story a command of testscript that takes at least n arguments.
func told(n int, do func(*motoStory, *testscript.TestScript, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < n {
			ts.Fatalf("takes %d arguments or more, and no !", n)
		}
		ts.Check(do(ts.Value("story").(*motoStory), ts, args))
	}
}

// signer finds the key id and the service in the header that signs a call.
var signer = regexp.MustCompile(`Credential=([^/]+)/[^/]*/[^/]*/([^/]+)/`)

// record is a proxy before moto that writes down who made which call.
func (s *motoStory) record(to string) (*httptest.Server, error) {
	target, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body)) // what is no form has no action
		if by := signer.FindStringSubmatch(r.Header.Get("Authorization")); by != nil {
			s.mu.Lock()
			s.calls[by[1]] = append(s.calls[by[1]], by[2]+":"+form.Get("Action"))
			s.mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	})), nil
}

func (s *motoStory) clients(keyID string) (*iam.Client, *sts.Client) {
	cfg := sdk.Config(s.url, "us-east-1", aws.Credentials{AccessKeyID: keyID, SecretAccessKey: s.secrets[keyID]})
	return iam.NewFromConfig(cfg), sts.NewFromConfig(cfg)
}

func (s *motoStory) admin() *iam.Client {
	api, _ := s.clients(motoAdmin)
	return api
}

func (s *motoStory) setClock(ahead time.Duration) error {
	s.ahead = ahead
	s.moto.RunFrom(time.Now().Add(ahead))
	return os.WriteFile(s.file, []byte(ahead.String()), 0o600)
}

func (s *motoStory) clock(_ *testscript.TestScript, args []string) error {
	if args[0] == "today" {
		return s.setClock(0)
	}
	days, err := time.ParseDuration(strings.TrimSuffix(args[0], "d") + "h") // a day is 24 hours
	switch days *= 24; {
	case err != nil:
		return err
	case len(args) == 2 && args[1] == "ago":
		return s.setClock(-days)
	default:
		return s.setClock(s.ahead + days)
	}
}

func (s *motoStory) user(ts *testscript.TestScript, args []string) error {
	in := iam.CreateUserInput{UserName: &args[0]}
	console := false
	for _, arg := range args[1:] {
		name, value, isTag := strings.Cut(arg, "=")
		if isTag {
			in.Tags = append(in.Tags, types.Tag{Key: &name, Value: &value})
		}
		console = console || arg == "console"
	}
	ctx, api := context.Background(), s.admin()
	if _, err := api.CreateUser(ctx, &in); err != nil || !console {
		return err
	}
	_, err := api.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: &args[0], Password: aws.String("Example-1")})
	return err
}

func (s *motoStory) key(ts *testscript.TestScript, args []string) error {
	out, err := s.admin().CreateAccessKey(context.Background(), &iam.CreateAccessKeyInput{UserName: &args[0]})
	if err != nil {
		return err
	}
	ts.Setenv(args[1], *out.AccessKey.AccessKeyId)
	ts.Setenv(args[1]+"_SECRET", *out.AccessKey.SecretAccessKey)
	s.secrets[*out.AccessKey.AccessKeyId] = *out.AccessKey.SecretAccessKey
	return nil
}

func (s *motoStory) drop(ts *testscript.TestScript, args []string) error {
	if len(args) == 1 {
		_, err := s.admin().DeleteUser(context.Background(), &iam.DeleteUserInput{UserName: &args[0]})
		return err
	}
	id := ts.Getenv(args[1])
	_, err := s.admin().DeleteAccessKey(context.Background(), &iam.DeleteAccessKeyInput{UserName: &args[0], AccessKeyId: &id})
	return err
}

func (s *motoStory) use(ts *testscript.TestScript, args []string) error {
	_, api := s.clients(ts.Getenv(args[0]))
	_, err := api.GetCallerIdentity(context.Background(), &sts.GetCallerIdentityInput{})
	return err
}

func (s *motoStory) as(ts *testscript.TestScript, args []string) error {
	id := motoAdmin
	if args[0] != "admin" {
		id = ts.Getenv(args[0])
	}
	ts.Setenv("AWS_ACCESS_KEY_ID", id)
	ts.Setenv("AWS_SECRET_ACCESS_KEY", s.secrets[id])
	return nil
}

func (s *motoStory) grant(ts *testscript.TestScript, args []string) error {
	_, err := s.admin().PutUserPolicy(context.Background(), &iam.PutUserPolicyInput{
		UserName: &args[0], PolicyName: aws.String("keyreeve"), PolicyDocument: aws.String(ts.ReadFile(args[1])),
	})
	return err
}

func (s *motoStory) enforce(_ *testscript.TestScript, args []string) error {
	s.moto.Enforce(args[0] == "on")
	return nil
}

func (s *motoStory) aws(ts *testscript.TestScript, args []string) error {
	return ts.Exec(s.cli, args...)
}

func (s *motoStory) account(ts *testscript.TestScript, args []string) error {
	err := ts.Exec(s.cli, "organizations", "create-account", "--account-name", args[0], "--email", args[0]+"@example.com",
		"--query", "CreateAccountStatus.AccountId", "--output", "text")
	ts.Setenv(args[1], strings.TrimSpace(ts.ReadFile("stdout")))
	return err
}

func (s *motoStory) denied(ts *testscript.TestScript, args []string) error {
	if err := ts.Exec(s.cli, args...); err == nil {
		return errors.New("it is allowed")
	}
	if got := ts.ReadFile("stderr"); !strings.Contains(got, "AccessDenied") {
		return fmt.Errorf("it is not denied, it fails: %s", got)
	}
	return nil
}

func (s *motoStory) same(ts *testscript.TestScript, args []string) error {
	var policies [2]struct {
		Version   string
		Statement []map[string]any
	}
	for i, file := range args[:2] {
		if err := json.Unmarshal([]byte(ts.ReadFile(file)), &policies[i]); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	more := len(policies[1].Statement)
	policies[1].Statement = slices.DeleteFunc(policies[1].Statement, func(st map[string]any) bool { return slices.Contains(args[2:], fmt.Sprint(st["Sid"])) })
	if more -= len(policies[1].Statement); more != len(args[2:]) {
		return fmt.Errorf("%s has %d of the statements %q", args[1], more, args[2:])
	}
	return differ(args[1], policies[0], policies[1])
}

// commands leaves out the one that moto does not know, activate-organizations-access.
func (s *motoStory) commands(ts *testscript.TestScript, args []string) error {
	var script strings.Builder
	script.WriteString("set -e\naws() { \"$AWSCLI\" \"$@\"; }\n")
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if command, ok := strings.CutPrefix(line, "#   "); ok && !strings.Contains(command, " activate-organizations-access ") {
			script.WriteString(command)
		}
	}
	ts.Setenv("AWSCLI", s.cli)
	return ts.Exec("sh", "-c", script.String())
}

func (s *motoStory) sees(ts *testscript.TestScript, args []string) error {
	const each = "AccessKeyMetadata[].[AccessKeyId,Status]"
	err := ts.Exec(s.cli, "iam", "list-access-keys", "--user-name", args[0], "--query", each, "--output", "text")
	if err != nil {
		return err
	}
	got := map[string]string{}
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if fields := strings.Fields(line); len(fields) == 2 {
			got[fields[0]] = fields[1]
		}
	}
	return hasKeys(ts, args, got)
}

func (s *motoStory) keys(ts *testscript.TestScript, args []string) error {
	out, err := s.admin().ListAccessKeys(context.Background(), &iam.ListAccessKeysInput{UserName: &args[0]})
	if err != nil {
		return err
	}
	got := map[string]string{}
	for _, k := range out.AccessKeyMetadata {
		got[*k.AccessKeyId] = string(k.Status)
	}
	return hasKeys(ts, args, got)
}

// hasKeys compares a user's keys and their statuses with those that a command named.
func hasKeys(ts *testscript.TestScript, args []string, got map[string]string) error {
	want := map[string]string{}
	for _, arg := range args[1:] {
		name, status, _ := strings.Cut(arg, "=")
		want[ts.Getenv(name)] = status
	}
	return differ("keys of "+args[0], want, got)
}

func (s *motoStory) run(ts *testscript.TestScript, args []string) error {
	lines := strings.Split(strings.TrimSuffix(ts.ReadFile("stdout"), "\n"), "\n")
	id, ok := strings.CutPrefix(lines[len(lines)-1], "run ")
	if !ok {
		return fmt.Errorf("the last line names no run: %q", lines[len(lines)-1])
	}
	ts.Setenv(args[0], id)
	return nil
}

func (s *motoStory) tells(ts *testscript.TestScript, args []string) error {
	var run struct {
		Steps []struct {
			Action, Status string
			KeyID          string `json:"key_id"`
			Entries        []struct{ Kind, Result string }
		}
	}
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &run); err != nil {
		return err
	}
	for _, step := range run.Steps {
		if step.KeyID != ts.Getenv(args[1]) {
			continue
		}
		got := []string{step.Action, step.Status}
		for _, e := range step.Entries {
			got = append(got, e.Kind+"="+e.Result)
		}
		return differ("the step about "+args[1], args[2:], got)
	}
	return fmt.Errorf("no step about %s in %+v", args[1], run.Steps)
}

func (s *motoStory) wire(ts *testscript.TestScript, args []string) error {
	var policy struct{ Statement []struct{ Action []string } }
	if err := json.Unmarshal([]byte(ts.ReadFile(args[1])), &policy); err != nil {
		return err
	}
	var want []string
	for _, statement := range policy.Statement {
		want = append(want, statement.Action...)
	}
	s.mu.Lock()
	got := slices.Clone(s.calls[ts.Getenv(args[0])])
	s.mu.Unlock()
	got = slices.DeleteFunc(got, func(action string) bool { return action == "sts:GetCallerIdentity" }) // takes no permission
	slices.Sort(want)
	slices.Sort(got)
	return differ("actions", want, slices.Compact(got))
}

func (s *motoStory) change(ts *testscript.TestScript, args []string) error {
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		return fmt.Errorf("%s has no %q", args[0], args[1])
	}
	return os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o600)
}

func (s *motoStory) twice(_ *testscript.TestScript, args []string) error {
	_, err := rivals(s.dir, s.env, args...)
	return err
}

func differ(what string, want, got any) error {
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("%s (-want +got):\n%s", what, diff)
	}
	return nil
}
