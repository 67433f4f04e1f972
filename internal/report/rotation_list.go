package report

import (
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/rotate"
)

const (
	rotationStateWidth = len("deactivating")
	rotationSinceWidth = len("since")
	rotationNextWidth  = len("in 45min")
	leastWhy           = 28 // columns for why; with fewer it stands on lines of its own
	mostUser           = 32 // columns of a user's name in the list
)

func (t *rotationText) list(rs []rotate.Rotation) {
	if len(rs) == 0 {
		t.put("No rotation is under way; --all lists those that are over.\n")
		return
	}
	id, user := len("rotation"), len("user")
	for i := range rs {
		id = max(id, lipgloss.Width(clean(rs[i].ID)))
		user = max(user, lipgloss.Width(userName(rs[i].User)))
	}
	user = min(user, mostUser)
	times := rotationSinceWidth + 2 + rotationNextWidth
	before := id + 2 + user + 2 + rotationStateWidth + 2 + times
	narrow, stacked := before > t.width, before+2+leastWhy > t.width
	head := padded("rotation", id) + "  " + padded("user", user) + "  " + padded("state", rotationStateWidth) +
		"  " + padded("since", rotationSinceWidth) + "  " + padded("next", rotationNextWidth)
	switch {
	case narrow:
		head = "rotation user state"
	case !stacked:
		head += "  why"
	}
	t.put(t.style(faint, strings.TrimRight(head, " ")) + "\n")
	for i := range rs {
		t.row(&rs[i], id, user, narrow, stacked)
	}
	t.blank()
	t.line(0, 2, tallyRotations(rs)...)
}

// row writes one rotation: narrow without its times in the first line, stacked with its reason in a line of its own.
func (t *rotationText) row(r *rotate.Rotation, id, user int, narrow, stacked bool) {
	word, tn := stateWord(r.State)
	since, next := sinceText(r.EnteredAt, t.now), nextText(r, t.now)
	why := piece{strings.TrimSpace(clean(r.Why)), normal}
	if narrow {
		t.line(0, 4, piece{clean(r.ID), strong}, piece{userName(r.User), normal}, piece{word, tn})
		t.line(4, 6, piece{"since", faint}, piece{since + ",", normal}, piece{"next", faint}, piece{next, normal})
		if why.text != "" {
			t.line(4, 6, why)
		}
		return
	}
	t.put(t.style(strong, padded(clean(r.ID), id)) + "  " + cellText(userName(r.User), user) + "  " +
		t.style(tn, word) + strings.Repeat(" ", max(0, rotationStateWidth-lipgloss.Width(word))) + "  " + padded(since, rotationSinceWidth) + "  ")
	col := id + 2 + user + 2 + rotationStateWidth + 2 + rotationSinceWidth + 2 + rotationNextWidth + 2
	switch {
	case why.text == "":
		t.put(next + "\n")
	case stacked:
		t.put(next + "\n")
		t.line(4, 6, why)
	default:
		t.put(padded(next, rotationNextWidth) + "  ")
		t.flow(col, col, why)
	}
}

// sinceText is short for how long ago t was: 3d, 5h.
func sinceText(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return short(max(0, now.Sub(t)))
}

// nextText is short for what moves a rotation next: a time, a person, or nothing.
func nextText(r *rotate.Rotation, now time.Time) string {
	wait := r.NextAt.Sub(now)
	switch {
	case r.State.Over():
		return "-"
	case r.State == rotate.Held || r.State == rotate.Conflict:
		return "a person"
	case r.NextAt.IsZero() || wait <= 0:
		return "now"
	}
	unit := time.Minute // rounded up: nobody comes too early
	switch {
	case wait > 2*day:
		unit = day
	case wait > time.Hour:
		unit = time.Hour
	}
	wait = (wait + unit - 1) / unit * unit
	if wait == day && unit == time.Hour {
		return "in 24h"
	}
	return "in " + short(wait)
}

// tallyRotations counts: 4 rotations, 3 not over, 2 for a person to decide.
func tallyRotations(rs []rotate.Rotation) []piece {
	over, person, blocked := 0, 0, 0
	for i := range rs {
		switch s := rs[i].State; {
		case s.Over():
			over++
		case s == rotate.Held || s == rotate.Conflict:
			person++
		case s == rotate.Blocked:
			blocked++
		}
	}
	out := []piece{{plural(len(rs), "rotation") + ", " + number(len(rs)-over) + " not over", strong}}
	add := func(n int, what string) {
		if n > 0 {
			out[len(out)-1].text += ","
			out = append(out, piece{number(n) + " " + what, warn})
		}
	}
	add(person, "for a person to decide")
	add(blocked, "without a permission")
	return out
}
