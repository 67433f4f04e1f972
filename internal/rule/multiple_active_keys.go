package rule

import (
	"fmt"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// multipleActiveKeys fails a user with more than MaxActive active keys.
//
// Boundary: count of active keys > MaxActive fails. Source: CIS AWS Foundations 1.3.0 to 6.0.0 ("only one active
// access key available for any single IAM user") and Conformity IAM-004. A key that is active beside an unknown creation
// time counts.
func multipleActiveKeys() Kind {
	return Kind{
		Name: "multiple-active-keys", Subject: ForUser, Params: []string{"max_active"}, Default: Params{MaxActive: 1},
		Prepare: func(p *Params, _ fact.Time) judge {
			return func(u *fact.User, _ *fact.Key) (Result, Missing) {
				switch {
				case !u.KeysRead:
					return Undecided, MissingKeys
				case u.ActiveKeys() > p.MaxActive:
					return Fails, NothingMissing
				default:
					return Passes, NothingMissing
				}
			}
		},
		Explain: func(p *Params, u *fact.User, _ *fact.Key, _ fact.Time, o Outcome) (string, map[string]any) {
			if o.Result == Undecided {
				return "the number of active keys is unknown: " + o.Missing.String(), nil
			}
			n := u.ActiveKeys()
			return fmt.Sprintf("user has %s, the limit is %d", plural(n, "active key"), p.MaxActive),
				map[string]any{"active_keys": n, "limit": p.MaxActive}
		},
		Remedy: remedy(finding.KeepOne),
	}
}
