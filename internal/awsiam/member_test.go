package awsiam_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

func at(id string) fact.Account { return fact.Account{ID: id} }

func TestMembers_assumeTheRoleOnceAndNameIt(t *testing.T) {
	cloud := fleet(t, 2)
	m := openMembers(t, orgSettings(serve(t, cloud)))
	for _, c := range []struct {
		set  awsiam.MemberSettings
		want string // the session, below assumed-role/
	}{
		{awsiam.MemberSettings{}, "keyreeve-audit/keyreeve"},
		{awsiam.MemberSettings{Role: "ops/eu/audit", ExternalID: "tide:1", SessionName: "nightly"}, "audit/nightly"},
		{awsiam.MemberSettings{Role: "/ops/audit"}, "audit/keyreeve"},
	} {
		cloud.ResetCalls()
		r, err := m.Open(t.Context(), at(memberID(1)), c.set)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			who, err := r.Caller(t.Context())
			if want := "arn:aws:sts::" + memberID(1) + ":assumed-role/" + c.want; err != nil || who.ARN != want || who.Account.ID != memberID(1) {
				t.Errorf("%+v: %+v, %v, want %s", c.set, who, err, want)
			}
		}
		asked := cloud.Calls()[0]
		if asked.Account != contractAccount || asked.Action != "sts:AssumeRole" || asked.Params.Get("ExternalId") != c.set.ExternalID || asked.Params.Get("DurationSeconds") != "3600" {
			t.Errorf("%+v: the first call is %+v", c.set, asked)
		}
		if want := map[string]int{"sts:AssumeRole": 1}; !cmp.Equal(r.Calls(), want) || r.Attempts() != 1 {
			t.Errorf("%+v: calls %v and %d requests, want %v", c.set, r.Calls(), r.Attempts(), want)
		}
	}
}

func TestMembers_readTheCallersOwnAccountWithoutARole(t *testing.T) {
	cloud := fleet(t, 1)
	s := orgSettings(serve(t, cloud))
	s.Credentials = credentials("AKIAFAKE"+memberID(0), "") // a delegated administrator: own is what it is, not the management account
	m := openMembers(t, s)
	for id, assumed := range map[string]int{memberID(0): 0, contractAccount: 1} {
		r, err := m.Open(t.Context(), at(id), awsiam.MemberSettings{})
		if err != nil {
			t.Fatal(err)
		}
		if who, err := r.Caller(t.Context()); err != nil || who.Account.ID != id || r.Calls()["sts:AssumeRole"] != assumed {
			t.Errorf("%s: %+v, %v after %v, want %d roles", id, who, err, r.Calls(), assumed)
		}
		ids, err := r.KeyIDs(t.Context())
		if err != nil || len(ids) != 1+assumed || ids[0] != "AKIAFAKE"+memberID(0) {
			t.Errorf("%s: keys %v, %v", id, ids, err)
		}
	}
}

func TestMembers_standOnOneChainOfCredentials(t *testing.T) {
	bare(t)
	cloud := fleet(t, 3)
	cloud.SetNow(time.Now()) // the SDK looks at the real clock to tell whether the role of the chain has ended
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAFAKE"+contractAccount)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	m := openMembers(t, awsiam.Settings{
		EndpointURL: serve(t, cloud), RoleARN: "arn:aws:iam::" + memberID(0) + ":role/hub", SessionName: "hub", Now: cloud.Now,
	})
	if who := m.Caller(); who.ARN != "arn:aws:sts::"+memberID(0)+":assumed-role/hub/hub" {
		t.Errorf("caller %+v", who)
	}
	for i := range 3 {
		r, err := m.Open(t.Context(), at(memberID(i)), awsiam.MemberSettings{})
		if err != nil {
			t.Fatal(err)
		}
		who, err := r.Caller(t.Context())
		ids, idsErr := r.KeyIDs(t.Context())
		want := "arn:aws:sts::" + memberID(i) + ":assumed-role/keyreeve-audit/keyreeve"
		keys := 3 // that of the environment, of the hub, of the member
		if i == 0 {
			want, keys = m.Caller().ARN, 2
		}
		if err := errors.Join(err, idsErr); err != nil || who.ARN != want || len(ids) != keys || ids[0] != "AKIAFAKE"+contractAccount {
			t.Errorf("account %d: %+v by %v, %v, want %s", i, who, ids, err, want)
		}
	}
	if got := cloud.Counts()["sts:AssumeRole"].Calls; got != 1+2 {
		t.Errorf("%d roles were assumed, want that of the hub once and two of members", got)
	}
}

