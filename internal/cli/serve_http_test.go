package cli_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/keyreeve/keyreeve/internal/cli"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// served is serve in a process of its own.
type served struct {
	*exec.Cmd
	url    string
	stderr *bufio.Reader
}

// serving starts serve on a free port, and reads where it listens.
func serving(t *testing.T, cmd *exec.Cmd) *served {
	t.Helper()
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &served{Cmd: cmd, stderr: bufio.NewReader(pipe)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := s.stderr.ReadString('\n')
	_, rest, ok := strings.Cut(line, "http://")
	if err != nil || !ok {
		more, _ := io.ReadAll(s.stderr)
		t.Fatalf("it says %q, %v\n%s", line, err, more)
	}
	s.url = "http://" + strings.SplitN(rest, ";", 2)[0]
	return s
}

// get asks for a page.
func (s *served) get(t *testing.T, path, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		_ = s.Process.Kill()
		told, _ := io.ReadAll(s.stderr)
		t.Fatalf("%v\n%s", err, told)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestServe_readsJudgesAndShowsAndStopsWhenInterrupted(t *testing.T) {
	cloud := fakeaws.Demo(storyTime)
	token := program(t, cloud, "serve", "token", "add", "dashboard")
	secret, err := token.Output()
	if err != nil {
		t.Fatal(err)
	}
	reports := make(chan struct{}, 100)
	cloud.OnCall(func(action string, phase fakeaws.Phase) {
		if action == "iam:GetCredentialReport" && phase == fakeaws.Answered {
			reports <- struct{}{}
		}
	})
	s := serving(t, again(token, "serve", "--listen", "127.0.0.1:0", "--tick", "1s"))
	s.until(t, "account 111122223333 is read into "+filepath.Join(token.Dir, ".local/state/keyreeve/keyreeve.db")+", by the schedule next at 20")
	<-reports
	if code, _ := s.get(t, "/healthz", ""); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	if code, body := s.get(t, "/readyz", ""); code != http.StatusOK {
		t.Errorf("readyz: %d %s", code, body)
	}
	for name, wrong := range map[string]string{"none": "", "wrong": "keyreeve_0123456789ab_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		if code, body := s.get(t, "/api/v1/verdicts", wrong); code != http.StatusUnauthorized {
			t.Errorf("%s token: %d %s", name, code, body)
		}
	}
	var page struct {
		Rows []struct{ Rule string }
	}
	for len(page.Rows) == 0 { // until the account is judged, which begins when its report is there
		code, body := s.get(t, "/api/v1/verdicts?status=open&limit=3", strings.TrimSpace(string(secret)))
		if code == http.StatusTooManyRequests {
			continue
		}
		if code != http.StatusOK {
			t.Fatalf("verdicts: %d %s", code, body)
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err)
		}
	}
	code, body := s.get(t, "/metrics", "")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil || code != http.StatusOK {
		t.Fatalf("metrics: %d, %v\n%s", code, err, body)
	}
	for _, name := range []string{"keyreeve_up", "keyreeve_key_age_keys", "keyreeve_aws_calls_total"} {
		if families[name] == nil {
			t.Errorf("no metric %s in\n%s", name, body)
		}
	}
	if err := s.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestServe_aPortInUseIsMisuse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	cmd := program(t, fakeaws.Demo(storyTime), "serve", "--listen", l.Addr().String())
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(string(out), "hint: --listen names another address") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if files, _ := filepath.Glob(filepath.Join(cmd.Dir, ".local", "*")); len(files) > 0 {
		t.Errorf("it made %v", files)
	}
}

