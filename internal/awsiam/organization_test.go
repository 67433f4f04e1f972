package awsiam_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// fleet is an organisation of n member accounts below the management account, which is the contract's: 100000000000
// and so on, spread over four units.
func fleet(t *testing.T, n int) *fakeaws.Cloud {
	t.Helper()
	cloud := fakeaws.New(day(0))
	cloud.AddAccount(fact.Account{ID: contractAccount, Name: "payer"})
	for i := range n {
		cloud.AddAccount(fact.Account{ID: memberID(i), Name: fmt.Sprint("m", i), OU: []string{"Root/A", "Root/A/B", "Root/A/B/C", "Root/D"}[i%4]})
	}
	if err := cloud.Organize(contractAccount, memberID(0)); err != nil {
		t.Fatal(err)
	}
	return cloud
}

func memberID(i int) string { return fmt.Sprintf("1%011d", i) }

func TestOrganization_readsEveryPageAlsoWhereSomeAreEmpty(t *testing.T) {
	for _, sw := range []fakeaws.Switches{{}, {PageSize: 1}, {PageSize: 3, EmptyPages: true}, {EmptyPages: true}} {
		cloud := fleet(t, 50)
		cloud.Set(sw)
		o := openOrganization(t, orgSettings(serve(t, cloud)))
		org, err := o.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Place(t.Context(), &org); err != nil {
			t.Fatal(err)
		}
		if len(org.Members) != 51 || len(org.Units) != 5 {
			t.Errorf("%+v: %d accounts and %d units, want 51 and 5", sw, len(org.Members), len(org.Units))
		}
		for i := range 50 {
			want := []string{"Root/A", "Root/A/B", "Root/A/B/C", "Root/D"}[i%4]
			if m, found := org.Member(memberID(i)); !found || m.OU != want || m.Name != fmt.Sprint("m", i) {
				t.Errorf("%+v: account %d is at %q, want %q", sw, i, m.OU, want)
			}
		}
		if tags, err := o.AccountTags(t.Context(), memberID(1)); err != nil || len(tags) > 0 {
			t.Errorf("%+v: tags %v, %v", sw, tags, err)
		}
	}
}

func TestOrganization_prefersStateToStatus(t *testing.T) {
	states := append(fact.AccountStates(), "PERHAPS")
	for name, c := range map[string]struct {
		sw   fakeaws.Switches
		want []fact.AccountState
	}{
		"both":         {fakeaws.Switches{}, states},
		"state alone":  {fakeaws.Switches{NoStatus: true}, states},
		"status alone": {fakeaws.Switches{NoState: true}, []fact.AccountState{"ACTIVE", "ACTIVE", "SUSPENDED", "PENDING_CLOSURE", "SUSPENDED", "ACTIVE"}},
		"neither":      {fakeaws.Switches{NoState: true, NoStatus: true}, make([]fact.AccountState, len(states))},
	} {
		cloud := fleet(t, len(states))
		cloud.Set(c.sw)
		for i, s := range states {
			cloud.Account(memberID(i)).SetState(s)
		}
		org, err := openOrganization(t, orgSettings(serve(t, cloud))).Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range c.want {
			if m, _ := org.Member(memberID(i)); m.State != want {
				t.Errorf("%s: %s shows as %q, want %q", name, states[i], m.State, want)
			}
		}
	}
}

func TestOrganization_isReadByADelegatedAdministratorAndNoOtherMember(t *testing.T) {
	cloud := fleet(t, 3)
	url := serve(t, cloud)
	by := func(account string) *awsiam.Organization {
		s := orgSettings(url)
		s.Credentials = credentials("AKIAFAKE"+account, "")
		return openOrganization(t, s)
	}
	if org, err := by(memberID(0)).Read(t.Context()); err != nil || len(org.Members) != 4 || org.Management != contractAccount {
		t.Errorf("delegated administrator: %+v, %v", org, err)
	}
	_, err := by(memberID(1)).Read(t.Context())
	var e *awsiam.Error
	if !errors.Is(err, awsiam.ErrDenied) || !errors.As(err, &e) || e.Action != "organizations:ListAccounts" || !strings.Contains(e.Hint(), "management account "+contractAccount) {
		t.Errorf("a member: %v, want %v with a hint", err, awsiam.ErrDenied)
	}
}

