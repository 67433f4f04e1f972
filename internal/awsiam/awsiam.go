// Package awsiam reads IAM and STS of a live AWS account, answers in the types of fact, and changes access
// keys. It reads which accounts an organisation has, and opens each. It is the only package that knows the AWS SDK.
//
// It knows how AWS pages, throttles, times out and words its refusals, and keeps within the concurrency
// and the rate it was given. A Reader has no method that changes an account, with one exception that IAM
// makes unavoidable: GenerateCredentialReport makes AWS write a report of its own. A Writer, a type apart
// with credentials of its own, changes the status of keys and deletes them, and can do nothing else.
//
// It refuses to guess. An answer that is empty, cut short, or contradicts itself is an error and never an
// account without users, a user without keys or a key without use. It judges nothing and keeps nothing.
//
// Its promise: a method either returns everything that AWS holds, read to the last page, or an error that
// says what was not read, which IAM action it needs, and of which kind the trouble is. A change that failed
// says whether it may have taken effect.
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
