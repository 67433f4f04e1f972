package cli

import (
	"context"
	"maps"
	"slices"

	"github.com/keyreeve/keyreeve/internal/awsiam"
)

// settings are how this run talks to AWS.
func (a *app) settings(concurrency int, rate float64) awsiam.Settings {
	return awsiam.Settings{
		Profile: a.global.profile, Region: a.global.region, EndpointURL: a.global.endpointURL,
		Concurrency: concurrency, Rate: rate, Log: a.log(), UserAgent: "keyreeve/" + a.version, Now: a.sys.Now, Counters: &a.calls,
	}
}

// reader opens the account of the caller's credentials, to read only.
func (a *app) reader(ctx context.Context, p *auditPlan) (*awsiam.Reader, error) {
	return awsiam.Open(ctx, a.settings(p.how.Concurrency, p.rate))
}

// logCalls tells what the run cost.
func (a *app) logCalls(r *awsiam.Reader) {
	calls := r.Calls()
	total := 0
	args := make([]any, 0, 2*len(calls)+4)
	for _, op := range slices.Sorted(maps.Keys(calls)) {
		total += calls[op]
		args = append(args, op, calls[op])
	}
	a.log().Debug("calls to AWS", append([]any{"total", total, "attempts", r.Attempts()}, args...)...)
}
