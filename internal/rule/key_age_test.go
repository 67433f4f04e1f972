package rule

import (
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestKeyAge_failsAboveTheLimitAndNotAtIt(t *testing.T) {
	var cases []kindCase
	for _, days := range []int{30, 45, 90} {
		limit := time.Duration(days) * Day
		for _, age := range around(limit) {
			want := pass(ago(age - limit))
			if age > limit {
				want = fail(ago(age - limit))
			}
			cases = append(cases, kindCase{age.String(), Params{MaxAge: limit}, fact.User{}, &fact.Key{Active: true, Created: ago(age)}, want})
		}
	}
	judgeAll(t, keyAge(), cases)
}

func TestKeyAge_countsInstantsAndNotDays(t *testing.T) {
	p := Params{MaxAge: 90 * Day}
	for name, c := range map[string]struct {
		age  time.Duration
		want Result
		says string
	}{
		"90 d 23 h is more than 90 days":           {90*Day + 23*time.Hour, Fails, "active key is 90 days old, the limit is 90 days"},
		"89.5 d is not rounded up":                 {89*Day + 12*time.Hour, Passes, "active key is 89 days old, within the limit of 90 days"},
		"a key from after the evaluation is young": {-Day, Passes, ""},
	} {
		k := &fact.Key{Active: true, Created: ago(c.age)}
		o := keyAge().Judge(&p, &fact.User{}, k, now)
		text, _ := keyAge().Explain(&p, &fact.User{}, k, now, o)
		if o.Result != c.want || c.says != "" && text != c.says {
			t.Errorf("%s: %v, %q", name, o, text)
		}
	}
}

func TestKeyAge_needsAnActiveKeyWithAStatedCreation(t *testing.T) {
	p := Params{MaxAge: 90 * Day}
	judgeAll(t, keyAge(), []kindCase{
		{"inactive", p, fact.User{}, &fact.Key{Created: ago(900 * Day)}, inapplicable()},
		{"inactive and unknown", p, fact.User{}, &fact.Key{}, inapplicable()},
		{"active beside an unknown creation", p, fact.User{}, &fact.Key{Active: true}, undecided(MissingCreated)},
		{"known last use does not help", p, fact.User{}, &fact.Key{Active: true, LastUsed: used(ago(900 * Day))}, undecided(MissingCreated)},
	})
}
