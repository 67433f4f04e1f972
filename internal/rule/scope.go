package rule

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Scope limits where a rule holds. What is empty does not limit; in a list one entry is enough; everything
// given must agree. Entries are globs and matched whole: * is any text, ? one character.
type Scope struct {
	Accounts []string          // account ids
	OUs      []string          // paths of organisational units; one below Root/Workloads belongs to Root/Workloads
	Paths    []string          // IAM paths of users, such as /service/*
	Users    []string          // user names, or ARNs; names without regard to case
	Tags     map[string]string // of the user, all of them; values are globs; live evidence only
	// AccountTags are those of the account in its organisation, all of them; values are globs.
	AccountTags map[string]string
}

// Holds tells whether u in a is within the scope; nil is everybody. It is Unknown where the account's id, unit or tags, or the user's tags,
// decide and were not read.
func (s *Scope) Holds(a *fact.Account, u *fact.User) fact.Answer {
	if s == nil {
		return fact.Yes
	}
	if !anyMatch(s.Paths, func(p string) bool { return glob(p, u.Path, len(u.Path)) }) ||
		!anyMatch(s.Users, func(p string) bool { return matchesUser(p, u.Name, u.ARN) }) {
		return fact.No
	}
	answers := []fact.Answer{
		answer(len(s.Accounts) == 0, a.ID != "", func() bool {
			return anyMatch(s.Accounts, func(p string) bool { return glob(p, a.ID, len(a.ID)) })
		}),
		answer(len(s.OUs) == 0, a.OU != "", func() bool {
			return anyMatch(s.OUs, func(p string) bool { return inUnit(p, a.OU) })
		}),
		answer(len(s.AccountTags) == 0, a.Tags != nil, func() bool { return matchesTags(s.AccountTags, a.Tags) }),
		answer(len(s.Tags) == 0, u.TagsRead, func() bool { return matchesTags(s.Tags, u.Tags) }),
	}
	switch {
	case slices.Contains(answers, fact.No):
		return fact.No
	case slices.Contains(answers, fact.Unknown):
		return fact.Unknown
	default:
		return fact.Yes
	}
}

func (s *Scope) needsTags() bool { return s != nil && len(s.Tags) > 0 }

// AsksAccountTags tells whether some rule is meant for accounts with certain tags.
func (rs *Ruleset) AsksAccountTags() bool {
	return slices.ContainsFunc(rs.Rules, func(r Rule) bool { return r.Scope != nil && len(r.Scope.AccountTags) > 0 })
}

// answer is Yes where nothing is asked, Unknown where what is asked was not read, else what ask says.
func answer(unasked, read bool, ask func() bool) fact.Answer {
	switch {
	case unasked:
		return fact.Yes
	case !read:
		return fact.Unknown
	default:
		return fact.YesNo(ask())
	}
}

// anyMatch is true for no patterns at all: what is not given does not limit.
func anyMatch(patterns []string, matches func(string) bool) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, matches)
}

// inUnit tells whether ou is the unit that pattern names, or lies below it.
func inUnit(pattern, ou string) bool {
	pattern = strings.TrimRight(pattern, "/")
	return glob(pattern, ou, len(ou)) || glob(pattern+"/*", ou, len(ou))
}
