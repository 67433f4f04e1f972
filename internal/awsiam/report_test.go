package awsiam_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

const (
	generateAction = "iam:GenerateCredentialReport"
	getAction      = "iam:GetCredentialReport"
)

// patient is a Reader that writes down its pauses in place of waiting, and moves no clock.
func patient(t *testing.T, cloud *fakeaws.Cloud) (*awsiam.Reader, *[]time.Duration) {
	t.Helper()
	var pauses []time.Duration
	r := open(t, serve(t, cloud), account, func(s *awsiam.Settings) {
		s.MaxAttempts = 2
		s.Wait = func(_ context.Context, d time.Duration) error {
			pauses = append(pauses, d)
			return nil
		}
	})
	return r, &pauses
}

func TestReport_takesTwoCallsWhenOneIsAtHand(t *testing.T) {
	r, pauses := patient(t, crowd(t, 3))
	body, made, err := r.Report(t.Context())
	if err != nil || len(body) == 0 || !made.Equal(day(0)) {
		t.Fatalf("%d bytes made %v, %v", len(body), made, err)
	}
	if want := map[string]int{generateAction: 1, getAction: 1}; !cmp.Equal(r.Calls(), want) || len(*pauses) != 0 {
		t.Errorf("calls %v and pauses %v, want %v and none", r.Calls(), *pauses, want)
	}
}

func TestReport_isPolledWithAGrowingPause(t *testing.T) {
	for _, c := range []struct {
		polls  int
		gets   int
		pauses []time.Duration
	}{
		{1, 1, []time.Duration{time.Second}},
		{2, 2, []time.Duration{time.Second, 2 * time.Second}},
		{6, 6, []time.Duration{
			time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second,
		}},
	} {
		cloud := crowd(t, 3)
		cloud.Set(fakeaws.Switches{ReportPolls: c.polls})
		r, pauses := patient(t, cloud)
		if _, _, err := r.Report(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := map[string]int{generateAction: 1, getAction: c.gets}; !cmp.Equal(r.Calls(), want) {
			t.Errorf("%d polls: calls %v, want %v", c.polls, r.Calls(), want)
		}
		if !slices.Equal(*pauses, c.pauses) {
			t.Errorf("%d polls: pauses %v, want %v", c.polls, *pauses, c.pauses)
		}
	}
}

func TestReport_getsOverPassingTrouble(t *testing.T) {
	for name, fault := range map[string]fakeaws.Fault{
		"no capacity":        {Kind: fakeaws.LimitExceeded, Action: generateAction, Times: 4},
		"throttled generate": {Kind: fakeaws.Throttle, Action: generateAction, Times: 5}, // more than MaxAttempts
		"throttled get":      {Kind: fakeaws.Throttle, Action: getAction, Times: 5},
		"not present":        {Kind: fakeaws.ReportNotPresent, Action: getAction, Times: 3},
		"expired":            {Kind: fakeaws.ReportExpired, Action: getAction, Times: 3},
		"in progress":        {Kind: fakeaws.ReportInProgress, Action: getAction, Times: 5},
	} {
		cloud := crowd(t, 3)
		cloud.Inject(fault)
		r, _ := patient(t, cloud)
		if body, _, err := r.Report(t.Context()); err != nil || len(body) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(body), err)
		}
	}
}

