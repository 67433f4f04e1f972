package history

import (
	"maps"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/finding"
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

// edges are where the steps of ages begin, in days: each day up to 120, then steps of a twentieth at most that meet 180 and 365.
var edges = func() []int {
	var out []int
	for d := range 120 {
		out = append(out, d)
	}
	const oldest = 20_000 // days; nothing in AWS is as old
	for _, span := range [][2]int{{120, 180}, {180, 365}, {365, oldest}} {
		for d := span[0]; d < span[1]; d = d*21/20 + 1 {
			out = append(out, d)
		}
	}
	return out
}()

// AgeStep is the step of a key of that age. A negative age, that of a key younger than the instant judged at, is in the first.
func AgeStep(age time.Duration) int {
	days := int(max(age, 0) / (24 * time.Hour))
	i, found := slices.BinarySearch(edges, days)
	if !found {
		i--
	}
	return i
}

// StepAge is the least age of the step, in days.
func StepAge(step int) int { return edges[min(max(step, 0), len(edges)-1)] }

// Bands sums steps into the bands in which reports and metrics tell ages; youngest first, none left out. Exact: no step lies
// across an edge of them.
func Bands(ages map[int]int) []finding.AgeBand {
	out := make([]finding.AgeBand, len(bandEdges))
	for i := range out {
		if out[i].From = bandEdges[i]; i+1 < len(out) {
			out[i].To = bandEdges[i+1]
		}
	}
	for step, n := range ages {
		i, found := slices.BinarySearch(bandEdges, StepAge(step))
		if !found {
			i--
		}
		out[i].Keys += n
	}
	return out
}

// bandEdges are where the bands begin, in days.
var bandEdges = []int{0, 30, 45, 90, 180, 365}

// MedianAge is the (lower) median age in days of the active keys: of the step that it is in, the least. So it is exact up to 120
// days, and up to a twentieth too low from there on; false: there is none.
func (p *Point) MedianAge() (days int, ok bool) {
	total := 0
	for _, n := range p.Ages {
		total += n
	}
	if total == 0 {
		return 0, false
	}
	seen := 0
	for _, s := range slices.Sorted(maps.Keys(p.Ages)) {
		seen += p.Ages[s]
		if 2*seen >= total {
			return StepAge(s), true
		}
	}
	return 0, false // not reached: all of them were seen
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
