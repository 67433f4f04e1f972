package rule

import (
	"testing"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestPasswordAndKey_failsWithBoth(t *testing.T) {
	active, inactive := []fact.Key{{Active: true}}, []fact.Key{{}}
	judgeAll(t, passwordAndKey(), []kindCase{
		{"both", Params{}, fact.User{Password: fact.Yes, KeysRead: true, Keys: active}, nil, fail(fact.Time{})},
		{"key only", Params{}, fact.User{Password: fact.No, KeysRead: true, Keys: active}, nil, pass(fact.Time{})},
		{"password and an inactive key", Params{}, fact.User{Password: fact.Yes, KeysRead: true, Keys: inactive}, nil, pass(fact.Time{})},
		{"password only", Params{}, fact.User{Password: fact.Yes, KeysRead: true}, nil, pass(fact.Time{})},
		{"password not read, key", Params{}, fact.User{KeysRead: true, Keys: active}, nil, undecided(MissingPassword)},
		{"password not read, no key", Params{}, fact.User{KeysRead: true}, nil, pass(fact.Time{})},
		{"keys not read, password", Params{}, fact.User{Password: fact.Yes}, nil, undecided(MissingKeys)},
		{"keys not read, no password", Params{}, fact.User{Password: fact.No}, nil, pass(fact.Time{})},
		{"nothing read", Params{}, fact.User{}, nil, undecided(MissingPassword)},
	})
}
