package web

import (
	"net/http"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

type wireVerdict struct {
	ID       string         `json:"id"`
	Rule     string         `json:"rule"`
	Kind     string         `json:"kind"`
	Title    string         `json:"title"`
	Status   string         `json:"status"`
	Severity string         `json:"severity"`
	Account  string         `json:"account"`
	User     string         `json:"user"`
	UserARN  string         `json:"user_arn"`
	Key      *wireKey       `json:"key"` // null: it is about the user
	Message  string         `json:"message"`
	Facts    map[string]any `json:"facts"`
	Since    *string        `json:"since"` // null: the evidence cannot tell
	Due      *string        `json:"due"`   // null: it does not fail by itself
	Remedy   string         `json:"remedy"`
	Owner    string         `json:"exception_owner"`   // empty: no accepted risk covers it
	Expires  *string        `json:"exception_expires"` // null: likewise
	OpenedAt *string        `json:"opened_at"`
	SeenAt   *string        `json:"seen_at"`
}

type wireKey struct {
	ID        string  `json:"id"` // empty where only a report was read
	Active    bool    `json:"active"`
	CreatedAt *string `json:"created_at"`
}

func (v *server) verdicts(w http.ResponseWriter, r *http.Request) {
	l := &list{name: "verdicts", filters: []string{"account", "user", "rule", "status"}, statuses: texts(finding.Statuses())}
	pageOf(v, w, r, l, v.Verdicts.Verdicts,
		func(x *Verdict) string { return x.ID }, toWireVerdict)
}

func toWireVerdict(x *Verdict) wireVerdict {
	out := wireVerdict{
		ID: x.ID, Rule: x.Rule, Kind: x.Kind, Title: x.Title, Status: string(x.Status), Severity: string(x.Severity),
		Account: x.Account.ID, User: x.User, UserARN: x.UserARN, Message: x.Message, Facts: x.Facts,
		Since: known(x.Since), Due: known(x.Due), Remedy: string(x.Remedy), OpenedAt: instant(x.OpenedAt), SeenAt: instant(x.SeenAt),
	}
	if out.Facts == nil {
		out.Facts = map[string]any{}
	}
	if x.Key != nil {
		out.Key = &wireKey{x.Key.ID, x.Key.Active, known(x.Key.Created)}
	}
	if x.Exception != nil {
		out.Owner, out.Expires = x.Exception.Owner, known(x.Exception.Expires)
	}
	return out
}

func known(t fact.Time) *string {
	if !t.Known() {
		return nil
	}
	return instant(t.Time())
}
