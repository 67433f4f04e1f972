package synth_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/credreport"
	"github.com/keyreeve/keyreeve/internal/credreport/synth"
	"github.com/keyreeve/keyreeve/internal/fact"
)

func asOf() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) }

func write(t *testing.T, o synth.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := synth.Write(&b, o); err != nil {
		t.Fatalf("Write(%+v): %v", o, err)
	}
	return b.String()
}

func TestWrite_isDeterministic(t *testing.T) {
	o := synth.Options{Users: 300, Seed: 7, AsOf: asOf()}
	first := write(t, o)
	if write(t, o) != first {
		t.Error("the same options gave other bytes")
	}
	o.Seed++
	if write(t, o) == first {
		t.Error("another seed gave the same bytes")
	}
}

func TestWrite_namesAreSortedAndDistinct(t *testing.T) {
	for _, n := range []int{0, 1, 2, 17, 1019, 1020, 1021, 5000} {
		rows := strings.Split(write(t, synth.Options{Users: n, AsOf: asOf()}), "\n")[2:]
		if len(rows) != n {
			t.Fatalf("%d users: %d rows", n, len(rows))
		}
		for i := 1; i < n; i++ {
			a, _, _ := strings.Cut(rows[i-1], ",")
			b, _, _ := strings.Cut(rows[i], ",")
			if a >= b {
				t.Fatalf("%d users: %q before %q", n, a, b)
			}
		}
	}
}

func TestWrite_shuffledHasTheSameRows(t *testing.T) {
	o := synth.Options{Users: 2000, Seed: 3, AsOf: asOf()}
	sorted := strings.Split(write(t, o), "\n")
	o.Shuffle = true
	shuffled := strings.Split(write(t, o), "\n")
	if slices.Equal(sorted, shuffled) || shuffled[1] != sorted[1] {
		t.Error("not shuffled, or root is not first")
	}
	slices.Sort(sorted)
	slices.Sort(shuffled)
	if !slices.Equal(sorted, shuffled) {
		t.Error("other rows")
	}
}

func TestWrite_isARealisticReport(t *testing.T) {
	const n = 10_000
	data := write(t, synth.Options{Users: n, Seed: 1, AsOf: asOf(), Account: "999988887777"})
	if strings.HasSuffix(data, "\n") {
		t.Error("a newline at the end")
	}
	if perRow := len(data) / n; perRow < 220 || perRow > 280 {
		t.Errorf("%d bytes a row", perRow)
	}
	var mu sync.Mutex
	var never, inactive, old, pairs, setup, paths, console int
	rep, err := credreport.Read(context.Background(), strings.NewReader(data), credreport.Options{}, func(b credreport.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range b.Users {
			u := &b.Users[i]
			count(u.Password == fact.Yes, &console)
			count(u.Path != "/" && !u.Root, &paths)
			count(u.ActiveKeys() == 2, &pairs)
			for _, k := range u.Keys {
				count(!k.Active, &inactive)
				count(k.LastUsed.At.Never(), &never)
				count(fact.At(asOf()).Sub(k.Created) > 90*24*time.Hour, &old)
				count(u.Password == fact.Yes && k.Created.Sub(u.Created) <= time.Minute, &setup)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Users != n || !rep.HasRoot || rep.Account.ID != "999988887777" || rep.Newest.Compare(fact.At(asOf())) >= 0 {
		t.Errorf("report: %+v", rep)
	}
	for what, got := range map[string]int{
		"console users": console, "users with a path": paths, "users with two active keys": pairs, "keys never used": never,
		"inactive keys": inactive, "old keys": old, "setup keys": setup,
	} {
		if got < n/50 {
			t.Errorf("%d %s among %d users", got, what, n)
		}
	}
}

func count(b bool, n *int) {
	if b {
		*n++
	}
}

func TestWrite_refusesOptionsWithoutAMoment(t *testing.T) {
	if err := synth.Write(&bytes.Buffer{}, synth.Options{Users: 1}); err == nil {
		t.Error("no error without AsOf")
	}
	if err := synth.Write(&bytes.Buffer{}, synth.Options{Users: -1, AsOf: asOf()}); err == nil {
		t.Error("no error for -1 users")
	}
}
