package rule

import (
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// exposedKey fails a user to whom AWS has attached a policy named AWSCompromisedKeyQuarantine*.
//
// Boundary: attached fails. Source: AWS attaches it when it finds a key of the user in public. The policy limits
// little, so the key counts as known to strangers until it is gone. Live evidence only.
func exposedKey() Kind {
	return Kind{
		Name: "exposed-key", Subject: ForUser, NeedsLive: true,
		Prepare: func(_ *Params, _ fact.Time) judge {
			return func(u *fact.User, _ *fact.Key) (Result, Missing) {
				switch u.Quarantine {
				case fact.Yes:
					return Fails, NothingMissing
				case fact.No:
					return Passes, NothingMissing
				default:
					return Undecided, MissingQuarantine
				}
			}
		},
		Explain: func(_ *Params, u *fact.User, _ *fact.Key, _ fact.Time, o Outcome) (string, map[string]any) {
			switch o.Result {
			case Undecided:
				return "whether AWS found a key of the user exposed is unknown: " + o.Missing.String(), nil
			case Passes:
				return "no quarantine policy is attached", nil
			case Fails, Inapplicable:
			}
			names := strings.Join(u.Policies, ", ")
			return "AWS found a key of this user exposed and attached " + names, map[string]any{"policies": names}
		},
		Remedy: remedy(finding.Guide),
	}
}
