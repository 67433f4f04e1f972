// Package plan turns failing verdicts into an ordered list of steps, and never performs one.
//
// It knows which remedy a verdict asks for, which of several keys to keep, what must be true of a key before
// it may be touched, and the guards that refuse. A plan is a document: it names the evidence it rests on,
// the state that each step expects, and ends in a digest.
//
// It is pure: no clock, no account, no journal, only what it is given of them. It refuses to guess: a user
// of whom anything was not read gets no step, a choice between keys that are both in use is left to a
// person. Its promises: every failing verdict is answered by a step or by a reason in LeftOut; what a plan
// says is what apply does, or nothing.
package plan

import (
	"slices"
	"time"
)

// Schema is the first field of every plan that this version writes and reads.
const Schema = "keyreeve.plan/1"

// Action is what a step does to a key.
type Action string

const (
	Deactivate Action = "deactivate"
	Delete     Action = "delete"
	Rotate     Action = "rotate" // make a new key, hand it over, then deactivate and delete this one
)

// Actions lists every Action.
func Actions() []Action { return []Action{Deactivate, Delete, Rotate} }

// Status is that of an access key, as a plan expects it.
type Status string

const (
	Active   Status = "active"
	Inactive Status = "inactive"
)

// Plan is what to do about an account. All times are UTC.
type Plan struct {
	Schema    string    `json:"schema"`
	Tool      Tool      `json:"tool"`
	CreatedAt time.Time `json:"created_at"`
	AsOf      time.Time `json:"as_of"` // judged as if it were then
	Ruleset   string    `json:"ruleset"`
	Terms     Terms     `json:"terms"`
	Accounts  []Account `json:"accounts"` // that was read; one: whoever applies the plan holds credentials of one account
	Steps     []Step    `json:"steps"`    // in the order in which they are carried out
	LeftOut   []LeftOut `json:"left_out"` // what fails and has no step, and why
	Digest    string    `json:"digest"`   // see Encode
}

// Tool is the program that made the plan.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Terms are the times that the plan was made under, in seconds.
type Terms struct {
	Settling int64 `json:"settling_seconds"` // a key used within it counts as in use
	Quiet    int64 `json:"quiet_seconds"`    // a key is deleted after it was inactive for so long
}

// Account is the evidence that the plan rests on.
type Account struct {
	ID         string    `json:"id"`
	Partition  string    `json:"partition"`
	Name       string    `json:"name"`
	Caller     string    `json:"caller"` // ARN of who read it
	Source     string    `json:"source"` // live
	ReadAt     time.Time `json:"read_at"`
	Complete   bool      `json:"complete"` // false: something was not read; users it concerns have no step
	Users      int       `json:"users"`
	Keys       int       `json:"keys"`
	ActiveKeys int       `json:"active_keys"`
}

// Step is one change of one key.
type Step struct {
	ID        string   `json:"id"` // the same for the same key and action, whenever it is planned
	Action    Action   `json:"action"`
	Account   string   `json:"account"`
	User      string   `json:"user"`
	UserARN   string   `json:"user_arn"`
	UserID    string   `json:"user_id"`
	KeyID     string   `json:"key_id"`    // empty while Undecided
	Undecided string   `json:"undecided"` // why a person has to choose among Choices; empty when nothing is open
	Choices   []string `json:"choices"`   // key ids, one of which to keep; empty unless Undecided
	Expect    Expect   `json:"expect"`
	Because   []string `json:"because"` // ids of the verdicts it answers; of a follow-up, those of the step before
	Rules     []string `json:"rules"`   // ids of their rules
	Why       string   `json:"why"`     // in words
	// NotBefore is when the step may be done at the earliest.
	NotBefore  time.Time `json:"not_before"`
	Reversible bool      `json:"reversible"` // keyreeve undo can take it back
	Risk       string    `json:"risk"`       // who may notice, in a sentence
	Then       Action    `json:"then"`       // delete: a later plan will, once the key was quiet for long enough; else empty
	AllowUsed  bool      `json:"allow_used"` // a person allowed to take the last active key although it is in use
	DependsOn  []string  `json:"depends_on"` // ids of steps that must be done first
}

// Expect is what must still be true when the step is carried out.
type Expect struct {
	Status        Status     `json:"status"`
	CreatedAt     time.Time  `json:"created_at"`
	LastUsedAt    *time.Time `json:"last_used_at"`   // null: never used
	InactiveSince *time.Time `json:"inactive_since"` // by our journal; null: active, or its inactivity is older than the journal
	Siblings      []Sibling  `json:"siblings"`       // the user's other keys, by creation time and id; empty, never null
}

// Sibling is another key of the same user.
type Sibling struct {
	KeyID      string     `json:"key_id"`
	Status     Status     `json:"status"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at"` // null: never used. It may move on: a key that is kept is used.
}

// LeftOut is what fails and gets no step.
type LeftOut struct {
	Account string   `json:"account"`
	User    string   `json:"user"`
	KeyID   string   `json:"key_id"` // empty: about the user
	Guard   Guard    `json:"guard"`
	Why     string   `json:"why"`
	Hint    string   `json:"hint"` // how to widen the limit, or what a person can do; may be empty
	Because []string `json:"because"`
	Rules   []string `json:"rules"`
}

// Guard is what kept a step out of a plan, or a run from beginning.
type Guard string

const (
	GuardOwnKey     Guard = "own-key"         // the key that keyreeve runs with
	GuardRoot       Guard = "root"            // a key of the root user
	GuardQuarantine Guard = "quarantined"     // AWS found a key of the user exposed
	GuardLastKey    Guard = "last-active-key" // the user's only active key, and in use
	GuardIncomplete Guard = "incomplete"      // something about the user was not read
	GuardRotating   Guard = "rotating"        // a rotation of the user is under way
	GuardQuiet      Guard = "quiet-period"    // nobody knows for how long the key has been inactive
	GuardUsed       Guard = "used"            // an inactive key was used after we deactivated it
	GuardGuidance   Guard = "guidance"        // the sources teach steps for a person, and no automatic one
	GuardException  Guard = "exception"       // an accepted risk covers the key, though not the rule that fails
	GuardSteps      Guard = "max-steps"       // more steps in one run than allowed
	GuardAge        Guard = "plan-age"        // the plan is too old, or from the future
	GuardDigest     Guard = "digest"          // the plan was edited
	GuardAccount    Guard = "wrong-account"   // the credentials reach another account
	GuardPermission Guard = "permission"      // the credentials may not do it
	GuardBusy       Guard = "busy"            // another run works on the account
	GuardClock      Guard = "clock"           // this machine's clock is far off AWS's
)

// Guards lists every Guard.
func Guards() []Guard {
	return []Guard{
		GuardOwnKey, GuardRoot, GuardQuarantine, GuardLastKey, GuardIncomplete, GuardRotating, GuardQuiet, GuardUsed, GuardGuidance,
		GuardException, GuardSteps, GuardAge, GuardDigest, GuardAccount, GuardPermission, GuardBusy, GuardClock,
	}
}

// Valid tells whether a is one of Actions.
func (a Action) Valid() bool { return slices.Contains(Actions(), a) }

// Open tells whether the step waits for a person to choose.
func (s *Step) Open() bool { return s.Undecided != "" }

// Refusal is a guard's refusal of a whole run.
type Refusal struct {
	Guard Guard
	Why   string
	Widen string // how to widen the limit, or what to do; may be empty
}

func (r *Refusal) Error() string { return r.Why }

// Hint is the next move for a person, or empty.
func (r *Refusal) Hint() string { return r.Widen }
