// Package journal is the record of what keyreeve changes in accounts: what was intended, what AWS answered,
// what was seen afterwards.
//
// It knows runs, their steps and the entries that each step gathers, how the status of a step follows from
// its entries, what dangles after a crash, and the chain of hashes that makes a change of the record show. A
// rotation is a run too: it has no steps, but events, of which it knows what they did to keys and no more.
//
// It stores nothing and calls nobody: package store keeps the entries, packages apply and rotate write them. Its
// promise: the status of a step is never stored beside its entries, it follows from them alone; an intent
// without an answer is unresolved, never done and never failed.
package journal

import (
	"errors"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// ErrNoRun says that the journal holds no run of that id.
var ErrNoRun = errors.New("no such run")

// RunKind says what a run did.
type RunKind string

const (
	Apply  RunKind = "apply"  // carried out a plan
	Undo   RunKind = "undo"   // took back what another run did
	Rotate RunKind = "rotate" // is a rotation: no steps, but events, over days and by many processes
)

// RunKinds lists every RunKind.
func RunKinds() []RunKind { return []RunKind{Apply, Undo, Rotate} }

// Action is a change of one access key.
type Action string

const (
	Deactivate Action = "deactivate"
	Activate   Action = "activate"
	Delete     Action = "delete"
)

// Actions lists every Action.
func Actions() []Action { return []Action{Deactivate, Activate, Delete} }

// State is how an access key stands.
type State string

const (
	Active   State = "active"
	Inactive State = "inactive"
	Absent   State = "absent" // the user has no such key (any more)
)

// States lists every State.
func States() []State { return []State{Active, Inactive, Absent} }

// StateOf is the state of a key that was read.
func StateOf(k *fact.Key) State {
	if k.Active {
		return Active
	}
	return Inactive
}

// Leaves is the state in which the action leaves a key; empty for what is no Action.
func (a Action) Leaves() State {
	switch a {
	case Deactivate:
		return Inactive
	case Activate:
		return Active
	case Delete:
		return Absent
	default:
		return ""
	}
}

// Run is one carrying out of a plan, the undoing of one, or a rotation. Times are UTC.
type Run struct {
	ID        string
	Kind      RunKind
	Account   string    // twelve digits
	Caller    string    // ARN of who acted
	Plan      string    // digest of the plan; of an undo, that of the plan whose run it undoes; of a rotation, may be empty
	Undoes    string    // the run that this one undoes; empty for other kinds
	Rotation  *Rotation // what a Rotate is about; nil for other kinds
	Version   string    // of the program
	Host      string    // the machine it ran on, and
	PID       int       // the process
	StartedAt time.Time
	EndedAt   time.Time // zero: it is under way, or it died; a rotation does not die
	EndNote   string    // of its end entry: what ended it, other than that all was tried; may be empty
	Steps     []Step    // in the order in which they were to be carried out; none of a Rotate
	Events    []Entry   // of a Rotate, in the order of Seq
}

// Step is one change that a run was to make, and what became of it.
type Step struct {
	ID         string // of the plan's step; unique in the run
	Action     Action
	User       string
	UserID     string // unique id (AIDA...) that the user must have
	KeyID      string
	KeyCreated time.Time
	LastUsed   time.Time // of the key, as it was when the step was decided on; zero: never
	From       State     // the state that the key must be in before the change
	Because    []string  // ids of the verdicts that asked for it
	Rules      []string  // ids of their rules
	Then       Action    // Delete: to be deleted once it has been quiet for long enough; else empty
	Entries    []Entry   // in the order of Seq
}

// EntryKind says what an entry records.
type EntryKind string

const (
	Begin        EntryKind = "begin"        // of a run; Data holds the run and its steps
	Left         EntryKind = "left"         // the step was not tried; Result says why
	Intent       EntryKind = "intent"       // the call is about to be made
	Outcome      EntryKind = "outcome"      // what the call answered
	Verification EntryKind = "verification" // what was seen afterwards
	Event        EntryKind = "event"        // of a rotation; Data holds the Happening
	End          EntryKind = "end"          // of a run
)

// EntryKinds lists every EntryKind.
func EntryKinds() []EntryKind {
	return []EntryKind{Begin, Left, Intent, Outcome, Verification, Event, End}
}

// Result is what an entry tells, by its kind.
type Result string

const (
	// Of an outcome.
	OK      Result = "ok"
	Refused Result = "refused" // AWS refused: nothing changed. Of a step that was left: a guard refused.
	Unclear Result = "unclear" // no answer came: the change may have happened

	// Of a verification.
	Shows   Result = "shows"   // the key is as intended
	Unmoved Result = "unmoved" // the key is as it was before
	Other   Result = "other"   // neither: somebody else has changed it
	Unseen  Result = "unseen"  // it could not be read, or did not show in time: it is looked at again later

	// Of a step that was left.
	Stale     Result = "stale"     // the account is not as the plan expects
	Unread    Result = "unread"    // what the step expects could not be read
	Dependent Result = "dependent" // a step that it depends on was not done
	NotDue    Result = "not-due"   // its time has not come
	Already   Result = "already"   // an earlier run of the same plan did it, or the key is in that state already
	Beyond    Result = "beyond"    // not something that this kind of run can do, such as bringing back a deleted key
)

// Results lists every Result that an entry of kind k may have; nil for those that have none.
func (k EntryKind) Results() []Result {
	switch k {
	case Outcome:
		return []Result{OK, Refused, Unclear}
	case Verification:
		return []Result{Shows, Unmoved, Other, Unseen}
	case Left:
		return []Result{Refused, Stale, Unread, Dependent, NotDue, Already, Beyond}
	default:
		return nil
	}
}

// Status is what became of a step.
type Status string

const (
	StatusPlanned    Status = "planned"      // nothing was tried: the run is not there yet, or ended before it
	StatusDone       Status = "done"         // done, and seen
	StatusUnresolved Status = "unresolved"   // tried, and not seen since: the next run looks
	StatusFailed     Status = "failed"       // tried, and not done
	StatusConflict   Status = "conflict"     // tried, and then found in a state that nobody intended
	StatusStale      Status = "stale"        // not tried: the account is not as the plan expects
	StatusUnread     Status = "not-read"     // not tried: the key could not be read
	StatusRefused    Status = "refused"      // not tried: a guard refused
	StatusDependent  Status = "skipped"      // not tried: a step that it depends on was not done
	StatusNotDue     Status = "not-due"      // not tried: its time has not come
	StatusAlready    Status = "already-done" // not tried: it was done before
	StatusBeyond     Status = "not-possible" // not tried: this kind of run cannot do it
)

// Statuses lists every Status.
func Statuses() []Status {
	return []Status{
		StatusPlanned, StatusDone, StatusUnresolved, StatusFailed, StatusConflict, StatusStale, StatusUnread,
		StatusRefused, StatusDependent, StatusNotDue, StatusAlready, StatusBeyond,
	}
}

// Status follows from the entries: the last verification decides, then the outcome, then the intent.
func (s *Step) Status() Status {
	status := StatusPlanned
	for _, e := range s.Entries {
		switch e.Kind {
		case Intent:
			status = StatusUnresolved
		case Outcome:
			if e.Result == Refused {
				status = StatusFailed
			}
		case Verification:
			switch e.Result {
			case Shows:
				status = StatusDone
			case Unmoved:
				status = StatusFailed
			case Other:
				status = StatusConflict
			default: // not seen: still unresolved
			}
		case Left:
			status = e.Result.left()
		default:
		}
	}
	return status
}

// left is the status of a step that was left for that reason.
func (r Result) left() Status {
	switch r {
	case Stale:
		return StatusStale
	case Unread:
		return StatusUnread
	case Dependent:
		return StatusDependent
	case NotDue:
		return StatusNotDue
	case Already:
		return StatusAlready
	case Beyond:
		return StatusBeyond
	default:
		return StatusRefused
	}
}

// Last is the note of the step's last entry: why it stands where it stands. Empty without entries.
func (s *Step) Last() string {
	if len(s.Entries) == 0 {
		return ""
	}
	return s.Entries[len(s.Entries)-1].Note
}

// DoneAt is when the step was seen done; the zero time unless it is StatusDone.
func (s *Step) DoneAt() time.Time { return s.seen().At }

// seen is the entry that saw the step done; a zero one unless it is StatusDone.
func (s *Step) seen() Entry {
	if s.Status() != StatusDone {
		return Entry{}
	}
	for _, e := range slices.Backward(s.Entries) {
		if e.Kind == Verification && e.Result == Shows {
			return e
		}
	}
	return Entry{}
}

// IntendedAt is when the step was last tried; the zero time if it never was.
func (s *Step) IntendedAt() time.Time {
	for _, e := range slices.Backward(s.Entries) {
		if e.Kind == Intent {
			return e.At
		}
	}
	return time.Time{}
}

// Change is the last thing that keyreeve did to a key and saw done.
type Change struct {
	Run     string
	Plan    string // digest of the plan that the change goes back to, also through an undo
	Step    Step   // without its entries; of a rotation also without id, reasons and Then
	State   State  // in which the key was left
	At      time.Time
	Seq     int64 // of the entry that saw it
	Undoing bool  // made by an undo
}

// Book is what the journal knows of one account when a run begins.
type Book struct {
	Changes    map[string]Change // by access key id
	Unresolved []Open            // oldest first
	Dead       []string          // ids of runs without an end, oldest first: whoever holds the lock knows that they died
	Rotating   map[string]string // id of the rotation that is under way, by unique id of the user; such a run is not dead
}

// Open is a step that was tried and not seen since.
type Open struct {
	Run  *Run // without its other steps
	Step Step
}

// Read makes the book of one account out of its runs, which must stand in the order in which they began.
func Read(runs []Run) Book {
	b := Book{Changes: map[string]Change{}, Rotating: map[string]string{}}
	for i := range runs {
		r := &runs[i]
		if r.Kind == Rotate {
			b.rotation(r)
			continue
		}
		if r.EndedAt.IsZero() {
			b.Dead = append(b.Dead, r.ID)
		}
		for j := range r.Steps {
			s := &r.Steps[j]
			switch s.Status() {
			case StatusDone:
				seen := s.seen()
				c := Change{Run: r.ID, Plan: r.Plan, Step: *s, State: s.Action.Leaves(), At: seen.At, Seq: seen.Seq, Undoing: r.Kind == Undo}
				c.Step.Entries = nil
				b.changed(c)
			case StatusUnresolved:
				alone := *r
				alone.Steps = nil
				b.Unresolved = append(b.Unresolved, Open{&alone, *s})
			default:
			}
		}
	}
	return b
}

func (b *Book) rotation(r *Run) {
	if r.Rotation == nil {
		return // no record of a rotation reads so
	}
	if r.EndedAt.IsZero() {
		b.Rotating[r.Rotation.UserID] = r.ID
	}
	for _, c := range r.changes() {
		b.changed(c)
	}
}

// changed keeps the later change of a key by the chain: clocks may step back.
func (b *Book) changed(c Change) {
	if old, ok := b.Changes[c.Step.KeyID]; !ok || old.Seq < c.Seq {
		b.Changes[c.Step.KeyID] = c
	}
}
