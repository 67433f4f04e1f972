package fakeaws_test

import (
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const account = "111122223333"

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

// call makes one request by hand, as the AWS CLI would, without a signature worth the name. The action is
// of IAM, or names its service: sts:AssumeRole.
func call(t *testing.T, endpoint, keyID, action string, params url.Values) (status int, body string) {
	t.Helper()
	service, name, ok := strings.Cut(action, ":")
	if !ok {
		service, name = "iam", action
	}
	form := url.Values{"Action": {name}}
	for name, values := range params {
		form[name] = values
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+keyID+"/20260301/us-east-1/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
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

func start(t *testing.T, c *fakeaws.Cloud) string {
	t.Helper()
	s, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.URL
}

// report fetches the credential report of a as it is on the wire.
func report(t *testing.T, c *fakeaws.Cloud, a *fakeaws.Account) string {
	t.Helper()
	endpoint := start(t, c)
	call(t, endpoint, a.Credential(), "GenerateCredentialReport", nil)
	status, body := call(t, endpoint, a.Credential(), "GetCredentialReport", nil)
	var answer struct {
		Result struct {
			Content string
		} `xml:"GetCredentialReportResult"`
	}
	if err := xml.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
		t.Fatalf("HTTP %d, %v: %s", status, err, body)
	}
	raw, err := base64.StdEncoding.DecodeString(answer.Result.Content)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// liveShape holds rows of invented users in the shape of a report that AWS made.
const liveShape = `user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,cert_1_last_rotated,cert_2_active,cert_2_last_rotated
<root_account>,arn:aws:iam::111122223333:root,2021-09-11T14:00:00Z,true,2022-09-11T14:00:00Z,2021-09-11T14:00:00Z,not_supported,true,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A
backup-agent,arn:aws:iam::111122223333:user/service/backup-agent,2023-11-20T14:22:31Z,false,N/A,N/A,N/A,false,true,2026-08-25T12:00:00Z,2026-09-11T12:45:00Z,N/A,s3,true,2023-11-20T14:25:10Z,2026-09-11T11:00:00Z,eu-west-1,kms,false,N/A,false,N/A
dora@example.com,arn:aws:iam::111122223333:user/team/dora@example.com,2024-01-15T10:00:00Z,true,no_information,2024-01-15T10:00:00Z,N/A,false,false,2024-01-15T10:05:00Z,2024-02-01T09:15:00Z,us-east-1,ec2,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A
"x,y",arn:aws:iam::111122223333:user/x,2026-09-01T00:00:00Z,false,N/A,N/A,N/A,false,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A`

func TestReport_hasTheShapeOfALiveOne(t *testing.T) {
	c := fakeaws.New(at("2026-09-11T14:00:00Z"))
	a := c.AddAccount(fact.Account{ID: account})
	for _, u := range []fakeaws.User{
		{Name: "x,y", Created: at("2026-09-01T00:00:00Z")},
		{
			Name: "dora@example.com", Path: "/team/", Created: at("2024-01-15T10:00:00Z"), Password: true,
			Keys: []fakeaws.Key{{
				Created: at("2024-01-15T10:05:00Z"), Inactive: true,
				LastUsed: at("2024-02-01T09:15:00Z"), Region: "us-east-1", Service: "ec2",
			}},
		},
		{
			Name: "backup-agent", Path: "/service/", Created: at("2023-11-20T14:22:31Z"),
			Keys: []fakeaws.Key{
				{Created: at("2026-08-25T12:00:00Z"), LastUsed: at("2026-09-11T12:45:00Z")},
				{Created: at("2023-11-20T14:25:10Z"), LastUsed: at("2026-09-11T11:00:00Z"), Region: "eu-west-1", Service: "kms"},
			},
		},
	} {
		if err := a.AddUser(u); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Replace(liveShape, "user/x,", `"user/x,y",`, 1)
	want = strings.Replace(want, `arn:aws:iam::111122223333:"user/x,y"`, `"arn:aws:iam::111122223333:user/x,y"`, 1)
	if diff := cmp.Diff(want, report(t, c, a)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAccount_fillsTheLowestFreeSlotSoThatSlotOneCanBeTheYounger(t *testing.T) {
	c := fakeaws.New(at("2026-01-01T00:00:00Z"))
	a := c.AddAccount(fact.Account{ID: account})
	if err := a.AddUser(fakeaws.User{Name: "ana", Keys: []fakeaws.Key{{ID: "OLD1"}, {ID: "OLD2"}}}); err != nil {
		t.Fatal(err)
	}
	c.SetNow(at("2026-02-01T00:00:00Z"))
	if err := a.DeleteKey("ANA", "OLD1"); err != nil { // names know no case
		t.Fatal(err)
	}
	if _, err := a.AddKey("ana", fakeaws.Key{ID: "NEW"}); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(report(t, c, a))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got := [2]string{rows[2][9], rows[2][14]}; got != [2]string{"2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"} {
		t.Errorf("slots hold keys of %v", got)
	}
}

func TestUse_keepsTheFirstOfEachQuarterOfAnHour(t *testing.T) {
	c := fakeaws.New(at("2026-01-01T00:00:00Z"))
	a := c.AddAccount(fact.Account{ID: account})
	if err := a.AddUser(fakeaws.User{Name: "ana", Keys: []fakeaws.Key{{ID: "K"}}}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ at, want string }{
		{"2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"},
		{"2026-01-01T00:14:59Z", "2026-01-01T00:00:00Z"},
		{"2026-01-01T00:15:00Z", "2026-01-01T00:15:00Z"},
	} {
		c.SetNow(at(step.at))
		if err := a.Use("ana", "K", "s3", ""); err != nil {
			t.Fatal(err)
		}
		if got := a.Users()[0].Keys[0].LastUsed; !got.Equal(at(step.want)) {
			t.Errorf("used at %s: last use %v, want %s", step.at, got, step.want)
		}
	}
}

func TestServe_refusesUnknownAndInactiveCredentials(t *testing.T) {
	c := fakeaws.New(at("2026-01-01T00:00:00Z"))
	a := c.AddAccount(fact.Account{ID: account})
	if err := a.AddUser(fakeaws.User{Name: "ana", Keys: []fakeaws.Key{{ID: "AKIAOFF", Inactive: true}}}); err != nil {
		t.Fatal(err)
	}
	endpoint := start(t, c)
	for _, id := range []string{"", "AKIANOBODY", "AKIAOFF"} {
		if status, body := call(t, endpoint, id, "ListUsers", nil); status != http.StatusForbidden || !strings.Contains(body, "InvalidClientTokenId") {
			t.Errorf("%q: HTTP %d %s", id, status, body)
		}
	}
	if err := a.SetActive("ana", "AKIAOFF", true); err != nil {
		t.Fatal(err)
	}
	if status, body := call(t, endpoint, "AKIAOFF", "ListAccessKeys", nil); status != http.StatusOK || !strings.Contains(body, "<UserName>ana</UserName>") {
		t.Errorf("ana's own keys by her key: HTTP %d %s", status, body)
	}
}

func TestServe_enforcesTheQuotaOfTwoKeys(t *testing.T) {
	c := fakeaws.New(at("2026-01-01T00:00:00Z"))
	a := c.AddAccount(fact.Account{ID: account})
	if err := a.AddUser(fakeaws.User{Name: "ana"}); err != nil {
		t.Fatal(err)
	}
	endpoint := start(t, c)
	user := url.Values{"UserName": {"ana"}}
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusConflict} {
		if status, body := call(t, endpoint, a.Credential(), "CreateAccessKey", user); status != want {
			t.Errorf("key %d: HTTP %d %s, want %d", i+1, status, body, want)
		}
	}
	if got := len(a.Users()[0].Keys); got != 2 {
		t.Errorf("%d keys, want 2", got)
	}
}

func TestServe_aSessionIsOfTheAccountOfItsRoleUntilItEnds(t *testing.T) {
	c := fakeaws.New(at("2026-01-01T00:00:00Z"))
	a := c.AddAccount(fact.Account{ID: account})
	c.AddAccount(fact.Account{ID: "222222222222"})
	endpoint := start(t, c)
	role := func(arn string) url.Values { return url.Values{"RoleArn": {arn}, "RoleSessionName": {"s"}} }
	_, body := call(t, endpoint, a.Credential(), "sts:AssumeRole", role("arn:aws:iam::222222222222:role/team/audit"))
	_, rest, _ := strings.Cut(body, "<AccessKeyId>")
	id, _, _ := strings.Cut(rest, "</AccessKeyId>")
	if !strings.HasPrefix(id, "ASIA") || !strings.Contains(body, "<Expiration>2026-01-01T01:00:00Z</Expiration>") {
		t.Fatalf("no session of an hour: %s", body)
	}
	for _, step := range []struct{ at, want string }{
		{"2026-01-01T00:59:59Z", "<Arn>arn:aws:sts::222222222222:assumed-role/audit/s</Arn>"},
		{"2026-01-01T01:00:00Z", "ExpiredToken"},
	} {
		c.SetNow(at(step.at))
		if _, body := call(t, endpoint, id, "sts:GetCallerIdentity", nil); !strings.Contains(body, step.want) {
			t.Errorf("at %s: %s, want %s", step.at, body, step.want)
		}
	}
	for arn, want := range map[string]string{
		"arn:aws:iam::999999999999:role/audit":    "AccessDenied",
		"arn:aws-cn:iam::222222222222:role/audit": "AccessDenied",
		"arn:aws:iam::222222222222:user/audit":    "ValidationError",
		"audit":                                   "ValidationError",
	} {
		if _, body := call(t, endpoint, a.Credential(), "sts:AssumeRole", role(arn)); !strings.Contains(body, want) {
			t.Errorf("%s: %s, want %s", arn, body, want)
		}
	}
}

func TestFault_takesEffectBeforeOrAfterTheCall(t *testing.T) {
	for kind, created := range map[fakeaws.Kind]bool{fakeaws.ErrorBefore: false, fakeaws.ErrorAfter: true} {
		c := fakeaws.New(at("2026-01-01T00:00:00Z"))
		a := c.AddAccount(fact.Account{ID: account})
		c.Inject(fakeaws.Fault{Kind: kind, Action: "iam:CreateUser"})
		status, _ := call(t, start(t, c), a.Credential(), "CreateUser", url.Values{"UserName": {"ana"}})
		if got := len(a.Users()) == 1; status != http.StatusInternalServerError || got != created {
			t.Errorf("%s: HTTP %d, user created: %v, want %v", kind, status, got, created)
		}
	}
}

func TestFault_hitsEachNthCallAndEnds(t *testing.T) {
	c := fakeaws.New(at("2026-01-01T00:00:00Z"))
	a := c.AddAccount(fact.Account{ID: account})
	c.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Every: 3, Times: 2})
	endpoint := start(t, c)
	var got []int
	for i := 1; i <= 10; i++ {
		if status, _ := call(t, endpoint, a.Credential(), "ListUsers", nil); status != http.StatusOK {
			got = append(got, i)
		}
	}
	if want := []int{3, 6}; !cmp.Equal(got, want) {
		t.Errorf("calls %v were hit, want %v", got, want)
	}
	hit := 0
	for _, call := range c.Calls() {
		if call.Code == "Throttling" && call.Account == account && call.Action == "iam:ListUsers" {
			hit++
		}
	}
	if hit != 2 {
		t.Errorf("the log has %d throttled calls, want 2", hit)
	}
}

func TestKinds_haveEachAnEffect(t *testing.T) {
	for _, kind := range fakeaws.Kinds() {
		c := fakeaws.New(at("2026-01-01T00:00:00Z"))
		a := c.AddAccount(fact.Account{ID: account})
		c.Inject(fakeaws.Fault{Kind: kind})
		endpoint := start(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader("Action=ListUsers"))
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+a.Credential()+"/20260301/us-east-1/iam/aws4_request")
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			body, readErr := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK && readErr == nil && len(body) > 0 {
				t.Errorf("%s had no effect", kind)
			}
		}
		cancel()
	}
}
