package awsiam_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

const roleAccount, farAccount = "222222222222", "333333333333"

// profiles writes a configuration file of the AWS CLI: "audit" assumes a role by the keys of "source",
// "far" a second one by the first.
func profiles(t *testing.T, more string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf(`[profile source]
aws_access_key_id = AKIAFAKE%s
aws_secret_access_key = any
[profile audit]
role_arn = arn:aws:iam::%s:role/audit
source_profile = source
role_session_name = test
%s
[profile far]
role_arn = arn:aws:iam::%s:role/far
source_profile = audit
role_session_name = test
`, account, roleAccount, more, farAccount)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
}

// roles is a cloud of three accounts. Its clock shows the real time, for the SDK looks at it to tell whether a session has ended.
func roles(t *testing.T) *fakeaws.Cloud {
	t.Helper()
	cloud := fakeaws.New(time.Now())
	for _, id := range []string{account, roleAccount, farAccount} {
		cloud.AddAccount(fact.Account{ID: id})
	}
	return cloud
}

func TestOpen_assumesTheRoleOfAProfileAtTheEndpointNamed(t *testing.T) {
	nowhere := "http://" + dead(t)
	for name, c := range map[string]struct {
		profile string
		more    string // of the profile audit; %s is the endpoint
		env     map[string]string
		set     bool // Settings.EndpointURL is the endpoint
		want    []string
	}{
		"by setting":          {profile: "audit", set: true},
		"by variable":         {profile: "audit", env: map[string]string{"AWS_ENDPOINT_URL": "%s"}},
		"by two variables":    {profile: "audit", env: map[string]string{"AWS_ENDPOINT_URL": nowhere, "AWS_ENDPOINT_URL_STS": "%s", "AWS_ENDPOINT_URL_IAM": "%s"}},
		"by profile":          {profile: "audit", more: "endpoint_url = %s"},
		"setting over others": {profile: "audit", set: true, more: "endpoint_url = " + nowhere, env: map[string]string{"AWS_ENDPOINT_URL": nowhere, "AWS_ENDPOINT_URL_STS": nowhere}},
		"in a region":         {profile: "audit", set: true, more: "region = eu-west-1"},
		"by AWS_PROFILE":      {env: map[string]string{"AWS_PROFILE": "audit"}, set: true},
		"two roles":           {profile: "far", set: true, want: []string{account, roleAccount, farAccount}},
	} {
		t.Run(name, func(t *testing.T) {
			bare(t)
			cloud := roles(t)
			url := serve(t, cloud)
			fill := func(s string) string { return strings.Replace(s, "%s", url, 1) }
			profiles(t, fill(c.more))
			for name, value := range c.env {
				t.Setenv(name, fill(value))
			}
			s := awsiam.Settings{Profile: c.profile, BackoffCap: time.Millisecond}
			if c.set {
				s.EndpointURL = url
			}
			r := openBare(t, s)
			if c.want == nil {
				c.want = []string{account, roleAccount}
			}
			last := c.want[len(c.want)-1]
			if got, err := r.Caller(t.Context()); err != nil || got.Account.ID != last {
				t.Fatalf("%+v, %v, want account %s", got, err, last)
			}
			var got []string
			for _, call := range cloud.Calls() {
				got = append(got, call.Account)
			}
			// One AssumeRole in each account but the last: no request went anywhere else.
			if !cmp.Equal(got, c.want) || r.Attempts() != len(c.want) {
				t.Errorf("calls in accounts %v and %d requests, want %v", got, r.Attempts(), c.want)
			}
		})
	}
}

func TestOpen_aRoleIsAssumedOnceAndWithThePatienceOfTheReader(t *testing.T) {
	bare(t)
	profiles(t, "")
	cloud := roles(t)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Action: "sts:AssumeRole", Times: 9})
	r := openBare(t, awsiam.Settings{Profile: "audit", EndpointURL: serve(t, cloud), Concurrency: 1, BackoffCap: time.Millisecond})
	for range 3 {
		if _, err := r.Caller(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.Calls(); !cmp.Equal(got, map[string]int{"sts:GetCallerIdentity": 3}) || r.Attempts() != 13 {
		t.Errorf("calls %v and %d requests, want 3 and 13", got, r.Attempts())
	}
}

func TestOpen_aRoleThatCannotBeHadIsNoUsableCredentialsAndNotAskedForAgain(t *testing.T) {
	bare(t)
	profiles(t, "")
	cloud := roles(t)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "sts:AssumeRole"})
	for name, c := range map[string]struct {
		url      string
		requests int
	}{"denied": {serve(t, cloud), 1}, "dead": {"http://" + dead(t), 3}} {
		r := openBare(t, awsiam.Settings{Profile: "audit", EndpointURL: c.url, BackoffCap: time.Millisecond})
		if _, err := r.Caller(t.Context()); !errors.Is(err, awsiam.ErrNoCredentials) || r.Attempts() != c.requests {
			t.Errorf("%s: %v after %d requests, want %v after %d", name, err, r.Attempts(), awsiam.ErrNoCredentials, c.requests)
		}
	}
}

func TestOpen_assumesTheRoleOfAWebIdentityAtTheEndpointNamed(t *testing.T) {
	bare(t)
	var seen []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		action := r.Form.Get("Action")
		seen = append(seen, action)
		result := "<Account>222222222222</Account><Arn>arn:aws:sts::222222222222:assumed-role/ci/test</Arn>"
		if action == "AssumeRoleWithWebIdentity" {
			result = "<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>any</SecretAccessKey>" +
				"<SessionToken>any</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>"
		}
		_, _ = fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", action, result)
	}))
	t.Cleanup(s.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("any"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::222222222222:role/ci")
	r := openBare(t, awsiam.Settings{EndpointURL: s.URL, BackoffCap: time.Millisecond})
	got, err := r.Caller(t.Context())
	if want := []string{"AssumeRoleWithWebIdentity", "GetCallerIdentity"}; err != nil || got.Account.ID != roleAccount || !cmp.Equal(seen, want) {
		t.Errorf("%+v, %v after %v, want account %s after %v", got, err, seen, roleAccount, want)
	}
}
