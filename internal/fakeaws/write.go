package fakeaws

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// keyQuota is AWS's; it counts inactive keys.
const keyQuota = 2

func (a *Account) createUser(p url.Values) (*node, error) {
	name := p.Get("UserName")
	if err := a.addUser(User{Name: name, Path: p.Get("Path"), Tags: tagsOf(p)}); err != nil {
		return nil, err
	}
	u, err := a.find(name)
	if err != nil {
		return nil, err
	}
	return tree("", a.userNode(u)), nil
}

func (a *Account) deleteUser(u *user) error {
	if len(u.keys) > 0 || u.password || len(u.policies) > 0 {
		return &Error{http.StatusConflict, "DeleteConflict", "Cannot delete entity, must remove what it has first."}
	}
	delete(a.users, strings.ToLower(u.name))
	return nil
}

func (a *Account) createKey(u *user) (*node, error) {
	if len(u.keys) >= keyQuota {
		return nil, &Error{http.StatusConflict, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2"}
	}
	k := a.insertKey(u, Key{})
	return tree("", tree("AccessKey",
		leaf("UserName", u.name), leaf("AccessKeyId", k.id), leaf("Status", k.status()),
		leaf("SecretAccessKey", "not-a-secret-of-"+k.id), leaf("CreateDate", stamp(k.created)))), nil
}

func (u *user) updateKey(p url.Values) error {
	k := u.key(p.Get("AccessKeyId"))
	if k == nil {
		return noSuch("Access Key", p.Get("AccessKeyId"))
	}
	switch status := p.Get("Status"); status {
	case "Active", "Inactive":
		k.active = status == "Active"
		return nil
	default:
		return &Error{http.StatusBadRequest, "ValidationError", "Invalid Status " + status}
	}
}

func (a *Account) createProfile(u *user) (*node, error) {
	if u.password {
		return nil, &Error{http.StatusConflict, "EntityAlreadyExists", "Login Profile for User " + u.name + " already exists."}
	}
	u.password, u.passwordSet = true, a.cloud.now
	return tree("", u.profileNode()), nil
}

// tagsOf reads Tags.member.N.Key and .Value.
func tagsOf(p url.Values) map[string]string {
	tags := map[string]string{}
	for i := 1; p.Has(fmt.Sprintf("Tags.member.%d.Key", i)); i++ {
		tags[p.Get(fmt.Sprintf("Tags.member.%d.Key", i))] = p.Get(fmt.Sprintf("Tags.member.%d.Value", i))
	}
	return tags
}
