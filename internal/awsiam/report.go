package awsiam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

const (
	actionGenerate = "iam:GenerateCredentialReport"
	actionReport   = "iam:GetCredentialReport"

	maxRestarts = 5 // of a report that AWS had promised and then did not have
)

// Report asks for the credential report, waits until AWS has made it, and returns its bytes and the moment
// AWS says it was made. That may be four hours ago: IAM makes no newer one sooner.
//
// It polls with a growing pause, also while AWS has no capacity or throttles, and gives up with
// ErrNoReport when Settings.Patience is over, be it spent on pauses or inside of calls. An empty report is
// an error: no evidence is not a clean account. A report at hand takes two calls.
func (r *Reader) Report(ctx context.Context) (body []byte, generated time.Time, err error) {
	p := poll{
		reader:  r,
		backoff: backoff{next: r.set.PollFirst, limit: max(defaultPollLimit, r.set.PollFirst)},
		left:    r.set.Patience,
		why:     "AWS has not answered",
	}
	bounded, cancel := context.WithTimeout(ctx, r.set.Patience)
	defer cancel()
	body, generated, err = p.report(bounded)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && bounded.Err() != nil {
		err = p.outOfPatience(ctx)
	}
	return body, generated, err
}

// report is Report while ctx lasts.
func (p *poll) report(ctx context.Context) ([]byte, time.Time, error) {
	for restarts := 0; ; restarts++ {
		if err := p.generate(ctx); err != nil {
			return nil, time.Time{}, err
		}
		out, err := p.get(ctx)
		if err == nil {
			return p.reader.checked(ctx, out)
		}
		if !errors.Is(err, errRestart) {
			return nil, time.Time{}, err
		}
		if restarts == maxRestarts {
			return nil, time.Time{}, p.giveUp(ctx, fmt.Sprintf("AWS started it %d times and never had it", restarts+1))
		}
	}
}

// errRestart: the report is gone before it could be read, or was never begun.
var errRestart = errors.New("the report must be made again")

type poll struct {
	reader  *Reader
	backoff backoff
	left    time.Duration // of the patience, if calls took no time
	why     string        // there is no report yet
}

// generate returns when a report is at hand, or may be after one pause.
func (p *poll) generate(ctx context.Context) error {
	const doing = "generate the credential report"
	r := p.reader
	for {
		out, err := r.iam.GenerateCredentialReport(ctx, &iam.GenerateCredentialReportInput{})
		switch {
		case err == nil && out.State == types.ReportStateTypeComplete:
			return nil
		case err == nil && (out.State == types.ReportStateTypeStarted || out.State == types.ReportStateTypeInprogress):
			return p.pause(ctx, "it is still being made")
		case err == nil:
			return r.unusable(ctx, actionGenerate, doing, "", "unknown state %q", out.State)
		case !busy(err):
			return p.fail(ctx, actionGenerate, doing, err)
		}
		if err := p.pause(ctx, causeText(err)); err != nil {
			return err
		}
	}
}

// get reads the report, and returns errRestart when it has to be made again.
func (p *poll) get(ctx context.Context) (*iam.GetCredentialReportOutput, error) {
	r := p.reader
	for {
		out, err := r.iam.GetCredentialReport(ctx, &iam.GetCredentialReportInput{})
		if err == nil {
			return out, nil
		}
		switch code := apiCode(err); {
		case code == "ReportNotPresent", code == "ReportExpired":
			return nil, errRestart
		case code == "ReportInProgress", busy(err):
			if err := p.pause(ctx, causeText(err)); err != nil {
				return nil, err
			}
		default:
			return nil, p.fail(ctx, actionReport, "get the credential report", err)
		}
	}
}

// busy tells answers that mean "later". LimitExceeded is about the capacity for reports, not a quota.
func busy(err error) bool {
	return apiCode(err) == "LimitExceeded" || errors.Is(kindOf(err), ErrThrottled)
}

func (p *poll) pause(ctx context.Context, why string) error {
	p.why = why
	d := p.backoff.pause()
	if d > p.left {
		return p.outOfPatience(ctx)
	}
	p.left -= d
	if err := p.reader.set.Wait(ctx, d); err != nil {
		return p.fail(ctx, actionReport, "wait for the credential report", err)
	}
	return nil
}

// fail keeps the trouble of a call that was broken off, to be told in place of the end of the patience.
func (p *poll) fail(ctx context.Context, action, doing string, err error) error {
	if s := (*stopped)(nil); errors.As(err, &s) {
		p.why = causeText(s.last)
	}
	return p.reader.fail(ctx, action, doing, "", err)
}

func (p *poll) outOfPatience(ctx context.Context) error {
	return p.giveUp(ctx, fmt.Sprintf("none after %v of waiting: %s", p.reader.set.Patience, p.why))
}

func (p *poll) giveUp(ctx context.Context, why string) error {
	err := p.reader.fail(ctx, actionReport, "get the credential report", "", errors.New(why))
	if e := (*Error)(nil); errors.As(err, &e) && ctx.Err() == nil {
		e.Kind = ErrNoReport
	}
	return err
}

func (r *Reader) checked(ctx context.Context, out *iam.GetCredentialReportOutput) ([]byte, time.Time, error) {
	const doing = "get the credential report"
	var why string
	switch {
	case len(out.Content) == 0:
		why = "the report is empty"
	case out.GeneratedTime == nil:
		why = "the report does not say when it was made"
	case out.ReportFormat != types.ReportFormatTypeTextCsv:
		why = fmt.Sprintf("the report is %q, not text/csv", out.ReportFormat)
	default:
		return out.Content, out.GeneratedTime.UTC(), nil
	}
	return nil, time.Time{}, r.unusable(ctx, actionReport, doing, "", "%s", why)
}
