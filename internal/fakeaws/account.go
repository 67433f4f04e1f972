package fakeaws

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Account is one account of a Cloud.
type Account struct {
	cloud       *Cloud
	id          string
	partition   string
	alias       string
	rootCreated time.Time
	rootKeys    []*key
	users       map[string]*user // by name in lower case: IAM's names are unique without regard to case
	keys        map[string]*user // by the id of an access key
	order       []*user          // by name; nil: to be sorted anew
	report      report
	writes      []Write
	allowed     map[string][]string // by access key id: the actions that it is limited to
	roles       []Role              // nil: every role exists
	made        *making             // nil: its users were added one by one
	spent       [len(services)]bucket

	name  string // in the organisation, as are:
	state fact.AccountState
	place string // path of the unit it was added with
	unit  *unit  // nil: there is no organisation
	tags  map[string]string
}

// User describes a user to add, and one that is there.
type User struct {
	Name             string
	Path             string    // empty for "/"
	ID               string    // empty: made up
	Created          time.Time // zero: now
	Password         bool
	PasswordLastUsed time.Time // zero: never
	MFA              bool
	Tags             map[string]string
	Quarantine       []string // names of managed policies attached
	Keys             []Key    // added with the user, in this order; beyond the quota of two if need be
}

// Key describes an access key to add, and one that is there.
type Key struct {
	ID       string // empty: made up
	Inactive bool
	Created  time.Time // zero: now
	LastUsed time.Time // zero: never
	Service  string    // empty with LastUsed: s3
	Region   string    // empty with LastUsed: N/A
}

