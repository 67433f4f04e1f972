package fact

import (
	"slices"
	"strings"
)

// AccountState is where an account stands in its life, in the words of AWS Organizations.
type AccountState string

const (
	StateUnknown           AccountState = "" // not told
	StatePendingActivation AccountState = "PENDING_ACTIVATION"
	StateActive            AccountState = "ACTIVE"
	StateSuspended         AccountState = "SUSPENDED"
	StatePendingClosure    AccountState = "PENDING_CLOSURE"
	StateClosed            AccountState = "CLOSED"
)

// AccountStates are all states, the unknown one aside.
func AccountStates() []AccountState {
	return []AccountState{StatePendingActivation, StateActive, StateSuspended, StatePendingClosure, StateClosed}
}

// Valid tells whether it is a state that we know.
func (s AccountState) Valid() bool { return s == StateUnknown || slices.Contains(AccountStates(), s) }

// Readable tells whether IAM of an account in that state can be expected to answer. A state that we do not know
// counts as readable: to try costs a call, to leave an account out would call it clean.
func (s AccountState) Readable() bool {
	switch s {
	case StatePendingActivation, StateSuspended, StatePendingClosure, StateClosed:
		return false
	case StateUnknown, StateActive:
		return true
	default:
		return true
	}
}

// Unit is the root of an organisation or an organisational unit.
type Unit struct {
	ID     string // r-ab12, ou-ab12-cdefgh34
	Name   string // a root's is Root, unless somebody changed it; any text, a slash included
	Parent string // id of the unit above; empty for a root
	Path   string // names from the root down, joined by slashes: Root/Workloads/Prod
}

// Is tells whether ou names this unit, by id or by path, both letter for letter.
func (u Unit) Is(ou string) bool { return ou == u.ID || ou == u.Path }

// Member is one account of an organisation.
type Member struct {
	Account    // its OU and Tags only where they were read
	State      AccountState
	Management bool   // the account that holds the organisation
	Units      []Unit // above the account, root first; nil when not read
}

// Under tells whether the account is in the unit that ou names by id or by path, or anywhere below it. Where units
// were not read it is in none.
func (m Member) Under(ou string) bool {
	return slices.ContainsFunc(m.Units, func(u Unit) bool { return u.Is(ou) })
}

// Organization is what was read of an organisation.
type Organization struct {
	ID         string   // o-exampleorgid
	Management string   // id of the management account
	Members    []Member // sorted by id
	Units      []Unit   // sorted by path, then id; nil when not read
}

// Unit finds the unit that ou names by id or by path; of two with one path, which a slash in a name makes possible,
// the first. False: there is none, or units were not read.
func (o *Organization) Unit(ou string) (Unit, bool) {
	i := slices.IndexFunc(o.Units, func(u Unit) bool { return u.Is(ou) })
	if i < 0 {
		return Unit{}, false
	}
	return o.Units[i], true
}

// Member finds the account of that id.
func (o *Organization) Member(id string) (Member, bool) {
	i, found := slices.BinarySearchFunc(o.Members, id, func(m Member, id string) int { return strings.Compare(m.ID, id) })
	if !found {
		return Member{}, false
	}
	return o.Members[i], true
}
