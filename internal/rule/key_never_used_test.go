package rule

import (
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestKeyNeverUsed_failsWhenTheGraceIsOver(t *testing.T) {
	var cases []kindCase
	grace := 7 * Day
	for _, age := range around(grace) {
		want := pass(ago(age - grace))
		if age >= grace {
			want = fail(ago(age - grace))
		}
		cases = append(cases, kindCase{age.String(), Params{Grace: grace}, fact.User{}, &fact.Key{Active: true, Created: ago(age), LastUsed: used(fact.Never())}, want})
	}
	judgeAll(t, keyNeverUsed(), cases)
}

func TestKeyNeverUsed_consoleReadingJudgesConsoleUsersWithoutGrace(t *testing.T) {
	p := Params{ConsoleOnly: true}
	fresh := &fact.Key{Active: true, Created: ago(time.Second), LastUsed: used(fact.Never())}
	judgeAll(t, keyNeverUsed(), []kindCase{
		{"console user", p, fact.User{Password: fact.Yes}, fresh, fail(ago(time.Second))},
		{"no password", p, fact.User{Password: fact.No}, fresh, inapplicable()},
		{"password not read", p, fact.User{}, fresh, undecided(MissingPassword)},
		{"used", p, fact.User{Password: fact.Yes}, &fact.Key{Active: true, Created: ago(Day), LastUsed: used(ago(1))}, pass(fact.Time{})},
		{"inactive", p, fact.User{Password: fact.Yes}, &fact.Key{Created: ago(Day), LastUsed: used(fact.Never())}, inapplicable()},
	})
}

func TestKeyNeverUsed_unknownOnlyWhereItMatters(t *testing.T) {
	p := Params{Grace: 7 * Day}
	judgeAll(t, keyNeverUsed(), []kindCase{
		{"password does not matter", p, fact.User{}, &fact.Key{Active: true, Created: ago(8 * Day), LastUsed: used(fact.Never())}, fail(ago(Day))},
		{"use not read, grace over", p, fact.User{}, &fact.Key{Active: true, Created: ago(7 * Day)}, undecided(MissingLastUse)},
		{"use not read, within grace", p, fact.User{}, &fact.Key{Active: true, Created: ago(7*Day - 1)}, pass(fact.Time{})},
		{"creation unknown, never used", p, fact.User{}, &fact.Key{Active: true, LastUsed: used(fact.Never())}, undecided(MissingCreated)},
		{"creation unknown, used", p, fact.User{}, &fact.Key{Active: true, LastUsed: used(ago(Day))}, pass(fact.Time{})},
	})
}