func TestMembers_aRoleThatCannotBeHadIsToldWithTheNextMove(t *testing.T) {
	cloud := fleet(t, 4)
	const external = "tide-1"
	for i, roles := range [][]fakeaws.Role{{}, {{Name: "keyreeve-audit", ExternalID: external}}, {{Name: "ops/keyreeve-audit"}}, nil} {
		if roles != nil {
			cloud.Account(memberID(i)).SetRoles(roles...)
		}
	}
	cloud.Account(memberID(3)).SetState(fact.StateSuspended)
	m := openMembers(t, orgSettings(serve(t, cloud)))
	for name, c := range map[string]struct {
		account int
		set     awsiam.MemberSettings
		hint    string
	}{
		"no role":           {0, awsiam.MemberSettings{}, "no external id"},
		"no external id":    {1, awsiam.MemberSettings{}, "no external id"},
		"wrong external id": {1, awsiam.MemberSettings{ExternalID: "tide-2"}, `external id "tide-2"`},
		"another path":      {2, awsiam.MemberSettings{}, "no external id"},
		"suspended":         {3, awsiam.MemberSettings{}, "no external id"},
	} {
		cloud.ResetCalls()
		r, err := m.Open(t.Context(), at(memberID(c.account)), c.set)
		want := fmt.Sprintf(`assume role "arn:aws:iam::%[1]s:role/keyreeve-audit" in account %[1]s: access denied: sts:AssumeRole`, memberID(c.account))
		var e *awsiam.Error
		if r != nil || !errors.Is(err, awsiam.ErrDenied) || !errors.As(err, &e) || err.Error() != want || e.Purpose != "org" {
			t.Fatalf("%s: %v, want %s", name, err, want)
		}
		for _, part := range []string{"keyreeve org setup", c.hint, "trust arn:aws:iam::" + contractAccount + ":user/"} {
			if !strings.Contains(e.Hint(), part) {
				t.Errorf("%s: hint %q, want %q", name, e.Hint(), part)
			}
		}
		if n := len(cloud.Calls()); n != 1 {
			t.Errorf("%s: %d calls, want 1", name, n)
		}
	}
	if _, err := m.Open(t.Context(), at(memberID(1)), awsiam.MemberSettings{ExternalID: external}); err != nil {
		t.Errorf("the right external id: %v", err)
	}
}

func TestMembers_refuseWhatMakesNoSense(t *testing.T) {
	cloud := fleet(t, 1)
	s := orgSettings(serve(t, cloud))
	m := openMembers(t, s)
	cloud.ResetCalls()
	for name, c := range map[string]struct {
		account fact.Account
		set     awsiam.MemberSettings
		want    string
	}{
		"no account":        {fact.Account{}, awsiam.MemberSettings{}, "twelve digits"},
		"short account":     {at("1234"), awsiam.MemberSettings{}, "twelve digits"},
		"another partition": {fact.Account{ID: memberID(0), Partition: "aws-cn"}, awsiam.MemberSettings{}, `"aws-cn"`},
		"no role name":      {at(memberID(0)), awsiam.MemberSettings{Role: "a b"}, "not the ARN of a role"},
		"external id":       {at(memberID(0)), awsiam.MemberSettings{ExternalID: "?"}, "external id"},
		"session name":      {at(memberID(0)), awsiam.MemberSettings{SessionName: "a b"}, "session name"},
		"rate":              {at(memberID(0)), awsiam.MemberSettings{Rate: -1}, "rate"},
	} {
		if _, err := m.Open(t.Context(), c.account, c.set); !errors.Is(err, awsiam.ErrSettings) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %v with %q", name, err, awsiam.ErrSettings, c.want)
		}
	}
	if n := len(cloud.Calls()); n > 0 {
		t.Errorf("%d calls were made", n)
	}
	s.Now = nil
	if _, err := awsiam.OpenMembers(t.Context(), s); !errors.Is(err, awsiam.ErrSettings) {
		t.Errorf("without a clock: %v, want %v", err, awsiam.ErrSettings)
	}
	s = orgSettings(s.EndpointURL)
	s.Credentials = credentials("AKIANOBODY", "")
	if _, err := awsiam.OpenMembers(t.Context(), s); !errors.Is(err, awsiam.ErrBadCredentials) {
		t.Errorf("credentials that nobody knows: %v, want %v", err, awsiam.ErrBadCredentials)
	}
}

