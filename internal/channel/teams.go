package channel

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/keyreeve/keyreeve/internal/notice"
)

// TeamsChannel writes to a channel of Microsoft Teams by a workflow ("when a Teams webhook request is received").
type TeamsChannel struct {
	*poster
	set HookSettings
}

// NewTeams prepares a channel and calls nobody.
func NewTeams(s HookSettings) (*TeamsChannel, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("teams: %w", err)
	}
	return &TeamsChannel{newPoster(s.URL), s}, nil
}

// Name is of notice.Channel.
func (c *TeamsChannel) Name() string { return c.set.Name }

// Send is of notice.Channel. A workflow gives no id.
func (c *TeamsChannel) Send(ctx context.Context, m notice.Message) (notice.Receipt, error) {
	body, err := json.Marshal(teamsMessage(&m))
	if err != nil {
		return notice.Receipt{}, &notice.Failure{Err: fmt.Errorf("write for teams: %w", err), Permanent: true}
	}
	_, err = c.post(ctx, "post to teams", body, http.Header{})
	return notice.Receipt{}, err
}

// An Adaptive Card 1.2, as a workflow posts it. The library that there is for it (go-teams-notify) has no rich text, and its
// text blocks are Markdown.
type teamsPost struct {
	Type        string            `json:"type"`
	Attachments []teamsAttachment `json:"attachments"`
}

type teamsAttachment struct {
	ContentType string    `json:"contentType"`
	Content     teamsCard `json:"content"`
}

type teamsCard struct {
	Schema  string       `json:"$schema"`
	Type    string       `json:"type"`
	Version string       `json:"version"`
	Body    []teamsBlock `json:"body"`
	Teams   teamsLayout  `json:"msteams"`
}

type teamsLayout struct {
	Width string `json:"width"`
}

// teamsBlock is a RichTextBlock: its runs are plain text, in which nothing is a mark.
type teamsBlock struct {
	Type      string     `json:"type"`
	Separator bool       `json:"separator,omitempty"`
	Inlines   []teamsRun `json:"inlines"`
}

type teamsRun struct {
	Type   string `json:"type"`
	Text   string `json:"text"`
	Weight string `json:"weight,omitempty"`
	Subtle bool   `json:"isSubtle,omitempty"`
}

func teamsMessage(m *notice.Message) teamsPost {
	run := func(text string) teamsRun { return teamsRun{Type: "TextRun", Text: text} }
	bold := func(text string) teamsRun { return teamsRun{Type: "TextRun", Text: text, Weight: "Bolder"} }
	block := func(runs ...teamsRun) teamsBlock { return teamsBlock{Type: "RichTextBlock", Inlines: runs} }
	card := teamsCard{
		Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.2",
		Body: []teamsBlock{block(bold(m.Subject))}, Teams: teamsLayout{"Full"},
	}
	for _, s := range m.Sections() {
		heading := block(bold(s.Heading))
		heading.Separator = true
		card.Body = append(card.Body, heading)
		for _, l := range s.Lines {
			runs := []teamsRun{bold(l.Label), run(": " + l.Text)}
			if l.Next != "" {
				runs = append(runs, teamsRun{Type: "TextRun", Text: " Next: " + l.Next, Subtle: true})
			}
			card.Body = append(card.Body, block(runs...))
		}
	}
	if tail := m.Tail(); tail != "" {
		card.Body = append(card.Body, block(run(tail)))
	}
	return teamsPost{Type: "message", Attachments: []teamsAttachment{{"application/vnd.microsoft.card.adaptive", card}}}
}
