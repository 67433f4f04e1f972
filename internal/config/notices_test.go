package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/channel"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
)

const simple = `notices:
  channels:
    team: {kind: slack, url_env: KEYREEVE_SLACK_URL}
  routes:
    - to: team
`

func TestNotices_theSimpleCaseIsFiveLines(t *testing.T) {
	c := loaded(t, simple)
	want := Notices{
		Routing:   notice.Routing{Channels: []notice.Terms{{Name: "team", Digest: true}}, Routes: []notice.Route{{To: []string{"team"}}}},
		Reminders: notice.Reminders{Before: []time.Duration{14 * day, 3 * day}, Expiring: 14 * day},
		GiveUp:    72 * time.Hour,
		Channels:  []Channel{{Name: "team", Kind: channel.Slack, Hook: &channel.HookSettings{Name: "team"}, URL: SecretRef{Env: "KEYREEVE_SLACK_URL"}}},
	}
	if d := cmp.Diff(want, c.Notices(), cmp.Comparer(func(a, b fact.Secret) bool { return a == b })); d != "" || len(c.Warnings) != 0 {
		t.Errorf("warnings %q (-want +got):\n%s", c.Warnings, d)
	}
	if got := loaded(t, "").Notices(); len(got.Channels) != 0 || got.GiveUp != 0 {
		t.Errorf("of an empty file: %+v", got)
	}
}

func TestNotices_readsTheExample(t *testing.T) {
	got := loaded(t, string(example(t))).Notices()
	secret := cmp.Comparer(func(a, b fact.Secret) bool { return a == b })
	wantChannels := []Channel{
		{Name: "team", Kind: channel.Slack, Hook: &channel.HookSettings{Name: "team"}, URL: SecretRef{Env: "KEYREEVE_SLACK_URL"}},
		{
			Name: "owners", Kind: channel.Mail, Password: SecretRef{File: filepath.Join(dir, "smtp.password")},
			Mail: &channel.MailSettings{Name: "owners", Host: "smtp.example.com", User: "keyreeve", From: "keyreeve@example.com", Default: []string{"security@example.com"}},
		},
		{
			Name: "siem", Kind: channel.Webhook, Key: SecretRef{Env: "KEYREEVE_SIEM_KEY"},
			Webhook: &channel.WebhookSettings{Name: "siem", URL: fact.NewSecret("https://siem.example.com/keyreeve")},
		},
		{Name: "oncall", Kind: channel.SNS, AWS: &AWSChannel{Place: "arn:aws:sns:eu-west-1:111122223333:oncall", Region: "eu-west-1"}},
		{Name: "events", Kind: channel.EventBridge, AWS: &AWSChannel{}},
		{Name: "hub", Kind: channel.SecurityHub, AWS: &AWSChannel{Region: "eu-west-1"}},
	}
	if d := cmp.Diff(wantChannels, got.Channels, secret); d != "" {
		t.Errorf("channels (-want +got):\n%s", d)
	}
	wantRoutes := []notice.Route{
		{To: []string{"team", "siem", "events", "hub"}},
		{To: []string{"owners"}, Kinds: []notice.Kind{notice.Opened, notice.DueSoon, notice.Overdue}},
		{To: []string{"oncall"}, Severity: finding.Critical, OUs: []string{"Root/Workloads/Prod"}},
	}
	if d := cmp.Diff(wantRoutes, got.Routing.Routes); d != "" {
		t.Errorf("routes (-want +got):\n%s", d)
	}
	wantOwners := notice.Owners{Tags: []string{"owner", "team"}, Table: map[string][]string{"payments": {"payments@example.com", "oncall@example.com"}}, Domains: []string{"example.com"}}
	if d := cmp.Diff(wantOwners, got.Routing.Owners); d != "" {
		t.Errorf("owners (-want +got):\n%s", d)
	}
	for i, c := range got.Channels {
		want := c.Kind.Terms()
		want.Name = c.Name
		if c.Mail != nil {
			want.Default = c.Mail.Default
		}
		if d := cmp.Diff(want, got.Routing.Channels[i]); d != "" {
			t.Errorf("terms of %s (-want +got):\n%s", c.Name, d)
		}
	}
	if r := got.Reminders; !slices.Equal(r.Before, []time.Duration{14 * day, 3 * day}) || r.Overdue != 7*day || r.Expiring != 14*day || got.GiveUp != 72*time.Hour {
		t.Errorf("%+v, give up %s", r, got.GiveUp)
	}
}

