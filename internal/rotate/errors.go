package rotate

import "errors"

var (
	// ErrLive: the user has a rotation under way; there is one at a time.
	ErrLive = errors.New("the user has a rotation under way")
	// ErrLost: another runner has saved the rotation since it was loaded. Nothing was written.
	ErrLost = errors.New("another runner was faster")
	// ErrNoRotation: the ledger has none of that id.
	ErrNoRotation = errors.New("no such rotation")
)
