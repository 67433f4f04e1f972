package sim_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sim"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/rule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func asOf() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) }

func organise(t *testing.T, o sim.Options) (*sim.Sim, string) {
	t.Helper()
	o.Now = asOf()
	s, err := sim.New(o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

func settings(s *sim.Sim, url string) awsiam.Settings {
	return awsiam.Settings{
		EndpointURL: url, BackoffCap: time.Millisecond, Now: s.Cloud().Now,
		Credentials: &awsiam.Credentials{ID: s.Cloud().Account(sim.Management).Credential(), Secret: fact.NewSecret("any")},
	}
}

// failing audits an account and gives the users with a failing verdict.
func failing(t *testing.T, s *sim.Sim, r *awsiam.Reader) []string {
	t.Helper()
	ruleset, err := rule.Builtin("default")
	if err != nil {
		t.Fatal(err)
	}
	result, err := audit.Live(t.Context(), r,
		audit.LiveOptions{Options: collect.Options{Now: s.Cloud().Now}, Evidence: fact.Report, Confirm: true},
		audit.Options{Ruleset: ruleset, AsOf: s.Cloud().Now()})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Complete {
		t.Errorf("the audit is incomplete")
	}
	var users []string
	for v := range result.Verdicts {
		if v.Status == finding.Fail {
			users = append(users, v.User)
		}
	}
	slices.Sort(users)
	return slices.Compact(users)
}

func TestSim_failsExactlyWhereItSaysThatItDoes(t *testing.T) {
	s, url := organise(t, sim.Options{Accounts: 20, Users: 60, Failing: 0.2, NoRole: 0.2, Suspended: 0.1, Role: "ops/audit", ExternalID: "x-1"})
	o, err := awsiam.OpenOrganization(t.Context(), settings(s, url))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	org, err := o.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, err := awsiam.OpenMembers(t.Context(), settings(s, url))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	got := sim.Expected{Accounts: len(org.Members)}
	for i := range got.Accounts {
		id := sim.Management
		if i < got.Accounts-1 {
			id = sim.ID(i)
		}
		member, _ := org.Member(id)
		r, err := m.Open(t.Context(), member.Account, awsiam.MemberSettings{Role: "ops/audit", ExternalID: "x-1"})
		switch {
		case !member.State.Readable():
			got.Suspended++
		case err != nil:
			got.Roleless++
		default:
			users := failing(t, s, r)
			if want := s.Failing(i); !cmp.Equal(users, want) {
				t.Errorf("account %d: %v fail, want %v", i, users, want)
			}
			got.Readable++
			got.Users += 60
			got.FailingUsers += len(users)
		}
	}
	if want := s.Expected(); got != want || got.Roleless == 0 || got.Suspended == 0 || got.FailingUsers < 50 {
		t.Errorf("found %+v, want %+v", got, want)
	}
}

func TestSim_isTheSameForTheSameSeed(t *testing.T) {
	reports := func(seed uint64) []byte {
		s, _ := organise(t, sim.Options{Accounts: 3, Users: 20, Seed: seed})
		var all []byte
		for _, a := range s.Cloud().Accounts() {
			all = append(all, a.CredentialReport()...)
		}
		return all
	}
	first := reports(1)
	if !bytes.Equal(first, reports(1)) || bytes.Equal(first, reports(2)) {
		t.Error("the seed does not decide")
	}
}

func TestOptions_validateReportsEveryMistake(t *testing.T) {
	_, err := sim.New(sim.Options{Accounts: -1, Users: 5001, Failing: 2, ExternalID: "x"})
	for _, want := range []string{"accounts", "5,000", "time", "share", "needs a role"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %q", err, want)
		}
	}
}

// ask calls the admin side; a refusal is returned as it is.
func ask(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

func TestSim_changesKeysAndTheClockOverHTTP(t *testing.T) {
	s, url := organise(t, sim.Options{Accounts: 1, Users: 10, Failing: -1})
	m, err := awsiam.OpenMembers(t.Context(), settings(s, url))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	fails := func() []string {
		t.Helper()
		r, err := m.Open(t.Context(), fact.Account{ID: sim.ID(0)}, awsiam.MemberSettings{})
		if err != nil {
			t.Fatal(err)
		}
		return failing(t, s, r)
	}
	do := func(path string) (key string) {
		t.Helper()
		status, body := ask(t, http.MethodPost, url+"/sim/"+path)
		var out struct{ Key string }
		if err := json.Unmarshal([]byte(body), &out); err != nil || status != http.StatusOK {
			t.Fatalf("%s: HTTP %d %s", path, status, body)
		}
		return out.Key
	}
	of := "keys?account=" + sim.ID(0) + "&user="
	expect := func(when string, want ...string) {
		t.Helper()
		do("clock?by=4h") // until then the report stays as it is
		if got := fails(); !slices.Equal(got, want) {
			t.Errorf("%s: %v fail, want %v", when, got, want)
		}
	}
	expect("at first")
	key := do(of + "zoe&do=make&age=2400h")
	expect("an old key was made", "zoe")
	do(of + "zoe&do=use&key=" + key)
	expect("and used", "zoe")
	do(of + "zoe&do=deactivate&key=" + key)
	do(of + "zoe&do=activate&key=" + key)
	do(of + "zoe&do=fix")
	expect("and fixed")
	old := do(of + "zoe&do=make&age=2400h")
	do(of + "zoe&do=delete&key=" + old)
	expect("one came and went")
	do("clock?to=2027-11-22T00:00:00Z")
	if got := fails(); len(got) < 8 {
		t.Errorf("a year later only %v fail", got)
	}
	if _, body := ask(t, http.MethodGet, url+"/sim/users?account="+sim.ID(0)); !strings.Contains(body, `"Name":"zoe"`) {
		t.Errorf("users: %s", body)
	}
	for _, bad := range []string{"clock", "clock?by=x", "clock?to=x", "keys?account=1", of + "zoe&do=sing", of + "nobody&do=use&key=x", of + "zoe&do=make&age=x"} {
		if status, body := ask(t, http.MethodPost, url+"/sim/"+bad); status != http.StatusBadRequest || body == "" {
			t.Errorf("%s: HTTP %d %s", bad, status, body)
		}
	}
}

func TestSim_countsCallsAndTellsWhatTheLimitsAllow(t *testing.T) {
	s, url := organise(t, sim.Options{Accounts: 4, Users: 3, Limits: fakeaws.Limits{IAM: fakeaws.Rate{PerSecond: 2, Burst: 3}}})
	m, err := awsiam.OpenMembers(t.Context(), settings(s, url))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r, err := m.Open(t.Context(), fact.Account{ID: sim.ID(2)}, awsiam.MemberSettings{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := r.Alias(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Alias(t.Context()); err == nil {
		t.Error("the limit let a fourth call through")
	}
	_, body := ask(t, http.MethodGet, url+"/sim/calls")
	for _, want := range []string{`{"calls":15,"throttled":10,"failed":0,"peak":1,`, `"iam:ListAccountAliases":{"calls":13,"throttled":10,"failed":0}`, `"sts:AssumeRole":{"calls":1,`} {
		if !strings.Contains(body, want) {
			t.Errorf("calls %s, want %s", body, want)
		}
	}
	if _, body := ask(t, http.MethodPost, url+"/sim/calls/reset"); !strings.HasPrefix(body, `{"calls":0,"throttled":0,"failed":0,"peak":0,`) {
		t.Errorf("after the reset: %s", body)
	}
	_, body = ask(t, http.MethodGet, url+"/sim/capacity?seconds=10")
	for _, want := range []string{`"iam":{"accounts":5,"per_second":2,"burst":3,"calls":115}`, `"sts":{"accounts":1,"per_second":0,"burst":0,"calls":0}`} {
		if !strings.Contains(body, want) {
			t.Errorf("capacity %s, want %s", body, want)
		}
	}
	if status, _ := ask(t, http.MethodGet, url+"/sim/capacity"); status != http.StatusBadRequest {
		t.Errorf("capacity of no time: HTTP %d", status)
	}
	var state struct {
		Clock    time.Time
		Expected sim.Expected
	}
	_, body = ask(t, http.MethodGet, url+"/sim/state")
	if err := json.Unmarshal([]byte(body), &state); err != nil || !state.Clock.Equal(asOf()) || state.Expected != s.Expected() {
		t.Errorf("state %s, %v", body, err)
	}
}