func TestOrganization_namesTheActionThatIsDenied(t *testing.T) {
	for _, action := range awsiam.OrgActions() {
		cloud := fleet(t, 2)
		cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: action})
		o := openOrganization(t, orgSettings(serve(t, cloud)))
		org, readErr := o.Read(t.Context())
		org.Members = append(org.Members, fact.Member{Account: fact.Account{ID: memberID(1)}})
		if action == "organizations:ListParents" {
			org.Members = append(org.Members, fact.Member{Account: fact.Account{ID: "199999999999"}})
		}
		placeErr := o.Place(t.Context(), &org)
		_, tagsErr := o.AccountTags(t.Context(), memberID(1))
		named := 0
		for _, err := range []error{readErr, placeErr, tagsErr} {
			var e *awsiam.Error
			if errors.As(err, &e) && errors.Is(err, awsiam.ErrDenied) && e.Action == action && e.Purpose == "org" &&
				strings.HasSuffix(err.Error(), "in account "+contractAccount+": access denied: "+action) && strings.Contains(e.Hint(), "--for org") {
				named++
			} else if err != nil {
				t.Errorf("%s: %v", action, err)
			}
		}
		if named != 1 {
			t.Errorf("%s denied shows in %d of %v", action, named, []error{readErr, placeErr, tagsErr})
		}
	}
}

func TestOrganization_repeatsWhatIsThrottled(t *testing.T) {
	cloud := fleet(t, 2)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Action: "organizations:ListAccounts", Times: 3})
	o := openOrganization(t, orgSettings(serve(t, cloud)))
	if org, err := o.Read(t.Context()); err != nil || len(org.Members) != 3 || o.Attempts() != 6 {
		t.Errorf("%d accounts after %d requests, %v, want 3 after 6", len(org.Members), o.Attempts(), err)
	}
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Action: "organizations:ListAccounts"})
	if _, err := o.Read(t.Context()); !errors.Is(err, awsiam.ErrThrottled) {
		t.Errorf("%v, want %v", err, awsiam.ErrThrottled)
	}
}

func TestOrganization_keepsWithinItsRate(t *testing.T) {
	s := orgSettings(serve(t, fleet(t, 2)))
	s.Rate = 1e-6 // the call after the first would have to wait for days
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	o := openOrganization(t, s)
	_, err := o.Read(ctx)
	if err == nil || !strings.Contains(err.Error(), "rate limit") || o.Attempts() != 1 {
		t.Errorf("%v after %d requests, want it to stop after 1", err, o.Attempts())
	}
}

func TestOrganization_outsideOfOneSaysSoWithAHint(t *testing.T) {
	cloud := fakeaws.New(day(0))
	cloud.AddAccount(fact.Account{ID: contractAccount})
	_, err := openOrganization(t, orgSettings(serve(t, cloud))).Read(t.Context())
	var e *awsiam.Error
	if !errors.Is(err, awsiam.ErrNoOrganization) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "management account") ||
		!strings.Contains(err.Error(), "describe the organisation in account "+contractAccount+": no organisation") {
		t.Errorf("%v, want %v with a hint", err, awsiam.ErrNoOrganization)
	}
}

func TestPlace_findsAnAccountThatMovesMeanwhile(t *testing.T) {
	cloud := fleet(t, 8)
	o := openOrganization(t, orgSettings(serve(t, cloud)))
	org, err := o.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	units := 0
	cloud.OnCall(func(action string, phase fakeaws.Phase) {
		if action == "organizations:ListAccountsForParent" && phase == fakeaws.Done {
			switch units++; units {
			case 1: // the root was read: from a unit not read yet, where it is missed then
				cloud.Account(memberID(2)).Move("Root")
			case 3: // A and D were read: account 0 of A shows again in C
				cloud.Account(memberID(0)).Move("Root/A/B/C")
			}
		}
	})
	before := org.Units
	if err := o.Place(t.Context(), &org); err != nil || before != nil {
		t.Fatal(err)
	}
	cloud.OnCall(nil)
	if got := o.Calls()["organizations:ListParents"]; got != 2 {
		t.Errorf("%d accounts were asked for one by one, want 2", got)
	}
	for i, want := range []string{"Root/A/B/C", "Root/A/B", "Root", "Root/D"} {
		if m, _ := org.Member(memberID(i)); m.OU != want {
			t.Errorf("account %d is at %q, want %q", i, m.OU, want)
		}
	}
}

func TestPlace_leavesTheOrganisationAloneWhenItFails(t *testing.T) {
	cloud := fleet(t, 3)
	o := openOrganization(t, orgSettings(serve(t, cloud)))
	org, err := o.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := fact.Organization{ID: org.ID, Management: org.Management, Members: append([]fact.Member{}, org.Members...)}
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "organizations:ListAccountsForParent", Every: 3})
	if err := o.Place(t.Context(), &org); !errors.Is(err, awsiam.ErrDenied) || !cmp.Equal(org, before) {
		t.Errorf("%v, want %v and no change: %+v", err, awsiam.ErrDenied, org)
	}
}

