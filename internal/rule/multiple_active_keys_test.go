package rule

import (
	"testing"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestMultipleActiveKeys_failsAboveTheLimit(t *testing.T) {
	active, inactive := fact.Key{Active: true, Created: ago(Day)}, fact.Key{Created: ago(Day)}
	user := func(keys ...fact.Key) fact.User { return fact.User{KeysRead: true, Keys: keys} }
	one := Params{MaxActive: 1}
	judgeAll(t, multipleActiveKeys(), []kindCase{
		{"no keys", one, user(), nil, pass(fact.Time{})},
		{"one", one, user(active), nil, pass(fact.Time{})},
		{"one and an inactive one", one, user(inactive, active), nil, pass(fact.Time{})},
		{"two", one, user(active, active), nil, fail(fact.Time{})},
		{"two, one of them without a creation", one, user(active, fact.Key{Active: true}), nil, fail(fact.Time{})},
		{"three of two", Params{MaxActive: 2}, user(active, active, active), nil, fail(fact.Time{})},
		{"two of two", Params{MaxActive: 2}, user(active, active), nil, pass(fact.Time{})},
		{"one of none", Params{MaxActive: 0}, user(active), nil, fail(fact.Time{})},
		{"keys not read", one, fact.User{}, nil, undecided(MissingKeys)},
	})
}
