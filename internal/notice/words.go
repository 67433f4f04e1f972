package notice

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// longest is how many characters a text of an account may have in a message, such as a name or what AWS said.
const longest = 300

// plain is a text of an account in a line: printable, and not too long.
func plain(text string) string { return cut(printable(text), longest) }

// printable is text on one line, of characters that show, without space around it.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		default:
			return unicode.ReplacementChar
		}
	}, text))
}

// cut shortens text to at most n characters, the last three of them dots where something was cut.
func cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return strings.TrimSpace(string([]rune(text)[:n-3])) + "..."
}

// line is the change in words.
func (it *Item) line() Line {
	switch it.Kind {
	case Waits:
		return it.rotationLine()
	case Unreadable:
		return Line{
			Label: "unreadable account",
			Text:  fmt.Sprintf("not read: %s: %s; since %s", plain(it.Gap.Reading), plain(it.Gap.Why), minute(it.At)),
			Next:  "keyreeve doctor tells what is missing; until then nothing is known of it",
		}
	case Expiring:
		return it.exceptionLine()
	default:
		return it.verdictLine()
	}
}

func (it *Item) verdictLine() Line {
	v := it.Verdict
	l := Line{Label: fmt.Sprintf("%s %s %s", it.Kind.words(), strings.ToUpper(string(v.Severity)), plain(v.Rule))}
	parts := []string{subjectOf(v)}
	if v.Message != "" && it.Kind != Closed { // which speaks of how it was
		parts[0] += ": " + plain(v.Message)
	}
	switch it.Kind {
	case Closed:
		l.Label += ", " + string(it.Why)
		parts = append(parts, "closed "+minute(it.At))
		if it.Why == Excepted && v.Exception != nil {
			parts = append(parts, "accepted by "+plain(v.Exception.Owner)+" until "+date(v.Exception.Expires)+": "+plain(v.Exception.Reason))
		}
	case DueSoon:
		parts = append(parts, "fails from "+minute(v.Due.Time())+" on")
		l.Next = next(v)
	default:
		if v.Since.Known() {
			parts = append(parts, "fails since "+minute(v.Since.Time()))
		}
		l.Next = next(v)
	}
	l.Text = strings.Join(it.whose(parts), "; ")
	return l
}

// words is the kind for people, also after a number.
func (k Kind) words() string {
	switch k {
	case DueSoon:
		return "due soon"
	case Waits:
		return "waiting"
	case Expiring:
		return "ending"
	default:
		return string(k)
	}
}

// whose adds who the owner is, and how the key is described.
func (it *Item) whose(parts []string) []string {
	if it.Owner != "" {
		parts = append(parts, "owner "+plain(it.Owner))
	}
	if it.Note != "" {
		parts = append(parts, "key described as "+plain(it.Note))
	}
	return parts
}

func (it *Item) rotationLine() Line {
	r := it.Rotation
	text := "the rotation of user " + plain(r.User)
	if r.KeyID != "" {
		text += ", key " + plain(r.KeyID) + ","
	}
	text += " waits: " + plain(r.Why)
	return Line{
		Label: "rotation " + plain(r.State),
		Text:  strings.Join(it.whose([]string{text, "since " + minute(it.At)}), "; "),
		Next:  "keyreeve rotate show " + plain(r.ID),
	}
}

func (it *Item) exceptionLine() Line {
	e := it.Exception
	about := "user " + plain(e.User)
	if e.Key != "" {
		about += ", key " + plain(e.Key)
	}
	return Line{
		Label: "exception ends " + plain(e.Rule),
		Text:  fmt.Sprintf("%s: accepted by %s until %s: %s; then it fails again", about, plain(e.Owner), date(e.Expires), plain(e.Reason)),
		Next:  "fix what it covers, or accept it anew in " + plain(e.Origin),
	}
}

// subjectOf names what a verdict is about.
func subjectOf(v *finding.Verdict) string {
	name := "user " + plain(v.User)
	switch v.User {
	case "":
		name = "the account"
	case fact.RootName:
		name = "the root user"
	}
	switch k := v.Key; {
	case k == nil:
	case k.ID != "":
		name += ", key " + plain(k.ID)
	case k.Slot > 0:
		name += fmt.Sprintf(", key slot %d", k.Slot)
	default:
		name += ", a key"
	}
	return name
}

// next is the next move about a failing verdict.
func next(v *finding.Verdict) string {
	switch v.Remedy {
	case finding.Rotate:
		return "replace it with keyreeve rotate start"
	case finding.Deactivate, finding.Delete, finding.KeepOne:
		return "keyreeve plan shows what to do, and who may notice"
	case finding.Guide:
		return "keyreeve rules show " + plain(v.Rule) + " lists the steps"
	default:
		return ""
	}
}

// minute writes an instant for people, in UTC.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }

func date(t fact.Time) string {
	if !t.Known() {
		return "an unknown day"
	}
	return t.Time().Format("2006-01-02")
}
