package awsiam_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

const roleARN = "arn:aws:iam::" + roleAccount + ":role/team/keyreeve"

func TestSettings_roleIsAssumedOnceForAllCalls(t *testing.T) {
	for name, c := range map[string]struct {
		session, external string
		want              string // of the ARN
	}{
		"by default": {want: "/keyreeve"},
		"named":      {session: "ana@example.com", external: "tide:1/x", want: "/ana@example.com"},
	} {
		cloud := roles(t)
		cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Action: "sts:AssumeRole", Times: 3}) // assumed with our patience
		w := openWriter(t, serve(t, cloud), account, func(s *awsiam.Settings) {
			s.RoleARN, s.SessionName, s.ExternalID, s.UserAgent, s.Concurrency = roleARN, c.session, c.external, "keyreeve/1", 1
		})
		for range 3 {
			got, err := w.Caller(t.Context())
			if err != nil || got.ARN != "arn:aws:sts::"+roleAccount+":assumed-role/keyreeve"+c.want {
				t.Fatalf("%s: %+v, %v", name, got, err)
			}
		}
		if got := w.Calls(); !cmp.Equal(got, map[string]int{"sts:GetCallerIdentity": 3}) || w.Attempts() != 7 {
			t.Errorf("%s: calls %v and %d requests, want 3 and 7", name, got, w.Attempts())
		}
		if got := cloud.Calls()[3].Params.Get("ExternalId"); got != c.external {
			t.Errorf("%s: external id %q, want %q", name, got, c.external)
		}
	}
}

func TestSettings_roleIsAssumedByAProfileAndItsRoles(t *testing.T) {
	bare(t)
	profiles(t, "")
	cloud := roles(t)
	r := openBare(t, awsiam.Settings{Profile: "audit", RoleARN: "arn:aws:iam::" + farAccount + ":role/keyreeve", EndpointURL: serve(t, cloud)})
	if got, err := r.Caller(t.Context()); err != nil || got.Account.ID != farAccount {
		t.Fatalf("%+v, %v, want account %s", got, err, farAccount)
	}
	ids, err := r.KeyIDs(t.Context())
	if err != nil || len(ids) != 3 || ids[0] != "AKIAFAKE"+account || !strings.HasPrefix(ids[1], "ASIA") || !strings.HasPrefix(ids[2], "ASIA") {
		t.Errorf("%v, %v, want the key of the profile and two of roles", ids, err)
	}
	if r.Attempts() != 3 {
		t.Errorf("%d requests, want each role assumed once", r.Attempts())
	}
}

func TestSettings_roleIsRenewedBeforeItEnds(t *testing.T) {
	cloud := roles(t)
	cloud.SetNow(time.Now().Add(-14*time.Minute - 30*time.Second)) // its sessions of 15 minutes end in 30 s
	w := openWriter(t, serve(t, cloud), account, func(s *awsiam.Settings) { s.RoleARN = roleARN })
	for range 2 {
		if _, err := w.Caller(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if w.Attempts() != 4 {
		t.Errorf("%d requests, want the role assumed for each of two calls", w.Attempts())
	}
}

func TestSettings_roleThatCannotBeHadIsToldWithTheNextMove(t *testing.T) {
	cloud := roles(t)
	cloud.Account(account).Allow("AKIAPOOR000000000000", awsiam.RemediateActions()...)
	w := openWriter(t, serve(t, cloud), account, func(s *awsiam.Settings) {
		s.RoleARN, s.Credentials = roleARN, credentials("AKIAPOOR000000000000", "")
	})
	_, callerErr := w.Caller(t.Context())
	_, idsErr := w.KeyIDs(t.Context())
	for _, err := range []error{callerErr, idsErr, w.SetActive(t.Context(), "u000", "AKIA", false)} {
		var e *awsiam.Error
		if !errors.Is(err, awsiam.ErrNoCredentials) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "sts:AssumeRole") || e.Unclear {
			t.Errorf("%v, want %v with a hint", err, awsiam.ErrNoCredentials)
		}
	}
}

func TestSettings_validateTheRole(t *testing.T) {
	for _, c := range []struct {
		s    awsiam.Settings
		want string // part of the mistake; empty: none
	}{
		{awsiam.Settings{RoleARN: roleARN}, ""},
		{awsiam.Settings{RoleARN: "arn:aws:iam::111122223333:role/x"}, ""},
		{awsiam.Settings{RoleARN: "arn:aws-us-gov:iam::111122223333:role/a/b/x+=,.@-_"}, ""},
		{awsiam.Settings{RoleARN: "arn:aws-cn:iam::111122223333:role/x", ExternalID: "a:b/c", SessionName: "a@b"}, ""},
		{awsiam.Settings{RoleARN: "keyreeve"}, "ARN"},
		{awsiam.Settings{RoleARN: "arn:aws:iam::111122223333:user/x"}, "ARN"},
		{awsiam.Settings{RoleARN: "arn:aws:iam::11112222333:role/x"}, "ARN"},
		{awsiam.Settings{RoleARN: "arn:aws:iam::111122223333:role/"}, "ARN"},
		{awsiam.Settings{RoleARN: "arn:aws:iam::111122223333:role/x y"}, "ARN"},
		{awsiam.Settings{RoleARN: "arn:aws:sts::111122223333:assumed-role/x/y"}, "ARN"},
		{awsiam.Settings{RoleARN: "arn:aws:iam:us-east-1:111122223333:role/x"}, "ARN"},
		{awsiam.Settings{RoleARN: roleARN + "\n"}, "ARN"},
		{awsiam.Settings{RoleARN: roleARN, ExternalID: "x"}, "external id"},
		{awsiam.Settings{RoleARN: roleARN, SessionName: "a b"}, "session name"},
		{awsiam.Settings{RoleARN: roleARN, SessionName: strings.Repeat("x", 65)}, "session name"},
		{awsiam.Settings{ExternalID: "xy"}, "need a role"},
		{awsiam.Settings{SessionName: "xy"}, "need a role"},
	} {
		err := c.s.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %q %q: %v, want %q", c.s.RoleARN, c.s.ExternalID, c.s.SessionName, err, c.want)
		}
	}
}

