package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/report"
)

// Each file under testdata/moto/rotate is a story of a rotation on moto, told as those of remediation are, with
//
//	hours N [by M] [until STATE]    hours pass, and after each, or M, `keyreeve rotate advance` runs once; until: it must come to STATE
//	live N [by M] [until STATE]     so, and the consumer works in every single hour; it must not fail
//	keys USER [VAR=Active|Inactive]...   as in the other stories, also where moto checks who calls
//	lives with KEY                  the consumer worked with that key in the last hour
//	fails                           the consumer cannot work any more
//	rotation VAR                    VAR is the rotation that the last command named
//	shows ID STATE [TEXT]           rotate show -o json says that, and TEXT stands in its reason
//	conforms rotation|rotations FILE   the file is such a document
//	other USER VAR KNOWN            the user has one key beside KNOWN: VAR is its id
//	store secret|parameter NAME KEY the pair of that key stands there
//	holds secret|parameter|sealed NAME KEY   that place holds the pair of the key, whole: a call with it works, and is a use
//	no-secrets                      no file but the targets holds a secret, nor anything that the program printed
//	serve begin [until STATE]       `keyreeve serve --only rotations` begins, and brings a rotation to STATE
//	serve stop | kill               it ends by an interrupt with exit 0, or is killed
//
// The consumer is a process of its own that reads its pair from a secret, and calls STS and S3 with it.
func TestMoto_storiesOfRotation(t *testing.T) {
	server := moto.Start(t)
	cli := awsCLI(t)
	files, err := filepath.Glob("testdata/moto/rotate/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	commands := motoCommands()
	for name, do := range rotationCommands() {
		commands[name] = do
	}
	for _, file := range files { // one after the other: they share moto and its clock
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Files: []string{file}, UpdateScripts: *update,
				Setup: func(env *testscript.Env) error { return setUpRotation(env, server, cli) },
				Cmds:  commands,
			})
		})
	}
}

func rotationCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"hours":      rotates(1, (*rotationStory).hours),
		"live":       rotates(1, (*rotationStory).live),
		"keys":       rotates(1, (*rotationStory).keys),
		"lives":      rotates(2, (*rotationStory).lives),
		"fails":      rotates(0, (*rotationStory).fails),
		"rotation":   rotates(1, (*rotationStory).rotation),
		"shows":      rotates(2, (*rotationStory).shows),
		"conforms":   rotates(2, (*rotationStory).conforms),
		"other":      rotates(3, (*rotationStory).other),
		"store":      rotates(3, (*rotationStory).store),
		"holds":      rotates(3, (*rotationStory).holds),
		"no-secrets": rotates(0, (*rotationStory).noSecrets),
		"serve":      rotates(1, (*rotationStory).serve),
	}
}

// rotationStory is one story under way.
type rotationStory struct {
	*motoStory
	identity *age.X25519Identity // of the person to whom files are sealed

	consumer *companion
	lastKey  string    // that the consumer worked with
	uses     time.Time // since when it works with that
	said     bytes.Buffer
	server   *companion
}

func setUpRotation(env *testscript.Env, server *moto.Server, cli string) error {
	if err := setUpMoto(env, server, cli); err != nil {
		return err
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	s := &rotationStory{motoStory: env.Values["story"].(*motoStory), identity: identity}
	env.Setenv("RECIPIENT", identity.Recipient().String())
	env.Setenv("AWS_MAX_ATTEMPTS", "1")
	s.env = env.Vars
	env.Values["rotation"] = s
	env.Defer(func() {
		for _, c := range []*companion{s.consumer, s.server} {
			if c != nil {
				c.kill()
			}
		}
	})
	return nil
}

// rotates makes a method of the story a command of testscript that takes at least n arguments.
func rotates(n int, do func(*rotationStory, *testscript.TestScript, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < n {
			ts.Fatalf("takes %d arguments or more, and no !", n)
		}
		ts.Check(do(ts.Value("rotation").(*rotationStory), ts, args))
	}
}

// environment is that of the story's programs, by whose credentials they run now.
func (s *rotationStory) environment(ts *testscript.TestScript) []string {
	env := slices.Clone(s.env)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

// keyreeve runs the program, and gives its exit code and what it told people.
func (s *rotationStory) keyreeve(ts *testscript.TestScript, args ...string) (code int, stdout, stderr string, err error) {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Args[0] = "keyreeve" // by which the test binary knows what to be
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.environment(ts), &out, &errs
	err = cmd.Run()
	s.said.Write(out.Bytes())
	s.said.Write(errs.Bytes())
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), out.String(), errs.String(), nil
	}
	return 0, out.String(), errs.String(), err
}

