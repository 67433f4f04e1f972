package keyreeve_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/cli"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// teller tells a story: it runs the commands of a page on the built-in company and puts in what they print.
//
// A line of a console block that begins with "$ keyreeve" is run; it must exit with 0, or with the code that its comment
// "# exit N" says. Comments between blocks move the world:
//
//	<!-- clock +8d -->
//	<!-- use USER KEY -->
//	<!-- file PATH -->                     the block that follows is the file's text
//	<!-- organize -->                      the company becomes the management account of an organisation of six accounts
//	<!-- roll out ACCOUNT -->              the account gets the roles that it lacked
//	<!-- hours N -->                       hours pass, and each begins with `keyreeve rotate advance`
//	<!-- hours N use USER FILE SERVICE --> so, and in each the user's profile of that credentials file is used
//
// {{first}} is the id of the first run, {{rotation}} that of the last rotation begun; {{diagram}} and {{table}} are the states of a
// rotation. What differs from machine to machine is replaced: ids of runs, the host, the version, digests and hashes.
type teller struct {
	t        *testing.T
	cloud    *fakeaws.Cloud
	home     string
	runs     []string
	rotation string
	file     string // that the next block is the text of
	columns  string // how wide the program's terminal is; empty: it cannot know
}

var (
	runID   = regexp.MustCompile(`\b\d{8}T\d{6}Z-[0-9a-f]{6}\b`)
	hash    = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	machine = regexp.MustCompile(`(?m)^on       .*$`)
	micros  = regexp.MustCompile(`(\d\d:\d\d:\d\d)\.\d{6}Z`)
	rules   = regexp.MustCompile(`(?m)-{200,}$`)
	begun   = regexp.MustCompile(`(?m)^rotation (\d{8}T\d{6}Z-[0-9a-f]{6})$`)
)

// story is the page at path, told.
func story(t *testing.T, path string) string {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cloud := fakeaws.Demo(exampleTime)
	server, err := cloud.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var told string
	t.Run(filepath.Base(path), func(t *testing.T) { // a test of its own, for its directory and environment
		s := &teller{t: t, cloud: cloud, home: t.TempDir()}
		t.Chdir(s.home)
		for name, value := range map[string]string{
			"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": cloud.Accounts()[0].Credential(), "AWS_SECRET_ACCESS_KEY": "any",
			"AWS_REGION": "us-east-1", "AWS_PROFILE": "", "AWS_SESSION_TOKEN": "", "AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none",
		} {
			t.Setenv(name, value)
		}
		told = s.tell(string(page))
	})
	return "<!-- Generated from " + path + " by make generate: every command was run. -->\n\n" + told
}

// tell walks the page.
func (s *teller) tell(page string) string {
	page = strings.NewReplacer("{{diagram}}\n", rotate.Diagram(), "{{table}}\n", rotate.TableMarkdown()).Replace(page)
	var out, text strings.Builder
	console, block := false, false
	for line := range strings.Lines(page) {
		order, isOrder := strings.CutPrefix(line, "<!-- ")
		switch {
		case strings.HasPrefix(line, "```"):
			console, block = strings.HasPrefix(line, "```console"), !block
			if !block {
				s.write(text.String())
			}
			text.Reset()
		case block && !console:
			text.WriteString(line)
		case isOrder:
			s.obey(strings.Fields(strings.TrimSuffix(strings.TrimSpace(order), "-->")))
			continue
		case console && strings.HasPrefix(line, "$ "):
			out.WriteString(s.run(strings.TrimSpace(line[2:])))
			continue
		}
		out.WriteString(line)
	}
	return s.plain(out.String())
}

// obey moves the clock, or lets somebody use a key.
func (s *teller) obey(words []string) {
	s.t.Helper()
	switch {
	case len(words) == 2 && words[0] == "clock":
		d, err := rule.ParseDuration(strings.TrimPrefix(words[1], "+"))
		if err != nil {
			s.t.Fatal(err)
		}
		s.cloud.SetNow(s.cloud.Now().Add(d))
	case len(words) == 3 && words[0] == "use":
		if err := s.cloud.Accounts()[0].Use(words[1], words[2], "s3", "eu-west-1"); err != nil {
			s.t.Fatal(err)
		}
	case len(words) == 1 && words[0] == "organize":
		if err := organize(s.cloud); err != nil {
			s.t.Fatal(err)
		}
	case len(words) == 3 && words[0] == "roll":
		s.cloud.Account(words[2]).SetRoles(orgRoles()...)
	case len(words) == 2 && words[0] == "file":
		s.file = words[1]
	case (len(words) == 2 || len(words) == 6 && words[2] == "use") && words[0] == "hours":
		n, err := strconv.Atoi(words[1])
		if err != nil {
			s.t.Fatal(err)
		}
		for range n {
			s.hour(words[2:])
		}
	default:
		s.t.Fatalf("the story says %q", words)
	}
}

// orgRoles are those that the page of organisations makes.
func orgRoles() []fakeaws.Role {
	return []fakeaws.Role{{Name: "keyreeve-audit", ExternalID: "keyreeve-4a7c"}, {Name: "keyreeve-remediate", ExternalID: "keyreeve-9d21"}}
}

