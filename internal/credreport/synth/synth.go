// Package synth writes invented credential reports of any size, for benchmarks and tests.
//
// It knows the shape of a report as AWS makes it: 22 columns, the root row first, users in the order of their
// names, no newline at the end. The mix is that of a grown company: people with a console password,
// services with a path, keys that are new, old, inactive, in pairs, unused, or made together with their
// user. It is no reader's mirror: it shares no code with package credreport. Its promise: the same Options
// give the same bytes, and a shuffled report has the same rows as a sorted one.
package synth

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Options describe a report.
type Options struct {
	Users   int       // rows besides root's
	Seed    uint64    // another seed, another company
	AsOf    time.Time // the moment of the report; all dates lie before it, the next password rotations aside
	Account string    // twelve digits; empty means 111122223333
	Shuffle bool      // rows in random order, root's first still
}

const (
	header = "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed," +
		"password_next_rotation,mfa_active," +
		"access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date," +
		"access_key_1_last_used_region,access_key_1_last_used_service," +
		"access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date," +
		"access_key_2_last_used_region,access_key_2_last_used_service," +
		"cert_1_active,cert_1_last_rotated,cert_2_active,cert_2_last_rotated"
	defaultAccount = "111122223333"
	day            = 24 * time.Hour
)

// Write writes the report that o describes.
func Write(w io.Writer, o Options) error {
	if o.AsOf.IsZero() {
		return errors.New("synthetic report: AsOf is not set")
	}
	if o.Users < 0 || o.Users > 1e8 {
		return fmt.Errorf("synthetic report: %d users", o.Users)
	}
	if o.Account == "" {
		o.Account = defaultAccount
	}
	c := company{o: o, names: bases()}
	c.asOf = o.AsOf.UTC().Truncate(time.Second)
	c.random = rand.New(&c.pcg)
	order := func(i int) int { return i }
	if o.Shuffle {
		perm := rand.New(rand.NewPCG(o.Seed, 1)).Perm(o.Users)
		order = func(i int) int { return perm[i] }
	}
	out := bufio.NewWriterSize(w, 1<<18)
	c.row = append(c.row, header...)
	c.root()
	for i := range o.Users {
		c.user(order(i))
		if _, err := out.Write(c.row); err != nil {
			return fmt.Errorf("write synthetic report: %w", err)
		}
		c.row = c.row[:0]
	}
	if _, err := out.Write(c.row); err != nil {
		return fmt.Errorf("write synthetic report: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write synthetic report: %w", err)
	}
	return nil
}

// company makes rows. Each begins with the newline that ends the one before.
type company struct {
	o      Options
	asOf   time.Time
	names  []base
	pcg    rand.PCG
	random *rand.Rand
	row    []byte
}

func (c *company) root() {
	c.pcg.Seed(c.o.Seed, 0)
	c.row = append(c.row, "\n<root_account>,arn:aws:iam::"...)
	c.row = append(c.row, c.o.Account...)
	c.row = append(c.row, ":root,"...)
	c.date(c.before(3000*day, 4000*day))
	c.row = append(c.row, ",true,"...)
	c.date(c.before(day, 90*day))
	c.row = append(c.row, ","...)
	c.date(c.before(200*day, 900*day))
	c.row = append(c.row, ",not_supported,true,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A"...)
}

// user makes the row of user n in the order of names. It depends on the options and n alone.
func (c *company) user(n int) {
	c.pcg.Seed(c.o.Seed, uint64(n)+2)
	b, number := c.base(n)
	created := c.before(day, 2500*day)
	c.row = append(c.row, '\n')
	c.name(b, number)
	c.row = append(c.row, ",arn:aws:iam::"...)
	c.row = append(c.row, c.o.Account...)
	c.row = append(c.row, ":user"...)
	c.row = append(c.row, b.path...)
	c.name(b, number)
	c.row = append(c.row, ',')
	c.date(created)
	console := !b.service || c.chance(3)
	c.password(created, console)
	c.keys(created, console)
	c.row = append(c.row, ",false,N/A,false,N/A"...)
}

// password writes the four password columns and MFA's.
func (c *company) password(created time.Time, console bool) {
	if !console {
		c.row = append(c.row, ",false,N/A,N/A,N/A,false"...)
		return
	}
	c.row = append(c.row, ",true,"...)
	if c.chance(15) {
		c.row = append(c.row, "no_information"...)
	} else {
		c.date(c.between(created, c.asOf))
	}
	c.row = append(c.row, ',')
	changed := c.between(created, c.asOf)
	c.date(changed)
	c.row = append(c.row, ',')
	if c.chance(50) {
		c.date(changed.Add(90 * day))
	} else {
		c.row = append(c.row, "N/A"...)
	}
	if c.chance(85) {
		c.row = append(c.row, ",true"...)
	} else {
		c.row = append(c.row, ",false"...)
	}
}

// keys writes both slots. Slot 1 is not always the older key.
func (c *company) keys(created time.Time, console bool) {
	const none = ",false,N/A,N/A,N/A,N/A"
	count := 1
	switch roll := c.random.IntN(100); {
	case console && roll < 45, roll < 3:
		count = 0
	case roll >= 80:
		count = 2
	}
	switch {
	case count == 0:
		c.row = append(c.row, none+none...)
	case count == 1 && c.chance(8):
		c.row = append(c.row, none...)
		c.key(created, console)
	case count == 1:
		c.key(created, console)
		c.row = append(c.row, none...)
	default:
		c.key(created, console)
		c.key(created, console)
	}
}

// key writes the columns of a slot that has one.
func (c *company) key(created time.Time, console bool) {
	made := c.between(created, c.asOf)
	switch {
	case console && c.chance(25): // ticked in the dialogue that made the user
		made = created.Add(time.Duration(c.random.IntN(5)) * time.Second)
	case c.chance(30): // rotated lately
		made = c.between(later(created, c.asOf.Add(-80*day)), c.asOf)
	}
	if c.chance(80) {
		c.row = append(c.row, ",true,"...)
	} else {
		c.row = append(c.row, ",false,"...)
	}
	c.date(made)
	switch roll := c.random.IntN(100); {
	case roll < 12: // never used
		c.row = append(c.row, ",N/A,N/A,N/A"...)
		return
	case roll < 70: // used lately
		c.row = append(c.row, ',')
		c.date(c.between(later(made, c.asOf.Add(-30*day)), c.asOf))
	default:
		c.row = append(c.row, ',')
		c.date(c.between(made, c.asOf))
	}
	c.row = append(c.row, uses[c.random.IntN(len(uses))]...)
}

// chance is true percent times in a hundred.
func (c *company) chance(percent int) bool { return c.random.IntN(100) < percent }

// before is a moment between far and near before the report.
func (c *company) before(near, far time.Duration) time.Time {
	return c.between(c.asOf.Add(-far), c.asOf.Add(-near))
}

// between is a moment from a on and before b; a when there is none.
func (c *company) between(a, b time.Time) time.Time {
	span := int64(b.Sub(a) / time.Second)
	if span <= 0 {
		return a
	}
	return a.Add(time.Duration(c.random.Int64N(span)) * time.Second)
}

func (c *company) date(t time.Time) { c.row = t.AppendFormat(c.row, "2006-01-02T15:04:05Z") }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
