package web

import (
	"net/http"
	"time"
)

type wireAccount struct {
	ID         string  `json:"id"`
	Partition  string  `json:"partition"`
	Name       string  `json:"name"`
	OU         string  `json:"ou"`
	Users      int     `json:"users"`
	Keys       int     `json:"keys"`
	ActiveKeys int     `json:"active_keys"`
	Fail       int     `json:"fail"`
	Unknown    int     `json:"unknown"`
	Complete   bool    `json:"complete"`
	ReadAt     *string `json:"read_at"` // null: never
}

func (v *server) accounts(w http.ResponseWriter, r *http.Request) {
	pageOf(v, w, r, &list{name: "accounts", filters: []string{"account"}}, v.Accounts.Accounts,
		func(a *Account) string { return a.ID },
		func(a *Account) wireAccount {
			return wireAccount{
				a.ID, a.Partition, a.Name, a.OU, a.Users, a.Keys, a.ActiveKeys, a.Failing, a.Unknown, a.Complete, instant(a.ReadAt),
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
