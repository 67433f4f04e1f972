package channel_test

import (
	"context"
	"errors"
	"fmt"
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

// cloud is AWS's side: it keeps the last call, or fails.
type cloud struct {
	err        error
	accountErr error
	topic, id  string
	subject    string
	texts      map[string]string
	attributes map[string][]string
	bus, kind  string
	resources  []string
	at         time.Time
	detail     []byte
	findings   [][]byte
}

func (c *cloud) Publish(_ context.Context, topic, id, subject string, texts map[string]string, attributes map[string][]string) (string, error) {
	c.topic, c.id, c.subject, c.texts, c.attributes = topic, id, subject, texts, attributes
	return "m-1", c.err
}

func (c *cloud) PutEvent(_ context.Context, bus, kind string, resources []string, at time.Time, detail []byte) (string, error) {
	c.bus, c.kind, c.resources, c.at, c.detail = bus, kind, resources, at, detail
	return "e-1", c.err
}

func (c *cloud) Account(context.Context) (string, string, error) {
	return "999988887777", "eu-west-1", c.accountErr
}

func (c *cloud) Import(_ context.Context, findings [][]byte) error {
	c.findings = findings
	return c.err
}

func TestSNS_givesTextToPeopleAndJSONToMachines(t *testing.T) {
	c := &cloud{}
	m := digest(t, channel.SNS, "ci-déploy")
	receipt, err := channel.NewSNS("topic", "arn:t", c).Send(t.Context(), m)
	if err != nil || receipt.Answer != "m-1" || c.topic != "arn:t" || c.id != m.ID {
		t.Fatalf("%+v, %v", receipt, err)
	}
	if got, err := notice.Decode([]byte(c.texts["default"])); err != nil || got.ID != m.ID || c.texts["email"] != m.Text() {
		t.Errorf("%v: %q", err, c.texts)
	}
	want := map[string][]string{
		"kind": {"closed", "opened", "unreadable"}, "severity": {"high"}, "account": {"111122223333", "444455556666"}, "rule": {"key-age-90"},
	}
	if d := cmp.Diff(want, c.attributes); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, text := range append(hostile(), "é\u2028") {
		m.Subject = "keyreeve: " + text
		if _, err := channel.NewSNS("topic", "arn:t", c).Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if len(c.subject) > 100 || strings.ContainsFunc(c.subject, func(r rune) bool { return r < ' ' || r > '~' }) || len(c.texts["sms"]) > 140 {
			t.Errorf("subject %q, sms %q", c.subject, c.texts["sms"])
		}
	}
}

func TestSNS_theLongestDigestIsWithinTheLimit(t *testing.T) {
	var cs []notice.Change
	for i := range 300 {
		ch := changes(fmt.Sprintf("%s-%03d", strings.Repeat("é", 60), i))[0]
		ch.Account.ID = fmt.Sprintf("%012d", i)
		cs = append(cs, ch)
	}
	terms := channel.SNS.Terms()
	terms.Name = "t"
	m := compose(t, terms, cs)
	c := &cloud{}
	if _, err := channel.NewSNS("t", "arn:t", c).Send(t.Context(), m[0]); err != nil {
		t.Fatal(err)
	}
	size := len(c.subject)
	for k, v := range c.texts {
		size += len(k) + len(v)
	}
	for k, v := range c.attributes {
		size += len(k) + len(strings.Join(v, `","`)) + 16
	}
	if len(m) != 1 || size > 200<<10 {
		t.Errorf("%d messages, %d bytes", len(m), size)
	}
}

func TestEventBridge_namesWhatHappened(t *testing.T) {
	c := &cloud{}
	b := channel.NewEventBridge("bus", "security", c)
	terms := channel.EventBridge.Terms()
	terms.Name = "bus"
	var kinds []string
	for _, m := range compose(t, terms, changes("a")) {
		receipt, err := b.Send(t.Context(), m)
		if err != nil || receipt.Answer != "e-1" || c.bus != "security" || !c.at.Equal(now) {
			t.Fatalf("%+v, %v", receipt, err)
		}
		if got, err := notice.Decode(c.detail); err != nil || got.ID != m.ID {
			t.Errorf("%v: %s", err, c.detail)
		}
		if v := m.Items[0].Verdict; v != nil && (!slices.Equal(c.resources, []string{v.UserARN}) || v.Key.ID != "AKIAIOSFODNN7EXAMPLE") {
			t.Errorf("resources %q, key %q", c.resources, v.Key.ID)
		}
		kinds = append(kinds, c.kind)
	}
	if !slices.Equal(kinds, []string{"keyreeve verdict opened", "keyreeve verdict closed", "keyreeve account unreadable"}) {
		t.Errorf("%q", kinds)
	}
	if _, err := b.Send(t.Context(), digest(t, channel.EventBridge, "a")); err != nil || c.kind != "keyreeve notice" {
		t.Errorf("a digest: %q, %v", c.kind, err)
	}
	if _, err := b.Send(t.Context(), notice.NewTest(terms, now)); err != nil || c.kind != "keyreeve test" {
		t.Errorf("a test: %q, %v", c.kind, err)
	}
}

func TestSecurityHub_importsWhatOpenedAndClosed(t *testing.T) {
	c := &cloud{}
	write := func(v *finding.Verdict, account, region string, at time.Time, closed notice.Reason) ([]byte, error) {
		if v.User == "bad" {
			return nil, errors.New("it has no account")
		}
		return fmt.Appendf(nil, `{"id":%q,"of":%q,"at":%q,"closed":%q,"key":%q}`, v.ID, account+" "+region, at.Format(time.RFC3339), closed, v.Key.ID), nil
	}
	h := channel.NewSecurityHub("hub", c, write)
	terms := channel.SecurityHub.Terms()
	terms.Name = "hub"
	m := compose(t, terms, changes("a"))
	if len(m) != 1 || len(m[0].Items) != 2 {
		t.Fatalf("%+v", m)
	}
	receipt, err := h.Send(t.Context(), m[0])
	var got []string
	for _, f := range c.findings {
		got = append(got, string(f))
	}
	want := []string{
		`{"id":"v-a","of":"999988887777 eu-west-1","at":"2026-11-22T12:00:00Z","closed":"","key":"AKIAIOSFODNN7EXAMPLE"}`, `{"id":"v-a","of":"999988887777 eu-west-1","at":"2026-11-22T12:00:00Z","closed":"fixed","key":"AKIAIOSFODNN7EXAMPLE"}`,
	}
	if err != nil || receipt.Answer != "2 imported" || !slices.Equal(got, want) {
		t.Errorf("%+v, %v: %q", receipt, err, got)
	}
	// One that is no finding does not keep the others out, and is told.
	_, err = h.Send(t.Context(), compose(t, terms, append(changes("a"), changes("bad")[:1]...))[0])
	if f := asFailure(t, err); !f.Permanent || len(c.findings) != 2 || err.Error() != `2 imported; verdict "v-bad" is no finding: it has no account` {
		t.Errorf("%v, %d findings", err, len(c.findings))
	}
	c.findings, c.accountErr = nil, fact.ErrDenied
	_, err = h.Send(t.Context(), m[0])
	if f := asFailure(t, err); f.Permanent || c.findings != nil || !errors.Is(err, fact.ErrDenied) {
		t.Errorf("the account is not known: %v", err)
	}
	c.accountErr = nil
	_, err = h.Send(t.Context(), notice.NewTest(terms, now))
	if f := asFailure(t, err); !f.Permanent || c.findings != nil {
		t.Errorf("a test: %v", err)
	}
}

func TestAWS_whatFailsIsTriedAgainLater(t *testing.T) {
	for err, after := range map[error]time.Duration{
		fact.ErrThrottled: 5 * time.Minute, fact.ErrDenied: 0, fact.ErrNotFound: 0, fact.ErrUnclear: 0, errors.New("anything"): 0,
	} {
		c := &cloud{err: fmt.Errorf("publish: %w", err)}
		for _, ch := range []notice.Channel{
			channel.NewSNS("n", "arn:t", c), channel.NewEventBridge("n", "", c),
			channel.NewSecurityHub("n", c, func(*finding.Verdict, string, string, time.Time, notice.Reason) ([]byte, error) {
				return []byte("{}"), nil
			}),
		} {
			_, got := ch.Send(t.Context(), digest(t, channel.SNS, "a"))
			if f := asFailure(t, got); f.Permanent || f.After != after || !errors.Is(got, err) || ch.Name() != "n" {
				t.Errorf("%T: %v, after %s", ch, got, f.After)
			}
		}
	}
}
