package fakeaws

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// organizationsPage is the largest page that Organizations gives.
const organizationsPage = 20

// organization is accounts of the Cloud in a tree of units.
type organization struct {
	cloud      *Cloud
	id         string
	all        bool // accounts added later are in it too
	accounts   []*Account
	management *Account
	delegated  map[*Account]bool
	root       *unit
	units      map[string]*unit // by id
}

// unit is the root or an organisational unit.
type unit struct {
	id, name string
	parent   *unit // nil for the root
	units    []*unit
	accounts []*Account
	tags     map[string]string
}

// Organize makes an organisation of all accounts, those added later included, each in the unit that its OU names. The
// accounts delegated may read it as the management account may. Both have to be there.
func (c *Cloud) Organize(management string, delegated ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range append([]string{management}, delegated...) {
		if c.byID[id] == nil {
			return fmt.Errorf("make an organisation of account %q: it is not there", id)
		}
	}
	c.organize(c.byID[management])
	c.org.all = true
	for _, a := range c.accounts {
		c.org.put(a, a.place)
	}
	for _, id := range delegated {
		c.org.delegated[c.byID[id]] = true
	}
	return nil
}

// organize begins an organisation without accounts.
func (c *Cloud) organize(management *Account) {
	root := &unit{id: "r-fake", name: "Root"}
	c.org = &organization{
		cloud: c, id: "o-fakeorg001", management: management, delegated: map[*Account]bool{},
		root: root, units: map[string]*unit{root.id: root},
	}
	for _, a := range c.accounts {
		a.unit = nil
	}
}

// SetState moves an account on in its life. Only an active one lets anybody assume a role.
func (a *Account) SetState(s fact.AccountState) {
	a.cloud.mu.Lock()
	defer a.cloud.mu.Unlock()
	a.state = s
}

// Move puts an account of the organisation into another unit, made where it is not there: Root/Workloads/Prod.
func (a *Account) Move(ou string) {
	a.cloud.mu.Lock()
	defer a.cloud.mu.Unlock()
	a.place = ou
	if a.unit != nil {
		a.cloud.org.put(a, ou)
	}
}

// put gives an account its place. The first name of a path is the root's; empty is the root.
func (o *organization) put(a *Account, path string) {
	at := o.root
	for i, name := range strings.Split(path, "/") {
		if i == 0 {
			continue
		}
		below := slices.IndexFunc(at.units, func(u *unit) bool { return u.name == name })
		if below < 0 {
			at = o.add(at, name)
		} else {
			at = at.units[below]
		}
	}
	o.move(a, at)
}

func (o *organization) move(a *Account, to *unit) {
	if a.unit != nil {
		a.unit.accounts = slices.DeleteFunc(a.unit.accounts, func(x *Account) bool { return x == a })
	}
	if a.unit == nil {
		o.accounts = append(o.accounts, a)
	}
	a.unit = to
	to.accounts = append(to.accounts, a)
}

func (o *organization) add(parent *unit, name string) *unit {
	u := &unit{id: fmt.Sprintf("ou-fake-%08d", len(o.units)), name: name, parent: parent}
	o.units[u.id] = u
	parent.units = append(parent.units, u)
	return u
}

