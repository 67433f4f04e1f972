package channel_test

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
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/internal/channel"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// secretPath is of an address whose every part gives it away.
const secretPath = "/services/T0SECRET1/B0SECRET2/xoxsecret3?sig=urlsecret4"

func tellsSecret(text string) bool {
	return strings.Contains(strings.ToLower(strings.ReplaceAll(text, "[secret]", "")), "secret")
}

func changes(user string) []notice.Change {
	account := fact.Account{ID: "111122223333", Partition: "aws", Name: "prod", OU: "Root/Prod"}
	v := &finding.Verdict{
		ID: "v-" + user, Rule: "key-age-90", Title: "Access keys are rotated within 90 days", Status: finding.Fail, Severity: finding.High,
		Account: account, User: user, UserARN: "arn:aws:iam::111122223333:user/" + user, Key: &fact.Key{ID: "AKIAIOSFODNN7EXAMPLE", Active: true},
		Message: "the key is 91 days old, the limit is 90", Remedy: finding.Rotate,
	}
	gap := &fact.Gap{Account: "444455556666", Reading: "AssumeRole", Why: "access denied to " + user}
	return []notice.Change{
		{Kind: notice.Opened, At: now, Account: account, Verdict: v, Tags: map[string]string{"owner": user}},
		{Kind: notice.Closed, At: now, Why: notice.Fixed, Account: account, Verdict: v},
		{Kind: notice.Unreadable, At: now, Account: fact.Account{ID: "444455556666"}, Gap: gap},
	}
}

// digest is what a channel of that kind gets about the user.
func digest(t testing.TB, kind channel.Kind, user string) notice.Message {
	t.Helper()
	terms := kind.Terms()
	terms.Name, terms.Digest = "team", true
	return compose(t, terms, changes(user))[0]
}

func compose(t testing.TB, terms notice.Terms, cs []notice.Change) []notice.Message {
	t.Helper()
	r := notice.Routing{Channels: []notice.Terms{terms}, Routes: []notice.Route{{To: []string{terms.Name}}}}
	parcels, err := r.Parcels(cs)
	if err != nil {
		t.Fatal(err)
	}
	var out []notice.Message
	for _, c := range r.Compose(parcels, now) {
		out = append(out, c.Message)
	}
	return out
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func indent(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

// web is a server that remembers what it got, and answers as it is told.
type web struct {
	*httptest.Server
	mu      sync.Mutex
	bodies  [][]byte
	headers []http.Header
}

func newWeb(t *testing.T, answer http.HandlerFunc) *web {
	t.Helper()
	w := &web{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.mu.Lock()
		w.bodies, w.headers = append(w.bodies, body), append(w.headers, r.Header)
		w.mu.Unlock()
		if answer != nil {
			answer(rw, r)
		}
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *web) secret() fact.Secret { return fact.NewSecret(w.URL + secretPath) }

// closer is a channel with connections.
type closer interface {
	notice.Channel
	Close()
}

// hooks are the channels that post to an address.
func hooks(t *testing.T, address fact.Secret) map[channel.Kind]closer {
	t.Helper()
	s, err1 := channel.NewSlack(channel.HookSettings{Name: "team", URL: address})
	m, err2 := channel.NewTeams(channel.HookSettings{Name: "team", URL: address})
	w, err3 := channel.NewWebhook(channel.WebhookSettings{
		Name: "team", URL: address, Key: fact.NewSecret("hmac-secret-of-ours"), Now: func() time.Time { return now },
	})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	out := map[channel.Kind]closer{channel.Slack: s, channel.Teams: m, channel.Webhook: w}
	t.Cleanup(func() {
		for _, c := range out {
			c.Close()
		}
	})
	return out
}

// asFailure is the failure in err; it fails the test where there is none, or where it tells a secret.
func asFailure(t *testing.T, err error) *notice.Failure {
	t.Helper()
	var f *notice.Failure
	if !errors.As(err, &f) {
		t.Fatalf("%v is no failure", err)
	}
	if text := fmt.Sprintf("%v %+v %#v", err, f, f.Err); tellsSecret(text) {
		t.Errorf("the error tells a secret: %s", text)
	}
	return f
}
