package awsiam_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sdk"
)

// The contract of Organization and Members: what they tell of an organisation that was made through the API of AWS.

// adminRole is the role that Organizations makes in each account it creates.
const adminRole = "OrganizationAccountAccessRole"

// company is an organisation of 30 accounts: the management account, 25 below Workloads, two of them closed, the rest
// in the root.
type company struct {
	emulator
	admin    *organizations.Client
	org      *awsiam.Organization
	root     string            // id
	unit     map[string]string // ids by path
	accounts []string          // without the management account
}

func orgSettings(url string) awsiam.Settings {
	return awsiam.Settings{
		EndpointURL: url, Credentials: credentials("AKIAFAKE"+contractAccount, ""), BackoffCap: time.Millisecond,
		Now: func() time.Time { return day(0) },
	}
}

func openOrganization(t *testing.T, s awsiam.Settings) *awsiam.Organization {
	t.Helper()
	o, err := awsiam.OpenOrganization(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func openMembers(t *testing.T, s awsiam.Settings) *awsiam.Members {
	t.Helper()
	m, err := awsiam.OpenMembers(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// orgAdmin is the writing side of Organizations, for the set-up.
func orgAdmin(url string) *organizations.Client {
	return organizations.NewFromConfig(writingSide(url, contractAccount))
}

func found(t *testing.T, e emulator) company {
	t.Helper()
	c, ctx := company{emulator: e, admin: orgAdmin(e.url), unit: map[string]string{}}, t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	e.setNow(day(0))
	_, err := c.admin.CreateOrganization(ctx, &organizations.CreateOrganizationInput{})
	must(err)
	roots, err := c.admin.ListRoots(ctx, &organizations.ListRootsInput{})
	must(err)
	c.root = *roots.Roots[0].Id
	c.unit["Root"] = c.root
	for _, path := range []string{"Root/Workloads", "Root/Workloads/Prod", "Root/Workloads/Prod/EU", "Root/Sandbox"} {
		i := strings.LastIndex(path, "/")
		out, err := c.admin.CreateOrganizationalUnit(ctx, &organizations.CreateOrganizationalUnitInput{
			ParentId: aws.String(c.unit[path[:i]]), Name: aws.String(path[i+1:]),
		})
		must(err)
		c.unit[path] = *out.OrganizationalUnit.Id
	}
	for i := range 29 {
		e.setNow(day(i + 1)) // moto tells pages apart by the date
		out, err := c.admin.CreateAccount(ctx, &organizations.CreateAccountInput{
			AccountName: aws.String(fmt.Sprintf("team %02d", i)), Email: aws.String(fmt.Sprintf("team%02d@example.com", i)),
		})
		must(err)
		id := *out.CreateAccountStatus.AccountId
		c.accounts = append(c.accounts, id)
		if to := c.unit[home(i)]; to != c.root {
			_, err := c.admin.MoveAccount(ctx, &organizations.MoveAccountInput{
				AccountId: &id, SourceParentId: &c.root, DestinationParentId: &to,
			})
			must(err)
		}
	}
	for _, i := range []int{3, 4} {
		_, err := c.admin.CloseAccount(ctx, &organizations.CloseAccountInput{AccountId: &c.accounts[i]})
		must(err)
	}
	_, err = c.admin.TagResource(ctx, &organizations.TagResourceInput{
		ResourceId: &c.accounts[0], Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String(`a "b" <c>`)}, {Key: aws.String("team"), Value: aws.String("data")}},
	})
	must(err)
	c.org = openOrganization(t, orgSettings(e.url))
	return c
}

// home is the path of the unit of account i.
func home(i int) string {
	switch {
	case i < 22:
		return "Root/Workloads/Prod"
	case i < 24:
		return "Root/Workloads/Prod/EU"
	case i < 25:
		return "Root/Workloads"
	default:
		return "Root"
	}
}

func TestOrganizationContract(t *testing.T) {
	for _, e := range emulators(t) {
		t.Run(e.name, func(t *testing.T) {
			c := found(t, e)
			t.Run("accounts", c.everyAccount)
			t.Run("places", c.places)
			t.Run("tags", c.tags)
			t.Run("notFound", c.notFound)
			t.Run("actions", c.actions)
			t.Run("members", c.members)
		})
	}
}

func (c company) everyAccount(t *testing.T) {
	got, err := c.org.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Management != contractAccount || !strings.HasPrefix(got.ID, "o-") || got.Units != nil {
		t.Errorf("organisation %q of %q with units %v", got.ID, got.Management, got.Units)
	}
	want := append(slices.Clone(c.accounts), contractAccount)
	slices.Sort(want)
	var ids []string
	for _, m := range got.Members {
		ids = append(ids, m.ID)
		i := slices.Index(c.accounts, m.ID)
		state := fact.StateActive
		if i == 3 || i == 4 {
			state = fact.StateSuspended
		}
		if m.Partition != "aws" || m.State != state || m.Management != (i < 0) || m.Units != nil || m.OU != "" || m.Tags != nil ||
			i >= 0 && m.Name != fmt.Sprintf("team %02d", i) {
			t.Errorf("account %d: %+v", i, m)
		}
	}
	if !cmp.Equal(ids, want) {
		t.Errorf("accounts %v, want %v", ids, want)
	}
}

func (c company) places(t *testing.T) {
	got, err := c.org.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(c.org.Calls())
	if err := c.org.Place(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	after := c.org.Calls()
	if n := after["organizations:ListAccountsForParent"] - before["organizations:ListAccountsForParent"]; n > 5+1 || after["organizations:ListParents"] > 0 {
		t.Errorf("%d calls for 5 units, one of them with 22 accounts: %v", n, after)
	}
	if len(got.Units) != 5 {
		t.Errorf("units %+v, want 5", got.Units)
	}
	for path, id := range c.unit {
		if u, found := got.Unit(path); !found || u.ID != id || u.Path != path {
			t.Errorf("unit %s: %+v, want %s", path, u, id)
		}
	}
	for i, id := range append(slices.Clone(c.accounts), contractAccount) {
		m, found := got.Member(id)
		if !found || m.OU != home(i) || m.Units[len(m.Units)-1].ID != c.unit[home(i)] || m.Units[0].ID != c.root {
			t.Errorf("account %d is at %q in %+v, want %s", i, m.OU, m.Units, home(i))
		}
		if in := m.Under(c.unit["Root/Workloads"]); in != (i < 25) || in != m.Under("Root/Workloads") || !m.Under("Root") || m.Under("Root/Sandbox") {
			t.Errorf("account %d is under Workloads: %v", i, in)
		}
	}
}

func (c company) tags(t *testing.T) {
	for i, want := range []map[string]string{{"owner": `a "b" <c>`, "team": "data"}, {}} {
		if got, err := c.org.AccountTags(t.Context(), c.accounts[i]); err != nil || got == nil || !cmp.Equal(got, want) {
			t.Errorf("account %d: %#v, %v, want %v", i, got, err, want)
		}
	}
}

func (c company) notFound(t *testing.T) {
	if _, err := c.org.AccountTags(t.Context(), "999999999999"); !errors.Is(err, awsiam.ErrNotFound) {
		t.Errorf("tags of an account that is not there: %v, want %v", err, awsiam.ErrNotFound)
	}
	lone := orgSettings(c.url)
	lone.Credentials = c.outsider(t)
	if _, err := openOrganization(t, lone).Read(t.Context()); !errors.Is(err, awsiam.ErrNoOrganization) {
		t.Errorf("an account outside: %v, want %v", err, awsiam.ErrNoOrganization)
	}
}

// outsider gives credentials of an account that is in no organisation.
func (c company) outsider(t *testing.T) *awsiam.Credentials {
	t.Helper()
	if !c.moto {
		return credentials("AKIAFAKE"+aloneAccount, "")
	}
	_, api := clients(c.url, contractAccount)
	out, err := api.AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + aloneAccount + ":role/any"), RoleSessionName: aws.String("test"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &awsiam.Credentials{
		ID: *out.Credentials.AccessKeyId, Secret: fact.NewSecret(*out.Credentials.SecretAccessKey), Session: fact.NewSecret(*out.Credentials.SessionToken),
	}
}

func (c company) actions(t *testing.T) {
	calls := c.org.Calls()
	delete(calls, "sts:GetCallerIdentity")
	calls["organizations:ListParents"]++ // of an account that moves while units are read: tested by itself
	if got := slices.Sorted(maps.Keys(calls)); !cmp.Equal(got, awsiam.OrgActions()) {
		t.Errorf("listed %v, seen %v", awsiam.OrgActions(), got)
	}
}

func (c company) members(t *testing.T) {
	ctx := t.Context()
	api, _ := clients(c.url, contractAccount)
	if _, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("of-" + contractAccount)}); err != nil {
		t.Fatal(err)
	}
	m := openMembers(t, orgSettings(c.url))
	if got := m.Caller().Account; !cmp.Equal(got, fact.Account{ID: contractAccount, Partition: "aws"}) {
		t.Errorf("caller %+v", got)
	}
	for i, id := range append(slices.Clone(c.accounts), contractAccount) {
		if i == 3 || i == 4 { // closed
			continue
		}
		if id != contractAccount {
			c.addUser(t, id)
		}
		r, err := m.Open(ctx, fact.Account{ID: id}, awsiam.MemberSettings{Role: adminRole})
		if err != nil {
			t.Fatal(err)
		}
		who, err := r.Caller(ctx)
		var users []string
		listErr := r.Users(ctx, func(page []fact.User) error {
			for _, u := range page {
				users = append(users, u.Name)
			}
			return nil
		})
		r.Close()
		if err := errors.Join(err, listErr); err != nil || who.Account.ID != id || !cmp.Equal(users, []string{"of-" + id}) {
			t.Errorf("account %s: caller %+v, users %v, %v", id, who, users, err)
		}
		want := map[string]int{"sts:AssumeRole": 1, "iam:ListUsers": 1}
		if id == contractAccount {
			delete(want, "sts:AssumeRole")
		}
		if got := r.Calls(); !cmp.Equal(got, want) || r.Attempts() != len(want) {
			t.Errorf("account %s: calls %v and %d requests, want %v", id, got, r.Attempts(), want)
		}
	}
}

// addUser adds a user that bears the name of its account.
func (c company) addUser(t *testing.T, account string) {
	t.Helper()
	_, api := clients(c.url, contractAccount)
	out, err := api.AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + account + ":role/" + adminRole), RoleSessionName: aws.String("setup"),
	})
	if err != nil {
		t.Fatal(err)
	}
	theirs := iam.NewFromConfig(sdk.Config(c.url, "us-east-1", aws.Credentials{
		AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken,
	}))
	if _, err := theirs.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("of-" + account)}); err != nil {
		t.Fatal(err)
	}
}
