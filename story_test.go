package keyreeve_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/cli"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// teller tells a story: it runs the commands of a page on the built-in company and puts in what they print.
//
// A line of a console block that begins with "$ keyreeve" is run; it must exit with 0, or with the code that its comment
// "# exit N" says. Comments between blocks move the world: <!-- clock +8d -->, <!-- use USER KEY -->. {{first}} is the id of the
// first run. What differs from machine to machine is replaced: ids of runs, the host, the version, digests and hashes.
type teller struct {
	t     *testing.T
	cloud *fakeaws.Cloud
	home  string
	runs  []string
}

var (
	runID   = regexp.MustCompile(`\b\d{8}T\d{6}Z-[0-9a-f]{6}\b`)
	hash    = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	machine = regexp.MustCompile(`(?m)^on       .*$`)
	micros  = regexp.MustCompile(`(\d\d:\d\d:\d\d)\.\d{6}Z`)
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
	var out strings.Builder
	console := false
	for line := range strings.Lines(page) {
		order, isOrder := strings.CutPrefix(line, "<!-- ")
		switch {
		case strings.HasPrefix(line, "```"):
			console = strings.HasPrefix(line, "```console")
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
	default:
		s.t.Fatalf("the story says %q", words)
	}
}

// run carries out one command and gives it with what it printed.
func (s *teller) run(line string) string {
	s.t.Helper()
	if len(s.runs) > 0 {
		line = strings.ReplaceAll(line, "{{first}}", s.runs[0])
	}
	command, comment, _ := strings.Cut(line, "#")
	want := 0
	if comment != "" {
		if _, err := fmt.Sscanf(comment, " exit %d", &want); err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
	}
	s.cloud.SetNow(s.cloud.Now().Add(40 * time.Second)) // nobody types faster
	var both bytes.Buffer
	code := cli.Run(context.Background(), strings.Fields(command)[1:], cli.System{
		Stdin: strings.NewReader(""), Stdout: &both, Stderr: &both, Now: s.cloud.Now, Getenv: s.getenv,
		Wait: func(context.Context, time.Duration) error { return nil },
	})
	if code != want {
		s.t.Fatalf("%s: exit %d, want %d\n%s", line, code, want, both.String())
	}
	if n := strings.LastIndex(both.String(), "\nrun "); n >= 0 {
		s.runs = append(s.runs, runID.FindString(both.String()[n:]))
	}
	return "$ " + line + "\n" + both.String()
}

func (s *teller) getenv(name string) string {
	switch name {
	case "HOME":
		return s.home
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
	text = machine.ReplaceAllString(text, "on       ops-7, process 4242, keyreeve 1.0.0")
	text = micros.ReplaceAllString(text, "${1}Z")
	return strings.ReplaceAll(text, s.home+string(filepath.Separator), "")
}