func TestServe_theWebAloneNeedsNoCredentials(t *testing.T) {
	cmd := program(t, fakeaws.Demo(storyTime), "serve", "--role", "web", "--listen", "127.0.0.1:0", "--db", postgres.URL(t), "--config", "told.yaml")
	cmd.Env = []string{"HOME=" + cmd.Dir, "AWS_EC2_METADATA_DISABLED=true"}
	settings := "notices:\n  channels:\n    team: {kind: slack, url_env: NOWHERE}\n  routes: [{to: team}]\n"
	if err := os.WriteFile(filepath.Join(cmd.Dir, "told.yaml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serving(t, cmd)
	s.until(t, "what others read into postgres://")
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if code, body := s.get(t, path, ""); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

// Without --listen a worker opens no port: several may run on one machine.
func TestServe_aWorkerAnswersOnlyWhereItWasToldTo(t *testing.T) {
	cloud, at := fakeaws.Demo(storyTime), postgres.URL(t)
	told := serving(t, program(t, cloud, "serve", "--role", "worker", "--listen", "127.0.0.1:0", "--tick", "1s", "--db", at))
	go func() { _, _ = io.Copy(io.Discard, told.stderr) }()
	for page := ""; !strings.Contains(page, "keyreeve_part_ok") || !strings.Contains(page, "keyreeve_aws_requests_total"); { // until it has worked
		var code int
		if code, page = told.get(t, "/metrics", ""); code != http.StatusOK {
			t.Fatalf("metrics: %d %s", code, page)
		}
	}
	quiet := program(t, cloud, "serve", "--role", "worker", "--db", at)
	pipe, err := quiet.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := quiet.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(pipe).ReadString('\n')
	_ = quiet.Process.Kill()
	_ = quiet.Wait()
	if !strings.Contains(line, "serving; no HTTP") {
		t.Errorf("without --listen a worker says %q", line)
	}
}

// While it serves, a secret that goes away is told each time something is to be sent, and the channel comes back with it.
func TestServe_aChannelThatCannotBeOpenedIsToldUntilItCan(t *testing.T) {
	dir := t.TempDir()
	settings, secret := filepath.Join(dir, "keyreeve.yaml"), filepath.Join(dir, "hook")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(settings, "notices:\n  channels:\n    ops: {kind: slack, url_env: OPS}\n    team: {kind: slack, url_file: "+secret+"}\n  routes: [{to: [ops, team]}]\n")
	write(secret, "https://hooks.example.com/team")
	getenv := func(name string) string { return map[string]string{"OPS": "https://hooks.example.com/ops"}[name] }
	channels := cli.Channels(cli.System{Stderr: io.Discard, Getenv: getenv, Now: func() time.Time { return storyTime }}, settings)
	for _, step := range []struct {
		after time.Duration
		held  bool // the secret is there
		open  int
	}{{0, true, 2}, {59 * time.Second, false, 2}, {time.Minute, false, 1}, {119 * time.Second, true, 1}, {2 * time.Minute, true, 2}} {
		if step.held {
			write(secret, "https://hooks.example.com/team")
		} else if err := os.Remove(secret); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		got, _, err := channels(t.Context(), storyTime.Add(step.after))
		if len(got) != step.open || (err != nil) != (step.open == 1) || err != nil && !strings.Contains(err.Error(), `channel "team"`) {
			t.Errorf("after %v: %d channels open, %v; want %d", step.after, len(got), err, step.open)
		}
	}
}

// until reads the log until a line says that.
func (s *served) until(t *testing.T, text string) (said []string) {
	t.Helper()
	for {
		line, err := s.stderr.ReadString('\n')
		if err != nil {
			t.Fatalf("it ended before it said %q: %v", text, err)
		}
		said = append(said, line)
		if strings.Contains(line, text) {
			return said
		}
	}
}

// A database that is away while it serves is shown by /readyz, and waited for; nothing has to be started again.
func TestServe_aDatabaseThatIsAwayIsShownAndWaitedFor(t *testing.T) {
	server := postgres.Start(t)
	cmd := program(t, fakeaws.Demo(storyTime), "serve", "--listen", "127.0.0.1:0", "--tick", "1s", "--log-level", "info", "--db", server.URL(t))
	s := serving(t, cmd)
	s.until(t, "account judged") // it has begun to work
	if err := server.Down("immediate"); err != nil {
		t.Fatal(err)
	}
	s.until(t, "the server of the queue is away")
	code, body := s.get(t, "/readyz", "")
	if code != http.StatusServiceUnavailable || strings.Contains(body, "postgres") || strings.Contains(body, "127.0.0.1") {
		t.Errorf("readyz while the database is away: %d %s", code, body)
	}
	if err := server.Up(); err != nil {
		t.Fatal(err)
	}
	said := s.until(t, "the server of the queue is back")
	for _, line := range said {
		for _, part := range []string{"Elector", "Notifier", "producer:", "Maintenance", "river"} {
			if strings.Contains(line, part) {
				t.Errorf("the queue's own words are in the log: %s", line)
			}
		}
	}
	if back := said[len(said)-1]; !strings.Contains(back, "WARN") {
		t.Errorf("who heard that the server is away does not hear that it is back: %s", back)
	}
	go func() { _, _ = io.Copy(io.Discard, s.stderr) }() // a full pipe would stop it
	for code != http.StatusOK {                          // until each part was tried again
		code, _ = s.get(t, "/readyz", "")
	}
}
