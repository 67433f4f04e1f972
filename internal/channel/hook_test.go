package channel_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyreeve/keyreeve/internal/channel"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// The golden files hold what goes over the wire: -update rewrites them, review the difference.
func TestHooks_sendLikeThis(t *testing.T) {
	w := newWeb(t, nil)
	for kind, c := range hooks(t, w.secret()) {
		if _, err := c.Send(t.Context(), digest(t, kind, "ci-deploy")); err != nil {
			t.Fatal(err)
		}
		last := len(w.bodies) - 1
		golden(t, string(kind)+".json", indent(t, w.bodies[last]))
		if got := w.headers[last].Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: content type %q", kind, got)
		}
		if c.Name() != "team" {
			t.Errorf("%s: name %q", kind, c.Name())
		}
	}
}

func TestHooks_tellWhatIsWorthRetryingAndWhen(t *testing.T) {
	for _, want := range []struct {
		status    int
		header    map[string]string
		permanent bool
		after     time.Duration
		text      string
	}{
		{status: 200, text: ""}, {status: 202, text: ""}, {status: 204, text: ""},
		{status: 400, permanent: true, text: "HTTP 400: no_text at /[secret]"}, {status: 413, permanent: true, text: "HTTP 413"}, {status: 422, permanent: true, text: "HTTP 422"},
		{status: 401, text: "HTTP 401"}, {status: 403, text: "HTTP 403"}, {status: 404, text: "HTTP 404"}, {status: 410, text: "HTTP 410"},
		{status: 429, text: "HTTP 429"}, {status: 500, text: "HTTP 500"}, {status: 503, text: "HTTP 503"},
		{status: 302, header: map[string]string{"Location": "/elsewhere"}, text: "HTTP 302, a redirect, which is not followed"},
		{status: 307, header: map[string]string{"Location": "/elsewhere"}, text: "redirect"},
		{status: 429, header: map[string]string{"Retry-After": "90"}, after: 90 * time.Second, text: "HTTP 429"},
		{status: 503, header: map[string]string{"Retry-After": "Sun, 22 Nov 2026 12:10:00 GMT", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}, after: 10 * time.Minute, text: "HTTP 503"},
		{status: 503, header: map[string]string{"Retry-After": "Sun, 22 Nov 2026 11:10:00 GMT", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"}, text: "HTTP 503"},
		{status: 503, header: map[string]string{"Retry-After": "-1"}, text: "HTTP 503"}, {status: 503, header: map[string]string{"Retry-After": "soon"}, text: "HTTP 503"},
		{status: 503, header: map[string]string{"Retry-After": "99999999999999999999"}, text: "HTTP 503"},
	} {
		w := newWeb(t, func(rw http.ResponseWriter, r *http.Request) {
			for k, v := range want.header {
				rw.Header().Set(k, v)
			}
			rw.WriteHeader(want.status)
			if want.status != 204 {
				_, _ = fmt.Fprintf(rw, "no_text at %s\x1b[31m\r\n", r.URL.Path) // it quotes the secret
			}
		})
		for kind, c := range hooks(t, w.secret()) {
			before := len(w.bodies)
			_, err := c.Send(t.Context(), digest(t, kind, "a"))
			if len(w.bodies) != before+1 {
				t.Errorf("%s, %d: %d requests for one Send", kind, want.status, len(w.bodies)-before)
			}
			if want.status < 300 {
				if err != nil {
					t.Errorf("%s, %d: %v", kind, want.status, err)
				}
				continue
			}
			if f := asFailure(t, err); f.Permanent != want.permanent || f.After != want.after || !strings.Contains(err.Error(), want.text) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%s, %d %v: %v, permanent %v, after %s", kind, want.status, want.header, err, f.Permanent, f.After)
			}
		}
	}
}

func TestHooks_whatBreaksOnTheWayIsRetriedAndQuotesNoAddress(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	})
	gone := newWeb(t, nil)
	gone.Close()
	for what, address := range map[string]fact.Secret{
		"torn": w.secret(), "nobody listens": gone.secret(), "no such host": fact.NewSecret("https://secret.invalid:1/secret/secret"),
	} {
		for kind, c := range hooks(t, address) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, err := c.Send(ctx, digest(t, kind, "a"))
			cancel()
			if what == "no such host" { // the name of a host is no secret
				if err == nil || strings.Contains(err.Error(), "/secret") {
					t.Errorf("%s, %s: %v", kind, what, err)
				}
				continue
			}
			if f := asFailure(t, err); f.Permanent {
				t.Errorf("%s, %s: %v is permanent", kind, what, err)
			}
		}
	}
}

