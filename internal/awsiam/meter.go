package awsiam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/time/rate"
)

// meter counts and limits what goes out, at three places of the SDK's way of a call: once an operation
// (count, concurrency, log), once an attempt (count, rate, failures) and once an answer (is it whole).
type meter struct {
	retryer  aws.Retryer
	slots    chan struct{} // one taken for each operation under way
	limiter  *rate.Limiter // nil: no fixed limit
	log      *slog.Logger
	now      func() time.Time // nil: durations are not logged
	attempts atomic.Int64
	all      *Counters // of all meters together

	mu      sync.Mutex
	calls   map[string]int
	skew    time.Duration // AWS's clock less ours, of the last answer
	skewSet bool
}

func newMeter(s Settings, r aws.Retryer) *meter {
	m := &meter{
		retryer: r,
		slots:   make(chan struct{}, s.Concurrency),
		log:     s.Log, now: s.Now,
		all:   s.Counters,
		calls: map[string]int{},
	}
	if s.Rate > 0 {
		m.limiter = rate.NewLimiter(rate.Limit(s.Rate), 1)
	}
	return m
}

func (m *meter) attach(stack *middleware.Stack) error {
	operation := middleware.InitializeMiddlewareFunc("keyreeveOperation", m.operation)
	// Some clients name the service and the operation in a step of their own, others before all steps.
	if _, ok := stack.Initialize.Get(namesOperation); ok {
		return errors.Join(stack.Initialize.Insert(operation, namesOperation, middleware.After), m.attachInside(stack))
	}
	return errors.Join(stack.Initialize.Add(operation, middleware.Before), m.attachInside(stack))
}

func (m *meter) count(action string) {
	m.all.call(action)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[action]++
}

// namesOperation is the step of the SDK by which actionOf knows what is called.
const namesOperation = "RegisterServiceMetadata"

// attachInside is for a call that assumes a role in the middle of another one: it is no operation of the
// Reader and takes no slot, for the other one holds its own until this one ends.
//
// The attempt stands behind ResolveEndpointV2, the last step before the signature. What fails before it,
// credentials that cannot be had, was never sent.
func (m *meter) attachInside(stack *middleware.Stack) error { return m.inside(m.limiter)(stack) }

// inside is attachInside with another limit of the rate than the meter's own; nil for none.
func (m *meter) inside(limiter *rate.Limiter) func(*middleware.Stack) error {
	attempt := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
		middleware.FinalizeOutput, middleware.Metadata, error,
	) {
		return m.attempt(ctx, limiter, in, next)
	}
	return func(stack *middleware.Stack) error {
		return errors.Join(
			stack.Initialize.Add(middleware.InitializeMiddlewareFunc("keyreeveFollow", follow), middleware.After),
			stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("keyreeveAttempt", attempt), "ResolveEndpointV2", middleware.After),
			stack.Deserialize.Add(whole(wholeXML), middleware.After),
		)
	}
}

func (m *meter) operation(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	out middleware.InitializeOutput, md middleware.Metadata, err error,
) {
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return out, md, ctx.Err()
	}
	action := actionOf(ctx)
	m.count(action)

	var start time.Time
	if m.now != nil {
		start = m.now()
	}
	out, md, err = next.HandleInitialize(ctx, in)
	if skew, ok := awsmiddleware.GetAttemptSkew(md); ok {
		m.mu.Lock()
		m.skew, m.skewSet = skew, true
		m.mu.Unlock()
	}
	m.record(ctx, action, start, md, err)
	return out, md, err
}

// actionOf is the IAM action of a call under way.
func actionOf(ctx context.Context) string {
	return strings.ToLower(awsmiddleware.GetServiceID(ctx)) + ":" + awsmiddleware.GetOperationName(ctx)
}

