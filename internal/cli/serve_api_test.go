package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/cli"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/web"
	"github.com/keyreeve/keyreeve/internal/web/webtest"
)

// book is a database with something of everything, and the API over it.
type book struct {
	t   *testing.T
	p   *at
	db  *store.DB
	api *webtest.ClientWithResponses
}

// recorded is the built-in company and twelve accounts more, audited into a new database; and runs and rotations in it.
func recorded(t *testing.T, url string) *book {
	t.Helper()
	cloud := fakeaws.Demo(storyTime)
	if err := organize(cloud, 12); err != nil {
		t.Fatal(err)
	}
	aws, err := cloud.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(aws.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": aws.URL, "AWS_ACCESS_KEY_ID": cloud.Accounts()[0].Credential(), "AWS_SECRET_ACCESS_KEY": "any", "AWS_PROFILE": "",
		"AWS_SESSION_TOKEN": "", "AWS_REGION": "us-east-1", "AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none",
	} {
		t.Setenv(name, value)
	}
	keyreeve(t, 3, "audit", "--org", "--external-id", "7f3a", "--record", "-o", "summary", "--db", url)
	p := &at{now: storyTime, db: url}
	token, _ := p.add(t, "a test")
	b := &book{t: t, p: p}
	if b.db, err = store.Open(t.Context(), url, store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.db.Close() })
	for i := range 9 {
		b.change(i)
	}
	h, err := cli.API(p.system(io.Discard, io.Discard), b.db, func(context.Context) []web.Check { return []web.Check{{Name: "database"}} }, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	b.api = webtest.NewReader(t, server.URL, token)
	return b
}

// change adds a run and a rotation, of two accounts in turn.
func (b *book) change(i int) {
	b.t.Helper()
	at := storyTime.Add(time.Duration(i) * time.Second)
	account := []string{"111122223333", "444455556666"}[i%2]
	// Ids are by clocks, and clocks differ: each third is behind.
	id := func(kind string) string {
		return at.Add(-time.Duration(i%3)*time.Hour).Format("20060102T150405Z") + fmt.Sprintf("-%s%05x", kind, i)
	}
	r := journal.Run{
		ID: id("a"), Kind: journal.Apply, Account: account, Caller: "arn:aws:iam::" + account + ":role/ops", StartedAt: at,
		Steps: []journal.Step{{ID: "s1", Action: journal.Deactivate, User: "ana", UserID: "AIDA", KeyID: "AKIAFAKE000000000001", KeyCreated: at.AddDate(-1, 0, 0), From: journal.Active}},
	}
	if err := b.db.Begin(b.t.Context(), r); err != nil {
		b.t.Fatal(err)
	}
	x := rotate.Rotation{
		ID: id("b"), State: rotate.Requested, Account: account, Partition: "aws", User: fmt.Sprint("user", i), UserID: fmt.Sprint("AIDA", i),
		ARN: "arn:aws:iam::" + account + ":user/x", Caller: r.Caller, Reason: "due", Terms: rotate.Terms{}.WithDefaults(),
		Old:       rotate.KeyRecord{ID: "AKIAFAKE000000000002", Active: true, Created: at.AddDate(-1, 0, 0)},
		StartedAt: at, ChangedAt: at, EnteredAt: at,
	}
	if err := b.db.Ledger(store.Origin{}).Begin(b.t.Context(), &x, rotate.Event{At: at, To: x.State}); err != nil {
		b.t.Fatal(err)
	}
}

// judge adds an account in which two verdicts fail, since an instant that may lie before what was there already.
func (b *book) judge(i int) {
	b.t.Helper()
	account := fact.Account{ID: fmt.Sprintf("%012d", 100000000000+uint64(i)*37000000001%900000000000), Partition: "aws"}
	o := &history.Observation{
		Account: account, At: storyTime.Add(time.Duration(i%5-2) * time.Minute), UsersRead: true, Complete: true,
		Has: func(string) bool { return true }, Terms: map[string]string{"key-age-90": "t"},
	}
	for _, user := range []string{"ana", "bo"} {
		k := &fact.Key{Slot: 1, Active: true, Created: fact.At(storyTime.AddDate(-1, 0, 0))}
		o.Verdicts = append(o.Verdicts, finding.Verdict{
			ID: finding.Fingerprint("key-age-90", account.ID, user, k, 0), Rule: "key-age-90", Kind: "key-age", Status: finding.Fail, Severity: finding.High,
			Account: account, User: user, Key: k, Message: "it is old",
		})
	}
	if _, err := b.db.Observe(b.t.Context(), o); err != nil {
		b.t.Fatal(err)
	}
}

