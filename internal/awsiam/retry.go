package awsiam

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	defaultAttempts = 10

	// deadAttempts of a call in a row may fail to make a connection, then the call is given up: nobody
	// listens there, and ten attempts would be two minutes of silence.
	deadAttempts = 3

	// warnAt is the failed attempt of a call that a person hears of.
	warnAt = 2
)

// retryer repeats what may succeed later. Every operation here reads, or sets a key to a state where
// repeating ends the same, so an answer cut short is repeated as well. The SDK's budget of retries is switched off: attempts bound them already, and a spent budget
// would turn late readings of a throttled account into gaps.
//
// It is the SDK's standard mode: a pause for the throttled call, doubled from two seconds up and drawn at
// random below the cap. The adaptive mode, which slows every call down after each throttled one, was
// measured and left: 60 users read live by 8 workers, a fifth of the requests throttled at random, took
// 89 s with it and 13 s without; against a service that takes 20 requests a second, 13 s and 12 s; with 5
// a second, 49 s and 54 s. The pauses and Settings.Concurrency hold the rate down well enough.
func (s Settings) retryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = orDefault(s.MaxAttempts, defaultAttempts)
		o.MaxBackoff = s.BackoffCap
		o.RateLimiter = ratelimit.None
		o.Retryables = append(o.Retryables, retry.IsErrorRetryableFunc(cutShort))
	})
}

// tally is what befell the attempts of one call so far.
type tally struct {
	failed  int
	dead    int   // failures in a row to make a connection
	last    error // of the last failed attempt
	unclear bool  // an attempt reached AWS, for all we know, and no answer says that it was refused
}

type tallyKey struct{}

// follow gives a call its tally. A call that the end of its context broke off between two attempts says
// why there had to be two.
func follow(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	out middleware.InitializeOutput, md middleware.Metadata, err error,
) {
	t := &tally{}
	out, md, err = next.HandleInitialize(middleware.WithStackValue(ctx, tallyKey{}, t), in)
	if err != nil && ctx.Err() != nil && t.last != nil {
		err = &stopped{err, t.last}
	}
	if err != nil && t.unclear {
		err = &unclear{err}
	}
	return out, md, err
}

// stopped is a call that its context ended while it was being repeated.
type stopped struct{ err, last error }

func (s *stopped) Error() string { return s.err.Error() + ", after: " + causeText(s.last) }
func (s *stopped) Unwrap() error { return s.err }

// unclear is a call that failed in the end and may have taken effect all the same.
type unclear struct{ err error }

func (u *unclear) Error() string { return u.err.Error() }
func (u *unclear) Unwrap() error { return u.err }

// refused tells that AWS itself turned a request down, so that nothing came of it. A fault on its side, half
// an answer and what a proxy says in between do not tell that.
func refused(err error) bool {
	status := (*smithyhttp.ResponseError)(nil)
	if !errors.As(err, &status) || status.HTTPStatusCode() < 400 || status.HTTPStatusCode() >= 500 {
		return false
	}
	code := apiCode(err)
	return code != "" && code != unnamedCode
}

// unnamedCode stands in the SDK's errors for a refusal in which it found no code.
const unnamedCode = "UnknownError"

// failed notes a failed attempt, says so when it is time, and marks the error that ends the call early.
func (m *meter) failed(ctx context.Context, err error) error {
	t, ok := middleware.GetStackValue(ctx, tallyKey{}).(*tally)
	if !ok {
		return err
	}
	t.failed++
	t.last = err
	if unconnected(err) {
		t.dead++
	} else {
		t.dead = 0
	}
	if t.dead == deadAttempts {
		return &givenUp{err}
	}
	if t.failed == warnAt && warnAt < m.retryer.MaxAttempts() && m.retryer.IsErrorRetryable(err) {
		level, text := slog.LevelWarn, "AWS does not answer, trying again"
		switch kind := kindOf(err); {
		case errors.Is(kind, ErrThrottled): // the daily bread of IAM, and up to one for each call
			level, text = slog.LevelInfo, "AWS is busy, trying again"
		case errors.Is(kind, ErrUnusable):
			text = "the answer of AWS is of no use, trying again"
		}
		m.log.LogAttrs(ctx, level, text,
			slog.String("operation", actionOf(ctx)), slog.String("error", orDefault(apiCode(err), causeText(err))))
	}
	return err
}

// unconnected tells that no connection was made: refused, no such host, no route, a proxy or a
// certificate that does not do. A connection that was made and broke is another matter.
func unconnected(err error) bool {
	var (
		op   *net.OpError
		cert *tls.CertificateVerificationError
		head tls.RecordHeaderError // no TLS there
	)
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") ||
		errors.As(err, &cert) || errors.As(err, &head) || errors.Is(err, http.ErrSchemeMismatch)
}

// givenUp is not repeated, whatever the SDK thinks of its cause.
type givenUp struct{ err error }

func (g *givenUp) Error() string      { return g.err.Error() }
func (g *givenUp) Unwrap() error      { return g.err }
func (*givenUp) RetryableError() bool { return false }
