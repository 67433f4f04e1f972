// Package finding holds what was judged: a verdict says that one rule, about one user or one access key,
// fails, passes, is unknown or is excepted; an audit is all verdicts of one run with the evidence they
// rest on and everything that stands beside them (gaps, exceptions, what was not judged).
//
// It judges nothing and prints nothing. Its promises: a verdict's fingerprint stays the same from run to
// run and from report to live evidence, the order of verdicts is total, and two audits can be compared.
package finding

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Status is the outcome of one rule for one subject.
type Status string

const (
	Fail     Status = "fail"
	Pass     Status = "pass"
	Unknown  Status = "unknown"  // evidence that the rule needs could not be read: never guessed
	Excepted Status = "excepted" // it fails, and an accepted risk in force covers it
)

// Statuses lists every Status.
func Statuses() []Status { return []Status{Fail, Pass, Unknown, Excepted} }

// Severity says how much a failing verdict weighs.
type Severity string

const (
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

// Severities lists every Severity, lightest first.
func Severities() []Severity { return []Severity{Low, Medium, High, Critical} }

// Valid tells whether s is one of Severities.
func (s Severity) Valid() bool { return s.Rank() > 0 }

// Rank orders severities: 1 for low to 4 for critical, 0 for anything else.
func (s Severity) Rank() int {
	switch s {
	case Low:
		return 1
	case Medium:
		return 2
	case High:
		return 3
	case Critical:
		return 4
	default:
		return 0
	}
}

// Remedy is what the sources teach to do about a failing verdict.
type Remedy string

const (
	Rotate     Remedy = "rotate"     // create, deliver, test, deactivate, wait days, check last use, delete
	Deactivate Remedy = "deactivate" // deactivate, wait, delete
	Delete     Remedy = "delete"     // delete after the quiet period
	KeepOne    Remedy = "keep-one"   // keep the key that works, deactivate the others, read back
	Guide      Remedy = "guide"      // never automatic: exact steps for a person
)

// Remedies lists every Remedy.
func Remedies() []Remedy { return []Remedy{Rotate, Deactivate, Delete, KeepOne, Guide} }

// Verdict is one rule's answer about one user, or about one of its access keys.
type Verdict struct {
	ID       string // Fingerprint
	Rule     string // id of the rule as the ruleset names it
	Kind     string // kind of rule, such as key-age
	Title    string // of the rule, a short claim for headings
	Status   Status
	Severity Severity
	Account  fact.Account
	User     string
	UserARN  string
	Key      *fact.Key      // nil when the verdict is about the user
	Message  string         // one sentence about the subject
	Facts    map[string]any // numbers and short strings the verdict rests on, by snake_case name
	Since    fact.Time      // failing since; unknown when the evidence cannot tell
	Due      fact.Time      // passing, but fails from then on if nothing changes; else unknown
	Remedy   Remedy         // what to do about a failing verdict; else empty
	Controls []Control
	// Exception is the accepted risk that covers the verdict; nil unless Status is Excepted.
	Exception *Exception
}

// Control names the requirements of one framework that a rule serves.
type Control struct {
	Framework string   // such as CIS AWS Foundations 5.0
	IDs       []string // as the framework prints them
}

// Exception is an accepted risk: who accepted it, why, and until when.
type Exception struct {
	Rule    string            // id, alias or *
	Account string            // twelve digits, or *
	User    string            // name, glob or ARN; matched whole
	Key     string            // access key id; empty means any
	Tag     map[string]string // of the user; live evidence only
	Reason  string
	Owner   string
	Expires fact.Time // from this instant on it no longer holds
	Origin  string    // file and line where it stands
}

// Fingerprint identifies what a verdict is about, whatever evidence it came from: the rule, the account,
// the user and, for a key, the second of its creation, which reports and live readings share while only
// the latter know key ids. nth tells apart keys of one user made in the same second, from 0.
func Fingerprint(rule, account, user string, key *fact.Key, nth int) string {
	var b strings.Builder
	for _, s := range []string{"keyreeve.verdict/1", rule, account, user} {
		b.WriteString(strconv.Quote(s))
	}
	if key != nil {
		made := "unknown"
		if key.Created.Known() {
			made = strconv.FormatInt(key.Created.Unix(), 10)
		}
		b.WriteString(" key " + made + " " + strconv.Itoa(nth))
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:12])
}

// Compare is the order of verdicts in every output: account, user, key creation time (verdicts about the
// user first), rule; then what tells apart keys made in the same second.
func Compare(a, b *Verdict) int {
	if c := cmp.Compare(a.Account.ID, b.Account.ID); c != 0 {
		return c
	}
	if c := cmp.Compare(a.User, b.User); c != 0 {
		return c
	}
	if c := compareKeys(a.Key, b.Key); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Rule, b.Rule); c != 0 {
		return c
	}
	return cmp.Compare(a.ID, b.ID)
}

func compareKeys(a, b *fact.Key) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	default:
		return a.Created.Compare(b.Created)
	}
}
