// Package courier hands a new access key over to where its consumer reads it: a secret of Secrets Manager, a
// parameter of Systems Manager, a profile of a credentials file, a file sealed to a person, or a command.
//
// Every courier knows one place and has four verbs. Preflight tells whether delivering will work. Deliver makes
// the place hold a pair. ReadBack tells whether it does, by hash. Restore puts back what was there before.
// Couriers with files of their own also have Forget, which wipes what Restore would need.
//
// A courier refuses to overwrite what it does not understand, and to restore where somebody changed the place
// since (fact.ErrMoved). What it cannot restore it says (fact.ErrNotRestorable).
//
// Its promise: a reader of the place sees the old pair or the new one, whole, at any moment and after any kill;
// every verb may be repeated; and no receipt, error or log line holds a secret.
package courier

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// ErrMoved and ErrNotRestorable are the kinds of fact, for those who read this package.
var (
	ErrMoved         = fact.ErrMoved
	ErrNotRestorable = fact.ErrNotRestorable
)

// receiptVersion is of the form of all receipts.
const receiptVersion = 1

// receipt is what Restore and ReadBack need to know of a Deliver: versions and hashes, never a secret.
type receipt struct {
	Version int    `json:"version"`
	Pair    string `json:"pair"`              // digest of the pair delivered, in hex
	None    bool   `json:"none,omitempty"`    // there was nothing before
	Before  string `json:"before,omitempty"`  // the version, or the hash of the file, that stood there
	Put     string `json:"put,omitempty"`     // the version, or the hash of the file, that we put there
	Length  int64  `json:"length,omitempty"`  // of the file before, in bytes, where we only added to its end
	Output  string `json:"command,omitempty"` // what a command gave as its receipt
}

func (r receipt) encode() []byte {
	r.Version = receiptVersion
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and numbers
	}
	return b
}

// readReceipt reads what encode wrote. Empty gives false.
func readReceipt(b []byte) (r receipt, ok bool, err error) {
	if len(b) == 0 {
		return receipt{}, false, nil
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return receipt{}, false, fmt.Errorf("read the receipt of a delivery: %w", err)
	}
	if r.Version != receiptVersion {
		return receipt{}, false, fmt.Errorf("read the receipt of a delivery: version %d is not known here", r.Version)
	}
	return r, true, nil
}

// needReceipt is readReceipt for a verb that can do nothing without one.
func needReceipt(b []byte) (receipt, error) {
	r, ok, err := readReceipt(b)
	if err == nil && !ok {
		err = errors.New("restore a delivery: it left no receipt; deliver again first, then restore")
	}
	return r, err
}

func hexOf(digest [sha256.Size]byte) string { return hex.EncodeToString(digest[:]) }
func hashOf(b []byte) string                { return hexOf(sha256.Sum256(b)) }
func pairOf(p fact.Pair) string             { return hexOf(p.Digest()) }

// whole refuses a pair that is none, before it gets anywhere.
func whole(id string, p fact.Pair) error {
	switch {
	case id == "":
		return errors.New("deliver: the id of the rotation is empty")
	case p.KeyID == "" || p.Secret.Empty():
		return errors.New("deliver: the pair lacks its key id or its secret")
	case strings.ContainsFunc(p.KeyID, notPrintable) || strings.ContainsFunc(p.Secret.Reveal(), notPrintable):
		return fmt.Errorf("deliver key %q: the pair holds characters that no access key has", p.KeyID)
	}
	return nil
}

// delivery is what every Deliver of a place of ours does around put: it refuses a pair that is none, reads the
// receipt of an earlier try (again: there is one), and gives back that of this try, or the earlier one where put gave none.
func delivery(id string, p fact.Pair, earlier []byte, put func(was receipt, again bool) (receipt, error)) ([]byte, error) {
	if err := whole(id, p); err != nil {
		return nil, err
	}
	was, again, err := readReceipt(earlier)
	if err != nil {
		return nil, err
	}
	out, err := put(was, again)
	if out.Pair == "" {
		return earlier, clean(err, p.Secret)
	}
	return out.encode(), clean(err, p.Secret)
}

// notPrintable is everything but the visible characters of ASCII, and those that would need quoting somewhere.
func notPrintable(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'\\#;", r) }

// clean makes sure that an error names no secret: one that does loses its text and keeps its kind.
func clean(err error, secrets ...fact.Secret) error {
	if err == nil {
		return nil
	}
	for _, s := range secrets {
		if !s.Empty() && shows(err.Error(), s) {
			safe := errors.New("the reason is withheld, for its text holds the secret")
			for _, kind := range []error{
				fact.ErrNotFound, fact.ErrDenied, fact.ErrThrottled, fact.ErrUnclear, ErrMoved, ErrNotRestorable,
				context.Canceled, context.DeadlineExceeded,
			} {
				if errors.Is(err, kind) {
					safe = fmt.Errorf("%w: %w", kind, safe)
				}
			}
			return safe
		}
	}
	return err
}
