package fact

import "errors"

// The few kinds of failure of a reading or a change, told apart by what the caller does next. Whoever talks to AWS
// wraps one of them; everything else is just an error.
var (
	ErrNotFound  = errors.New("not found")     // what was asked about does not exist (any more)
	ErrDenied    = errors.New("access denied") // these credentials may not
	ErrThrottled = errors.New("throttled")     // too many calls, also after retries

	// ErrUnclear is of changes only, and stands beside the kind of their trouble: some attempt was sent and
	// nothing says that AWS refused it. Look before you act again, and until then call it neither done nor failed.
	ErrUnclear = errors.New("no clear answer: the call may have taken effect")
)

// Caller is whose credentials are used.
type Caller struct {
	Account Account // ID and Partition
	ARN     string
	ID      string // unique id, such as AIDA... or AROA...:session
}
