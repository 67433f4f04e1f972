package web

import (
	"net/http"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

type wireAccount struct {
	ID          string  `json:"id"`
	Partition   string  `json:"partition"`
	Name        string  `json:"name"`
	OU          string  `json:"ou"`
	Users       int     `json:"users"`
	Keys        int     `json:"keys"`
	ActiveKeys  int     `json:"active_keys"`
	Fail        int     `json:"fail"`
	FailingKeys int     `json:"failing_keys"`
	Complete    bool    `json:"complete"`
	JudgedAt    *string `json:"judged_at"`    // null: never
	UnreadSince *string `json:"unread_since"` // null: its users were read; else the numbers are those of before
	GoneAt      *string `json:"gone_at"`      // null: it is there
}

func (v *server) accounts(w http.ResponseWriter, r *http.Request) {
	l := &list{name: "accounts", filters: []string{"account"}, isPlace: fact.IsAccountID}
	pageOf(v, w, r, l, v.Accounts.Accounts, func(a *Account) string { return a.ID }, func(a *Account) wireAccount {
		return wireAccount{
			a.ID, a.Partition, a.Name, a.OU, a.Users, a.Keys, a.ActiveKeys, a.Failing, a.FailingKeys, a.Complete,
			instant(a.JudgedAt), instant(a.UnreadSince), instant(a.GoneAt),
		}
	})
}

// instant is a time in UTC to the second, as RFC 3339 has it; nil where it is zero.
func instant(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.UTC().Format(time.RFC3339)
	return &text
}
