package history_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/internal/history"
)

const day = 24 * time.Hour

func TestMedianAge_isExactForFourMonthsAndWithinATwentiethLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		days := rapid.SliceOfN(rapid.IntRange(0, 5000), 1, 60).Draw(t, "ages")
		p := history.Point{Ages: map[int]int{}}
		for _, d := range days {
			p.Ages[history.AgeStep(time.Duration(d)*day+time.Hour)]++
		}
		slices.Sort(days)
		want := days[(len(days)-1)/2]
		got, ok := p.MedianAge()
		if !ok || got > want || got < want && (want < 121 || float64(want-got) > float64(want)/20) {
			t.Errorf("median of %v: %v, want %v", days, got, want)
		}
	})
}

func TestAgeStep_meetsTheBandsOfTheReports(t *testing.T) {
	for _, edge := range []int{0, 30, 45, 90, 180, 365} {
		below, at := history.AgeStep(time.Duration(edge)*day-1), history.AgeStep(time.Duration(edge)*day)
		if history.StepAge(at) != edge || edge > 0 && history.StepAge(below) >= edge {
			t.Errorf("%d days: steps %d and %d begin at %d and %d", edge, below, at, history.StepAge(below), history.StepAge(at))
		}
	}
	if got := history.StepAge(history.AgeStep(100_000 * day)); got < 19_000 {
		t.Errorf("very old: %d days", got)
	}
}

// Counted by the ages themselves, not by steps.
func TestBands_countEachKeyWhereItsAgeIs(t *testing.T) {
	edges := []int{0, 30, 45, 90, 180, 365}
	rapid.Check(t, func(t *rapid.T) {
		ages := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
			around := rapid.SampledFrom(append(edges, 500, 5000, 100_000)).Draw(t, "days")
			return time.Duration(around)*day + time.Duration(rapid.Int64Range(-int64(2*day), int64(2*day)).Draw(t, "more"))
		}), 0, 80).Draw(t, "ages")
		steps, want := map[int]int{}, make([]int, len(edges))
		for _, age := range ages {
			steps[history.AgeStep(age)]++
			for i := len(edges) - 1; i >= 0; i-- {
				if i == 0 || age >= time.Duration(edges[i])*day {
					want[i]++
					break
				}
			}
		}
		got := history.Bands(steps)
		for i, b := range got {
			to := append(edges[1:], 0)[i]
			if b.From != edges[i] || b.To != to || b.Keys != want[i] {
				t.Fatalf("band %d is %+v, want %d keys from %d to %d, of ages %v", i, b, want[i], edges[i], to, ages)
			}
		}
		if len(got) != len(edges) {
			t.Fatalf("%d bands", len(got))
		}
	})
}

func TestMedianAge_ofNoKeysIsNone(t *testing.T) {
	if _, ok := (&history.Point{}).MedianAge(); ok {
		t.Error("a median of nothing")
	}
	if got := history.AgeStep(-time.Hour); got != 0 {
		t.Errorf("a key younger than the instant judged at: step %d", got)
	}
}

func TestTimeToFix_isTheMedian(t *testing.T) {
	if _, ok := (&history.Point{}).TimeToFix(); ok {
		t.Error("a median of nothing")
	}
	for _, c := range []struct {
		fixes []time.Duration
		want  time.Duration
	}{{[]time.Duration{3 * day}, 3 * day}, {[]time.Duration{9 * day, day, 2 * day}, 2 * day}, {[]time.Duration{4 * day, 2 * day}, 3 * day}} {
		if got, ok := (&history.Point{Fixes: c.fixes}).TimeToFix(); !ok || got != c.want {
			t.Errorf("%v: %v, want %v", c.fixes, got, c.want)
		}
	}
}