func TestHooks_endWithTheirContext(t *testing.T) {
	release := make(chan struct{})
	w := newWeb(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	for kind, c := range hooks(t, w.secret()) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := c.Send(ctx, digest(t, kind, "a"))
		cancel()
		if f := asFailure(t, err); f.Permanent {
			t.Errorf("%s: %v is permanent", kind, err)
		}
	}
}

func TestHooks_refuseAnAddressThatAnybodyCanRead(t *testing.T) {
	for address, want := range map[string]string{
		"https://hooks.example.com/secret": "", "http://127.0.0.1:1/secret": "", "http://[::1]:1/secret": "", "http://localhost/secret": "",
		"": "missing", "http://hooks.example.com/secret": "anybody on the way", "http://127.0.0.1.example.com/secret": "anybody on the way",
		"ftp://example.com/secret": "not an absolute https URL", "/secret": "not an absolute", "https:///secret": "not an absolute", "%zz secret": "not an absolute",
		"https://user:secret@example.com/x": "a user or a password",
	} {
		err := channel.HookSettings{URL: fact.NewSecret(address)}.Validate()
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || tellsSecret(err.Error())) {
			t.Errorf("%q: %v, want %q", address, err, want)
		}
	}
	if err := (channel.HookSettings{URL: fact.NewSecret("http://hooks.example.com/x"), PlainHTTP: true}).Validate(); err != nil {
		t.Errorf("it was asked for: %v", err)
	}
	for key, want := range map[string]string{
		"": "", "sixteen characters": "", "whsec_c2l4dGVlbiBjaGFyYWN0ZXJz": "", "secret": "shorter than 16", "whsec_c2VjcmV0": "shorter than 16", "whsec_###secret": "not base64",
	} {
		err := channel.WebhookSettings{URL: fact.NewSecret("https://a.example"), Key: fact.NewSecret(key)}.Validate()
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || tellsSecret(err.Error())) {
			t.Errorf("key %q: %v, want %q", key, err, want)
		}
	}
}

func TestWebhook_isSignedAsOthersCheckIt(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(rw, "accepted as 42\n") })
	key := []byte("sixteen bytes at least")
	for _, text := range []string{string(key), "whsec_" + base64.StdEncoding.EncodeToString(key)} {
		c, err := channel.NewWebhook(channel.WebhookSettings{Name: "w", URL: w.secret(), Key: fact.NewSecret(text), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		m := digest(t, channel.Webhook, "a")
		receipt, err := c.Send(t.Context(), m)
		c.Close()
		if err != nil || receipt.Answer != "accepted as 42" {
			t.Fatalf("%+v, %v", receipt, err)
		}
		body, header := w.bodies[len(w.bodies)-1], w.headers[len(w.headers)-1]
		other, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(key))
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Verify(body, header); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		h := hmac.New(sha256.New, key) // and by hand, as docs/notices.md says
		_, _ = fmt.Fprintf(h, "%s.%s.%s", m.ID, header.Get("webhook-timestamp"), body)
		if want := "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil)); header.Get("webhook-signature") != want || header.Get("webhook-id") != m.ID {
			t.Errorf("signature %q, want %q; id %q", header.Get("webhook-signature"), want, header.Get("webhook-id"))
		}
		if err := other.Verify(append(slices.Clone(body), ' '), header); err == nil {
			t.Error("another body has the same signature")
		}
		got, err := notice.Decode(body)
		if err != nil || got.ID != m.ID {
			t.Errorf("%+v, %v", got, err)
		}
	}
	unsigned, err := channel.NewWebhook(channel.WebhookSettings{Name: "w", URL: w.secret(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer unsigned.Close()
	if _, err := unsigned.Send(t.Context(), digest(t, channel.Webhook, "a")); err != nil || w.headers[len(w.headers)-1].Get("webhook-signature") != "" {
		t.Errorf("%v, signed without a key", err)
	}
}

// hostile are names that try to be more than text.
func hostile() []string {
	return []string{
		"<!channel> <@U123> <https://evil.test|ok>", "*b* _i_ ~s~ `c` :smile:", "@here @channel", "[x](https://evil.test)", "<script>alert(1)</script>",
		"a\r\nBcc: x@evil.test\r\n\r\nbody", "</b></li>", "&lt;!channel&gt;", "https://evil.test", "{{.Note}}", "\u202eexe", strings.Repeat("x", 5000),
	}
}

// checkSlack fails where text could be a mark: outside of plain runs of rich text, or with a character that opens one.
func checkSlack(t *testing.T, body []byte) {
	t.Helper()
	var m struct {
		Text, Parse string
		Blocks      []any
	}
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(m.Text, "<>\n\r") || m.Parse != "none" {
		t.Fatalf("text %q, parse %q", m.Text, m.Parse)
	}
	size := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			kind, _ := v["type"].(string)
			if !slices.Contains([]string{"rich_text", "rich_text_section", "rich_text_list", "text"}, kind) {
				t.Fatalf("a block of type %q", kind)
			}
			if text, ok := v["text"].(string); ok {
				size += len([]rune(text))
				if kind != "text" {
					t.Fatalf("text %q in a block of type %q", text, kind)
				}
			}
			walk(v["elements"])
		}
	}
	walk(m.Blocks)
	if size > 12000 || len(m.Blocks) > 50 {
		t.Fatalf("%d characters in %d blocks", size, len(m.Blocks))
	}
}

