package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/plan"
)

// need is what a run is about to do to keys of one user.
type need struct {
	user              string
	setActive, remove bool
}

// needs are sorted as they were added, each user once.
type needs []need

func (n *needs) add(user string, remove bool) {
	i := slices.IndexFunc(*n, func(x need) bool { return x.user == user })
	if i < 0 {
		*n = append(*n, need{user: user})
		i = len(*n) - 1
	}
	(*n)[i].setActive = (*n)[i].setActive || !remove
	(*n)[i].remove = (*n)[i].remove || remove
}

// preflight asks for every permission that the run needs, user by user, for a policy may allow one user and
// deny another; and who is in quarantine. A permission that is missing refuses the whole run.
func (e *Engine) preflight(ctx context.Context, users needs) (quarantined map[string][]string, err error) {
	var missing denials
	quarantined, err = e.Account.Quarantined(ctx, e.Caller.Account.Partition)
	if err := missing.note(err); err != nil {
		return nil, err
	}
	lacking := 0
	for _, n := range users {
		before := len(missing)
		if err := e.mayChange(ctx, n, &missing); err != nil {
			return nil, err
		}
		if len(missing) > before {
			if lacking++; lacking > 2 { // what they lack is mostly the same
				missing = missing[:before]
			}
		}
	}
	if len(missing) == 0 {
		return quarantined, nil
	}
	why := "the credentials may not do what the run needs; nothing was changed"
	for _, err := range missing {
		why += "\n  " + err.Error()
	}
	if lacking > 2 {
		why += fmt.Sprintf("\n  and for %d more users", lacking-2)
	}
	return nil, &plan.Refusal{
		Guard: plan.GuardPermission, Why: why, Widen: "keyreeve iam-policy --for remediate prints the policy",
	}
}

// mayChange notes what is denied about one user. A user that is gone is the step's to tell.
func (e *Engine) mayChange(ctx context.Context, n need, missing *denials) error {
	if _, err := e.Account.User(ctx, n.user); errors.Is(err, fact.ErrNotFound) {
		return nil
	} else if err := missing.note(err); err != nil {
		return err
	}
	keys, err := e.Account.Keys(ctx, n.user)
	if err := missing.note(err); err != nil {
		return err
	}
	if len(keys) > 0 {
		_, err := e.Account.LastUse(ctx, keys[0].ID)
		if err := missing.note(err); err != nil {
			return err
		}
	}
	if n.setActive {
		if err := missing.note(e.Account.MaySetActive(ctx, n.user)); err != nil {
			return err
		}
	}
	if n.remove {
		return missing.note(e.Account.MayDelete(ctx, n.user))
	}
	return nil
}

// denials are the refusals of permissions.
type denials []error

// note keeps a denial, forgives what is gone, and returns everything else.
func (d *denials) note(err error) error {
	switch {
	case errors.Is(err, fact.ErrDenied):
		*d = append(*d, err)
		return nil
	case errors.Is(err, fact.ErrNotFound):
		return nil
	default:
		return err
	}
}

// quarantinedUser is the quarantine policies of the user; nil: none. IAM tells names apart without case.
func quarantinedUser(quarantined map[string][]string, user string) []string {
	for name, policies := range quarantined {
		if strings.EqualFold(name, user) {
			return policies
		}
	}
	return nil
}
