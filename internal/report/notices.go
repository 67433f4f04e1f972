package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/notice"
)

const noticesSchema = "keyreeve.notices/1"

// WriteNotices lists messages of the outbox with what became of them, in the order given. waiting is how many there are
// to deliver, in the list or not.
func WriteNotices(w io.Writer, f Format, notices []notice.Record, waiting int, o Options) error {
	if o.MaskKeys {
		notices = slices.Clone(notices)
		for i := range notices {
			notices[i].Subject = fact.MaskKeys(notices[i].Subject)
		}
	}
	return writeRun(w, f, o,
		func(b *bufio.Writer) error { return noticesJSON(b, notices, waiting) },
		func(t *runText) { t.notices(notices, waiting) })
}

type wireMessage struct {
	ID       string        `json:"id"`
	Channel  string        `json:"channel"`
	Subject  string        `json:"subject"`
	AddedAt  string        `json:"added_at"`
	State    string        `json:"state"`    // waiting, sent, given up
	NextTry  *string       `json:"next_try"` // null once it is closed
	Attempts []wireAttempt `json:"attempts"`
}

type wireAttempt struct {
	At     string `json:"at"`
	State  string `json:"state"`
	Answer string `json:"answer"`
	Why    string `json:"why"`
}

func noticesJSON(w *bufio.Writer, notices []notice.Record, waiting int) error {
	out := make([]wireMessage, 0, len(notices))
	for i := range notices {
		n := &notices[i]
		m := wireMessage{n.ID, n.Channel, n.Subject, instant(n.AddedAt), noticeState(n), stamp(known(n.NextTry)), make([]wireAttempt, 0, len(n.Attempts))}
		for _, a := range n.Attempts {
			m.Attempts = append(m.Attempts, wireAttempt{instant(a.At), string(a.State), a.Answer, a.Why})
		}
		out = append(out, m)
	}
	d := newDocument(w)
	d.field("schema", noticesSchema)
	d.field("notices", out)
	d.field("waiting", waiting)
	return d.close()
}

func noticeState(n *notice.Record) string {
	if n.State == "" {
		return "waiting"
	}
	return string(n.State)
}

func (t *runText) notices(notices []notice.Record, waiting int) {
	if len(notices) == 0 {
		t.put("Nobody was told anything yet.\n")
		return
	}
	channel := len("channel")
	for i := range notices {
		channel = max(channel, lipgloss.Width(clean(notices[i].Channel)))
	}
	channel = min(channel, 24)
	const added, state = len("2006-01-02 15:04"), len("given up")
	before := added + 2 + channel + 2 + state + 2
	t.put(t.style(faint, cutColumns(padded("since (UTC)", added)+"  "+padded("channel", channel)+"  "+padded("state", state)+"  id, what it is about, and what became of it", t.width)) + "\n")
	for i := range notices {
		n := &notices[i]
		tn := warn
		switch n.State {
		case notice.Sent:
			tn = good
		case notice.GivenUp:
			tn = bad
		case notice.Failed:
		}
		t.put(strings.TrimSuffix(moment(n.AddedAt), " UTC") + "  " + cellText(clean(n.Channel), channel) + "  " + t.style(tn, padded(noticeState(n), state)) + "  ")
		pieces := []piece{{clean(n.ID), strong}}
		if n.Subject != "" {
			pieces = append(pieces, piece{clean(n.Subject) + ":", normal})
		}
		t.flow(before, before, append(pieces, piece{noticeFate(n), normal})...)
	}
	t.line(0, 2, piece{number(waiting) + " to be delivered.", faint})
}

// noticeFate says what came of the last attempt, and when the next one is.
func noticeFate(n *notice.Record) string {
	if len(n.Attempts) == 0 {
		return "not tried yet"
	}
	last := n.Attempts[len(n.Attempts)-1]
	text := fmt.Sprintf("%s of %s", plural(len(n.Attempts), "attempt"), moment(last.At))
	if len(n.Attempts) > 1 {
		text = fmt.Sprintf("%d attempts, the last of %s", len(n.Attempts), moment(last.At))
	}
	switch {
	case last.Why != "":
		text += ": " + clean(last.Why)
	case last.Answer != "":
		text += ", answered " + clean(last.Answer)
	}
	if !n.NextTry.IsZero() {
		text += "; again " + moment(n.NextTry)
	}
	return text
}
