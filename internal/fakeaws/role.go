package fakeaws

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// sessionLife is what AWS gives where a caller does not ask for another.
const sessionLife = time.Hour

// session is a role that somebody has assumed.
type session struct {
	account *Account
	arn, id string
	ends    time.Time
}

// Role is a role of an account that lets in everybody who has its external id, as an administrator.
type Role struct {
	Name       string // with its path: team/audit
	ExternalID string // empty: none is asked for, and one that is given does no harm
}

// SetRoles has the account have these roles and no others. Until then every role exists, and asks for nothing.
func (a *Account) SetRoles(roles ...Role) {
	a.cloud.mu.Lock()
	defer a.cloud.mu.Unlock()
	a.roles = append([]Role{}, roles...)
}

// admits tells whether the role of that name, with its path, can be assumed with the external id.
func (a *Account) admits(role, external string) bool {
	if a.state != fact.StateActive {
		return false
	}
	return a.roles == nil || slices.ContainsFunc(a.roles, func(r Role) bool {
		return r.Name == role && (r.ExternalID == "" || r.ExternalID == external)
	})
}

// assumeRole gives credentials of the account in the role's ARN. An account or a role that is not there answers as
// one that lets nobody in: denied.
func (c *Cloud) assumeRole(who caller, p url.Values) (*node, error) {
	arn := p.Get("RoleArn")
	part := strings.SplitN(arn, ":", 6)
	name, isRole := "", false
	if len(part) == 6 {
		name, isRole = strings.CutPrefix(part[5], "role/")
	}
	label := p.Get("RoleSessionName")
	if !isRole || name == "" || label == "" {
		return nil, &Error{http.StatusBadRequest, "ValidationError", "A role ARN and a session name are needed."}
	}
	in := c.byID[part[4]]
	if in == nil || in.partition != part[1] || !in.admits(name, p.Get("ExternalId")) {
		me, _ := who.self()
		return nil, &Error{
			http.StatusForbidden, "AccessDenied",
			"User: " + me + " is not authorized to perform: sts:AssumeRole on resource: " + arn,
		}
	}
	life := sessionLife
	if seconds, err := strconv.Atoi(p.Get("DurationSeconds")); err == nil {
		life = time.Duration(seconds) * time.Second
	}
	name = name[strings.LastIndex(name, "/")+1:] // without its path
	s := &session{
		account: in, ends: c.now.Add(life),
		arn: "arn:" + in.partition + ":sts::" + in.id + ":assumed-role/" + name + "/" + label,
		id:  c.madeUp("AROA") + ":" + label,
	}
	key := c.madeUp("ASIA")
	c.sessions[key] = s
	return tree("",
		tree("Credentials",
			leaf("AccessKeyId", key), leaf("SecretAccessKey", "not-a-secret-of-"+key),
			leaf("SessionToken", "not-a-token-of-"+key), leaf("Expiration", stamp(s.ends))),
		tree("AssumedRoleUser", leaf("AssumedRoleId", s.id), leaf("Arn", s.arn))), nil
}

// Session is the access key id of temporary credentials of a user itself, as GetSessionToken gives them: they end after an
// hour, and do not tell which key of the user asked for them.
func (a *Account) Session(name string) (keyID string, err error) {
	err = a.change(name, func(u *user) error {
		keyID = a.cloud.madeUp("ASIA")
		a.cloud.sessions[keyID] = &session{account: a, arn: a.arn(u), id: u.id, ends: a.cloud.now.Add(sessionLife)}
		return nil
	})
	return keyID, err
}
