// Package notice tells people and machines what changed: a verdict opened or closed, a due date comes near, a
// rotation waits for a person, an account cannot be read, an exception is about to end.
//
// It knows which channels a change goes to and who is told (Routing), how changes become a message (Compose), how a
// message reads in plain text, Markdown and JSON, and when a delivery is tried again (Sender). It opens no connection:
// channels are given to it, and so is the outbox in which messages wait.
//
// It refuses to tell the same twice: each change has an id that depends on nothing but the change and the channel, and
// the outbox takes an id once. No text of an account (names, tags, messages of AWS) can break a line, open a tag or
// call somebody's name in a message.
//
// Its promise is at least once: a message is marked sent right after its channel took it. A process that is killed
// between the two sends it again, with the same id; without a kill each message is sent exactly once. A channel that
// is dead or slow keeps only its own messages waiting.
package notice

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// Kind is what kind of change a notice tells.
type Kind string

const (
	Opened     Kind = "opened"     // a verdict fails that did not fail before
	Closed     Kind = "closed"     // it fails no more: Change.Why says why
	DueSoon    Kind = "due-soon"   // it passes, and fails from its due date on
	Overdue    Kind = "overdue"    // it still fails, some time after it opened
	Waits      Kind = "waits"      // a rotation waits for a person
	Unreadable Kind = "unreadable" // an account could not be read
	Expiring   Kind = "expiring"   // an accepted risk ends soon, and what it covers fails again
)

// Kinds lists every Kind, the most urgent first.
func Kinds() []Kind { return []Kind{Opened, Overdue, Unreadable, Waits, Expiring, DueSoon, Closed} }

// Valid tells whether k is one of Kinds.
func (k Kind) Valid() bool { return slices.Contains(Kinds(), k) }

// verdict tells whether changes of that kind are about a verdict.
func (k Kind) verdict() bool { return k == Opened || k == Closed || k == DueSoon || k == Overdue }

// Reason is why a verdict closed.
type Reason string

const (
	Fixed       Reason = "fixed"        // what failed passes
	Excepted    Reason = "excepted"     // it fails, and an accepted risk covers it now
	UserGone    Reason = "user gone"    // the user, or its key, was deleted
	RuleChanged Reason = "rule changed" // the rule asks for something else now, or is no longer judged
	AccountGone Reason = "account gone" // its account left the organisation, or was closed
)

// Reasons lists every Reason.
func Reasons() []Reason { return []Reason{Fixed, Excepted, UserGone, RuleChanged, AccountGone} }

// Valid tells whether r is one of Reasons.
func (r Reason) Valid() bool { return slices.Contains(Reasons(), r) }

// Change is one thing that is new. Of its records, the one that its kind asks for is not nil.
type Change struct {
	Kind Kind
	// At is the instant that makes the change what it is, in UTC: when the verdict opened or closed, when the reminder
	// fell due, when the rotation began to wait, since when the account cannot be read, when the exception ends. It is
	// part of the change's id: the same change must always come with the same instant.
	At      time.Time
	Why     Reason // of Closed; else empty
	Account fact.Account
	// Tags are those of the user whom the change is about, by which its owner is found; nil where none were read. The
	// console keeps a key's description in a tag whose name is the key's id. Tags are never part of a message.
	Tags map[string]string

	Verdict   *finding.Verdict   // of Opened, Closed, DueSoon and Overdue
	Rotation  *Rotation          // of Waits
	Gap       *fact.Gap          // of Unreadable: what could not be read, and why
	Exception *finding.Exception // of Expiring
}

// Rotation is what a notice tells of a rotation that waits.
type Rotation struct {
	ID    string
	State string // held, blocked or conflict
	Why   string // a sentence
	User  string
	KeyID string // of the key that is replaced; empty: none
}

// Validate tells what a change lacks to be told.
func (c *Change) Validate() error {
	var lacks string
	switch {
	case !c.Kind.Valid():
		return fmt.Errorf("a change of the unknown kind %q", string(c.Kind))
	case c.At.IsZero():
		lacks = "its instant"
	case c.Kind == Closed && !c.Why.Valid():
		lacks = "why it closed"
	case c.Kind.verdict() && (c.Verdict == nil || c.Verdict.ID == ""):
		lacks = "its verdict"
	case c.Kind == Waits && (c.Rotation == nil || c.Rotation.ID == ""):
		lacks = "its rotation"
	case c.Kind == Unreadable && (c.Gap == nil || c.Account.ID == ""):
		lacks = "its account or its gap"
	case c.Kind == Expiring && c.Exception == nil:
		lacks = "its exception"
	default:
		return nil
	}
	return errors.New("a change of kind " + string(c.Kind) + " lacks " + lacks)
}

// subject identifies what c is about, the same in every run.
func (c *Change) subject() string {
	switch {
	case c.Kind.verdict():
		return c.Verdict.ID
	case c.Rotation != nil:
		return c.Rotation.ID + " " + c.Rotation.State
	case c.Exception != nil:
		e := c.Exception
		return fmt.Sprintf("%q %q %q %q", e.Rule, e.Account, e.User, e.Key)
	default:
		return c.Account.ID
	}
}

// severity is that of the verdict; empty where the change is about none.
func (c *Change) severity() finding.Severity {
	if c.Verdict == nil {
		return ""
	}
	return c.Verdict.Severity
}

// rule is the id of the rule that c is about; empty where it is about none.
func (c *Change) rule() string {
	switch {
	case c.Verdict != nil:
		return c.Verdict.Rule
	case c.Exception != nil:
		return c.Exception.Rule
	default:
		return ""
	}
}

// ItemID is the id of c in a channel. It depends on the channel, the kind, what the change is about and its instant,
// to the microsecond, and on nothing else: composed twice, a change is the same notice.
func (c *Change) ItemID(channel string) string {
	return hashed("item", channel, string(c.Kind), c.subject(), strconv.FormatInt(c.At.UnixMicro(), 10))
}

// hashed is 24 hex digits by which parts are told from all others.
func hashed(parts ...string) string {
	h := sha256.New()
	for _, p := range append([]string{Schema}, parts...) {
		h.Write([]byte(strconv.Quote(p)))
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}