func (s *rotationStory) hours(ts *testscript.TestScript, args []string) error {
	return s.pass(ts, args, nil)
}

func (s *rotationStory) live(ts *testscript.TestScript, args []string) error {
	return s.pass(ts, args, s.work)
}

// stands finds where a rotation stands in what advance says.
var stands = regexp.MustCompile(`rotation \S+ of user "[^"]+" is ([a-z-]+)`)

// pass lets hours go by, with advance after each, or after M with "by M", until a rotation is in a state with "until STATE".
func (s *rotationStory) pass(ts *testscript.TestScript, args []string, each func(*testscript.TestScript) error) error {
	hours, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	by, until, state := 1, "", ""
	for i := 1; i+1 < len(args); i += 2 {
		switch args[i] {
		case "by":
			if by, err = strconv.Atoi(args[i+1]); err != nil {
				return err
			}
		case "until":
			until = args[i+1]
		default:
			return fmt.Errorf("hours pass by and until, not %s", args[i])
		}
	}
	for hour := by; hour <= hours; hour += by {
		if err := s.hoursOf(ts, by, each); err != nil {
			return fmt.Errorf("before hour %d, while it is %s: %w", hour, state, err)
		}
		code, _, told, err := s.keyreeve(ts, "rotate", "advance")
		if err != nil || code != 0 && code != 6 {
			return fmt.Errorf("hour %d: exit code %d, %w\n%s", hour, code, err, told)
		}
		if m := stands.FindStringSubmatch(told); m != nil {
			if m[1] != state {
				ts.Logf("hour %d: %s", hour, strings.TrimSpace(told))
			}
			if state = m[1]; state == until {
				return nil
			}
		}
	}
	if until != "" {
		return fmt.Errorf("after %d hours it is %s, not %s", hours, state, until)
	}
	return nil
}

// hoursOf moves the clock by n hours: at once where nothing happens in each.
func (s *rotationStory) hoursOf(ts *testscript.TestScript, n int, each func(*testscript.TestScript) error) error {
	if each == nil {
		return s.setClock(s.ahead + time.Duration(n)*time.Hour)
	}
	for range n {
		if err := s.setClock(s.ahead + time.Hour); err != nil {
			return err
		}
		if err := each(ts); err != nil {
			return err
		}
	}
	return nil
}

func (s *rotationStory) rotation(ts *testscript.TestScript, args []string) error {
	for _, name := range []string{"stdout", "stderr"} {
		if m := regexp.MustCompile(`rotation (\d{8}T\d{6}Z-[0-9a-f]+)`).FindStringSubmatch(ts.ReadFile(name)); m != nil {
			ts.Setenv(args[0], m[1])
			return nil
		}
	}
	return errors.New("the last command named no rotation")
}

func (s *rotationStory) shows(ts *testscript.TestScript, args []string) error {
	code, text, told, err := s.keyreeve(ts, "rotate", "show", args[0], "-o", "json")
	if err != nil || code != 0 {
		return fmt.Errorf("exit code %d, %w\n%s", code, errors.Join(err), told)
	}
	var r struct{ State, Why string }
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	if r.State != args[1] || len(args) > 2 && !strings.Contains(r.Why, args[2]) {
		return fmt.Errorf("it is %s: %s; want %q", r.State, r.Why, args[1:])
	}
	return nil
}

func (s *rotationStory) conforms(ts *testscript.TestScript, args []string) error {
	root := ""
	if args[0] == "rotations" {
		root = "#/$defs/rotations"
	}
	return conforms(report.RotationSchema(), root, ts.ReadFile(args[1]))
}

