// Package history compares what is judged of an account now with what stood open before, and says what opened, what
// closed and why.
//
// It knows the life of a verdict: it opens when it fails for the first time, stays open while it fails, and closes
// once, with a reason; failing again later, it opens anew. It is pure: no clock, no account, no database, which keep
// and give it what is open.
//
// It refuses to close what it did not see: of a user, a rule or an account that could not be judged, everything stays
// open, last seen when it was. Its promises: comparing the same observation twice changes nothing the second time;
// every open entry of the account is either still seen, unseen, or closed with a reason.
package history

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// Reason says why a verdict closed.
type Reason string

const (
	Fixed       Reason = "fixed"        // it was judged, and no longer fails
	Excepted    Reason = "excepted"     // it fails, and an accepted risk covers it now
	UserGone    Reason = "user-gone"    // its user was deleted, or lost its name
	RuleChanged Reason = "rule-changed" // the rule is gone, has other terms now, or is not meant for the user any more
	AccountGone Reason = "account-gone" // its account left the organisation, or was closed
)

// Reasons lists every Reason.
func Reasons() []Reason { return []Reason{Fixed, Excepted, UserGone, RuleChanged, AccountGone} }

// Entry is one time that a verdict was open. All instants are UTC, to the microsecond.
type Entry struct {
	ID       string    // finding.Fingerprint of the verdict; with OpenedAt it names the entry
	OpenedAt time.Time // when it was first judged to fail
	Account  string
	User     string
	Rule     string
	Kind     string
	Title    string
	Severity finding.Severity
	Remedy   finding.Remedy
	Message  string // as it was when the entry opened: later it would be older by some days

	KeyID      string            // empty while it is not known, and for a verdict about a user
	KeyCreated fact.Time         // unknown also for a verdict about a user
	Since      fact.Time         // failing since, by the evidence; unknown when that cannot tell
	Tags       map[string]string // of the user; nil where they were not read

	Terms    string    // Observation.Terms of its rule when it was last seen
	SeenAt   time.Time // when it was last judged to fail; zero: whenever its account was last judged
	ClosedAt time.Time // zero: it is open
	Why      Reason    // empty while it is open
}

// Open tells whether the entry is open.
func (e *Entry) Open() bool { return e.ClosedAt.IsZero() }

// Observation is what was judged of one account at one instant.
type Observation struct {
	Account   fact.Account
	At        time.Time // the instant judged at, UTC
	Evidence  fact.Evidence
	Ruleset   string
	Complete  bool
	Gaps      []fact.Gap
	UsersRead bool // false: the list of users was not, or not wholly, read

	Users      int // root not counted
	Keys       int
	ActiveKeys int
	Ages       map[int]int // active keys by AgeStep of their age

	Tags func(user string) map[string]string // of a user, nil where they were not read; nil: none were
	Has  func(user string) bool              // whether a user of that name exists; asked only where UsersRead
	// Of is the instant of which is true what is said of a user. nil: At.
	Of       func(user string) time.Time
	Outside  func(rule, user string) bool // whether a rule is not meant for a user who exists; nil: none is
	Terms    map[string]string            // by the id of each rule of the ruleset: a digest of what it asks
	Unjudged []string                     // ids of those rules that this evidence could not answer
	Verdicts []finding.Verdict            // failing, unknown and excepted ones
	Due      []Due                        // passing ones that fail soon; nil: none was looked for
}

// Due is a verdict that passes, and fails from an instant on if nothing changes.
type Due struct {
	ID         string // finding.Fingerprint
	User       string
	Rule       string
	Kind       string
	Title      string
	Severity   finding.Severity
	KeyID      string // empty where it is not known
	KeyCreated fact.Time
	At         time.Time         // UTC
	Tags       map[string]string // of the user; nil where they were not read
}

// Changes are what an observation changed.
type Changes struct {
	Account fact.Account
	At      time.Time
	Opened  []Entry
	Closed  []Entry  // with ClosedAt, SeenAt and Why
	Changed []Entry  // still open, with another severity, key id, terms or tags
	Unseen  []string // ids of entries that could not be judged this time, and could before
	Seen    []string // ids of entries that can be judged again
}

// Empty tells that nothing opened, closed or changed. Entries that were not seen are no change to people.
func (c *Changes) Empty() bool { return len(c.Opened)+len(c.Closed)+len(c.Changed) == 0 }

