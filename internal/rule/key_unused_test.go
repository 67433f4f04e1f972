package rule

import (
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestKeyUnused_failsAtTheLimit(t *testing.T) {
	var cases []kindCase
	for _, days := range []int{45, 90} {
		limit := time.Duration(days) * Day
		p := Params{MaxUnused: limit}
		for _, idle := range around(limit) {
			want := pass(ago(idle - limit))
			if idle >= limit {
				want = fail(ago(idle - limit))
			}
			cases = append(cases,
				kindCase{"used " + idle.String(), p, fact.User{}, &fact.Key{Active: true, Created: ago(900 * Day), LastUsed: used(ago(idle))}, want},
				kindCase{"never used, made " + idle.String(), p, fact.User{}, &fact.Key{Active: true, Created: ago(idle), LastUsed: used(fact.Never())}, want})
		}
	}
	judgeAll(t, keyUnused(), cases)
}

func TestKeyUnused_unknownOnlyWhereItMatters(t *testing.T) {
	p := Params{MaxUnused: 45 * Day}
	judgeAll(t, keyUnused(), []kindCase{
		{"inactive", p, fact.User{}, &fact.Key{Created: ago(900 * Day), LastUsed: used(fact.Never())}, inapplicable()},
		{"last use not read, old key", p, fact.User{}, &fact.Key{Active: true, Created: ago(45 * Day)}, undecided(MissingLastUse)},
		{"last use not read, young key", p, fact.User{}, &fact.Key{Active: true, Created: ago(45*Day - 1)}, pass(fact.Time{})},
		{"creation unknown, used", p, fact.User{}, &fact.Key{Active: true, LastUsed: used(ago(45 * Day))}, fail(now)},
		{"creation unknown, used lately", p, fact.User{}, &fact.Key{Active: true, LastUsed: used(ago(Day))}, pass(now.Add(44 * Day))},
		{"creation unknown, never used", p, fact.User{}, &fact.Key{Active: true, LastUsed: used(fact.Never())}, undecided(MissingCreated)},
		{"all unknown", p, fact.User{}, &fact.Key{Active: true}, undecided(MissingCreated)},
	})
}
