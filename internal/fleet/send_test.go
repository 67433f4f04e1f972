package fleet_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sim"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/fleet"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// held is a channel that answers when it is let.
type held struct {
	begun  chan struct{}
	answer chan struct{}
	sent   atomic.Int32
}

func (h *held) Name() string { return "siem" }

func (h *held) Send(ctx context.Context, _ notice.Message) (notice.Receipt, error) {
	h.begun <- struct{}{}
	select {
	case <-h.answer:
		h.sent.Add(1)
		return notice.Receipt{}, nil
	case <-ctx.Done():
		return notice.Receipt{}, ctx.Err()
	}
}

// outbox is one with messages for the channel of that name.
func outbox(t *testing.T, database, channel string, messages int) *store.Outbox {
	t.Helper()
	db, err := store.Open(t.Context(), database, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	r := notice.Routing{Channels: []notice.Terms{{Name: channel}}, Routes: []notice.Route{{To: []string{channel}}}}
	account := fact.Account{ID: sim.ID(0), Partition: "aws"}
	var changes []notice.Change
	for i := range messages {
		v := &finding.Verdict{
			ID: fmt.Sprint("verdict-", i), Rule: "key-age-90", Kind: "key-age", Title: "keys are rotated", Status: finding.Fail, Severity: finding.High,
			Account: account, User: fmt.Sprint("user-", i),
		}
		changes = append(changes, notice.Change{Kind: notice.Opened, At: time.Now().UTC(), Account: account, Verdict: v})
	}
	if n, err := notice.Post(t.Context(), db.Outbox(), &r, changes, time.Now()); err != nil || n != messages {
		t.Fatalf("%d messages, %v", n, err)
	}
	return db.Outbox()
}

func TestRun_takesNoMoreNoticesOnceItIsToStop(t *testing.T) {
	t.Parallel()
	const messages, atOnce = 7, 4
	w := organise(t, sim.Options{Accounts: 1, Users: 1})
	db := postgres.URL(t)
	box := outbox(t, db, "siem", messages)
	ch := &held{begun: make(chan struct{}, messages), answer: make(chan struct{})}
	told := make(chan struct{})
	stopped := sync.OnceFunc(func() { close(told) })
	r := begin(t, w.machine("one", db), func(s *fleet.Settings) {
		senders := &daemon.Senders{
			Outbox: box, Now: time.Now, Random: func() float64 { return 0.5 },
			Channels: func(context.Context, time.Time) ([]notice.Channel, time.Duration, error) {
				return []notice.Channel{ch}, time.Hour, nil
			},
		}
		s.Work.Send = func(ctx context.Context) error {
			context.AfterFunc(ctx, stopped)
			return senders.Send(ctx)
		}
	})
	for range atOnce {
		<-ch.begun
	}
	start := time.Now()
	r.stop()
	<-told
	if took := time.Since(start); took > 4*time.Second { // after five, jobs are broken off
		t.Errorf("the sender heard of it after %s, want at once", took)
	}
	close(ch.answer)
	r.end(t)
	records, err := box.Notices(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	marked, untried := 0, 0
	for _, n := range records {
		switch {
		case n.State == notice.Sent:
			marked++
		case len(n.Attempts) == 0:
			untried++
		}
	}
	if n := int(ch.sent.Load()); n != atOnce || marked != atOnce || untried != messages-atOnce {
		t.Errorf("%d were sent, %d marked, %d not begun; want %d, %d and %d", n, marked, untried, atOnce, atOnce, messages-atOnce)
	}
}
