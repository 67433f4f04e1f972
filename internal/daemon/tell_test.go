package daemon_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// asked is an outbox that holds nothing, and notes whose messages were asked for.
type asked struct {
	notice.Outbox
	channels []string
}

func (o *asked) Take(_ context.Context, channel string, _, _ time.Time, _ int) ([]notice.Entry, error) {
	o.channels = append(o.channels, channel)
	return nil, nil
}

type named string

func (n named) Name() string { return string(n) }

func (n named) Send(context.Context, notice.Message) (notice.Receipt, error) {
	return notice.Receipt{}, nil
}

func TestSenders_aChannelThatCannotBeOpenedIsTheErrorOnceTheOthersWereServed(t *testing.T) {
	shut := errors.New("the variable TEAM_URL is empty")
	o := &asked{}
	s := &daemon.Senders{
		Outbox: o, Now: time.Now, Random: func() float64 { return 0 },
		Channels: func(context.Context, time.Time) ([]notice.Channel, time.Duration, error) {
			return []notice.Channel{named("mail")}, 0, shut
		},
	}
	if err := s.Send(t.Context()); !errors.Is(err, shut) {
		t.Errorf("%v, want %v", err, shut)
	}
	if len(o.channels) != 1 || o.channels[0] != "mail" {
		t.Errorf("served %v, want the one that is open", o.channels)
	}
}
