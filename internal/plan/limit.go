package plan

import (
	"fmt"
	"math"
	"time"
)

// What a run may change where nobody said otherwise.
const (
	maxSteps = 25
	maxShare = 0.10
	always   = 3 // steps that a share never forbids
)

// maxAge of a plan, and how far the clock of another machine may be ahead.
const (
	maxAge  = day
	maxSkew = 5 * time.Minute
)

// Limits is how much one run may change.
type Limits struct {
	Steps int     // at most so many; 0 means 25
	Share float64 // of the account's active keys, 0 to 1; 0 means 0.10
}

// Validate refuses limits that make no sense, all at once, as an InputError.
func (l Limits) Validate() error {
	var m mistakes
	if l.Steps < 0 {
		m.add("", "--max-steps %d is negative", l.Steps)
	}
	if math.IsNaN(l.Share) || l.Share < 0 || l.Share > 1 {
		m.add("such as --max-share 0.2, which is a fifth of the active keys", "--max-share %v is not between 0 and 1", l.Share)
	}
	return m.err()
}

// Allowed is how many steps one run may have in an account with so many active keys: the smaller of Steps and Share,
// where a share allows 3 at least. Steps alone sets the number, whatever the share.
func (l Limits) Allowed(active int) int {
	switch {
	case l.Steps > 0 && !l.shares():
		return l.Steps
	case l.Steps > 0:
		return min(l.Steps, l.shared(active))
	default:
		return min(maxSteps, l.shared(active))
	}
}

// shares tells whether a share was given.
func (l Limits) shares() bool { return l.Share > 0 }

// shared is what the share of the active keys allows.
func (l Limits) shared(active int) int {
	share := maxShare
	if l.shares() {
		share = min(l.Share, 1)
	}
	const exact = 1e-9 // 0.29 of 100 is 29, though not in binary
	return max(always, int(math.Floor(share*float64(max(active, 0))+exact)))
}

// Check refuses more steps than allowed and says which flag would allow them.
func (l Limits) Check(steps, active int) error {
	allowed := l.Allowed(active)
	if steps <= allowed {
		return nil
	}
	r := &Refusal{Guard: GuardSteps, Widen: fmt.Sprintf("--max-steps %d", steps)}
	if l.shares() && l.shared(active) < steps {
		r.Widen += ", without --max-share" // which would still forbid them
	}
	r.Why = fmt.Sprintf("the plan has %s, and one run may have %d: %s", plural(steps, "step"), allowed, l.origin(active))
	return r
}

// origin says how the number of steps came about.
func (l Limits) origin(active int) string {
	share := maxShare
	if l.shares() {
		share = l.Share
	}
	ofKeys := fmt.Sprintf("%.4g %% of %s, and %d at least", share*100, plural(active, "active key"), always)
	switch {
	case l.Steps > 0 && !l.shares():
		return "--max-steps says so"
	case l.Steps > 0:
		return fmt.Sprintf("the smaller of --max-steps %d and %s", l.Steps, ofKeys)
	default:
		return fmt.Sprintf("%s, but no more than %d", ofKeys, maxSteps)
	}
}

// Fresh refuses a plan that is older than longest (0 means 24 hours), or made more than 5 minutes after now.
func (p *Plan) Fresh(now time.Time, longest time.Duration) error {
	if longest <= 0 {
		longest = maxAge
	}
	age := now.Sub(p.CreatedAt)
	switch {
	case age > longest:
		return &Refusal{
			Guard: GuardAge, Why: fmt.Sprintf("the plan was made %s, %s ago; it may be at most %s old", minute(p.CreatedAt), about(age), span(longest)),
			Widen: fmt.Sprintf("plan again, or --max-plan-age %dh", (age+time.Hour-1)/time.Hour),
		}
	case -age > maxSkew:
		return &Refusal{
			Guard: GuardAge, Why: fmt.Sprintf("the plan was made in the future: %s, and it is %s now", minute(p.CreatedAt), minute(now)),
			Widen: "set the clock of this machine, or that of the one that made the plan, and plan again",
		}
	default:
		return nil
	}
}

// For refuses a plan that is not for that account alone.
func (p *Plan) For(account string) error {
	if len(p.Accounts) == 0 {
		return wrongAccount("(none)", account)
	}
	for i := range p.Accounts {
		if id := p.Accounts[i].ID; id != account {
			return wrongAccount(id, account)
		}
	}
	return nil
}

// Counts are the numbers of a plan's steps: each step counts once.
type Counts struct {
	Deactivate int // decided ones
	Delete     int
	Rotate     int
	Undecided  int
	LeftOut    int
}

// Counts of the plan.
func (p *Plan) Counts() Counts {
	c := Counts{LeftOut: len(p.LeftOut)}
	for i := range p.Steps {
		switch s := &p.Steps[i]; {
		case s.Open():
			c.Undecided++
		case s.Action == Delete:
			c.Delete++
		case s.Action == Rotate:
			c.Rotate++
		default:
			c.Deactivate++
		}
	}
	return c
}

// Steps is the number of all steps.
func (c Counts) Steps() int { return c.Deactivate + c.Delete + c.Rotate + c.Undecided }

// Due are the steps that could be carried out at that moment: decided, no rotation (which is a matter of days and
// of its own command), and not before their time. They keep their order.
func (p *Plan) Due(at time.Time) []*Step {
	var out []*Step
	for i := range p.Steps {
		if s := &p.Steps[i]; !s.Open() && s.Action != Rotate && !s.NotBefore.After(at) {
			out = append(out, s)
		}
	}
	return out
}
