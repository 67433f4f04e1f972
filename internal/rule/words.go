package rule

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func dayCount(n int) string { return plural(n, "day") }

// limitText writes a threshold as people set it: whole days where it is that, else all its units.
func limitText(d time.Duration) string {
	if d%Day == 0 {
		return dayCount(int(d / Day))
	}
	return fullDuration(d)
}

// shortDuration writes d with its two largest units and no zero ones: 12 s, 3 min, 4 h 10 min, 2 d 3 h.
func shortDuration(d time.Duration) string { return fullDuration(d.Truncate(secondUnit(d))) }

// secondUnit is the smallest unit that shortDuration writes.
func secondUnit(d time.Duration) time.Duration {
	switch {
	case d < time.Hour:
		return time.Second
	case d < Day:
		return time.Minute
	default:
		return time.Hour
	}
}

// fullDuration writes d with every unit that it has, down to parts of a second: 90 d 1 s. d is not negative.
func fullDuration(d time.Duration) string {
	var parts []string
	for _, u := range []struct {
		size time.Duration
		name string
	}{{Day, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if n := d / u.size; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
			d -= n * u.size
		}
	}
	if d > 0 || len(parts) == 0 {
		s := fmt.Sprintf("%d", d/time.Second)
		if part := d % time.Second; part > 0 {
			s += strings.TrimRight(fmt.Sprintf(".%09d", part), "0")
		}
		parts = append(parts, s+" s")
	}
	return strings.Join(parts, " ")
}

// beside writes d, rounded down, as coarsely as it can be while the text still lies on the side of limit where d lies:
// 91 days, but 90 d 1 s beside a limit of 90 days. d is not negative.
func beside(d, limit time.Duration) string {
	side := cmp.Compare(d, limit)
	if whole := d.Truncate(Day); cmp.Compare(whole, limit) == side {
		return dayCount(int(whole / Day))
	}
	for _, unit := range []time.Duration{secondUnit(d), time.Second} {
		if rough := d.Truncate(unit); cmp.Compare(rough, limit) == side {
			return fullDuration(rough)
		}
	}
	return fullDuration(d)
}

const madeLater = "made after the instant judged at"

// withSeconds adds a threshold to facts, exactly, where its whole days do not say it all.
func withSeconds(facts map[string]any, name string, limit time.Duration) map[string]any {
	if limit%Day != 0 {
		facts[name] = int64(limit / time.Second)
	}
	return facts
}