func TestKeyIDs_areThoseOfTheWholeChain(t *testing.T) {
	const key = "AKIAFAKE" + account
	for name, c := range map[string]struct {
		set       awsiam.Settings
		static    bool // the key of the chain's beginning is known
		temporary int  // keys of sessions
		requests  int
	}{
		"profile with keys":           {awsiam.Settings{Profile: "source"}, true, 0, 0},
		"profile with a role":         {awsiam.Settings{Profile: "audit"}, true, 1, 1},
		"profile with two roles":      {awsiam.Settings{Profile: "far"}, true, 2, 2},
		"keys by hand":                {awsiam.Settings{Credentials: credentials(key, "")}, true, 0, 0},
		"keys by hand and a role":     {awsiam.Settings{Credentials: credentials(key, ""), RoleARN: roleARN}, true, 1, 1},
		"profile with keys, and role": {awsiam.Settings{Profile: "source", RoleARN: roleARN}, true, 1, 1},
		"a session by hand":           {awsiam.Settings{Credentials: credentials("ASIAFAKE000000000000", "token")}, false, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bare(t)
			profiles(t, "")
			cloud := roles(t)
			c.set.EndpointURL, c.set.BackoffCap = serve(t, cloud), time.Millisecond
			r := openBare(t, c.set)
			w, err := awsiam.OpenWriter(t.Context(), c.set)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(w.Close)
			for _, who := range []interface {
				KeyIDs(context.Context) ([]string, error)
				SessionUsers(context.Context) ([]fact.Caller, error)
				Attempts() int
			}{r, w} {
				ids, idsErr := who.KeyIDs(t.Context())
				again, againErr := who.KeyIDs(t.Context())
				if err := errors.Join(idsErr, againErr); err != nil || !cmp.Equal(ids, again) {
					t.Fatalf("%v, then %v, %v", ids, again, err)
				}
				known, roles := 0, 0
				for _, id := range ids {
					if id == key {
						known++
					}
					if strings.HasPrefix(id, "ASIA") {
						roles++
					}
				}
				if (known == 1) != c.static || roles != c.temporary || known+roles != len(ids) {
					t.Errorf("%v", ids)
				}
				if who.Attempts() != c.requests {
					t.Errorf("%d requests, want each role assumed once", who.Attempts())
				}
				if c.static { // no session of a user is among them
					if users, err := who.SessionUsers(t.Context()); err != nil || len(users) > 0 {
						t.Errorf("sessions of users: %v, %v", users, err)
					}
				}
			}
		})
	}
}

func TestKeyIDs_failWithoutCredentials(t *testing.T) {
	bare(t)
	r := openBare(t, awsiam.Settings{})
	_, idsErr := r.KeyIDs(t.Context())
	_, err := r.SessionUsers(t.Context())
	if !errors.Is(idsErr, awsiam.ErrNoCredentials) || !errors.Is(err, awsiam.ErrNoCredentials) {
		t.Errorf("%v and %v, want %v", idsErr, err, awsiam.ErrNoCredentials)
	}
}

// With a second factor, people sign in for a session of their user and assume a role with that.
func TestSessionUsers_areFoundBehindARoleToo(t *testing.T) {
	bare(t)
	cloud := roles(t)
	a := cloud.Accounts()[0]
	if err := a.AddUser(fakeaws.User{Name: "ana"}); err != nil {
		t.Fatal(err)
	}
	session, err := a.Session("ana")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"", roleARN} {
		r := openBare(t, awsiam.Settings{Credentials: credentials(session, "token"), RoleARN: role, EndpointURL: serve(t, cloud), BackoffCap: time.Millisecond})
		users, err := r.SessionUsers(t.Context())
		if err != nil || len(users) != 1 || users[0].ARN != "arn:aws:iam::"+a.ID()+":user/ana" {
			t.Errorf("role %q: %v, %v", role, users, err)
		}
	}
}
