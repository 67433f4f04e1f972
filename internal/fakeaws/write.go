package fakeaws

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// keyQuota is AWS's; it counts inactive keys.
const keyQuota = 2

// Write is one call over HTTP that succeeded in the account and changes it, or would have: also one whose
// answer never arrived. Changes made by the methods of Account are not among them.
type Write struct {
	Action string // as a policy names it: iam:UpdateAccessKey
	User   string // as the account spells it; empty for CreateAccountAlias
	KeyID  string // empty where the action is about none
	Status string // that UpdateAccessKey set: Active or Inactive; else empty
	Effect bool   // false: UpdateAccessKey found the key so already
}

// Writes are the writes so far, in the order in which they took effect.
func (a *Account) Writes() []Write {
	a.cloud.mu.Lock()
	defer a.cloud.mu.Unlock()
	return slices.Clone(a.writes)
}

// write carries out an action that changes the account, and notes it.
func (a *Account) write(action string, p url.Values) (*node, error) {
	a.touch()
	done := Write{Action: action, KeyID: p.Get("AccessKeyId"), Status: p.Get("Status"), Effect: true}
	out, err := a.perform(action, p, &done)
	if err == nil {
		a.writes = append(a.writes, done)
	}
	return out, err
}

func (a *Account) perform(action string, p url.Values, done *Write) (*node, error) {
	name := p.Get("UserName")
	switch action {
	case "iam:CreateUser":
		done.User = name
		return a.createUser(p)
	case "iam:CreateAccountAlias":
		a.alias = p.Get("AccountAlias")
		return nil, nil
	}
	u, err := a.find(name)
	if err != nil {
		return nil, err
	}
	done.User = u.name
	switch action {
	case "iam:DeleteUser":
		return nil, a.deleteUser(u)
	case "iam:CreateAccessKey":
		return a.createKey(u, done)
	case "iam:UpdateAccessKey":
		return nil, a.updateKey(u, done)
	case "iam:DeleteAccessKey":
		return nil, a.deleteKey(u, done.KeyID)
	case "iam:CreateLoginProfile":
		return a.createProfile(u)
	case "iam:TagUser":
		u.tag(tagsOf(p))
		return nil, nil
	case "iam:AttachUserPolicy":
		_, policy, _ := strings.Cut(p.Get("PolicyArn"), ":policy/")
		u.policies = slices.Compact(slices.Sorted(slices.Values(append(u.policies, policy))))
		return nil, nil
	default:
		return nil, &Error{http.StatusBadRequest, "InvalidAction", "Could not find operation " + action}
	}
}

// past is the list of a user's keys as it was before its last change, as long as AWS still shows that.
type past struct {
	keys []*key // copies
	left int    // readings that still show it
}

// age keeps the keys as they are for the readings after the change to come.
func (a *Account) age(u *user) {
	u.past = past{left: a.cloud.switches.StaleReads}
	for _, k := range u.keys {
		u.past.keys = append(u.past.keys, new(*k))
	}
}

// listed are the keys as ListAccessKeys shows them. It counts as a reading.
func (u *user) listed() []*key {
	if u.past.left == 0 {
		return u.keys
	}
	u.past.left--
	return u.past.keys
}

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
	a.removeUser(u)
	return nil
}

func (a *Account) createKey(u *user, done *Write) (*node, error) {
	if len(u.keys) >= keyQuota {
		return nil, &Error{http.StatusConflict, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2"}
	}
	a.age(u)
	k := a.insertKey(u, Key{})
	done.KeyID = k.id
	return tree("", tree("AccessKey",
		leaf("UserName", u.name), leaf("AccessKeyId", k.id), leaf("Status", k.status()),
		leaf("SecretAccessKey", "not-a-secret-of-"+k.id), leaf("CreateDate", stamp(k.created)))), nil
}

func (a *Account) updateKey(u *user, done *Write) error {
	k := u.key(done.KeyID)
	if k == nil {
		return noSuch("Access Key", done.KeyID)
	}
	if done.Status != "Active" && done.Status != "Inactive" {
		return &Error{http.StatusBadRequest, "ValidationError", "Invalid Status " + done.Status}
	}
	if done.Effect = done.Status != k.status(); done.Effect {
		a.age(u)
		k.active = !k.active
	}
	return nil
}

func (a *Account) deleteKey(u *user, id string) error {
	k := u.key(id)
	if k == nil {
		return noSuch("Access Key", id)
	}
	a.age(u)
	a.removeKey(u, k)
	return nil
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