// checkTeams fails where anything but plain runs holds text.
func checkTeams(t *testing.T, body []byte) {
	t.Helper()
	var m struct {
		Attachments []struct {
			Content struct {
				Body []struct {
					Type, Text string
					Inlines    []struct{ Type, Text string }
				}
			}
		}
	}
	if err := json.Unmarshal(body, &m); err != nil || len(m.Attachments) != 1 || len(m.Attachments[0].Content.Body) == 0 {
		t.Fatalf("%v: %s", err, body)
	}
	for _, b := range m.Attachments[0].Content.Body {
		if b.Type != "RichTextBlock" || b.Text != "" {
			t.Fatalf("a block %q with text %q", b.Type, b.Text)
		}
		for _, run := range b.Inlines {
			if run.Type != "TextRun" || strings.ContainsAny(run.Text, "\r\n") {
				t.Fatalf("%+v", run)
			}
		}
	}
	if len(body) > 28<<10 {
		t.Fatalf("%d bytes", len(body))
	}
}

func checkHooks(t *testing.T, text string) {
	t.Helper()
	w := newWeb(t, nil)
	all := hooks(t, w.secret())
	for kind, check := range map[channel.Kind]func(*testing.T, []byte){channel.Slack: checkSlack, channel.Teams: checkTeams} {
		if _, err := all[kind].Send(t.Context(), digest(t, kind, text)); err != nil {
			t.Fatal(err)
		}
		check(t, w.bodies[len(w.bodies)-1])
	}
}

func TestHooks_hostileTextIsPlainText(t *testing.T) {
	for _, text := range hostile() {
		checkHooks(t, text)
	}
}

func FuzzHooks(f *testing.F) {
	for _, text := range hostile() {
		f.Add(text)
	}
	f.Fuzz(checkHooks)
}

func TestHooks_theLongestDigestIsWithinTheirLimits(t *testing.T) {
	var cs []notice.Change
	for i := range 300 {
		c := changes(fmt.Sprintf("%s-%03d", strings.Repeat("é", 60), i))[0]
		c.Account.ID = fmt.Sprintf("%012d", i)
		cs = append(cs, c)
	}
	w := newWeb(t, nil)
	all := hooks(t, w.secret())
	for kind, check := range map[channel.Kind]func(*testing.T, []byte){channel.Slack: checkSlack, channel.Teams: checkTeams} {
		terms := kind.Terms()
		terms.Name = "team"
		m := compose(t, terms, cs)
		if len(m) != 1 || m[0].More == 0 || len(m[0].Items) < 10 {
			t.Fatalf("%s: %d messages, %d items", kind, len(m), len(m[0].Items))
		}
		if _, err := all[kind].Send(t.Context(), m[0]); err != nil {
			t.Fatal(err)
		}
		check(t, w.bodies[len(w.bodies)-1])
	}
}
