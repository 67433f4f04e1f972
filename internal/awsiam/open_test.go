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

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// bare empties the environment of everything the SDK looks for.
func bare(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	empty := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", empty)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", empty)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func openBare(t *testing.T, s awsiam.Settings) *awsiam.Reader {
	t.Helper()
	r, err := awsiam.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestOpen_withoutCredentialsFailsAtTheFirstReadingWithAHint(t *testing.T) {
	bare(t)
	url := serve(t, crowd(t, 1))
	_, err := openBare(t, awsiam.Settings{EndpointURL: url}).Caller(t.Context())
	var e *awsiam.Error
	if !errors.Is(err, awsiam.ErrNoCredentials) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "AWS_PROFILE") {
		t.Errorf("%v, want %v with a hint", err, awsiam.ErrNoCredentials)
	}
}

func TestOpen_readsTheStandardVariables(t *testing.T) {
	bare(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAFAKE"+account)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	t.Setenv("AWS_ENDPOINT_URL", serve(t, crowd(t, 1)))
	if got, err := openBare(t, awsiam.Settings{}).Caller(t.Context()); err != nil || got.Account.ID != account {
		t.Errorf("%+v, %v, want account %s", got, err, account)
	}
}

func TestOpen_endpointSettingWinsOverTheVariables(t *testing.T) {
	bare(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAFAKE"+account)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	t.Setenv("AWS_ENDPOINT_URL_IAM", "http://127.0.0.1:1")
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	r := openBare(t, awsiam.Settings{EndpointURL: serve(t, crowd(t, 1)), MaxAttempts: 1})
	if _, err := r.Tags(t.Context(), "u000"); err != nil {
		t.Error(err)
	}
}

func TestOpen_givenCredentialsReadNothingOfTheEnvironment(t *testing.T) {
	bare(t)
	t.Setenv("AWS_PROFILE", "not-there")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	r := openBare(t, awsiam.Settings{EndpointURL: serve(t, crowd(t, 1)), Credentials: credentials("AKIAFAKE"+account, "")})
	if got, err := r.Caller(t.Context()); err != nil || got.Account.ID != account {
		t.Errorf("%+v, %v, want account %s", got, err, account)
	}
}

func TestOpen_refusesAProfileThatDoesNotExist(t *testing.T) {
	bare(t)
	_, err := awsiam.Open(t.Context(), awsiam.Settings{Profile: "nowhere"})
	if err == nil || !strings.HasPrefix(err.Error(), `open AWS profile "nowhere": `) {
		t.Errorf("%v", err)
	}
}

func TestOpen_reportsEveryMistakeOfTheSettings(t *testing.T) {
	_, err := awsiam.Open(t.Context(), awsiam.Settings{
		Concurrency: -1, Rate: -1, MaxAttempts: -1, CallTimeout: -1, Profile: "p", Credentials: credentials("a", ""),
		EndpointURL: "localhost",
	})
	if !errors.Is(err, awsiam.ErrSettings) {
		t.Errorf("%v, want %v", err, awsiam.ErrSettings)
	}
	for _, want := range []string{"concurrency", "rate", "attempts", "duration", "profile", "endpoint"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// canned answers every call with the same result.
func canned(t *testing.T, action, result string) *awsiam.Reader {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", action, result)
	}))
	t.Cleanup(s.Close)
	return open(t, s.URL, account, nil)
}

func TestReader_refusesAnswersThatProveNothing(t *testing.T) {
	users := func(r *awsiam.Reader) error {
		return r.Users(t.Context(), func([]fact.User) error { return nil })
	}
	exposed := func(r *awsiam.Reader) error { _, err := r.Quarantined(t.Context(), "aws"); return err }
	keys := func(r *awsiam.Reader) error { _, err := r.Keys(t.Context(), "ana"); return err }
	use := func(r *awsiam.Reader) error { _, err := r.LastUse(t.Context(), "AKIA"); return err }
	caller := func(r *awsiam.Reader) error { _, err := r.Caller(t.Context()); return err }
	report := func(r *awsiam.Reader) error { _, _, err := r.Report(t.Context()); return err }
	for _, c := range []struct {
		name, action, result string
		read                 func(*awsiam.Reader) error
	}{
		{"no list of users", "ListUsers", "<IsTruncated>false</IsTruncated>", users},
		{"more users follow nowhere", "ListUsers", "<Users/><IsTruncated>true</IsTruncated>", users},
		{"a page of users follows itself", "ListUsers", "<Users/><IsTruncated>true</IsTruncated><Marker>m</Marker>", users},
		{"a user without a name", "ListUsers", "<Users><member><Path>/</Path></member></Users>", users},
		{"no list of exposed users", "ListEntitiesForPolicy", "<IsTruncated>false</IsTruncated>", exposed},
		{"no list of exposed users, nor anything", "ListEntitiesForPolicy", "", exposed},
		{"no list of keys", "ListAccessKeys", "", keys},
		{"a key without status", "ListAccessKeys", "<AccessKeyMetadata><member><AccessKeyId>A</AccessKeyId></member></AccessKeyMetadata>", keys},
		{"no last use", "GetAccessKeyLastUsed", "", use},
		{"a last use without a word", "GetAccessKeyLastUsed", "<AccessKeyLastUsed/>", use},
		{"a service and no date", "GetAccessKeyLastUsed", "<AccessKeyLastUsed><ServiceName>s3</ServiceName></AccessKeyLastUsed>", use},
		{"a caller without ARN", "GetCallerIdentity", "<Account>111122223333</Account>", caller},
		{
			"a caller of another account", "GetCallerIdentity",
			"<Account>111122223333</Account><Arn>arn:aws:iam::999999999999:user/x</Arn>", caller,
		},
		{"a state nobody knows", "GenerateCredentialReport", "<State>PERHAPS</State>", report},
		{"no tags", "ListUserTags", "", func(r *awsiam.Reader) error { _, err := r.Tags(t.Context(), "ana"); return err }},
		{"no aliases", "ListAccountAliases", "", func(r *awsiam.Reader) error { _, err := r.Alias(t.Context()); return err }},
		{"no summary", "GetAccountSummary", "", func(r *awsiam.Reader) error { _, err := r.RootHasKeys(t.Context()); return err }},
		{"no profile", "GetLoginProfile", "", func(r *awsiam.Reader) error { _, err := r.Password(t.Context(), "ana"); return err }},
	} {
		if err := c.read(canned(t, c.action, c.result)); !errors.Is(err, awsiam.ErrUnusable) {
			t.Errorf("%s: %v, want %v", c.name, err, awsiam.ErrUnusable)
		}
	}
}

func TestQuarantined_takesAnEmptyListForNobody(t *testing.T) {
	got, err := canned(t, "ListEntitiesForPolicy", "<PolicyUsers/><IsTruncated>false</IsTruncated>").Quarantined(t.Context(), "aws")
	if err != nil || len(got) != 0 {
		t.Errorf("%v, %v, want nobody", got, err)
	}
}

func TestSettings_endpointIsAnAbsoluteWebAddress(t *testing.T) {
	for url, want := range map[string]bool{
		"":                             true,
		"http://127.0.0.1:5000":        true,
		"https://iam.example.com/path": true,
		"127.0.0.1:5000":               false,
		"localhost:5000":               false,
		"iam.example.com":              false,
		"//iam.example.com":            false,
		"https://":                     false,
		"http://:5000":                 false,
		"ftp://iam.example.com":        false,
		"http://a b":                   false,
	} {
		err := awsiam.Settings{EndpointURL: url}.Validate()
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "the endpoint") {
			t.Errorf("%q: %v, want valid: %v", url, err, want)
		}
	}
}