// page asks for a page of a list, and gives what tells its rows apart.
func (b *book) page(list string, limit int, cursor *string) (rows []string, next *string) {
	b.t.Helper()
	b.p.now = b.p.now.Add(time.Second) // so that nobody is put off
	ctx := b.t.Context()
	var err error
	switch list {
	case "accounts":
		var r *webtest.ListAccountsResponse
		if r, err = b.api.ListAccountsWithResponse(ctx, &webtest.ListAccountsParams{Limit: &limit, Cursor: cursor}); err == nil && r.JSON200 != nil {
			for _, x := range r.JSON200.Rows {
				rows = append(rows, x.Id)
			}
			return rows, r.JSON200.Next
		}
	case "verdicts":
		var r *webtest.ListVerdictsResponse
		if r, err = b.api.ListVerdictsWithResponse(ctx, &webtest.ListVerdictsParams{Limit: &limit, Cursor: cursor}); err == nil && r.JSON200 != nil {
			for _, x := range r.JSON200.Rows {
				rows = append(rows, x.Id+" "+x.OpenedAt.Format(time.RFC3339Nano))
			}
			return rows, r.JSON200.Next
		}
	case "rotations":
		var r *webtest.ListRotationsResponse
		if r, err = b.api.ListRotationsWithResponse(ctx, &webtest.ListRotationsParams{Limit: &limit, Cursor: cursor}); err == nil && r.JSON200 != nil {
			for _, x := range r.JSON200.Rows {
				rows = append(rows, x.Rotation)
			}
			return rows, r.JSON200.Next
		}
	case "runs":
		var r *webtest.ListRunsResponse
		if r, err = b.api.ListRunsWithResponse(ctx, &webtest.ListRunsParams{Limit: &limit, Cursor: cursor}); err == nil && r.JSON200 != nil {
			for _, x := range r.JSON200.Rows {
				rows = append(rows, x.Run)
			}
			return rows, r.JSON200.Next
		}
	}
	b.t.Fatalf("a page of %s: %v, or no page", list, err)
	return nil, nil
}

// walk reads a list to its end, and calls between after each page but the last.
func (b *book) walk(list string, limit int, between func()) []string {
	b.t.Helper()
	var all []string
	var cursor *string
	for {
		rows, next := b.page(list, limit, cursor)
		if len(rows) > limit || next != nil && len(rows) != limit {
			b.t.Fatalf("%s by %d: a page of %d", list, limit, len(rows))
		}
		if all = append(all, rows...); next == nil {
			return all
		}
		cursor = next
		between()
	}
}

var lists = []string{"accounts", "verdicts", "rotations", "runs"}

