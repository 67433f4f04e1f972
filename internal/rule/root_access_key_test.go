package rule

import (
	"testing"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestRootAccessKey_failsForAnyKey(t *testing.T) {
	root := func(u fact.User) fact.User { u.Root = true; return u }
	judgeAll(t, rootAccessKey(), []kindCase{
		{"none", Params{}, root(fact.User{KeysRead: true}), nil, pass(fact.Time{})},
		{"active", Params{}, root(fact.User{KeysRead: true, Keys: []fact.Key{{Active: true}}}), nil, fail(fact.Time{})},
		{"inactive", Params{}, root(fact.User{KeysRead: true, Keys: []fact.Key{{}}}), nil, fail(fact.Time{})},
		{"live, some", Params{}, root(fact.User{KeysPresent: fact.Yes}), nil, fail(fact.Time{})},
		{"live, none", Params{}, root(fact.User{KeysPresent: fact.No}), nil, pass(fact.Time{})},
		{"not read", Params{}, root(fact.User{}), nil, undecided(MissingKeys)},
	})
}
