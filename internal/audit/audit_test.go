package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/credreport"
	"github.com/keyreeve/keyreeve/internal/credreport/synth"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/rule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const columns = "user,arn,user_creation_time,password_enabled,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date\n"

// line is a row of a report; key cells are active, last rotated, last used.
func line(account, user string, keys ...[3]string) string {
	arn := "arn:aws:iam::" + account + ":user/" + user
	if user == fact.RootName {
		arn = "arn:aws:iam::" + account + ":root"
	}
	for len(keys) < 2 {
		keys = append(keys, [3]string{"false", "N/A", "N/A"})
	}
	return fmt.Sprintf("%s,%s,2020-01-01T00:00:00Z,false,%s,%s\n", user, arn, strings.Join(keys[0][:], ","), strings.Join(keys[1][:], ","))
}

func key(ageDays int) [3]string {
	return [3]string{"true", judgedAt.AddDate(0, 0, -ageDays).Format(time.RFC3339), judgedAt.AddDate(0, 0, -1).Format(time.RFC3339)}
}

func file(path, content string) audit.File {
	return audit.File{Path: path, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
}

func options(t *testing.T) audit.Options {
	t.Helper()
	rs, err := rule.Builtin("default")
	must(t, err)
	return audit.Options{Ruleset: rs, AsOf: judgedAt}
}

func walk(a *finding.Audit) []string {
	var out []string
	for v := range a.Verdicts {
		made := ""
		if v.Key != nil {
			made = v.Key.Created.Time().Format(time.DateOnly)
		}
		out = append(out, strings.Join([]string{v.Account.ID, v.User, made, v.Rule}, " "))
	}
	return out
}

func TestFiles_ordersByAccountUserCreationRule(t *testing.T) {
	one := columns + line("222222222222", fact.RootName) + line("222222222222", "zoe", key(50), key(100)) + line("222222222222", "ana", key(31))
	two := columns + line("111111111111", fact.RootName, key(10)) + line("111111111111", "bob", key(31))
	result, err := audit.Files(t.Context(), []audit.File{file("one.csv", one), file("two.csv", two)}, options(t))
	must(t, err)
	want := []string{
		"111111111111 <root_account>  root-access-key", "111111111111 bob 2026-10-22 key-age-30",
		"222222222222 ana 2026-10-22 key-age-30", "222222222222 zoe  multiple-active-keys",
		"222222222222 zoe 2026-08-14 key-age-30", "222222222222 zoe 2026-08-14 key-age-45", "222222222222 zoe 2026-08-14 key-age-90",
		"222222222222 zoe 2026-10-03 key-age-30", "222222222222 zoe 2026-10-03 key-age-45",
	}
	if got := walk(result); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if again := walk(result); !slices.Equal(again, want) {
		t.Error("the verdicts cannot be walked twice")
	}
	if !result.Complete {
		t.Error("nothing is missing, yet the audit is incomplete")
	}
}

func TestFiles_countsTheSameWhetherVerdictsAreKeptOrNot(t *testing.T) {
	report := columns + line("111111111111", fact.RootName) + line("111111111111", "ana", key(31), key(200)) + line("111111111111", "bob")
	kept, err := audit.Files(t.Context(), []audit.File{file("r.csv", report)}, options(t))
	must(t, err)
	counting := options(t)
	counting.CountOnly = true
	counted, err := audit.Files(t.Context(), []audit.File{file("r.csv", report)}, counting)
	must(t, err)
	if !slices.Equal(kept.Summary, counted.Summary) || len(walk(counted)) != 0 || len(walk(kept)) != kept.Totals().Fail {
		t.Errorf("kept %+v\ncounted %+v", kept.Summary, counted.Summary)
	}
	if a := kept.Accounts[0]; a.Users != 2 || a.Keys != 2 || a.ActiveKeys != 2 || a.Ages[1].Keys != 1 || a.Ages[4].Keys != 1 {
		t.Errorf("account: %+v", a)
	}
}

func TestFiles_refusesTwoReportsOfOneAccount(t *testing.T) {
	r := columns + line("111111111111", "ana")
	_, err := audit.Files(t.Context(), []audit.File{file("a.csv", r), file("b.csv", r)}, options(t))
	var input *audit.InputError
	if !errors.As(err, &input) || !strings.Contains(err.Error(), `"a.csv" and "b.csv" are both reports of account 111111111111`) {
		t.Errorf("error: %v", err)
	}
}

func TestFiles_aBrokenReportEndsInAnErrorNotInAShorterAccount(t *testing.T) {
	good := columns + line("111111111111", "ana")
	cut := columns + line("222222222222", "bob")
	_, err := audit.Files(t.Context(), []audit.File{file("good.csv", good), file("cut.csv", cut[:len(cut)-20])}, options(t))
	var bad *credreport.Error
	if !errors.As(err, &bad) || bad.File != "cut.csv" {
		t.Errorf("error: %v", err)
	}
}

func TestFiles_anAccountWithoutUsersIsJudgedByItsRootRowAndNoted(t *testing.T) {
	for name, c := range map[string]struct {
		report string
		fails  int
	}{
		"header only": {columns, 0}, "root": {columns + line("111111111111", fact.RootName), 0}, "root with a key": {columns + line("111111111111", fact.RootName, key(1)), 1},
	} {
		result, err := audit.Files(t.Context(), []audit.File{file("r.csv", c.report)}, options(t))
		must(t, err)
		if result.Totals().Fail != c.fails || !result.Complete || len(result.Notes) == 0 {
			t.Errorf("%s: totals %+v, complete %v, notes %q", name, result.Totals(), result.Complete, result.Notes)
		}
	}
}

func TestFiles_saysOnceWhatAReportCannotAnswer(t *testing.T) {
	a, b := columns+line("111111111111", fact.RootName)+line("111111111111", "ana"), columns+line("222222222222", fact.RootName)+line("222222222222", "ana")
	result, err := audit.Files(t.Context(), []audit.File{file("a", a), file("b", b)}, options(t))
	must(t, err)
	if len(result.NotJudged) != 1 || result.NotJudged[0].Rule != "exposed-key" {
		t.Errorf("not judged: %+v", result.NotJudged)
	}
	for _, row := range result.Summary {
		if row.Rule == "exposed-key" {
			t.Error("the summary counts a rule that was not judged")
		}
	}
	only := options(t)
	only.Ruleset, err = rule.Select(only.Ruleset, []string{"exposed-key"})
	must(t, err)
	var input *audit.InputError
	if _, err := audit.Files(t.Context(), []audit.File{file("a", a)}, only); !errors.As(err, &input) {
		t.Errorf("nothing could be judged, and the error is %v", err)
	}
}

func TestFiles_aContradictoryKeyIsUnknownAndMakesTheAuditIncomplete(t *testing.T) {
	report := columns + line("111111111111", fact.RootName) + line("111111111111", "ana", [3]string{"true", "N/A", judgedAt.AddDate(0, 0, -100).Format(time.RFC3339)})
	result, err := audit.Files(t.Context(), []audit.File{file("r", report)}, options(t))
	must(t, err)
	got := map[string]finding.Status{}
	for v := range result.Verdicts {
		got[v.Rule] = v.Status
	}
	if got["key-age-90"] != finding.Unknown || got["key-unused-90"] != finding.Fail || result.Complete {
		t.Errorf("verdicts %v, complete %v", got, result.Complete)
	}
}

func TestFiles_listsWhatFallsDueSoonestFirst(t *testing.T) {
	opt := options(t)
	opt.DueWithin = 14 * rule.Day
	report := columns + line("111111111111", fact.RootName) + line("111111111111", "ana", key(89)) + line("111111111111", "bob", key(20)) + line("111111111111", "cyd", key(1))
	for _, countOnly := range []bool{false, true} {
		opt.CountOnly = countOnly
		result, err := audit.Files(t.Context(), []audit.File{file("r", report)}, opt)
		must(t, err)
		var got []string
		for _, v := range result.Due {
			got = append(got, v.User+" "+v.Rule+" "+v.Due.String())
		}
		if want := []string{"ana key-age-90 2026-11-23T09:30:00Z", "bob key-age-30 2026-12-02T09:30:00Z"}; !slices.Equal(got, want) {
			t.Errorf("due: %q, want %q", got, want)
		}
	}
}

func TestFiles_weighsTheAgeOfTheEvidence(t *testing.T) {
	csv := columns + line("111111111111", fact.RootName) + line("111111111111", "ana", key(10)) // its newest date is one day old
	for name, c := range map[string]struct {
		asOf     time.Time
		limit    time.Duration
		complete bool
		note     string // empty: none
	}{
		"no limit":                              {judgedAt, 0, true, ""},
		"the newest date shows it fresh enough": {judgedAt, 25 * time.Hour, true, ""},
		"nothing shows it fresh enough":         {judgedAt, 23 * time.Hour, false, ""},
		"judged as of before its dates":         {judgedAt.AddDate(0, 0, -5), 0, true, "holds dates after"},
	} {
		opt := options(t)
		opt.AsOf, opt.MaxEvidenceAge = c.asOf, c.limit
		result, err := audit.Files(t.Context(), []audit.File{file("r", csv)}, opt)
		must(t, err)
		if result.Complete != c.complete || !strings.Contains(strings.Join(result.Notes, "\n"), c.note) || c.note == "" && len(result.Notes) > 0 {
			t.Errorf("%s: complete %v, notes %q, gaps %v", name, result.Complete, result.Notes, result.Accounts[0].Gaps)
		}
	}
}

func TestFiles_scoresTheControlsOfAFramework(t *testing.T) {
	opt := options(t)
	f, err := rule.FindFramework("cis-5.0")
	must(t, err)
	opt.Framework, opt.Ruleset = f.Name, rule.WithFramework(opt.Ruleset, f)
	report := columns + line("111111111111", fact.RootName) + line("111111111111", "ana", key(100))
	result, err := audit.Files(t.Context(), []audit.File{file("r", report)}, opt)
	must(t, err)
	got := map[string]finding.Status{}
	var order []string
	for _, row := range result.Scoreboard.Rows {
		got[row.Control] = row.Status()
		order = append(order, row.Control)
	}
	if got["1.13"] != finding.Fail || got["1.3"] != finding.Pass || got["1.11"] != finding.Pass || got["1.12"] != finding.Pass {
		t.Errorf("scoreboard: %+v", result.Scoreboard.Rows)
	}
	if !slices.IsSortedFunc(order, func(a, b string) int { return len(a) - len(b) }) {
		t.Errorf("controls out of order: %v", order)
	}
}

func cloudReader(t *testing.T, cloud *fakeaws.Cloud) audit.Reader {
	t.Helper()
	s, err := cloud.Start()
	must(t, err)
	t.Cleanup(s.Close)
	return readerOf(t, s.URL, cloud.Accounts()[0].Credential())
}

func liveOptions(cloud *fakeaws.Cloud, evidence fact.Source, confirm bool) audit.LiveOptions {
	how := audit.LiveOptions{Evidence: evidence, Confirm: confirm}
	how.Now = cloud.Now
	return how
}

// stamped is an account with a thousand users, each of whom holds a key of the given age.
func stamped(t *testing.T, users, failing int) *fakeaws.Cloud {
	t.Helper()
	cloud := fakeaws.New(judgedAt)
	acc := cloud.AddAccount(fact.Account{ID: "111122223333"})
	for i := range users {
		age := 5
		if i < failing {
			age = 100
		}
		made := judgedAt.AddDate(0, 0, -age)
		must(t, acc.AddUser(fakeaws.User{Name: fmt.Sprintf("user-%04d", i), Created: made.AddDate(0, 0, -9), Keys: []fakeaws.Key{{Created: made, LastUsed: judgedAt.Add(-time.Hour)}}}))
	}
	return cloud
}

func TestLive_costsNineCallsAndOneForEachFailingUser(t *testing.T) {
	const users, failing = 1000, 37
	for _, c := range []struct {
		confirm bool
		most    int
	}{{true, 9 + failing}, {false, 9}} {
		cloud := stamped(t, users, failing)
		result, err := audit.Live(t.Context(), cloudReader(t, cloud), liveOptions(cloud, fact.Report, c.confirm), options(t))
		must(t, err)
		if n := len(cloud.Calls()); n > c.most {
			t.Errorf("confirm %v: %d calls for %d users, at most %d", c.confirm, n, users, c.most)
		} else {
			t.Logf("confirm %v: %d calls", c.confirm, n)
		}
		named := 0
		for v := range result.Verdicts {
			if v.Key != nil && v.Key.ID != "" {
				named++
			}
		}
		if c.confirm != (named == 3*failing) || !c.confirm && named != 0 {
			t.Errorf("confirm %v: %d verdicts name their key", c.confirm, named)
		}
	}
}

func TestLive_confirmDropsWhatIsFixedOrGoneSinceTheReport(t *testing.T) {
	cloud := stamped(t, 4, 4)
	acc := cloud.Accounts()[0]
	r := cloudReader(t, cloud)
	_, _, err := r.Report(t.Context()) // AWS keeps giving this one out for four hours
	must(t, err)
	cloud.SetNow(judgedAt.Add(time.Hour))
	users := acc.Users()
	must(t, acc.SetActive("user-0000", users[0].Keys[0].ID, false))
	must(t, acc.DeleteKey("user-0001", users[1].Keys[0].ID))
	must(t, acc.DeleteUser("user-0002"))

	stale, err := audit.Live(t.Context(), r, liveOptions(cloud, fact.Report, false), options(t))
	must(t, err)
	fresh, err := audit.Live(t.Context(), r, liveOptions(cloud, fact.Report, true), options(t))
	must(t, err)
	failing := func(a *finding.Audit) (out []string) {
		for v := range a.Verdicts {
			if v.Rule == "key-age-90" && v.Status == finding.Fail {
				out = append(out, v.User)
			}
		}
		return out
	}
	if got := failing(stale); len(got) != 4 {
		t.Errorf("unconfirmed: %v", got)
	}
	if got := failing(fresh); !slices.Equal(got, []string{"user-0003"}) {
		t.Errorf("confirmed: %v", got)
	}
	if !strings.Contains(strings.Join(fresh.Notes, "\n"), `"user-0002"`) {
		t.Errorf("the user that is gone is not told: %q", fresh.Notes)
	}
	if !fresh.Complete {
		t.Errorf("incomplete: %v", fresh.Accounts[0].Gaps)
	}
}

func TestLive_anExceptionForAKeyIsMatchedOnceTheKeyIsKnown(t *testing.T) {
	cloud := stamped(t, 2, 2)
	id := cloud.Accounts()[0].Users()[0].Keys[0].ID
	opt := options(t)
	var err error
	opt.Exceptions, err = rule.ParseExceptions("x.yaml", []byte("exceptions:\n- {rule: '*', user: user-0000, key: "+id+", reason: r, owner: o, expires: 2027-01-01}\n"), judgedAt, judgedAt)
	must(t, err)
	result, err := audit.Live(t.Context(), cloudReader(t, cloud), liveOptions(cloud, fact.Report, true), opt)
	must(t, err)
	if n := result.Totals(); n.Excepted != 3 || n.Fail != 3 {
		t.Errorf("totals: %+v", n)
	}
	if len(result.Exceptions) != 0 {
		t.Errorf("notices: %+v", result.Exceptions)
	}
}

func TestLive_anUnreadableReportIsUnknownForEveryRuleAndNeverClean(t *testing.T) {
	cloud := stamped(t, 3, 0)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:GetCredentialReport"})
	result, err := audit.Live(t.Context(), cloudReader(t, cloud), liveOptions(cloud, fact.Report, true), options(t))
	must(t, err)
	for _, row := range result.Summary {
		if row.Rule != "root-access-key" && (row.Unknown != 1 || row.Pass != 0) {
			t.Errorf("%s: %+v", row.Rule, row)
		}
	}
	gaps := result.Accounts[0].Gaps
	if result.Complete || len(gaps) != 1 || !gaps[0].Denied || !strings.Contains(gaps[0].Why, "iam:GetCredentialReport") {
		t.Errorf("complete %v, gaps %+v", result.Complete, gaps)
	}
}

func TestLive_staleEvidenceIsIncompleteAboveTheLimit(t *testing.T) {
	cloud := stamped(t, 1, 0)
	r := cloudReader(t, cloud)
	_, _, err := r.Report(t.Context())
	must(t, err)
	cloud.SetNow(judgedAt.Add(3 * time.Hour))
	opt := options(t)
	opt.AsOf = cloud.Now()
	for limit, complete := range map[time.Duration]bool{0: true, 3 * time.Hour: true, 3*time.Hour - time.Second: false} {
		opt.MaxEvidenceAge = limit
		result, err := audit.Live(t.Context(), r, liveOptions(cloud, fact.Report, false), opt)
		must(t, err)
		if result.Complete != complete {
			t.Errorf("evidence of 3 h, limit %v: complete %v", limit, result.Complete)
		}
	}
}

func TestLive_stopsWithinTheCallUnderWay(t *testing.T) {
	cloud := stamped(t, 50, 50)
	r := cloudReader(t, cloud)
	arrived, release := cloud.Hold("iam:ListAccessKeys")
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if _, err := audit.Live(ctx, r, liveOptions(cloud, fact.Report, true), options(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
}

func TestFiles_aDateAfterNowDoesNotShowThatEvidenceIsFresh(t *testing.T) {
	opt := options(t)
	opt.MaxEvidenceAge = 24 * time.Hour
	future := [3]string{"true", "2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"}
	result, err := audit.Files(t.Context(), []audit.File{file("r", columns+line("111111111111", fact.RootName)+line("111111111111", "ana", future))}, opt)
	must(t, err)
	if result.Complete {
		t.Error("evidence of unknown age is called fresh")
	}
}

func TestFiles_namesEveryAccountWithoutARowForRoot(t *testing.T) {
	files := []audit.File{file("a", columns+line("111111111111", "ana")), file("b", columns+line("222222222222", "bob"))}
	result, err := audit.Files(t.Context(), files, options(t))
	must(t, err)
	last := result.NotJudged[len(result.NotJudged)-1]
	if last.Rule != "root-access-key" || !strings.Contains(last.Why, "111111111111") || !strings.Contains(last.Why, "222222222222") {
		t.Errorf("not judged: %+v", result.NotJudged)
	}
}

func TestFiles_aScoreboardListsTheControlsThatNothingWasJudgedFor(t *testing.T) {
	f, err := rule.FindFramework("cis-5.0")
	must(t, err)
	seven, err := rule.Builtin("cis-7.0")
	must(t, err)
	opt := audit.Options{Ruleset: rule.WithFramework(seven, f), Framework: f.Name, AsOf: judgedAt}
	result, err := audit.Files(t.Context(), []audit.File{file("r", columns+line("111111111111", fact.RootName)+line("111111111111", "ana", key(1)))}, opt)
	must(t, err)
	for _, row := range result.Scoreboard.Rows {
		if row.Control == "1.12" { // one active key: CIS 7.0 has no such rule
			if row.Status() != finding.Unknown || len(row.Rules) != 0 {
				t.Errorf("1.12: %+v", row)
			}
			return
		}
	}
	t.Errorf("1.12 is left out: %+v", result.Scoreboard.Rows)
}

// What is kept of a batch must be copied before its memory is used again: with a shuffled report of many chunks, every
// verdict is the one that a reading without reuse gives.
func TestFiles_keepsNothingOfMemoryThatIsUsedAgain(t *testing.T) {
	var report bytes.Buffer
	must(t, synth.Write(&report, synth.Options{Users: 20_000, Seed: 3, AsOf: judgedAt, Account: "111122223333", Shuffle: true}))
	opt := options(t)
	judge := rule.NewJudge(opt.Ruleset, nil, fact.At(judgedAt))
	var mu sync.Mutex
	want := map[string]string{}
	_, err := credreport.Read(t.Context(), bytes.NewReader(report.Bytes()), credreport.Options{}, func(b credreport.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range b.Users {
			u := &b.Users[i]
			for _, g := range judge.User(&b.Account, fact.ReportFile, u, nil) {
				if v := judge.Verdict(&b.Account, u, &g); v.Status == finding.Fail {
					want[v.ID] = spell(&v)
				}
			}
		}
		return nil
	})
	must(t, err)
	result, err := audit.Files(t.Context(), []audit.File{file("r", report.String())}, opt)
	must(t, err)
	n := 0
	for v := range result.Verdicts {
		n++
		if want[v.ID] != spell(v) {
			t.Fatalf("got  %s\nwant %s", spell(v), want[v.ID])
		}
	}
	if n != len(want) || n < 10_000 {
		t.Errorf("%d verdicts, want %d", n, len(want))
	}
}

func spell(v *finding.Verdict) string {
	out := fmt.Sprint(v.Rule, v.Account.ID, v.User, v.UserARN, v.Message)
	if v.Key != nil {
		out += fmt.Sprintf("%+v", *v.Key)
	}
	return out
}

// A clock that runs: the instant judged at is the end of the reading, so nothing that was read is of the future.
func TestLive_judgesAtTheEndOfTheReading(t *testing.T) {
	for _, evidence := range []fact.Source{fact.Report, fact.Live} {
		cloud := stamped(t, 3, 1)
		opt := options(t)
		opt.AsOf = time.Time{}
		how := liveOptions(cloud, evidence, true)
		now := judgedAt
		how.Now = func() time.Time { now = now.Add(2 * time.Second); return now }
		result, err := audit.Live(t.Context(), cloudReader(t, cloud), how, opt)
		must(t, err)
		if len(result.Notes) > 0 || !result.AsOf.After(judgedAt) {
			t.Errorf("%s: as of %v, notes %q", evidence, result.AsOf, result.Notes)
		}
	}
}

func TestLive_asksOnceForRoot(t *testing.T) {
	cloud := stamped(t, 1, 0)
	cloud.Accounts()[0].SetRootKeys(fakeaws.Key{Created: judgedAt.AddDate(-1, 0, 0)})
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:GetAccountSummary"})
	result, err := audit.Live(t.Context(), cloudReader(t, cloud), liveOptions(cloud, fact.Live, true), options(t))
	must(t, err)
	if n := len(result.Accounts[0].Gaps); n != 1 {
		t.Errorf("gaps: %+v", result.Accounts[0].Gaps)
	}
}

func TestFiles_evidenceOfAKeyIsNeverDroppedForAMissingDate(t *testing.T) {
	for name, cells := range map[string][3]string{
		"a date that is not known": {"false", "no_information", "N/A"}, "a use": {"false", "N/A", "2026-01-01T00:00:00Z"}, "active": {"true", "N/A", "N/A"},
	} {
		report := columns + line("111111111111", fact.RootName, cells) + line("111111111111", "ana")
		result, err := audit.Files(t.Context(), []audit.File{file("r", report)}, options(t))
		must(t, err)
		if got := walk(result); len(got) != 1 || !strings.HasSuffix(got[0], "root-access-key") || result.Accounts[0].Keys != 1 {
			t.Errorf("%s: %q, %d keys", name, got, result.Accounts[0].Keys)
		}
	}
}