func TestNotices_aChannelSaysHowItIsWrittenTo(t *testing.T) {
	got := loaded(t, `notices:
  channels:
    a: {kind: slack, url_file: ~/slack.url, digest: false, mask_keys: false, length: 4000}
    b: {kind: eventbridge, bus: "arn:aws:events:eu-north-1:111122223333:event-bus/keys", mask_keys: true, digest: true}
    c: {kind: mail, host: localhost, port: 2525, tls: none, from: a@b.example, to: [c@D.example, e@d.example, f@g.example]}
  routes: [{to: [a, b, c], accounts: [111122223333, "44*"], rules: key-age-90, kinds: closed}]
  reminders: {before: []}
  give_up: 1d
`).Notices()
	terms := got.Routing.Channels
	if a := terms[0]; a.Digest || !a.FullKeys || a.Length != 4000 || got.Channels[0].URL.File != filepath.Join(dir, "home", "slack.url") {
		t.Errorf("a: %+v, %+v", a, got.Channels[0])
	}
	if b := terms[1]; !b.Digest || b.FullKeys || !b.Whole || got.Channels[1].AWS.Region != "eu-north-1" {
		t.Errorf("b: %+v, %+v", b, got.Channels[1].AWS)
	}
	if c := terms[2]; !c.Personal || len(c.Default) != 3 || got.Channels[2].Mail.Port != 2525 {
		t.Errorf("c: %+v, %+v", c, got.Channels[2].Mail)
	}
	if o := got.Routing.Owners; !slices.Equal(o.Domains, []string{"d.example", "g.example"}) {
		t.Errorf("domains that nobody named: %q, want those of the recipients", o.Domains)
	}
	if r := got.Routing.Routes[0]; !slices.Equal(r.Accounts, []string{"111122223333", "44*"}) || !slices.Equal(r.Rules, []string{"key-age-90"}) || !slices.Equal(r.Kinds, []notice.Kind{notice.Closed}) {
		t.Errorf("%+v", r)
	}
	if len(got.Reminders.Before) != 0 || got.Reminders.Overdue != 0 || got.GiveUp != day {
		t.Errorf("%+v, %s", got.Reminders, got.GiveUp)
	}
}

func TestNotices_warnsOfAChannelThatIsToldNothing(t *testing.T) {
	c := loaded(t, simple+"    # nobody routes to the next\n")
	if len(c.Warnings) != 0 {
		t.Errorf("%q", c.Warnings)
	}
	c = loaded(t, "notices: {channels: {team: {kind: slack, url_env: A}}}\n")
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], `channel "team" is told nothing`) {
		t.Errorf("%q", c.Warnings)
	}
}

func TestNotices_noMistakeShowsASecret(t *testing.T) {
	for _, name := range []string{"notices.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", "bad", name))
		if err != nil {
			t.Fatal(err)
		}
		_, err = load(string(data))
		if err == nil || strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "T0SECRET") {
			t.Errorf("%s:\n%v", name, err)
		}
	}
}

// The document shows one file in parts: its first part whole, then channels, then what else the section has.
func TestNotices_theDocumentSaysWhatLoadTakes(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "notices.md"))
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for i, part := range strings.Split(string(data), "```yaml\n") {
		if block, _, ok := strings.Cut(part, "```"); ok && i > 0 {
			parts = append(parts, block)
		}
	}
	if len(parts) != 5 || parts[0] != simple {
		t.Fatalf("%d parts, the first one\n%s", len(parts), parts[0])
	}
	channels, _, _ := strings.Cut(simple, "  routes:")
	c := loaded(t, channels+parts[1]+parts[2]+parts[4]+parts[3])
	if got := c.Notices(); len(got.Channels) != 6 || len(got.Routing.Routes) != 3 || got.Reminders.Overdue != 7*day {
		t.Errorf("%+v", got)
	}
}
