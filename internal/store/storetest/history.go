package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/store"
)

// Organization lists the accounts that are judged here.
const Organization = "o-exampleorg1"

// judged is an account judged some hours after the first run, with failing verdicts of these users.
func judged(account string, hours int, failing ...string) *history.Observation {
	at := start.Add(time.Duration(hours) * time.Hour)
	o := &history.Observation{
		Account: fact.Account{ID: account, Partition: "aws", Name: "name of " + account, OU: "Root/Workloads", Organization: Organization},
		At:      at, Evidence: fact.Evidence{Source: fact.Report, GeneratedAt: fact.At(at.Add(-time.Hour))}, Ruleset: "default", Complete: true,
		UsersRead: true, Users: 10, Keys: 12, ActiveKeys: 9, Ages: map[int]int{5: 4, history.AgeStep(365 * 24 * time.Hour): 5},
		Has: func(string) bool { return true }, Terms: map[string]string{"key-age-90": "t1"},
	}
	for _, user := range failing {
		o.Verdicts = append(o.Verdicts, failingKey(account, user))
	}
	return o
}

func failingKey(account, user string) finding.Verdict {
	k := &fact.Key{Slot: 1, Active: true, Created: fact.At(start.AddDate(-1, 0, 0))}
	return finding.Verdict{
		ID: finding.Fingerprint("key-age-90", account, user, k, 0), Rule: "key-age-90", Kind: "key-age", Title: "Keys are young", Status: finding.Fail,
		Severity: finding.High, Account: fact.Account{ID: account}, User: user, Key: k, Since: fact.At(start.AddDate(0, -3, 0)), Remedy: finding.Rotate, Message: "it is old",
	}
}

