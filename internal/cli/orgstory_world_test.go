package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sdk"
	"github.com/keyreeve/keyreeve/internal/fakeaws/truth"
)

const (
	management = "123456789012" // moto's own account
	adminRole  = "OrganizationAccountAccessRole"
)

// organisation is what the test made on moto.
type organisation struct {
	moto     *moto.Server
	gate     *gate
	roleless string            // the account in which adminRole is missing
	place    map[string]string // paths of units, by account
	name     map[string]string // by account
	users    map[string][]*truth.User
	admin    map[string]aws.Config // by account
}

// foundOrganisation makes 29 accounts beside the management account, in five units, takes the role that Organizations makes in each
// out of one, and lets two years happen in them.
func foundOrganisation(t *testing.T, server *moto.Server) *organisation {
	t.Helper()
	o := &organisation{moto: server, place: map[string]string{management: "Root"}, name: map[string]string{}, users: map[string][]*truth.User{}, admin: map[string]aws.Config{}}
	o.admin[management] = o.config(aws.Credentials{AccessKeyID: motoAdmin, SecretAccessKey: "any"})
	o.gate = openGate(t, o)
	units := o.makeUnits(t)
	random := rand.New(rand.NewPCG(20261122, 30))
	places := []string{"Root/Workloads/Prod", "Root/Workloads/Prod/EU", "Root/Workloads/Prod", "Root/Workloads", "Root/Sandbox", "Root"}
	for i := range 29 {
		server.SetNow(storyTime.AddDate(-3, 0, i)) // moto tells pages apart by the date
		id := o.makeAccount(t, fmt.Sprintf("team-%02d", i), places[i%len(places)], units)
		if i == 17 {
			o.roleless = id
			_, err := iam.NewFromConfig(o.admin[id]).DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String(adminRole)})
			must(t, err)
		}
	}
	o.name[management] = "master" // as moto calls it
	for i, id := range o.ids() {
		o.users[id] = truth.Invent(random, fmt.Sprintf("user-%d", i), 14, storyTime)
	}
	o.happen(t)
	return o
}

func (o *organisation) config(c aws.Credentials) aws.Config {
	return sdk.Config(o.moto.URL(), "us-east-1", c)
}

// makeUnits gives the ids of the units by their paths.
func (o *organisation) makeUnits(t *testing.T) map[string]string {
	t.Helper()
	api := organizations.NewFromConfig(o.admin[management])
	_, err := api.CreateOrganization(t.Context(), &organizations.CreateOrganizationInput{})
	must(t, err)
	roots, err := api.ListRoots(t.Context(), &organizations.ListRootsInput{})
	must(t, err)
	units := map[string]string{"Root": *roots.Roots[0].Id}
	for _, path := range []string{"Root/Workloads", "Root/Workloads/Prod", "Root/Workloads/Prod/EU", "Root/Sandbox"} {
		above, name := path[:strings.LastIndexByte(path, '/')], path[strings.LastIndexByte(path, '/')+1:]
		out, err := api.CreateOrganizationalUnit(t.Context(), &organizations.CreateOrganizationalUnitInput{
			ParentId: aws.String(units[above]), Name: &name,
		})
		must(t, err)
		units[path] = *out.OrganizationalUnit.Id
	}
	return units
}

// makeAccount makes an account at the path, and credentials of its administrator.
func (o *organisation) makeAccount(t *testing.T, name, path string, units map[string]string) string {
	t.Helper()
	api := organizations.NewFromConfig(o.admin[management])
	out, err := api.CreateAccount(t.Context(), &organizations.CreateAccountInput{AccountName: &name, Email: aws.String(name + "@example.com")})
	must(t, err)
	id := *out.CreateAccountStatus.AccountId
	if path != "Root" {
		_, err = api.MoveAccount(t.Context(), &organizations.MoveAccountInput{
			AccountId: &id, SourceParentId: aws.String(units["Root"]), DestinationParentId: aws.String(units[path]),
		})
		must(t, err)
	}
	session, err := sts.NewFromConfig(o.admin[management]).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + id + ":role/any"), RoleSessionName: aws.String("test"), // moto lets everybody in
	})
	must(t, err)
	c := session.Credentials
	o.admin[id] = o.config(aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken})
	o.place[id], o.name[id] = path, name
	return id
}

