package awsiam_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// methods are the names of the exported methods of v.
func methods(v any) []string {
	var out []string
	for i := range reflect.TypeOf(v).NumMethod() {
		out = append(out, reflect.TypeOf(v).Method(i).Name)
	}
	return out
}

func TestReaderAndWriter_haveTheirMethodsAndNoOthers(t *testing.T) {
	common := []string{"Attempts", "Caller", "Calls", "Close", "KeyIDs", "Keys", "LastUse", "Quarantined", "SessionUsers", "Skew"}
	reads := []string{"Alias", "Password", "Report", "RootHasKeys", "Tags", "Users"}
	writes := []string{"DeleteKey", "MayDelete", "MaySetActive", "SetActive", "User"}
	for _, c := range []struct {
		of   any
		want []string
	}{
		{(*awsiam.Reader)(nil), append(reads, common...)},  // nothing that changes an account
		{(*awsiam.Writer)(nil), append(writes, common...)}, // nothing that an audit could run on
	} {
		slices.Sort(c.want)
		if diff := cmp.Diff(c.want, methods(c.of)); diff != "" {
			t.Errorf("%T (-want +got):\n%s", c.of, diff)
		}
	}
}

func TestReader_neverSendsACallThatChangesAKey(t *testing.T) {
	cloud := crowd(t, 3)
	if _, err := readAll(t.Context(), open(t, serve(t, cloud), account, nil)); err != nil {
		t.Fatal(err)
	}
	if got := cloud.Account(account).Writes(); len(got) != 0 {
		t.Errorf("writes %v, want none", got)
	}
}

func TestRemediateActions_areThoseSeenAtTheWire(t *testing.T) {
	cloud := crowd(t, 2)
	id := cloud.Account(account).Users()[0].Keys[0].ID
	w := openWriter(t, serve(t, cloud), account, nil)
	ctx := t.Context()
	_, callerErr := w.Caller(ctx)
	_, userErr := w.User(ctx, "u000")
	_, keysErr := w.Keys(ctx, "u000")
	_, useErr := w.LastUse(ctx, id)
	_, quarantineErr := w.Quarantined(ctx, "aws")
	if err := errors.Join(
		callerErr, userErr, keysErr, useErr, quarantineErr, w.MaySetActive(ctx, "u000"), w.MayDelete(ctx, "u000"),
		w.SetActive(ctx, "u000", id, false), w.DeleteKey(ctx, "u000", id),
	); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, call := range cloud.Calls() {
		seen[call.Action] = true
	}
	delete(seen, "sts:GetCallerIdentity") // needs no permission
	var got []string
	for action := range seen {
		got = append(got, action)
	}
	slices.Sort(got)
	if diff := cmp.Diff(awsiam.RemediateActions(), got); diff != "" {
		t.Errorf("actions (-listed +seen):\n%s", diff)
	}
	for name, list := range map[string][]string{
		"remediate": awsiam.RemediateActions(), "look": awsiam.LookActions(), "act": awsiam.ActActions(),
	} {
		if !slices.IsSorted(list) {
			t.Errorf("%s is not sorted: %v", name, list)
		}
	}
}

func TestWriter_refusalsAreSentencesWithTheNextMove(t *testing.T) {
	cloud := crowd(t, 1)
	id := cloud.Account(account).Users()[0].Keys[0].ID
	w := openWriter(t, serve(t, cloud), account, nil)
	if _, err := w.Caller(t.Context()); err != nil {
		t.Fatal(err)
	}
	in := " in account " + account + ": access denied: "
	hint := "keyreeve iam-policy --for remediate prints the policy"
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny})
	for want, err := range map[string]error{
		`deactivate key "` + id + `" of user "u000"` + in + "iam:UpdateAccessKey":                          w.SetActive(t.Context(), "u000", id, false),
		`activate key "` + id + `" of user "u000"` + in + "iam:UpdateAccessKey":                            w.SetActive(t.Context(), "u000", id, true),
		`delete key "` + id + `" of user "u000"` + in + "iam:DeleteAccessKey":                              w.DeleteKey(t.Context(), "u000", id),
		`read user "u000"` + in + "iam:GetUser":                                                            func() error { _, err := w.User(t.Context(), "u000"); return err }(),
		`list access keys of user "u000"` + in + "iam:ListAccessKeys":                                      func() error { _, err := w.Keys(t.Context(), "u000"); return err }(),
		`check the permission to activate and deactivate keys of user "u000"` + in + "iam:UpdateAccessKey": w.MaySetActive(t.Context(), "u000"),
		`check the permission to delete keys of user "u000"` + in + "iam:DeleteAccessKey":                  w.MayDelete(t.Context(), "u000"),
	} {
		var e *awsiam.Error
		if !errors.As(err, &e) || err.Error() != want || e.Hint() != hint {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	cloud.Heal()
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.ErrorAfter})
	err := w.SetActive(t.Context(), "u000", id, false)
	want := `deactivate key "` + id + `" of user "u000" in account ` + account +
		": no answer from AWS: ServiceFailure: The request processing has failed.; it may have taken effect"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestWriter_refusesEmptyNamesForTheyMeanTheCaller(t *testing.T) {
	w := openWriter(t, serve(t, crowd(t, 1)), account, nil)
	ctx := t.Context()
	_, userErr := w.User(ctx, "")
	_, keysErr := w.Keys(ctx, "")
	for _, err := range []error{
		userErr, keysErr, w.MaySetActive(ctx, ""), w.MayDelete(ctx, ""),
		w.SetActive(ctx, "", "AKIA", false), w.SetActive(ctx, "u000", "", false), w.DeleteKey(ctx, "", "AKIA"), w.DeleteKey(ctx, "u000", ""),
	} {
		if err == nil || errors.Is(err, fact.ErrUnclear) {
			t.Errorf("%v, want a clear refusal", err)
		}
	}
	if w.Attempts() != 0 {
		t.Errorf("%d requests, want none", w.Attempts())
	}
}

