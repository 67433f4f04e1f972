package notice_test

import (
	"slices"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
)

func TestRoute_filtersByEverythingGiven(t *testing.T) {
	high := opened(verdict(prod, "a", "key-age-90", finding.High), now, nil)
	low := opened(verdict(test, "a", "key-unused-45", finding.Low), now, nil)
	homeless := opened(verdict(fact.Account{ID: "777788889999"}, "a", "key-age-90", finding.High), now, nil)
	wait := cycle()[6]
	for _, want := range []struct {
		name  string
		route notice.Route
		takes []*notice.Change
	}{
		{"no filter", notice.Route{}, []*notice.Change{&high, &low, &homeless, &wait}},
		{"kind", notice.Route{Kinds: []notice.Kind{notice.Waits, notice.Closed}}, []*notice.Change{&wait}},
		{"rule", notice.Route{Rules: []string{"key-unused-45", "x"}}, []*notice.Change{&low}},
		{"severity at least", notice.Route{Severity: finding.Medium}, []*notice.Change{&high, &homeless, &wait}},
		{"severity, exactly", notice.Route{Severity: finding.High}, []*notice.Change{&high, &homeless, &wait}},
		{"account", notice.Route{Accounts: []string{"4444*"}}, []*notice.Change{&low}},
		{"unit and below; one that was not read is told", notice.Route{OUs: []string{"Root/Workloads/Prod"}}, []*notice.Change{&high, &homeless, &wait}},
		{"unit above", notice.Route{OUs: []string{"Root/Workloads"}}, []*notice.Change{&high, &low, &homeless, &wait}},
		{"unit is no prefix of a name", notice.Route{OUs: []string{"Root/Work"}}, []*notice.Change{&homeless}},
		{"all at once", notice.Route{Kinds: []notice.Kind{notice.Opened}, Severity: finding.High, Accounts: []string{prod.ID}}, []*notice.Change{&high}},
	} {
		want.route.To = []string{"x"}
		r := notice.Routing{Channels: []notice.Terms{{Name: "x"}, {Name: "y"}}, Routes: []notice.Route{want.route}}
		for _, c := range []*notice.Change{&high, &low, &homeless, &wait} {
			got := r.Route(c)
			if (len(got) == 1) != slices.Contains(want.takes, c) || len(got) == 1 && got[0].Channel != "x" {
				t.Errorf("%s: %s %+v gave %+v", want.name, c.Kind, c.Verdict, got)
			}
		}
	}
}

func TestRoute_aChannelGetsAChangeOnceAndOnlyKindsItTakes(t *testing.T) {
	r := notice.Routing{
		Channels: []notice.Terms{{Name: "x"}, {Name: "hub", Kinds: []notice.Kind{notice.Opened, notice.Closed}}},
		Routes:   []notice.Route{{To: []string{"x", "hub"}}, {To: []string{"x"}, Severity: finding.High}},
	}
	for _, c := range cycle() {
		want := []string{"x"}
		if c.Kind == notice.Opened || c.Kind == notice.Closed {
			want = []string{"x", "hub"}
		}
		var got []string
		for _, p := range r.Route(&c) {
			got = append(got, p.Channel)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s went to %q, want %q", c.Kind, got, want)
		}
	}
}

