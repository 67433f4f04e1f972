package rotate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// backIdle is how long nobody may have used the new key before it is deleted on the way back.
const backIdle = time.Hour

// backingOut leaves the account as it was found: the old key active first, then the targets restored, then the new key gone.
// Each part is looked at before it is done, so that all of it may run twice.
func (t *turn) backingOut(ctx context.Context, w *world) (seen, error) {
	r := t.r
	if !r.First() && !w.old.Active {
		if err := t.intend(ctx, Reactivate, "key "+r.Old.ID); err != nil {
			return seen{}, err
		}
		if found := t.act(ctx, r.Old.ID, true, func() error { return t.Account.SetActive(ctx, r.User, r.Old.ID, true) }); found != nil {
			return *found, nil
		}
		r.Old.Active = true
	}
	for i := range r.Targets {
		if found, err := t.restore(ctx, &r.Targets[i]); err != nil || found != nil {
			if found == nil {
				found = &seen{}
			}
			return *found, err
		}
	}
	if w.new != nil {
		if found := t.stillNeeded(ctx); found != nil {
			return *found, nil
		}
		if err := t.intend(ctx, DropNew, "key "+r.New.ID); err != nil {
			return seen{}, err
		}
		if found := t.drop(ctx, r.New.ID); found != nil {
			return *found, nil
		}
	}
	return seen{event: BackedOut, note: t.left()}, nil
}

// left says what could not be put back.
func (t *turn) left() string {
	note := "the account is as it was found"
	for _, x := range t.r.Targets {
		if x.State == Marked {
			note += fmt.Sprintf("; target %s was not restored: %s", x.Name, x.Why)
		}
	}
	return note
}

// restore puts back what stood in a target. What cannot be is marked for a person.
func (t *turn) restore(ctx context.Context, x *Target) (*seen, error) {
	if x.State != Put && x.State != Holds {
		return nil, nil
	}
	c, err := t.Courier(t.r, x)
	if err == nil {
		if err := t.intend(ctx, Restore, x.Where); err != nil {
			return nil, err
		}
		err = c.Restore(ctx, t.r.ID, x.Receipt)
	}
	switch {
	case err == nil:
		x.State, x.Why = Restored, ""
	case errors.Is(err, fact.ErrMoved), errors.Is(err, fact.ErrNotRestorable):
		x.State, x.Why = Marked, err.Error()
	default:
		x.Why = err.Error()
		found := t.trouble(fmt.Errorf("target %s: %w", x.Name, err))
		return &found, nil
	}
	return nil, nil
}

// stillNeeded tells whether somebody other than we has used the new key lately: it may still be in a consumer's memory. A
// consumer that took it from a target just before that was restored is known only once its use shows.
func (t *turn) stillNeeded(ctx context.Context) *seen {
	r := t.r
	if since := t.now().Sub(r.IntentAt); r.Intent == Restore && since < orphanAge {
		return &seen{event: NotYet, note: "the targets are restored; the new key goes once a use of it would have shown", next: orphanAge - since}
	}
	use, found := t.lastUse(ctx, r.New.ID)
	if found != nil {
		return found
	}
	if !use.At.Known() {
		return nil
	}
	later := use.At.Time().Sub(r.ProbedAt)
	theirs := later > 0 && (named(use.Service) && use.Service != "sts" || later >= useSpan)
	if idle := t.now().Sub(use.At.Time()); theirs && idle < backIdle {
		return &seen{event: NotYet, note: fmt.Sprintf("the new key was used %s: it goes when nobody used it for %s", useText(use), backIdle), next: backIdle - idle}
	}
	return nil
}