// organize adds five accounts to the company: one has no role yet, one is suspended.
func organize(cloud *fakeaws.Cloud) error {
	ago := func(days int) time.Time { return cloud.Now().AddDate(0, 0, -days) }
	used := cloud.Now().Add(-3 * time.Hour)
	for i, a := range []struct {
		name, unit, owner string
		users             []fakeaws.User
	}{
		{"payments", "Root/Workloads/Prod", "pay", []fakeaws.User{
			{Name: "settle", Created: ago(700), Keys: []fakeaws.Key{{Created: ago(210), LastUsed: used, Service: "sqs", Region: "eu-west-1"}}},
			{Name: "import-2024", Created: ago(700), Keys: []fakeaws.Key{{Created: ago(400), LastUsed: ago(300), Service: "s3", Region: "eu-west-1"}}},
		}},
		{"shop", "Root/Workloads/Prod", "web", []fakeaws.User{{Name: "deploy", Created: ago(500), Keys: []fakeaws.Key{{Created: ago(20), LastUsed: used}}}}},
		{"lab", "Root/Sandbox", "data", []fakeaws.User{{Name: "notebook", Created: ago(90), Keys: []fakeaws.Key{{Created: ago(60), LastUsed: used}}}}},
		{"warehouse", "Root/Workloads", "data", []fakeaws.User{{Name: "loader", Created: ago(400), Keys: []fakeaws.Key{{Created: ago(130), LastUsed: used}}}}},
		{"old-crm", "Root/Suspended", "it", nil},
	} {
		made := cloud.AddAccount(fact.Account{
			ID: fmt.Sprintf("22220000000%d", i+1), Name: a.name, OU: a.unit, Tags: map[string]string{"owner": a.owner},
		})
		made.SetRoles(orgRoles()...)
		for _, u := range a.users {
			if err := made.AddUser(u); err != nil {
				return err
			}
		}
	}
	cloud.Account("222200000004").SetRoles()
	cloud.Account("222200000005").SetState(fact.StateSuspended)
	return cloud.Organize(cloud.Accounts()[0].ID())
}

// write writes the file that the block before was the text of, if any.
func (s *teller) write(text string) {
	s.t.Helper()
	if s.file == "" {
		return
	}
	path := filepath.Join(s.home, filepath.FromSlash(s.file))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.file = ""
}

// hour lets an hour pass. use is empty, or "use", a user, the credentials file that its consumer reads, and what that calls.
func (s *teller) hour(use []string) {
	s.t.Helper()
	s.cloud.SetNow(s.cloud.Now().Add(time.Hour))
	if len(use) > 0 {
		user := use[1]
		if err := s.cloud.Accounts()[0].Use(user, s.keyIn(use[2], user), use[3], "eu-west-1"); err != nil {
			s.t.Fatalf("the consumer of %s failed: %v", user, err)
		}
	}
	var both bytes.Buffer
	if code := s.keyreeve(&both, "rotate", "advance"); code != 0 && code != 6 {
		s.t.Fatalf("rotate advance: exit %d\n%s", code, both.String())
	}
}

// keyIn is the key id of a profile in a credentials file.
func (s *teller) keyIn(file, profile string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.home, filepath.FromSlash(file)))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "["+profile+"]")
	for line := range strings.Lines(rest) {
		if name, value, ok := strings.Cut(line, "="); ok && strings.TrimSpace(name) == "aws_access_key_id" {
			return strings.TrimSpace(value)
		}
	}
	s.t.Fatalf("%s has no key for profile %s", file, profile)
	return ""
}

// keyreeve runs the program in this process. Where it shows paths, lines are not broken: a directory of this machine, however
// long, must not tell in the page.
func (s *teller) keyreeve(both io.Writer, args ...string) int {
	s.columns = ""
	if len(args) > 1 && args[0] == "rotate" && args[1] == "show" {
		s.columns = "1000"
	}
	return cli.Run(context.Background(), args, cli.System{
		Stdin: strings.NewReader(""), Stdout: both, Stderr: both, Now: s.cloud.Now, Getenv: s.getenv,
		Wait: func(context.Context, time.Duration) error { return nil },
	})
}

// run carries out one command and gives it with what it printed.
func (s *teller) run(line string) string {
	s.t.Helper()
	if len(s.runs) > 0 {
		line = strings.ReplaceAll(line, "{{first}}", s.runs[0])
	}
	line = strings.ReplaceAll(line, "{{rotation}}", s.rotation)
	command, comment, _ := strings.Cut(line, "#")
	want := 0
	if comment != "" {
		if _, err := fmt.Sscanf(comment, " exit %d", &want); err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
	}
	s.cloud.SetNow(s.cloud.Now().Add(40 * time.Second)) // nobody types faster
	var both bytes.Buffer
	if code := s.keyreeve(&both, strings.Fields(command)[1:]...); code != want {
		s.t.Fatalf("%s: exit %d, want %d\n%s", line, code, want, both.String())
	}
	if n := strings.LastIndex(both.String(), "\nrun "); n >= 0 {
		s.runs = append(s.runs, runID.FindString(both.String()[n:]))
	}
	if m := begun.FindStringSubmatch(both.String()); m != nil {
		s.rotation = m[1]
	}
	return "$ " + line + "\n" + both.String()
}

func (s *teller) getenv(name string) string {
	switch name {
	case "HOME":
		return s.home
	case "COLUMNS":
		return s.columns
	default:
		return ""
	}
}

// plain takes out what is another one on every machine.
func (s *teller) plain(text string) string {
	seen := map[string]string{}
	text = runID.ReplaceAllStringFunc(text, func(id string) string {
		if seen[id] == "" {
			seen[id] = id[:len("20261122T093000Z-")] + fmt.Sprintf("%06x", 0x5f3a00+len(seen)+1)
		}
		return seen[id]
	})
	text = hash.ReplaceAllStringFunc(text, func(h string) string { return "9f2c" + strings.Repeat("...", 1) + "e1" })
	text = rules.ReplaceAllString(text, strings.Repeat("-", 60))
	text = machine.ReplaceAllString(text, "on       ops-7, process 4242, keyreeve 1.0.0")
	text = micros.ReplaceAllString(text, "${1}Z")
	return strings.ReplaceAll(text, s.home+string(filepath.Separator), "")
}
