package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
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

// due is an outbox with a message each time it is asked.
type due struct {
	notice.Outbox
	body []byte
	left int
}

func (o *due) Take(_ context.Context, channel string, now, _ time.Time, _ int) ([]notice.Entry, error) {
	if o.left == 0 {
		return nil, nil
	}
	o.left--
	return []notice.Entry{{ID: "n-1", Channel: channel, Body: o.body, AddedAt: now, NextTry: now}}, nil
}

func (o *due) Mark(context.Context, string, notice.Attempt) error { return nil }

// moody answers with its error.
type moody struct {
	named
	err error
}

func (m *moody) Send(context.Context, notice.Message) (notice.Receipt, error) {
	return notice.Receipt{}, m.err
}

func TestSenders_logThatAChannelFailsOnceAndThatItWorksAgain(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	body, err := (&notice.Message{ID: "n-1", Channel: "team", At: now, Test: true}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	refused := errors.New("connection refused")
	gone := &notice.Failure{Err: errors.New("HTTP 410"), Permanent: true}
	o, c := &due{body: body}, &moody{named: "team"}
	s := &daemon.Senders{
		Outbox: o, Now: func() time.Time { return now }, Random: func() float64 { return 0.5 }, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Channels: func(context.Context, time.Time) ([]notice.Channel, time.Duration, error) {
			return []notice.Channel{c}, 0, nil
		},
	}
	for _, step := range []struct {
		err  error
		want []string // of the line; none: nothing is logged
	}{
		{nil, nil},
		{refused, []string{"level=WARN", "not delivered", "channel=team", "connection refused", "next=2026-11-22T12:01:00"}},
		{refused, nil},
		{gone, []string{"level=WARN", "given up", "channel=team", "HTTP 410"}},
		{refused, nil},
		{gone, nil},
		{nil, []string{"level=WARN", "works again", "channel=team"}},
		{nil, nil},
		{refused, []string{"not delivered"}},
	} {
		log.Reset()
		o.left, c.err = 1, step.err
		if err := s.Send(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := log.String()
		if want := min(len(step.want), 1); strings.Count(got, "\n") != want {
			t.Errorf("after %v: %q, want %d lines", step.err, got, want)
		}
		for _, w := range step.want {
			if !strings.Contains(got, w) {
				t.Errorf("after %v: %q does not say %q", step.err, got, w)
			}
		}
	}
}
