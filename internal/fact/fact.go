// Package fact holds what is known of the access keys of an AWS account, in the words of the field:
// account, user, access key, use, snapshot, gap, secret.
//
// It knows no rule, no format and no AWS client, imports the standard library only, and every other
// package speaks in its types. Its promise: what could not be read is a value of its own. The zero value
// of Answer and of Time says "unknown", so a field that nobody filled in never passes for an answer.
package fact

import "strings"

// Answer is the answer to a yes-or-no question about an account. The zero value is Unknown.
type Answer uint8

const (
	Unknown Answer = iota // not read, or not readable in this kind of evidence
	No
	Yes
)

// YesNo turns a reading that succeeded into an Answer.
func YesNo(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

func (a Answer) String() string {
	switch a {
	case Yes:
		return "yes"
	case No:
		return "no"
	default:
		return "unknown"
	}
}

// RootName is the name under which the credential report lists the root user; no IAM user can bear it.
const RootName = "<root_account>"

// Account is one AWS account.
type Account struct {
	ID        string            // twelve digits; empty when nothing in the evidence names it
	Partition string            // aws, aws-cn, aws-us-gov, aws-iso..., aws-eusc; empty with ID
	Name      string            // alias or organisation name; empty when it has none or none was read
	OU        string            // path of organisational units such as Root/Workloads/Prod; empty when not read
	Tags      map[string]string // of the account in its organisation; nil when not read

	Organization string // id of the organisation that lists it (o-...); empty where none was asked
}

// IsAccountID tells whether the text is the id of an account: twelve ASCII digits.
func IsAccountID(text string) bool {
	return len(text) == 12 && strings.Trim(text, "0123456789") == ""
}

// User is one IAM user, or the root user, with its access keys.
type User struct {
	Name    string // RootName for root
	ARN     string
	Path    string // from the ARN, "/" at least; empty for root
	ID      string // unique id (AIDA...), live evidence only; tells a re-created user from the old one
	Root    bool
	Created Time

	Password         Answer // has a console password (login profile)
	PasswordLastUsed Time
	MFA              Answer

	Keys     []Key // in the order of the evidence; a list, for a user can hold more than two
	KeysRead bool  // false: the keys could not be read, and an empty Keys says nothing
	// Confirmed: the evidence is a credential report, and the keys were read again after it.
	Confirmed bool
	// KeysPresent is for live evidence of root, where AWS tells only that keys exist, not which.
	// Elsewhere it stays Unknown and Keys answers.
	KeysPresent Answer

	Quarantine Answer   // an AWSCompromisedKeyQuarantine* policy is attached; Unknown in a report file
	Policies   []string // names of those policies, sorted

	Tags     map[string]string
	TagsRead bool
}

// HasKeys tells whether the user holds any key, active or not.
func (u *User) HasKeys() Answer {
	if u.KeysRead {
		return YesNo(len(u.Keys) > 0)
	}
	return u.KeysPresent
}

// ActiveKeys counts the active keys; it says nothing when KeysRead is false.
func (u *User) ActiveKeys() int {
	n := 0
	for i := range u.Keys {
		if u.Keys[i].Active {
			n++
		}
	}
	return n
}

// Key is one access key. Its secret is never part of it.
type Key struct {
	ID       string // AKIA...; empty where only a report was read, for the report names no keys
	Slot     int    // 1 or 2: the report's column; 0 in live evidence. Slot 1 is not the older key.
	Active   bool
	Created  Time // Unknown when an active key stands beside an N/A date: contradictory, but never dropped
	LastUsed Use
}

// Use is the last use that AWS recorded of a key. AWS records the first use of each 15 minutes and shows
// it minutes later.
type Use struct {
	At      Time   // Never: no use since 2015-04-22, when AWS began to record
	Region  string // empty or N/A also for a used key: S3 and other non-regional services have none
	Service string
}

// Source is where evidence came from.
type Source string

const (
	ReportFile Source = "report-file" // a credential report on disk or standard input
	Report     Source = "report"      // a credential report that we asked AWS for
	Live       Source = "live"        // every user read by its own calls
)

// Evidence says what a snapshot rests on and how old it is.
type Evidence struct {
	Source      Source
	Path        string // of a report file, "-" for standard input; else empty
	GeneratedAt Time   // when AWS made the report; Unknown in a CSV, which does not state it
	ReadAt      Time   // when it was read from AWS; Unknown for a file
	Newest      Time   // the latest date inside the evidence: it cannot have been made before
}

// MadeAt is the moment the evidence speaks of: the making of a report, the reading of live evidence.
func (e Evidence) MadeAt() Time {
	if e.GeneratedAt.Known() {
		return e.GeneratedAt
	}
	return e.ReadAt
}

// Gap is a reading that did not succeed. Verdicts that need it are unknown, and the audit is incomplete.
type Gap struct {
	Account string
	Reading string // in the words of the IAM API: ListAccessKeys, GetLoginProfile, ...
	Subject string // the user or key whose reading it is; empty for the account
	Why     string
	Denied  bool // the credentials lack the permission that Why names
}

// Snapshot is what was read of one account, and what was not.
type Snapshot struct {
	Account  Account
	Evidence Evidence
	Users    []User // sorted by name, root first
	// UsersRead false: the list of users could not be read, and Users holds only those known otherwise.
	UsersRead      bool
	QuarantineRead bool // false: who is quarantined was not, or not wholly, read
	Gaps           []Gap
	Gone           []string // users that the evidence lists and that no longer exist, sorted
}