// impostor answers AssumeRole with what it is told to, and everything else as the caller's account.
func impostor(t *testing.T, session string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		action := r.Form.Get("Action")
		result := "<Account>" + contractAccount + "</Account><Arn>arn:aws:iam::" + contractAccount + ":user/x</Arn>"
		if action == "AssumeRole" {
			result = session
		}
		_, _ = fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", action, result)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestMembers_refuseASessionThatIsNotOfTheAccount(t *testing.T) {
	const whole = "<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>any</SecretAccessKey><SessionToken>any</SessionToken></Credentials>"
	of := func(arn string) string { return whole + "<AssumedRoleUser><Arn>" + arn + "</Arn></AssumedRoleUser>" }
	right := "arn:aws:sts::" + memberID(0) + ":assumed-role/keyreeve-audit/keyreeve"
	for name, c := range map[string]struct {
		session string
		good    bool
	}{
		"right":             {of(right), true},
		"another account":   {of(strings.Replace(right, memberID(0), memberID(1), 1)), false},
		"another partition": {of(strings.Replace(right, "arn:aws:", "arn:aws-cn:", 1)), false},
		"a user":            {of("arn:aws:iam::" + memberID(0) + ":user/x"), false},
		"nobody":            {whole, false},
		"no token":          {strings.Replace(of(right), "<SessionToken>any</SessionToken>", "", 1), false},
		"nothing":           {"", false},
	} {
		m := openMembers(t, orgSettings(impostor(t, c.session)))
		_, err := m.Open(t.Context(), at(memberID(0)), awsiam.MemberSettings{})
		if (err == nil) != c.good || err != nil && !errors.Is(err, awsiam.ErrUnusable) {
			t.Errorf("%s: %v, want accepted: %v", name, err, c.good)
		}
	}
}

func TestMembers_renewASessionBeforeItEnds(t *testing.T) {
	cloud := fleet(t, 1)
	s := orgSettings(serve(t, cloud))
	s.Now, s.Concurrency = cloud.Now, 1 // a renewal takes no slot from the call that waits for it
	m := openMembers(t, s)
	start := cloud.Now()
	r, err := m.Open(t.Context(), at(memberID(0)), awsiam.MemberSettings{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after   time.Duration
		assumed int
	}{
		{0, 1}, {59*time.Minute - time.Second, 1}, {59 * time.Minute, 2}, {117 * time.Minute, 2}, {118 * time.Minute, 3}, {72 * time.Hour, 4},
		{0, 5}, // a clock that went back tells nothing
	} {
		cloud.SetNow(start.Add(step.after))
		if _, err := r.Alias(t.Context()); err != nil || r.Calls()["sts:AssumeRole"] != step.assumed {
			t.Errorf("after %v: %d sessions, %v, want %d", step.after, r.Calls()["sts:AssumeRole"], err, step.assumed)
		}
	}
	cloud.SetNow(start.Add(time.Hour))
	cloud.Account(memberID(0)).SetRoles()
	_, err = r.Alias(t.Context())
	var e *awsiam.Error
	if !errors.Is(err, awsiam.ErrNoCredentials) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "keyreeve org setup") || !strings.Contains(err.Error(), "role/keyreeve-audit") {
		t.Errorf("the role is gone: %v, want %v with a hint", err, awsiam.ErrNoCredentials)
	}
}

