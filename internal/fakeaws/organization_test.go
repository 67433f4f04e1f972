package fakeaws_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

const member = "222222222222"

// ask makes one request of the JSON protocol by hand.
func ask(t *testing.T, endpoint, keyID, action, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AWSOrganizationsV20161128."+action)
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+keyID+"/20260301/us-east-1/organizations/aws4_request, SignedHeaders=host, Signature=0")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

// tide is an organisation of two accounts.
func tide(t *testing.T) (*fakeaws.Cloud, *fakeaws.Account, *fakeaws.Account) {
	t.Helper()
	c := fakeaws.New(at("2026-01-01T00:00:00Z"))
	a := c.AddAccount(fact.Account{ID: account, Name: "tide"})
	b := c.AddAccount(fact.Account{ID: member, Name: `a "b"`, OU: "Root/Work/Prod", Tags: map[string]string{"team": "data"}})
	if err := c.Organize(account); err != nil {
		t.Fatal(err)
	}
	return c, a, b
}

func TestOrganizations_answersInItsOwnProtocol(t *testing.T) {
	c, a, b := tide(t)
	endpoint := start(t, c)
	own, other := a.Credential(), b.Credential()
	for _, step := range []struct {
		key, action, body, want string
		status                  int
	}{
		{other, "DescribeOrganization", `{}`, `"MasterAccountId":"111122223333"`, 200},
		{own, "ListAccounts", `{"MaxResults":1}`, `"NextToken":"after-1"`, 200},
		{own, "ListAccounts", `{"NextToken":"after-1"}`, `"Name":"a \"b\"","Email":"account-222222222222@example.com","State":"ACTIVE","Status":"ACTIVE"`, 200},
		{own, "ListAccounts", `{"NextToken":"perhaps"}`, `InvalidInputException`, 400},
		{other, "ListAccounts", `{}`, `AccessDeniedException`, 400},
		{"AKIANOBODY", "ListAccounts", `{}`, `UnrecognizedClientException`, 400},
		{own, "ListRoots", `{}`, `{"Roots":[{"Id":"r-fake"`, 200},
		{own, "ListOrganizationalUnitsForParent", `{"ParentId":"r-fake"}`, `"Id":"ou-fake-00000001","Arn":"arn:aws:organizations::111122223333:ou/o-fakeorg001/ou-fake-00000001","Name":"Work"`, 200},
		{own, "ListAccountsForParent", `{"ParentId":"ou-fake-00000001"}`, `{"Accounts":[]}`, 200},
		{own, "ListAccountsForParent", `{"ParentId":"ou-fake-00000002"}`, member, 200},
		{own, "ListAccountsForParent", `{"ParentId":"ou-fake-00000009"}`, `ParentNotFoundException`, 400},
		{own, "ListParents", `{"ChildId":"222222222222"}`, `"Id":"ou-fake-00000002"`, 200},
		{own, "ListTagsForResource", `{"ResourceId":"222222222222"}`, `{"Tags":[{"Key":"team","Value":"data"}]}`, 200},
		{own, "ListTagsForResource", `{"ResourceId":"111122223333"}`, `{"Tags":[]}`, 200},
		{own, "TagResource", `{"ResourceId":"111122223333","Tags":[{"Key":"a","Value":"1"}]}`, `{}`, 200},
		{own, "ListTagsForResource", `{"ResourceId":"111122223333"}`, `{"Tags":[{"Key":"a","Value":"1"}]}`, 200},
		{own, "LeaveOrganization", `{}`, `UnknownOperationException`, 400},
	} {
		if status, got := ask(t, endpoint, step.key, step.action, step.body); status != step.status || !strings.Contains(got, step.want) {
			t.Errorf("%s %s: HTTP %d %s, want %d with %s", step.action, step.body, status, got, step.status, step.want)
		}
	}
	alone := fakeaws.New(at("2026-01-01T00:00:00Z"))
	lone := alone.AddAccount(fact.Account{ID: account})
	if _, got := ask(t, start(t, alone), lone.Credential(), "DescribeOrganization", `{}`); !strings.Contains(got, "AWSOrganizationsNotInUseException") {
		t.Errorf("without an organisation: %s", got)
	}
	if err := alone.Organize(member); err == nil {
		t.Error("an organisation was made of an account that is not there")
	}
}

