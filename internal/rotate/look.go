package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// world is the user and its keys as they are now.
type world struct {
	user     fact.User
	keys     []fact.Key
	old, new *fact.Key // nil: not there
}

// look reads the world, compares it with what the state expects, and lets the state look further and act.
func (t *turn) look(ctx context.Context) (seen, error) {
	w, found := t.read(ctx)
	if found != nil {
		return *found, nil
	}
	if t.r.State.Waiting() {
		if t.r.State == Blocked {
			return seen{event: Permitted, note: "trying again"}, nil
		}
		return seen{event: Unreadable, note: t.r.Why, next: day}, nil // nothing but a person moves it
	}
	if t.hidden(w) {
		return seen{event: NotYet, note: "the new key does not show yet", next: answerPause}, nil
	}
	if why := t.moved(w); why != "" {
		return seen{event: Moved, note: why}, nil
	}
	switch t.r.State {
	case Requested:
		return t.requested(ctx, w)
	case Creating:
		return t.creating(ctx, w)
	case Delivering:
		return t.delivering(ctx, w)
	case Probing:
		return t.probing(ctx, w)
	case Proving:
		return t.proving(ctx, w)
	case Deactivating:
		return t.deactivating(ctx, w)
	case Quiet:
		return t.quiet(ctx, w)
	case Deleting:
		return t.deleting(ctx, w)
	case BackingOut:
		return t.backingOut(ctx, w)
	default:
		return seen{}, fmt.Errorf("rotation %s is %s", t.r.ID, t.r.State)
	}
}

// read looks at the user and its keys. found is set where that already says what to do.
func (t *turn) read(ctx context.Context) (*world, *seen) {
	u, err := t.Account.User(ctx, t.r.User)
	var keys []fact.Key
	if err == nil && u.ID == t.r.UserID {
		keys, err = t.Account.Keys(ctx, t.r.User)
	}
	switch {
	case errors.Is(err, fact.ErrNotFound):
		return nil, &seen{event: UserGone, note: fmt.Sprintf("user %q is gone", t.r.User)}
	case err != nil:
		found := t.trouble(err)
		return nil, &found
	case u.ID != t.r.UserID:
		return nil, &seen{event: UserGone, note: fmt.Sprintf("user %q was made again: its unique id is %s, not %s", t.r.User, u.ID, t.r.UserID)}
	}
	w := &world{user: u, keys: keys}
	for i := range keys {
		switch keys[i].ID {
		case t.r.Old.ID:
			w.old = &keys[i]
		case t.r.New.ID: // never empty here: a key has an id
			w.new = &keys[i]
			t.r.New.Created = keys[i].Created.Time()
		}
	}
	return w, nil
}

// hidden tells whether the new key was made so lately that a list of keys may not have it yet: until it was seen once, its
// absence says nothing.
func (t *turn) hidden(w *world) bool {
	return t.r.State == Delivering && w.new == nil && t.r.New.Created.IsZero() && !t.over(t.patience())
}

// moved says how the user's keys differ from those that the rotation left; empty: they do not. What an act under way may have
// done already is expected.
func (t *turn) moved(w *world) string {
	r := t.r
	var why []string
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	oldActive := r.State != Quiet && r.State != Deleting
	switch {
	case r.First():
	case r.State == BackingOut:
		if w.old == nil {
			say("the old key %s is gone: it cannot be brought back", r.Old.ID)
		}
	case w.old == nil && r.Intent == Delete:
	case w.old == nil:
		say("the old key %s is gone", r.Old.ID)
	case w.old.Active != oldActive && (r.Intent != Deactivate || w.old.Active):
		say("the old key %s is %s", r.Old.ID, status(w.old.Active))
	}
	if r.State != BackingOut && r.New.ID != "" {
		switch {
		case w.new == nil:
			say("the new key %s is gone", r.New.ID)
		case !w.new.Active:
			say("the new key %s is inactive", r.New.ID)
		}
	}
	known := map[string]bool{r.Old.ID: true, r.New.ID: true}
	for _, o := range r.Others {
		known[o.ID] = true
		i := slices.IndexFunc(w.keys, func(k fact.Key) bool { return k.ID == o.ID })
		switch {
		case i < 0:
			say("key %s of the user is gone", o.ID)
		case w.keys[i].Active != o.Active:
			say("key %s of the user is %s, not %s", o.ID, status(w.keys[i].Active), status(o.Active))
		}
	}
	if r.Intent == Create || r.Intent == DropOrphan {
		return strings.Join(why, "; ") // a key that nobody knows is the orphan, or not: creating tells
	}
	for i := range w.keys {
		if !known[w.keys[i].ID] {
			say("the user has a key that the rotation does not know: %s, made %s", w.keys[i].ID, w.keys[i].Created)
		}
	}
	return strings.Join(why, "; ")
}

// plural is one, or n and many.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// span is a length of time in days where it is whole days.
func span(d time.Duration) string {
	if d >= day && d%day == 0 {
		return plural(int(d/day), "day", "days")
	}
	return d.Round(time.Second).String()
}

func status(active bool) string {
	if active {
		return "active"
	}
	return "inactive"
}

// lastUse reads the last use of a key. A reading that failed is no answer, and is told as what it means.
func (t *turn) lastUse(ctx context.Context, keyID string) (fact.Use, *seen) {
	use, err := t.Account.LastUse(ctx, keyID)
	switch {
	case err != nil:
		found := t.trouble(err)
		return use, &found
	case use.At.Unknown():
		return use, &seen{event: Unreadable, note: fmt.Sprintf("the last use of key %s is unknown", keyID), next: t.pause()}
	default:
		return use, nil
	}
}

// over tells whether the state's limit is over.
func (t *turn) over(limit time.Duration) bool { return t.now().Sub(t.r.EnteredAt) >= limit }

func useText(u fact.Use) string {
	text := u.At.String()
	if named(u.Service) {
		text += " by " + u.Service
	}
	if named(u.Region) {
		text += " in " + u.Region
	}
	return text
}

// named tells whether AWS names a service or a region: not all have one, and emulators know none.
func named(s string) bool { return s != "" && s != "N/A" && s != "not_supported" }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
