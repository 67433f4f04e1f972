package awsiam_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
)

const (
	versionOne = "keyreeve-test-version-0000000000000001"
	versionTwo = "keyreeve-test-version-0000000000000002"
	carried    = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

func storeSettings(url string) awsiam.Settings {
	return awsiam.Settings{
		EndpointURL: url, Region: "eu-west-1", Credentials: credentials("AKIAFAKE"+contractAccount, ""), BackoffCap: time.Millisecond, MaxAttempts: 2,
	}
}

func openSecrets(t *testing.T, s awsiam.Settings) *awsiam.Secrets {
	t.Helper()
	out, err := awsiam.OpenSecrets(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	return out
}

func openParameters(t *testing.T, s awsiam.Settings) *awsiam.Parameters {
	t.Helper()
	out, err := awsiam.OpenParameters(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	return out
}

func TestSecrets_putBesideAndMakeCurrent(t *testing.T) {
	s, ctx := openSecrets(t, storeSettings(moto.Start(t).URL())), t.Context()
	one, two := fact.NewSecret("one"), fact.NewSecret("two")
	if err := errors.Join(
		s.CreateSecret(ctx, "prod/ci", versionOne, one, ""),
		s.PutSecret(ctx, "prod/ci", versionTwo, two, "AWSPENDING"),
		s.PutSecret(ctx, "prod/ci", versionTwo, two, "AWSPENDING"),
		s.MayMoveLabel(ctx, "prod/ci"),
	); err != nil {
		t.Fatal(err)
	}
	labels, doomed, err := s.SecretVersions(ctx, "prod/ci")
	if want := map[string]string{"AWSCURRENT": versionOne, "AWSPENDING": versionTwo}; err != nil || doomed || !cmp.Equal(labels, want) {
		t.Errorf("%v, %v, %v, want %v", labels, doomed, err, want)
	}
	if err := s.MoveLabel(ctx, "prod/ci", "AWSCURRENT", versionOne, versionTwo); err != nil {
		t.Fatal(err)
	}
	if err := s.MoveLabel(ctx, "prod/ci", "AWSCURRENT", versionOne, versionTwo); err == nil {
		t.Error("a label moved from a version that does not bear it")
	}
	labels, _, err = s.SecretVersions(ctx, "prod/ci")
	if err != nil || labels["AWSCURRENT"] != versionTwo || labels["AWSPREVIOUS"] != versionOne {
		t.Errorf("%v, %v", labels, err)
	}
	for version, want := range map[string]fact.Secret{versionOne: one, versionTwo: two} {
		if got, err := s.SecretValue(ctx, "prod/ci", version); err != nil || got != want {
			t.Errorf("%s: %q, %v", version, got.Reveal(), err)
		}
	}
	// Of a version that is no longer pending: moto would fill a pending one again.
	if err := s.PutSecret(ctx, "prod/ci", versionOne, two, "AWSPENDING"); err == nil || errors.Is(err, fact.ErrUnclear) {
		t.Errorf("a version took another value: %v", err)
	}
	_, _, err = s.SecretVersions(ctx, "prod/none")
	_, valueErr := s.SecretValue(ctx, "prod/none", versionOne)
	for _, err := range []error{err, valueErr, s.PutSecret(ctx, "prod/none", versionOne, one, "AWSPENDING")} {
		if !errors.Is(err, fact.ErrNotFound) || errors.Is(err, fact.ErrUnclear) {
			t.Errorf("%v, want %v", err, fact.ErrNotFound)
		}
	}
	var seen []string
	for action := range s.Calls() {
		seen = append(seen, strings.ReplaceAll(action, "secrets manager:", "secretsmanager:"))
	}
	slices.Sort(seen)
	if diff := cmp.Diff(awsiam.SecretActions(true), seen); diff != "" {
		t.Errorf("actions (-listed +seen):\n%s", diff)
	}
	if want := slices.DeleteFunc(slices.Clone(seen), func(a string) bool { return strings.HasSuffix(a, "CreateSecret") }); !cmp.Equal(awsiam.SecretActions(false), want) {
		t.Errorf("without creating: %v", awsiam.SecretActions(false))
	}
}

func TestParameters_keepTheirManner(t *testing.T) {
	p, ctx := openParameters(t, storeSettings(moto.Start(t).URL())), t.Context()
	const name = "/prod/ci"
	for n := int64(1); n <= 120; n++ {
		v, err := p.PutParameter(ctx, name, fact.NewSecret(fmt.Sprint("value ", n)), "alias/prod", "Standard", n > 1)
		if err != nil || v != n {
			t.Fatalf("version %d, %v, want %d", v, err, n)
		}
	}
	newest, oldest, key, tier, err := p.SecureString(ctx, name)
	if err != nil || newest != 120 || oldest != 21 || key != "alias/prod" || tier != "Standard" {
		t.Errorf("%d, %d, %q, %q, %v", newest, oldest, key, tier, err)
	}
	for version, want := range map[int64]string{0: "value 120", 120: "value 120", 21: "value 21"} {
		if got, v, err := p.ParameterValue(ctx, name, version); err != nil || got.Reveal() != want || version != 0 && v != version {
			t.Errorf("version %d: %q, %d, %v", version, got.Reveal(), v, err)
		}
	}
	if err := p.MayPutParameter(ctx, name, key, tier); err != nil {
		t.Error(err)
	}
	if got, v, err := p.ParameterValue(ctx, name, 0); err != nil || v != 120 || got.Reveal() != "value 120" {
		t.Errorf("asking changed it: %d, %v", v, err)
	}
	_, _, goneErr := p.ParameterValue(ctx, name, 20)
	_, _, noneErr := p.ParameterValue(ctx, "/none", 0)
	_, _, _, _, mannerErr := p.SecureString(ctx, "/none")
	for _, err := range []error{goneErr, noneErr, mannerErr} {
		if !errors.Is(err, fact.ErrNotFound) {
			t.Errorf("%v, want %v", err, fact.ErrNotFound)
		}
	}
	var seen []string
	for action := range p.Calls() {
		seen = append(seen, action)
	}
	slices.Sort(seen)
	if diff := cmp.Diff(awsiam.ParameterActions(), seen); diff != "" {
		t.Errorf("actions (-listed +seen):\n%s", diff)
	}
}

// worded leads to moto, and words a denial in JSON as AWS does: moto answers in XML, whatever the service speaks.
func worded(t *testing.T, target string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u); r.Out.Host = r.In.Host }}
	proxy.ModifyResponse = func(res *http.Response) error {
		if res.StatusCode != http.StatusForbidden {
			return nil
		}
		var refusal struct {
			Code string `xml:"Error>Code"`
		}
		if err := xml.NewDecoder(res.Body).Decode(&refusal); err != nil {
			return err
		}
		body := fmt.Sprintf(`{"__type":"%sException","message":"not authorized"}`, strings.TrimSuffix(refusal.Code, "Exception"))
		res.StatusCode, res.ContentLength, res.Body = http.StatusBadRequest, int64(len(body)), io.NopCloser(strings.NewReader(body))
		res.Header.Set("Content-Length", fmt.Sprint(len(body)))
		return nil
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

func TestStores_aUserWithoutPermissionIsDenied(t *testing.T) {
	m, ctx := moto.Start(t), t.Context()
	api, _ := clients(m.URL(), contractAccount)
	if _, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("bob")}); err != nil {
		t.Fatal(err)
	}
	key, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("bob")})
	if err != nil {
		t.Fatal(err)
	}
	free := storeSettings(m.URL())
	value := fact.NewSecret(carried)
	_, putErr := openParameters(t, free).PutParameter(ctx, "/ci", value, "", "", false)
	if err := errors.Join(putErr, openSecrets(t, free).CreateSecret(ctx, "ci", versionOne, value, "")); err != nil {
		t.Fatal(err)
	}
	bound := free
	bound.EndpointURL = worded(t, m.URL())
	bound.Credentials = &awsiam.Credentials{ID: *key.AccessKey.AccessKeyId, Secret: fact.NewSecret(*key.AccessKey.SecretAccessKey)}
	m.Enforce(true)
	defer m.Enforce(false)
	s, p := openSecrets(t, bound), openParameters(t, bound)
	_, _, describeErr := s.SecretVersions(ctx, "ci")
	_, readErr := s.SecretValue(ctx, "ci", versionOne)
	_, _, valueErr := p.ParameterValue(ctx, "/ci", 0)
	_, _, _, _, mannerErr := p.SecureString(ctx, "/ci")
	_, putErr = p.PutParameter(ctx, "/ci", value, "", "", true)
	for what, err := range map[string]error{
		"describe": describeErr, "read": readErr, "value": valueErr, "manner": mannerErr, "put parameter": putErr,
		"put": s.PutSecret(ctx, "ci", versionTwo, value, "AWSPENDING"), "create": s.CreateSecret(ctx, "ci2", versionTwo, value, ""),
		"move": s.MoveLabel(ctx, "ci", "AWSCURRENT", versionOne, versionTwo), "may move": s.MayMoveLabel(ctx, "ci"),
		"may put": p.MayPutParameter(ctx, "/ci", "", ""),
	} {
		if !errors.Is(err, fact.ErrDenied) || errors.Is(err, fact.ErrUnclear) {
			t.Errorf("%s: %v, want %v", what, err, fact.ErrDenied)
		}
	}
}