func TestOrganizations_faultsAreWordedAsItsOwn(t *testing.T) {
	for kind, want := range map[fakeaws.Kind]string{
		fakeaws.Throttle: "TooManyRequestsException", fakeaws.Deny: "AccessDeniedException",
		fakeaws.ExpiredToken: "ExpiredTokenException", fakeaws.ErrorAfter: "ServiceException",
	} {
		c, a, _ := tide(t)
		c.Inject(fakeaws.Fault{Kind: kind})
		if _, got := ask(t, start(t, c), a.Credential(), "ListRoots", `{}`); !strings.Contains(got, `"__type":"`+want+`"`) {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

func TestSetRoles_admitWhoHasTheExternalID(t *testing.T) {
	c, a, b := tide(t)
	endpoint := start(t, c)
	assume := func(role, external string) string {
		p := url.Values{"RoleArn": {"arn:aws:iam::" + member + ":role/" + role}, "RoleSessionName": {"s"}}
		if external != "" {
			p.Set("ExternalId", external)
		}
		_, body := call(t, endpoint, a.Credential(), "sts:AssumeRole", p)
		return body
	}
	if got := assume("any", ""); !strings.Contains(got, "<AccessKeyId>") {
		t.Errorf("before: %s, want every role", got)
	}
	b.SetRoles(fakeaws.Role{Name: "ops/audit", ExternalID: "x-1"}, fakeaws.Role{Name: "open"})
	for _, step := range []struct {
		role, external string
		admitted       bool
	}{
		{"ops/audit", "x-1", true}, {"ops/audit", "x-2", false}, {"ops/audit", "", false}, {"audit", "x-1", false},
		{"open", "", true}, {"open", "x-2", true}, {"any", "", false},
	} {
		got := assume(step.role, step.external)
		if strings.Contains(got, "<AccessKeyId>") != step.admitted || !step.admitted && !strings.Contains(got, "not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::"+member+":role/"+step.role) {
			t.Errorf("%s with %q: %s, want admitted: %v", step.role, step.external, got, step.admitted)
		}
	}
	b.SetState(fact.StateSuspended)
	if got := assume("open", ""); !strings.Contains(got, "AccessDenied") {
		t.Errorf("a suspended account: %s", got)
	}
}

func TestSetLimits_anEmptyBucketThrottlesTheAccountAndFillsByTheClock(t *testing.T) {
	c, a, b := tide(t)
	c.SetLimits(fakeaws.Limits{IAM: fakeaws.Rate{PerSecond: 0.5, Burst: 3}, Organizations: fakeaws.Rate{PerSecond: 1}})
	endpoint := start(t, c)
	passed := func(x *fakeaws.Account, calls int) (n int) {
		for range calls {
			if _, body := call(t, endpoint, x.Credential(), "ListUsers", nil); strings.Contains(body, "<Users>") {
				n++
			} else if !strings.Contains(body, "<Code>Throttling</Code>") {
				t.Fatal(body)
			}
		}
		return n
	}
	if got := [2]int{passed(a, 5), passed(b, 5)}; got != [2]int{3, 3} {
		t.Errorf("%v of 5 passed in each account, want 3", got)
	}
	c.SetNow(c.Now().Add(5 * time.Second))
	if got := passed(a, 5); got != 2 {
		t.Errorf("%d passed after 5 s, want 2", got)
	}
	c.SetNow(c.Now().Add(time.Hour))
	if got := passed(a, 5); got != 3 {
		t.Errorf("%d passed after an hour, want 3", got)
	}
	for i, want := range []string{"Roots", "TooManyRequestsException"} {
		if _, body := ask(t, endpoint, a.Credential(), "ListRoots", `{}`); !strings.Contains(body, want) {
			t.Errorf("organisation call %d: %s, want %s", i, body, want)
		}
	}
	for range 3 { // no limit was set for STS
		if _, body := call(t, endpoint, a.Credential(), "sts:GetCallerIdentity", nil); !strings.Contains(body, "<Arn>") {
			t.Error(body)
		}
	}
	want := map[string]fakeaws.Count{
		"iam:ListUsers":           {Calls: 20, Throttled: 9},
		"organizations:ListRoots": {Calls: 2, Throttled: 1},
		"sts:GetCallerIdentity":   {Calls: 3},
	}
	if diff := cmp.Diff(want, c.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestNoLog_keepsCountsOnly(t *testing.T) {
	c, a, _ := tide(t)
	c.Set(fakeaws.Switches{NoLog: true})
	endpoint := start(t, c)
	call(t, endpoint, a.Credential(), "ListUsers", nil)
	call(t, endpoint, a.Credential(), "GetUser", about())
	want := map[string]fakeaws.Count{"iam:ListUsers": {Calls: 1}, "iam:GetUser": {Calls: 1, Failed: 1}}
	if got := c.Counts(); !cmp.Equal(got, want) || len(c.Calls()) != 0 {
		t.Errorf("%v and %d in the log, want %v and none", got, len(c.Calls()), want)
	}
}

func TestAddLazyAccount_isMadeWhenAskedForAndForgottenUnlessChanged(t *testing.T) {
	c := fakeaws.New(at("2026-01-01T00:00:00Z"))
	const crowd = 13 // two such accounts are more than are kept
	c.KeepLazy(25)
	made := map[string]int{}
	add := func(id string) *fakeaws.Account {
		return c.AddLazyAccount(fact.Account{ID: id}, func() []fakeaws.User {
			made[id]++
			out := make([]fakeaws.User, crowd)
			for i := range out {
				out[i] = fakeaws.User{Name: fmt.Sprintf("u%02d", i), ID: "AIDA", Created: at("2025-01-01T00:00:00Z")}
			}
			return out
		})
	}
	kept, lost, last := add("111111111111"), add("222222222222"), add("333333333333")
	if len(made) != 0 {
		t.Fatalf("made before anybody asked: %v", made)
	}
	if err := kept.AddUser(fakeaws.User{Name: "ana"}); err != nil {
		t.Fatal(err)
	}
	before := len(lost.CredentialReport())
	for _, a := range []*fakeaws.Account{last, kept, lost} {
		if got := len(a.CredentialReport()); a != kept && got != before {
			t.Errorf("account %s has a report of %d bytes, want %d", a.ID(), got, before)
		}
	}
	if want := map[string]int{"111111111111": 1, "222222222222": 2, "333333333333": 1}; !cmp.Equal(made, want) {
		t.Errorf("made %v times, want %v", made, want)
	}
}

func TestAddLazyAccount_keepsTheReportThatWasPromised(t *testing.T) {
	c := fakeaws.New(at("2026-01-01T00:00:00Z"))
	a := c.AddLazyAccount(fact.Account{ID: account}, func() []fakeaws.User {
		return []fakeaws.User{{Name: "ana", Created: at("2025-01-01T00:00:00Z"), Keys: []fakeaws.Key{{ID: "K", Created: at("2025-01-02T00:00:00Z")}}}}
	})
	first := report(t, c, a)
	if err := a.SetActive("ana", "K", false); err != nil {
		t.Fatal(err)
	}
	if got := report(t, c, a); got != first || !strings.Contains(first, "2025-01-02") {
		t.Errorf("within four hours: %s, want %s", got, first)
	}
	c.SetNow(at("2026-01-01T04:00:00Z"))
	if got := report(t, c, a); got == first {
		t.Errorf("after four hours the key is still active: %s", got)
	}
}

func TestLatency_isTheLeastThatACallTakes(t *testing.T) {
	c, a, _ := tide(t)
	const latency = 30 * time.Millisecond
	c.Set(fakeaws.Switches{Latency: latency})
	endpoint, begun := start(t, c), time.Now()
	if status, body := call(t, endpoint, a.Credential(), "ListUsers", nil); status != http.StatusOK || time.Since(begun) < latency {
		t.Errorf("HTTP %d %s after %v, want at least %v", status, body, time.Since(begun), latency)
	}
}
