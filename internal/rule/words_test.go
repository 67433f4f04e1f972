package rule

import (
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestBeside_liesOnTheSideOfTheLimitWhereTheDurationLies(t *testing.T) {
	for _, c := range []struct {
		d, limit time.Duration
		want     string
	}{
		{0, 0, "0 days"}, {time.Hour, 0, "1 h"}, {1, 0, "0.000000001 s"}, {Day, Day, "1 day"}, {Day - 1, Day, "0 days"},
		{Day + time.Minute, Day, "1 d 1 min"}, {90*Day + 3*time.Hour + 5, 90 * Day, "90 d 3 h"}, {91 * Day, 90 * Day, "91 days"},
		{36 * time.Hour, 36 * time.Hour, "1 d 12 h"}, {90 * time.Minute, time.Hour, "1 h 30 min"}, {50 * time.Minute, time.Hour, "0 days"},
	} {
		if got := beside(c.d, c.limit); got != c.want {
			t.Errorf("beside(%v, %v) = %q, want %q", c.d, c.limit, got, c.want)
		}
	}
}

func TestExplain_whatLiesAfterTheInstantJudgedAtHasNoNegativeAge(t *testing.T) {
	later := now.Add(164*Day + 5*time.Hour)
	for _, c := range []struct {
		kind Kind
		p    Params
		k    fact.Key
		want string
	}{
		{keyAge(), Params{MaxAge: 90 * Day}, fact.Key{Active: true, Created: later}, "active key was made after the instant judged at"},
		{inactiveKey(), Params{MaxInactive: 90 * Day}, fact.Key{Created: later}, "inactive key was made after the instant judged at"},
		{keyUnused(), Params{MaxUnused: 90 * Day}, fact.Key{Active: true, Created: later, LastUsed: used(fact.Never())}, "active key was made after the instant judged at"},
		{keyUnused(), Params{MaxUnused: 90 * Day}, fact.Key{Active: true, Created: ago(Day), LastUsed: used(later)}, "active key was last used after the instant judged at"},
		{keyNeverUsed(), Params{ConsoleOnly: true}, fact.Key{Active: true, Created: later, LastUsed: used(fact.Never())}, "active key of a console user was made after the instant judged at"},
	} {
		u := &fact.User{Password: fact.Yes}
		o := c.kind.Judge(&c.p, u, &c.k, now)
		if got, _ := c.kind.Explain(&c.p, u, &c.k, now, o); o.Result != Passes || got != c.want {
			t.Errorf("%s: %+v, %q, want %q", c.kind.Name, o, got, c.want)
		}
	}
}

func TestExplain_justOverTheLimitShowsItInEveryKind(t *testing.T) {
	over := 90*Day + time.Second
	for _, c := range []struct {
		kind Kind
		p    Params
		k    fact.Key
		want string
	}{
		{inactiveKey(), Params{MaxInactive: 90 * Day}, fact.Key{Created: ago(over)}, "inactive key is 90 d 1 s old, the limit is 90 days"},
		{keyUnused(), Params{MaxUnused: 90 * Day}, fact.Key{Active: true, LastUsed: used(ago(over))}, "active key was last used 90 d 1 s ago, the limit is 90 days"},
		{keyUnused(), Params{MaxUnused: 36 * time.Hour}, fact.Key{Active: true, Created: ago(40 * time.Hour), LastUsed: used(fact.Never())},
			"active key was never used in the 1 d 16 h since it was made, the limit is 1 d 12 h"},
		{keyNeverUsed(), Params{Grace: 36 * time.Hour}, fact.Key{Active: true, Created: ago(40 * time.Hour), LastUsed: used(fact.Never())},
			"active key was never used in the 1 d 16 h since it was made"},
	} {
		o := c.kind.Judge(&c.p, &fact.User{}, &c.k, now)
		if got, _ := c.kind.Explain(&c.p, &fact.User{}, &c.k, now, o); o.Result != Fails || got != c.want {
			t.Errorf("%s: %+v, %q, want %q", c.kind.Name, o, got, c.want)
		}
	}
}
