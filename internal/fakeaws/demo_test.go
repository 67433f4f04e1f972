package fakeaws_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

func TestDemo_isTheSameEachTime(t *testing.T) {
	asOf := at("2026-11-22T10:20:30Z")
	first, second := fakeaws.Demo(asOf), fakeaws.Demo(asOf)
	if diff := cmp.Diff(first.Account(account).Users(), second.Account(account).Users()); diff != "" {
		t.Errorf("two demos differ:\n%s", diff)
	}
	if n := len(first.Account(account).Users()); n < 30 || n > 40 {
		t.Errorf("%d users, want about 36", n)
	}
	if !first.Now().Equal(asOf) {
		t.Errorf("its clock stands at %v", first.Now())
	}
}

// The rules are read again here, plainly, so that the demo does not depend on the code it shows off.
func TestDemo_hasAFailingAndAPassingSubjectForEachRule(t *testing.T) {
	const day = 24 * time.Hour
	asOf := at("2026-11-22T10:20:30Z")
	fails, passes := map[string]int{}, map[string]int{}
	judge := func(rule string, bad bool) {
		if bad {
			fails[rule]++
		} else {
			passes[rule]++
		}
	}
	atBoundary := map[time.Duration]int{}
	for _, u := range fakeaws.Demo(asOf).Account(account).Users() {
		active := 0
		for _, k := range u.Keys {
			age := asOf.Sub(k.Created)
			if k.Inactive {
				judge("inactive-key", age >= 90*day)
				continue
			}
			active++
			atBoundary[age]++
			if u.Password {
				gap := k.Created.Sub(u.Created).Abs()
				judge("key-created-with-user", gap <= time.Minute)
				judge("key-never-used-console", k.LastUsed.IsZero())
			}
			for rule, limit := range map[string]time.Duration{"key-age-30": 30, "key-age-45": 45, "key-age-90": 90} {
				judge(rule, age > limit*day)
			}
			since := k.LastUsed
			if since.IsZero() {
				since = k.Created
			}
			atBoundary[asOf.Sub(since)]++
			judge("key-unused-45", asOf.Sub(since) >= 45*day)
			judge("key-unused-90", asOf.Sub(since) >= 90*day)
			judge("key-never-used", k.LastUsed.IsZero() && age >= 7*day)
			if !k.LastUsed.IsZero() && (k.LastUsed.Before(k.Created) || k.LastUsed.After(asOf)) {
				t.Errorf("%s has a key used before it was made, or in the future", u.Name)
			}
		}
		judge("multiple-active-keys", active > 1)
		judge("password-and-key", u.Password && active > 0)
		judge("exposed-key", len(u.Quarantine) > 0)
		for _, k := range u.Keys {
			if k.Created.Before(u.Created) {
				t.Errorf("%s has a key older than the user", u.Name)
			}
		}
	}
	for _, rule := range []string{
		"key-created-with-user", "key-age-30", "key-age-45", "key-age-90", "multiple-active-keys", "key-unused-45",
		"key-unused-90", "key-never-used", "key-never-used-console", "inactive-key", "password-and-key", "exposed-key",
	} {
		if fails[rule] == 0 || passes[rule] == 0 {
			t.Errorf("%s: %d fail and %d pass, want some of each", rule, fails[rule], passes[rule])
		}
	}
	for _, d := range []time.Duration{30 * day, 90 * day, 90*day + time.Second, 45 * day, 45*day - time.Second} {
		if atBoundary[d] == 0 {
			t.Errorf("nothing stands at %v", d)
		}
	}
}
