package rule

import (
	"fmt"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// rootAccessKey fails when the root user holds any access key.
//
// Boundary: a key that exists fails, active or not. Source: every version of CIS AWS Foundations, Security Hub IAM.4,
// AWS Config iam-root-access-key-check, which count inactive keys too: the root user can switch them on again.
func rootAccessKey() Kind {
	return Kind{
		Name: "root-access-key", Subject: ForRoot,
		Prepare: func(_ *Params, _ fact.Time) judge {
			return func(u *fact.User, _ *fact.Key) (Result, Missing) {
				switch u.HasKeys() {
				case fact.Yes:
					return Fails, NothingMissing
				case fact.No:
					return Passes, NothingMissing
				default:
					return Undecided, MissingKeys
				}
			}
		},
		Explain: func(_ *Params, u *fact.User, _ *fact.Key, _ fact.Time, o Outcome) (string, map[string]any) {
			switch o.Result {
			case Undecided:
				return "whether root has access keys is unknown: " + o.Missing.String(), nil
			case Passes:
				return "root has no access key", nil
			case Fails, Inapplicable:
			}
			if !u.KeysRead { // live evidence tells only that there are some
				return "root has access keys; nothing can limit what they may do", nil
			}
			active := u.ActiveKeys()
			return fmt.Sprintf("root has %s, %d active; nothing can limit what they may do", plural(len(u.Keys), "access key"), active),
				map[string]any{"keys": len(u.Keys), "active_keys": active}
		},
		Remedy: remedy(finding.Guide),
	}
}
