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
	var denied []error
	ask := func(err error) error {
		if errors.Is(err, fact.ErrDenied) {
			denied = append(denied, err)
			return nil
		}
		if errors.Is(err, fact.ErrNotFound) {
			return nil // a user that is gone is the step's to tell
		}
		return err
	}
	quarantined, err = e.Account.Quarantined(ctx, e.Caller.Account.Partition)
	if err := ask(err); err != nil {
		return nil, err
	}
	for _, n := range users {
		_, err := e.Account.User(ctx, n.user)
		if err := ask(err); err != nil {
			return nil, err
		}
		if err != nil {
			continue
		}
		keys, err := e.Account.Keys(ctx, n.user)
		if err := ask(err); err != nil {
			return nil, err
		}
		if len(keys) > 0 {
			_, err := e.Account.LastUse(ctx, keys[0].ID)
			if err := ask(err); err != nil {
				return nil, err
			}
		}
		if n.setActive {
			if err := ask(e.Account.MaySetActive(ctx, n.user)); err != nil {
				return nil, err
			}
		}
		if n.remove {
			if err := ask(e.Account.MayDelete(ctx, n.user)); err != nil {
				return nil, err
			}
		}
	}
	if len(denied) == 0 {
		return quarantined, nil
	}
	why := "the credentials may not do what the run needs; nothing was changed"
	for i, err := range denied {
		if i == 5 {
			why += fmt.Sprintf("\n  and %d more", len(denied)-i)
			break
		}
		why += "\n  " + err.Error()
	}
	return nil, &plan.Refusal{
		Guard: plan.GuardPermission, Why: why, Widen: "keyreeve iam-policy --for remediate prints the policy",
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
