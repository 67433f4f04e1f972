package rule

import (
	"fmt"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// keyAge fails an active key whose age is greater than MaxAge.
//
// Boundary: now - created > MaxAge fails; a key of exactly MaxAge passes. Source: CIS AWS Foundations
// ("less than or equal to 90 days") and AWS Config access-keys-rotated. Age counts from the creation of
// the key: AWS keys do not change, a rotation is a new key.
func keyAge() Kind {
	return Kind{
		Name: "key-age", Subject: ForKey, Keys: ActiveKey, Params: []string{"max_age"}, Default: Params{MaxAge: 90 * Day},
		Prepare: func(p *Params, now fact.Time) judge {
			oldest := now.Add(-p.MaxAge)
			return func(_ *fact.User, k *fact.Key) (Result, Missing) {
				switch {
				case !k.Created.Known():
					return Undecided, MissingCreated
				case k.Created.Before(oldest):
					return Fails, NothingMissing
				default:
					return Passes, NothingMissing
				}
			}
		},
		When: func(p *Params, _ *fact.User, k *fact.Key, _ Result) fact.Time { return k.Created.Add(p.MaxAge) },
		Explain: func(p *Params, _ *fact.User, k *fact.Key, now fact.Time, o Outcome) (string, map[string]any) {
			if o.Result == Undecided {
				return "age of the active key is unknown: " + o.Missing.String(), nil
			}
			age := now.Sub(k.Created)
			facts := withSeconds(map[string]any{"age_days": days(age), "limit_days": days(p.MaxAge)}, "limit_seconds", p.MaxAge)
			switch {
			case age < 0:
				return "active key was " + madeLater, facts
			case o.Result == Fails:
				return fmt.Sprintf("active key is %s old, the limit is %s", beside(age, p.MaxAge), limitText(p.MaxAge)), facts
			default:
				return fmt.Sprintf("active key is %s old, within the limit of %s", beside(age, p.MaxAge), limitText(p.MaxAge)), facts
			}
		},
		Remedy: remedy(finding.Rotate),
	}
}
