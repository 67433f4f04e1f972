package awsiam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"golang.org/x/sync/errgroup"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// purposeOrg is whose policy grants the calls of Organization, and the assuming of roles by Members.
const purposeOrg = "org"

// OrgActions are the actions of Organization, sorted, as a policy names them. To assume the role of Members takes
// sts:AssumeRole on that role in each account besides.
func OrgActions() []string {
	return []string{
		"organizations:DescribeOrganization",
		"organizations:ListAccounts",
		"organizations:ListAccountsForParent",
		"organizations:ListOrganizationalUnitsForParent",
		"organizations:ListParents",
		"organizations:ListRoots",
		"organizations:ListTagsForResource",
	}
}

// Organization reads an organisation by the credentials of its management account or of a delegated administrator,
// and changes nothing. It has limits of its own: Settings.Rate is that of Organizations alone. It is safe for
// concurrent use.
type Organization struct {
	*client
	api *organizations.Client
}

// OpenOrganization prepares an Organization and calls nobody. Organizations has one endpoint a partition, in
// us-east-1, cn-northwest-1 or us-gov-west-1: the SDK calls and signs for that one, whatever the region of s.
func OpenOrganization(ctx context.Context, s Settings) (*Organization, error) {
	c, err := connect(ctx, s, purposeOrg)
	if err != nil {
		return nil, err
	}
	cfg, err := c.service(ctx)
	if err != nil {
		return nil, err
	}
	return &Organization{c, organizations.NewFromConfig(cfg, func(o *organizations.Options) {
		if c.set.EndpointURL != "" {
			o.BaseEndpoint = aws.String(c.set.EndpointURL)
		}
	})}, nil
}

// Read reads who holds the organisation and every account of it, whatever its state. Where accounts stand is left
// out, see Place, and so are their tags, see AccountTags. The partition is that of the caller's ARN.
//
// ErrNoOrganization: the caller's account is in none. ErrDenied also where it is a member that may not read.
func (o *Organization) Read(ctx context.Context) (fact.Organization, error) {
	who, err := o.Caller(ctx)
	if err != nil {
		return fact.Organization{}, err
	}
	org, err := o.describe(ctx)
	if err != nil {
		return fact.Organization{}, err
	}
	seen := map[string]bool{}
	err = o.accounts(ctx, sentence{action: "organizations:ListAccounts", doing: "list the accounts of organisation " + org.ID},
		func(token *string) ([]types.Account, *string, error) {
			out, err := o.api.ListAccounts(ctx, &organizations.ListAccountsInput{NextToken: token})
			if err != nil {
				return nil, nil, err
			}
			return out.Accounts, out.NextToken, nil
		}, func(a types.Account) {
			id := aws.ToString(a.Id)
			if !seen[id] { // the listing moves while accounts come and go
				seen[id] = true
				org.Members = append(org.Members, fact.Member{
					Account: fact.Account{ID: id, Partition: who.Account.Partition, Name: aws.ToString(a.Name), Organization: org.ID},
					State:   stateOf(a), Management: id == org.Management,
				})
			}
		})
	if err != nil {
		return fact.Organization{}, o.asOutsider(err, who, org)
	}
	if !seen[org.Management] {
		return fact.Organization{}, o.garbled(ctx, sentence{
			action: "organizations:ListAccounts", doing: "list the accounts of organisation " + org.ID,
		}, "the management account %s is not among them", org.Management)
	}
	slices.SortFunc(org.Members, func(a, b fact.Member) int { return strings.Compare(a.ID, b.ID) })
	return org, nil
}

func (o *Organization) describe(ctx context.Context) (fact.Organization, error) {
	doing := sentence{action: "organizations:DescribeOrganization", doing: "describe the organisation"}
	out, err := o.api.DescribeOrganization(ctx, &organizations.DescribeOrganizationInput{})
	if err != nil {
		return fact.Organization{}, o.refused(ctx, doing, err)
	}
	if out.Organization == nil || aws.ToString(out.Organization.Id) == "" || !fact.IsAccountID(aws.ToString(out.Organization.MasterAccountId)) {
		return fact.Organization{}, o.garbled(ctx, doing, "it names no organisation, or no management account")
	}
	return fact.Organization{ID: *out.Organization.Id, Management: *out.Organization.MasterAccountId}, nil
}

// stateOf prefers State to Status, which AWS retires. A status is one of the states, and means the same.
func stateOf(a types.Account) fact.AccountState {
	if a.State != "" {
		return fact.AccountState(a.State)
	}
	return fact.AccountState(a.Status)
}

