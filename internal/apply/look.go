package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
)

// view is a user and its keys as they are now. The last use is read of the step's key only.
type view struct {
	user fact.User
	gone bool // no such user
	keys []fact.Key
	key  *fact.Key // the step's; nil: the user has no such key
}

// look reads what a step about the key is compared with.
func (e *Engine) look(ctx context.Context, user, keyID string) (view, error) {
	u, err := e.Account.User(ctx, user)
	if errors.Is(err, fact.ErrNotFound) {
		return view{gone: true}, nil
	}
	if err != nil {
		return view{}, err
	}
	keys, err := e.Account.Keys(ctx, user)
	if errors.Is(err, fact.ErrNotFound) {
		return view{gone: true}, nil
	}
	if err != nil {
		return view{}, err
	}
	v := view{user: u, keys: keys}
	for i := range keys {
		if keys[i].ID == keyID {
			v.key = &keys[i]
		}
	}
	if v.key == nil {
		return v, nil
	}
	if v.key.LastUsed, err = e.Account.LastUse(ctx, keyID); err != nil {
		return view{}, err
	}
	return v, nil
}

// state of the step's key.
func (v *view) state() journal.State {
	if v.key == nil {
		return journal.Absent
	}
	return journal.StateOf(v.key)
}

// stale says how the account differs from what the step expects; empty: it does not.
// What earlier steps of the same plan changed is expected, also where an earlier run did them.
func (v *view) stale(s *plan.Step, p *plan.Plan, book *journal.Book) string {
	digest, planned := p.Digest, p.CreatedAt
	if why := v.wrongUser(s.User, s.UserID); why != "" {
		return why
	}
	switch {
	case v.key == nil:
		return fmt.Sprintf("key %s is gone", s.KeyID)
	case !v.key.Created.Time().Equal(s.Expect.CreatedAt):
		return fmt.Sprintf("key %s was made %s, the plan knows %s", s.KeyID, instant(v.key.Created), stamp(s.Expect.CreatedAt))
	case string(v.state()) != string(s.Expect.Status):
		return fmt.Sprintf("key %s is %s, the plan expects it to be %s", s.KeyID, v.state(), s.Expect.Status)
	}
	if c, ok := book.Changes[s.KeyID]; ok && c.Plan == digest && c.Step.ID == s.ID && c.State != v.state() && !c.Undoing {
		return fmt.Sprintf("key %s was made %s again since run %s left it %s", s.KeyID, v.state(), c.Run, c.State)
	}
	if why := quietByJournal(s, planned, book); why != "" {
		return why
	}
	if why := v.usedSince(s); why != "" {
		return why
	}
	return v.otherKeys(s, digest, book)
}

// quietByJournal says that the silence on which a deletion rests is not the one that this journal knows of: the key was
// changed by us since the plan, or another journal knew of it.
func quietByJournal(s *plan.Step, planned time.Time, book *journal.Book) string {
	if s.Action != plan.Delete || s.Expect.Status != plan.Inactive {
		return ""
	}
	c, known := book.Changes[s.KeyID]
	switch since := s.Expect.InactiveSince; {
	case since == nil && known && c.At.After(planned):
		return fmt.Sprintf("run %s left key %s %s since the plan was made: its quiet period begins there", c.Run, s.KeyID, c.State)
	case since == nil:
		return ""
	case !known || c.State != journal.Inactive || c.Step.UserID != s.UserID:
		return fmt.Sprintf("this journal does not know that key %s was deactivated %s", s.KeyID, stamp(*since))
	case !c.At.Equal(*since):
		return fmt.Sprintf("run %s deactivated key %s again %s, the plan knows of %s", c.Run, s.KeyID, stamp(c.At), stamp(*since))
	default:
		return ""
	}
}

// wrongUser says that the user is not the one that was meant; empty: it is.
func (v *view) wrongUser(name, id string) string {
	switch {
	case v.gone:
		return fmt.Sprintf("user %q is gone", name)
	case v.user.ID != id:
		return fmt.Sprintf("user %q was deleted and made again: its unique id is %s, not %s", name, v.user.ID, id)
	default:
		return ""
	}
}

// usedSince says that the key's last use is not the one that the step was decided on.
func (v *view) usedSince(s *plan.Step) string {
	use, want := v.key.LastUsed, s.Expect.LastUsedAt
	switch {
	case use.At.Unknown():
		return fmt.Sprintf("the last use of key %s is unknown", s.KeyID)
	case want == nil && use.At.Known():
		return fmt.Sprintf("key %s was used %s, the plan knows of no use", s.KeyID, useText(use))
	case want != nil && !use.At.Known():
		return fmt.Sprintf("no use of key %s shows, the plan knows of one at %s", s.KeyID, stamp(*want))
	case want != nil && !use.At.Time().Equal(*want):
		return fmt.Sprintf("key %s was used %s, the plan knows of no use after %s", s.KeyID, useText(use), stamp(*want))
	case s.Expect.InactiveSince != nil && use.At.Known() && use.At.Time().After(*s.Expect.InactiveSince):
		return fmt.Sprintf("key %s was used %s, after it was deactivated %s", s.KeyID, useText(use), stamp(*s.Expect.InactiveSince))
	default:
		return ""
	}
}

// otherKeys says how the user's other keys differ from those that the plan knows.
func (v *view) otherKeys(s *plan.Step, digest string, book *journal.Book) string {
	var differ []string
	ours := func(id string, state journal.State) bool {
		c, ok := book.Changes[id]
		return ok && c.Plan == digest && c.State == state
	}
	known := map[string]bool{s.KeyID: true}
	for _, sibling := range s.Expect.Siblings {
		known[sibling.KeyID] = true
		i := slices.IndexFunc(v.keys, func(k fact.Key) bool { return k.ID == sibling.KeyID })
		state := journal.Absent
		if i >= 0 {
			state = journal.StateOf(&v.keys[i])
		}
		if string(state) != string(sibling.Status) && !ours(sibling.KeyID, state) {
			differ = append(differ, fmt.Sprintf("key %s of the same user is %s, the plan knows it %s", sibling.KeyID, state, sibling.Status))
		}
	}
	for i := range v.keys {
		if !known[v.keys[i].ID] {
			differ = append(differ, fmt.Sprintf("the user has a key that the plan does not know: %s, made %s", v.keys[i].ID, instant(v.keys[i].Created)))
		}
	}
	return strings.Join(differ, "; ")
}

// lastInUse tells whether the key is the user's only active one and was used within the settling time.
func (v *view) lastInUse(settling time.Duration, now time.Time) bool {
	if v.key == nil || !v.key.Active || !v.key.LastUsed.At.Known() || now.Sub(v.key.LastUsed.At.Time()) > settling {
		return false
	}
	return !slices.ContainsFunc(v.keys, func(k fact.Key) bool { return k.Active && k.ID != v.key.ID })
}

func useText(u fact.Use) string {
	text := instant(u.At)
	if u.Service != "" && u.Service != "N/A" {
		text += " by " + u.Service
	}
	if u.Region != "" && u.Region != "N/A" {
		text += " in " + u.Region
	}
	return text
}

// instant is an instant to the second, or the word for why there is none.
func instant(t fact.Time) string {
	if t.Known() {
		return stamp(t.Time())
	}
	return t.String()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
