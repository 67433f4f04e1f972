package rule

import (
	"fmt"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// keyUnused fails an active key that nobody has used for MaxUnused.
//
// Boundary: now - (last used, or created if never used) >= MaxUnused fails. Source: CIS AWS Foundations ("unused for
// 45 days or greater"), Security Hub IAM.22 and IAM.8, AWS Config iam-user-unused-credentials-check. A key cannot be used
// before it exists, so one younger than MaxUnused passes even where its last use could not be read.
func keyUnused() Kind {
	return Kind{
		Name: "key-unused", Subject: ForKey, Keys: ActiveKey, Params: []string{"max_unused"}, Default: Params{MaxUnused: 90 * Day},
		Prepare: func(p *Params, now fact.Time) judge {
			limit := now.Add(-p.MaxUnused)
			return func(_ *fact.User, k *fact.Key) (Result, Missing) {
				from, missing := idleSince(k)
				switch {
				case missing == MissingCreated:
					return Undecided, missing
				case from.After(limit):
					return Passes, NothingMissing
				case missing != NothingMissing:
					return Undecided, missing
				default:
					return Fails, NothingMissing
				}
			}
		},
		When: func(p *Params, _ *fact.User, k *fact.Key, _ Result) fact.Time {
			from, missing := idleSince(k)
			if missing != NothingMissing {
				return fact.Time{}
			}
			return from.Add(p.MaxUnused)
		},
		Explain: func(p *Params, _ *fact.User, k *fact.Key, now fact.Time, o Outcome) (string, map[string]any) {
			if o.Result == Undecided {
				return "whether the active key is used is unknown: " + o.Missing.String(), nil
			}
			from, missing := idleSince(k)
			if missing == MissingLastUse {
				return fmt.Sprintf("active key is younger than the limit of %s", limitText(p.MaxUnused)),
					withSeconds(map[string]any{"limit_days": days(p.MaxUnused)}, "limit_seconds", p.MaxUnused)
			}
			idle, never := now.Sub(from), k.LastUsed.At.Never()
			facts := withSeconds(map[string]any{"idle_days": days(idle), "limit_days": days(p.MaxUnused), "ever_used": !never},
				"limit_seconds", p.MaxUnused)
			var text string
			switch {
			case idle < 0 && never:
				return "active key was " + madeLater, facts
			case idle < 0:
				return "active key was last used after the instant judged at", facts
			case never:
				text = fmt.Sprintf("active key was never used in the %s since it was made", beside(idle, p.MaxUnused))
			default:
				text = fmt.Sprintf("active key was last used %s ago", beside(idle, p.MaxUnused))
			}
			return fmt.Sprintf("%s, the limit is %s", text, limitText(p.MaxUnused)), facts
		},
		Remedy: remedy(finding.Deactivate),
	}
}

// idleSince is when a key was last used, or made if it never was; beside it what is not known of that. Where the last use
// was not read it is the creation: the key cannot have been used before.
func idleSince(k *fact.Key) (fact.Time, Missing) {
	switch {
	case k.LastUsed.At.Known():
		return k.LastUsed.At, NothingMissing
	case !k.Created.Known():
		return fact.Time{}, MissingCreated
	case k.LastUsed.At.Never():
		return k.Created, NothingMissing
	default:
		return k.Created, MissingLastUse
	}
}
