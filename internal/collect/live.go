package collect

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Live reads every user by its own calls: keys, each key's last use, login profile, tags. Users that go
// away while it reads are left out and listed in Gone.
func Live(ctx context.Context, r LiveReader, o Options) (*fact.Snapshot, error) {
	s, exposed, err := common(ctx, r, o)
	if err != nil {
		return nil, err
	}
	s.Evidence.Source = fact.Live
	s.Evidence.ReadAt = fact.At(o.Now()) // before the first user: what is read later is no older
	var users []fact.User
	err = r.Users(ctx, func(page []fact.User) error {
		users = append(users, page...)
		o.progress("list users", len(users), 0)
		return nil
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s.UsersRead = err == nil
	if err != nil {
		// The pages that did come are true, and judged; that there may be more is the gap.
		s.Gaps = append(s.Gaps, gap(s.Account.ID, "ListUsers", "", err))
	}
	readings := make([]reading, len(users))
	err = each(ctx, o, "users", len(users), func(i int) {
		readings[i] = readUser(ctx, r, &users[i], s.Account.ID)
	})
	if err != nil {
		return nil, err
	}
	for i := range users {
		s.Gaps = append(s.Gaps, readings[i].gaps...)
		if readings[i].gone {
			s.Gone = append(s.Gone, users[i].Name)
			continue
		}
		s.Users = append(s.Users, users[i])
	}
	s.Users = append(s.Users, rootUser(s.Account, readRoot(ctx, r, &s)))
	quarantine(&s, exposed)
	s.Evidence.Newest = newest(s.Users)
	return &s, ctx.Err()
}

// reading is what came of reading one user.
type reading struct {
	gaps []fact.Gap
	gone bool
}

func readUser(ctx context.Context, r LiveReader, u *fact.User, account string) reading {
	g := gaps{account: account}
	keys, err := r.Keys(ctx, u.Name)
	switch {
	case isGone(err):
		return reading{gone: true}
	case err != nil:
		g.add("ListAccessKeys", u.Name, err)
	default:
		u.KeysRead = true
		u.Keys = readUses(ctx, r, keys, &g)
	}
	if u.Password, err = r.Password(ctx, u.Name); err != nil {
		u.Password = fact.Unknown
		g.add("GetLoginProfile", u.Name, err)
	}
	u.Tags, err = r.Tags(ctx, u.Name)
	switch {
	case isGone(err):
		return reading{gone: true}
	case err != nil:
		g.add("ListUserTags", u.Name, err)
	default:
		u.TagsRead = true
	}
	return reading{gaps: g.list}
}

// Tags reads the tags of these users, one call each. Who is not in the answer is gone, or its tags could not be read; after one
// denial nobody else is asked. The error is that of ctx.
func Tags(ctx context.Context, r interface {
	Tags(ctx context.Context, user string) (map[string]string, error)
}, users []string, o Options) (map[string]map[string]string, error) {
	var mu sync.Mutex
	out, denied := make(map[string]map[string]string, len(users)), false
	err := each(ctx, o, "tags", len(users), func(i int) {
		mu.Lock()
		skip := denied
		mu.Unlock()
		if skip {
			return
		}
		tags, err := r.Tags(ctx, users[i])
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.Is(err, fact.ErrDenied):
			denied = true
		case err == nil && tags == nil:
			out[users[i]] = map[string]string{} // read, and none
		case err == nil:
			out[users[i]] = tags
		}
	})
	return out, err
}

// readUses fills in when each key was last used. A key deleted since it was listed is left out.
func readUses(ctx context.Context, r UserReader, keys []fact.Key, g *gaps) []fact.Key {
	kept := keys[:0]
	for _, k := range keys {
		use, err := r.LastUse(ctx, k.ID)
		switch {
		case isGone(err):
			continue
		case err != nil:
			g.add("GetAccessKeyLastUsed", k.ID, err)
		default:
			k.LastUsed = use
		}
		kept = append(kept, k)
	}
	return kept
}

func isGone(err error) bool { return errors.Is(err, fact.ErrNotFound) }

// each runs do for 0 to n-1, at most o.Concurrency at once, and tells the progress. It returns early, with
// the context's error, only when the context is done.
func each(ctx context.Context, o Options, stage string, n int, do func(i int)) error {
	var g errgroup.Group
	g.SetLimit(o.concurrency())
	var mu sync.Mutex
	done := 0
	o.progress(stage, 0, n)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			do(i)
			mu.Lock()
			defer mu.Unlock()
			done++
			o.progress(stage, done, n)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// newest is the latest date in the users' facts.
func newest(us []fact.User) fact.Time {
	var t fact.Time
	see := func(x fact.Time) {
		if x.Known() && x.Compare(t) > 0 {
			t = x
		}
	}
	for i := range us {
		see(us[i].Created)
		for j := range us[i].Keys {
			see(us[i].Keys[j].Created)
			see(us[i].Keys[j].LastUsed.At)
		}
	}
	return t
}