// Error is a refusal in the words of AWS.
type Error struct {
	Status  int
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func noSuch(what, name string) *Error {
	return &Error{404, "NoSuchEntity", fmt.Sprintf("The %s with name %s cannot be found.", what, name)}
}

type user struct {
	name, path, id string
	created        time.Time
	password       bool
	passwordSet    time.Time
	passwordUsed   time.Time
	mfa            bool
	tags           map[string]string
	policies       []string // sorted names
	keys           []*key   // in the order of their slots
	past           past
}

type key struct {
	id      string
	slot    int
	active  bool
	created time.Time
	uses    []use // in the order of time
}

type use struct {
	at              time.Time
	service, region string
}

// ID is the account id.
func (a *Account) ID() string { return a.id }

// Credential is the access key id whose calls belong to this account, as an administrator. Its secret may
// be anything: signatures are not checked.
func (a *Account) Credential() string { return credentialPrefix + a.id }

const credentialPrefix = "AKIAFAKE"

// Allow limits a credential to the actions named: "iam:ListUsers", or all that begin alike, "iam:List*". What
// it may not do is refused before anything is looked up. sts:GetCallerIdentity is allowed to everybody. keyID
// is Credential, the key of a user, that of a session in this account, or a new one, which then is a
// credential of this account.
func (a *Account) Allow(keyID string, actions ...string) {
	a.lock()
	defer a.cloud.mu.Unlock()
	if a.keys[keyID] == nil && keyID != a.Credential() && a.cloud.sessions[keyID] == nil {
		a.cloud.owners[keyID] = a
	}
	if a.allowed == nil {
		a.allowed = map[string][]string{}
	}
	a.allowed[keyID] = slices.Clone(actions)
}

// lock locks the Cloud for a look at the account or a change of it; its users are there then.
func (a *Account) lock() {
	a.cloud.mu.Lock()
	a.load()
}

// own notes whose key that is; where two accounts have one of the same id, it is the first one's to call with.
func (a *Account) own(keyID string, u *user) {
	if a.keys == nil {
		a.keys = map[string]*user{}
	}
	a.keys[keyID] = u
	if a.cloud.owners[keyID] == nil {
		a.cloud.owners[keyID] = a
	}
}

func (a *Account) disown(keyID string) {
	delete(a.keys, keyID)
	if a.cloud.owners[keyID] == a {
		delete(a.cloud.owners, keyID)
	}
}

// SetAlias sets the account alias; empty removes it.
func (a *Account) SetAlias(alias string) {
	a.cloud.mu.Lock()
	defer a.cloud.mu.Unlock()
	a.alias = alias
}

// SetRootKeys replaces the keys of root.
func (a *Account) SetRootKeys(keys ...Key) {
	a.lock()
	defer a.cloud.mu.Unlock()
	a.touch()
	a.rootKeys = nil
	for _, k := range keys {
		a.rootKeys = append(a.rootKeys, a.newKey(k, len(a.rootKeys)+1))
	}
}

// AddUser adds a user with its keys. It fails where AWS would: the name is taken.
func (a *Account) AddUser(u User) error {
	a.lock()
	defer a.cloud.mu.Unlock()
	a.touch()
	return a.addUser(u)
}

func (a *Account) addUser(u User) error {
	lower := strings.ToLower(u.Name)
	if a.users[lower] != nil {
		return &Error{409, "EntityAlreadyExists", fmt.Sprintf("User with name %s already exists.", u.Name)}
	}
	created := orNow(u.Created, a.cloud.now)
	added := &user{
		name: u.Name, path: u.Path, id: u.ID, created: created,
		password: u.Password, passwordSet: created, passwordUsed: u.PasswordLastUsed.UTC(),
		mfa: u.MFA, tags: maps.Clone(u.Tags), policies: slices.Sorted(slices.Values(u.Quarantine)),
	}
	if added.path == "" {
		added.path = "/"
	}
	if added.id == "" {
		added.id = a.cloud.madeUp("AIDA")
	}
	for _, k := range u.Keys {
		k := a.newKey(k, len(added.keys)+1)
		added.keys = append(added.keys, k)
		a.own(k.id, added)
	}
	if a.users == nil {
		a.users = map[string]*user{}
	}
	a.users[lower], a.order = added, nil
	return nil
}

func (a *Account) removeUser(u *user) {
	for _, k := range u.keys {
		a.disown(k.id)
	}
	delete(a.users, strings.ToLower(u.name))
	a.order = nil
}

// DeleteUser removes a user with everything it has; AWS would want it empty first.
func (a *Account) DeleteUser(name string) error {
	return a.change(name, func(u *user) error {
		a.removeUser(u)
		return nil
	})
}

// AddKey adds an access key in the lowest free slot and returns its id. The quota is not enforced here.
func (a *Account) AddKey(name string, k Key) (id string, err error) {
	err = a.change(name, func(u *user) error {
		id = a.insertKey(u, k).id
		return nil
	})
	return id, err
}

func (a *Account) insertKey(u *user, k Key) *key {
	slot := 1
	for _, old := range u.keys {
		if old.slot == slot {
			slot++
		}
	}
	added := a.newKey(k, slot)
	u.keys = append(u.keys, added)
	a.own(added.id, u)
	slices.SortFunc(u.keys, func(x, y *key) int { return x.slot - y.slot })
	return added
}

func (a *Account) newKey(k Key, slot int) *key {
	out := &key{id: k.ID, slot: slot, active: !k.Inactive, created: orNow(k.Created, a.cloud.now)}
	if out.id == "" {
		out.id = a.cloud.madeUp("AKIA")
	}
	if !k.LastUsed.IsZero() {
		out.uses = []use{{k.LastUsed.UTC(), orText(k.Service, "s3"), orText(k.Region, notApplicable)}}
	}
	return out
}

// SetActive activates or deactivates a key. Neither moves its creation date.
func (a *Account) SetActive(name, keyID string, active bool) error {
	return a.changeKey(name, keyID, func(_ *user, k *key) { k.active = active })
}

// DeleteKey removes a key.
func (a *Account) DeleteKey(name, keyID string) error {
	return a.changeKey(name, keyID, func(u *user, k *key) { a.removeKey(u, k) })
}

func (a *Account) removeKey(u *user, k *key) {
	u.keys = slices.DeleteFunc(u.keys, func(x *key) bool { return x == k })
	a.disown(k.id)
}

// Use records that a key made a call now. Like AWS, it keeps the first use of each 15 minutes only.
func (a *Account) Use(name, keyID, service, region string) error {
	return a.changeKey(name, keyID, func(_ *user, k *key) {
		k.use(use{a.cloud.now, service, orText(region, notApplicable)})
	})
}

func (k *key) use(u use) {
	const span = 15 * time.Minute
	if n := len(k.uses); n > 0 && u.at.Sub(k.uses[n-1].at) < span {
		return
	}
	k.uses = append(k.uses, u)
}

// SetPassword gives or takes the console password.
func (a *Account) SetPassword(name string, has bool) error {
	return a.change(name, func(u *user) error {
		u.password, u.passwordSet, u.passwordUsed = has, a.cloud.now, time.Time{}
		return nil
	})
}

// Tag sets a tag of a user.
func (a *Account) Tag(name, tag, value string) error {
	return a.change(name, func(u *user) error {
		u.tag(map[string]string{tag: value})
		return nil
	})
}

func (u *user) tag(tags map[string]string) {
	if u.tags == nil {
		u.tags = map[string]string{}
	}
	maps.Copy(u.tags, tags)
}

// Attach attaches a managed policy, by name, to a user.
func (a *Account) Attach(name, policy string) error {
	return a.change(name, func(u *user) error {
		u.policies = slices.Compact(slices.Sorted(slices.Values(append(u.policies, policy))))
		return nil
	})
}

// Users describes all users, sorted by name, with the uses that show by now.
func (a *Account) Users() []User {
	a.lock()
	defer a.cloud.mu.Unlock()
	var out []User
	for _, u := range a.sorted() {
		d := User{
			Name: u.name, Path: u.path, ID: u.id, Created: u.created,
			Password: u.password, PasswordLastUsed: u.passwordUsed, MFA: u.mfa,
			Tags: orEmpty(maps.Clone(u.tags)), Quarantine: slices.Clone(u.policies),
		}
		for _, k := range u.keys {
			last, _ := a.lastUse(k)
			d.Keys = append(d.Keys, Key{
				ID: k.id, Inactive: !k.active, Created: k.created,
				LastUsed: last.at, Service: last.service, Region: last.region,
			})
		}
		out = append(out, d)
	}
	return out
}

func (a *Account) sorted() []*user {
	if a.order == nil {
		a.order = slices.SortedFunc(maps.Values(a.users), func(x, y *user) int { return strings.Compare(x.name, y.name) })
	}
	return a.order
}

func (a *Account) find(name string) (*user, error) {
	if u := a.users[strings.ToLower(name)]; u != nil {
		return u, nil
	}
	return nil, noSuch("user", name)
}

func (a *Account) change(name string, do func(*user) error) error {
	a.lock()
	defer a.cloud.mu.Unlock()
	u, err := a.find(name)
	if err != nil {
		return err
	}
	a.touch()
	return do(u)
}

func (a *Account) changeKey(name, keyID string, do func(*user, *key)) error {
	return a.change(name, func(u *user) error {
		k := u.key(keyID)
		if k == nil {
			return noSuch("Access Key", keyID)
		}
		do(u, k)
		return nil
	})
}

func (u *user) key(id string) *key {
	for _, k := range u.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// lastUse is the last use that shows by now.
func (a *Account) lastUse(k *key) (use, bool) {
	for _, u := range slices.Backward(k.uses) {
		if !u.at.Add(a.cloud.switches.UseLag).After(a.cloud.now) {
			return u, true
		}
	}
	return use{}, false
}

func (a *Account) arn(u *user) string {
	return "arn:" + a.partition + ":iam::" + a.id + ":user" + u.path + u.name
}

// madeUp is an id of AWS's length: a prefix of four and sixteen more.
func (c *Cloud) madeUp(prefix string) string {
	c.serial++
	return fmt.Sprintf("%sFAKE%012d", prefix, c.serial)
}

func orNow(t, now time.Time) time.Time {
	if t.IsZero() {
		return now
	}
	return t.UTC()
}

// orEmpty is m, or a map of nothing for none.
func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func orText(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
