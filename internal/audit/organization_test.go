package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// company is an organisation of n accounts, each with two users of whom one has an old key.
func company(t *testing.T, n int) *fakeaws.Cloud {
	t.Helper()
	cloud := fakeaws.New(judgedAt)
	for i := range n {
		acc := cloud.AddAccount(fact.Account{ID: fmt.Sprintf("1111%08d", i)})
		old := judgedAt.AddDate(-1, 0, -i)
		must(t, acc.AddUser(fakeaws.User{Name: "ci", Created: old, Keys: []fakeaws.Key{{Created: old.AddDate(0, 0, 1), LastUsed: judgedAt.Add(-time.Hour)}}}))
		must(t, acc.AddUser(fakeaws.User{Name: "new", Created: old, Keys: []fakeaws.Key{{Created: judgedAt.AddDate(0, 0, -3), LastUsed: judgedAt.Add(-time.Hour)}}}))
	}
	return cloud
}

// members are the accounts of the cloud, in units by turns.
func members(t *testing.T, cloud *fakeaws.Cloud) []audit.Member {
	t.Helper()
	server, err := cloud.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	var out []audit.Member
	for i, acc := range cloud.Accounts() {
		a := fact.Account{ID: acc.ID(), Partition: "aws", Name: fmt.Sprintf("team %d", i), OU: []string{"Root/Workloads/Prod", "Root/Workloads", "Root/Sandbox"}[i%3]}
		out = append(out, audit.Member{Account: a, Open: func(ctx context.Context) (audit.Reader, func(), error) {
			r, err := awsiam.Open(ctx, awsiam.Settings{
				EndpointURL: server.URL, Region: "us-east-1", Credentials: &awsiam.Credentials{ID: acc.Credential(), Secret: fact.NewSecret("none")},
				BackoffCap: time.Millisecond, MaxAttempts: 2,
			})
			if err != nil {
				return nil, nil, err
			}
			return r, r.Close, nil
		}})
	}
	return out
}

func organized(cloud *fakeaws.Cloud) audit.OrganizationOptions {
	return audit.OrganizationOptions{LiveOptions: liveOptions(cloud, fact.Report, true), Accounts: 7}
}

func TestOrganization_findsWhatEachAccountFindsAlone(t *testing.T) {
	cloud := company(t, 12)
	ms := members(t, cloud)
	opt := options(t)
	opt.AsOf = judgedAt
	all, err := audit.Organization(t.Context(), ms, organized(cloud), opt)
	if err != nil {
		t.Fatal(err)
	}
	var alone []string
	fails := 0
	for _, m := range ms {
		r, done, err := m.Open(t.Context())
		must(t, err)
		one, err := audit.Live(t.Context(), r, liveOptions(cloud, fact.Report, true), opt)
		must(t, err)
		done()
		alone = append(alone, walk(one)...)
		fails += one.Totals().Fail
	}
	if diff := cmp.Diff(alone, walk(all)); diff != "" {
		t.Errorf("-one by one +organisation:\n%s", diff)
	}
	if !all.Complete || all.Totals().Fail != fails || fails == 0 || len(all.Notes) > 0 {
		t.Errorf("complete %v, %d fail, want %d; notes %q", all.Complete, all.Totals().Fail, fails, all.Notes)
	}
	sum := 0
	for i := range all.Accounts {
		if a := all.Accounts[i]; !cmp.Equal(a.Account, ms[i].Account) {
			t.Errorf("account %+v, want %+v", a.Account, ms[i].Account)
		}
		sum += all.Accounts[i].Counts.Fail
	}
	if sum != fails {
		t.Errorf("the accounts' counts add up to %d, want %d", sum, fails)
	}
	var units []string
	for _, u := range all.Units {
		units = append(units, fmt.Sprintf("%s %d %d %d", u.Path, u.Accounts, u.Users, u.Counts.Fail*12/fails))
	}
	if want := []string{"Root 12 24 12", "Root/Sandbox 4 8 4", "Root/Workloads 8 16 8", "Root/Workloads/Prod 4 8 4"}; !cmp.Equal(units, want) {
		t.Errorf("units %q, want %q", units, want)
	}
}

