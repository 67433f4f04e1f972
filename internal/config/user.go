package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

// UserTerms are how the keys of one user are rotated.
type UserTerms struct {
	Origin  string // file:line of the entry that says so
	Terms   rotate.Terms
	Targets []Target // one at least, in the order of the entry
	// Own: delivery to the targets reaches the credentials that keyreeve itself runs with. What the settings say; whether
	// they are this user's is for the caller to see.
	Own bool
}

// entry is one of users: as it was read.
type entry struct {
	origin  string
	at      yamlfile.Node
	scope   rule.Scope // at most one pattern each; no units
	terms   rotate.Terms
	targets []int // of Config.targets
	own     bool
}

func (e *entry) user() string    { return strings.Join(e.scope.Users, "") }
func (e *entry) account() string { return strings.Join(e.scope.Accounts, "") }

// several tells whether users of different names may match.
func (e *entry) several() bool { return e.user() == "" || strings.ContainsAny(e.user(), "*?") }

func entryKeys() []string {
	return append([]string{"user", "path", "account", "tag", "targets", "own_credentials"}, termKeys()...)
}

// entry reads one item of users.
func (r *reader) entry(n yamlfile.Node) {
	f := r.Fields(n, "an entry of users", entryKeys())
	if f == nil {
		return
	}
	e := entry{at: n, origin: r.MistakeAt(yamlfile.PlaceOf(n), "", "").Origin(), terms: r.readTerms(f, r.terms)}
	r.whom(&e, f)
	if v, ok := f["own_credentials"]; ok {
		e.own = r.Truth(v.Value, "own_credentials")
	}
	v, ok := f["targets"]
	if !ok {
		r.Note(r.MistakeAt(yamlfile.PlaceOf(n), "say where the new key goes: targets: [NAME]", "entry of users without targets"))
		return
	}
	before := r.Mistakes()
	items := r.Items(v.Value, "a list of targets")
	if len(items) == 0 && r.Mistakes() == before {
		r.Wrong(v.Key, "say where the new key goes: targets: [NAME]", "entry of users without targets")
	}
	for _, item := range items {
		r.entryTarget(&e, item)
	}
	if e.own {
		r.reachesUs(&e, f["own_credentials"].Value)
	}
	r.out.entries = append(r.out.entries, e)
}

// whom reads which users an entry is about.
func (r *reader) whom(e *entry, f map[string]yamlfile.Field) {
	var named bool
	if v, ok := f["user"]; ok {
		named = true
		e.scope.Users = one(r.Text(v.Value, "user"))
	}
	if v, ok := f["path"]; ok {
		named = true
		e.scope.Paths = one(r.Text(v.Value, "path"))
		if text := strings.Join(e.scope.Paths, ""); text != "" && !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "*") {
			r.Wrong(v.Value, "paths of IAM begin and end with a slash: /service/*", "path: %q matches no path", text)
		}
	}
	if v, ok := f["tag"]; ok {
		named = true
		e.scope.Tags = r.Pairs(v.Value, "tag")
	}
	if v, ok := f["account"]; ok {
		id := r.Digits(v.Value, "account")
		if id != "" && !accountID.MatchString(id) {
			r.Wrong(v.Value, "write twelve digits in quotes; leave account out for every account", "account %q is not an account id", id)
		}
		e.scope.Accounts = one(id)
	}
	if !named { // a forgotten line must not take everybody in
		r.Note(r.MistakeAt(yamlfile.PlaceOf(e.at), `say whom it is about: user: NAME, path: /service/*, tag: {team: data}, or user: "*" for everybody`,
			"entry of users without user, path or tag"))
	}
}

