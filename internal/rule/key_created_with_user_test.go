package rule

import (
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

func TestKeyCreatedWithUser_failsWithinTheWindowOnEitherSide(t *testing.T) {
	var cases []kindCase
	window := time.Minute
	u := fact.User{Password: fact.Yes, Created: ago(100 * Day)}
	for _, apart := range append(around(window), 0) {
		for _, sign := range []time.Duration{1, -1} {
			made := u.Created.Add(sign * apart)
			want := pass(fact.Time{})
			if apart <= window {
				want = fail(made)
			}
			cases = append(cases, kindCase{(sign * apart).String(), Params{Window: window}, u, &fact.Key{Active: true, Created: made}, want})
		}
	}
	judgeAll(t, keyCreatedWithUser(), cases)
}

func TestKeyCreatedWithUser_judgesActiveKeysOfConsoleUsers(t *testing.T) {
	p := Params{Window: time.Minute}
	made := ago(Day)
	with := &fact.Key{Active: true, Created: made}
	judgeAll(t, keyCreatedWithUser(), []kindCase{
		{"no password", p, fact.User{Password: fact.No, Created: made}, with, inapplicable()},
		{"inactive", p, fact.User{Password: fact.Yes, Created: made}, &fact.Key{Created: made}, inapplicable()},
		{"password not read", p, fact.User{Created: made}, with, undecided(MissingPassword)},
		{"key creation unknown", p, fact.User{Password: fact.Yes, Created: made}, &fact.Key{Active: true}, undecided(MissingCreated)},
		{"user creation unknown", p, fact.User{Password: fact.Yes}, with, undecided(MissingUserCreated)},
		{"password not read, key apart", p, fact.User{Created: ago(90 * Day)}, with, undecided(MissingPassword)},
	})
}

func TestKeyCreatedWithUser_rotatesAKeyThatMayBeInUse(t *testing.T) {
	for _, c := range []struct {
		use  fact.Time
		want finding.Remedy
	}{{fact.Never(), finding.Deactivate}, {ago(Day), finding.Rotate}, {fact.Time{}, finding.Rotate}} {
		if got := keyCreatedWithUser().Remedy(&Params{}, &fact.User{}, &fact.Key{LastUsed: used(c.use)}); got != c.want {
			t.Errorf("last use %v: %s, want %s", c.use, got, c.want)
		}
	}
}