func (s *rotationStory) other(ts *testscript.TestScript, args []string) error {
	ids, err := s.idsOf(ts, args[0])
	if err != nil {
		return err
	}
	for id := range ids {
		if id != ts.Getenv(args[2]) {
			ts.Setenv(args[1], id)
			return nil
		}
	}
	return fmt.Errorf("user %s has no key beside %s", args[0], args[2])
}

func (s *rotationStory) keys(ts *testscript.TestScript, args []string) error {
	ids, err := s.idsOf(ts, args[0])
	if err != nil {
		return err
	}
	got := map[string]string{}
	for id, active := range ids {
		got[id] = map[bool]string{true: "Active", false: "Inactive"}[active]
	}
	return hasKeys(ts, args, got)
}

// idsOf are the keys of a user, and whether each is active.
func (s *rotationStory) idsOf(ts *testscript.TestScript, user string) (map[string]bool, error) {
	out, err := iam.NewFromConfig(s.config(ts)).ListAccessKeys(context.Background(), &iam.ListAccessKeysInput{UserName: &user})
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, k := range out.AccessKeyMetadata {
		ids[*k.AccessKeyId] = k.Status == "Active"
	}
	return ids, nil
}

func (s *rotationStory) serve(ts *testscript.TestScript, args []string) error {
	switch args[0] {
	case "begin":
		return s.serveUntil(ts, args)
	case "stop":
		if err := s.server.process.Process.Signal(os.Interrupt); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, s.server.out)
		return errors.Join(err, s.server.process.Wait())
	case "kill":
		s.server.kill()
		return nil
	default:
		return fmt.Errorf("serve %s", args[0])
	}
}

// serveUntil begins to serve, and reads the log until it tells that a rotation is in that state.
func (s *rotationStory) serveUntil(ts *testscript.TestScript, args []string) error {
	want := "serving"
	if len(args) == 3 && args[1] == "until" {
		want = "to=" + args[2]
	}
	c, err := accompany(s.dir, s.environment(ts), "keyreeve", "serve", "--only", "rotations", "--log-level", "info")
	if err != nil {
		return err
	}
	s.server = c
	for told := ""; !strings.Contains(told, want); {
		line, err := c.out.ReadString('\n')
		if told += line; err != nil {
			return fmt.Errorf("it ended before %q: %w\n%s", want, err, told)
		}
		s.said.WriteString(line)
	}
	return nil
}

// work lets the consumer work for its hour.
func (s *rotationStory) work(ts *testscript.TestScript) error {
	if s.consumer == nil {
		env := append(slices.Clone(s.env), "AWS_ACCESS_KEY_ID="+ts.Getenv("HOST"), "AWS_SECRET_ACCESS_KEY="+ts.Getenv("HOST_SECRET"))
		c, err := accompany(s.dir, env, "consumer", "shop")
		if err != nil {
			return err
		}
		s.consumer = c
	}
	answer, err := s.consumer.ask("work")
	if err != nil {
		return err
	}
	id, trouble, _ := strings.Cut(answer, " ")
	if trouble != "" {
		return fmt.Errorf("the consumer failed: %s", answer)
	}
	now := time.Now().Add(s.ahead)
	if id != s.lastKey {
		s.lastKey, s.uses = id, now
	}
	// moto lets an inactive key call: AWS would not.
	ids, err := s.idsOf(ts, "shop")
	if err != nil {
		return err
	}
	if !ids[id] {
		return fmt.Errorf("the consumer worked with key %s, which is inactive or gone", id)
	}
	for other, active := range ids {
		if held := now.Sub(s.uses); !active && held < 24*time.Hour {
			return fmt.Errorf("key %s was deactivated when the consumer had the new one for %s only", other, held)
		}
	}
	return nil
}

func (s *rotationStory) lives(ts *testscript.TestScript, args []string) error {
	return differ("the key that the consumer works with", ts.Getenv(args[1]), s.lastKey)
}

func (s *rotationStory) fails(ts *testscript.TestScript, _ []string) error {
	if err := s.work(ts); err == nil {
		return fmt.Errorf("the consumer works with key %s", s.lastKey)
	}
	return nil
}
