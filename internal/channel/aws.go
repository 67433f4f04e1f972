package channel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// Topic publishes to a topic of SNS.
type Topic interface {
	// Publish gives the id that SNS gave the message. id is ours, by which a FIFO topic takes it once. texts are by protocol,
	// with one under default; attributes are lists, for filters.
	Publish(ctx context.Context, topic, id, subject string, texts map[string]string, attributes map[string][]string) (string, error)
}

// Bus puts events on a bus of EventBridge.
type Bus interface {
	// PutEvent gives the id of the event. bus is a name or an ARN; empty is the account's default one. detail is JSON.
	PutEvent(ctx context.Context, bus, kind string, resources []string, at time.Time, detail []byte) (string, error)
}

// Hub imports findings into Security Hub.
type Hub interface {
	// Account tells whose hub it is, and where: it takes findings of its own account only.
	Account(ctx context.Context) (id, region string, err error)
	// Import takes at most 100 findings in JSON (ASFF). An error where one of them was not taken.
	Import(ctx context.Context, findings [][]byte) error
}

// SNSChannel publishes messages to a topic: as text for people (email, SMS), as JSON (keyreeve.notice/1) for everything else.
type SNSChannel struct {
	name, arn string
	topic     Topic
}

// NewSNS makes a channel of a topic, named by its ARN.
func NewSNS(name, arn string, topic Topic) *SNSChannel { return &SNSChannel{name, arn, topic} }

// Name is of notice.Channel.
func (c *SNSChannel) Name() string { return c.name }

// Limits of SNS.
const (
	longestSubject    = 100
	longestSMS        = 140
	longestAttributes = 50 // values of one attribute that we send; all attributes count into the size of a message
)

// Send is of notice.Channel.
func (c *SNSChannel) Send(ctx context.Context, m notice.Message) (notice.Receipt, error) {
	body, err := m.Encode()
	if err != nil {
		return notice.Receipt{}, &notice.Failure{Err: err, Permanent: true}
	}
	subject := ascii(m.Subject)
	texts := map[string]string{"default": string(body), "email": m.Text(), "sms": cutASCII(subject, longestSMS)}
	id, err := c.topic.Publish(ctx, c.arn, m.ID, cutASCII(subject, longestSubject), texts, attributes(&m))
	if err != nil {
		return notice.Receipt{}, awsFailure(err)
	}
	return notice.Receipt{Answer: id}, nil
}

// attributes are what subscriptions may filter by: kind, severity, account, rule, each a list.
func attributes(m *notice.Message) map[string][]string {
	sets := map[string]map[string]bool{"kind": {}, "severity": {}, "account": {}, "rule": {}}
	for i := range m.Items {
		it := &m.Items[i]
		sets["kind"][string(it.Kind)] = true
		sets["account"][it.Account.ID] = true
		if v := it.Verdict; v != nil {
			sets["severity"][string(v.Severity)] = true
			sets["rule"][v.Rule] = true
		}
	}
	if m.Test {
		sets["kind"]["test"] = true
	}
	out := map[string][]string{}
	for name, set := range sets {
		delete(set, "")
		if values := slices.Sorted(maps.Keys(set)); len(values) > 0 {
			out[name] = values[:min(len(values), longestAttributes)]
		}
	}
	return out
}

