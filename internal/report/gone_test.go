package report_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/report"
)

func TestDiff_callsFixedOnlyWhatTheLaterAuditJudged(t *testing.T) {
	key := &fact.Key{Slot: 1, Active: true, Created: daysAgo(100), LastUsed: fact.Use{At: fact.Never()}}
	fail := func(user, rule string, k *fact.Key) finding.Verdict {
		return verdict(prod, user, k, rule, rule, finding.High, finding.Fail, fact.Time{}, "fails", nil)
	}
	root, age := fail(fact.RootName, "root-access-key", nil), fail("ana", "key-age-90", key)
	rows := func(rules ...string) (out []finding.RuleResult) {
		for _, r := range rules {
			out = append(out, finding.RuleResult{Rule: r, Severity: finding.High})
		}
		return out
	}
	audit := func() *finding.Audit {
		return &finding.Audit{
			AsOf: asOf, Complete: true, Verdicts: each(nil), Accounts: []finding.AccountResult{{Account: prod}},
			Summary: rows("root-access-key", "key-age-90"),
		}
	}
	now := func(v finding.Verdict, st finding.Status) []finding.Verdict {
		v.Status = st
		return []finding.Verdict{v}
	}
	unread := fail("ana", "key-age-90", nil)
	unread.Status = finding.Unknown
	users := fail("", "key-age-90", nil)
	users.Status = finding.Unknown
	for name, c := range map[string]struct {
		was      finding.Verdict
		later    func(a *finding.Audit)
		is       []finding.Verdict
		outcome  string
		headline string
	}{
		"passes":                     {age, nil, now(age, finding.Pass), "fixed", "0 new, 1 fixed, 0 still failing."},
		"is gone, all read":          {age, nil, nil, "fixed", "0 new, 1 fixed, 0 still failing."},
		"is unknown":                 {age, nil, now(age, finding.Unknown), "unknown", "0 fixed, 1 unknown now,"},
		"is excepted":                {age, nil, now(age, finding.Excepted), "excepted", "0 fixed, 1 excepted now,"},
		"keys of the user unread":    {age, nil, []finding.Verdict{unread}, "unknown", "0 fixed, 1 unknown now,"},
		"users of the account":       {age, nil, []finding.Verdict{users}, "unknown", "0 fixed, 1 unknown now,"},
		"a gap":                      {age, func(a *finding.Audit) { a.Accounts[0].Gaps = make([]fact.Gap, 1) }, nil, "unknown", "0 fixed, 1 unknown now,"},
		"no such account":            {age, func(a *finding.Audit) { a.Accounts = nil }, nil, "not-judged", "0 fixed, 1 not judged now,"},
		"rule not judged":            {age, func(a *finding.Audit) { a.Summary = rows("root-access-key") }, nil, "not-judged", "0 fixed, 1 not judged now,"},
		"root of complete evidence":  {root, nil, nil, "fixed", "0 new, 1 fixed, 0 still failing."},
		"no root row in one account": {root, rootless(2), nil, "not-judged", "0 fixed, 1 not judged now,"},
		"no root row":                {root, rootless(1), nil, "not-judged", "0 fixed, 1 not judged now,"},
	} {
		after := audit()
		after.Verdicts = each(c.is)
		if c.later != nil {
			c.later(after)
		}
		d := finding.Diff([]finding.Verdict{c.was}, c.is)
		var text, js bytes.Buffer
		if err := report.WriteDiff(&text, report.Text, d, audit(), after, report.Options{Width: 200}); err != nil {
			t.Fatal(err)
		}
		if err := report.WriteDiff(&js, report.JSON, d, audit(), after, report.Options{}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), c.headline) || strings.Contains(text.String(), "Fixed: 1") != (c.outcome == "fixed") {
			t.Errorf("%s: want %q in:\n%s", name, c.headline, text.String())
		}
		var doc struct {
			Gone   []struct{ Outcome, Why string }
			Counts map[string]int
		}
		parse(t, js.String(), &doc)
		if g := doc.Gone[0]; g.Outcome != c.outcome || g.Why == "" || doc.Counts[strings.ReplaceAll(c.outcome, "-", "_")] != 1 {
			t.Errorf("%s: %+v, counts %v; want %s", name, g, doc.Counts, c.outcome)
		}
	}
}

// rootless makes an audit of n accounts, one of whose reports had no row for root.
func rootless(n int) func(*finding.Audit) {
	return func(a *finding.Audit) {
		for range n - 1 {
			a.Accounts = append(a.Accounts, finding.AccountResult{Account: china})
		}
		a.NotJudged = []finding.NotJudged{{Rule: "root-access-key", Why: "no row for root in the report of account 111122223333"}}
	}
}

func TestMask_findsEveryKeyIDInsideAnyText(t *testing.T) {
	for in, want := range map[string]string{
		"AKIAIOSFODNN7EXAMPLE":                       "AKIA****MPLE",
		"key_ASIAIOSFODNN7EXAMPLE.csv":               "key_ASIA****MPLE.csv",
		`"AKIAIOSFODNN7EXAMPLE", XAKIAIOSFODNN7EXAM`: `"AKIA****MPLE", XAKIA****EXAM`,
		"oldAKIAIOSFODNN7EXAMPLEold":                 "oldAKIA****MPLEold",
		"AKIA****MPLE":                               "AKIA****MPLE",
		"AKIA is a prefix":                           "AKIA is a prefix",
		"":                                           "",
	} {
		if got := report.Mask(in); got != want {
			t.Errorf("Mask(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMask_reachesEveryTextOfAnAudit(t *testing.T) {
	const id = "AKIAIOSFODNN7EXAMPLE"
	a := fixture()
	vs := fixtureVerdicts()
	for i := range vs {
		v := &vs[i]
		v.Message, v.User, v.UserARN, v.Account.Name = v.Message+id, v.User+"_"+id, v.UserARN+"_"+id, id
		v.Facts = map[string]any{"text": id, "list": []string{id}, "deep": []any{id, map[string]any{id: id}}}
		if v.Exception != nil {
			v.Exception.User, v.Exception.Owner, v.Exception.Origin = id, id, id
		}
	}
	a.Verdicts, a.Due, a.Ruleset = each(vs), vs[:1], id
	acc := &a.Accounts[0]
	acc.Account.Name, acc.Evidence.Path = id, "reports/"+id+".csv"
	acc.Gaps = []fact.Gap{{Reading: "ListAccessKeys", Subject: id, Why: "of " + id}}
	a.NotJudged[0].Why += id
	e := &a.Exceptions[0].Exception
	e.User, e.Owner, e.Origin, e.Reason, e.Tag = id, id, id, id, map[string]string{id: id}
	a.Notes = append(a.Notes, id)
	o := options()
	o.MaskKeys = true
	for _, f := range report.Formats() {
		if out := render(t, f, a, o); strings.Contains(out, id) {
			i := strings.Index(out, id)
			t.Errorf("%s shows a key id: ...%s...", f, out[max(0, i-80):i+20])
		}
	}
}
