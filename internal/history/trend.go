package history

import (
	"math"
	"slices"
	"time"
)

// Point is what stood of a set of accounts at the end of a day, UTC.
type Point struct {
	Day         time.Time // its first instant
	Accounts    int       // judged that day or before
	Incomplete  int       // of them, those whose last judging was not whole
	Users       int
	Keys        int
	ActiveKeys  int
	Failing     int         // verdicts that fail
	FailingKeys int         // keys of which a verdict fails
	Ages        map[int]int // active keys by AgeStep
	Opened      int         // verdicts that opened that day
	Closed      int         // verdicts that closed that day, for any reason
	// Fixes are how long the verdicts that were fixed that day had been open.
	Fixes []time.Duration
}

// AgeStep is the step of a key of that age: exact to the day up to 120 days, to a twentieth from there on. Negative ages
// are those of keys younger than the instant judged at.
func AgeStep(age time.Duration) int {
	days := int(max(age, 0) / (24 * time.Hour))
	if days <= exactDays {
		return days
	}
	return exactDays + 1 + int(math.Log(float64(days)/exactDays)/math.Log(stepFactor))
}

const (
	exactDays  = 120
	stepFactor = 1.05
)

// stepDays is the middle of a step, in days.
func stepDays(step int) float64 {
	if step <= exactDays {
		return float64(step)
	}
	return exactDays * math.Pow(stepFactor, float64(step-exactDays-1)+0.5)
}

// MedianAge is the (lower) median age in days of the active keys, exact to the day up to 120 days, to a twentieth from there on; false:
// there is none.
func (p *Point) MedianAge() (days float64, ok bool) {
	total := 0
	for _, n := range p.Ages {
		total += n
	}
	if total == 0 {
		return 0, false
	}
	steps := make([]int, 0, len(p.Ages))
	for s := range p.Ages {
		steps = append(steps, s)
	}
	slices.Sort(steps)
	seen := 0
	for _, s := range steps {
		seen += p.Ages[s]
		if 2*seen >= total {
			return stepDays(s), true
		}
	}
	return stepDays(steps[len(steps)-1]), true
}

// TimeToFix is the median of Fixes; false: nothing was fixed.
func (p *Point) TimeToFix() (time.Duration, bool) {
	n := len(p.Fixes)
	if n == 0 {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(p.Fixes))
	if n%2 == 1 {
		return sorted[n/2], true
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2, true
}
