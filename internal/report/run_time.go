package report

import (
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// clock is the UTC time of day of t, with its date unless that is the day of base.
func clock(t, base time.Time) string {
	t, base = t.UTC(), base.UTC()
	if t.IsZero() {
		return "-"
	}
	if t.Truncate(day).Equal(base.Truncate(day)) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// moment writes an instant for people, to the minute: 2026-11-29 09:30 UTC.
func moment(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// relative writes how far t is from now, in brackets and rounded down; empty for the zero time.
func relative(t, now time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return ""
	case d.Abs() < time.Minute:
		return "(now)"
	case d < 0:
		unit := time.Hour // rounded up: nobody comes too early
		if -d >= 2*day {
			unit = day
		}
		return "(in " + length(-d+unit-1) + ")"
	default:
		return "(" + length(d) + " ago)"
	}
}

// length writes a time with its largest unit: 3 hours. It rounds down.
func length(d time.Duration) string {
	switch {
	case d < time.Minute:
		return plural(int(d/time.Second), "second")
	case d < time.Hour:
		return plural(int(d/time.Minute), "minute")
	case d < 2*day:
		return plural(int(d/time.Hour), "hour")
	default:
		return plural(int(d/day), "day")
	}
}

// seconds writes a length of time of the wire exactly where it is whole days: 7 days, 1 d 12 h.
func seconds(n int64) string {
	d := time.Duration(n) * time.Second
	if d%day == 0 {
		return plural(int(d/day), "day")
	}
	return span(d)
}

// known is t as evidence has it: the zero time is not known.
func known(t time.Time) fact.Time {
	if t.IsZero() {
		return fact.Time{}
	}
	return fact.At(t)
}
