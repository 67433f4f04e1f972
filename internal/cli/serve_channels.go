package cli

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/internal/notice"
)

// openChannels keeps the channels of the settings open while they stay as they are.
type openChannels struct {
	app *app

	mu       sync.Mutex
	at       time.Time
	channels []notice.Channel
	failed   error // of those that could not be opened
	giveUp   time.Duration
	closes   []func()
}

// now opens the channels anew once a minute, for their secrets may have changed. The error is about those that could not be.
func (o *openChannels) now(ctx context.Context, now time.Time) ([]notice.Channel, time.Duration, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.at.IsZero() && !now.Before(o.at) && now.Sub(o.at) < time.Minute {
		return o.channels, o.giveUp, o.failed
	}
	set, _, err := o.app.readConfig(now)
	if err != nil {
		return nil, 0, err
	}
	o.closeAll()
	n := set.Notices()
	var errs []error
	for _, c := range n.Channels {
		ch, closes, err := o.app.openChannel(ctx, c)
		if err != nil { // the others are not stopped by it
			errs = append(errs, err)
			continue
		}
		o.channels, o.closes = append(o.channels, ch), append(o.closes, closes)
	}
	o.failed, o.giveUp, o.at = errors.Join(errs...), n.GiveUp, now
	return o.channels, o.giveUp, o.failed
}

func (o *openChannels) closeAll() {
	for _, f := range o.closes {
		f()
	}
	o.channels, o.closes = nil, nil
}

func (o *openChannels) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closeAll()
}
