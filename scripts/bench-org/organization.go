package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// measureOrganization audits an organisation of many accounts three times, by the credential reports: once by itself, twice
// with the history. STS lets so many roles a second be assumed; that limit binds, for an account cannot be read before its role
// is assumed.
func measureOrganization(ctx context.Context, o *options, b *board) error {
	b.heading("%d accounts of %d users, report mode, %s roles a second", o.accounts, o.users, number(o.assumeRate))
	rate := strconv.FormatFloat(o.assumeRate, 'f', -1, 64)
	s, err := o.simulate(ctx, "-accounts", strconv.Itoa(o.accounts), "-users", strconv.Itoa(o.users), "-sts-rate", rate, "-sts-burst", strconv.Itoa(int(o.assumeRate)),
		"-iam-rate", "20", "-iam-burst", "40")
	if err != nil {
		return err
	}
	defer s.stop()
	audit := []string{"audit", "--org", "--assume-rate", rate, "--concurrency", strconv.Itoa(o.atOnce), "-o", "summary", "--quiet"}
	accounts := float64(s.expected.Readable)

	first, seen, err := o.audit(ctx, s, audit...)
	if err != nil {
		return err
	}
	b.tell("by itself: wall time, of which the limit alone takes", fmt.Sprintf("%.0f s, %.0f s", first.wall.Seconds(), (accounts-o.assumeRate)/o.assumeRate))
	b.tell("by itself: calls, of them throttled", fmt.Sprintf("%d, %d", seen.Calls, seen.Throttled))
	b.atMost("by itself: failing users that were missed, or read in vain", abs(seen.of("iam:ListAccessKeys")-s.expected.FailingUsers), 0, "")
	b.atMost("by itself: calls an account, failing users aside", (float64(seen.Calls-s.expected.FailingUsers))/accounts, 9, "")
	allowed, err := s.capacity(ctx, "sts", first.wall)
	if err != nil {
		return err
	}
	b.atLeast("by itself: share of the calls that the limits allow", float64(seen.of("sts:AssumeRole"))/allowed, 0.9, "")
	b.atMost("by itself: peak memory", mebibytes(first.peak), 300, "MiB")
	b.atMost("by itself: CPU an account, beside TLS and the simulator", milliseconds(first.cpu)/accounts, 5, "ms")

	recorded, seen, err := o.audit(ctx, s, append(audit, "--record")...)
	if err != nil {
		return err
	}
	b.atMost("first with the history: calls an account, failing users aside", (float64(seen.Calls-s.expected.FailingUsers))/accounts, 9, "")
	b.atMost("first with the history: peak memory", mebibytes(recorded.peak), 300, "MiB")
	b.tell("first with the history: CPU an account", fmt.Sprintf("%.2f ms", milliseconds(recorded.cpu)/accounts))
	before, err := o.moved(ctx)
	if err != nil {
		return err
	}
	second, seen, err := o.audit(ctx, s, append(audit, "--record", "--confirm", "new")...)
	if err != nil {
		return err
	}
	after, err := o.moved(ctx)
	if err != nil {
		return err
	}
	b.tell("second with the history: wall time", fmt.Sprintf("%.0f s", second.wall.Seconds()))
	b.atMost("second with the history: calls an account", float64(seen.Calls)/accounts, 9, "")
	b.atMost("second with the history: verdicts that opened or closed", float64(after-before), 0, "")
	b.atMost("second with the history: peak memory", mebibytes(second.peak), 300, "MiB")
	b.atMost("second with the history: CPU an account", milliseconds(second.cpu)/accounts, 5, "ms")
	return nil
}

// audit runs an audit that finds something and is complete, and says which calls it made.
func (o *options) audit(ctx context.Context, s *simulator, args ...string) (ran, *calls, error) {
	r, err := o.run(ctx, s, 3, args...)
	if err != nil {
		return r, nil, err
	}
	seen, err := s.calls(ctx)
	return r, seen, err
}

// measureWide audits an organisation of few accounts with many users.
func measureWide(ctx context.Context, o *options, b *board) error {
	b.heading("%d accounts of %d users, report mode", o.wide, o.wideUsers)
	s, err := o.simulate(ctx, "-accounts", strconv.Itoa(o.wide), "-users", strconv.Itoa(o.wideUsers))
	if err != nil {
		return err
	}
	defer s.stop()
	r, seen, err := o.audit(ctx, s, "audit", "--org", "-o", "summary", "--quiet")
	if err != nil {
		return err
	}
	accounts := float64(s.expected.Readable)
	b.tell("wall time", fmt.Sprintf("%.1f s", r.wall.Seconds()))
	b.atMost("failing users that were missed, or read in vain", abs(seen.of("iam:ListAccessKeys")-s.expected.FailingUsers), 0, "")
	b.tell("calls an account, failing users aside", number(float64(seen.Calls-s.expected.FailingUsers)/accounts))
	b.tell("peak memory", fmt.Sprintf("%.0f MiB", mebibytes(r.peak)))
	b.tell("CPU a thousand users", fmt.Sprintf("%.1f ms", 1000*milliseconds(r.cpu)/float64(s.expected.Users)))
	return nil
}

func abs(n int) float64 { return max(float64(n), -float64(n)) }

// moved is how many verdicts opened and closed by now.
func (o *options) moved(ctx context.Context) (int, error) {
	r, err := o.run(ctx, nil, 0, "trend", "-o", "json", "--over", "48h")
	if err != nil {
		return 0, err
	}
	var trend struct {
		Points []struct {
			Day            string
			Opened, Closed int
		}
	}
	if err := json.Unmarshal(r.out, &trend); err != nil {
		return 0, err
	}
	n := 0
	for _, p := range trend.Points {
		n += p.Opened + p.Closed
	}
	if n == 0 {
		return 0, fmt.Errorf("the history is empty at %s", time.Now().UTC().Format(time.RFC3339))
	}
	return n, nil
}