func TestOrganization_anAccountThatCannotBeReadIsAGapAndUnknown(t *testing.T) {
	cloud := company(t, 5)
	ms := members(t, cloud)
	ms[1].Open = func(context.Context) (audit.Reader, func(), error) {
		return nil, nil, fmt.Errorf("assume role keyreeve-audit: %w", fact.ErrDenied)
	}
	ms[3].Account.ID = "999999999999" // the credentials lead elsewhere
	how := organized(cloud)
	var mu sync.Mutex
	var told []int
	how.Progress = func(_ string, done, of int) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, done*10+of)
	}
	a, err := audit.Organization(t.Context(), ms, how, options(t))
	if err != nil {
		t.Fatal(err)
	}
	if a.Complete || len(a.Accounts) != 5 {
		t.Fatalf("complete %v, %d accounts", a.Complete, len(a.Accounts))
	}
	for _, r := range a.Accounts {
		why := ""
		for _, g := range r.Gaps {
			why += fmt.Sprintf("%s: %s (denied %v)", g.Reading, g.Why, g.Denied)
		}
		want := map[string]string{
			"111100000001": "AssumeRole: assume role keyreeve-audit: access denied (denied true)",
			"999999999999": "GetCallerIdentity: the credentials belong to account 111100000003, not to 999999999999 (denied false)",
		}[r.Account.ID]
		if why != want || (r.Counts.Unknown > 0) != (want != "") || (r.Counts.Fail > 0) != (want == "") {
			t.Errorf("account %s: %q, %+v; want %q", r.Account.ID, why, r.Counts, want)
		}
	}
	for v := range a.Verdicts {
		if v.Rule == "root-access-key" && (v.Status == finding.Unknown) != (v.Account.ID[0] == '9' || v.Account.ID == "111100000001") {
			t.Errorf("root of %s: %s", v.Account.ID, v.Status)
		}
	}
	if want := []int{5, 15, 25, 35, 45, 55}; !cmp.Equal(told, want) {
		t.Errorf("progress %v, want %v", told, want)
	}
	if n := strings.Join(a.Notes, "\n"); strings.Contains(n, "no user") {
		t.Errorf("an unread account is said to have no user: %s", n)
	}
}

func TestOrganization_whatTheOrganisationWouldNotTellIsAGapOfTheAccount(t *testing.T) {
	cloud := company(t, 2)
	ms := members(t, cloud)
	ms[1].Gaps = []fact.Gap{{Account: ms[1].Account.ID, Reading: "ListTagsForResource", Why: "access denied"}}
	a, err := audit.Organization(t.Context(), ms, organized(cloud), options(t))
	must(t, err)
	if a.Complete || len(a.Accounts[0].Gaps) != 0 || !cmp.Equal(a.Accounts[1].Gaps, ms[1].Gaps) {
		t.Errorf("complete %v, gaps %+v and %+v", a.Complete, a.Accounts[0].Gaps, a.Accounts[1].Gaps)
	}
	o, err := audit.Watch(t.Context(), &ms[1], liveOptions(cloud, fact.Report, true), options(t))
	must(t, err)
	if o.Complete || !cmp.Equal(o.Gaps, ms[1].Gaps) {
		t.Errorf("watched alone: complete %v, gaps %+v", o.Complete, o.Gaps)
	}
}

// memory is a Spool in memory.
type memory struct {
	sync.Mutex
	kept map[string]*fact.Snapshot
	full bool
}

func (m *memory) Load(account string) (*fact.Snapshot, error) {
	m.Lock()
	defer m.Unlock()
	return m.kept[account], nil
}

func (m *memory) Save(s *fact.Snapshot) error {
	m.Lock()
	defer m.Unlock()
	if m.full {
		return errors.New("no space left on device")
	}
	m.kept[s.Account.ID] = s
	return nil
}