// asOutsider tells who is denied from a member account that another one may read.
func (o *Organization) asOutsider(err error, who fact.Caller, org fact.Organization) error {
	e := (*Error)(nil)
	if errors.As(err, &e) && errors.Is(e.Kind, ErrDenied) && who.Account.ID != org.Management {
		e.hint = fmt.Sprintf("use credentials of the management account %s, or of a delegated administrator, "+
			"with the policy of keyreeve iam-policy --for org", org.Management)
	}
	return err
}

// accounts hands every account of a listing to each. Pages may be empty while more follow; the last one has at least
// a list of none.
func (o *Organization) accounts(
	ctx context.Context, doing sentence,
	list func(token *string) ([]types.Account, *string, error), each func(types.Account),
) error {
	return o.pages(ctx, doing.action, doing.doing, doing.subject, func(token *string) (*string, bool, error) {
		accounts, next, err := list(token)
		if err != nil {
			return nil, false, o.refused(ctx, doing, err)
		}
		if accounts == nil && aws.ToString(next) == "" {
			return nil, false, o.garbled(ctx, doing, "it holds no list of accounts")
		}
		for _, a := range accounts {
			if !fact.IsAccountID(aws.ToString(a.Id)) {
				return nil, false, o.garbled(ctx, doing, "an account has the id %q", aws.ToString(a.Id))
			}
			each(a)
		}
		return next, aws.ToString(next) != "", nil
	})
}

// place is a unit with those above it, root first.
type place []fact.Unit

func (p place) unit() fact.Unit { return p[len(p)-1] }

// Place reads the units of an organisation that Read gave, and puts every member into its place: Units, and the path
// as OU. It takes two calls for each unit and more for those of many accounts or units, none for an account, except
// for one that was moved or made meanwhile. After an error org is as before.
func (o *Organization) Place(ctx context.Context, org *fact.Organization) error {
	level, err := o.roots(ctx)
	if err != nil {
		return err
	}
	units, homes := map[string]place{}, map[string][]place{}
	for len(level) > 0 {
		for _, p := range level {
			if _, twice := units[p.unit().ID]; twice {
				return o.garbled(ctx, sentence{
					action: "organizations:ListOrganizationalUnitsForParent", doing: "list the units of organisation " + org.ID,
				}, "unit %s stands in two places", p.unit().ID)
			}
			units[p.unit().ID] = p
		}
		if level, err = o.below(ctx, level, homes); err != nil {
			return err
		}
	}
	members := slices.Clone(org.Members)
	for i := range members {
		m := &members[i]
		at := homes[m.ID]
		if len(at) != 1 {
			p, err := o.home(ctx, m.ID, units)
			if err != nil {
				return err
			}
			at = []place{p}
		}
		m.Units, m.OU = at[0], at[0].unit().Path
	}
	org.Members, org.Units = members, make([]fact.Unit, 0, len(units))
	for _, p := range units {
		org.Units = append(org.Units, p.unit())
	}
	slices.SortFunc(org.Units, func(a, b fact.Unit) int {
		return strings.Compare(a.Path+"\x00"+a.ID, b.Path+"\x00"+b.ID)
	})
	return nil
}

func (o *Organization) roots(ctx context.Context) ([]place, error) {
	doing := sentence{action: "organizations:ListRoots", doing: "list the roots of the organisation"}
	var roots []place
	err := o.pages(ctx, doing.action, doing.doing, "", func(token *string) (*string, bool, error) {
		out, err := o.api.ListRoots(ctx, &organizations.ListRootsInput{NextToken: token})
		if err != nil {
			return nil, false, o.refused(ctx, doing, err)
		}
		for _, r := range out.Roots {
			u := fact.Unit{ID: aws.ToString(r.Id), Name: aws.ToString(r.Name), Path: aws.ToString(r.Name)}
			if u.ID == "" || u.Name == "" {
				return nil, false, o.garbled(ctx, doing, "a root lacks its id or its name")
			}
			roots = append(roots, place{u})
		}
		return out.NextToken, aws.ToString(out.NextToken) != "", nil
	})
	if err == nil && len(roots) == 0 {
		err = o.garbled(ctx, doing, "there is none")
	}
	return roots, err
}

