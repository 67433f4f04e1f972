package fakeaws

import (
	"slices"
	"time"
)

// services are those that a Cloud knows; each has limits of its own.
var services = [...]string{"iam", "sts", "organizations"}

// A call that came too soon, as IAM and STS word it, and as Organizations does.
const throttling, tooManyRequests = "Throttling", "TooManyRequestsException"

// Limits are how often each account may call. Who calls beyond is turned away with Throttling.
type Limits struct {
	IAM, STS, Organizations Rate

	Now func() time.Time // by which the buckets fill; nil: the Cloud's clock
}

// Rate is a token bucket. The zero value has no limit.
type Rate struct {
	PerSecond float64
	Burst     int // calls at once after a pause; 0 means 1
}

// bucket is what an account has left of a Rate.
type bucket struct {
	tokens float64
	at     time.Time // zero: nothing was taken yet
}

// SetLimits replaces the limits; all buckets are full then.
func (c *Cloud) SetLimits(l Limits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits = l
	for _, a := range c.accounts {
		a.spent = [len(services)]bucket{}
	}
}

// take takes a token for a call of service, if there is one.
func (a *Account) take(service string) bool {
	l := &a.cloud.limits
	i := slices.Index(services[:], service)
	if i < 0 {
		return true
	}
	rate := [...]Rate{l.IAM, l.STS, l.Organizations}[i]
	if rate == (Rate{}) {
		return true
	}
	now := a.cloud.now
	if l.Now != nil {
		now = l.Now()
	}
	full := float64(max(rate.Burst, 1))
	b := &a.spent[i]
	if b.at.IsZero() {
		b.tokens = full
	} else if passed := now.Sub(b.at); passed > 0 {
		b.tokens = min(full, b.tokens+passed.Seconds()*rate.PerSecond)
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
