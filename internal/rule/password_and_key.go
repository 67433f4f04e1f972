package rule

import (
	"fmt"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// passwordAndKey fails a user who has both a console password and an active key.
//
// Boundary: a password and at least one active key fails. Source: Conformity IAM-024: people sign in,
// programs hold keys, and one identity should not be both. Off in the default ruleset.
func passwordAndKey() Kind {
	return Kind{
		Name: "password-and-key", Subject: ForUser,
		Prepare: func(_ *Params, _ fact.Time) judge {
			return func(u *fact.User, _ *fact.Key) (Result, Missing) {
				switch {
				case u.Password == fact.No || u.KeysRead && u.ActiveKeys() == 0:
					return Passes, NothingMissing
				case u.Password == fact.Unknown:
					return Undecided, MissingPassword
				case !u.KeysRead:
					return Undecided, MissingKeys
				default:
					return Fails, NothingMissing
				}
			}
		},
		Explain: func(_ *Params, u *fact.User, _ *fact.Key, _ fact.Time, o Outcome) (string, map[string]any) {
			switch o.Result {
			case Undecided:
				return "whether the user has both a password and an active key is unknown: " + o.Missing.String(), nil
			case Fails:
				return fmt.Sprintf("user has a console password and %s", plural(u.ActiveKeys(), "active key")),
					map[string]any{"active_keys": u.ActiveKeys()}
			default:
				return "user does not have both a console password and an active key", nil
			}
		},
		Remedy: remedy(finding.Guide),
	}
}
