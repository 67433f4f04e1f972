package rule

import (
	"fmt"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// keyNeverUsed fails an active key that was never used although its Grace is over; with ConsoleOnly, only
// keys of users who have a console password.
//
// Boundary: never used and now - created >= Grace fails. Source: with ConsoleOnly and no grace it is the command-line
// reading of the setup-key control in CIS AWS Foundations, as Prowler's iam_user_no_setup_initial_access_key has it. AWS shows a use
// minutes late, so a young key's "never used" is no evidence: hence the grace. A key younger than its grace passes even
// where its last use could not be read; with ConsoleOnly, only where the password was read.
func keyNeverUsed() Kind {
	return Kind{
		Name: "key-never-used", Subject: ForKey, Keys: ActiveKey, Params: []string{"grace", "console_only"}, Default: Params{Grace: 7 * Day},
		Prepare: func(p *Params, now fact.Time) judge {
			console, limit := p.ConsoleOnly, now.Add(-p.Grace)
			return func(u *fact.User, k *fact.Key) (Result, Missing) {
				switch {
				case console && u.Password == fact.No:
					return Inapplicable, NothingMissing
				case console && u.Password == fact.Unknown:
					return Undecided, MissingPassword
				case k.LastUsed.At.Known():
					return Passes, NothingMissing
				case !k.Created.Known():
					return Undecided, MissingCreated
				case k.Created.After(limit):
					return Passes, NothingMissing
				case k.LastUsed.At.Unknown():
					return Undecided, MissingLastUse
				default:
					return Fails, NothingMissing
				}
			}
		},
		When: func(p *Params, _ *fact.User, k *fact.Key, _ Result) fact.Time {
			if !k.LastUsed.At.Never() {
				return fact.Time{}
			}
			return k.Created.Add(p.Grace)
		},
		Explain: func(p *Params, _ *fact.User, k *fact.Key, now fact.Time, o Outcome) (string, map[string]any) {
			if o.Result == Undecided {
				return "whether the active key was ever used is unknown: " + o.Missing.String(), nil
			}
			if k.LastUsed.At.Known() {
				return "active key has been used", map[string]any{"ever_used": true}
			}
			age := now.Sub(k.Created)
			facts := withSeconds(map[string]any{"age_days": days(age), "grace_days": days(p.Grace)}, "grace_seconds", p.Grace)
			owner := ""
			if p.ConsoleOnly {
				owner = " of a console user"
			}
			if age < 0 {
				return fmt.Sprintf("active key%s was %s", owner, madeLater), facts
			}
			if o.Result == Passes {
				return fmt.Sprintf("active key%s is within its grace of %s", owner, limitText(p.Grace)), facts
			}
			return fmt.Sprintf("active key%s was never used in the %s since it was made", owner, beside(age, p.Grace)), facts
		},
		Remedy: remedy(finding.Deactivate),
	}
}
