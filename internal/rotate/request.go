package rotate

import (
	"errors"
	"slices"
	"time"
)

var (
	// ErrSameEyes: who asked for a key does not decide about it.
	ErrSameEyes = errors.New("who asked does not decide")
	// ErrNoRequest: there is no request of that id.
	ErrNoRequest = errors.New("no such request")
)

// RequestState is how far a request for a key is.
type RequestState string

const (
	RequestPending  RequestState = "pending"  // nobody has decided
	RequestApproved RequestState = "approved" // somebody else agreed; the key may be made
	RequestDenied   RequestState = "denied"
	RequestMade     RequestState = "made"   // the key was made and handed over
	RequestFailed   RequestState = "failed" // it was approved, and could not be made or handed over: Why tells
)

// RequestStates lists every RequestState.
func RequestStates() []RequestState {
	return []RequestState{RequestPending, RequestApproved, RequestDenied, RequestMade, RequestFailed}
}

// Valid tells whether s is one of RequestStates.
func (s RequestState) Valid() bool { return slices.Contains(RequestStates(), s) }

// Request asks for a first or another key of a user, which somebody else decides about. Times are UTC and ours. It
// goes from pending to approved or denied, and from approved to made or failed.
type Request struct {
	ID      string // sorts by time
	Version int64  // 1 when it was asked; each save makes it one more
	State   RequestState

	Account      string // twelve digits
	User, UserID string // name and unique id
	Reason       string
	SecondReason string // why also for a user made minutes ago; empty for other users
	Destination  string // where the key goes: a target's name, or whom it is sealed for; never a secret

	AskedBy   string // ARN of the caller
	AskedAt   time.Time
	DecidedBy string    // ARN of another caller; empty while pending
	DecidedAt time.Time // zero while pending
	Why       string    // of the decision, or of the failure; may be empty
	KeyID     string    // of the key that was made; empty before
}
