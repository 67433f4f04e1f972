package fakeaws_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// pair is an account with the user ana, tagged, and her keys K1 and K2.
func pair(t *testing.T) (*fakeaws.Cloud, *fakeaws.Account) {
	t.Helper()
	c := fakeaws.New(at("2026-01-01T00:00:00Z"))
	a := c.AddAccount(fact.Account{ID: account})
	err := a.AddUser(fakeaws.User{
		Name: "ana", Tags: map[string]string{"team": "data"}, Keys: []fakeaws.Key{{ID: "K1"}, {ID: "K2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

func about(pairs ...string) url.Values {
	v := url.Values{"UserName": {"ana"}}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func TestWrites_areThoseThatTookEffect(t *testing.T) {
	c, a := pair(t)
	endpoint := start(t, c)
	send := func(action string, params url.Values) { call(t, endpoint, a.Credential(), action, params) }
	send("UpdateAccessKey", about("AccessKeyId", "K1", "Status", "Inactive"))
	send("UpdateAccessKey", about("AccessKeyId", "K1", "Status", "Inactive"))
	send("UpdateAccessKey", about("AccessKeyId", "K9", "Status", "Inactive"))
	send("UpdateAccessKey", about("AccessKeyId", "K1", "Status", "Perhaps"))
	c.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Times: 1}, fakeaws.Fault{Kind: fakeaws.ErrorBefore, Times: 1}, fakeaws.Fault{Kind: fakeaws.ErrorAfter, Times: 1})
	for range 4 { // throttled, without effect, with effect, and then there is no such key
		send("DeleteAccessKey", about("UserName", "ANA", "AccessKeyId", "K1"))
	}
	send("CreateAccessKey", about())
	send("ListAccessKeys", about())
	created := a.Users()[0].Keys[0].ID
	want := []fakeaws.Write{
		{Action: "iam:UpdateAccessKey", User: "ana", KeyID: "K1", Status: "Inactive", Effect: true},
		{Action: "iam:UpdateAccessKey", User: "ana", KeyID: "K1", Status: "Inactive"},
		{Action: "iam:DeleteAccessKey", User: "ana", KeyID: "K1", Effect: true},
		{Action: "iam:CreateAccessKey", User: "ana", KeyID: created, Effect: true},
	}
	if diff := cmp.Diff(want, a.Writes()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStaleReads_showTheKeysAsTheyWere(t *testing.T) {
	for action, params := range map[string]url.Values{
		"UpdateAccessKey": about("AccessKeyId", "K1", "Status", "Inactive"),
		"DeleteAccessKey": about("AccessKeyId", "K1"),
	} {
		c, a := pair(t)
		c.Set(fakeaws.Switches{StaleReads: 2})
		endpoint := start(t, c)
		list := func() string {
			_, body := call(t, endpoint, a.Credential(), "ListAccessKeys", about())
			_, body, _ = strings.Cut(body, "<AccessKeyMetadata>")
			body, _, _ = strings.Cut(body, "</AccessKeyMetadata>")
			return body
		}
		before := list()
		for range 2 { // and the same once more has no effect, or fails, and starts nothing anew
			call(t, endpoint, a.Credential(), action, params)
		}
		for i, stale := range []bool{true, true, false, false} {
			if got := list() == before; got != stale {
				t.Errorf("%s: reading %d shows the state before: %v, want %v", action, i+1, got, stale)
			}
		}
		if k := a.Users()[0].Keys[0]; k.ID == "K1" && !k.Inactive {
			t.Errorf("%s: the account itself has not changed", action)
		}
	}
}

func TestAllow_isDecidedBeforeAnythingIsLookedFor(t *testing.T) {
	c, a := pair(t)
	a.Allow("LIMITED", "iam:List*", "iam:GetUser")
	a.Allow("K1", "iam:GetUser")
	endpoint := start(t, c)
	nobody := url.Values{"UserName": {"nobody"}, "AccessKeyId": {"K9"}, "Status": {"Inactive"}}
	for _, step := range []struct {
		key, action string
		params      url.Values
		want        string
	}{
		{"LIMITED", "ListUsers", nil, "<Users>"},
		{"LIMITED", "ListAccessKeys", nobody, "NoSuchEntity"},
		{"LIMITED", "GetUser", about(), "<Value>data</Value>"},
		{"LIMITED", "GetLoginProfile", about(), "AccessDenied"},
		{"LIMITED", "UpdateAccessKey", nobody, "AccessDenied"},
		{"LIMITED", "DeleteAccessKey", nobody, "AccessDenied"},
		{"LIMITED", "NoSuchAction", nil, "AccessDenied"},
		{"LIMITED", "sts:GetCallerIdentity", nil, "user/limited/LIMITED</Arn>"},
		{"LIMITED", "sts:AssumeRole", nil, "AccessDenied"},
		{"K1", "GetUser", nil, "<UserName>ana</UserName>"},
		{"K1", "ListUsers", nil, "AccessDenied"},
		{"K2", "ListUsers", nil, "<Users>"},
		{"UNKNOWN", "ListUsers", nil, "InvalidClientTokenId"},
	} {
		if _, body := call(t, endpoint, step.key, step.action, step.params); !strings.Contains(body, step.want) {
			t.Errorf("%s by %s: %s, want %s", step.action, step.key, body, step.want)
		}
	}
	if err := a.DeleteKey("ana", "K1"); err != nil {
		t.Fatal(err)
	}
	if _, body := call(t, endpoint, "K1", "GetUser", nil); !strings.Contains(body, "InvalidClientTokenId") {
		t.Errorf("a deleted key: %s, want InvalidClientTokenId", body)
	}
	if got := a.Writes(); len(got) != 0 {
		t.Errorf("writes %v, want none", got)
	}
}

func TestGetUser_withoutANameIsAboutTheCaller(t *testing.T) {
	c, a := pair(t)
	endpoint := start(t, c)
	for key, want := range map[string]string{"K1": "<UserName>ana</UserName>", a.Credential(): "ValidationError"} {
		if _, body := call(t, endpoint, key, "GetUser", nil); !strings.Contains(body, want) {
			t.Errorf("by %s: %s, want %s", key, body, want)
		}
	}
	if _, body := call(t, endpoint, a.Credential(), "ListUsers", nil); strings.Contains(body, "Tags") {
		t.Errorf("a listing has tags, which AWS leaves out: %s", body)
	}
}

func TestOnCall_isToldEachPhaseAndWhatHoldsThen(t *testing.T) {
	c, a := pair(t)
	endpoint := start(t, c)
	type moment struct {
		Action  string
		Phase   fakeaws.Phase
		Deleted bool
	}
	var (
		mu  sync.Mutex
		got []moment
	)
	told := make(chan struct{}, 10) // the answer is there before its phase is told
	c.OnCall(func(action string, phase fakeaws.Phase) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, moment{action, phase, len(a.Users()[0].Keys) == 1})
		if phase == fakeaws.Answered {
			told <- struct{}{}
		}
	})
	if status, body := call(t, endpoint, a.Credential(), "DeleteAccessKey", about("AccessKeyId", "K1")); status != http.StatusOK {
		t.Fatal(body)
	}
	<-told
	c.OnCall(nil)
	call(t, endpoint, a.Credential(), "ListUsers", nil)
	want := []moment{
		{"iam:DeleteAccessKey", fakeaws.Arrived, false},
		{"iam:DeleteAccessKey", fakeaws.Done, true},
		{"iam:DeleteAccessKey", fakeaws.Answered, true},
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(want, got); diff != "" || len(fakeaws.Phases()) != len(want) {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOnCall_theAnswerIsWithTheClientWhenItIsSaidToBeSent(t *testing.T) {
	c, a := pair(t)
	endpoint := start(t, c)
	arrived, release := make(chan struct{}), make(chan struct{})
	c.OnCall(func(_ string, phase fakeaws.Phase) {
		if phase == fakeaws.Answered {
			close(arrived)
			<-release
		}
	})
	defer close(release)
	status, body := call(t, endpoint, a.Credential(), "ListUsers", nil) // returns while the phase lasts
	<-arrived
	if status != http.StatusOK || !strings.HasSuffix(body, "</ListUsersResponse>") {
		t.Errorf("HTTP %d %s", status, body)
	}
}