// Compare takes the open entries of the account and when it was last judged, and says what the observation changes.
func Compare(open []Entry, last time.Time, now *Observation) Changes {
	c := Changes{Account: now.Account, At: now.At}
	stands := make(map[string]bool, len(open))
	for i := range open {
		stands[open[i].ID] = true
	}
	failing := map[string]*finding.Verdict{}
	excepted := map[string]bool{}
	unknown := map[[2]string]bool{} // rule and user
	for i := range now.Verdicts {
		v := &now.Verdicts[i]
		switch v.Status {
		case finding.Fail:
			if stands[v.ID] || !now.outdated(v.User, last) {
				failing[v.ID] = v
			}
		case finding.Excepted:
			excepted[v.ID] = true
		case finding.Unknown:
			unknown[[2]string{v.Rule, v.User}] = true
		case finding.Pass:
		}
	}
	for _, e := range open {
		v, fails := failing[e.ID]
		switch {
		case fails:
			delete(failing, e.ID)
			c.stillOpen(e, v, now)
		case excepted[e.ID]:
			c.close(e, last, now.At, Excepted)
		case !now.judged(&e, last, unknown):
			if e.SeenAt.IsZero() {
				c.Unseen = append(c.Unseen, e.ID)
			}
		case now.Terms[e.Rule] == "":
			c.close(e, last, now.At, RuleChanged)
		case e.User != fact.RootName && !now.Has(e.User):
			c.close(e, last, now.At, UserGone)
		case now.Terms[e.Rule] != e.Terms, now.Outside != nil && now.Outside(e.Rule, e.User):
			c.close(e, last, now.At, RuleChanged)
		default:
			c.close(e, last, now.At, Fixed)
		}
	}
	for _, v := range failing {
		c.Opened = append(c.Opened, now.entry(v))
	}
	for _, list := range [][]Entry{c.Opened, c.Closed, c.Changed} {
		slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	}
	return c
}

// outdated tells whether what is said of the user is older than what was said of it when the account was last judged: then it
// opens and closes nothing.
func (now *Observation) outdated(user string, last time.Time) bool {
	return now.Of != nil && now.Of(user).Before(last)
}

// judged tells whether the observation can say anything of the entry. A rule that is gone is judged: it asks nothing.
func (now *Observation) judged(e *Entry, last time.Time, unknown map[[2]string]bool) bool {
	if now.Terms[e.Rule] == "" {
		return true
	}
	return now.UsersRead && !now.outdated(e.User, last) && !unknown[[2]string{e.Rule, e.User}] && !slices.Contains(now.Unjudged, e.Rule)
}

func (c *Changes) stillOpen(e Entry, v *finding.Verdict, now *Observation) {
	if !e.SeenAt.IsZero() {
		c.Seen = append(c.Seen, e.ID)
	}
	id := e.KeyID
	if v.Key != nil && v.Key.ID != "" {
		id = v.Key.ID
	}
	tags := e.Tags
	if now.Tags != nil && now.Tags(e.User) != nil {
		tags = now.Tags(e.User)
	}
	if e.Severity == v.Severity && e.KeyID == id && e.Terms == now.Terms[e.Rule] && (tags == nil) == (e.Tags == nil) && maps.Equal(tags, e.Tags) {
		return
	}
	e.Severity, e.KeyID, e.Terms, e.Tags, e.SeenAt = v.Severity, id, now.Terms[e.Rule], tags, time.Time{}
	c.Changed = append(c.Changed, e)
}

func (c *Changes) close(e Entry, last, at time.Time, why Reason) {
	if e.SeenAt.IsZero() {
		e.SeenAt = last
	}
	e.ClosedAt, e.Why = at, why
	c.Closed = append(c.Closed, e)
}

// entry opens the verdict.
func (now *Observation) entry(v *finding.Verdict) Entry {
	e := Entry{
		ID: v.ID, OpenedAt: now.At, Account: v.Account.ID, User: v.User, Rule: v.Rule, Kind: v.Kind, Title: v.Title,
		Severity: v.Severity, Remedy: v.Remedy, Message: v.Message, Since: v.Since, Terms: now.Terms[v.Rule],
	}
	if v.Key != nil {
		e.KeyID, e.KeyCreated = v.Key.ID, v.Key.Created
	}
	if now.Tags != nil {
		e.Tags = now.Tags(v.User)
	}
	return e
}

// Leave closes everything that is open of an account that is no more.
func Leave(open []Entry, a fact.Account, last, at time.Time) Changes {
	c := Changes{Account: a, At: at}
	for _, e := range open {
		c.close(e, last, at, AccountGone)
	}
	return c
}
