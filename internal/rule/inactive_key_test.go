package rule

import (
	"testing"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestInactiveKey_failsAtTheLimit(t *testing.T) {
	var cases []kindCase
	limit := 90 * Day
	for _, age := range around(limit) {
		want := pass(ago(age - limit))
		if age >= limit {
			want = fail(ago(age - limit))
		}
		cases = append(cases, kindCase{age.String(), Params{MaxInactive: limit}, fact.User{}, &fact.Key{Created: ago(age)}, want})
	}
	cases = append(cases,
		kindCase{"active", Params{MaxInactive: limit}, fact.User{}, &fact.Key{Active: true, Created: ago(900 * Day)}, inapplicable()},
		kindCase{"creation unknown", Params{MaxInactive: limit}, fact.User{}, &fact.Key{}, undecided(MissingCreated)})
	judgeAll(t, inactiveKey(), cases)
}