func TestStores_areReachedByARoleOfAnotherAccount(t *testing.T) {
	m, ctx := moto.Start(t), t.Context()
	far := storeSettings(m.URL())
	far.RoleARN, far.ExternalID = "arn:aws:iam::222233334444:role/keyreeve", "x-1"
	value := fact.NewSecret("far")
	if _, err := openParameters(t, far).PutParameter(ctx, "/ci", value, "", "", false); err != nil {
		t.Fatal(err)
	}
	if err := openSecrets(t, far).CreateSecret(ctx, "ci", versionOne, value, ""); err != nil {
		t.Fatal(err)
	}
	if got, err := openSecrets(t, far).SecretValue(ctx, "ci", versionOne); err != nil || got != value {
		t.Errorf("far: %v", err)
	}
	near := storeSettings(m.URL())
	if _, err := openSecrets(t, near).SecretValue(ctx, "ci", versionOne); !errors.Is(err, fact.ErrNotFound) {
		t.Errorf("near: %v, want %v", err, fact.ErrNotFound)
	}
	if _, _, err := openParameters(t, near).ParameterValue(ctx, "/ci", 0); !errors.Is(err, fact.ErrNotFound) {
		t.Errorf("near: %v, want %v", err, fact.ErrNotFound)
	}
}

func TestStores_doNotRepeatWhatSomebodyElseRefuses(t *testing.T) {
	for status, want := range map[int]int32{400: 1, 403: 1, 404: 1, 408: 3, 429: 3, 200: 3, 503: 3} {
		var calls atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<html>nothing here</html>")
		}))
		set := storeSettings(server.URL)
		set.MaxAttempts, set.BackoffCap = 3, time.Millisecond
		for what, ask := range map[string]func() error{
			"secret":    func() error { _, _, err := openSecrets(t, set).SecretVersions(t.Context(), "ci"); return err },
			"parameter": func() error { _, _, err := openParameters(t, set).ParameterValue(t.Context(), "/ci", 0); return err },
		} {
			calls.Store(0)
			err := ask()
			if n := calls.Load(); n != want {
				t.Errorf("HTTP %d: the %s was asked for %d times, want %d: %v", status, what, n, want, err)
			}
			var e *awsiam.Error
			if want == 1 && (!errors.As(err, &e) || !strings.Contains(err.Error(), "without a JSON object: it holds text/html") || !strings.Contains(e.Hint(), "--endpoint-url")) {
				t.Errorf("HTTP %d: %v", status, err)
			}
		}
		server.Close()
	}
}