func TestOrganization_refusesAnswersThatProveNothing(t *testing.T) {
	const caller = "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>111122223333</Account>" +
		"<Arn>arn:aws:iam::111122223333:user/x</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"
	sound := map[string]string{
		"DescribeOrganization":             `{"Organization":{"Id":"o-1","MasterAccountId":"111122223333"}}`,
		"ListAccounts":                     `{"Accounts":[{"Id":"111122223333","State":"ACTIVE"}]}`,
		"ListRoots":                        `{"Roots":[{"Id":"r-1","Name":"Root"}]}`,
		"ListOrganizationalUnitsForParent": `{"OrganizationalUnits":[]}`,
		"ListAccountsForParent":            `{"Accounts":[{"Id":"111122223333","State":"ACTIVE"}]}`,
		"ListParents":                      `{"Parents":[{"Id":"r-1","Type":"ROOT"}]}`,
		"ListTagsForResource":              `{"Tags":[]}`,
	}
	for _, c := range []struct{ name, action, answer string }{
		{"sound", "", ""},
		{"no organisation", "DescribeOrganization", `{}`},
		{"no management account", "DescribeOrganization", `{"Organization":{"Id":"o-1"}}`},
		{"no list of accounts", "ListAccounts", `{}`},
		{"an empty list of accounts", "ListAccounts", `{"Accounts":[]}`},
		{"accounts without the management account", "ListAccounts", `{"Accounts":[{"Id":"222222222222"}]}`},
		{"an account without an id", "ListAccounts", `{"Accounts":[{"Id":"111122223333"},{"Name":"x"}]}`},
		{"pages in a circle", "ListAccounts", `{"Accounts":[],"NextToken":"again"}`},
		{"half an answer", "ListAccounts", `{"Accounts":[{"Id":"11112`},
		{"nothing at all", "ListAccounts", ``},
		{"no root", "ListRoots", `{"Roots":[]}`},
		{"a root without a name", "ListRoots", `{"Roots":[{"Id":"r-1"}]}`},
		{"no list of units", "ListOrganizationalUnitsForParent", `{}`},
		{"a unit below itself", "ListOrganizationalUnitsForParent", `{"OrganizationalUnits":[{"Id":"r-1","Name":"Root"}]}`},
		{"a unit without an id", "ListOrganizationalUnitsForParent", `{"OrganizationalUnits":[{"Name":"Root"}]}`},
		{"no list of accounts of a unit", "ListAccountsForParent", `{}`},
		{"no list of tags", "ListTagsForResource", `{}`},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
			switch action {
			case "":
				_, _ = fmt.Fprint(w, caller)
			case c.action:
				_, _ = fmt.Fprint(w, c.answer)
			default:
				_, _ = fmt.Fprint(w, sound[action])
			}
		}))
		o := openOrganization(t, orgSettings(s.URL))
		org, err := o.Read(t.Context())
		if err == nil {
			err = o.Place(t.Context(), &org)
		}
		if err == nil {
			_, err = o.AccountTags(t.Context(), account)
		}
		if c.action == "" && err != nil || c.action != "" && !errors.Is(err, awsiam.ErrUnusable) {
			t.Errorf("%s: %v, want %v", c.name, err, awsiam.ErrUnusable)
		}
		s.Close()
	}
}

func TestPlace_refusesAnAccountInAUnitThatWasNotThere(t *testing.T) {
	cloud := fleet(t, 1)
	o := openOrganization(t, orgSettings(serve(t, cloud)))
	org, err := o.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root := false
	cloud.OnCall(func(action string, phase fakeaws.Phase) {
		switch {
		case action == "organizations:ListAccountsForParent" && phase == fakeaws.Done && !root:
			root = true
			cloud.Account(memberID(0)).Move("Root")
		case action == "organizations:ListParents" && phase == fakeaws.Arrived:
			cloud.Account(memberID(0)).Move("Root/New")
		}
	})
	err = o.Place(t.Context(), &org)
	var e *awsiam.Error
	if !errors.Is(err, awsiam.ErrUnusable) || !errors.As(err, &e) || !strings.Contains(e.Hint(), "try again") {
		t.Errorf("%v, want %v with a hint", err, awsiam.ErrUnusable)
	}
}
