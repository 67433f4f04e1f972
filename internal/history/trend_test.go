package history_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/internal/history"
)

const day = 24 * time.Hour

func TestMedianAge_isWithinATwentiethOfTheTrueOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		days := rapid.SliceOfN(rapid.IntRange(0, 5000), 1, 60).Draw(t, "ages")
		p := history.Point{Ages: map[int]int{}}
		for _, d := range days {
			p.Ages[history.AgeStep(time.Duration(d)*day+time.Hour)]++
		}
		slices.Sort(days)
		want := float64(days[(len(days)-1)/2])
		got, ok := p.MedianAge()
		if limit := max(0, want*0.05); !ok || math.Abs(got-want) > limit && !(want <= 120 && got == want) {
			t.Errorf("median of %v: %v, want %v", days, got, want)
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