func TestOrganization_takesUpARunThatWasBrokenOff(t *testing.T) {
	cloud := company(t, 9)
	ms := members(t, cloud)
	spool := &memory{kept: map[string]*fact.Snapshot{}}
	how := organized(cloud)
	how.Accounts, how.Spool = 1, spool
	opt := options(t)
	opt.AsOf = judgedAt
	whole, err := audit.Organization(t.Context(), ms, organized(cloud), opt)
	must(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	how.Progress = func(_ string, done, _ int) {
		if done == 4 {
			cancel()
		}
	}
	if _, err := audit.Organization(ctx, ms, how, opt); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want %v", err, context.Canceled)
	}
	if len(spool.kept) != 4 {
		t.Fatalf("%d accounts were kept, want 4", len(spool.kept))
	}
	cloud.ResetCalls()
	how.Progress = nil
	again, err := audit.Organization(t.Context(), ms, how, opt)
	must(t, err)
	if diff := cmp.Diff(walk(whole), walk(again)); diff != "" {
		t.Errorf("-at one go +taken up:\n%s", diff)
	}
	read := map[string]bool{}
	for _, c := range cloud.Calls() {
		read[c.Account] = true
	}
	if len(read) != 5 {
		t.Errorf("%d accounts were read again, want the 5 that were not", len(read))
	}
}

func TestOrganization_readsAgainAnAccountThatOtherRulesAreMeantForByNow(t *testing.T) {
	cloud := company(t, 4)
	ms := members(t, cloud)
	how := organized(cloud)
	how.Spool = &memory{kept: map[string]*fact.Snapshot{}}
	_, err := audit.Organization(t.Context(), ms, how, options(t))
	must(t, err)
	cloud.ResetCalls()
	ms[1].Account.OU, ms[2].Account.Tags = "Root/Moved", map[string]string{"stage": "prod"}
	_, err = audit.Organization(t.Context(), ms, how, options(t))
	must(t, err)
	read := map[string]bool{}
	for _, c := range cloud.Calls() {
		read[c.Account] = true
	}
	if want := map[string]bool{ms[1].Account.ID: true, ms[2].Account.ID: true}; !cmp.Equal(read, want) {
		t.Errorf("read again %v, want %v", read, want)
	}
}

func TestOrganization_doesNotKeepWhatCouldNotBeRead(t *testing.T) {
	cloud := company(t, 2)
	ms := members(t, cloud)
	ms[0].Open = func(context.Context) (audit.Reader, func(), error) { return nil, nil, fact.ErrThrottled }
	how := organized(cloud)
	spool := &memory{kept: map[string]*fact.Snapshot{}}
	how.Spool = spool
	_, err := audit.Organization(t.Context(), ms, how, options(t))
	must(t, err)
	if len(spool.kept) != 1 || spool.kept[ms[1].Account.ID] == nil {
		t.Errorf("kept %v", spool.kept)
	}
}

// AWS makes the report some seconds after the run began: of an audit as of now that is no news, of one as of an earlier time it is.
func TestOrganization_evidenceYoungerThanTheInstantIsWorthANoteOnlyWhereItWasAskedFor(t *testing.T) {
	cloud := company(t, 2)
	began := judgedAt.Add(-time.Minute)
	for name, c := range map[string]struct {
		asOf, began time.Time
		notes       int
	}{
		"begun before":  {began: began},
		"as of earlier": {asOf: began, notes: 1},
		"both":          {asOf: began, began: began, notes: 1},
	} {
		how, opt := organized(cloud), options(t)
		how.Began, opt.AsOf = c.began, c.asOf
		a, err := audit.Organization(t.Context(), members(t, cloud), how, opt)
		must(t, err)
		if !a.AsOf.Equal(began) || len(a.Notes) != c.notes || !a.Complete {
			t.Errorf("%s: as of %v, complete %v, notes %q", name, a.AsOf, a.Complete, a.Notes)
		}
	}
}

func TestOrganization_saysOnceThatNothingCanBeKept(t *testing.T) {
	cloud := company(t, 3)
	how := organized(cloud)
	how.Spool = &memory{full: true}
	a, err := audit.Organization(t.Context(), members(t, cloud), how, options(t))
	must(t, err)
	if len(a.Notes) != 1 || !strings.Contains(a.Notes[0], "--resume would read it again") || !a.Complete {
		t.Errorf("complete %v, notes %q", a.Complete, a.Notes)
	}
}

func TestOrganization_costsEightCallsAnAccountAndOneForEachFailingUser(t *testing.T) {
	cloud := company(t, 6)
	ms := members(t, cloud)
	cloud.ResetCalls()
	_, err := audit.Organization(t.Context(), ms, organized(cloud), options(t))
	must(t, err)
	if n := len(cloud.Calls()); n > 6*(8+1) { // and AssumeRole where there is a role
		t.Errorf("%d calls for 6 accounts with a failing user each, want at most %d", n, 6*(8+1))
	}
}
