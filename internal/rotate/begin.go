package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Order asks for a rotation.
type Order struct {
	ID      string // of the rotation to begin
	User    string
	UserID  string // unique id that the user must have; empty: any
	KeyID   string // the key to replace; empty: the user's only active one
	First   bool   // make a key that replaces none, as somebody asked for
	Reason  string
	Plan    string // digest of the plan that asks for it; empty: none
	Terms   Terms
	Targets []Target // Name, Kind and Where; at least one
	// Own says that the targets reach the credentials that keyreeve itself runs with, so that its own key may be replaced.
	Own bool
}

// Start checks all that can be checked before, and begins a rotation; Tick moves it on. A Refusal says why it does not.
func (e *Engine) Start(ctx context.Context, o Order) (*Rotation, error) {
	now := e.now()
	r := &Rotation{
		ID: o.ID, Version: 1, State: Requested, Account: e.Caller.Account.ID, Partition: e.Caller.Account.Partition,
		User: o.User, Caller: e.Caller.ARN, Reason: o.Reason, Plan: o.Plan, Terms: o.Terms.WithDefaults(), Targets: o.Targets,
		StartedAt: now, ChangedAt: now, EnteredAt: now,
	}
	if len(o.Targets) == 0 {
		return nil, &Refusal{
			Why:   fmt.Sprintf("nothing says where the new key of user %q goes", o.User),
			Widen: "name targets for the user under rotation: in the settings file",
		}
	}
	if err := e.survey(ctx, r, o); err != nil {
		return nil, err
	}
	if err := e.permitted(ctx, r); err != nil {
		return nil, err
	}
	for i := range r.Targets {
		r.Targets[i].State = Pending
		c, err := e.Courier(r, &r.Targets[i])
		if err == nil {
			err = c.Preflight(ctx)
		}
		if err != nil {
			return nil, &Refusal{Why: fmt.Sprintf("target %s (%s) would not take the new key: %v", r.Targets[i].Name, r.Targets[i].Where, err), Widen: "put that right first: nothing was changed"}
		}
	}
	t := &turn{Engine: e, r: r}
	if !r.First() {
		if found := t.watchOld(ctx); found != nil {
			return nil, fmt.Errorf("read the last use of key %s: %s", r.Old.ID, found.note)
		}
	}
	event := Event{At: now, To: Requested, Note: "for user " + o.User + ": " + o.Reason}
	if err := e.Ledger.Begin(ctx, r, event); err != nil {
		if errors.Is(err, ErrLive) {
			return nil, &Refusal{Why: fmt.Sprintf("user %q has a rotation under way", o.User), Widen: "keyreeve rotate list tells which"}
		}
		return nil, err
	}
	return r, nil
}

// survey reads the user and chooses the key.
func (e *Engine) survey(ctx context.Context, r *Rotation, o Order) error {
	u, err := e.Account.User(ctx, o.User)
	if err != nil {
		return err
	}
	keys, err := e.Account.Keys(ctx, o.User)
	if err != nil {
		return err
	}
	if o.UserID != "" && o.UserID != u.ID {
		return &Refusal{Why: fmt.Sprintf("user %q was made again: its unique id is %s, not %s", o.User, u.ID, o.UserID), Widen: "ask or plan anew"}
	}
	r.ARN, r.UserID, r.User = u.ARN, u.ID, u.Name
	var active []fact.Key
	var ids []string
	for _, k := range keys {
		if k.Active {
			active = append(active, k)
		}
		ids = append(ids, k.ID)
	}
	if o.First {
		if len(keys) >= keyQuota {
			return &Refusal{Why: fmt.Sprintf("user %q has %d keys and may have %d", o.User, len(keys), keyQuota), Widen: "let keyreeve plan remove the one that nobody needs"}
		}
		for _, k := range keys {
			r.Others = append(r.Others, KeyRecord{ID: k.ID, Active: k.Active, Created: k.Created.Time()})
		}
		return nil
	}
	at := slices.IndexFunc(active, func(k fact.Key) bool { return k.ID == o.KeyID || o.KeyID == "" && len(active) == 1 })
	switch {
	case at < 0 && o.KeyID != "":
		return &Refusal{Why: fmt.Sprintf("user %q has no active key %s", o.User, o.KeyID), Widen: "keyreeve audit --all lists the keys"}
	case at < 0 && len(active) == 0:
		return &Refusal{Why: fmt.Sprintf("user %q has no active key to replace", o.User), Widen: "keyreeve request asks for a first key"}
	case at < 0:
		return &Refusal{Why: fmt.Sprintf("user %q has %d active keys: %s", o.User, len(active), strings.Join(ids, ", ")), Widen: "keep one of them first: keyreeve plan --rule multiple-active-keys"}
	case len(keys) >= keyQuota:
		return &Refusal{
			Why:   fmt.Sprintf("user %q has %d keys and may have %d: there is no slot for a new one. The oldest is never deleted to make room", o.User, len(keys), keyQuota),
			Widen: "let keyreeve plan remove the one that nobody needs, as a step of its own",
		}
	}
	r.Old = KeyRecord{ID: active[at].ID, Active: true, Created: active[at].Created.Time()}
	for _, k := range keys {
		if k.ID != r.Old.ID {
			r.Others = append(r.Others, KeyRecord{ID: k.ID, Active: k.Active, Created: k.Created.Time()})
		}
	}
	t := &turn{Engine: e, r: r}
	if t.ours(&world{user: u}) && !o.Own {
		return &Refusal{
			Why:   fmt.Sprintf("key %s belongs to the credentials that keyreeve runs with", r.Old.ID),
			Widen: "run it with others; or, where the targets reach keyreeve's own credentials, say own_credentials: true in the settings",
		}
	}
	return nil
}

// permitted asks for the permissions that can be asked for without changing anything.
func (e *Engine) permitted(ctx context.Context, r *Rotation) error {
	err := errors.Join(e.Account.MaySetActive(ctx, r.User), e.Account.MayDelete(ctx, r.User))
	if errors.Is(err, fact.ErrDenied) {
		return &Refusal{Why: err.Error(), Widen: "keyreeve iam-policy --for rotate prints the policy"}
	}
	return err
}
