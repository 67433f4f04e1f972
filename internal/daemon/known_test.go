package daemon_test

import (
	"maps"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/store"
)

// Whose a user is, is asked once, and only where anybody is told.
func TestLoop_readsTheTagsOfUsersWhoFailOrWillOnce(t *testing.T) {
	c := newClock(morning)
	cloud, members := company(t, 1)
	for _, u := range []fakeaws.User{
		{Name: "owned", Created: morning.AddDate(-1, 0, 0), Tags: map[string]string{"owner": "ana"}, Keys: []fakeaws.Key{{Created: morning.AddDate(0, 0, -100)}}},
		{Name: "soon", Created: morning.AddDate(-1, 0, 0), Tags: map[string]string{"owner": "bob"}, Keys: []fakeaws.Key{{Created: morning.AddDate(0, 0, -20), LastUsed: morning}}},
		{Name: "idle", Created: morning.AddDate(-1, 0, 0), Tags: map[string]string{"owner": "eve"}},
	} {
		if err := cloud.Accounts()[0].AddUser(u); err != nil {
			t.Fatal(err)
		}
	}
	w, db := work(t, c, cloud, members)
	judge := w.Judge
	w.Judge = func(now time.Time) (audit.Options, error) {
		opt, err := judge(now)
		opt.DueWithin = 30 * 24 * time.Hour
		return opt, err
	}
	asked := false
	w.Owners = func(time.Time) (bool, error) { return asked, nil }
	read := func(when string, least, most int, owned, soon string) {
		t.Helper()
		c.move(time.Hour)
		cloud.ResetCalls()
		if err := w.Collect(t.Context(), &members[0]); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, call := range cloud.Calls() {
			if call.Action == "iam:ListUserTags" {
				n++
			}
		}
		if n < least || n > most {
			t.Errorf("%s: %d tags were read, want %d to %d", when, n, least, most)
		}
		a, _, err := db.AccountOf(t.Context(), members[0].Account.ID)
		if err != nil || !a.Complete || len(a.Due) == 0 {
			t.Fatalf("%s: %+v, %v", when, a, err)
		}
		open, err := db.History(t.Context(), store.HistoryFilter{Open: true})
		if err != nil || len(open) == 0 {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, e := range open {
			got[e.User] = e.Tags["owner"]
		}
		for _, d := range a.Due {
			got[d.User] = d.Tags["owner"]
		}
		if want := map[string]string{"ci": "", "owned": owned, "soon": soon}; !maps.Equal(got, want) {
			t.Errorf("%s: owners %v, want %v", when, got, want)
		}
	}
	read("nobody is told", 0, 0, "", "")
	asked = true
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:ListUserTags"})
	read("denied", 1, 3, "", "")
	cloud.Heal()
	read("allowed", 3, 3, "ana", "bob")
	read("known", 0, 0, "ana", "bob")
}

// AWS gives out one report for four hours. What was found since it was made is not taken back by it.
func TestLoop_anOlderReportTakesNothingBack(t *testing.T) {
	c := newClock(morning)
	cloud, members := company(t, 1)
	acc := cloud.Accounts()[0]
	year := morning.AddDate(-1, 0, 0)
	for _, u := range []fakeaws.User{
		{Name: "fixed", Created: year, Keys: []fakeaws.Key{{Created: morning.AddDate(0, 0, -200), LastUsed: morning}}},
		{Name: "second", Created: year, Keys: []fakeaws.Key{{Created: morning.AddDate(0, 0, -10), LastUsed: morning}, {Created: morning.AddDate(0, 0, -9), LastUsed: morning, Inactive: true}}},
		{Name: "leaver", Created: year, Keys: []fakeaws.Key{{Created: morning.AddDate(0, 0, -200), LastUsed: morning}}},
	} {
		if err := acc.AddUser(u); err != nil {
			t.Fatal(err)
		}
	}
	w, db := work(t, c, cloud, members)
	var last history.Changes
	w.Collected = func(_ *history.Observation, changes *history.Changes) { last = *changes }
	read := func() {
		t.Helper()
		c.move(10 * time.Minute)
		if err := w.Collect(t.Context(), &members[0]); err != nil {
			t.Fatal(err)
		}
	}
	read()
	for _, u := range acc.Users() {
		switch u.Name {
		case "fixed":
			must(t, acc.SetActive(u.Name, u.Keys[0].ID, false))
		case "second":
			must(t, acc.SetActive(u.Name, u.Keys[1].ID, true))
		}
	}
	must(t, acc.DeleteUser("leaver"))
	w.How.Evidence = fact.Live // somebody looks closely
	read()
	if len(last.Opened) == 0 || len(last.Closed) == 0 {
		t.Fatalf("found %+v", last)
	}
	w.How.Evidence = fact.Report
	for range 2 {
		read()
		if !last.Empty() {
			t.Errorf("by the report of before: opened %+v, closed %+v", last.Opened, last.Closed)
		}
	}
	open, err := db.History(t.Context(), store.HistoryFilter{Open: true, User: "second"})
	if err != nil || len(open) != 1 || open[0].Rule != "multiple-active-keys" {
		t.Errorf("open of second: %+v, %v", open, err)
	}
	c.move(4 * time.Hour)
	read()
	if !last.Empty() {
		t.Errorf("by a new report: %+v", last)
	}
}
