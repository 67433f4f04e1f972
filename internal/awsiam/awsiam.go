// Package awsiam reads IAM and STS of a live AWS account and answers in the types of fact. It is the only
// package that knows the AWS SDK.
//
// It knows how AWS pages, throttles, times out and words its refusals, and keeps within the concurrency
// and the rate it was given. A Reader has no method that changes an account, with one exception that IAM
// makes unavoidable: GenerateCredentialReport makes AWS write a report of its own.
//
// It refuses to guess. An answer that is empty, cut short, or contradicts itself is an error and never an
// account without users, a user without keys or a key without use. It judges nothing and keeps nothing.
//
// Its promise: a method either returns everything that AWS holds, read to the last page, or an error that
// says what was not read, which IAM action it needs, and of which kind the trouble is.
package awsiam

import (
	"slices"
	"time"
)

// AuditActions are the IAM actions that the readings of an audit need, sorted, as a policy names them.
//
// sts:GetCallerIdentity is called too, and left out: AWS answers it to any valid credentials, also where
// a policy denies it.
func AuditActions() []string {
	return []string{
		"iam:GenerateCredentialReport",
		"iam:GetAccessKeyLastUsed",
		"iam:GetAccountSummary",
		"iam:GetCredentialReport",
		"iam:GetLoginProfile",
		"iam:ListAccessKeys",
		"iam:ListAccountAliases",
		"iam:ListEntitiesForPolicy",
		"iam:ListUserTags",
		"iam:ListUsers",
	}
}

// QuarantinePolicies are the names of the managed policies that AWS attaches to a user whose key it found
// exposed, sorted. All live under the path "/" of the account "aws".
func QuarantinePolicies() []string {
	return []string{
		"AWSCompromisedKeyQuarantine",
		"AWSCompromisedKeyQuarantineV2",
		"AWSCompromisedKeyQuarantineV3",
		"AWSCompromisedKeyQuarantineV4",
	}
}

// Calls tells how many operations were made so far, by action: "iam:ListUsers" for one. A retried
// operation counts once, each page of a listing counts. What gets credentials, such as the role of a
// profile being assumed, is not counted here.
func (r *Reader) Calls() map[string]int {
	r.meter.mu.Lock()
	defer r.meter.mu.Unlock()
	out := make(map[string]int, len(r.meter.calls))
	for action, n := range r.meter.calls {
		out[action] = n
	}
	return out
}

// Skew is how far AWS's clock is ahead of this machine's, by the Date of its last answer, to the second. False:
// no answer told.
func (r *Reader) Skew() (time.Duration, bool) {
	r.meter.mu.Lock()
	defer r.meter.mu.Unlock()
	return r.meter.skew, r.meter.skewSet
}

// Attempts tells how many HTTP requests were sent so far to IAM and STS, retries and those that assume a
// role included.
func (r *Reader) Attempts() int { return int(r.meter.attempts.Load()) }

// backoff is the growing pause of a poll: first, then twice as long each time, at most limit.
type backoff struct{ next, limit time.Duration }

func (b *backoff) pause() time.Duration {
	d := min(b.next, b.limit)
	b.next = min(2*b.next, b.limit)
	return d
}

// sortedUnique sorts names and drops doubles, in place.
func sortedUnique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
