package fakeaws

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// do carries out one action, if the caller may: that is decided first, whatever the action is about. Every
// action that reads is here, those that write are in write.
func (c *Cloud) do(who caller, action string, p url.Values) (*node, error) {
	a := who.account
	if err := who.refusal(action); err != nil {
		return nil, err
	}
	service, _, _ := strings.Cut(action, ":")
	switch service {
	case "organizations":
		return c.organizations(who, action, p)
	case "iam":
		a.load()
	}
	switch action {
	case "sts:GetCallerIdentity":
		return who.identity(), nil
	case "sts:AssumeRole":
		return c.assumeRole(who, p)
	case "iam:ListAccountAliases":
		return a.listAliases(), nil
	case "iam:GetAccountSummary":
		return a.summary(), nil
	case "iam:GenerateCredentialReport":
		return tree("", leaf("State", a.generate())), nil
	case "iam:GetCredentialReport":
		return a.reportNode()
	case "iam:ListEntitiesForPolicy":
		return a.listEntities(p)
	case "iam:ListUsers":
		return a.listUsers(p)
	case "iam:GetUser":
		return who.getUser(p)
	case "iam:ListAccessKeys":
		return who.listKeys(p)
	case "iam:GetAccessKeyLastUsed":
		return a.lastUseNode(p.Get("AccessKeyId"))
	case "iam:GetLoginProfile":
		return who.loginProfile(p)
	case "iam:ListUserTags":
		return a.listTags(p)
	default:
		return a.write(action, p)
	}
}

func (w caller) identity() *node {
	arn, id := w.self()
	return tree("", leaf("Arn", arn), leaf("UserId", id), leaf("Account", w.account.id))
}

// self is the caller's ARN and unique id.
func (w caller) self() (arn, id string) {
	switch {
	case w.session != nil:
		return w.session.arn, w.session.id
	case w.user != nil:
		return w.account.arn(w.user), w.user.id
	case w.limited != "":
		return "arn:" + w.account.partition + ":iam::" + w.account.id + ":user/limited/" + w.limited, "AIDA" + w.limited
	default:
		return "arn:" + w.account.partition + ":iam::" + w.account.id + ":user/keyreeve-auditor", "AIDAFAKE" + w.account.id
	}
}

func (a *Account) listAliases() *node {
	list := tree("AccountAliases")
	if a.alias != "" {
		list.kids = []*node{leaf("member", a.alias)}
	}
	return tree("", list, leaf("IsTruncated", "false"))
}

func (a *Account) summary() *node {
	entry := func(name string, n int) *node {
		return tree("entry", leaf("key", name), leaf("value", strconv.Itoa(n)))
	}
	present := 0
	if len(a.rootKeys) > 0 {
		present = 1 // AWS says whether, not how many
	}
	return tree("", tree("SummaryMap", entry("Users", len(a.users)), entry("AccountAccessKeysPresent", present)))
}

func (a *Account) reportNode() (*node, error) {
	body, made, err := a.getReport()
	if err != nil {
		return nil, err
	}
	return tree("",
		leaf("Content", base64.StdEncoding.EncodeToString(body)),
		leaf("ReportFormat", "text/csv"),
		leaf("GeneratedTime", stamp(made))), nil
}

func (a *Account) listEntities(p url.Values) (*node, error) {
	_, policy, _ := strings.Cut(p.Get("PolicyArn"), ":policy/")
	var items []*node
	for _, u := range a.sorted() {
		if slices.Contains(u.policies, policy) {
			items = append(items, tree("", leaf("UserName", u.name), leaf("UserId", u.id)))
		}
	}
	return a.page("PolicyUsers", items, p)
}

func (a *Account) listUsers(p url.Values) (*node, error) {
	var items []*node
	for _, u := range a.sorted() {
		if strings.HasPrefix(u.path, p.Get("PathPrefix")) {
			items = append(items, a.userNode(u))
		}
	}
	return a.page("Users", items, p)
}