func TestMembers_renewOnceForAllCallsThatWait(t *testing.T) {
	cloud := fleet(t, 1)
	s := orgSettings(serve(t, cloud))
	s.Now, s.Concurrency = cloud.Now, 20
	m := openMembers(t, s)
	r, err := m.Open(t.Context(), at(memberID(0)), awsiam.MemberSettings{})
	if err != nil {
		t.Fatal(err)
	}
	cloud.SetNow(cloud.Now().Add(time.Hour))
	arrived, release := cloud.Hold("sts:AssumeRole")
	var group errgroup.Group
	for range 20 {
		group.Go(func() error { _, err := r.Alias(t.Context()); return err })
	}
	<-arrived
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Alias(stopped); !errors.Is(err, context.Canceled) { // does not wait for the renewal
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	release()
	if err := group.Wait(); err != nil || r.Calls()["sts:AssumeRole"] != 2 {
		t.Errorf("%v after %v, want one renewal", err, r.Calls())
	}
}

func TestMembers_eachAccountHasItsOwnLimits(t *testing.T) {
	cloud := fleet(t, 3)
	cloud.SetLimits(fakeaws.Limits{IAM: fakeaws.Rate{PerSecond: 1, Burst: 2}})
	m := openMembers(t, orgSettings(serve(t, cloud)))
	for i := range 3 {
		r, err := m.Open(t.Context(), at(memberID(i)), awsiam.MemberSettings{Concurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the burst of one account is not spent by another
			if _, err := r.Alias(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if _, err := r.Alias(t.Context()); !errors.Is(err, awsiam.ErrThrottled) || r.Calls()["iam:ListAccountAliases"] != 3 || r.Attempts() != 1+2+10 {
			t.Errorf("%v after %v and %d requests, want %v", err, r.Calls(), r.Attempts(), awsiam.ErrThrottled)
		}
	}
}

func TestMembers_oneRateHoldsForTheRolesOfAllAndOneForEachAccount(t *testing.T) {
	s := orgSettings(serve(t, fleet(t, 2)))
	s.Rate, s.AssumeRate = 1e-6, 1e-6 // what comes second would have to wait for days
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	m := openMembers(t, s)
	limited := func(err error) bool { return err != nil && strings.Contains(err.Error(), "rate limit") }
	r, err := m.Open(ctx, at(memberID(0)), awsiam.MemberSettings{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Open(ctx, at(memberID(1)), awsiam.MemberSettings{}); !limited(err) {
		t.Errorf("a second role: %v", err)
	}
	if _, err := r.Alias(ctx); err != nil { // the role took nothing of the account's rate
		t.Error(err)
	}
	if _, err := r.Alias(ctx); !limited(err) {
		t.Errorf("a second call in the account: %v", err)
	}
	own, err := m.Open(ctx, at(contractAccount), awsiam.MemberSettings{Rate: 1e6})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := own.Alias(ctx); err != nil {
			t.Errorf("an account with a rate of its own: %v", err)
		}
	}
}

func TestMembers_aRoleIsAssumedWithPatience(t *testing.T) {
	cloud := fleet(t, 1)
	m := openMembers(t, orgSettings(serve(t, cloud)))
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Action: "sts:AssumeRole", Times: 9})
	if r, err := m.Open(t.Context(), at(memberID(0)), awsiam.MemberSettings{}); err != nil || r.Calls()["sts:AssumeRole"] != 1 || r.Attempts() != 10 {
		t.Errorf("%v, want it at the tenth attempt", err)
	}
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Action: "sts:AssumeRole"})
	if _, err := m.Open(t.Context(), at(memberID(0)), awsiam.MemberSettings{}); !errors.Is(err, awsiam.ErrThrottled) {
		t.Errorf("%v, want %v", err, awsiam.ErrThrottled)
	}
}

// Each costs one AssumeRole, and nothing is left running (see TestMain).
func TestMembers_aThousandAtOnceAreEachThemselves(t *testing.T) {
	const n = 1000
	cloud := fleet(t, n)
	for i := range n {
		if err := cloud.Account(memberID(i)).AddUser(fakeaws.User{Name: fmt.Sprint("of-", i), Keys: []fakeaws.Key{{}}}); err != nil {
			t.Fatal(err)
		}
	}
	s := orgSettings(serve(t, cloud))
	s.AssumeRate = 1e6
	m := openMembers(t, s)
	var (
		wg    sync.WaitGroup
		begin = make(chan struct{})
		errs  = make([]error, n)
	)
	for i := range n {
		wg.Go(func() {
			<-begin
			errs[i] = readMember(t.Context(), m, i)
		})
	}
	close(begin)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	counts := cloud.Counts()
	for action, want := range map[string]int{"sts:AssumeRole": n, "iam:ListUsers": n, "iam:ListAccessKeys": n, "sts:GetCallerIdentity": 1} {
		if counts[action] != (fakeaws.Count{Calls: want}) {
			t.Errorf("%s: %+v, want %d calls", action, counts[action], want)
		}
	}
}

func readMember(ctx context.Context, m *awsiam.Members, i int) error {
	r, err := m.Open(ctx, at(memberID(i)), awsiam.MemberSettings{})
	if err != nil {
		return err
	}
	defer r.Close()
	who, err := r.Caller(ctx)
	if err != nil {
		return err
	}
	var names []string
	err = r.Users(ctx, func(page []fact.User) error {
		for _, u := range page {
			names = append(names, u.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if who.Account.ID != memberID(i) || !cmp.Equal(names, []string{fmt.Sprint("of-", i)}) {
		return fmt.Errorf("account %d is %s with users %v", i, who.Account.ID, names)
	}
	keys, err := r.Keys(ctx, names[0])
	if err == nil && len(keys) != 1 {
		err = fmt.Errorf("account %d has keys %v", i, keys)
	}
	return err
}

func BenchmarkMembers_open(b *testing.B) {
	cloud := fakeaws.New(day(0))
	cloud.AddAccount(fact.Account{ID: contractAccount})
	cloud.Set(fakeaws.Switches{NoLog: true})
	server, err := cloud.Start()
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	m, err := awsiam.OpenMembers(b.Context(), orgSettings(server.URL))
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	b.ReportAllocs()
	for b.Loop() { // the own account: opened without a call
		if _, err := m.Open(b.Context(), at(contractAccount), awsiam.MemberSettings{}); err != nil {
			b.Fatal(err)
		}
	}
}
