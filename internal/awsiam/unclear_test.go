package awsiam_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// stand is an account with one user and one key to change.
type stand struct {
	cloud  *fakeaws.Cloud
	writer *awsiam.Writer
	id     string
}

func newStand(t *testing.T, edit func(*awsiam.Settings)) stand {
	t.Helper()
	cloud := crowd(t, 1)
	return stand{
		cloud: cloud, id: cloud.Account(account).Users()[0].Keys[0].ID,
		writer: openWriter(t, serve(t, cloud), account, edit),
	}
}

// changed tells whether a deactivation or a deletion took effect.
func (s stand) changed() bool {
	keys := s.cloud.Account(account).Users()[0].Keys
	return len(keys) == 0 || keys[0].Inactive
}

func (s stand) deactivate(ctx context.Context) error {
	return s.writer.SetActive(ctx, "u000", s.id, false)
}
func (s stand) remove(ctx context.Context) error { return s.writer.DeleteKey(ctx, "u000", s.id) }

// clearness is what a failed change says of itself.
func clearness(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, fact.ErrUnclear):
		return "unclear"
	default:
		return "clear"
	}
}

func TestWriter_aFaultInEveryAttemptIsClearOnlyWhereAWSRefused(t *testing.T) {
	for kind, c := range map[fakeaws.Kind]struct {
		want    error
		says    string
		changed bool
	}{
		fakeaws.Throttle:     {awsiam.ErrThrottled, "clear", false},
		fakeaws.Deny:         {awsiam.ErrDenied, "clear", false},
		fakeaws.ExpiredToken: {awsiam.ErrExpiredToken, "clear", false},
		fakeaws.ErrorBefore:  {awsiam.ErrUnavailable, "unclear", false},
		fakeaws.ErrorAfter:   {awsiam.ErrUnavailable, "unclear", true},
		fakeaws.ResetBefore:  {awsiam.ErrUnavailable, "unclear", false},
		fakeaws.ResetAfter:   {awsiam.ErrUnavailable, "unclear", true},
		fakeaws.Truncate:     {awsiam.ErrUnusable, "unclear", true},
		fakeaws.Empty:        {awsiam.ErrUnusable, "unclear", true},
	} {
		for _, attempts := range []int{1, 3} {
			for name, act := range map[string]func(stand) error{
				"deactivate": func(s stand) error { return s.deactivate(t.Context()) },
				"delete":     func(s stand) error { return s.remove(t.Context()) },
			} {
				s := newStand(t, func(set *awsiam.Settings) { set.MaxAttempts = attempts })
				s.cloud.Inject(fakeaws.Fault{Kind: kind})
				err := act(s)
				if !errors.Is(err, c.want) || clearness(err) != c.says || s.changed() != c.changed {
					t.Errorf("%s, %s in %d attempts: %v (%s), changed: %v; want %v (%s), changed: %v",
						name, kind, attempts, err, clearness(err), s.changed(), c.want, c.says, c.changed)
				}
			}
		}
	}
}

func TestWriter_aFaultInTheFirstAttemptIsRepeatedAndRemembered(t *testing.T) {
	for kind, goneAlready := range map[fakeaws.Kind]bool{
		fakeaws.Throttle: false, fakeaws.ErrorBefore: false, fakeaws.ResetBefore: false,
		fakeaws.ErrorAfter: true, fakeaws.ResetAfter: true, fakeaws.Truncate: true, fakeaws.Empty: true,
	} {
		s := newStand(t, nil)
		s.cloud.Inject(fakeaws.Fault{Kind: kind, Times: 1})
		if err := s.deactivate(t.Context()); err != nil || !s.changed() || s.writer.Attempts() != 2 {
			t.Errorf("deactivate, %s once: %v, changed: %v, %d attempts", kind, err, s.changed(), s.writer.Attempts())
		}
		s = newStand(t, nil)
		s.cloud.Inject(fakeaws.Fault{Kind: kind, Times: 1})
		err := s.remove(t.Context())
		if !s.changed() {
			t.Errorf("delete, %s once: the key is still there", kind)
		}
		if goneAlready != errors.Is(err, awsiam.ErrNotFound) || goneAlready != errors.Is(err, fact.ErrUnclear) || !goneAlready && err != nil {
			t.Errorf("delete, %s once: %v, want not found and unclear: %v", kind, err, goneAlready)
		}
	}
}

func TestWriter_aRefusalAfterAnAttemptWithoutAnswerIsUnclear(t *testing.T) {
	for _, c := range []struct {
		first, then fakeaws.Kind
		says        string
		want        error
	}{
		{fakeaws.ResetBefore, fakeaws.Deny, "unclear", awsiam.ErrDenied},
		{fakeaws.ErrorBefore, fakeaws.Throttle, "unclear", awsiam.ErrThrottled},
		{fakeaws.ResetAfter, fakeaws.ExpiredToken, "unclear", awsiam.ErrExpiredToken},
		{fakeaws.Throttle, fakeaws.Deny, "clear", awsiam.ErrDenied},
		{fakeaws.Throttle, fakeaws.ErrorBefore, "unclear", awsiam.ErrUnavailable},
	} {
		s := newStand(t, nil)
		s.cloud.Inject(fakeaws.Fault{Kind: c.first, Times: 1}, fakeaws.Fault{Kind: c.then})
		if err := s.deactivate(t.Context()); clearness(err) != c.says || !errors.Is(err, c.want) {
			t.Errorf("%s, then %s: %v (%s), want %v (%s)", c.first, c.then, err, clearness(err), c.want, c.says)
		}
	}
	s := newStand(t, nil)
	s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Times: 1})
	if err := s.writer.DeleteKey(t.Context(), "u000", "AKIANOSUCHKEY0000000"); clearness(err) != "clear" || !errors.Is(err, awsiam.ErrNotFound) {
		t.Errorf("throttled, then no such key: %v, want it clear", err)
	}
}