// organizations carries out an action of Organizations.
func (c *Cloud) organizations(who caller, action string, p url.Values) (*node, error) {
	if action == "organizations:CreateOrganization" && c.org == nil {
		c.organize(who.account)
		c.org.put(who.account, "")
	}
	o := c.org
	if o == nil || who.account.unit == nil {
		return nil, &Error{http.StatusBadRequest, "AWSOrganizationsNotInUseException", "Your account is not a member of an organization."}
	}
	switch action {
	case "organizations:CreateOrganization", "organizations:DescribeOrganization": // the latter may every member
		return tree("", tree("Organization",
			leaf("Id", o.id), leaf("Arn", o.arn("organization")),
			leaf("MasterAccountId", o.management.id), leaf("MasterAccountArn", o.arn("account", o.management.id)))), nil
	}
	if who.account != o.management && !o.delegated[who.account] {
		return nil, &Error{http.StatusBadRequest, "AccessDeniedException", "You don't have permissions to access this resource."}
	}
	switch action {
	case "organizations:ListAccounts":
		return c.orgPage("Accounts", len(o.accounts), p, func(i int) *node { return o.accountNode(o.accounts[i]) })
	case "organizations:ListRoots":
		return tree("", members("Roots", []*node{o.unitNode(o.root)})), nil
	case "organizations:ListAccountsForParent":
		return o.under(p, func(u *unit) (*node, error) {
			return c.orgPage("Accounts", len(u.accounts), p, func(i int) *node { return o.accountNode(u.accounts[i]) })
		})
	case "organizations:ListOrganizationalUnitsForParent":
		return o.under(p, func(u *unit) (*node, error) {
			return c.orgPage("OrganizationalUnits", len(u.units), p, func(i int) *node { return o.unitNode(u.units[i]) })
		})
	case "organizations:ListParents":
		return o.listParents(p.Get("ChildId"))
	case "organizations:ListTagsForResource":
		return o.listTags(p)
	default:
		return o.write(action, p)
	}
}

func (o *organization) arn(kind string, more ...string) string {
	return "arn:" + o.management.partition + ":organizations::" + o.management.id + ":" +
		strings.Join(append([]string{kind, o.id}, more...), "/")
}

func (o *organization) accountNode(a *Account) *node {
	n := tree("",
		leaf("Id", a.id), leaf("Arn", o.arn("account", a.id)), leaf("Name", a.name), leaf("Email", "account-"+a.id+"@example.com"))
	if !o.cloud.switches.NoState {
		n.kids = append(n.kids, leaf("State", string(a.state)))
	}
	if !o.cloud.switches.NoStatus {
		n.kids = append(n.kids, leaf("Status", oldStatus(a.state)))
	}
	return n
}

// oldStatus is the Status that AWS gave before there was a State: it knows three.
func oldStatus(s fact.AccountState) string {
	switch s {
	case fact.StateClosed, fact.StateSuspended:
		return "SUSPENDED"
	case fact.StatePendingClosure:
		return "PENDING_CLOSURE"
	case fact.StateUnknown, fact.StateActive, fact.StatePendingActivation:
		return "ACTIVE"
	default:
		return "ACTIVE"
	}
}

func (o *organization) unitNode(u *unit) *node {
	kind := "ou"
	if u.parent == nil {
		kind = "root"
	}
	return tree("", leaf("Id", u.id), leaf("Arn", o.arn(kind, u.id)), leaf("Name", u.name))
}

func (o *organization) under(p url.Values, list func(*unit) (*node, error)) (*node, error) {
	if u := o.units[p.Get("ParentId")]; u != nil {
		return list(u)
	}
	return nil, notThere("ParentNotFoundException", "parent")
}

func notThere(code, what string) *Error {
	return &Error{http.StatusBadRequest, code, "You specified " + what + " that doesn't exist."}
}

func (o *organization) listParents(child string) (*node, error) {
	var above *unit
	if a := o.member(child); a != nil {
		above = a.unit
	} else if u := o.units[child]; u != nil {
		above = u.parent
	}
	if above == nil {
		return nil, notThere("ChildNotFoundException", "a child")
	}
	kind := "ORGANIZATIONAL_UNIT"
	if above.parent == nil {
		kind = "ROOT"
	}
	return tree("", members("Parents", []*node{tree("", leaf("Id", above.id), leaf("Type", kind))})), nil
}

// member is the account of that id if it is in the organisation, or nil.
func (o *organization) member(id string) *Account {
	if a := o.cloud.byID[id]; a != nil && a.unit != nil {
		return a
	}
	return nil
}

