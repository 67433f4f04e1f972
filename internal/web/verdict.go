package web

import (
	"net/http"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/history"
)

type wireVerdict struct {
	ID           string  `json:"id"` // with opened_at it names the row
	Rule         string  `json:"rule"`
	Kind         string  `json:"kind"`
	Title        string  `json:"title"`
	Status       string  `json:"status"`
	Severity     string  `json:"severity"`
	Account      string  `json:"account"`
	User         string  `json:"user"`
	KeyID        string  `json:"key_id"`         // empty: not known, or it is about the user
	KeyCreatedAt *string `json:"key_created_at"` // null: likewise
	Message      string  `json:"message"`
	Since        *string `json:"since"` // null: the evidence cannot tell
	Remedy       string  `json:"remedy"`
	OpenedAt     *string `json:"opened_at"`
	SeenAt       *string `json:"seen_at"`   // null: whenever its account was judged last
	ClosedAt     *string `json:"closed_at"` // null: it is open
	Why          string  `json:"why"`       // empty: it is open
}

func (v *server) verdicts(w http.ResponseWriter, r *http.Request) {
	l := &list{
		name: "verdicts", filters: []string{"account", "user", "rule", "status"}, statuses: []string{Open, Closed},
		isPlace: func(text string) bool { _, _, ok := ParsePlace(text); return ok },
	}
	pageOf(v, w, r, l, v.Verdicts.Verdicts, PlaceOf, toWireVerdict)
}

func toWireVerdict(e *history.Entry) wireVerdict {
	out := wireVerdict{
		ID: e.ID, Rule: e.Rule, Kind: e.Kind, Title: e.Title, Status: Open, Severity: string(e.Severity), Account: e.Account, User: e.User,
		KeyID: e.KeyID, KeyCreatedAt: known(e.KeyCreated), Message: e.Message, Since: known(e.Since), Remedy: string(e.Remedy),
		OpenedAt: instant(e.OpenedAt), SeenAt: instant(e.SeenAt), ClosedAt: instant(e.ClosedAt), Why: string(e.Why),
	}
	if !e.Open() {
		out.Status = Closed
	}
	return out
}

func known(t fact.Time) *string {
	if !t.Known() {
		return nil
	}
	return instant(t.Time())
}