func TestWriter_aCallCancelledOnItsWayIsUnclear(t *testing.T) {
	s := newStand(t, nil)
	arrived, release := s.cloud.Hold("iam:UpdateAccessKey")
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.deactivate(ctx) }()
	<-arrived
	cancel()
	err := <-done
	var e *awsiam.Error
	if !errors.Is(err, context.Canceled) || clearness(err) != "unclear" || !errors.As(err, &e) || e.Kind != nil {
		t.Errorf("%v, want a cancellation, unclear and without a kind", err)
	}
	if err := s.remove(ctx); !errors.Is(err, context.Canceled) || clearness(err) != "clear" || s.writer.Attempts() != 1 {
		t.Errorf("cancelled before: %v after %d requests in all, want it clear and not sent", err, s.writer.Attempts())
	}
}

func TestWriter_aCallThatHangsIsUnclear(t *testing.T) {
	s := newStand(t, func(set *awsiam.Settings) { set.CallTimeout, set.MaxAttempts = 20*time.Millisecond, 1 })
	_, release := s.cloud.Hold("iam:UpdateAccessKey")
	defer release()
	if err := s.deactivate(t.Context()); !errors.Is(err, awsiam.ErrUnavailable) || clearness(err) != "unclear" {
		t.Errorf("%v, want %v and unclear", err, awsiam.ErrUnavailable)
	}
}

// onLine calls f at the first line of a log.
type onLine func()

func (f onLine) Write(p []byte) (int, error) { f(); return len(p), nil }

func TestWriter_aCallCancelledBetweenAttemptsIsAsClearAsThoseWere(t *testing.T) {
	for kind, says := range map[fakeaws.Kind]string{fakeaws.Throttle: "clear", fakeaws.ErrorBefore: "unclear"} {
		ctx, cancel := context.WithCancel(t.Context())
		s := newStand(t, func(set *awsiam.Settings) {
			set.BackoffCap = time.Hour
			// The line of the second failure is written when its answer has been read.
			set.Log = slog.New(slog.NewTextHandler(onLine(cancel), &slog.HandlerOptions{Level: slog.LevelInfo}))
		})
		s.cloud.Inject(fakeaws.Fault{Kind: kind})
		if err := s.deactivate(ctx); !errors.Is(err, context.Canceled) || clearness(err) != says {
			t.Errorf("%s: %v (%s), want a cancellation (%s)", kind, err, clearness(err), says)
		}
	}
}

func TestWriter_whatWasNeverSentIsClear(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler()) // with a certificate that nobody knows
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(secure.Close)
	for name, url := range map[string]string{"refused": "http://" + dead(t), "unknown certificate": secure.URL} {
		w := openWriter(t, url, account, nil)
		if err := w.SetActive(t.Context(), "ana", "AKIA", false); clearness(err) != "clear" || !errors.Is(err, awsiam.ErrUnavailable) {
			t.Errorf("%s: %v (%s), want it clear", name, err, clearness(err))
		}
	}
	bare(t)
	w, err := awsiam.OpenWriter(t.Context(), awsiam.Settings{EndpointURL: serve(t, crowd(t, 1))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	if err := w.DeleteKey(t.Context(), "ana", "AKIA"); clearness(err) != "clear" || !errors.Is(err, awsiam.ErrNoCredentials) {
		t.Errorf("no credentials: %v (%s), want it clear", err, clearness(err))
	}
}

func TestWriter_takesNoOtherAnswerForSuccessOrRefusal(t *testing.T) {
	const good = "<UpdateAccessKeyResponse><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></UpdateAccessKeyResponse>"
	refusal := func(code string) string {
		return "<ErrorResponse><Error><Code>" + code + "</Code><Message>m</Message></Error></ErrorResponse>"
	}
	for _, c := range []struct {
		status int
		answer string
		says   string
	}{
		{200, good, "done"},
		{200, "<html>Sign in to the network</html>", "unclear"},
		{200, strings.ReplaceAll(good, "Update", "List"), "unclear"},
		{204, "", "unclear"},
		{302, "<html>moved</html>", "unclear"},
		{302, refusal("Found"), "unclear"},
		{403, "<html>blocked by policy</html>", "unclear"},
		{403, refusal(""), "unclear"},
		{502, "<html>bad gateway</html>", "unclear"},
		{503, refusal("Throttling"), "unclear"},
		{404, refusal("NoSuchEntity"), "clear"},
		{409, refusal("ConcurrentModification"), "clear"},
		{400, refusal("ValidationError"), "clear"},
	} {
		err := said(t, c.status, c.answer).SetActive(t.Context(), "ana", "AKIA", false)
		if clearness(err) != c.says {
			t.Errorf("HTTP %d %q: %v (%s), want %s", c.status, c.answer, err, clearness(err), c.says)
		}
	}
}

func TestReader_neverSaysThatAReadingIsUnclear(t *testing.T) {
	cloud := crowd(t, 1)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.ResetAfter})
	url := serve(t, cloud)
	_, readerErr := open(t, url, account, nil).Keys(t.Context(), "u000")
	w := openWriter(t, url, account, nil)
	_, keysErr := w.Keys(t.Context(), "u000")
	_, userErr := w.User(t.Context(), "u000")
	for _, err := range []error{readerErr, keysErr, userErr, w.MayDelete(t.Context(), "u000")} {
		if clearness(err) != "clear" {
			t.Errorf("%v is %s", err, clearness(err))
		}
	}
}
