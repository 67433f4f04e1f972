package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

var update = flag.Bool("update", false, "write anew what cmp compares")

// storyTime is when the built-in company of the stories is looked at.
var storyTime = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)

// Each file under testdata/script is a story of the command line. Beside testscript's own commands it has
//
//	exit N keyreeve ARGS...   run, and expect that exit code
//	fake deny|throttle|heal [ACTION]   the built-in company refuses that action from now on
//	fake organize N           N more accounts, and an organisation of all of them; their roles ask for the external id 7f3a
//	fake suspend ACCOUNT      the account is suspended
//	fake lock|unlock ACCOUNT  the account has no role that lets anybody in, or has it again
//	fake skew TIME            AWS's clock is that far ahead of this machine's, as its answers say
//	fake calls N              at most N calls were made since the last `fake calls`
//	fake writes N             exactly N calls changed the account since the last `fake writes`
//	fake use|activate|deactivate|remove USER KEY   somebody does that
//	fake key USER KEY         somebody makes a key of that id
//	fake state USER KEY active|inactive|absent     the key is so
//	request ID                sets REQUEST to the request that was made last
//	lastrun KIND N            sets RUN to the Nth run of that kind, the newest being 1
//	replace FILE OLD NEW      replaces the first OLD in the file
//	clock +TIME               moves the clock of the company and of the program on, such as +8d
//	sink STATUS               what is posted to $SINK from now on is answered so; sink body FILE writes the last post
//	schema [plan|run|runs|journal|history|trend|notice] FILE   the file is such a document; without a kind: an audit
func TestScript_storiesOfTheCommandLine(t *testing.T) {
	p := scriptParams(func() string { return "" })
	p.Dir, p.UpdateScripts = "testdata/script", *update
	testscript.Run(t, p)
}

// The same stories, with their journal on a server.
func TestScript_storiesOfTheCommandLineOnPostgres(t *testing.T) {
	postgres.URL(t) // or it is skipped
	p := scriptParams(func() string { return postgres.URL(t) })
	for _, name := range []string{"guards", "history", "notices", "organization", "remediate", "request", "rotate", "stale"} {
		p.Files = append(p.Files, "testdata/script/"+name+".txtar")
	}
	testscript.Run(t, p)
}

// scriptParams are those of a story; db gives the URL of its journal, empty: where it is by itself.
func scriptParams(db func() string) testscript.Params {
	return testscript.Params{
		Setup: func(env *testscript.Env) error {
			cloud := fakeaws.Demo(storyTime)
			server, err := cloud.Start()
			if err != nil {
				return err
			}
			env.Defer(server.Close)
			env.Values["cloud"], env.Values["writes"] = cloud, new(int)
			posts := &sink{status: http.StatusOK}
			web := httptest.NewServer(posts)
			env.Defer(web.Close)
			env.Values["sink"] = posts
			env.Setenv("SINK", web.URL)
			env.Setenv("AWS_ENDPOINT_URL", server.URL)
			env.Setenv("AWS_ACCESS_KEY_ID", cloud.Accounts()[0].Credential())
			env.Setenv("AWS_SECRET_ACCESS_KEY", "any")
			env.Setenv("AWS_REGION", "us-east-1")
			env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("NOW", storyTime.Format(time.RFC3339))
			env.Setenv(clockFile, filepath.Join(env.WorkDir, ".clock"))
			env.Setenv(noWait, "1")
			env.Setenv(testDB, db())
			return setClock(env.Getenv(clockFile), storyTime)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exit": exitCommand, "fake": fakeCommand, "schema": schemaCommand, "clock": clockCommand,
			"lastrun": lastRunCommand, "replace": replaceCommand, "request": requestCommand, "sink": sinkCommand,
		},
	}
}

func exitCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit N COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// setClock makes it now for the programs that a story runs from here on.
func setClock(file string, now time.Time) error {
	return os.WriteFile(file, []byte(time.Until(now).String()), 0o600)
}

func clockCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || !strings.HasPrefix(args[0], "+") {
		ts.Fatalf("usage: clock +TIME")
	}
	by, err := rule.ParseDuration(args[0][1:])
	ts.Check(err)
	cloud := ts.Value("cloud").(*fakeaws.Cloud)
	cloud.SetNow(cloud.Now().Add(by))
	ts.Check(setClock(ts.Getenv(clockFile), cloud.Now()))
}

// sink is a place that notices are posted to.
type sink struct {
	mu     sync.Mutex
	status int
	body   []byte
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body, _ = io.ReadAll(r.Body)
	w.WriteHeader(s.status)
	_, _ = fmt.Fprintf(w, "at %s", r.URL.Path)
}

func sinkCommand(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value("sink").(*sink)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(args) == 2 && args[0] == "body" && !neg {
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), s.body, 0o600))
		return
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sink STATUS, or sink body FILE")
	}
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	s.status, s.body = status, nil
}

func requestCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: request ID")
	}
	ts.Check(ts.Exec("keyreeve", "requests", "-o", "json"))
	var list struct {
		Requests []struct{ ID string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &list))
	if len(list.Requests) == 0 {
		ts.Fatalf("there are no requests")
	}
	newest := list.Requests[0].ID // ids sort by time
	for _, r := range list.Requests {
		newest = max(newest, r.ID)
	}
	ts.Setenv("REQUEST", newest)
}

func lastRunCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lastrun KIND N")
	}
	nth, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(ts.Exec("keyreeve", "runs", "-o", "json", "--limit", "0"))
	var list struct {
		Runs []struct{ Run, Kind string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &list))
	for _, r := range list.Runs {
		if r.Kind == args[0] {
			if nth--; nth == 0 {
				ts.Setenv("RUN", r.Run)
				return
			}
		}
	}
	ts.Fatalf("no %s run number %s", args[0], args[1])
}

func replaceCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	text := ts.ReadFile(args[0])
	changed := strings.Replace(text, args[1], args[2], 1)
	if changed == text {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(changed), 0o600))
}

func fakeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: fake deny|throttle|heal|calls|writes|use|activate|deactivate|remove|key|state ...")
	}
	cloud := ts.Value("cloud").(*fakeaws.Cloud)
	if len(args) > 2 {
		fakeKey(ts, cloud.Accounts()[0], args[0], args[1], args[2], args[3:])
		return
	}
	action := ""
	if len(args) > 1 {
		action = args[1]
	}
	switch args[0] {
	case "deny":
		cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: action})
	case "throttle":
		cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Action: action, Every: 3, Times: 3})
	case "heal":
		cloud.Heal()
	case "organize":
		n, err := strconv.Atoi(action)
		ts.Check(err)
		ts.Check(organize(cloud, n))
	case "suspend":
		cloud.Account(action).SetState(fact.StateSuspended)
	case "lock":
		cloud.Account(action).SetRoles()
	case "unlock":
		cloud.Account(action).SetRoles(fakeaws.Role{Name: "keyreeve-audit", ExternalID: "7f3a"})
	case "skew":
		by, err := time.ParseDuration(action)
		ts.Check(err)
		cloud.Set(fakeaws.Switches{Skew: by})
	case "calls":
		most, err := strconv.Atoi(action)
		ts.Check(err)
		if n := len(cloud.Calls()); n > most {
			ts.Fatalf("%d calls were made, at most %d", n, most)
		}
		cloud.ResetCalls()
	case "writes":
		want, err := strconv.Atoi(action)
		ts.Check(err)
		writes := cloud.Accounts()[0].Writes()
		before, _ := ts.Value("writes").(*int)
		if n := len(writes) - *before; n != want {
			ts.Fatalf("%d writes, want %d: %+v", n, want, writes[*before:])
		}
		*before = len(writes)
	default:
		ts.Fatalf("unknown: fake %s", strings.Join(args, " "))
	}
}

// organize makes the company the management account of n more accounts, each with an old key and, in every third, none but young ones.
func organize(cloud *fakeaws.Cloud, n int) error {
	company := cloud.Accounts()[0]
	for i := 1; i <= n; i++ {
		a := cloud.AddAccount(fact.Account{
			ID: fmt.Sprintf("2222%08d", i), Name: fmt.Sprintf("team-%02d", i), OU: []string{"Root/Workloads/Prod", "Root/Workloads", "Root/Sandbox"}[i%3],
		})
		a.SetRoles(fakeaws.Role{Name: "keyreeve-audit", ExternalID: "7f3a"})
		made := cloud.Now().AddDate(0, 0, -200)
		if i%3 == 0 {
			made = cloud.Now().AddDate(0, 0, -10)
		}
		err := a.AddUser(fakeaws.User{Name: "deploy", Created: made.AddDate(-1, 0, 0), Keys: []fakeaws.Key{{Created: made, LastUsed: cloud.Now().Add(-time.Hour)}}})
		if err != nil {
			return err
		}
	}
	return cloud.Organize(company.ID())
}

// fakeKey is what somebody else does to a key, or how it must stand.
func fakeKey(ts *testscript.TestScript, a *fakeaws.Account, verb, user, key string, more []string) {
	switch verb {
	case "use":
		ts.Check(a.Use(user, key, "s3", "eu-west-1"))
	case "activate", "deactivate":
		ts.Check(a.SetActive(user, key, verb == "activate"))
	case "remove":
		ts.Check(a.DeleteKey(user, key))
	case "key":
		_, err := a.AddKey(user, fakeaws.Key{ID: key})
		ts.Check(err)
	case "state":
		if got := keyState(a, user, key); len(more) != 1 || got != more[0] {
			ts.Fatalf("key %s of %s is %s, want %v", key, user, got, more)
		}
	default:
		ts.Fatalf("unknown: fake %s", verb)
	}
}

func keyState(a *fakeaws.Account, user, key string) string {
	for _, u := range a.Users() {
		for _, k := range u.Keys {
			if u.Name == user && k.ID == key {
				if k.Inactive {
					return "inactive"
				}
				return "active"
			}
		}
	}
	return "absent"
}

func schemaCommand(ts *testscript.TestScript, neg bool, args []string) {
	text, root := report.AuditSchema(), ""
	if len(args) > 1 {
		switch args[0] {
		case "plan":
			text = plan.PlanSchema()
		case "run":
			text = report.RunSchema()
		case "runs":
			text, root = report.RunSchema(), "#/$defs/runs"
		case "history":
			text = report.HistorySchema()
		case "trend":
			text, root = report.HistorySchema(), "#/$defs/trend"
		case "journal":
			text = journal.ExportSchema()
		case "notice":
			text = notice.NoticeSchema()
		default:
			ts.Fatalf("unknown: schema %s", args[0])
		}
		args = args[1:]
	}
	if err := conforms(text, root, ts.ReadFile(args[0])); (err != nil) != neg {
		ts.Fatalf("%s: %v", args[0], err)
	}
}

// conforms tells where the document departs from the schema, or from the part of it at root.
func conforms(schema []byte, root, document string) error {
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", text); err != nil {
		return err
	}
	compiled, err := c.Compile("schema.json" + root)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	if err != nil {
		return err
	}
	return compiled.Validate(doc)
}