func one(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// entryTarget reads one name of targets, and refuses one by which a key would go where another one belongs.
func (r *reader) entryTarget(e *entry, n yamlfile.Node) {
	name := r.Text(n, "target")
	if name == "" {
		return
	}
	i := slices.IndexFunc(r.out.targets, func(t target) bool { return t.Name == name })
	if i < 0 {
		r.unknownTarget(n, name)
		return
	}
	t := &r.out.targets[i]
	t.used = true
	if slices.Contains(e.targets, i) {
		r.Wrong(n, "once is enough", "target %q is there twice", name)
		return
	}
	r.shared(e, i, n)
	e.targets = append(e.targets, i)
}

func (r *reader) unknownTarget(n yamlfile.Node, name string) {
	var names []string
	for _, t := range r.out.targets {
		names = append(names, t.Name)
	}
	hint := "name places under targets: first"
	if len(names) > 0 {
		hint = yamlfile.DidYouMean(name, names)
	}
	r.Wrong(n, hint, "unknown target %q", name)
}

// shared refuses a place that two users would have: the second key delivered would break the consumers of the first.
// A command is told the user, and sees to that itself.
func (r *reader) shared(e *entry, i int, n yamlfile.Node) {
	t := &r.out.targets[i]
	text, known := t.text()
	if !known || t.Kind == Command {
		return
	}
	perUser, perAccount := strings.Contains(text, userHole), strings.Contains(text, accountHole)
	if e.several() && !perUser {
		r.Wrong(n, "put {user} into the place's name, or name one user", "target %q is one place, and this entry may match several users", t.Name)
		return
	}
	for j := range r.out.entries {
		other := &r.out.entries[j]
		if !slices.Contains(other.targets, i) {
			continue
		}
		switch {
		case !perUser && !strings.EqualFold(e.user(), other.user()):
			r.Wrong(n, "put {user} into the place's name, or give each user a target", "target %q is one place, and %s gives it to another user", t.Name, other.origin)
			return
		case !perAccount && e.account() != other.account():
			r.Wrong(n, "put {account} into the place's name, or give each account a target", "target %q is one place, and %s gives it to users of another account", t.Name, other.origin)
			return
		}
	}
}

// reachesUs refuses what nobody but its recipients can read.
func (r *reader) reachesUs(e *entry, n yamlfile.Node) {
	for _, i := range e.targets {
		if r.out.targets[i].Kind != SealedFile {
			return
		}
	}
	if len(e.targets) > 0 {
		r.Wrong(n, "keyreeve cannot open what is sealed to others", "own_credentials: no target reaches the credentials that keyreeve runs with")
	}
}

// unused warns of what has no effect.
func (r *reader) unused() {
	for i := range r.out.targets {
		if t := &r.out.targets[i]; !t.used {
			r.warn(t.key, "name it in an entry of users, or take it out", fmt.Sprintf("target %q is used by nobody", t.Name))
		}
	}
	for i := range r.out.entries {
		e := &r.out.entries[i]
		for j := range r.out.entries[:i] {
			if earlier := &r.out.entries[j]; earlier.takes(e) {
				r.warn(e.at, "the first match wins: put it before "+earlier.origin, "this entry is never reached")
				break
			}
		}
	}
}

// takes tells whether e surely matches every user that later does.
func (e *entry) takes(later *entry) bool {
	covers := func(mine, theirs string) bool {
		plain := !strings.Contains(mine, "?") // which a * of theirs would pass for
		return mine == "" || strings.EqualFold(mine, theirs) ||
			plain && theirs != "" && strings.HasPrefix(mine, "arn:") == strings.HasPrefix(theirs, "arn:") && rule.MatchesUser(mine, theirs, theirs)
	}
	return len(e.scope.Tags) == 0 &&
		(len(e.scope.Accounts) == 0 || e.account() == later.account()) &&
		(len(e.scope.Paths) == 0 || slices.Equal(e.scope.Paths, later.scope.Paths)) &&
		covers(e.user(), later.user())
}

// For gives the terms of a user: those of the first entry that matches. false: no entry does, or the user is root, and its
// keys are not rotated. An error where it cannot be told, or where a place cannot be named for this user.
func (c *Config) For(u fact.User) (*UserTerms, bool, error) {
	if u.Root {
		return nil, false, nil
	}
	a := fact.Account{ID: accountOf(u.ARN)}
	for i := range c.entries {
		e := &c.entries[i]
		switch e.scope.Holds(&a, &u) {
		case fact.No:
		case fact.Unknown:
			return nil, false, fmt.Errorf("user %q: whether %s is about it is unknown: its tags or its account were not read", u.Name, e.origin)
		case fact.Yes:
			out, err := c.termsOf(e, &u)
			return out, err == nil, err
		}
	}
	return nil, false, nil
}

func (c *Config) termsOf(e *entry, u *fact.User) (*UserTerms, error) {
	h, err := holderOf(u.Name, accountOf(u.ARN))
	if err != nil {
		return nil, err
	}
	out := &UserTerms{Origin: e.origin, Terms: e.terms, Own: e.own}
	for _, i := range e.targets {
		t, err := c.targets[i].fill(h, c.env)
		if err != nil {
			return nil, fmt.Errorf("user %q: target %q: %w", u.Name, c.targets[i].Name, err)
		}
		for _, other := range out.Targets {
			if other.clashes(t) {
				return nil, fmt.Errorf("user %q: target %q is the same place as %q", u.Name, t.Name, other.Name)
			}
		}
		out.Targets = append(out.Targets, t)
	}
	return out, nil
}

// Target gives a target by its name, for a user whose rotation is under way: entries of users are not asked again, as they
// may have changed. false: the file has no such target any more. That it is still the place it was is for the caller to see.
func (c *Config) Target(name, account, user string) (Target, bool, error) {
	i := slices.IndexFunc(c.targets, func(t target) bool { return t.Name == name })
	if i < 0 {
		return Target{}, false, nil
	}
	h, err := holderOf(user, account)
	if err != nil {
		return Target{}, true, err
	}
	t, err := c.targets[i].fill(h, c.env)
	if err != nil {
		return Target{}, true, fmt.Errorf("user %q: target %q: %w", user, name, err)
	}
	return t, true, nil
}