func TestAPI_showsWhatTheDatabaseHolds(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		b := recorded(t, url)
		ctx := t.Context()
		accounts, err := b.db.Accounts(ctx, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := b.db.History(ctx, store.HistoryFilter{})
		if err != nil {
			t.Fatal(err)
		}
		rotations, err := b.db.Ledger(store.Origin{}).Rotations(ctx, store.RotationFilter{})
		if err != nil {
			t.Fatal(err)
		}
		runs, err := b.db.Runs(ctx, store.RunFilter{})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]string{}
		for i := range accounts {
			want["accounts"] = append(want["accounts"], accounts[i].Account.ID)
		}
		for i := range entries {
			want["verdicts"] = append(want["verdicts"], entries[i].ID+" "+entries[i].OpenedAt.Format(time.RFC3339Nano))
		}
		for i := range rotations {
			want["rotations"] = append(want["rotations"], rotations[i].ID)
		}
		for i := range runs {
			want["runs"] = append(want["runs"], runs[i].ID)
		}
		for _, list := range lists {
			if got := b.walk(list, 1000, nil); len(got) < 9 || !slices.Equal(got, want[list]) {
				t.Errorf("%s (-database +API):\n%s", list, cmp.Diff(want[list], got))
			}
		}

		// Each filter finds what it finds in the database.
		account, user, rule := "111122223333", "samir.patel", "key-never-used"
		open, closed := webtest.ListVerdictsParamsStatus("open"), webtest.ListVerdictsParamsStatus("closed")
		for _, p := range []webtest.ListVerdictsParams{{Account: &account}, {User: &user}, {Rule: &rule}, {Status: &open}, {Status: &closed}, {Account: &account, Rule: &rule, Status: &open}} {
			f := store.HistoryFilter{Open: p.Status == &open, Closed: p.Status == &closed}
			if p.Account != nil {
				f.Account = account
			}
			if p.User != nil {
				f.User = user
			}
			if p.Rule != nil {
				f.Rules = []string{rule}
			}
			held, err := b.db.History(ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			got, err := b.api.ListVerdictsWithResponse(ctx, &p)
			if err != nil || got.JSON200 == nil || len(got.JSON200.Rows) != min(len(held), 100) || len(held) == 0 && !f.Closed {
				t.Errorf("%+v: %v, %s, want %d", f, err, got.Body, len(held))
			}
		}
		other, requested, done, seventh := "444455556666", webtest.ListRotationsParamsStatus("requested"), webtest.ListRotationsParamsStatus("done"), "user7"
		for n, p := range map[int]webtest.ListRotationsParams{4: {Account: &other}, 1: {User: &seventh}, 9: {Status: &requested}, 0: {Status: &done}} {
			if got, err := b.api.ListRotationsWithResponse(ctx, &p); err != nil || got.JSON200 == nil || len(got.JSON200.Rows) != n {
				t.Errorf("rotations: %v, %s, want %d", err, got.Body, n)
			}
		}
		if got, err := b.api.ListRunsWithResponse(ctx, &webtest.ListRunsParams{Account: &other}); err != nil || got.JSON200 == nil || len(got.JSON200.Rows) != 8 { // rotations are runs too
			t.Errorf("runs of one account: %v, %s", err, got.Body)
		}
		one, err := b.api.ListAccountsWithResponse(ctx, &webtest.ListAccountsParams{Account: &account})
		if err != nil || one.JSON200 == nil || len(one.JSON200.Rows) != 1 {
			t.Fatalf("one account: %v, %s", err, one.Body)
		}
		held, _, err := b.db.AccountOf(ctx, account)
		if got := one.JSON200.Rows[0]; err != nil || got.Users != held.Users || got.Keys != held.Keys || got.ActiveKeys != held.ActiveKeys || got.Fail != held.Failing ||
			got.FailingKeys != held.FailingKeys || !got.JudgedAt.Equal(storyTime) || got.Fail == 0 {
			t.Errorf("account %+v, want %+v, %v", got, held, err)
		}

		// One thing by its whole id, and by no other.
		id := runs[len(runs)-1].ID
		run, err := b.api.GetRunWithResponse(ctx, id)
		if err != nil || run.JSON200 == nil || run.JSON200.Run != id || len(run.JSON200.Steps) != 1 || run.JSON200.Steps[0].Status != "planned" {
			t.Errorf("run %s: %v, %s", id, err, run.Body)
		}
		turn, err := b.api.GetRotationWithResponse(ctx, rotations[0].ID)
		if err != nil || turn.JSON200 == nil || turn.JSON200.Rotation != rotations[0].ID || turn.JSON200.OldKeyId != "AKIAFAKE000000000002" {
			t.Errorf("rotation: %v, %s", err, turn.Body)
		}
		for _, id := range []string{"none", id[:4], id[:len(id)-1], strings.ToLower(id), id + "0"} {
			run, err := b.api.GetRunWithResponse(ctx, id)
			turn, err2 := b.api.GetRotationWithResponse(ctx, strings.Replace(id, "-a", "-b", 1))
			if err := errors.Join(err, err2); err != nil || run.JSON404 == nil || turn.JSON404 == nil {
				t.Errorf("%s: %v, HTTP %d and %d, want 404", id, err, run.StatusCode(), turn.StatusCode())
			}
		}
		if turn, err := b.api.GetRotationWithResponse(ctx, id); err != nil || turn.JSON404 == nil {
			t.Errorf("a run is shown as a rotation: %v, %s", err, turn.Body)
		}
		ready, err := b.api.GetReadyWithResponse(ctx)
		if err != nil || ready.JSON200 == nil {
			t.Errorf("ready: %v, %s", err, ready.Body)
		}
	})
}

func TestAPI_pagesMeetEachRowOnceWhileRowsAreAdded(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		b := recorded(t, url)
		added := 100
		for _, limit := range []int{1, 4, 1000} {
			for _, list := range lists {
				begun := b.walk(list, 1000, nil)
				seen := map[string]int{}
				for _, row := range b.walk(list, limit, func() {
					if added++; added%4 == 0 {
						b.change(added)
						b.judge(added)
					}
				}) {
					seen[row]++
				}
				for _, row := range begun {
					if seen[row] != 1 {
						t.Errorf("%s by %d: %s was met %d times", list, limit, row, seen[row])
					}
				}
				for row, n := range seen {
					if n != 1 {
						t.Errorf("%s by %d: %s was met %d times", list, limit, row, n)
					}
				}
			}
		}
	})
}

// A database that is gone is a 503 that says nothing of it, and the process goes on.
func TestAPI_aDatabaseThatIsAwayIsA503(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		b := recorded(t, url)
		if err := b.db.Close(); err != nil {
			t.Fatal(err)
		}
		res, err := b.api.ListRunsWithResponse(t.Context(), nil)
		if err != nil || res.StatusCode() != http.StatusServiceUnavailable || strings.Contains(string(res.Body), "sql") {
			t.Errorf("%v, HTTP %d: %s", err, res.StatusCode(), res.Body)
		}
		health, err := b.api.GetHealthWithResponse(t.Context())
		if err != nil || health.JSON200 == nil {
			t.Errorf("health: %v, %s", err, health.Body)
		}
	})
}
