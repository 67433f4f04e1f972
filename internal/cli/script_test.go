package cli_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/keyreeve/keyreeve/internal/cli"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/report"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"keyreeve": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			code := cli.Run(ctx, os.Args[1:], cli.Host())
			stop()
			os.Exit(code)
		},
	})
}

var update = flag.Bool("update", false, "write anew what cmp compares")

// storyTime is when the built-in company of the stories is looked at.
var storyTime = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)

// Each file under testdata/script is a story of the command line. Beside testscript's own commands it has
//
//	exit N keyreeve ARGS...   run, and expect that exit code
//	fake deny|throttle|heal [ACTION]   the built-in company refuses that action from now on
//	fake calls N              at most N calls were made since the last `fake calls`
//	schema FILE               the file is a keyreeve.audit/1 document
func TestScript_storiesOfTheCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			cloud := fakeaws.Demo(storyTime)
			server, err := cloud.Start()
			if err != nil {
				return err
			}
			env.Defer(server.Close)
			env.Values["cloud"] = cloud
			env.Setenv("AWS_ENDPOINT_URL", server.URL)
			env.Setenv("AWS_ACCESS_KEY_ID", cloud.Accounts()[0].Credential())
			env.Setenv("AWS_SECRET_ACCESS_KEY", "any")
			env.Setenv("AWS_REGION", "us-east-1")
			env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("NOW", storyTime.Format(time.RFC3339))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exit": exitCommand, "fake": fakeCommand, "schema": schemaCommand,
		},
	})
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

func fakeCommand(ts *testscript.TestScript, neg bool, args []string) {
	cloud := ts.Value("cloud").(*fakeaws.Cloud)
	action := ""
	if len(args) > 1 {
		action = args[1]
	}
	switch {
	case neg || len(args) == 0:
		ts.Fatalf("usage: fake deny|throttle|heal|calls ...")
	case args[0] == "deny":
		cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: action})
	case args[0] == "throttle":
		cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Action: action, Every: 3, Times: 3})
	case args[0] == "heal":
		cloud.Heal()
	case args[0] == "calls":
		most, err := strconv.Atoi(action)
		ts.Check(err)
		if n := len(cloud.Calls()); n > most {
			ts.Fatalf("%d calls were made, at most %d", n, most)
		}
		cloud.ResetCalls()
	default:
		ts.Fatalf("unknown: fake %s", strings.Join(args, " "))
	}
}

func schemaCommand(ts *testscript.TestScript, neg bool, args []string) {
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(report.AuditSchema()))
	ts.Check(err)
	c := jsonschema.NewCompiler()
	ts.Check(c.AddResource("audit.json", schema))
	compiled, err := c.Compile("audit.json")
	ts.Check(err)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	if err := compiled.Validate(doc); (err != nil) != neg {
		ts.Fatalf("%s: %v", args[0], err)
	}
}