func (a *Account) userNode(u *user) *node {
	n := tree("User",
		leaf("Path", u.path), leaf("UserName", u.name), leaf("UserId", u.id),
		leaf("Arn", a.arn(u)), leaf("CreateDate", stamp(u.created)))
	if u.password && !u.passwordUsed.IsZero() {
		n.kids = append(n.kids, leaf("PasswordLastUsed", stamp(u.passwordUsed)))
	}
	return n
}

// getUser tells of the user that a request names, or else of the caller, which has to be a user then. Unlike
// a listing it has the tags.
func (w caller) getUser(p url.Values) (*node, error) {
	if p.Get("UserName") == "" && w.user == nil {
		return nil, &Error{http.StatusBadRequest, "ValidationError", "Must specify userName when calling with non-User credentials"}
	}
	u, err := w.subject(p)
	if err != nil {
		return nil, err
	}
	n := w.account.userNode(u)
	if tags := tagItems(u.tags); len(tags) > 0 {
		n.kids = append(n.kids, members("Tags", tags))
	}
	return tree("", n), nil
}

// subject is the user a request names, or else the one who asks.
func (w caller) subject(p url.Values) (*user, error) {
	if name := p.Get("UserName"); name != "" || w.user == nil {
		return w.account.find(name)
	}
	return w.user, nil
}

func (w caller) listKeys(p url.Values) (*node, error) {
	u, err := w.subject(p)
	if err != nil {
		return nil, err
	}
	var items []*node
	for _, k := range u.listed() {
		items = append(items, tree("",
			leaf("UserName", u.name), leaf("AccessKeyId", k.id),
			leaf("Status", k.status()), leaf("CreateDate", stamp(k.created))))
	}
	return w.account.page("AccessKeyMetadata", items, p)
}

func (k *key) status() string {
	if k.active {
		return "Active"
	}
	return "Inactive"
}

func (a *Account) lastUseNode(id string) (*node, error) {
	u := a.keys[id]
	if u == nil {
		return nil, noSuch("Access Key", id)
	}
	last, used := a.lastUse(u.key(id))
	n := tree("AccessKeyLastUsed")
	if used {
		n.kids = append(n.kids, leaf("LastUsedDate", stamp(last.at)))
	}
	n.kids = append(n.kids,
		leaf("ServiceName", orText(last.service, notApplicable)), leaf("Region", orText(last.region, notApplicable)))
	return tree("", leaf("UserName", u.name), n), nil
}

func (w caller) loginProfile(p url.Values) (*node, error) {
	u, err := w.subject(p)
	if err != nil {
		return nil, err
	}
	if !u.password {
		return nil, noSuch("Login Profile for User", u.name)
	}
	return tree("", u.profileNode()), nil
}

func (u *user) profileNode() *node {
	return tree("LoginProfile", leaf("UserName", u.name), leaf("CreateDate", stamp(u.passwordSet)))
}

func (a *Account) listTags(p url.Values) (*node, error) {
	u, err := a.find(p.Get("UserName"))
	if err != nil {
		return nil, err
	}
	return a.page("Tags", tagItems(u.tags), p)
}

func tagItems(tags map[string]string) []*node {
	var items []*node
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		items = append(items, tree("", leaf("Key", name), leaf("Value", tags[name])))
	}
	return items
}

// page cuts a listing. The marker is the number of items already given.
func (a *Account) page(list string, items []*node, p url.Values) (*node, error) {
	size := 100
	if n, err := strconv.Atoi(p.Get("MaxItems")); err == nil && n > 0 {
		size = min(n, 1000)
	}
	if limit := a.cloud.switches.PageSize; limit > 0 {
		size = min(size, limit)
	}
	start := 0
	if marker := p.Get("Marker"); marker != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(marker, "after-"))
		if err != nil || n < 0 || n > len(items) {
			return nil, &Error{http.StatusBadRequest, "ValidationError", "Invalid Marker."}
		}
		start = n
	}
	end := min(start+size, len(items))
	out := tree("", members(list, items[start:end]), leaf("IsTruncated", strconv.FormatBool(end < len(items))))
	if end < len(items) {
		out.kids = append(out.kids, leaf("Marker", fmt.Sprintf("after-%d", end)))
	}
	return out, nil
}