func TestStores_tellTheKindOfAnAnswerAndQuoteNoSecret(t *testing.T) {
	type answer struct {
		status int
		body   string
	}
	code := func(status int, code, message string) answer {
		b, err := json.Marshal(map[string]string{"__type": code, "message": message})
		if err != nil {
			t.Fatal(err)
		}
		return answer{status, string(b)}
	}
	for name, c := range map[string]struct {
		answer  answer
		kind    error
		unclear bool
		text    string
	}{
		"a page":         {answer{200, "<html>login</html>"}, awsiam.ErrUnusable, true, "without a JSON object"},
		"nothing":        {answer{200, ""}, awsiam.ErrUnusable, true, "without a JSON object"},
		"empty":          {answer{200, "{}"}, awsiam.ErrUnusable, true, ""},
		"half":           {answer{200, `{"VersionId":`}, awsiam.ErrUnusable, true, "without a JSON object"},
		"a refusal page": {answer{403, "<html>no</html>"}, awsiam.ErrUnusable, true, "without a JSON object"},
		"a fault":        {answer{500, ""}, awsiam.ErrUnavailable, true, ""},
		"their fault":    {code(500, "InternalServiceError", "x"), awsiam.ErrUnavailable, true, ""},
		"denied":         {code(400, "AccessDeniedException", "x"), fact.ErrDenied, false, "access denied"},
		"busy":           {code(400, "ThrottlingException", "x"), fact.ErrThrottled, false, ""},
		"updates":        {code(400, "TooManyUpdates", "x"), fact.ErrThrottled, false, ""},
		"gone":           {code(400, "ResourceNotFoundException", "x"), fact.ErrNotFound, false, ""},
		"gone too":       {code(400, "ParameterNotFound", "x"), fact.ErrNotFound, false, ""},
		"strange":        {code(400, "KMSDisabledFault", "the key is off"), nil, false, "the key is off"},
		"quoting":        {code(400, "ValidationException", "Value '"+carried+"' at 'value'"), nil, false, "withheld"},
		"quoting a part": {code(400, "ValidationException", "Value '"+carried[:20]+"...'"), nil, false, "withheld"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.answer.status)
				_, _ = io.WriteString(w, c.answer.body)
			}))
			defer server.Close()
			s, p := openSecrets(t, storeSettings(server.URL)), openParameters(t, storeSettings(server.URL))
			value := fact.NewSecret(`{"SecretAccessKey":"` + carried + `"}`)
			_, putErr := p.PutParameter(t.Context(), "/ci", value, "", "", true)
			for what, err := range map[string]error{"secret": s.PutSecret(t.Context(), "ci", versionOne, value, "AWSPENDING"), "parameter": putErr} {
				var e *awsiam.Error
				if !errors.As(err, &e) || (e.Kind == nil) != (c.kind == nil) || c.kind != nil && !errors.Is(e.Kind, c.kind) || errors.Is(err, fact.ErrUnclear) != c.unclear || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%s: %v; want %v, unclear %v, %q", what, err, c.kind, c.unclear, c.text)
				}
				if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, carried[:20]) {
					t.Errorf("%s: the error quotes the secret: %s", what, text)
				}
			}
			if _, _, err := s.SecretVersions(t.Context(), "ci"); err == nil || errors.Is(err, fact.ErrUnclear) {
				t.Errorf("a reading: %v", err)
			}
		})
	}
}
