package fact

import (
	"crypto/sha256"
	"errors"
)

// Two more kinds, of handing a pair over.
var (
	// ErrMoved: the place holds neither what we put there nor what stood there before. Somebody changed it, and
	// a person decides.
	ErrMoved = errors.New("changed by somebody else")

	// ErrNotRestorable: what was there before cannot be put back by us. The error says what to do by hand.
	ErrNotRestorable = errors.New("cannot be restored")
)

// Pair is an access key as its consumer reads it: always one object, never in parts.
type Pair struct {
	KeyID  string
	Secret Secret
}

// Digest is the SHA-256 of the key id, a colon and the secret, so that a shell script can make it too. It may be
// kept and shown: nobody guesses a secret of 240 random bits.
func (p Pair) Digest() [sha256.Size]byte {
	return sha256.Sum256([]byte(p.KeyID + ":" + p.Secret.Reveal()))
}
