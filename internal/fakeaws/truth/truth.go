// Package truth invents users with access keys, and says by the wording of the rules what an audit of them has to find. A
// test makes the users in an emulator, audits, and compares.
//
// It knows nothing of the program: what it recomputes, it recomputes from what the test did. Its promise: ages and uses
// fall on, beside and between the boundaries of the rules.
package truth

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const day = 24 * time.Hour

// User is a user as the test makes it.
type User struct {
	Name     string
	Created  time.Time
	Password bool // for the console
	Exposed  bool // AWS attached a policy for exposed keys
	Keys     []*Key
}

// Key is an access key as the test makes it.
type Key struct {
	ID, Secret string // empty until it is made
	Created    time.Time
	Used       time.Time // for the last time; zero: never
	Active     bool
}

// Invent makes n users named after prefix, with up to two keys each, for an audit at asOf. No two keys of a user are of one
// second, so that a verdict can be told by it.
func Invent(random *rand.Rand, prefix string, n int, asOf time.Time) []*User {
	ages := []time.Duration{
		6 * day, 7 * day, 7*day - time.Second, 30 * day, 30*day + time.Second, 45*day - time.Second, 45 * day,
		45*day + time.Second, 90*day - time.Second, 90 * day, 90*day + time.Second, 90*day + 23*time.Hour, 400 * day,
	}
	pick := func() time.Duration {
		if random.IntN(3) > 0 {
			return ages[random.IntN(len(ages))]
		}
		return time.Duration(random.Int64N(int64(700 * day))).Truncate(time.Second)
	}
	var users []*User
	for i := range n {
		u := &User{Name: fmt.Sprintf("%s.%03d@example.com", prefix, i), Password: random.IntN(2) == 0, Exposed: random.IntN(20) == 0}
		for range random.IntN(3) {
			k := &Key{Created: asOf.Add(-pick()), Active: random.IntN(4) > 0}
			if slices.ContainsFunc(u.Keys, func(o *Key) bool { return o.Created.Equal(k.Created) }) {
				k.Created = k.Created.Add(-time.Second)
			}
			if used := asOf.Add(-pick()); random.IntN(3) > 0 && used.After(k.Created) {
				k.Used = used
			}
			u.Keys = append(u.Keys, k)
		}
		u.Created = asOf.Add(-800 * day)
		if len(u.Keys) > 0 && random.IntN(2) == 0 {
			first := slices.MinFunc(u.Keys, func(a, b *Key) int { return a.Created.Compare(b.Created) }).Created
			apart := []time.Duration{0, time.Second, 59 * time.Second, time.Minute, 61 * time.Second, time.Hour}
			u.Created = first.Add(-apart[random.IntN(len(apart))])
		}
		users = append(users, u)
	}
	return users
}

// Verdicts are fail or pass by Name, for every rule of the catalogue, of an account with these users and a root user
// without keys.
func Verdicts(users []*User, asOf time.Time) map[string]string {
	out := map[string]string{Name("root-access-key", "<root_account>", time.Time{}): "pass"}
	put := func(rule string, u *User, k *Key, fails bool) {
		made := time.Time{}
		if k != nil {
			made = k.Created
		}
		name := Name(rule, u.Name, made)
		out[name] = "pass"
		if fails {
			out[name] = "fail"
		}
	}
	for _, u := range users {
		active := 0
		for _, k := range u.Keys {
			age := asOf.Sub(k.Created)
			if !k.Active {
				put("inactive-key", u, k, age >= 90*day)
				continue
			}
			active++
			idle := age
			if !k.Used.IsZero() {
				idle = asOf.Sub(k.Used)
			}
			put("key-age-30", u, k, age > 30*day)
			put("key-age-45", u, k, age > 45*day)
			put("key-age-90", u, k, age > 90*day)
			put("key-unused-45", u, k, idle >= 45*day)
			put("key-unused-90", u, k, idle >= 90*day)
			put("key-never-used", u, k, k.Used.IsZero() && age >= 7*day)
			if u.Password {
				put("key-never-used-console", u, k, k.Used.IsZero())
				put("key-created-with-user", u, k, k.Created.Sub(u.Created).Abs() <= time.Minute)
			}
		}
		put("multiple-active-keys", u, nil, active > 1)
		put("password-and-key", u, nil, u.Password && active > 0)
		put("exposed-key", u, nil, u.Exposed)
	}
	return out
}

// Name tells a verdict from the others of its account. A zero time: it is about the user, not about a key.
func Name(rule, user string, keyMade time.Time) string {
	if keyMade.IsZero() {
		return rule + " " + user
	}
	return rule + " " + user + " " + keyMade.UTC().Format(time.RFC3339)
}
