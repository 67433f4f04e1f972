package notice

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// Message is what a channel delivers: one change, or those of a cycle.
type Message struct {
	ID        string // of a digest by what is in it; of a single change its item's
	Channel   string
	Recipient string // addresses, with a comma between them; empty where the channel is one place
	// Thread is the same for all messages about one verdict, rotation, account or exception; empty for a digest.
	Thread  string
	At      time.Time // when it was composed, UTC
	Subject string    // one line
	Test    bool      // somebody tries the channel: it tells no change
	Items   []Item    // by account, then as urgent as they are
	More    int       // changes that were left out for the length
}

// Item is one change in a message. Its Change has no tags, and key ids as the channel shows them.
type Item struct {
	ID    string
	Owner string // as the user's tags name it; may be empty
	Note  string // how the console describes the key; may be empty
	Change
}

// Section is the part of a message about one account, in plain words. Nothing in it is escaped for any markup, and it has
// no character that is not printable.
type Section struct {
	Heading string
	Lines   []Line
}

// Line is one change in words.
type Line struct {
	Label string // what it is: opened HIGH key-age-90
	Text  string // a sentence about whom it is about
	Next  string // the next move; may be empty
}

// Sections are the changes of m, account by account.
func (m *Message) Sections() []Section {
	var out []Section
	for i := range m.Items {
		it := &m.Items[i]
		if i == 0 || it.Account.ID != m.Items[i-1].Account.ID {
			out = append(out, Section{Heading: m.accountName(it.Account)})
		}
		last := &out[len(out)-1]
		last.Lines = append(last.Lines, it.line())
	}
	return out
}

// accountName is the name of a, or of an item of the same account that knows it better: an exception knows only the id.
func (m *Message) accountName(a fact.Account) string {
	for i := range m.Items {
		if o := m.Items[i].Account; o.ID == a.ID && a.Name == "" {
			a = o
		}
	}
	return accountName(a)
}

// Tail says how much was left out; empty: nothing.
func (m *Message) Tail() string {
	if m.More == 0 {
		return ""
	}
	return fmt.Sprintf("and %d more", m.More)
}

// Worst is the highest severity in m; empty where no change has one.
func (m *Message) Worst() finding.Severity {
	var worst finding.Severity
	for i := range m.Items {
		if s := m.Items[i].severity(); s.Rank() > worst.Rank() {
			worst = s
		}
	}
	return worst
}

// Text is m in plain text; it ends with a line break.
func (m *Message) Text() string {
	var b strings.Builder
	b.WriteString(m.Subject + "\n")
	for _, s := range m.Sections() {
		b.WriteString("\n" + s.Heading + "\n")
		for _, l := range s.Lines {
			b.WriteString("- " + l.Label + ": " + l.Text + "\n")
			if l.Next != "" {
				b.WriteString("  next: " + l.Next + "\n")
			}
		}
	}
	if tail := m.Tail(); tail != "" {
		b.WriteString("\n" + tail + "\n")
	}
	return b.String()
}

// Markdown is m in CommonMark; it ends with a line break. What comes from accounts is plain text in it.
func (m *Message) Markdown() string {
	var b strings.Builder
	b.WriteString("**" + Escape(m.Subject) + "**\n")
	for _, s := range m.Sections() {
		b.WriteString("\n" + Escape(s.Heading) + "\n\n")
		for _, l := range s.Lines {
			b.WriteString("- **" + Escape(l.Label) + "**: " + Escape(l.Text) + "\n")
			if l.Next != "" {
				b.WriteString("  next: " + Escape(l.Next) + "\n")
			}
		}
	}
	if tail := m.Tail(); tail != "" {
		b.WriteString("\n" + tail + "\n")
	}
	return b.String()
}

// Escape makes a line of plain text the same text in Markdown: no mark of it is one, and no name, address or host in it
// becomes a mention or a link.
func Escape(line string) string {
	escaped := strings.NewReplacer(
		`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`, "~", `\~`, "#", `\#`, "!", `\!`,
		"$", `\$`, "&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "&#64;", "://", "&#58;//",
		// Sites make a link of www. and any host.
		"ww.", "ww&#46;", "wW.", "wW&#46;", "Ww.", "Ww&#46;", "WW.", "WW&#46;",
	).Replace(printable(line))
	switch { // what begins a list, a heading or a rule does so only at the beginning
	case escaped == "":
		return ""
	case strings.ContainsAny(escaped[:1], "-+=:"):
		return `\` + escaped
	}
	if digits := strings.TrimLeft(escaped, "0123456789"); len(digits) < len(escaped) && digits != "" && strings.ContainsAny(digits[:1], ".)") {
		return escaped[:len(escaped)-len(digits)] + `\` + digits
	}
	return escaped
}

// NewTest is a message that tries a channel. t says how it is written to.
func NewTest(t Terms, now time.Time) Message {
	m := Message{
		Channel: t.Name, At: now.UTC(), Test: true, Recipient: strings.Join(t.Default, ", "),
		Subject: "keyreeve: this is a test of channel " + t.Name + ", nothing happened",
	}
	m.ID = hashed("test", t.Name, now.UTC().Format(time.RFC3339Nano))
	return m
}

// compare is the order of items: by account, the urgent first, then as verdicts are ordered everywhere.
func (it *Item) compare(o *Item) int {
	if c := cmp.Or(cmp.Compare(it.Account.ID, o.Account.ID), cmp.Compare(it.urgency(), o.urgency()),
		cmp.Compare(o.severity().Rank(), it.severity().Rank())); c != 0 {
		return c
	}
	if it.Verdict != nil && o.Verdict != nil {
		if c := finding.Compare(it.Verdict, o.Verdict); c != 0 {
			return c
		}
	}
	return cmp.Or(it.At.Compare(o.At), cmp.Compare(it.ID, o.ID))
}

func (it *Item) urgency() int { return slices.Index(Kinds(), it.Kind) }

func accountName(a fact.Account) string {
	name := plain(a.ID)
	if name == "" {
		name = "every account"
	}
	if a.Name != "" {
		name += " " + plain(a.Name)
	}
	if a.OU != "" {
		name += " (" + plain(a.OU) + ")"
	}
	return name
}
