package history

import (
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Known is what the history knows of an account before it is read again. The zero value, and nil, know nothing.
type Known struct {
	JudgedAt time.Time                  // when it was last judged; zero: never
	Keys     map[KnownKey]string        // ids of keys about which something is open
	Open     map[string]map[string]bool // ids of open verdicts, by user
}

// KnownKey tells a key by what a report says of it.
type KnownKey struct {
	User    string
	Created int64 // Unix time, in seconds
}

// Key is the id of a key, by its user and the second of its creation; empty where it is not known.
func (k *Known) Key(user string, created fact.Time) string {
	if k == nil {
		return ""
	}
	return k.Keys[KnownKey{user, created.Unix()}]
}

// Outdates tells whether the account was judged after the evidence was made, so that the history may know better than the evidence.
func (k *Known) Outdates(e *fact.Evidence) bool {
	return k != nil && e.GeneratedAt.Known() && e.GeneratedAt.Time().Before(k.JudgedAt)
}
