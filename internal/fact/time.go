package fact

import (
	"math"
	"time"
)

// Time is an instant in UTC that evidence states, rules out, or leaves open. It is smaller than a
// time.Time and has no location. The zero value is unknown, never the year one.
type Time struct {
	sec   int64
	nsec  int32
	state timeState
}

type timeState uint8

const (
	timeUnknown timeState = iota
	timeNever
	timeKnown
)

// Never is the answer "it did not happen", which is not the same as "it could not be read".
func Never() Time { return Time{state: timeNever} }

// At is the instant t. The zero time.Time gives an unknown Time.
func At(t time.Time) Time {
	if t.IsZero() {
		return Time{}
	}
	return Time{sec: t.Unix(), nsec: int32(t.Nanosecond()), state: timeKnown}
}

// AtUnix is the instant sec seconds and nsec nanoseconds after 1970-01-01T00:00:00Z; nsec is below 1e9.
func AtUnix(sec int64, nsec int32) Time { return Time{sec: sec, nsec: nsec, state: timeKnown} }

// Known tells whether the instant is stated.
func (t Time) Known() bool { return t.state == timeKnown }

// Never tells whether the evidence says that it did not happen.
func (t Time) Never() bool { return t.state == timeNever }

// Unknown tells whether the evidence leaves the instant open.
func (t Time) Unknown() bool { return t.state == timeUnknown }

// Time is the instant in UTC; the zero time.Time unless Known.
func (t Time) Time() time.Time {
	if !t.Known() {
		return time.Time{}
	}
	return time.Unix(t.sec, int64(t.nsec)).UTC()
}

// Unix is the instant in whole seconds since 1970; 0 unless Known.
func (t Time) Unix() int64 { return t.sec }

// Sub is t minus o, saturated at about 292 years. Both must be Known.
func (t Time) Sub(o Time) time.Duration {
	d := t.sec - o.sec
	const limit = math.MaxInt64/int64(time.Second) - 1
	if d > limit {
		return math.MaxInt64
	}
	if d < -limit {
		return math.MinInt64
	}
	return time.Duration(d)*time.Second + time.Duration(t.nsec-o.nsec)
}

// Add is t plus d when t is Known, else t.
func (t Time) Add(d time.Duration) Time {
	if !t.Known() {
		return t
	}
	t.sec += int64(d / time.Second)
	t.nsec += int32(d % time.Second)
	switch {
	case t.nsec >= 1e9:
		t.sec, t.nsec = t.sec+1, t.nsec-1e9
	case t.nsec < 0:
		t.sec, t.nsec = t.sec-1, t.nsec+1e9
	}
	return t
}

// After tells whether t is later than o. Both must be Known.
func (t Time) After(o Time) bool { return t.sec > o.sec || t.sec == o.sec && t.nsec > o.nsec }

// Before tells whether t is earlier than o. Both must be Known.
func (t Time) Before(o Time) bool { return o.After(t) }

// Compare orders instants: unknown first, then never, then by time.
func (t Time) Compare(o Time) int {
	switch {
	case t.state != o.state:
		return int(t.state) - int(o.state)
	case t.sec != o.sec:
		if t.sec < o.sec {
			return -1
		}
		return 1
	default:
		return int(t.nsec) - int(o.nsec)
	}
}

// String is RFC 3339 in UTC, "never" or "unknown".
func (t Time) String() string {
	switch t.state {
	case timeKnown:
		return t.Time().Format(time.RFC3339Nano)
	case timeNever:
		return "never"
	default:
		return "unknown"
	}
}
