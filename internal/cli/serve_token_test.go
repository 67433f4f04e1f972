package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/cli"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// at is the program at an instant, which a test may move.
type at struct {
	now time.Time
	db  string
}

func (p *at) system(out, errs io.Writer) cli.System {
	return cli.System{
		Stdin: strings.NewReader(""), Stdout: out, Stderr: errs, Now: func() time.Time { return p.now },
		Getenv: func(string) string { return "" },
	}
}

// token runs serve token.
func (p *at) token(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := cli.ServeToken(t.Context(), p.system(&out, &errs), append(args, "--db", p.db)...); got != code {
		t.Errorf("serve token %q: exit %d, want %d\n%s%s", args[:1], got, code, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

var aToken = regexp.MustCompile(`^keyreeve_([0-9a-f]{12})_([0-9A-Za-z_-]{43})\n$`)

// add makes a token and gives it with its id.
func (p *at) add(t *testing.T, args ...string) (token, id string) {
	t.Helper()
	out, said := p.token(t, 0, append([]string{"add"}, args...)...)
	m := aToken.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("add prints %d bytes that are no token alone on a line", len(out))
	}
	if strings.Contains(said, m[2]) || !strings.Contains(said, m[1]) || !strings.Contains(said, args[0]) {
		t.Errorf("add says: %s", strings.ReplaceAll(said, m[2], "THE SECRET"))
	}
	return strings.TrimSpace(out), m[1]
}

// eachDatabase runs a test with the URL of an empty database of each kind.
func eachDatabase(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "keyreeve.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, postgres.URL(t)) })
}

// opens tells how the API answers whoever shows the token.
func opens(t *testing.T, url, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/api/v1/runs", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func TestServeToken_opensTheAPIUntilItIsOverOrRevoked(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		p := &at{now: storyTime, db: url}
		usual, usualID := p.add(t, "grafana")
		short, _ := p.add(t, "export", "--expires", "36h")
		ever, everID := p.add(t, "\U0001F4C8 of ana", "--expires", "never")
		db, err := store.Open(t.Context(), url, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		h, err := cli.API(p.system(io.Discard, io.Discard), db, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(h)
		defer server.Close()
		want := func(after time.Duration, first, second, third int) {
			t.Helper()
			p.now = storyTime.Add(after)
			if a, b, c := opens(t, server.URL, usual), opens(t, server.URL, short), opens(t, server.URL, ever); a != first || b != second || c != third {
				t.Errorf("%s later: HTTP %d, %d and %d, want %d, %d and %d", after, a, b, c, first, second, third)
			}
		}
		const day = 24 * time.Hour
		want(0, 200, 200, 200)
		want(36*time.Hour, 200, 401, 200)
		want(90*day-time.Second, 200, 401, 200)
		want(90*day, 401, 401, 200)
		want(5000*day, 401, 401, 200)
		p.now = storyTime.Add(day)
		if out, _ := p.token(t, 0, "revoke", everID); !strings.Contains(out, everID) || !strings.Contains(out, "2026-11-23T09:30:00Z") {
			t.Errorf("revoke: %s", out)
		}
		want(day, 200, 200, 401)
		// A whole token serves too, and is not repeated.
		out, said := p.token(t, 0, "revoke", usual)
		if strings.Contains(out+said, usual) || !strings.Contains(out, usualID) {
			t.Errorf("revoke: %s%s", out, said)
		}
		want(day, 401, 200, 401)
		p.now = storyTime.Add(2 * day)
		if out, _ := p.token(t, 0, "revoke", everID); !strings.Contains(out, "2026-11-23T09:30:00Z") {
			t.Errorf("revoke again: %s", out)
		}
		list, _ := p.token(t, 0, "list")
		for _, line := range []string{
			usualID + `  grafana  +2026-11-22T09:30:00Z  2027-02-20T09:30:00Z  revoked`, `export  +2026-11-22T09:30:00Z  2026-11-23T21:30:00Z  over`,
			everID + `  \x{1F4C8} of ana  +2026-11-22T09:30:00Z  never +revoked`,
		} {
			if !regexp.MustCompile(line).MatchString(list) {
				t.Errorf("list has no %s:\n%s", line, list)
			}
		}
		var doc struct {
			Schema string
			Tokens []map[string]any
		}
		list, _ = p.token(t, 0, "list", "-o", "json")
		if err := json.Unmarshal([]byte(list), &doc); err != nil || doc.Schema != "keyreeve.tokens/1" || len(doc.Tokens) != 3 || len(doc.Tokens[0]) != 6 {
			t.Errorf("list: %v\n%s", err, list)
		}
	})
}

func TestServeToken_isKeptNowhere(t *testing.T) {
	dir := t.TempDir()
	p := &at{now: storyTime, db: "sqlite:" + filepath.Join(dir, "keyreeve.db")}
	token, id := p.add(t, "grafana")
	secret := token[len(token)-43:]
	for _, args := range [][]string{{"list"}, {"list", "-o", "json"}, {"revoke", id}} {
		if out, errs := p.token(t, 0, args...); strings.Contains(out+errs, secret) {
			t.Errorf("%s shows it", args)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range files {
		body, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found = found || bytes.Contains(body, []byte(id))
		if bytes.Contains(body, []byte(secret)) {
			t.Errorf("%s holds it", f.Name())
		}
	}
	if !found {
		t.Error("no file holds even its id: the test looks in the wrong place")
	}
}

func TestServeToken_refusesWhatMakesNoSense(t *testing.T) {
	dir := t.TempDir()
	p := &at{now: storyTime, db: "sqlite:" + filepath.Join(dir, "keyreeve.db")}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"add"}, "takes one name"},
		{[]string{"add", "a", "b"}, "takes one name"},
		{[]string{"add", ""}, "is no name"},
		{[]string{"add", "a\nb"}, "is no name"},
		{[]string{"add", strings.Repeat("a", 101)}, "is no name"},
		{[]string{"add", "a", "--expires", "soon"}, "--expires"},
		{[]string{"add", "a", "--expires", "0d"}, "--expires"},
		{[]string{"add", "a", "--expires", ""}, "--expires is empty"},
		{[]string{"list", "all"}, "unexpected argument"},
		{[]string{"list", "-o", "csv"}, "unknown output format"},
		{[]string{"revoke"}, "takes the id of one token"},
		{[]string{"revoke", "grafana"}, "twelve hex digits"},
		{[]string{"revoke", "5f3a1c09d2e4"}, "there is no journal"},
	} {
		if out, said := p.token(t, 2, c.args...); !strings.Contains(said, c.says) || !strings.Contains(said, "hint: ") || out != "" {
			t.Errorf("%q: %s%s, want %s with a hint", c.args, out, said, c.says)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("made %v, %v", left, err)
	}
	if _, said := p.token(t, 2, "list"); !strings.Contains(said, "no journal at") {
		t.Errorf("list of none: %s", said)
	}
	token, _ := p.add(t, "grafana")
	_, said := p.token(t, 2, "revoke", "5f3a1c09d2e4")
	if !strings.Contains(said, "there is no token 5f3a1c09d2e4") {
		t.Errorf("revoke another: %s", said)
	}
	// What is nearly a token is not repeated either.
	for _, args := range [][]string{{"revoke", token + "x"}, {"revoke", token, token}} {
		if _, said := p.token(t, 2, args...); strings.Contains(said, token[30:]) {
			t.Error("it repeats the token")
		}
	}
}

// broken is where nobody reads what is printed.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestServeToken_saysWhichOneToRevokeWhereItCouldNotBePrinted(t *testing.T) {
	p := &at{now: storyTime, db: "sqlite:" + filepath.Join(t.TempDir(), "keyreeve.db")}
	var errs bytes.Buffer
	if got := cli.ServeToken(t.Context(), p.system(broken{}, &errs), "add", "grafana", "--db", p.db); got != 1 {
		t.Errorf("exit %d, want 1", got)
	}
	list, _ := p.token(t, 0, "list", "-o", "json")
	m := regexp.MustCompile(`hint: .*serve token revoke ([0-9a-f]{12})`).FindStringSubmatch(errs.String())
	if m == nil || !strings.Contains(list, m[1]) {
		t.Errorf("it says %s\nlist: %s", errs.String(), list)
	}
}
