package rotate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Account is one account, by credentials that may rotate its keys. Its errors wrap the kinds of package fact: after
// fact.ErrUnclear a change may have happened, after any other error it did not.
type Account interface {
	User(ctx context.Context, name string) (fact.User, error)
	Keys(ctx context.Context, user string) ([]fact.Key, error)
	LastUse(ctx context.Context, keyID string) (fact.Use, error)
	// CreateKey makes a key, and is never repeated by itself: AWS takes no token that would make it safe.
	CreateKey(ctx context.Context, user string) (fact.Pair, error)
	SetActive(ctx context.Context, user, keyID string, active bool) error
	DeleteKey(ctx context.Context, user, keyID string) error
	// Probe calls sts:GetCallerIdentity with the pair and gives the ARN that answered.
	Probe(ctx context.Context, p fact.Pair) (arn string, err error)
	// The May methods ask for permission without changing anything.
	MaySetActive(ctx context.Context, user string) error
	MayDelete(ctx context.Context, user string) error
}

// Courier hands a pair over to one target.
type Courier interface {
	// Preflight tells whether delivering will work, without changing what the consumer reads.
	Preflight(ctx context.Context) error
	// Deliver makes the target hold p; again, with the same id and p, it changes nothing more. earlier is the receipt of an
	// earlier attempt, or empty. A receipt may come beside an error: it is kept.
	Deliver(ctx context.Context, id string, p fact.Pair, earlier []byte) (receipt []byte, err error)
	// ReadBack tells whether the target holds the pair of that digest.
	ReadBack(ctx context.Context, id string, digest [32]byte, receipt []byte) (bool, error)
	// Restore puts back what was there before Deliver. fact.ErrMoved: somebody changed it since. fact.ErrNotRestorable: a
	// person has to.
	Restore(ctx context.Context, id string, receipt []byte) error
}

// Ledger keeps rotations.
type Ledger interface {
	Begin(ctx context.Context, r *Rotation, e Event) error
	Load(ctx context.Context, id string) (*Rotation, error)
	// Save writes r where its version is still the one that was loaded; else ErrLost, and nothing is written.
	Save(ctx context.Context, r *Rotation, events ...Event) error
	Due(ctx context.Context, account string, now time.Time, limit int) ([]string, error)
}

// Uses remembers when keys were seen used.
type Uses interface {
	RecordUse(ctx context.Context, account, keyID string, use fact.Use, seen time.Time) error
	LongestGap(ctx context.Context, account, keyID string) (time.Duration, int, error)
}

// Sealer seals pairs at rest.
type Sealer interface {
	SealPair(p fact.Pair) ([]byte, error)
	OpenPair(sealed []byte) (fact.Pair, error)
}

// Taker is a Courier whose target belongs to a person from the delivery on: whether it still holds the pair says nothing.
type Taker interface{ Taken() }

// Forgetter is a Courier that keeps something for Restore, and can do without it once a rotation is over.
type Forgetter interface {
	Forget(ctx context.Context, id string) error
}

// Engine moves rotations of one account on. All fields are required unless they say otherwise.
type Engine struct {
	Account Account
	Ledger  Ledger
	Uses    Uses
	Sealer  Sealer
	// Courier finds the courier of a target by the rotation and the target's name; an error when the settings have it no more.
	Courier  func(r *Rotation, t *Target) (Courier, error)
	Caller   fact.Caller
	OwnKeys  []string      // access key ids of the credentials in use, all of their chain
	OwnUsers []fact.Caller // users of whom a session stands in that chain
	// Told is asked before the old key is deactivated where notices are configured: false holds that back. nil: none are.
	Told func(ctx context.Context, r *Rotation) (bool, error)
	// Moved hears of every edge that was taken; may be nil.
	Moved func(r *Rotation, e Event)

	// Skew is how far AWS's clock is ahead of this machine's, as its last answer said; nil: not known.
	Skew func() (time.Duration, bool)

	Now  func() time.Time
	Wait func(ctx context.Context, d time.Duration) error

	// Patience is how long a change may take to show; 0 means a minute.
	Patience time.Duration
	// ActTime bounds one turn: an act with its reading back. For so long nobody else touches a rotation whose act is intended
	// and not answered, for its runner may be at it; so it is also how long a rotation rests whose runner was killed. 0 means 5
	// minutes.
	ActTime time.Duration
}

const (
	defaultPatience = time.Minute
	defaultActTime  = 5 * time.Minute
	answers         = 3               // of the probe, in a row
	answerPause     = 5 * time.Second // between two of them
	useSpan         = 15 * time.Minute
	mostTurns       = 100 // of one tick; more is a circle
)

func (e *Engine) patience() time.Duration {
	if e.Patience > 0 {
		return e.Patience
	}
	return defaultPatience
}

func (e *Engine) actTime() time.Duration {
	if e.ActTime > 0 {
		return e.ActTime
	}
	return defaultActTime
}

func (e *Engine) now() time.Time { return e.Now().UTC().Truncate(time.Microsecond) }

// Tick does all that is due of one rotation and leaves it scheduled. ErrLost means that another runner is at it, which is
// fine. What goes wrong with the account is in the rotation, not in the error.
func (e *Engine) Tick(ctx context.Context, id string) (*Rotation, error) {
	for range mostTurns {
		r, err := e.loadOurs(ctx, id)
		if err != nil || r.State.Over() || r.NextAt.After(e.now()) || ctx.Err() != nil {
			return r, err
		}
		if err := e.turn(ctx, r); err != nil {
			return r, err
		}
	}
	return nil, fmt.Errorf("rotation %s does not come to rest", id)
}

