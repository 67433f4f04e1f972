package rule

import (
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// keyCreatedWithUser fails an active key of a console user that was made while the user was set up.
//
// Boundary: the user has a console password and |key created - user created| <= Window fails. Source:
// Conformity IAM-043 and the setup-key control of CIS AWS Foundations 1.1.0 to 6.0.0: keys are to be asked for
// later, on purpose. A user without a password is not judged: a workload's user is set up with its key. Where the password
// was not read every active key is unknown, also one made far apart from its user.
func keyCreatedWithUser() Kind {
	return Kind{
		Name: "key-created-with-user", Subject: ForKey, Keys: ActiveKey, Params: []string{"window"}, Default: Params{Window: time.Minute},
		Prepare: func(p *Params, _ fact.Time) judge {
			window := p.Window
			return func(u *fact.User, k *fact.Key) (Result, Missing) {
				switch {
				case u.Password == fact.No:
					return Inapplicable, NothingMissing
				case u.Password == fact.Unknown:
					return Undecided, MissingPassword
				case !k.Created.Known():
					return Undecided, MissingCreated
				case !u.Created.Known():
					return Undecided, MissingUserCreated
				case apart(u, k) <= window:
					return Fails, NothingMissing
				default:
					return Passes, NothingMissing
				}
			}
		},
		When: func(_ *Params, _ *fact.User, k *fact.Key, r Result) fact.Time {
			if r != Fails {
				return fact.Time{} // nothing can make it fail later
			}
			return k.Created
		},
		Explain: func(p *Params, u *fact.User, k *fact.Key, _ fact.Time, o Outcome) (string, map[string]any) {
			if o.Result == Undecided {
				return "whether the key was made during the user's setup is unknown: " + o.Missing.String(), nil
			}
			d := apart(u, k)
			facts := map[string]any{
				"apart_seconds": int64(d / time.Second), "window_seconds": int64(p.Window / time.Second),
				"used": k.LastUsed.At.Known(),
			}
			if o.Result == Passes {
				return "key was made apart from the setup of the console user", facts
			}
			use := "and has never been used"
			switch {
			case k.LastUsed.At.Known():
				use = "and is in use"
			case k.LastUsed.At.Unknown():
				use = "and whether it is used could not be read"
			}
			return fmt.Sprintf("key was made %s apart from its console user, during setup, %s", shortDuration(d), use), facts
		},
		// Never used: it can go. Used: it is replaced by a key of its own, asked for. Unread: replace.
		Remedy: func(_ *Params, _ *fact.User, k *fact.Key) finding.Remedy {
			if k != nil && k.LastUsed.At.Never() {
				return finding.Deactivate
			}
			return finding.Rotate
		},
	}
}

// apart is how far the making of the key is from that of the user.
func apart(u *fact.User, k *fact.Key) time.Duration { return k.Created.Sub(u.Created).Abs() }