func observe(t testing.TB, d *store.DB, o *history.Observation) history.Changes {
	t.Helper()
	c, err := d.Observe(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func list(t testing.TB, d *store.DB, f store.HistoryFilter) []history.Entry {
	t.Helper()
	out, err := d.History(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var exact = cmp.Options{cmp.AllowUnexported(fact.Time{}), cmpopts.EquateEmpty()}

func keepsHistory(t *testing.T, d *store.DB) {
	o := judged(Account, 0, "ci", "ops")
	o.Account.Tags = map[string]string{"env": "prod"}
	o.Tags = func(user string) map[string]string { return map[string]string{"owner": user + "@example.com"} }
	o.Gaps = []fact.Gap{{Account: Account, Reading: "ListUserTags", Subject: "ops", Why: "denied\x00", Denied: true}}
	o.Due = []history.Due{{ID: "soon", User: "new", Rule: "key-age-90", Kind: "key-age", Title: "t", Severity: finding.Low, KeyID: "AKIA", KeyCreated: fact.At(start), At: start.AddDate(0, 0, 9)}}
	c := observe(t, d, o)
	if len(c.Opened) != 2 || len(c.Closed) != 0 {
		t.Fatalf("opened and closed: %+v", c)
	}
	got := list(t, d, store.HistoryFilter{})
	slices.SortFunc(got, func(a, b history.Entry) int { return strings.Compare(a.ID, b.ID) })
	if diff := cmp.Diff(c.Opened, got, exact); diff != "" {
		t.Errorf("entries (-opened +kept):\n%s", diff)
	}
	a, ok, err := d.AccountOf(t.Context(), Account)
	want := store.Account{
		Account: o.Account, FirstAt: o.At, JudgedAt: o.At, Source: fact.Report, MadeAt: o.Evidence.GeneratedAt, Ruleset: "default", Complete: true,
		Gaps:  []fact.Gap{{Account: Account, Reading: "ListUserTags", Subject: "ops", Why: "denied\x00", Denied: true}},
		Users: 10, Keys: 12, ActiveKeys: 9, Ages: o.Ages, Failing: 2, FailingKeys: 2, Due: o.Due,
	}
	if diff := cmp.Diff(want, a, exact); err != nil || !ok || diff != "" {
		t.Errorf("account: %v, %v (-want +kept):\n%s", ok, err, diff)
	}
	if _, ok, err := d.AccountOf(t.Context(), "999999999999"); ok || err != nil {
		t.Errorf("an account that was never judged: %v, %v", ok, err)
	}
	if c := observe(t, d, judged(Account, 24, "ci", "ops")); !c.Empty() {
		t.Errorf("the same a day later: %+v", c)
	}
	closed := observe(t, d, judged(Account, 48, "ops"))
	if len(closed.Closed) != 1 || closed.Closed[0].User != "ci" || closed.Closed[0].Why != history.Fixed {
		t.Fatalf("closed %+v", closed)
	}
	if diff := cmp.Diff(closed.Closed, list(t, d, store.HistoryFilter{Closed: true}), exact); diff != "" {
		t.Errorf("closed (-told +kept):\n%s", diff)
	}
	again := observe(t, d, judged(Account, 72, "ops", "ci"))
	if len(again.Opened) != 1 {
		t.Fatalf("failing anew: %+v", again)
	}
	if n := len(list(t, d, store.HistoryFilter{User: "ci"})); n != 2 {
		t.Errorf("ci has %d entries, want 2", n)
	}
}

func recordsOnce(t *testing.T, d *store.DB) {
	first := judged(Account, 10, "ci")
	observe(t, d, first)
	if c := observe(t, d, first); len(c.Opened)+len(c.Closed) != 0 {
		t.Errorf("the same observation twice: %+v", c)
	}
	if _, err := d.Observe(t.Context(), judged(Account, 9)); !errors.Is(err, store.ErrOlder) {
		t.Errorf("an older one: %v, want %v", err, store.ErrOlder)
	}
	if n := len(list(t, d, store.HistoryFilter{Open: true})); n != 1 {
		t.Errorf("%d open, want 1", n)
	}
	for name, o := range map[string]*history.Observation{
		"no account": judged("", 20), "no number": judged("abc", 20), "no instant": {Account: fact.Account{ID: Account}},
	} {
		if _, err := d.Observe(t.Context(), o); err == nil {
			t.Errorf("%s: recorded", name)
		}
	}
}

func keepsUnseen(t *testing.T, d *store.DB) {
	observe(t, d, judged(Account, 0, "ci"))
	blind := judged(Account, 24)
	blind.UsersRead, blind.Complete = false, false
	blind.Users, blind.Keys, blind.ActiveKeys = 0, 0, 0
	observe(t, d, blind)
	later := judged(Account, 30)
	later.UsersRead = false
	observe(t, d, later)
	open := list(t, d, store.HistoryFilter{Open: true})
	if len(open) != 1 || !open[0].SeenAt.Equal(start) {
		t.Fatalf("open %+v, seen at %v", open, start)
	}
	a, _, err := d.AccountOf(t.Context(), Account)
	if err != nil || !a.UnreadSince.Equal(blind.At) || a.Users != 10 || a.Complete || !a.JudgedAt.Equal(later.At) {
		t.Errorf("account %+v, %v", a, err)
	}
	observe(t, d, judged(Account, 48, "ci"))
	a, _, err = d.AccountOf(t.Context(), Account)
	if err != nil || !a.UnreadSince.IsZero() || !a.Complete {
		t.Errorf("account %+v, %v", a, err)
	}
	if open := list(t, d, store.HistoryFilter{Open: true}); len(open) != 1 || !open[0].SeenAt.IsZero() {
		t.Errorf("open %+v", open)
	}
}

func accountsLeave(t *testing.T, d *store.DB) {
	const other = "444455556666"
	observe(t, d, judged(Account, 0, "ci"))
	observe(t, d, judged(other, 0, "ci", "ops"))
	at := start.Add(5 * time.Hour)
	left, err := d.Leave(t.Context(), Organization, []string{Account, "777788889999"}, at)
	if err != nil || len(left) != 1 || left[0].Account.ID != other || len(left[0].Closed) != 2 || left[0].Closed[0].Why != history.AccountGone {
		t.Fatalf("%+v, %v", left, err)
	}
	if again, err := d.Leave(t.Context(), Organization, []string{Account}, at.Add(time.Hour)); err != nil || len(again) != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
	all, err := d.Accounts(t.Context(), "", 0)
	if err != nil || len(all) != 2 || !all[1].GoneAt.Equal(at) || all[1].Failing != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	c := observe(t, d, judged(other, 20, "ci"))
	if a, _, _ := d.AccountOf(t.Context(), other); len(c.Opened) != 1 || !a.GoneAt.IsZero() {
		t.Errorf("back: %+v, %+v", c, a)
	}
}

// Accounts that another organisation lists, or none, have not left this one.
func accountsStay(t *testing.T, d *store.DB) {
	const alone, other, moved = "444455556666", "555566667777", "666677778888"
	for i, id := range []string{alone, other, moved} {
		o := judged(id, 0, "ci")
		o.Account.Organization = [...]string{"", "o-other", Organization}[i]
		observe(t, d, o)
	}
	o := judged(moved, 1, "ci")
	o.Account.Organization = "o-other"
	observe(t, d, o)
	unlisted := judged(Account, 0, "ci")
	observe(t, d, unlisted)
	unlisted = judged(Account, 1, "ci")
	unlisted.Account.Organization = "" // judged by itself, it is listed all the same
	observe(t, d, unlisted)
	left, err := d.Leave(t.Context(), Organization, nil, start.Add(5*time.Hour))
	if err != nil || len(left) != 1 || left[0].Account.ID != Account {
		t.Errorf("left: %+v, %v", left, err)
	}
	if left, err := d.Leave(t.Context(), "", nil, start.Add(6*time.Hour)); err == nil {
		t.Errorf("of no organisation: %+v", left)
	}
}

// What could not be judged is still open, and what falls due stays where nobody looked for it.
func countsWhatIsOpen(t *testing.T, d *store.DB) {
	o := judged(Account, 0, "ana", "bob", "eve")
	o.Due = []history.Due{{ID: "soon", User: "new", Rule: "key-age-90", At: start.AddDate(0, 0, 9)}}
	observe(t, d, o)
	o = judged(Account, 24, "ana", "new")
	o.Verdicts = append(o.Verdicts, finding.Verdict{Rule: "key-age-90", User: "bob", Status: finding.Unknown})
	observe(t, d, o)
	want := func(failing, due int) {
		t.Helper()
		a, _, err := d.AccountOf(t.Context(), Account)
		if err != nil || a.Failing != failing || a.FailingKeys != failing || len(a.Due) != due {
			t.Errorf("%d failing on %d keys, %d due, %v; want %d, %d", a.Failing, a.FailingKeys, len(a.Due), err, failing, due)
		}
		points, err := d.Trend(t.Context(), store.TrendFilter{From: o.At, To: o.At})
		if err != nil || o.UsersRead && points[0].Failing != failing {
			t.Errorf("trend %+v, %v, want %d", points, err, failing)
		}
	}
	want(3, 1) // eve's is fixed
	o = judged(Account, 48)
	o.Due = []history.Due{}
	observe(t, d, o)
	want(0, 0)
	observe(t, d, judged(Account, 72, "ana", "bob"))
	o = judged(Account, 96)
	o.UsersRead, o.Terms = false, map[string]string{}
	observe(t, d, o)
	want(0, 0) // the rule is gone: that needs no users
}

func listsHistory(t *testing.T, d *store.DB) {
	const other = "444455556666"
	var users []string
	for i := range 25 {
		users = append(users, fmt.Sprintf("user-%02d", i))
	}
	observe(t, d, judged(Account, 0, users...))
	observe(t, d, judged(other, 1, "user-03"))
	observe(t, d, judged(Account, 2, users[5:]...))
	for name, c := range map[string]struct {
		f    store.HistoryFilter
		want int
	}{
		"all":                   {store.HistoryFilter{}, 26},
		"user":                  {store.HistoryFilter{User: "user-03"}, 2},
		"user and account":      {store.HistoryFilter{User: "user-03", Account: other}, 1},
		"open":                  {store.HistoryFilter{Open: true}, 21},
		"closed":                {store.HistoryFilter{Closed: true}, 5},
		"rule":                  {store.HistoryFilter{Rules: []string{"key-age-30", "key-age-90"}, Account: Account}, 25},
		"another rule":          {store.HistoryFilter{Rules: []string{"key-age-45"}}, 0},
		"severity":              {store.HistoryFilter{Severity: finding.Low}, 0},
		"open at the end":       {store.HistoryFilter{From: start.Add(3 * time.Hour)}, 21},
		"opened before":         {store.HistoryFilter{To: start.Add(time.Hour)}, 25},
		"opened in the hour":    {store.HistoryFilter{To: start.Add(2 * time.Hour), From: start.Add(time.Hour)}, 26},
		"a part of a user name": {store.HistoryFilter{User: "user-0"}, 0},
	} {
		if got := len(list(t, d, c.f)); got != c.want {
			t.Errorf("%s: %d entries, want %d", name, got, c.want)
		}
	}
	whole := list(t, d, store.HistoryFilter{})
	var pages []history.Entry
	for f := (store.HistoryFilter{Limit: 7}); ; {
		page := list(t, d, f)
		pages = append(pages, page...)
		if len(page) < 7 {
			break
		}
		f.After = &store.Place{OpenedAt: page[6].OpenedAt, ID: page[6].ID}
	}
	if diff := cmp.Diff(whole, pages, exact); diff != "" {
		t.Errorf("-whole +by pages:\n%s", diff)
	}
	var ids []string
	for after := ""; ; {
		page, err := d.Accounts(t.Context(), after, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		after = page[0].Account.ID
		ids = append(ids, after)
	}
	if !cmp.Equal(ids, []string{Account, other}) {
		t.Errorf("accounts %v", ids)
	}
}

func knowsKeys(t *testing.T, d *store.DB) {
	o := judged(Account, 0, "ci", "ops")
	o.Verdicts[0].Key.ID = "AKIAEXAMPLE"
	observe(t, d, o)
	if nothing, err := d.Known(t.Context(), "999988887777"); err != nil || !nothing.JudgedAt.IsZero() || len(nothing.Open) > 0 {
		t.Errorf("of an account that was never judged: %+v, %v", nothing, err)
	}
	found, err := d.Known(t.Context(), Account)
	if err != nil {
		t.Fatal(err)
	}
	if !found.JudgedAt.Equal(o.At) || !found.Open["ci"][o.Verdicts[0].ID] || len(found.Open["ops"]) != 1 || len(found.Open) != 2 {
		t.Errorf("known: %+v", found)
	}
	known := found.Key
	made := o.Verdicts[0].Key.Created
	if id := known("ci", made.Add(time.Millisecond)); id != "AKIAEXAMPLE" {
		t.Errorf("the key of ci: %q", id)
	}
	for _, id := range []string{known("ops", made), known("ci", made.Add(time.Second)), known("nobody", made)} {
		if id != "" {
			t.Errorf("a key that is not known: %q", id)
		}
	}
}

func knowsTags(t *testing.T, d *store.DB) {
	o := judged(Account, 0, "ci", "ops")
	o.Due = []history.Due{
		{ID: "soon", User: "new", Rule: "key-age-90", At: start.AddDate(0, 0, 9), Tags: map[string]string{"team": "sea"}},
		{ID: "later", User: "ops", Rule: "key-age-90", At: start.AddDate(0, 0, 9)},
	}
	observe(t, d, o)
	o = judged(Account, 1, "ci", "ops")
	o.Tags = func(user string) map[string]string {
		return map[string]map[string]string{"ci": {"owner": "ana"}, "ops": {}}[user]
	}
	c := observe(t, d, o)
	known, err := d.KnownTags(t.Context(), Account)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{"ci": {"owner": "ana"}, "ops": {}, "new": {"team": "sea"}, "nobody": nil}
	for user, tags := range want {
		if got := known(user); (got == nil) != (tags == nil) || !cmp.Equal(got, tags, cmpopts.EquateEmpty()) {
			t.Errorf("tags of %s: %#v, want %#v", user, got, tags)
		}
	}
	if len(c.Changed) != 2 || len(observe(t, d, judged(Account, 2, "ci", "ops")).Changed) != 0 {
		t.Errorf("changed %+v", c.Changed)
	}
}

func drawsTrends(t *testing.T, d *store.DB) {
	const other = "444455556666"
	observe(t, d, judged(Account, 0, "a", "b"))
	o := judged(other, 0, "c")
	o.Account.OU = "Root/Sandbox"
	observe(t, d, o)
	observe(t, d, judged(Account, 24, "a", "b", "x")) // day 1
	observe(t, d, judged(Account, 72, "x"))           // day 3: two are fixed after three days
	if _, err := d.Leave(t.Context(), Organization, []string{Account}, start.Add(96*time.Hour)); err != nil {
		t.Fatal(err)
	}
	spell := func(f store.TrendFilter) string {
		f.From, f.To = start.AddDate(0, 0, -1), start.AddDate(0, 0, 5)
		points, err := d.Trend(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, p := range points {
			age, _ := p.MedianAge()
			fix, _ := p.TimeToFix()
			out = append(out, fmt.Sprintf("%s: %d accounts, %d failing on %d of %d, median %d, +%d -%d, fixed in %s", p.Day.Format("01-02"), p.Accounts, p.Failing, p.FailingKeys, p.ActiveKeys, age, p.Opened, p.Closed, fix))
		}
		return strings.Join(out, "\n")
	}
	want := `02-28: 0 accounts, 0 failing on 0 of 0, median 0, +0 -0, fixed in 0s
03-01: 2 accounts, 3 failing on 3 of 18, median 365, +3 -0, fixed in 0s
03-02: 2 accounts, 4 failing on 4 of 18, median 365, +1 -0, fixed in 0s
03-03: 2 accounts, 4 failing on 4 of 18, median 365, +0 -0, fixed in 0s
03-04: 2 accounts, 2 failing on 2 of 18, median 365, +0 -2, fixed in 72h0m0s
03-05: 1 accounts, 1 failing on 1 of 9, median 365, +0 -1, fixed in 0s
03-06: 1 accounts, 1 failing on 1 of 9, median 365, +0 -0, fixed in 0s`
	if diff := cmp.Diff(want, spell(store.TrendFilter{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := spell(store.TrendFilter{OU: "Root/Sandbox/"}); !strings.Contains(got, "03-04: 1 accounts, 1 failing on 1 of 9") || !strings.Contains(got, "03-05: 0 accounts") {
		t.Errorf("of a unit:\n%s", got)
	}
	if got := spell(store.TrendFilter{OU: "Root"}); got != want {
		t.Errorf("of the root:\n%s", got)
	}
	moved := judged(other, 96, "c")
	moved.Account.OU = "Root/Prod"
	observe(t, d, moved)
	if got := spell(store.TrendFilter{OU: "Root/Sandbox"}); !strings.Contains(got, "03-04: 1 accounts, 1 failing on 1 of 9") || !strings.Contains(got, "03-05: 0 accounts") {
		t.Errorf("of the unit where it was:\n%s", got)
	}
	if got := spell(store.TrendFilter{OU: "Root/Prod"}); !strings.Contains(got, "03-04: 0 accounts") || !strings.Contains(got, "03-05: 1 accounts, 1 failing on 1 of 9") {
		t.Errorf("of the unit where it is:\n%s", got)
	}
	if got := spell(store.TrendFilter{OU: "Root/Sand"}); strings.Contains(got, "1 accounts") {
		t.Errorf("a part of a name is another unit:\n%s", got)
	}
	if got := spell(store.TrendFilter{Account: Account}); !strings.Contains(got, "03-06: 1 accounts, 1 failing on 1 of 9") {
		t.Errorf("of an account:\n%s", got)
	}
	if _, err := d.Trend(t.Context(), store.TrendFilter{From: start, To: start.AddDate(0, 0, -1)}); err == nil {
		t.Error("a trend backwards")
	}
}

func prunes(t *testing.T, d *store.DB) {
	observe(t, d, judged(Account, 0, "a", "b"))
	observe(t, d, judged(Account, 24, "a"))
	observe(t, d, judged(Account, 48))
	f := &filler{t: t, d: d, rand: rand.New(rand.NewPCG(1, 1))} //nolint:gosec // repeatable by design
	f.notice(1)
	if n, err := d.Prune(t.Context(), store.Before{}); err != nil || n != 0 {
		t.Errorf("nothing is too old: %d, %v", n, err)
	}
	n, err := d.Prune(t.Context(), store.Before{Closed: start.Add(25 * time.Hour), Days: start.Add(25 * time.Hour)})
	if err != nil || n != 2 {
		t.Errorf("%d rows, %v; want a verdict and a day", n, err)
	}
	if left := list(t, d, store.HistoryFilter{}); len(left) != 1 || left[0].User != "a" {
		t.Errorf("left %+v", left)
	}
	observe(t, d, judged(Account, 72, "old"))
	if n, err := d.Prune(t.Context(), store.Before{Closed: start.AddDate(9, 0, 0)}); err != nil || n != 1 {
		t.Errorf("%d, %v: what is open stays", n, err)
	}
	if left := list(t, d, store.HistoryFilter{}); len(left) != 1 || left[0].User != "old" {
		t.Errorf("left %+v", left)
	}
	told, err := d.Outbox().Notices(t.Context(), 0)
	if err != nil || len(told) != 1 || len(told[0].Attempts) != 1 {
		t.Fatalf("%+v, %v", told, err)
	}
	if _, err := d.Prune(t.Context(), store.Before{Notices: start.AddDate(9, 0, 0)}); err != nil {
		t.Fatal(err)
	}
	if left, err := d.Outbox().Notices(t.Context(), 0); err != nil || (len(left) == 0) != (told[0].State != "") {
		t.Errorf("of a notice in state %q are left: %+v, %v", told[0].State, left, err)
	}
}

// What is listed of a message tells its subject; a body that is no message has none, and is listed.
func noticesTold(t *testing.T, d *store.DB) {
	m := notice.NewTest(notice.Terms{Name: "chat"}, start)
	body, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	err = d.Outbox().Add(t.Context(), []notice.Entry{
		{ID: "a", Channel: "chat", Covers: []string{"a"}, Body: body, AddedAt: start, NextTry: start},
		{ID: "b", Channel: "chat", Covers: []string{"b"}, Body: []byte("x"), AddedAt: start, NextTry: start},
		{ID: "c", Channel: "chat", Covers: []string{"c"}, Body: body, AddedAt: start, NextTry: start},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Outbox().Mark(t.Context(), "c", notice.Attempt{At: start, State: notice.Sent}); err != nil {
		t.Fatal(err)
	}
	told, err := d.Outbox().Notices(t.Context(), 2)
	if err != nil || len(told) != 2 || told[0].Subject != m.Subject || m.Subject == "" || told[1].Subject != "" {
		t.Errorf("%+v, %v; want the subject %q of the first", told, err, m.Subject)
	}
	if n, err := d.Outbox().Waiting(t.Context()); err != nil || n != 2 {
		t.Errorf("%d wait, %v; want 2", n, err)
	}
}

// Many judge the same accounts at once, each its own instants: every instant is recorded or refused as older, and what is open in
// the end is what the last one says.
func manyObservers(t *testing.T, d *store.DB) {
	const observers, instants = 4, 15
	ids := []string{Account, "444455556666", "777788889999"}
	errs := make(chan error, observers)
	for n := range observers {
		go func() {
			errs <- func() error {
				for i := range instants {
					id := ids[(i*7+n*3)%len(ids)]
					o := judged(id, i*observers+n, fmt.Sprintf("user-%d", (i*observers+n)%5))
					if _, err := d.Observe(context.Background(), o); err != nil && !errors.Is(err, store.ErrOlder) {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range observers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, id := range ids {
		a, ok, err := d.AccountOf(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			continue
		}
		open := list(t, d, store.HistoryFilter{Account: id, Open: true})
		want := fmt.Sprintf("user-%d", int(a.JudgedAt.Sub(start)/time.Hour)%5)
		if len(open) != 1 || open[0].User != want {
			t.Errorf("account %s, judged last at %v: open %+v, want %s", id, a.JudgedAt, open, want)
		}
	}
}
