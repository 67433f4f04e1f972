package rotate_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

// still is an account that answers at once, of as many users as are asked about: what is left is our own work.
type still struct{ rotate.Account }

func (still) User(_ context.Context, name string) (fact.User, error) {
	return fact.User{Name: name, ID: "AIDA" + name, ARN: "arn:aws:iam::" + account + ":user/" + name}, nil
}

func (still) Keys(_ context.Context, name string) ([]fact.Key, error) {
	return []fact.Key{
		{ID: "OLD" + name, Active: true, Created: fact.At(start.Add(-100 * day))},
		{ID: "NEW" + name, Active: true, Created: fact.At(start)},
	}, nil
}

func (still) LastUse(context.Context, string) (fact.Use, error) {
	return fact.Use{At: fact.At(start.Add(-time.Hour)), Service: "s3"}, nil
}

// BenchmarkTick is one look at one of 1,000 rotations in flight that wait for their consumers, ledger on disk included.
func BenchmarkTick(b *testing.B) {
	ctx := context.Background()
	db, err := store.Open(ctx, "sqlite:"+filepath.Join(b.TempDir(), "journal.db"), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ledger := db.Ledger(store.Origin{})
	now := start
	const inFlight = 1000
	for i := range inFlight {
		user := fmt.Sprintf("u%d", i)
		r := &rotate.Rotation{
			ID: fmt.Sprintf("rot-%04d", i), State: rotate.Requested, Account: account, User: user, UserID: "AIDA" + user, Caller: "arn",
			ARN: "arn:aws:iam::" + account + ":user/" + user, Terms: rotate.Terms{}.WithDefaults(),
			Old:     rotate.KeyRecord{ID: "OLD" + user, Active: true, Created: start.Add(-100 * day)},
			Targets: []rotate.Target{{Name: "there", State: rotate.Holds}}, StartedAt: now, ChangedAt: now, EnteredAt: now,
		}
		if err := ledger.Begin(ctx, r, rotate.Event{At: now, To: rotate.Requested}); err != nil {
			b.Fatal(err)
		}
		r.State, r.New, r.ProbedAt = rotate.Proving, rotate.KeyRecord{ID: "NEW" + user, Active: true, Created: start}, now
		if err := ledger.Save(ctx, r, rotate.Event{At: now, From: rotate.Requested, To: rotate.Proving}); err != nil {
			b.Fatal(err)
		}
	}
	e := &rotate.Engine{
		Account: still{}, Ledger: ledger, Uses: ledger, Sealer: open{}, Caller: fact.Caller{Account: fact.Account{ID: account}},
		Now: func() time.Time { return now },
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		if i%inFlight == 0 {
			now = now.Add(time.Hour)
		}
		r, err := e.Tick(ctx, fmt.Sprintf("rot-%04d", i%inFlight))
		if err != nil || r.State != rotate.Proving {
			if r != nil && r.State == rotate.Held { // two weeks have passed
				b.Skip("enough")
			}
			b.Fatal(r, err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(int64(heap())-int64(before)), "B-heap-growth")
}
