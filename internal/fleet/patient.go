package fleet

import (
	"context"
	"log/slog"
	"time"

	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/history"
)

const (
	recordTries = 60 // what was read is kept in memory for as long
	recordPause = 2 * time.Second
)

// patient is a Store that waits for its server to record what was read: reading again would cost AWS a whole account.
type patient struct {
	daemon.Store
	log *slog.Logger
}

// Observe tries again while the server is away; to record the same twice changes nothing.
func (p *patient) Observe(ctx context.Context, o *history.Observation) (history.Changes, error) {
	for try := 1; ; try++ {
		c, err := p.Store.Observe(ctx, o)
		if err == nil || !away(err) || try >= recordTries || ctx.Err() != nil {
			return c, err
		}
		p.log.Warn("waiting to record what was read", "account", o.Account.ID, "error", err)
		if pause(ctx, recordPause) != nil {
			return c, err
		}
	}
}

// pause waits; the error is that of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
