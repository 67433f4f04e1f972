// Package rotate replaces an access key that is in use without an outage, over days, and survives being killed
// at any moment.
//
// It knows the states of a rotation and the edges between them, which are a table; what has to be seen before
// each edge; and how to find out, by looking, whether an edge that was begun was done. The runner is dull: load,
// look, next edge, intent, act, outcome, schedule. Progress lives in the ledger only.
//
// It refuses to touch a key of whose use it is not sure: what could not be read blocks every destructive edge, a
// limit that is reached holds the rotation for a person, and an account that is not as we left it is a
// conflict. Its promises: at every moment the user has a working key that its consumers hold; no key is deleted
// that was used after we deactivated it; no new key is left behind that nobody holds; an edge is taken once.
package rotate

import (
	"slices"
	"time"
)

// State is where a rotation stands.
type State string

const (
	Requested    State = "requested"    // begun; nothing was changed yet
	Creating     State = "creating"     // the intent is on record; the new key may or may not exist
	Delivering   State = "delivering"   // the new key exists; its targets do not all hold it yet
	Probing      State = "probing"      // every target holds it; it has to answer several times in a row
	Proving      State = "proving"      // waiting for its consumer to use it
	Deactivating State = "deactivating" // proven; the old key goes when it was not used for the settling time
	Quiet        State = "quiet"        // the old key is inactive; days pass
	Deleting     State = "deleting"     // the old key goes for good
	Done         State = "done"

	BackingOut State = "backing-out" // cancelled: the old key active, targets restored, the new key gone
	Cancelled  State = "cancelled"

	Blocked  State = "blocked"  // a permission is missing: goes on by itself when it is back
	Held     State = "held"     // a person has to approve
	Conflict State = "conflict" // the account is not as we left it: a person decides
	Gone     State = "gone"     // the user was deleted, or made again under its name
)

// States lists every State, in the order of a life.
func States() []State {
	return []State{
		Requested, Creating, Delivering, Probing, Proving, Deactivating, Quiet, Deleting, Done,
		BackingOut, Cancelled, Blocked, Held, Conflict, Gone,
	}
}

// Over tells whether a rotation in that state is at its end.
func (s State) Over() bool { return s == Done || s == Cancelled || s == Gone }

// Waiting tells whether the state only waits, for Resume to go on.
func (s State) Waiting() bool { return s == Blocked || s == Held || s == Conflict }

// Valid tells whether s is one of States.
func (s State) Valid() bool { return slices.Contains(States(), s) }

// Mode says when the old key is to be gone.
type Mode string

const (
	After  Mode = "after"  // start when the key is due; the old key goes some days after
	Before Mode = "before" // start early enough that the old key is gone when it is due
)

// Modes lists every Mode.
func Modes() []Mode { return []Mode{After, Before} }

// Terms are the times and limits of a rotation. Whole seconds; zero values are replaced by WithDefaults.
type Terms struct {
	Mode     Mode          // empty means After
	Settling time.Duration // the old key is deactivated when it was not used for so long; 0 means 24 h
	Quiet    time.Duration // the old key is deleted after being inactive for so long; 0 means 7 days
	// Delivery, Probe and Proof are how long to wait for all targets to hold the key, for the key to answer, and for
	// its consumer to use it; then the rotation is held. 0 means 24 h, 1 h, 14 days.
	Delivery, Probe, Proof time.Duration
	// Unproven allows to go on without proof when Proof is over: for consumers that are known to use the key rarely.
	Unproven bool
}

// WithDefaults fills in what is zero.
func (t Terms) WithDefaults() Terms {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if t.Mode == "" {
		t.Mode = After
	}
	def(&t.Settling, day)
	def(&t.Quiet, 7*day)
	def(&t.Delivery, day)
	def(&t.Probe, time.Hour)
	def(&t.Proof, 14*day)
	return t
}

// Lead is how long before a key is due its rotation begins: none in the mode After; in the mode Before as long as it takes
// when its consumer reads the new key within a day, so that the old key is gone in time.
func (t Terms) Lead() time.Duration {
	t = t.WithDefaults()
	if t.Mode != Before {
		return 0
	}
	return day + t.Settling + t.Quiet
}

const day = 24 * time.Hour

// Rotation is one row of the ledger. Times are UTC and by one clock of ours, but those of keys, which are AWS's.
type Rotation struct {
	ID      string // sorts by time
	Version int64  // 1 when it was begun; each save makes it one more
	State   State
	Resume  State  // where a waiting state goes on; else empty
	Why     string // why it waits, for people; empty while it goes on
	// Intent is set while an act is under way, or its outcome unknown: it names the act. A runner that finds one looks
	// before it does anything.
	Intent   Act
	IntentAt time.Time

	Account, Partition string
	User, ARN, UserID  string
	Caller             string // ARN of who began it
	Reason             string // why: a plan's step, a due date, a person's words
	Plan               string // digest of the plan that asked for it; empty: none
	Terms              Terms

	Old KeyRecord // the key that is replaced; ID empty: none, the new one is a first key
	New KeyRecord // the key that replaces it; ID empty until it is made
	// Others are the user's other keys, as they must stay. Before is every key that stood when the new one was about to be
	// made, by which an orphan is told.
	Others []KeyRecord
	Before []string

	Digest  string // of the new pair, in hex: by it a target is read back when the secret is gone; empty until it is made
	Sealed  []byte // the new secret, sealed; nil until it is made and from when every target has read back
	Targets []Target

	StartedAt time.Time
	ChangedAt time.Time // of the last save
	EnteredAt time.Time // of the state, for its limit
	NextAt    time.Time // look again then; zero: at once
	Tries     int       // in a row without progress; makes the pauses longer

	Answers       int       // of the probe, in a row
	ProbedAt      time.Time // the last time that we used the new key ourselves
	ProvenBy      string    // what proved the consumer's use: a use, a person's ARN, the limit; empty: nothing yet
	ConfirmedBy   string    // ARN of who said that the consumer uses the new key
	ApprovedBy    string    // ARN of who let it go on when it was last held or in conflict
	DeactivatedAt time.Time // of the old key, by our clock, when it was seen inactive
	DueAt         time.Time // when the old key has to be gone (Before) or the rotation to have begun (After); zero: no date
	// Gap is the longest time between two uses of the old key that we have seen: the quiet period is longer than that.
	Gap time.Duration
}

// First tells whether the key that is made replaces none.
func (r *Rotation) First() bool { return r.Old.ID == "" }

// KeyRecord is an access key as the ledger knows it.
type KeyRecord struct {
	ID       string
	Active   bool
	Created  time.Time // AWS's
	LastUsed time.Time // AWS's, as last read; zero: never
}

// Target is one place where the new key goes, and how far that is.
type Target struct {
	Name    string // of the target in the settings, by which a courier is found again
	Kind    string // such as secretsmanager
	Where   string // for people
	State   TargetState
	Receipt []byte // what the courier needs to restore; never a secret
	Why     string // the last trouble; empty when there is none
	Tries   int
}

// TargetState is how far one delivery is.
type TargetState string

const (
	Pending  TargetState = "pending"  // nothing was put there yet
	Put      TargetState = "put"      // it was put there, or may have been
	Holds    TargetState = "holds"    // read back: it holds the new key
	Restored TargetState = "restored" // what stood there before is back
	Marked   TargetState = "marked"   // it could not be restored: a person has to, Why says so
)

// TargetStates lists every TargetState.
func TargetStates() []TargetState { return []TargetState{Pending, Put, Holds, Restored, Marked} }

// Act is something that changes the world, and is intended on record before it is done.
type Act string

const (
	None       Act = ""
	Create     Act = "create the new key"
	DropOrphan Act = "delete a key that was made and never recorded"
	Deliver    Act = "deliver the new key"
	Probe      Act = "call with the new key"
	Deactivate Act = "deactivate the old key"
	Delete     Act = "delete the old key"
	Reactivate Act = "activate the old key again"
	Restore    Act = "restore the targets"
	DropNew    Act = "delete the new key"
)

// Acts lists every Act.
func Acts() []Act {
	return []Act{Create, DropOrphan, Deliver, Probe, Deactivate, Delete, Reactivate, Restore, DropNew}
}

// Event is one line of a rotation's record.
type Event struct {
	At   time.Time
	From State
	To   State
	Name EventName // what was seen, done or said; empty for an intent
	Act  Act       // intended, or done
	Note string    // for people; never a secret
}
