package rule

import (
	"fmt"
	"time"
)

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func dayCount(n int) string { return plural(n, "day") }

// limitText writes a threshold as people set it: whole days where it is that, else hours, minutes, seconds.
func limitText(d time.Duration) string {
	if d%Day == 0 {
		return dayCount(int(d / Day))
	}
	return shortDuration(d)
}

// shortDuration writes d with its largest units and no zero ones: 12 s, 3 min, 4 h 10 min, 2 d 3 h.
func shortDuration(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return two(int64(d/time.Minute), "min", int64(d%time.Minute/time.Second), "s")
	case d < Day:
		return two(int64(d/time.Hour), "h", int64(d%time.Hour/time.Minute), "min")
	default:
		return two(int64(d/Day), "d", int64(d%Day/time.Hour), "h")
	}
}

func two(a int64, unitA string, b int64, unitB string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unitA)
	}
	return fmt.Sprintf("%d %s %d %s", a, unitA, b, unitB)
}
