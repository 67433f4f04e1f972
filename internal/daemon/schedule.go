package daemon

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule says when accounts are read: at the times of a cron line, each account a little later than that, by as much every
// time, so that not all are read at once.
type Schedule struct {
	times  cron.Schedule
	zone   *time.Location
	jitter time.Duration
}

// ParseSchedule reads a cron line of five fields (minute, hour, day of month, month, day of week), or @hourly, @daily,
// @weekly, @monthly, or @every 6h. zone is the name of a time zone (IANA), empty for UTC; jitter at most half of the
// shortest time between two times.
func ParseSchedule(line, zone string, jitter time.Duration) (*Schedule, error) {
	if strings.Contains(line, "TZ=") {
		return nil, fmt.Errorf("the schedule %q names a time zone: say it apart", line)
	}
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return nil, fmt.Errorf("unknown time zone %q: use a name such as Europe/Berlin", zone)
	}
	times, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor).Parse(line)
	if err != nil {
		return nil, fmt.Errorf("the schedule %q is no cron line: %w", line, err)
	}
	if every, ok := times.(cron.ConstantDelaySchedule); ok {
		times = steady(every.Delay) // cron counts from when it is asked, which no two processes agree upon
	}
	s := &Schedule{times: times, zone: loc, jitter: jitter}
	first := s.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if first.IsZero() {
		return nil, fmt.Errorf("the schedule %q never comes", line)
	}
	if gap := s.Next(first).Sub(first); jitter < 0 || jitter > gap/2 {
		return nil, fmt.Errorf("a jitter of %s is too long for the schedule %q: at most %s", jitter, line, gap/2)
	}
	return s, nil
}

// steady comes every so long since 1970.
type steady time.Duration

func (s steady) Next(t time.Time) time.Time {
	return t.Truncate(time.Second).Add(time.Duration(s) - time.Duration(t.Unix())*time.Second%time.Duration(s))
}

// Next is the first time after t, in UTC; zero: there is none within five years.
func (s *Schedule) Next(t time.Time) time.Time {
	next := s.times.Next(t.In(s.zone))
	if next.IsZero() {
		return next
	}
	return next.UTC()
}

// Last is the last time that is not after t, in UTC; zero: there was none within ten years.
func (s *Schedule) Last(t time.Time) time.Time {
	for _, back := range []time.Duration{time.Hour, 26 * time.Hour, 8 * 24 * time.Hour, 32 * 24 * time.Hour, 370 * 24 * time.Hour, 3660 * 24 * time.Hour} {
		last := time.Time{}
		for at := s.Next(t.Add(-back - time.Second)); !at.IsZero() && !at.After(t); at = s.Next(at) {
			last = at
		}
		if !last.IsZero() {
			return last
		}
	}
	return time.Time{}
}

// Underway tells whether a time of the schedule has come, and some accounts may not be due yet: the spread goes on.
func (s *Schedule) Underway(t time.Time) bool {
	last := s.Last(t)
	return !last.IsZero() && t.Before(last.Add(s.jitter))
}

// Offset is how much later than the schedule an account is read.
func (s *Schedule) Offset(account string) time.Duration {
	if s.jitter < time.Second {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(account)) // never fails
	return time.Duration(h.Sum64()%uint64(s.jitter/time.Second)) * time.Second
}

// Due tells for which time of the schedule the account is to be read, which is not after now; zero: it has been read since.
// judged is when it was last judged, zero for never.
func (s *Schedule) Due(account string, judged, now time.Time) time.Time {
	offset := s.Offset(account)
	at := s.Last(now.Add(-offset))
	if at.IsZero() {
		if judged.IsZero() {
			return now
		}
		return time.Time{}
	}
	if at = at.Add(offset); judged.Before(at) {
		return at
	}
	return time.Time{}
}