// loadOurs is the rotation, if it is of the account that the credentials reach: in another one its user would look gone.
func (e *Engine) loadOurs(ctx context.Context, id string) (*Rotation, error) {
	r, err := e.Ledger.Load(ctx, id)
	if err == nil && r.Account != e.Caller.Account.ID {
		return nil, &Refusal{
			Why:   fmt.Sprintf("rotation %s is of account %s, the credentials reach account %s", r.ID, r.Account, e.Caller.Account.ID),
			Widen: "use credentials of that account: --rotate-profile, --rotate-role",
		}
	}
	return r, err
}

// TickDue ticks what is due, at most limit rotations, and tells how many there were. A rotation that another runner was
// faster with is left to it.
func (e *Engine) TickDue(ctx context.Context, limit int) (int, error) {
	ids, err := e.Ledger.Due(ctx, e.Caller.Account.ID, e.now(), limit)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		if _, err := e.Tick(ctx, id); err != nil && !errors.Is(err, ErrLost) {
			errs = append(errs, fmt.Errorf("rotation %s: %w", id, err))
		}
	}
	return len(ids), errors.Join(errs...)
}

// seen is what a state has found, or brought about.
type seen struct {
	event EventName
	note  string
	next  time.Duration // look again after that; 0: at once
}

// turn looks at the world as the state wants, acts if need be, and takes the edge that follows. Once begun it is finished,
// also when ctx ends meanwhile.
func (e *Engine) turn(ctx context.Context, r *Rotation) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.actTime())
	defer cancel()
	t := &turn{Engine: e, r: r}
	found, err := t.look(ctx)
	if errors.Is(err, errLater) {
		return nil
	}
	if err != nil {
		return err // of the ledger, or of the seal
	}
	edge, ok := Next(r.State, found.event)
	if !ok {
		return fmt.Errorf("rotation %s: %q cannot happen in %s", r.ID, found.event, r.State)
	}
	return t.take(ctx, edge, found)
}

// turn is one turn of one rotation.
type turn struct {
	*Engine
	r *Rotation
}

// take records that an edge is taken, and schedules what comes next.
func (t *turn) take(ctx context.Context, edge Edge, found seen) error {
	r := t.r
	from, to := r.State, edge.To
	if to == ToResume {
		to = r.Resume
	}
	now := t.now()
	switch found.event {
	case NotYet, Unreadable, Lacking, Moved, UserGone, Permitted, Approve: // what became of an act under way is as unknown as before
	default:
		r.Intent, r.IntentAt = None, time.Time{}
	}
	why := r.Why
	r.State, r.Why = to, ""
	switch {
	case to == from && (to == Held || to == Conflict):
		r.Why = why // what a person has to know, not that looking was in vain
	case to.Waiting() && from != to:
		r.Resume, r.Why = from, found.note
	case to.Waiting() || found.event == NotYet || found.event == Unreadable:
		r.Why = found.note
	default:
		r.Resume = ""
	}
	switch {
	case to == from:
		r.Tries++
	case to == Blocked || from == Blocked: // the limit goes on
		r.Tries = 0
	default:
		r.Tries, r.EnteredAt = 0, now
	}
	if to.Over() || to == Proving && from != Proving {
		r.Sealed = nil // every target has read back, or nobody needs it any more
	}
	r.NextAt = now.Add(found.next)
	if to.Waiting() && found.next == 0 {
		r.NextAt = now.Add(waitingLook(to))
	}
	event := Event{At: now, From: from, To: to, Name: found.event, Note: found.note}
	var events []Event
	if from != to || found.event != NotYet && found.event != Unreadable {
		events = append(events, event) // looking in vain is no news
	}
	r.ChangedAt = now
	if to == Done { // the old key is gone: what would restore it is of no use, also to whoever finds it
		t.forget(ctx)
	}
	if err := t.Ledger.Save(ctx, r, events...); err != nil {
		return err
	}
	if to.Over() && to != Done {
		t.forget(ctx)
	}
	if t.Moved != nil && from != to {
		t.Moved(r, event)
	}
	return nil
}

// forget lets the couriers wipe what they kept. What cannot be wiped is sealed, and no reason to trouble anybody.
func (t *turn) forget(ctx context.Context) {
	for i := range t.r.Targets {
		c, err := t.Courier(t.r, &t.r.Targets[i])
		if f, ok := c.(Forgetter); err == nil && ok {
			_ = f.Forget(ctx, t.r.ID)
		}
	}
}

// waitingLook is how often a waiting rotation is looked at.
func waitingLook(s State) time.Duration {
	if s == Blocked {
		return time.Hour
	}
	return day // only to notice that the user is gone
}

// intend records the act before it is done, and keeps other runners off until it must be over.
func (t *turn) intend(ctx context.Context, act Act, note string) error {
	now := t.now()
	t.r.Intent, t.r.ChangedAt, t.r.NextAt = act, now, now.Add(t.actTime())
	if act != DropOrphan { // which keeps that of the creation: the orphan is told by it
		t.r.IntentAt = now
	}
	return t.Ledger.Save(ctx, t.r, Event{At: now, From: t.r.State, To: t.r.State, Act: act, Note: note})
}

// trouble turns an error of the account or of a courier into what it means for the rotation.
func (t *turn) trouble(err error) seen {
	switch {
	case errors.Is(err, fact.ErrDenied):
		return seen{event: Lacking, note: err.Error()}
	case errors.Is(err, fact.ErrMoved):
		return seen{event: Moved, note: err.Error()}
	default:
		return seen{event: Unreadable, note: err.Error(), next: t.pause()}
	}
}

// pause grows with the tries in vain: 10 s, doubled, at most 15 minutes.
func (t *turn) pause() time.Duration {
	d := 10 * time.Second
	for range min(t.r.Tries, 7) {
		d *= 2
	}
	return min(d, 15*time.Minute)
}
