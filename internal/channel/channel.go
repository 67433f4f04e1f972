// Package channel delivers notices: to Slack, Teams, by mail, to webhooks, and to AWS's own channels: SNS topics, EventBridge
// buses, Security Hub.
//
// Every channel knows one place, and how that place wants a message. What of the message is text stays text there: what
// comes from an account cannot open a tag, begin a link, call a name, or add a header.
//
// It tells apart what will never be taken (the message is at fault) from what may be taken later (the network, the other
// side, its settings): see notice.Failure. It follows no redirect and speaks no plain HTTP beyond this machine, unless
// it is told to. Libraries that sent by themselves were looked at and left: shoutrrr gives neither context nor status,
// and quotes the webhook's address, which is a secret, in its errors.
//
// Its promise: no error, receipt or log line holds a secret of the settings.
package channel

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// Kind is what a channel leads to.
type Kind string

const (
	Slack       Kind = "slack"
	Teams       Kind = "teams"
	Mail        Kind = "mail"
	Webhook     Kind = "webhook"
	SNS         Kind = "sns"
	EventBridge Kind = "eventbridge"
	SecurityHub Kind = "securityhub"
)

// Kinds lists every Kind.
func Kinds() []Kind { return []Kind{Slack, Teams, Mail, Webhook, SNS, EventBridge, SecurityHub} }

// Terms are how channels of that kind are written to, where the settings say nothing else.
//
// Key ids are masked in what leaves AWS: a message is kept and forwarded by others, and people find a key by its user
// and its last characters. What stays inside of AWS is for machines, which join it by the id.
func (k Kind) Terms() notice.Terms {
	switch k {
	case Slack:
		return notice.Terms{Digest: true}
	case Teams: // a card may have 28 KB, with its own marks
		return notice.Terms{Digest: true, Length: 6000}
	case Mail:
		return notice.Terms{Digest: true, Length: 30000, Most: 200, Personal: true}
	case SNS: // a message may have 256 KB, and holds the text beside the JSON
		return notice.Terms{Digest: true, Length: 20000}
	case EventBridge: // an entry may have 256 KB
		return notice.Terms{Whole: true, Most: 40, FullKeys: true}
	case SecurityHub:
		return notice.Terms{
			Digest: true, Whole: true, Most: hubBatch, FullKeys: true, Kinds: []notice.Kind{notice.Opened, notice.Closed},
		}
	default:
		return notice.Terms{Whole: true, Most: 100}
	}
}

// scrub takes secrets out of a text, whole or in the parts that give them away.
func scrub(text string, secrets ...fact.Secret) string {
	for _, s := range secrets {
		for _, part := range telling(s) {
			text = strings.ReplaceAll(text, part, "[secret]")
		}
	}
	return text
}

// telling are the parts of a secret that nobody may see: itself, and of an address what stands between its slashes. The
// longest come first.
func telling(s fact.Secret) []string {
	whole := s.Reveal()
	if whole == "" {
		return nil
	}
	out := []string{whole}
	if _, rest, ok := strings.Cut(whole, "://"); ok {
		_, path, _ := strings.Cut(rest, "/")
		out = append(out, rest)
		if path != "" {
			out = append(out, path)
		}
		for _, part := range strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune("/?&=#", r) }) {
			if len(part) >= 6 {
				out = append(out, part)
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return out
}

// trouble is a failure that is worth retrying, in words: what was done, and why it did not succeed.
func trouble(doing string, err error, secrets ...fact.Secret) error {
	return &notice.Failure{Err: fmt.Errorf("%s: %s", doing, scrub(err.Error(), secrets...))}
}
