package web

import (
	"errors"
	"net/http"

	"github.com/keyreeve/keyreeve/internal/rotate"
)

// wireRotation has neither the sealed secret nor the receipts of a rotation.
type wireRotation struct {
	Rotation  string       `json:"rotation"`
	Status    string       `json:"status"`
	Why       string       `json:"why"` // empty: it does not wait
	Account   string       `json:"account"`
	User      string       `json:"user"`
	Reason    string       `json:"reason"`
	Caller    string       `json:"caller"`
	OldKeyID  string       `json:"old_key_id"` // empty: none is replaced
	NewKeyID  string       `json:"new_key_id"` // empty until it is made
	Targets   []wireTarget `json:"targets"`
	StartedAt *string      `json:"started_at"`
	ChangedAt *string      `json:"changed_at"`
	NextAt    *string      `json:"next_at"` // null: at once, or never where it is over
	DueAt     *string      `json:"due_at"`  // null: no date
}

type wireTarget struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Where  string `json:"where"`
	Status string `json:"status"`
}

func (v *server) rotations(w http.ResponseWriter, r *http.Request) {
	l := &list{name: "rotations", filters: []string{"account", "user", "status"}, statuses: texts(rotate.States()), isPlace: isID}
	pageOf(v, w, r, l, v.Rotations.Rotations,
		func(x *rotate.Rotation) string { return x.ID }, toWireRotation)
}

func (v *server) rotation(w http.ResponseWriter, r *http.Request) {
	if !noParameters(w, r) {
		return
	}
	id := r.PathValue("rotation")
	switch x, err := one(r.Context(), id, v.Rotations.Rotation); {
	case errors.Is(err, ErrNone):
		refuse(w, http.StatusNotFound, "there is no rotation "+quote(id), "/api/v1/rotations lists them")
	case err != nil:
		v.broken(w, r, err)
	default:
		v.send(w, r, http.StatusOK, toWireRotation(x))
	}
}

func toWireRotation(x *rotate.Rotation) wireRotation {
	out := wireRotation{
		Rotation: x.ID, Status: string(x.State), Why: x.Why, Account: x.Account, User: x.User, Reason: x.Reason, Caller: x.Caller,
		OldKeyID: x.Old.ID, NewKeyID: x.New.ID, Targets: make([]wireTarget, 0, len(x.Targets)),
		StartedAt: instant(x.StartedAt), ChangedAt: instant(x.ChangedAt), DueAt: instant(x.DueAt),
	}
	if !x.State.Over() {
		out.NextAt = instant(x.NextAt)
	}
	for i := range x.Targets {
		t := &x.Targets[i]
		out.Targets = append(out.Targets, wireTarget{t.Name, t.Kind, t.Where, string(t.State)})
	}
	return out
}
