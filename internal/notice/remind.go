package notice

import (
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// Reminders say when people are told again. The zero value reminds nobody.
type Reminders struct {
	Before  []time.Duration // a passing verdict, so long before it is due
	Overdue time.Duration   // a failing verdict, each time so long after it opened; 0 means never
	// Expiring is told so long before an accepted risk ends; 0 means never.
	Expiring time.Duration
}

// Standing is a verdict as the record of verdicts has it.
type Standing struct {
	Verdict finding.Verdict
	Opened  time.Time         // since when it fails, by our record; zero where it passes
	Tags    map[string]string // of the user; nil where none were read
}

// Verdicts are the reminders that fell due by now. What was missed is not made up for: of several reminders of one
// verdict only the last one comes. They come again in each cycle until the next one, with the same instant, so that the
// outbox takes each once.
func (r *Reminders) Verdicts(standing []Standing, now time.Time) []Change {
	var out []Change
	for i := range standing {
		s := &standing[i]
		v := &s.Verdict
		c := Change{Account: v.Account, Tags: s.Tags, Verdict: v}
		switch {
		case v.Status == finding.Pass && v.Due.Known():
			c.Kind = DueSoon
			c.At = r.before(v.Due.Time(), now)
		case v.Status == finding.Fail && !s.Opened.IsZero() && r.Overdue > 0:
			c.Kind = Overdue
			if times := now.Sub(s.Opened) / r.Overdue; times > 0 {
				c.At = s.Opened.Add(times * r.Overdue).UTC()
			}
		}
		if !c.At.IsZero() {
			out = append(out, c)
		}
	}
	return out
}

// before is the last reminder before due that now has reached; zero: none, or it is due.
func (r *Reminders) before(due, now time.Time) time.Time {
	if !now.Before(due) {
		return time.Time{}
	}
	lead := slices.Clone(r.Before)
	slices.Sort(lead)
	for _, d := range lead { // the shortest first: the latest reminder
		if at := due.Add(-d); !at.After(now) {
			return at.UTC()
		}
	}
	return time.Time{}
}

// Exceptions are those that end within Expiring.
func (r *Reminders) Exceptions(exceptions []finding.Exception, now time.Time) []Change {
	var out []Change
	for i := range exceptions {
		e := &exceptions[i]
		if !e.Expires.Known() || r.Expiring <= 0 {
			continue
		}
		end := e.Expires.Time()
		if now.Before(end) && !now.Before(end.Add(-r.Expiring)) {
			c := Change{Kind: Expiring, At: end, Exception: e}
			if e.Account != "*" {
				c.Account = fact.Account{ID: e.Account}
			}
			out = append(out, c)
		}
	}
	return out
}
