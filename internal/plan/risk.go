package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// sessions made with a key outlive it by up to 36 hours, which is what GetSessionToken grants at most. A last use is
// recorded once in 15 minutes and shown late, so a day is added before they are ruled out.
const (
	sessions     = 36 * time.Hour
	sessionsOver = sessions + day
)

// risk says who may notice the step, in a sentence.
func (m *maker) risk(d *draft) string {
	if d.key == nil {
		parts := make([]string, 0, len(d.choices))
		for _, k := range d.choices {
			parts = append(parts, k.ID+" "+m.lastUse(k))
		}
		return strings.Join(parts, "; ")
	}
	out := m.lastUse(d.key)
	use := d.key.LastUsed.At
	switch {
	case d.action == Rotate && use.Known():
		out += "; whatever uses it needs the new key before this one goes"
	case d.action != Rotate && use.Known() && fact.At(m.opt.Now).Sub(use) <= sessionsOver:
		out += "; sessions made with it may live up to 36 hours"
	}
	if d.action == Delete {
		out += "; deleting it cannot be undone"
	}
	return out
}

// reason says why the step is planned, in the words of what asks for it.
func (d *draft) reason() string {
	var parts []string
	add := func(s string) {
		if s != "" && !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	for i, v := range d.verdicts {
		if !slices.ContainsFunc(d.verdicts[i+1:], func(o *finding.Verdict) bool { return saysMore(o, v) }) &&
			!slices.ContainsFunc(d.verdicts[:i], func(o *finding.Verdict) bool { return saysMore(o, v) && !saysMore(v, o) }) {
			add(v.Message)
		}
	}
	for _, s := range d.why {
		add(s)
	}
	return strings.Join(parts, "; ")
}

// saysMore tells whether a's message makes b's superfluous: the same kind of rule, at least as severe. Custom rules each say
// something of their own.
func saysMore(a, b *finding.Verdict) bool {
	return a.Kind == b.Kind && a.Kind != "custom" && a.Severity.Rank() >= b.Severity.Rank()
}

// lastUse says when, by what and where a key was last used, as seen from Now.
func (m *maker) lastUse(k *fact.Key) string {
	now := fact.At(m.opt.Now)
	if !k.LastUsed.At.Known() {
		out := "never used in the " + about(now.Sub(k.Created)) + " since it was made"
		if now.Sub(k.Created) < time.Hour {
			out += ", though a use shows only minutes later"
		}
		return out
	}
	return "used " + about(now.Sub(k.LastUsed.At)) + " ago" + by(k.LastUsed)
}

// by names the service and the region of a use. AWS names no region for services that have none.
func by(u fact.Use) string {
	var out string
	if said(u.Service) {
		out += " by " + u.Service
	}
	if said(u.Region) {
		out += " in " + u.Region
	}
	return out
}

func said(s string) bool { return s != "" && s != "N/A" }

// about is a length of time for people, rounded down. What lies in the future, by another clock, has just happened.
func about(d time.Duration) string {
	switch {
	case d < 2*time.Hour:
		return plural(int(max(d, time.Minute)/time.Minute), "minute")
	case d < 2*day:
		return plural(int(d/time.Hour), "hour")
	default:
		return plural(int(d/day), "day")
	}
}

// span is a length of time that somebody set, in its largest whole unit.
func span(d time.Duration) string {
	switch {
	case d%day == 0:
		return plural(int(d/day), "day")
	case d%time.Hour == 0:
		return plural(int(d/time.Hour), "hour")
	case d%time.Minute == 0:
		return plural(int(d/time.Minute), "minute")
	default:
		return plural(int(d/time.Second), "second")
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// minute writes an instant for people, in UTC.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }
