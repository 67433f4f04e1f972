package notice

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Outbox keeps messages until they are delivered, and the ids of what they tell for as long as it may come again: at
// least a year. A store implements it; noticetest is the definition of how. All instants are UTC and may lose what is
// below a microsecond.
type Outbox interface {
	// Fresh gives those of ids that no message in the outbox covers, in their order.
	Fresh(ctx context.Context, ids []string) ([]string, error)
	// Add puts all entries in, or none: where one covers an id that is covered already, or has an id that is there, the
	// error is ErrKnown.
	Add(ctx context.Context, entries []Entry) error
	// Take gives at most limit entries of a channel that are open and due at now, the longest due first (then by id), and
	// makes them due again at until, so that nobody else takes them before.
	Take(ctx context.Context, channel string, now, until time.Time, limit int) ([]Entry, error)
	// Mark records an attempt to deliver the entry: it counts one try more, and is closed, or due again at Attempt.NextTry.
	// One that is closed already stays so, and that is no error. ErrNoEntry: no entry has that id.
	Mark(ctx context.Context, id string, a Attempt) error
}

var (
	// ErrKnown: the outbox has a message about that already.
	ErrKnown = errors.New("the outbox tells that already")
	// ErrNoEntry: the outbox has no message of that id.
	ErrNoEntry = errors.New("the outbox has no such message")
)

// Entry is a message in the outbox.
type Entry struct {
	ID      string    // of the message
	Channel string    // its name
	Covers  []string  // ids of the changes that it tells; never empty, and only for Add: Take need not fill it in
	Body    []byte    // Message.Encode, to be kept byte for byte: what failed is tried again as it was composed
	AddedAt time.Time // when it was put in: the time after which it is given up counts from here
	Tries   int       // attempts recorded so far
	NextTry time.Time // due from then on
}

// State is what became of an attempt.
type State string

const (
	Sent    State = "sent"     // the channel took it: the entry is closed
	Failed  State = "failed"   // it is tried again at NextTry
	GivenUp State = "given up" // nobody tries again: the entry is closed
)

// States lists every State.
func States() []State { return []State{Sent, Failed, GivenUp} }

// Attempt is the receipt of one attempt to deliver a message.
type Attempt struct {
	At      time.Time
	State   State
	Answer  string    // id that the channel gave the message, if any; of Sent
	Why     string    // what went wrong, in a sentence without secrets; of Failed and GivenUp
	NextTry time.Time // of Failed; else zero
}

// Record is a message of the outbox with its receipts, for people.
type Record struct {
	ID       string
	Channel  string
	Subject  string // of the message; empty where its body cannot be read
	AddedAt  time.Time
	NextTry  time.Time // zero once it is closed
	State    State     // Sent or GivenUp; empty: it is to be delivered
	Attempts []Attempt // in their order
}

// postTries is how often Post composes anew because somebody else put in a part of the same changes meanwhile.
const postTries = 5

// Post puts messages about changes into the outbox, those that it does not have yet, and tells how many messages that
// made. now is when. Posting the same changes again adds nothing.
func Post(ctx context.Context, out Outbox, r *Routing, changes []Change, now time.Time) (int, error) {
	parcels, err := r.Parcels(changes)
	if err != nil {
		return 0, err
	}
	for range postTries {
		n, err := post(ctx, out, r, parcels, now)
		if !errors.Is(err, ErrKnown) {
			return n, err
		}
	}
	return 0, fmt.Errorf("put notices into the outbox: %w, %d times in a row", ErrKnown, postTries)
}

func post(ctx context.Context, out Outbox, r *Routing, parcels []Parcel, now time.Time) (int, error) {
	ids := make([]string, 0, len(parcels))
	for i := range parcels {
		ids = append(ids, parcels[i].ID)
	}
	if len(ids) == 0 {
		return 0, nil
	}
	fresh, err := out.Fresh(ctx, ids)
	if err != nil {
		return 0, fmt.Errorf("ask the outbox what is new: %w", err)
	}
	isFresh := make(map[string]bool, len(fresh))
	for _, id := range fresh {
		isFresh[id] = true
	}
	var anew []Parcel
	for _, p := range parcels {
		if isFresh[p.ID] {
			anew = append(anew, p)
		}
	}
	var entries []Entry
	for _, c := range r.Compose(anew, now) {
		body, err := c.Encode()
		if err != nil {
			return 0, err
		}
		entries = append(entries, Entry{ID: c.ID, Channel: c.Channel, Covers: c.Covers, Body: body, AddedAt: now.UTC(), NextTry: now.UTC()})
	}
	if len(entries) == 0 {
		return 0, nil
	}
	if err := out.Add(ctx, entries); err != nil {
		return 0, fmt.Errorf("put notices into the outbox: %w", err)
	}
	return len(entries), nil
}
