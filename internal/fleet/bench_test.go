package fleet_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws/sim"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// BenchmarkFleet reads the same accounts by 1, 2 and 4 machines on one PostgreSQL, each a process of its own, and fails where
// more machines are not faster by what they are more, within a tenth. A call takes 50 ms, so that waiting dominates. The time
// is from the first account that is begun to the last that is judged. Of three rounds the best counts: what else the computer
// does can only make them slower.
func BenchmarkFleet(b *testing.B) {
	const rounds = 3
	aims := map[int]float64{2: 1.9, 4: 3.6}
	for range b.N {
		rates := map[int][]float64{}
		for range rounds {
			for _, machines := range []int{1, 2, 4} {
				rates[machines] = append(rates[machines], cycle(b, machines))
			}
		}
		one := slices.Max(rates[1])
		fmt.Printf("1 machine:  %5.1f accounts a second\n", one)
		for _, machines := range []int{2, 4} {
			rate := slices.Max(rates[machines])
			fmt.Printf("%d machines: %5.1f accounts a second, %.2f times as fast; aim %.1f\n", machines, rate, rate/one, aims[machines])
			if rate/one < aims[machines] {
				b.Errorf("%d machines are %.2f times as fast as one, want %.1f; accounts a second in each round: %.1f", machines, rate/one, aims[machines], [][]float64{rates[1], rates[2], rates[4]})
			}
		}
	}
	b.ReportMetric(0, "ns/op") // says nothing here
}

// cycle gives the accounts read in a second.
func cycle(b *testing.B, machines int) float64 {
	b.Helper()
	const accounts, atOnce = 384, 8
	w := organise(b, sim.Options{Accounts: accounts - 1, Users: 20, Latency: 50 * time.Millisecond})
	db := postgres.URL(b)
	var running []*process
	for i := range machines {
		m := w.machine(fmt.Sprint(i), db)
		m.Concurrency, m.Tick = atOnce, 5*time.Second
		running = append(running, launch(b, m))
	}
	for _, p := range running {
		p.goOn(b)
	}
	w.wait(b, "the first", func(n map[string]int) bool { return n["begin"] > 0 })
	start := time.Now()
	w.wait(b, "all judged", func(n map[string]int) bool { return n["judged"] >= accounts })
	took := time.Since(start)
	for _, p := range running {
		p.stop(b)
	}
	for _, id := range w.accounts() {
		if n := w.of("judged " + id); n != 1 {
			b.Errorf("%d machines: account %s was read %d times, want once", machines, id, n)
		}
	}
	return accounts / took.Seconds()
}