// ids are those of all accounts, sorted.
func (o *organisation) ids() []string {
	var out []string
	for id := range o.place {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

func (o *organisation) countKeys(account string) (all, active int) {
	for _, u := range o.users[account] {
		for _, k := range u.Keys {
			all++
			if k.Active {
				active++
			}
		}
	}
	return all, active
}

// keyID is the id of the key that is told by its account, its user and the second of its creation.
func (o *organisation) keyID(of string) string {
	account, rest, _ := strings.Cut(of, " ")
	for _, u := range o.users[account] {
		for _, k := range u.Keys {
			if rest == u.Name+" "+k.Created.Format(time.RFC3339) {
				return k.ID
			}
		}
	}
	return ""
}

// deed is something that was done in an account at a moment of the past.
type deed struct {
	at time.Time
	do func(ctx context.Context) error
}

// happen lets everything happen in the order of time.
func (o *organisation) happen(t *testing.T) {
	t.Helper()
	var deeds []deed
	for _, id := range o.ids() {
		for _, u := range o.users[id] {
			deeds = append(deeds, o.deeds(iam.NewFromConfig(o.admin[id]), u)...)
		}
	}
	slices.SortStableFunc(deeds, func(a, b deed) int { return a.at.Compare(b.at) })
	now := time.Time{}
	for _, d := range deeds {
		if !d.at.Equal(now) {
			now = d.at
			o.moto.SetNow(now)
		}
		must(t, d.do(t.Context()))
	}
}

// deeds are what makes the user what it is.
func (o *organisation) deeds(api *iam.Client, u *truth.User) []deed {
	out := []deed{{u.Created, func(ctx context.Context) error {
		_, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: &u.Name})
		if err == nil && u.Password {
			_, err = api.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: &u.Name, Password: aws.String("Correct-Horse-7")})
		}
		if err == nil && u.Exposed {
			_, err = api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{
				UserName: &u.Name, PolicyArn: aws.String("arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV2"),
			})
		}
		return err
	}}}
	for _, k := range u.Keys {
		out = append(out, deed{k.Created, func(ctx context.Context) error {
			made, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &u.Name})
			if err == nil {
				k.ID, k.Secret = *made.AccessKey.AccessKeyId, *made.AccessKey.SecretAccessKey
			}
			return err
		}})
		if !k.Used.IsZero() {
			out = append(out, deed{k.Used, func(ctx context.Context) error {
				caller := sts.NewFromConfig(o.config(aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}))
				_, err := caller.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
				return err
			}})
		}
		if !k.Active {
			out = append(out, deed{storyTime, func(ctx context.Context) error {
				_, err := api.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: &u.Name, AccessKeyId: &k.ID, Status: types.StatusTypeInactive})
				return err
			}})
		}
	}
	return out
}

// gate is a proxy before moto that does what STS does and moto leaves out: it lets nobody assume a role that is not there.
type gate struct {
	*httptest.Server

	mu    sync.Mutex
	roles map[string]int // asked for: "ARN as SESSION"
}

func openGate(t *testing.T, o *organisation) *gate {
	t.Helper()
	target, err := url.Parse(o.moto.URL())
	must(t, err)
	g, proxy := &gate{roles: map[string]int{}}, httputil.NewSingleHostReverseProxy(target)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body)) // what is no form assumes no role
		if arn := form.Get("RoleArn"); form.Get("Action") == "AssumeRole" {
			g.mu.Lock()
			g.roles[arn+" as "+form.Get("RoleSessionName")]++
			g.mu.Unlock()
			there, err := o.hasRole(r.Context(), arn)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			if !there {
				w.Header().Set("Content-Type", "text/xml")
				w.WriteHeader(http.StatusForbidden)
				_, _ = fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code>`+
					`<Message>User: arn:aws:iam::%s:root is not authorized to perform: sts:AssumeRole on resource: %s</Message></Error>`+
					`<RequestId>1</RequestId></ErrorResponse>`, management, arn)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// hasRole asks moto whether the role is there.
func (o *organisation) hasRole(ctx context.Context, arn string) (bool, error) {
	parts := strings.Split(arn, ":")
	if len(parts) != 6 {
		return false, nil
	}
	admin, known := o.admin[parts[4]]
	if !known {
		return false, nil
	}
	_, err := iam.NewFromConfig(admin).GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(strings.TrimPrefix(parts[5], "role/"))})
	if missing := (*types.NoSuchEntityException)(nil); errors.As(err, &missing) {
		return false, nil
	}
	return err == nil, err
}

func (g *gate) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.roles)
}

func (g *gate) entered() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[string]int{}
	for name, n := range g.roles {
		out[name] = n
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
