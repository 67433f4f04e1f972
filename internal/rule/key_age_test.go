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
		"90 d 23 h is more than 90 days":           {90*Day + 23*time.Hour, Fails, "active key is 90 d 23 h old, the limit is 90 days"},
		"90 d 1 s does not read as a pass":         {90*Day + time.Second, Fails, "active key is 90 d 1 s old, the limit is 90 days"},
		"nor does a part of a second":              {90*Day + 5*time.Millisecond, Fails, "active key is 90 d 0.005 s old, the limit is 90 days"},
		"at the limit":                             {90 * Day, Passes, "active key is 90 days old, within the limit of 90 days"},
		"far beyond days are enough":               {203*Day + 7*time.Hour, Fails, "active key is 203 days old, the limit is 90 days"},
		"89.5 d is not rounded up":                 {89*Day + 12*time.Hour, Passes, "active key is 89 days old, within the limit of 90 days"},
		"a key from after the evaluation is young": {-164 * Day, Passes, "active key was made after the instant judged at"},
	} {
		k := &fact.Key{Active: true, Created: ago(c.age)}
		o := keyAge().Judge(&p, &fact.User{}, k, now)
		text, _ := keyAge().Explain(&p, &fact.User{}, k, now, o)
		if o.Result != c.want || text != c.says {
			t.Errorf("%s: %v, %q", name, o, text)
		}
	}
}

func TestKeyAge_limitThatIsNotWholeDaysIsToldExactly(t *testing.T) {
	p := Params{MaxAge: 36*time.Hour + time.Second}
	for age, says := range map[time.Duration]string{
		p.MaxAge + time.Second: "active key is 1 d 12 h 2 s old, the limit is 1 d 12 h 1 s",
		40 * time.Hour:         "active key is 1 d 16 h old, the limit is 1 d 12 h 1 s",
		100*Day + time.Hour:    "active key is 100 days old, the limit is 1 d 12 h 1 s",
		p.MaxAge:               "active key is 1 d 12 h 1 s old, within the limit of 1 d 12 h 1 s",
		30 * time.Hour:         "active key is 1 day old, within the limit of 1 d 12 h 1 s",
	} {
		k := &fact.Key{Active: true, Created: ago(age)}
		text, facts := keyAge().Explain(&p, &fact.User{}, k, now, keyAge().Judge(&p, &fact.User{}, k, now))
		if text != says || facts["limit_days"] != 1 || facts["limit_seconds"] != int64(129601) || facts["age_days"] != days(age) {
			t.Errorf("%v: %q, %v, want %q", age, text, facts, says)
		}
	}
	p.MaxAge = 90 * Day
	k := &fact.Key{Active: true, Created: ago(Day)}
	if _, facts := keyAge().Explain(&p, &fact.User{}, k, now, pass(now)); len(facts) != 2 {
		t.Errorf("whole days: %v", facts)
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
