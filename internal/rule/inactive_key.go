package rule

import (
	"fmt"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// inactiveKey fails an inactive key that was left behind.
//
// Boundary: now - created >= MaxInactive fails. Source: our own, from the last step of every rotation: after the
// quiet period the old key is deleted. AWS does not say when a key was deactivated, so the age of the key is the measure
// until a history of our own knows better.
func inactiveKey() Kind {
	return Kind{
		Name: "inactive-key", Subject: ForKey, Keys: InactiveKey, Params: []string{"max_inactive"}, Default: Params{MaxInactive: 90 * Day},
		Prepare: func(p *Params, now fact.Time) judge {
			oldest := now.Add(-p.MaxInactive)
			return func(_ *fact.User, k *fact.Key) (Result, Missing) {
				switch {
				case !k.Created.Known():
					return Undecided, MissingCreated
				case k.Created.After(oldest):
					return Passes, NothingMissing
				default:
					return Fails, NothingMissing
				}
			}
		},
		When: func(p *Params, _ *fact.User, k *fact.Key, _ Result) fact.Time { return k.Created.Add(p.MaxInactive) },
		Explain: func(p *Params, _ *fact.User, k *fact.Key, now fact.Time, o Outcome) (string, map[string]any) {
			if o.Result == Undecided {
				return "age of the inactive key is unknown: " + o.Missing.String(), nil
			}
			age := now.Sub(k.Created)
			facts := withSeconds(map[string]any{"age_days": days(age), "limit_days": days(p.MaxInactive)}, "limit_seconds", p.MaxInactive)
			if age < 0 {
				return "inactive key was " + madeLater, facts
			}
			return fmt.Sprintf("inactive key is %s old, the limit is %s", beside(age, p.MaxInactive), limitText(p.MaxInactive)), facts
		},
		Remedy: remedy(finding.Delete),
	}
}
