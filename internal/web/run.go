package web

import (
	"errors"
	"net/http"

	"github.com/keyreeve/keyreeve/internal/journal"
)

type wireRun struct {
	Run       string         `json:"run"`
	Kind      string         `json:"kind"`
	Account   string         `json:"account"`
	Caller    string         `json:"caller"`
	Plan      string         `json:"plan"`
	Undoes    string         `json:"undoes"`
	StartedAt *string        `json:"started_at"`
	EndedAt   *string        `json:"ended_at"` // null: under way, or it died
	EndNote   string         `json:"end_note"`
	Outcomes  map[string]int `json:"outcomes"` // steps by status; those that occur
}

type wireRunSteps struct {
	wireRun
	Steps []wireStep `json:"steps"`
}

type wireStep struct {
	ID     string  `json:"id"`
	Action string  `json:"action"`
	User   string  `json:"user"`
	KeyID  string  `json:"key_id"`
	Status string  `json:"status"`
	DoneAt *string `json:"done_at"` // null unless done
}

func (v *server) runs(w http.ResponseWriter, r *http.Request) {
	pageOf(v, w, r, &list{name: "runs", filters: []string{"account"}, isPlace: isID}, v.Runs.Runs,
		func(x *journal.Run) string { return x.ID }, toWireRun)
}

func (v *server) run(w http.ResponseWriter, r *http.Request) {
	if !noParameters(w, r) {
		return
	}
	id := r.PathValue("run")
	x, err := one(r.Context(), id, v.Runs.Run)
	if errors.Is(err, ErrNone) {
		refuse(w, http.StatusNotFound, "there is no run "+quote(id), "/api/v1/runs lists them")
		return
	}
	if err != nil {
		v.broken(w, r, err)
		return
	}
	out := wireRunSteps{toWireRun(x), make([]wireStep, 0, len(x.Steps))}
	for i := range x.Steps {
		s := &x.Steps[i]
		out.Steps = append(out.Steps, wireStep{s.ID, string(s.Action), s.User, s.KeyID, string(s.Status()), instant(s.DoneAt())})
	}
	v.send(w, r, http.StatusOK, out)
}

func toWireRun(x *journal.Run) wireRun {
	out := wireRun{
		Run: x.ID, Kind: string(x.Kind), Account: x.Account, Caller: x.Caller, Plan: x.Plan, Undoes: x.Undoes,
		StartedAt: instant(x.StartedAt), EndedAt: instant(x.EndedAt), EndNote: x.EndNote, Outcomes: map[string]int{},
	}
	for i := range x.Steps {
		out.Outcomes[string(x.Steps[i].Status())]++
	}
	return out
}
