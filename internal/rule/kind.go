// Package rule judges access keys. It holds the catalogue, one kind of rule a file; the built-in rulesets
// and those of the user; accepted risks; and custom rules written as CEL expressions.
//
// It is pure: (facts, now) in, verdicts out. It reads no clock, no file and no account. Its promises: each
// rule's boundary is the one its doc comment states, to the nanosecond; every instant is in UTC and a day
// is 24 hours; a fact that was not read makes the verdict unknown wherever the fact could change the
// answer. Some are unknown more often than that: the rules for console users alone (key-created-with-user,
// key-never-used with console_only) wherever the password was not read, also where the rest would pass, for
// whether they judge the user at all is then open; and a custom rule whose expression asks for more than it needs.
package rule

import (
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// Day is 24 hours, always: no calendar, no time zone.
const Day = 24 * time.Hour

// Subject is what a kind of rule judges one by one.
type Subject string

const (
	ForKey  Subject = "key"  // each access key of each user but root
	ForUser Subject = "user" // each user but root
	ForRoot Subject = "root" // the root user
)

// KeyState says which access keys a kind with the subject ForKey judges; the others get no verdict.
type KeyState uint8

const (
	AnyKey KeyState = iota
	ActiveKey
	InactiveKey
)

// holds tells whether a key of that status is judged.
func (s KeyState) holds(active bool) bool {
	switch s {
	case ActiveKey:
		return active
	case InactiveKey:
		return !active
	default:
		return true
	}
}

// Params are the thresholds of a rule; each kind uses the few it names in Kind.Params.
type Params struct {
	Window      time.Duration // key-created-with-user: created this close together or closer fails
	MaxAge      time.Duration // key-age: older than this fails
	MaxActive   int           // multiple-active-keys: more than this fails
	MaxUnused   time.Duration // key-unused: idle for this long or longer fails
	Grace       time.Duration // key-never-used: never used at this age or older fails
	ConsoleOnly bool          // key-never-used: only keys of users who have a console password
	MaxInactive time.Duration // inactive-key: this age or older fails
}

// Kind is a kind of rule; a Rule is an instance of one with its own id, severity and thresholds.
type Kind struct {
	Name    string
	Subject Subject
	Keys    KeyState // with ForKey
	Params  []string // names, as in a ruleset file, of the thresholds it uses
	Default Params
	Terms   string // what a custom kind asks; empty for a built-in one, whose name and thresholds say it
	// NeedsLive: a report on disk cannot answer it. There it is not judged, and the audit says so.
	NeedsLive bool
	// Prepare gives the judge for these thresholds at that instant. A judge must not keep u or k. k is nil unless Subject is
	// ForKey, and then of a status that Keys holds. A judge is asked millions of times; what is the same for all of
	// them is made here.
	Prepare func(p *Params, now fact.Time) judge
	// When is since when a subject fails, or until when it passes; unknown where neither can be said. nil: it never can.
	When func(p *Params, u *fact.User, k *fact.Key, r Result) fact.Time
	// Explain says in one sentence, and in facts by snake_case name, why o came out.
	Explain func(p *Params, u *fact.User, k *fact.Key, now fact.Time, o Outcome) (string, map[string]any)
	// Remedy of a failing verdict.
	Remedy func(p *Params, u *fact.User, k *fact.Key) finding.Remedy
}

// judge answers for one subject. Missing says which reading an Undecided answer lacks.
type judge func(u *fact.User, k *fact.Key) (Result, Missing)

// outcome adds the instant to a judge's answer.
func (kind Kind) outcome(p *Params, u *fact.User, k *fact.Key, r Result, missing Missing) Outcome {
	o := Outcome{Result: r, Missing: missing}
	if kind.When != nil && (r == Passes || r == Fails) {
		o.At = kind.When(p, u, k, r)
	}
	return o
}

// Kinds is the catalogue, in the order in which rules are listed everywhere.
func Kinds() []Kind {
	return []Kind{
		rootAccessKey(), exposedKey(), keyAge(), keyCreatedWithUser(), multipleActiveKeys(),
		keyUnused(), keyNeverUsed(), inactiveKey(), passwordAndKey(),
	}
}

// FindKind returns the kind of that name.
func FindKind(name string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

// Outcome is a judged subject, before it is put in words.
type Outcome struct {
	Result  Result
	Missing Missing   // which reading an Undecided outcome lacks
	At      fact.Time // failing since, or passing until; unknown where neither can be said
}

// Result is the outcome of a rule for a subject. The zero value says that the rule does not apply to it.
type Result uint8

const (
	Inapplicable Result = iota // no verdict: an inactive key has no age to judge, ...
	Passes
	Fails
	Undecided
)

// Status is the word for a result that makes a verdict.
func (r Result) Status() finding.Status {
	switch r {
	case Passes:
		return finding.Pass
	case Fails:
		return finding.Fail
	default:
		return finding.Unknown
	}
}

// Missing names a reading that a verdict lacks. The zero value: none.
type Missing uint8

const (
	NothingMissing Missing = iota
	MissingKeys
	MissingCreated
	MissingUserCreated
	MissingLastUse
	MissingPassword
	MissingQuarantine
	MissingTags
	MissingUsers
	MissingFact // a fact that a custom rule's expression asks for
)

func (m Missing) String() string {
	switch m {
	case MissingKeys:
		return "the access keys could not be read"
	case MissingCreated:
		return "the key's creation time is not stated"
	case MissingUserCreated:
		return "the user's creation time is not stated"
	case MissingLastUse:
		return "the key's last use could not be read"
	case MissingPassword:
		return "whether the user has a console password could not be read"
	case MissingQuarantine:
		return "whether a quarantine policy is attached could not be read"
	case MissingTags:
		return "what its scope asks for (tags, account or organisational unit) could not be read"
	case MissingUsers:
		return "the account's users could not be read"
	case MissingFact:
		return "a fact that the expression asks for could not be read"
	default:
		return "nothing is missing"
	}
}

func undecided(m Missing) Outcome { return Outcome{Result: Undecided, Missing: m} }
func days(d time.Duration) int    { return int(d / Day) } // whole days, rounded down: 90.9 days are 90
func remedy(r finding.Remedy) func(*Params, *fact.User, *fact.Key) finding.Remedy {
	return func(*Params, *fact.User, *fact.Key) finding.Remedy { return r }
}