// ascii is text as a subject may be: printable ASCII.
func ascii(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

func cutASCII(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return text[:n-3] + "..."
}

// EventBridgeChannel puts messages on a bus: source keyreeve, detail-type "keyreeve notice" or, of a single change,
// "keyreeve verdict opened" and so on, detail the JSON of the message.
type EventBridgeChannel struct {
	name, bus string
	events    Bus
}

// NewEventBridge makes a channel of a bus, by its name or ARN; empty is the account's default one.
func NewEventBridge(name, bus string, events Bus) *EventBridgeChannel {
	return &EventBridgeChannel{name, bus, events}
}

// Name is of notice.Channel.
func (c *EventBridgeChannel) Name() string { return c.name }

// Send is of notice.Channel.
func (c *EventBridgeChannel) Send(ctx context.Context, m notice.Message) (notice.Receipt, error) {
	body, err := m.Encode()
	if err != nil {
		return notice.Receipt{}, &notice.Failure{Err: err, Permanent: true}
	}
	var resources []string
	for i := range m.Items {
		if v := m.Items[i].Verdict; v != nil && v.UserARN != "" {
			resources = append(resources, v.UserARN)
		}
	}
	slices.Sort(resources)
	id, err := c.events.PutEvent(ctx, c.bus, DetailType(&m), slices.Compact(resources), m.At, body)
	if err != nil {
		return notice.Receipt{}, awsFailure(err)
	}
	return notice.Receipt{Answer: id}, nil
}

// DetailType is that of the event of a message.
func DetailType(m *notice.Message) string {
	switch {
	case m.Test:
		return "keyreeve test"
	case m.Thread == "" || len(m.Items) != 1:
		return "keyreeve notice"
	}
	switch k := m.Items[0].Kind; k {
	case notice.Waits:
		return "keyreeve rotation waits"
	case notice.Unreadable:
		return "keyreeve account unreadable"
	case notice.Expiring:
		return "keyreeve exception expiring"
	default:
		return "keyreeve verdict " + string(k)
	}
}

// hubBatch is how many findings Security Hub takes at once.
const hubBatch = 100

// HubChannel imports opened verdicts into Security Hub, and archives them when they close. A finding keeps its id, so that an
// import anew changes it; Security Hub takes no import that is older than what it has. What its users write into a
// finding (workflow, notes) is left alone.
type HubChannel struct {
	name  string
	hub   Hub
	write ASFF
}

// ASFF writes the finding of a verdict for the hub of an account and region, as of at: open, or closed for a reason.
type ASFF func(v *finding.Verdict, account, region string, at time.Time, closed notice.Reason) ([]byte, error)

// NewSecurityHub makes a channel of Security Hub.
func NewSecurityHub(name string, hub Hub, write ASFF) *HubChannel {
	return &HubChannel{name, hub, write}
}

// Name is of notice.Channel.
func (c *HubChannel) Name() string { return c.name }

// Send is of notice.Channel. The import of a message that was imported already changes nothing. A test is refused: there is no
// finding that is none.
func (c *HubChannel) Send(ctx context.Context, m notice.Message) (notice.Receipt, error) {
	if m.Test {
		return notice.Receipt{}, &notice.Failure{Permanent: true, Err: errors.New("a test would stay in Security Hub as a finding")}
	}
	account, region, err := c.hub.Account(ctx)
	if err != nil {
		return notice.Receipt{}, awsFailure(err)
	}
	var findings [][]byte
	var bad []error
	for i := range m.Items {
		it := &m.Items[i]
		if it.Verdict == nil || it.Kind != notice.Opened && it.Kind != notice.Closed {
			continue
		}
		f, err := c.write(it.Verdict, account, region, it.At, it.Why)
		if err != nil {
			bad = append(bad, fmt.Errorf("verdict %q is no finding: %w", it.Verdict.ID, err))
			continue
		}
		findings = append(findings, f)
	}
	if len(findings) > 0 {
		if err := c.hub.Import(ctx, findings); err != nil {
			return notice.Receipt{}, awsFailure(err)
		}
	}
	answer := fmt.Sprintf("%d imported", len(findings))
	if len(bad) > 0 { // the others are there, and these will never be
		return notice.Receipt{}, &notice.Failure{Permanent: true, Err: fmt.Errorf("%s; %w", answer, errors.Join(bad...))}
	}
	return notice.Receipt{Answer: answer}, nil
}

// awsFailure says when to try again what AWS did not take. A missing permission or a topic that is gone may be put right before
// the message is given up. A call of which nobody knows whether it took effect is made again: at least once.
func awsFailure(err error) error {
	f := &notice.Failure{Err: err}
	if errors.Is(err, fact.ErrThrottled) {
		f.After = throttledPause
	}
	return f
}

// throttledPause is after the SDK has waited and tried again by itself.
const throttledPause = 5 * time.Minute
