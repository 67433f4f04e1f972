package channel

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/slack-go/slack"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// HookSettings are those of a channel behind an incoming webhook of a chat: Slack's, or a Teams workflow's.
type HookSettings struct {
	Name string
	URL  fact.Secret // whoever knows it can write to the channel
	// PlainHTTP: the address may be http beyond this machine. False is right nearly everywhere.
	PlainHTTP bool
}

// Validate tells what is wrong with s.
func (s HookSettings) Validate() error { return checkURL(s.URL, s.PlainHTTP) }

// SlackChannel writes to a channel of Slack by an incoming webhook.
type SlackChannel struct {
	*poster
	set HookSettings
}

// NewSlack prepares a channel and calls nobody.
func NewSlack(s HookSettings) (*SlackChannel, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("slack: %w", err)
	}
	return &SlackChannel{newPoster(s.URL), s}, nil
}

// Name is of notice.Channel.
func (c *SlackChannel) Name() string { return c.set.Name }

// Send is of notice.Channel. Slack's webhooks give no id.
func (c *SlackChannel) Send(ctx context.Context, m notice.Message) (notice.Receipt, error) {
	body, err := json.Marshal(slackMessage(&m))
	if err != nil {
		return notice.Receipt{}, &notice.Failure{Err: fmt.Errorf("write for slack: %w", err), Permanent: true}
	}
	_, err = c.post(ctx, "post to slack", body, http.Header{})
	return notice.Receipt{}, err
}

// slackMessage says everything in elements of rich text, where nothing is a mark: no mention, no link, no emoji. The text
// beside them is what a phone shows of it, and the only place where Slack looks for marks.
func slackMessage(m *notice.Message) *slack.WebhookMessage {
	never := false
	bold := &slack.RichTextSectionTextStyle{Bold: true}
	blocks := []slack.Block{slack.NewRichTextBlock("", slack.NewRichTextSection(slack.NewRichTextSectionTextElement(m.Subject, bold)))}
	add := func(elements ...slack.RichTextElement) {
		block, ok := blocks[0].(*slack.RichTextBlock)
		if ok {
			block.Elements = append(block.Elements, elements...)
		}
	}
	for _, s := range m.Sections() {
		add(slack.NewRichTextSection(slack.NewRichTextSectionTextElement("\n"+s.Heading+"\n", bold)))
		list := &slack.RichTextList{Type: slack.RTEList, Style: slack.RTEListBullet}
		for _, l := range s.Lines {
			parts := []slack.RichTextSectionElement{
				slack.NewRichTextSectionTextElement(l.Label, bold), slack.NewRichTextSectionTextElement(": "+l.Text, nil),
			}
			if l.Next != "" {
				parts = append(parts, slack.NewRichTextSectionTextElement("\nnext: "+l.Next, &slack.RichTextSectionTextStyle{Italic: true}))
			}
			list.Elements = append(list.Elements, slack.NewRichTextSection(parts...))
		}
		add(list)
	}
	if tail := m.Tail(); tail != "" {
		add(slack.NewRichTextSection(slack.NewRichTextSectionTextElement(tail, nil)))
	}
	return &slack.WebhookMessage{
		Text: slackEscape(m.Subject), Parse: "none", Blocks: &slack.Blocks{BlockSet: blocks}, UnfurlLinks: &never, UnfurlMedia: &never,
	}
}

// slackEscape makes text plain in Slack's mrkdwn: the three characters that it names open links and mentions; what would
// be bold, code or an emoji is taken apart by a character of no width.
func slackEscape(text string) string {
	const apart = "\u2060"
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;",
		"*", "*"+apart, "_", "_"+apart, "~", "~"+apart, "`", "`"+apart, ":", ":"+apart).Replace(text)
}