func (m *meter) record(ctx context.Context, action string, start time.Time, md middleware.Metadata, err error) {
	if !m.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	id, _ := awsmiddleware.GetRequestIDMetadata(md)
	attempts := 0
	if results, ok := retry.GetAttemptResults(md); ok {
		attempts = len(results.Results)
	}
	attrs := []slog.Attr{
		slog.String("operation", action),
		slog.String("request_id", id),
		slog.Int("attempts", attempts),
	}
	if m.now != nil {
		attrs = append(attrs, slog.Duration("duration", m.now().Sub(start)))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", orDefault(apiCode(err), causeText(err))))
	}
	m.log.LogAttrs(ctx, slog.LevelDebug, "aws call", attrs...)
}

func (m *meter) attempt(ctx context.Context, limiter *rate.Limiter, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	out middleware.FinalizeOutput, md middleware.Metadata, err error,
) {
	if limiter != nil {
		if err := limiter.Wait(ctx); err != nil {
			return out, md, fmt.Errorf("wait for the rate limit: %w", err)
		}
	}
	m.attempts.Add(1)
	m.all.request()
	var sent atomic.Bool // perhaps: a connection was at hand
	out, md, err = next.HandleFinalize(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	}), in)
	if t, ok := middleware.GetStackValue(ctx, tallyKey{}).(*tally); ok && err != nil && sent.Load() && !refused(err) {
		t.unclear = true
	}
	if errors.Is(kindOf(err), ErrThrottled) {
		m.all.throttle(actionOf(ctx))
	}
	if err != nil && ctx.Err() == nil {
		err = m.failed(ctx, err)
	}
	return out, md, err
}

// partial is an answer that broke off, or held nothing at all.
type partial struct{ err error }

func (p *partial) Error() string { return "the answer is not whole: " + p.err.Error() }
func (p *partial) Unwrap() error { return p.err }

func cutShort(err error) aws.Ternary {
	if p := (*partial)(nil); errors.As(err, &p) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// keyreeveWhole is the name of whole in a stack.
const keyreeveWhole = "keyreeveWhole"

// whole reads an answer to its end and checks it, before the SDK looks at it. The SDK takes a successful answer
// with an empty body for a result without members, a user list without users, and does not look at all at the
// answer to a change. Here both must be an answer to the call.
func whole(check func(ctx context.Context, status int, body []byte) error) middleware.DeserializeMiddleware {
	return middleware.DeserializeMiddlewareFunc(keyreeveWhole, func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (out middleware.DeserializeOutput, md middleware.Metadata, err error) {
		out, md, err = next.HandleDeserialize(ctx, in)
		response, ok := out.RawResponse.(*smithyhttp.Response)
		if err != nil || !ok {
			return out, md, err
		}
		body, err := readAll(response)
		closeErr := response.Body.Close()
		response.Body = io.NopCloser(bytes.NewReader(body))
		if ctx.Err() != nil {
			return out, md, ctx.Err()
		}
		if err == nil {
			err = closeErr
		}
		if err == nil {
			err = check(ctx, response.StatusCode, body)
		}
		if err != nil {
			return out, md, &partial{err}
		}
		return out, md, nil
	})
}

// readAll makes room once for a body that says how long it is: credential reports are.
func readAll(response *smithyhttp.Response) ([]byte, error) {
	var body bytes.Buffer
	if n := response.ContentLength; n > 0 && n < 16<<20 {
		body.Grow(int(n) + bytes.MinRead)
	}
	_, err := body.ReadFrom(response.Body)
	return body.Bytes(), err
}

// wholeXML wants XML, and of a success the answer to the call. AWS also words every refusal in XML, so one
// without comes from something in between and says nothing of the account.
func wholeXML(ctx context.Context, status int, body []byte) error {
	switch {
	case status < 500 && !bytes.ContainsRune(body, '<'):
		return fmt.Errorf("HTTP %d without XML", status)
	case status < 300 && !bytes.Contains(body, []byte("<"+awsmiddleware.GetOperationName(ctx)+"Response")):
		return fmt.Errorf("HTTP %d with something else", status)
	default:
		return nil
	}
}
