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
		if found := t.setActive(ctx, r.Old.ID, true); found != nil {
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
		if found := t.stillThere(ctx); found != nil {
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

// restore puts back what stood in a target. What cannot be is marked for a person; so is what fails for as long as a delivery
// may take, once a person has said to go on.
func (t *turn) restore(ctx context.Context, x *Target) (*seen, error) {
	if x.State != Put && x.State != Holds {
		return nil, nil
	}
	c, err := t.Courier(t.r, x)
	if err == nil {
		if err := t.intend(ctx, Restore, x.Where); err != nil {
			return nil, err
		}
		err = t.restoreBy(ctx, c, x)
	}
	switch {
	case err == nil:
		x.State, x.Why = Restored, ""
	case errors.Is(err, fact.ErrMoved), errors.Is(err, fact.ErrNotRestorable), t.r.ApprovedBy != "":
		x.State, x.Why = Marked, err.Error()
	default:
		x.Why = err.Error()
		found := t.trouble(fmt.Errorf("target %s: %w", x.Name, err))
		if t.over(t.r.Terms.Delivery) {
			found = seen{event: TooLong, note: found.note + ": restore it by hand, then approve"}
		}
		return &found, nil
	}
	return nil, nil
}

// restoreBy restores by the receipt. A delivery that failed may have left none: then the target holds what it held, or the
// delivery is done again, which gives one.
func (t *turn) restoreBy(ctx context.Context, c Courier, x *Target) error {
	if len(x.Receipt) == 0 {
		holds, err := t.holds(ctx, x)
		if err == nil && !holds || errors.Is(err, fact.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		p, err := t.pair()
		if err != nil {
			return err
		}
		if x.Receipt, err = c.Deliver(ctx, t.r.ID, p, nil); err != nil {
			return err
		}
	}
	return c.Restore(ctx, t.r.ID, x.Receipt)
}

// stillThere holds the way back for a person where a target that was not restored still holds the new key, or cannot be read:
// its consumer would be left with a key that is gone.
func (t *turn) stillThere(ctx context.Context) *seen {
	for i := range t.r.Targets {
		x := &t.r.Targets[i]
		if x.State != Marked || t.r.ApprovedBy != "" {
			continue
		}
		if holds, err := t.holds(ctx, x); holds || err != nil && !errors.Is(err, fact.ErrNotFound) {
			return &seen{event: TooLong, note: fmt.Sprintf("target %s may still hold the new key and was not restored (%s): put the old one there, then approve", x.Name, x.Why)}
		}
	}
	return nil
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
	limit := backIdle
	if r.ProvenBy != "" { // its consumer may keep it in memory as long as it kept the old one
		limit = max(r.Terms.Settling, r.Gap)
	}
	if idle := t.now().Sub(use.At.Time()); t.theirs(use) && idle < limit {
		return &seen{event: NotYet, note: fmt.Sprintf("the new key was used %s: it goes when nobody used it for %s", useText(use), span(limit)), next: limit - idle}
	}
	return nil
}
