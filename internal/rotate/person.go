package rotate

import (
	"context"
	"fmt"
	"slices"
)

// Refusal says why a rotation does not take what a person asked of it.
type Refusal struct {
	Why   string
	Widen string // the next move; may be empty
}

func (r *Refusal) Error() string { return r.Why }

// Hint is the next move for a person, or empty.
func (r *Refusal) Hint() string { return r.Widen }

// load is the rotation, if no runner is at an act of it.
func (e *Engine) load(ctx context.Context, id string) (*Rotation, error) {
	r, err := e.loadOurs(ctx, id)
	if err == nil && r.Intent != None && r.NextAt.After(e.now()) && r.NextAt.Equal(r.IntentAt.Add(e.actTime())) { // not yet answered
		return r, &Refusal{
			Why:   fmt.Sprintf("somebody is about to %s of rotation %s, or was killed over it", r.Intent, r.ID),
			Widen: "try again after " + stamp(r.NextAt),
		}
	}
	return r, err
}

// Confirm records that a person says that the consumer uses the new key. by is the ARN of who says so.
func (e *Engine) Confirm(ctx context.Context, id, by string) (*Rotation, error) {
	r, err := e.load(ctx, id)
	if err != nil {
		return nil, err
	}
	waits := r.State == Proving || r.State == Held && r.Resume == Proving
	if !waits {
		return r, &Refusal{Why: fmt.Sprintf("rotation %s is %s: there is nothing to confirm", r.ID, r.State), Widen: "keyreeve rotate show " + r.ID + " tells what it waits for"}
	}
	now := e.now()
	from := r.State
	if r.State == Held {
		r.State, r.Resume = Proving, ""
	}
	r.ConfirmedBy, r.NextAt, r.ChangedAt, r.Why = by, now, now, ""
	return r, e.Ledger.Save(ctx, r, Event{At: now, From: from, To: r.State, Note: "confirmed by " + by})
}

// Approve lets a rotation go on that is held or in conflict, as the account is now. by is the ARN of who says so.
func (e *Engine) Approve(ctx context.Context, id, by string) (*Rotation, error) {
	r, err := e.load(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.State != Held && r.State != Conflict {
		return r, &Refusal{Why: fmt.Sprintf("rotation %s is %s: there is nothing to approve", r.ID, r.State), Widen: "keyreeve rotate show " + r.ID + " tells what it waits for"}
	}
	t := &turn{Engine: e, r: r}
	w, found := t.read(ctx)
	if found != nil {
		return r, &Refusal{Why: found.note, Widen: "what cannot be read cannot be approved"}
	}
	if why := t.rebase(ctx, w); why != "" {
		return r, &Refusal{Why: why, Widen: "put that right, or keyreeve rotate cancel " + r.ID}
	}
	edge, _ := Next(r.State, Approve)
	r.ApprovedBy = by
	return r, t.take(ctx, edge, seen{event: Approve, note: "by " + by})
}

// rebase takes the account as it is now for what the rotation expects, where that can be: the user's other keys, and uses of
// the old key that are known by now, after which the quiet period begins anew. It says why it cannot be.
func (t *turn) rebase(ctx context.Context, w *world) string {
	r := t.r
	t.adopt(w)
	if w.old == nil && !r.First() && w.new != nil && w.new.Active && r.Sealed == nil {
		// Somebody else deleted the old key, and every target holds the new one: what is left is to say so.
		r.Resume, r.Intent = Deleting, Delete
		return ""
	}
	back := r.State
	r.State = r.Resume
	why := t.moved(w)
	r.State = back
	if why != "" {
		return why
	}
	if r.Resume == Creating { // begin anew: what stands now is somebody's
		r.Resume, r.Intent = Requested, None
	}
	if r.Resume == Quiet || r.Resume == Deleting {
		use, found := t.lastUse(ctx, r.Old.ID)
		if found != nil {
			return found.note
		}
		if use.At.Known() {
			r.Old.LastUsed = use.At.Time()
		}
		r.DeactivatedAt, r.Resume = t.now(), Quiet
	}
	return ""
}

// Cancel begins the way back. by is the ARN of who says so.
func (e *Engine) Cancel(ctx context.Context, id, by string) (*Rotation, error) {
	r, err := e.load(ctx, id)
	if err != nil {
		return nil, err
	}
	if making(r) && !r.State.Waiting() {
		// Whether a key was made is found out first, by one look and nothing more.
		if !r.NextAt.After(e.now()) {
			if err := e.turn(ctx, r); err != nil {
				return r, err
			}
		}
		if r, err = e.load(ctx, id); err != nil {
			return r, err
		}
		if making(r) && !r.State.Waiting() {
			return r, &Refusal{Why: "whether the new key was made is not known yet: " + r.Why, Widen: "try again after " + stamp(r.NextAt)}
		}
	}
	edge, ok := Next(r.State, Cancel)
	if !ok {
		return r, &Refusal{Why: fmt.Sprintf("rotation %s is %s: it cannot be backed out of any more", r.ID, r.State)}
	}
	t := &turn{Engine: e, r: r}
	note := "by " + by
	if r.State == Conflict || making(r) { // a person has seen it, and decides: keys that nobody knows are somebody's
		w, found := t.read(ctx)
		switch {
		case found != nil:
			return r, &Refusal{Why: found.note, Widen: "what cannot be read cannot be backed out of"}
		case w.old == nil && !r.First():
			return r, &Refusal{Why: fmt.Sprintf("the old key %s is gone: nothing can bring it back", r.Old.ID), Widen: "keyreeve rotate approve " + r.ID + ", once the targets hold a key that works"}
		}
		for _, k := range t.adopt(w) {
			note += "; key " + k + " stays: nobody knows whose it is"
		}
	}
	r.ApprovedBy = "" // what was approved before was not this
	return r, t.take(ctx, edge, seen{event: Cancel, note: note})
}

// making tells whether a key may have been made of which there is no record.
func making(r *Rotation) bool { return r.Intent == Create || r.Intent == DropOrphan }

// adopt takes all keys but the old and the new one for others of the user's, and tells which are new among them.
func (t *turn) adopt(w *world) []string {
	var strange []string
	var others []KeyRecord
	for i := range w.keys {
		k := &w.keys[i]
		if k.ID == t.r.Old.ID || k.ID == t.r.New.ID {
			continue
		}
		if !slices.ContainsFunc(t.r.Others, func(o KeyRecord) bool { return o.ID == k.ID }) {
			strange = append(strange, k.ID)
		}
		others = append(others, KeyRecord{ID: k.ID, Active: k.Active, Created: k.Created.Time()})
	}
	t.r.Others = others
	return strange
}
