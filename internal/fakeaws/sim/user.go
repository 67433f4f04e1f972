package sim

import (
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

const day = 24 * time.Hour

// fate is whether an account can be read.
type fate string

const (
	readable  fate = "readable"
	roleless  fate = "roleless" // no role can be assumed
	suspended fate = "suspended"
)

// What numbers are drawn for, so that one does not move another.
const (
	drawFate uint64 = iota + 1
	drawFailing
	drawTrouble
	drawAge
	drawUse
	drawPerson
)

// draw is a number in [0,1) that depends on the seed and its arguments alone (SplitMix64).
func (s *Sim) draw(what uint64, account, user int) float64 {
	x := s.options.Seed ^ what<<56 ^ uint64(account)<<24 ^ uint64(user)
	for range 2 {
		x += 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return float64(x>>11) / (1 << 53)
}

func (s *Sim) fate(i int) fate {
	switch x := s.draw(drawFate, i, 0); {
	case x < s.options.Suspended:
		return suspended
	case x < s.options.Suspended+s.options.NoRole:
		return roleless
	default:
		return readable
	}
}

// failing tells whether user u of account i fails.
func (s *Sim) failing(i, u int) bool { return s.draw(drawFailing, i, u) < s.options.Failing }

// Expected is what a run at the beginning has to find, by the default ruleset.
type Expected struct {
	Accounts     int `json:"accounts"` // the management account included
	Readable     int `json:"readable"` // of them
	Roleless     int `json:"roleless"`
	Suspended    int `json:"suspended"`
	Users        int `json:"users"`         // of readable accounts
	FailingUsers int `json:"failing_users"` // of them
}

// Expected counts the users that fail before anything is changed and the clock is moved.
func (s *Sim) Expected() Expected {
	var e Expected
	for i := range s.options.Accounts + 1 {
		e.Accounts++
		kind := s.fate(i)
		if i == s.options.Accounts {
			kind = readable
		}
		switch kind {
		case suspended:
			e.Suspended++
		case roleless:
			e.Roleless++
		case readable:
			e.Readable++
			e.Users += s.options.Users
			e.FailingUsers += len(s.Failing(i))
		}
	}
	return e
}

// Failing are the names of the users of account i that fail before anything is changed, sorted. The management account
// comes after all others.
func (s *Sim) Failing(i int) []string {
	var names []string
	for u := range s.options.Users {
		if s.failing(i, u) {
			names = append(names, userName(u))
		}
	}
	return names
}

func userName(u int) string { return fmt.Sprintf("user-%04d", u) }

// users makes the users of account i.
func (s *Sim) users(i int) []fakeaws.User {
	out := make([]fakeaws.User, s.options.Users)
	for u := range out {
		out[u] = s.user(i, u)
	}
	return out
}

// user makes a user. One that passes has a key of less than 26 days in use, or a password alone; one that fails has one
// trouble more.
func (s *Sim) user(i, u int) fakeaws.User {
	ago := func(d time.Duration) time.Time { return s.options.Now.Add(-d.Truncate(time.Second)) }
	out := fakeaws.User{
		Name: userName(u), Path: "/service/", ID: fmt.Sprintf("AIDASIM%06d%05d00", i, u),
		Created: ago(1000*day + time.Duration(u)*time.Minute),
	}
	key := fakeaws.Key{
		ID:       keyID(i, u, 1),
		Created:  ago(time.Duration((1 + 25*s.draw(drawAge, i, u)) * float64(day))),
		LastUsed: ago(time.Duration(20 * s.draw(drawUse, i, u) * float64(time.Hour))), Service: "s3", Region: "eu-west-1",
	}
	if !s.failing(i, u) {
		if s.draw(drawPerson, i, u) < 0.1 {
			out.Path, out.Password, out.PasswordLastUsed, out.MFA = "/people/", true, ago(2*day), true
			return out
		}
		out.Keys = []fakeaws.Key{key}
		return out
	}
	switch x := s.draw(drawTrouble, i, u); {
	case x < 0.5: // old, and in use
		key.Created = ago(time.Duration((100 + 800*s.draw(drawAge, i, u)) * float64(day)))
	case x < 0.7: // old and forgotten
		key.Created, key.LastUsed = ago(600*day), ago(200*day)
	case x < 0.85: // more than a week old and never used
		key = fakeaws.Key{ID: key.ID, Created: ago(9 * day)}
	default: // two of them
		second := key
		second.ID, second.Created = keyID(i, u, 2), ago(2*day)
		out.Keys = []fakeaws.Key{key, second}
		return out
	}
	out.Keys = []fakeaws.Key{key}
	return out
}

func keyID(i, u, n int) string { return fmt.Sprintf("AKIASIM%06d%05d%02d", i, u, n) }