func TestRoute_theOwnerIsFoundByTagsElseTheDefault(t *testing.T) {
	owners := notice.Owners{
		Table:   map[string][]string{"Payments": {"pay@example.com", "oncall@example.com"}, "build server": {"build@example.com"}},
		Domains: []string{"example.com", "corp.example"},
	}
	const key = "AKIAIOSFODNN7EXAMPLE"
	for _, want := range []struct {
		name             string
		tags             map[string]string
		recipient, owner string
	}{
		{"no tags were read", nil, "all@example.com", ""},
		{"no tag that names an owner", map[string]string{"env": "ana@example.com"}, "all@example.com", ""},
		{"an address", map[string]string{"owner": " ana@example.com "}, "ana@example.com", "ana@example.com"},
		{"an address in another domain of ours", map[string]string{"Contact": "ana@Corp.Example"}, "ana@Corp.Example", "ana@Corp.Example"},
		{"an address elsewhere is not written to", map[string]string{"owner": "ana@evil.test"}, "all@example.com", "ana@evil.test"},
		{"a domain that only ends so", map[string]string{"owner": "ana@notexample.com"}, "all@example.com", "ana@notexample.com"},
		{"a name of the table, without regard to case", map[string]string{"team": "PAYMENTS"}, "pay@example.com, oncall@example.com", "PAYMENTS"},
		{"owner is asked before team", map[string]string{"team": "payments", "owner": "bob@example.com"}, "bob@example.com", "bob@example.com"},
		{"one that leads somewhere before one that does not", map[string]string{"team": "payments", "owner": "Bob"}, "pay@example.com, oncall@example.com", "payments"},
		{"a name that leads nowhere is told", map[string]string{"owner": "Bob"}, "all@example.com", "Bob"},
		{"the description of the key, last", map[string]string{key: "build server"}, "build@example.com", "build server"},
		{"a description that leads nowhere is no owner", map[string]string{key: "my laptop"}, "all@example.com", ""},
		{"two addresses are none", map[string]string{"owner": "ana@example.com, bob@example.com"}, "all@example.com", "ana@example.com, bob@example.com"},
		{"a header line is no address", map[string]string{"owner": "ana@example.com\r\nBcc: x@evil.test"}, "all@example.com", "ana@example.com\r\nBcc: x@evil.test"},
		{"a name beside an address is none", map[string]string{"owner": "Ana <ana@example.com>"}, "all@example.com", "Ana <ana@example.com>"},
		{"a quoted address is none", map[string]string{"owner": `"a b"@example.com`}, "all@example.com", `"a b"@example.com`},
	} {
		c := opened(verdict(prod, "a", "key-age-90", finding.High), now, want.tags)
		r := notice.Routing{
			Channels: []notice.Terms{{Name: "mail", Personal: true, Default: []string{"all@example.com"}}, {Name: "chat"}},
			Routes:   []notice.Route{{To: []string{"mail", "chat"}}}, Owners: owners,
		}
		got := r.Route(&c)
		if got[0].Recipient != want.recipient || got[0].Owner != want.owner || got[1].Recipient != "" || got[1].Owner != want.owner {
			t.Errorf("%s: %q %q, %q %q", want.name, got[0].Recipient, got[0].Owner, got[1].Recipient, got[1].Owner)
		}
	}
	own := notice.Routing{
		Channels: []notice.Terms{{Name: "mail", Personal: true}}, Routes: []notice.Route{{To: []string{"mail"}}},
		Owners: notice.Owners{Tags: []string{"cost-centre"}, Table: map[string][]string{"42": {"a@b.example"}}},
	}
	c := opened(verdict(prod, "a", "key-age-90", finding.High), now, map[string]string{"cost-centre": "42", "owner": "no"})
	if got := own.Route(&c); got[0].Recipient != "a@b.example" || got[0].Owner != "42" {
		t.Errorf("tags of our own: %+v", got)
	}
}

func TestReminders_comeOnceAtTheirInstant(t *testing.T) {
	r := notice.Reminders{Before: []time.Duration{14 * day, 3 * day}, Overdue: 7 * day, Expiring: 14 * day}
	due := verdict(prod, "a", "key-age-90", finding.High)
	due.Status, due.Due = finding.Pass, fact.At(now)
	for _, want := range []struct {
		at    time.Duration // from the due date
		since time.Duration // the instant of the reminder; 1: none
	}{
		{-14*day - 1, 1}, {-14 * day, -14 * day}, {-14*day + 1, -14 * day}, {-3*day - 1, -14 * day}, {-3 * day, -3 * day}, {-1, -3 * day}, {0, 1}, {day, 1},
	} {
		got := r.Verdicts([]notice.Standing{{Verdict: *due}}, now.Add(want.at))
		switch {
		case want.since == 1 && len(got) != 0:
			t.Errorf("%s from due: %+v", want.at, got)
		case want.since != 1 && (len(got) != 1 || got[0].Kind != notice.DueSoon || !got[0].At.Equal(now.Add(want.since)) || got[0].Validate() != nil):
			t.Errorf("%s from due: %+v, want the reminder of %s", want.at, got, want.since)
		}
	}
	failing := notice.Standing{Verdict: *verdict(prod, "a", "key-age-90", finding.High), Opened: now}
	for _, want := range []struct{ at, since time.Duration }{
		{0, 0}, {7*day - 1, 0}, {7 * day, 7 * day}, {14*day - 1, 7 * day}, {35*day + 1, 35 * day},
	} {
		got := r.Verdicts([]notice.Standing{failing}, now.Add(want.at))
		switch {
		case want.since == 0 && len(got) != 0:
			t.Errorf("%s open: %+v", want.at, got)
		case want.since != 0 && (len(got) != 1 || got[0].Kind != notice.Overdue || !got[0].At.Equal(now.Add(want.since)) || got[0].Validate() != nil):
			t.Errorf("%s open: %+v, want the reminder of %s", want.at, got, want.since)
		}
	}
	exceptions := []finding.Exception{{Rule: "x", Account: "*", Expires: fact.At(now)}, {Rule: "y", Account: prod.ID, Expires: fact.At(now)}, {Rule: "z"}}
	for at, want := range map[time.Duration]int{-14*day - 1: 0, -14 * day: 2, -1: 2, 0: 0} {
		got := r.Exceptions(exceptions, now.Add(at))
		if len(got) != want || want > 0 && (!got[0].At.Equal(now) || got[0].Account.ID != "" || got[1].Account.ID != prod.ID) {
			t.Errorf("%s from the end: %+v", at, got)
		}
	}
	off := notice.Reminders{}
	if got := off.Verdicts([]notice.Standing{failing, {Verdict: *due}}, now.Add(-day)); len(got)+len(off.Exceptions(exceptions, now.Add(-day))) != 0 {
		t.Errorf("reminders that nobody asked for: %+v", got)
	}
}