func TestOpen_tellsAVariableThatMakesNoSenseFromMissingCredentials(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_MAX_ATTEMPTS": "x", "AWS_RETRY_MODE": "perhaps", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "perhaps",
	} {
		t.Run(name, func(t *testing.T) {
			bare(t)
			t.Setenv(name, value)
			_, err := awsiam.Open(t.Context(), awsiam.Settings{})
			if !errors.Is(err, awsiam.ErrSettings) || errors.Is(err, awsiam.ErrNoCredentials) || !strings.Contains(err.Error(), value) {
				t.Errorf("%v, want %v with %q", err, awsiam.ErrSettings, value)
			}
		})
	}
}

func TestOpen_aNumberOfAttemptsBelowOneIsTheDefault(t *testing.T) {
	bare(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAFAKE"+account)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	t.Setenv("AWS_MAX_ATTEMPTS", "-1") // without end, in the eyes of the SDK
	cloud := crowd(t, 1)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle})
	r := openBare(t, awsiam.Settings{EndpointURL: serve(t, cloud), BackoffCap: time.Millisecond})
	if _, err := r.Tags(t.Context(), "u000"); !errors.Is(err, awsiam.ErrThrottled) || r.Attempts() != 10 {
		t.Errorf("%v after %d attempts, want %v after 10", err, r.Attempts(), awsiam.ErrThrottled)
	}
}

func TestReport_refusesAReportWithoutContent(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		action := r.Form.Get("Action")
		result := "<State>COMPLETE</State>"
		if action == "GetCredentialReport" {
			result = "<Content></Content><ReportFormat>text/csv</ReportFormat><GeneratedTime>2026-03-01T12:00:00Z</GeneratedTime>"
		}
		_, _ = fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", action, result)
	}))
	t.Cleanup(s.Close)
	body, _, err := open(t, s.URL, account, nil).Report(t.Context())
	if !errors.Is(err, awsiam.ErrUnusable) || body != nil {
		t.Errorf("%d bytes, %v, want %v", len(body), err, awsiam.ErrUnusable)
	}
}