// below reads what stands in each place of a level, several at once: the units, which are the next level, and the
// accounts, which go to homes.
func (o *Organization) below(ctx context.Context, level []place, homes map[string][]place) ([]place, error) {
	var mu sync.Mutex
	next := make([][]place, len(level))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(o.set.Concurrency)
	for i, p := range level {
		group.Go(func() (err error) {
			if next[i], err = o.units(ctx, p); err != nil {
				return err
			}
			id := p.unit().ID
			return o.accounts(ctx, sentence{
				action: "organizations:ListAccountsForParent", doing: "list the accounts in unit " + id, subject: id,
			}, func(token *string) ([]types.Account, *string, error) {
				out, err := o.api.ListAccountsForParent(ctx, &organizations.ListAccountsForParentInput{ParentId: &id, NextToken: token})
				if err != nil {
					return nil, nil, err
				}
				return out.Accounts, out.NextToken, nil
			}, func(a types.Account) {
				mu.Lock()
				defer mu.Unlock()
				homes[*a.Id] = append(homes[*a.Id], p)
			})
		})
	}
	err := group.Wait()
	return slices.Concat(next...), err
}

func (o *Organization) units(ctx context.Context, above place) ([]place, error) {
	id := above.unit().ID
	doing := sentence{action: "organizations:ListOrganizationalUnitsForParent", doing: "list the units in unit " + id, subject: id}
	var found []place
	err := o.pages(ctx, doing.action, doing.doing, id, func(token *string) (*string, bool, error) {
		out, err := o.api.ListOrganizationalUnitsForParent(ctx, &organizations.ListOrganizationalUnitsForParentInput{ParentId: &id, NextToken: token})
		if err != nil {
			return nil, false, o.refused(ctx, doing, err)
		}
		if out.OrganizationalUnits == nil && aws.ToString(out.NextToken) == "" {
			return nil, false, o.garbled(ctx, doing, "it holds no list of units")
		}
		for _, u := range out.OrganizationalUnits {
			unit := fact.Unit{ID: aws.ToString(u.Id), Name: aws.ToString(u.Name), Parent: id}
			if unit.ID == "" || unit.Name == "" {
				return nil, false, o.garbled(ctx, doing, "a unit lacks its id or its name")
			}
			unit.Path = above.unit().Path + "/" + unit.Name
			found = append(found, append(slices.Clip(above), unit))
		}
		return out.NextToken, aws.ToString(out.NextToken) != "", nil
	})
	return found, err
}

// home asks where one account stands that the walk met nowhere, or twice: it was moved or made meanwhile.
func (o *Organization) home(ctx context.Context, account string, units map[string]place) (place, error) {
	doing := sentence{action: "organizations:ListParents", doing: fmt.Sprintf("find the unit of account %q", account), subject: account}
	out, err := o.api.ListParents(ctx, &organizations.ListParentsInput{ChildId: &account})
	if err != nil {
		return nil, o.refused(ctx, doing, err)
	}
	if len(out.Parents) != 1 {
		return nil, o.garbled(ctx, doing, "it is in %d units", len(out.Parents))
	}
	p, known := units[aws.ToString(out.Parents[0].Id)]
	if !known {
		e := o.garbled(ctx, doing, "it is in unit %q, which was not there a moment before", aws.ToString(out.Parents[0].Id))
		e.hint = "try again: the organisation was changed while it was read"
		return nil, e
	}
	return p, nil
}

// AccountTags are the tags of an account in its organisation; an empty map, never nil, when it has none.
func (o *Organization) AccountTags(ctx context.Context, account string) (map[string]string, error) {
	doing := sentence{action: "organizations:ListTagsForResource", doing: fmt.Sprintf("list tags of account %q", account), subject: account}
	tags := map[string]string{}
	err := o.pages(ctx, doing.action, doing.doing, account, func(token *string) (*string, bool, error) {
		out, err := o.api.ListTagsForResource(ctx, &organizations.ListTagsForResourceInput{ResourceId: &account, NextToken: token})
		if err != nil {
			return nil, false, o.refused(ctx, doing, err)
		}
		if out.Tags == nil && aws.ToString(out.NextToken) == "" {
			return nil, false, o.garbled(ctx, doing, "it holds no list of tags")
		}
		for _, tag := range out.Tags {
			tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
		}
		return out.NextToken, aws.ToString(out.NextToken) != "", nil
	})
	if err != nil {
		return nil, err
	}
	return tags, nil
}

// refused is the error of a call that AWS did not answer as asked.
func (o *Organization) refused(ctx context.Context, doing sentence, err error) error {
	e := o.failure(ctx, doing.action, doing.doing, doing.subject, err)
	if e.Kind == nil && ctx.Err() == nil {
		e.Kind = kindOfOrgCode(apiCode(err))
	}
	return e
}

// kindOfOrgCode is kindOfCode for the codes that IAM does not have.
func kindOfOrgCode(code string) error {
	switch code {
	case "AWSOrganizationsNotInUseException":
		return ErrNoOrganization
	case "ParentNotFoundException", "ChildNotFoundException", "TargetNotFoundException":
		return ErrNotFound
	}
	return nil
}
