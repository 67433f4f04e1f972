package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

func census(t testing.TB, d *store.DB) store.Census {
	t.Helper()
	c, err := d.Census(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func countsAll(t *testing.T, d *store.DB) {
	if diff := cmp.Diff(store.Census{}, census(t, d), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("an empty store (-want +got):\n%s", diff)
	}
	const second, third, gone = "222233334444", "333344445555", "999988887777"
	first := judged(Account, 0, "ana", "bob")
	first.Evidence = fact.Evidence{Source: fact.Live, ReadAt: fact.At(start)}
	first.Gaps = []fact.Gap{{Account: Account, Reading: "iam:ListUserTags"}, {Account: Account, Reading: "iam:GetUser"}}
	observe(t, d, first)
	two := judged(second, 1, "ana")
	two.Verdicts[0].Severity = finding.Critical
	observe(t, d, two)
	unread := judged(second, 2)
	unread.UsersRead, unread.Complete, unread.Users, unread.Ages = false, false, 0, nil
	observe(t, d, unread)
	never := judged(third, 1)
	never.UsersRead, never.Complete = false, false
	observe(t, d, never)
	observe(t, d, judged(gone, 1, "ana"))
	if _, err := d.Leave(t.Context(), Organization, []string{Account, second, third}, start.Add(5*time.Hour)); err != nil {
		t.Fatal(err)
	}

	l := ledgerOf(d)
	for i := range 3 {
		r := rotating(fmt.Sprint("rot-", i), fmt.Sprint("u", i), i)
		beginRotation(t, l, &r)
		if i > 0 {
			move(t, l, &r, rotate.BackingOut, rotate.Cancel)
		}
	}
	o := d.Outbox()
	for i, state := range []notice.State{"", notice.Failed, notice.Sent, notice.GivenUp, notice.GivenUp} {
		id := fmt.Sprint("n", i)
		if err := o.Add(t.Context(), []notice.Entry{{ID: id, Channel: []string{"team", "mail"}[i/4], Body: []byte("x"), AddedAt: start, NextTry: start}}); err != nil {
			t.Fatal(err)
		}
		if state != "" {
			a := notice.Attempt{At: start, State: state}
			if state == notice.Failed {
				a.NextTry = start.Add(time.Hour)
			}
			if err := o.Mark(t.Context(), id, a); err != nil {
				t.Fatal(err)
			}
		}
	}

	none := history.Bands(nil)
	want := store.Census{
		Accounts: []store.AccountCount{
			{
				ID: Account, JudgedAt: first.At, Source: fact.Live, MadeAt: fact.At(start), Complete: true, Gaps: 2, Users: 10, Keys: 12, ActiveKeys: 9,
				Ages: history.Bands(first.Ages), Failing: map[finding.Severity]int{finding.High: 2},
			},
			{
				ID: second, JudgedAt: unread.At, Source: two.Evidence.Source, MadeAt: two.Evidence.MadeAt(), UnreadSince: unread.At, Users: 10, Keys: 12, ActiveKeys: 9,
				Ages: history.Bands(two.Ages), Failing: map[finding.Severity]int{finding.Critical: 1},
			},
			{ID: third, JudgedAt: never.At, UnreadSince: never.At, Ages: none},
		},
		Gone:      1,
		Rules:     []store.RuleCount{{Rule: "key-age-90", Severity: finding.Critical, Open: 1}, {Rule: "key-age-90", Severity: finding.High, Open: 2}},
		Rotations: map[rotate.State]int{rotate.Requested: 1, rotate.BackingOut: 2},
		Notices:   []store.NoticeCount{{Channel: "mail", GivenUp: 1}, {Channel: "team", Waiting: 2, GivenUp: 1}},
	}
	if diff := cmp.Diff(want, census(t, d), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b fact.Time) bool { return a == b })); diff != "" {
		t.Errorf("census (-want +got):\n%s", diff)
	}
}