// tagged are the tags of an account or a unit.
func (o *organization) tagged(id string) (*map[string]string, error) {
	if a := o.member(id); a != nil {
		return &a.tags, nil
	}
	if u := o.units[id]; u != nil {
		return &u.tags, nil
	}
	return nil, notThere("TargetNotFoundException", "a target")
}

func (o *organization) listTags(p url.Values) (*node, error) {
	tags, err := o.tagged(p.Get("ResourceId"))
	if err != nil {
		return nil, err
	}
	items := tagItems(*tags)
	return o.cloud.orgPage("Tags", len(items), p, func(i int) *node { return items[i] })
}

// write carries out an action that changes the organisation.
func (o *organization) write(action string, p url.Values) (*node, error) {
	switch action {
	case "organizations:CreateAccount":
		a := o.cloud.addAccount(fact.Account{
			ID: fmt.Sprintf("9%011d", len(o.cloud.accounts)), Partition: o.management.partition, Name: p.Get("AccountName"), Tags: tagsOf(p),
		})
		if a.unit == nil {
			o.put(a, "")
		}
		return tree("", tree("CreateAccountStatus", leaf("Id", "car-"+a.id), leaf("State", "SUCCEEDED"), leaf("AccountId", a.id))), nil
	case "organizations:CloseAccount":
		a := o.member(p.Get("AccountId"))
		if a == nil {
			return nil, notThere("AccountNotFoundException", "an account")
		}
		a.state = fact.StateSuspended
		return tree(""), nil
	case "organizations:CreateOrganizationalUnit":
		return o.under(p, func(above *unit) (*node, error) {
			n := o.unitNode(o.add(above, p.Get("Name")))
			n.name = "OrganizationalUnit"
			return tree("", n), nil
		})
	case "organizations:MoveAccount":
		a, to := o.member(p.Get("AccountId")), o.units[p.Get("DestinationParentId")]
		if a == nil || to == nil {
			return nil, notThere("DestinationParentNotFoundException", "an account or a parent")
		}
		o.move(a, to)
		return tree(""), nil
	case "organizations:TagResource":
		tags, err := o.tagged(p.Get("ResourceId"))
		if err != nil {
			return nil, err
		}
		merged := orEmpty(maps.Clone(*tags))
		maps.Copy(merged, tagsOf(p))
		*tags = merged
		return tree(""), nil
	default:
		return nil, &Error{http.StatusBadRequest, "UnknownOperationException", "Could not find operation " + action}
	}
}

// orgPage cuts a listing of n items, of which only those of the page are made. A token is the number of items already
// given; that of an empty page begins with another word.
func (c *Cloud) orgPage(list string, n int, p url.Values, item func(i int) *node) (*node, error) {
	const after, empty = "after-", "empty-"
	size := organizationsPage
	if asked, err := strconv.Atoi(p.Get("MaxResults")); err == nil && asked > 0 {
		size = min(size, asked)
	}
	if limit := c.switches.PageSize; limit > 0 {
		size = min(size, limit)
	}
	token := p.Get("NextToken")
	if token == "" {
		token = after + "0"
		if c.switches.EmptyPages {
			token = empty + "0"
		}
	}
	at, isEmpty := strings.CutPrefix(token, empty)
	start, err := strconv.Atoi(strings.TrimPrefix(at, after))
	if err != nil || start < 0 || start > n {
		return nil, &Error{http.StatusBadRequest, "InvalidInputException", "You specified an invalid value for NextToken."}
	}
	end, next := min(start+size, n), ""
	switch {
	case isEmpty:
		end = start
		if start < n {
			next = after
		}
	case c.switches.EmptyPages:
		next = empty
	case end < n:
		next = after
	}
	var items []*node
	for i := start; i < end; i++ {
		items = append(items, item(i))
	}
	out := tree("", members(list, items))
	if next != "" {
		out.kids = append(out.kids, leaf("NextToken", next+strconv.Itoa(end)))
	}
	return out, nil
}