func TestReport_givesUpInTheEndAndNeverReturnsAnEmptyOne(t *testing.T) {
	for name, fault := range map[string]fakeaws.Fault{
		"no capacity":  {Kind: fakeaws.LimitExceeded, Action: generateAction},
		"throttled":    {Kind: fakeaws.Throttle},
		"not present":  {Kind: fakeaws.ReportNotPresent, Action: getAction},
		"expired":      {Kind: fakeaws.ReportExpired, Action: getAction},
		"in progress":  {Kind: fakeaws.ReportInProgress, Action: getAction},
		"denied":       {Kind: fakeaws.Deny, Action: getAction},
		"empty answer": {Kind: fakeaws.Empty, Action: getAction},
	} {
		cloud := crowd(t, 3)
		cloud.Inject(fault)
		r, pauses := patient(t, cloud)
		body, made, err := r.Report(t.Context())
		if err == nil || body != nil || !made.IsZero() {
			t.Errorf("%s: %d bytes made %v, %v; want an error and nothing else", name, len(body), made, err)
		}
		want := awsiam.ErrNoReport
		switch fault.Kind { //nolint:exhaustive // those above
		case fakeaws.Deny:
			want = awsiam.ErrDenied
		case fakeaws.Empty:
			want = awsiam.ErrUnusable
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		var waited time.Duration
		for _, d := range *pauses {
			waited += d
		}
		if waited > 5*time.Minute {
			t.Errorf("%s: waited %v in all, want at most 5m", name, waited)
		}
	}
}

func TestReport_endsAtOnceWhenCancelledWhilePolling(t *testing.T) {
	cloud := crowd(t, 1)
	cloud.Set(fakeaws.Switches{ReportPolls: 1000})
	r := open(t, serve(t, cloud), account, func(s *awsiam.Settings) {
		s.PollFirst, s.Patience = time.Hour, 10*time.Hour
		s.Wait = nil // the real timer
	})
	arrived, release := cloud.Hold(generateAction)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	go func() {
		_, _, err := r.Report(ctx)
		errs <- err
	}()
	<-arrived
	release()
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want a cancellation", err)
	}
}

func TestReport_pauseEndsWithTheContext(t *testing.T) {
	cloud := crowd(t, 1)
	cloud.Set(fakeaws.Switches{ReportPolls: 1000})
	r := open(t, serve(t, cloud), account, func(s *awsiam.Settings) {
		s.PollFirst, s.Patience, s.Wait = time.Hour, 10*time.Hour, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // passes inside the hour's pause
	defer cancel()
	if _, _, err := r.Report(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the end of the context", err)
	}
}

func TestReport_endsWithItsPatienceAlsoInsideOfCalls(t *testing.T) {
	for name, c := range map[string]struct {
		fault fakeaws.Fault
		why   string
	}{
		"throttled":    {fakeaws.Fault{Kind: fakeaws.Throttle}, "Rate exceeded"},
		"broken":       {fakeaws.Fault{Kind: fakeaws.ErrorBefore, Action: generateAction}, "ServiceFailure"},
		"empty answer": {fakeaws.Fault{Kind: fakeaws.Empty, Action: getAction}, "HTTP 200 without XML"},
		"no capacity":  {fakeaws.Fault{Kind: fakeaws.LimitExceeded, Action: generateAction}, "No more capacity"},
		"in progress":  {fakeaws.Fault{Kind: fakeaws.ReportInProgress, Action: getAction}, "not ready"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := crowd(t, 1)
			cloud.Inject(c.fault)
			r := open(t, serve(t, cloud), account, func(s *awsiam.Settings) {
				s.Patience, s.PollFirst = 200*time.Millisecond, time.Millisecond
				s.BackoffCap, s.MaxAttempts = time.Hour, 1000 // a call alone would take days
				s.Wait = nil
			})
			start := time.Now()
			body, made, err := r.Report(t.Context())
			if !errors.Is(err, awsiam.ErrNoReport) || !strings.Contains(err.Error(), c.why) || body != nil || !made.IsZero() {
				t.Errorf("%d bytes made %v, %v; want %v because of %q", len(body), made, err, awsiam.ErrNoReport, c.why)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v, want about 200ms", took)
			}
		})
	}
}

func TestReport_endsWithItsPatienceWhileACallHangs(t *testing.T) {
	cloud := crowd(t, 1)
	r := open(t, serve(t, cloud), account, func(s *awsiam.Settings) { s.Patience = 50 * time.Millisecond })
	_, release := cloud.Hold(getAction)
	defer release()
	if _, _, err := r.Report(t.Context()); !errors.Is(err, awsiam.ErrNoReport) || !strings.Contains(err.Error(), "has not answered") {
		t.Errorf("%v, want %v", err, awsiam.ErrNoReport)
	}
}