// said opens a Writer that hears the same answer to every call.
func said(t *testing.T, status int, answer string) *awsiam.Writer {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(s.Close)
	return openWriter(t, s.URL, account, func(set *awsiam.Settings) { set.MaxAttempts = 2 })
}

func TestUser_refusesAnswersThatProveNothing(t *testing.T) {
	const user = "<UserName>%s</UserName><UserId>%s</UserId><Arn>%s</Arn><CreateDate>%s</CreateDate>"
	const arn, date = "arn:aws:iam::111122223333:user/ana", "2026-01-01T00:00:00Z"
	for name, c := range map[string]struct {
		body string
		good bool
	}{
		"ana":          {fmt.Sprintf(user, "ana", "AIDA1", arn, date), true},
		"another case": {fmt.Sprintf(user, "Ana", "AIDA1", arn, date), true},
		"another user": {fmt.Sprintf(user, "anna", "AIDA1", arn, date), false},
		"without name": {fmt.Sprintf(user, "", "AIDA1", arn, date), false},
		"without id":   {fmt.Sprintf(user, "ana", "", arn, date), false},
		"without ARN":  {fmt.Sprintf(user, "ana", "AIDA1", "", date), false},
		"without date": {"<UserName>ana</UserName><UserId>AIDA1</UserId><Arn>" + arn + "</Arn>", false},
		"nothing":      {"", false},
	} {
		w := said(t, http.StatusOK, "<GetUserResponse><GetUserResult><User>"+c.body+"</User></GetUserResult></GetUserResponse>")
		if _, err := w.User(t.Context(), "ana"); c.good != (err == nil) || !c.good && !errors.Is(err, awsiam.ErrUnusable) {
			t.Errorf("%s: %v, want it taken: %v", name, err, c.good)
		}
	}
	w := said(t, http.StatusOK, "<GetUserResponse><GetUserResult/></GetUserResponse>")
	if _, err := w.User(t.Context(), "ana"); !errors.Is(err, awsiam.ErrUnusable) {
		t.Errorf("no user: %v, want %v", err, awsiam.ErrUnusable)
	}
}

// A success cannot be had for a key that does not exist, so whoever says so is not AWS.
func TestMay_takesOnlyNoSuchEntityForYes(t *testing.T) {
	refusal := "<ErrorResponse><Error><Code>%s</Code><Message>m</Message></Error></ErrorResponse>"
	for _, c := range []struct {
		status int
		answer string
		want   error // nil: leave
	}{
		{404, fmt.Sprintf(refusal, "NoSuchEntity"), nil},
		{403, fmt.Sprintf(refusal, "AccessDenied"), awsiam.ErrDenied},
		{403, fmt.Sprintf(refusal, "InvalidClientTokenId"), awsiam.ErrBadCredentials},
		{400, fmt.Sprintf(refusal, "Throttling"), awsiam.ErrThrottled},
		{500, fmt.Sprintf(refusal, "ServiceFailure"), awsiam.ErrUnavailable},
		{200, "<%sResponse><ResponseMetadata/></%[1]sResponse>", awsiam.ErrUnusable},
		{200, "", awsiam.ErrUnusable},
		{404, "", awsiam.ErrUnusable},
		{404, "<html>NoSuchEntity</html>", errAny},
		{400, fmt.Sprintf(refusal, "ValidationError"), errAny},
	} {
		for action, may := range map[string]func(*awsiam.Writer) error{
			"UpdateAccessKey": func(w *awsiam.Writer) error { return w.MaySetActive(t.Context(), "ana") },
			"DeleteAccessKey": func(w *awsiam.Writer) error { return w.MayDelete(t.Context(), "ana") },
		} {
			answer := strings.ReplaceAll(strings.ReplaceAll(c.answer, "%s", action), "%[1]s", action)
			err := may(said(t, c.status, answer))
			if errors.Is(c.want, errAny) && err != nil && !errors.Is(err, fact.ErrUnclear) {
				continue
			}
			if !errors.Is(err, c.want) || errors.Is(err, fact.ErrUnclear) {
				t.Errorf("HTTP %d %q: %v, want %v", c.status, answer, err, c.want)
			}
		}
	}
}

var errAny = errors.New("any error")

func TestMay_asksAboutAKeyThatCannotExist(t *testing.T) {
	cloud := crowd(t, 1)
	w := openWriter(t, serve(t, cloud), account, nil)
	if err := errors.Join(w.MaySetActive(t.Context(), "u000"), w.MayDelete(t.Context(), "u000")); err != nil {
		t.Fatal(err)
	}
	for _, call := range cloud.Calls() {
		id := call.Params.Get("AccessKeyId")
		if len(id) != 20 || !strings.ContainsAny(id, "0189") || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" ||
			strings.HasPrefix(id, "AKIA") || strings.HasPrefix(id, "ASIA") || call.Code != "NoSuchEntity" {
			t.Errorf("%s about key %q: %s", call.Action, id, call.Code)
		}
	}
	if got := cloud.Account(account).Writes(); len(got) != 0 {
		t.Errorf("writes %v, want none", got)
	}
}
