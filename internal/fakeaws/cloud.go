// Package fakeaws is an organisation of AWS accounts in memory, served over HTTP on this machine. It feeds
// the tests and the demo.
//
// It knows the parts of IAM, STS and Organizations that keyreeve uses, in AWS's own protocols, so that the real
// SDK and the AWS CLI talk to it: users, access keys, passwords, tags, quarantine policies, assumed roles, the
// credential report with its states and its four hours, units, and accounts by the thousand, made when somebody
// asks. Its clock is moved by hand. Faults are switches: throttling at random or by limits like AWS's, denial,
// broken connections before and after a call took effect, held calls, short and empty pages, lag, stale lists of
// keys.
//
// It checks no signature and evaluates no policy: a credential is the account it belongs to, limited to a list
// of actions where a test says so, and a role lets in who has its external id. It is no place for secrets; those
// it hands out are invented.
//
// Its promise: one contract suite in awsiam runs against it and against moto, an emulator written by
// others, so it does not drift into a world of its own.
package fakeaws

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Switches are the habits of a Cloud. The zero value is AWS on a good day.
type Switches struct {
	PageSize    int           // most items in one answer; 0 means as many as were asked for, else 100
	ReportPolls int           // calls that find the report unfinished, the first included; 0: made at once
	UseLag      time.Duration // until a use of a key shows
	KeyLag      time.Duration // until a key that was just made can be used
	Skew        time.Duration // how far the Date of the answers is ahead of this machine's clock
	StaleReads  int           // of a user by ListAccessKeys that still show its keys as before their last change over HTTP

	EmptyPages bool // each listing of Organizations begins and ends with a page of nothing, and has one between any two
	NoState    bool // accounts of an organisation have the old Status only
	NoStatus   bool // they have the new State only

	Latency time.Duration // of each call, in real time: for benchmarks
	NoLog   bool          // Calls stays empty, so that a long run costs no memory
}

// Cloud is the organisation. Its methods are safe for concurrent use.
type Cloud struct {
	mu       sync.Mutex
	now      time.Time
	switches Switches
	limits   Limits
	accounts []*Account
	byID     map[string]*Account
	owners   map[string]*Account // by the access key id of a user, or one that Allow made known
	org      *organization       // nil: none
	lazy     lazy
	sessions map[string]*session // by access key id
	faults   []*fault
	random   *rand.Rand
	calls    []Call
	counts   map[string]Count
	holds    []*hold
	onCall   func(action string, phase Phase)
	inFlight int
	peak     int
	serial   int // of ids made up
}

// Call is one HTTP request that named a known action.
type Call struct {
	Account string // empty when the credentials were unknown
	Action  string // as a policy names it: iam:ListUsers
	Params  url.Values
	Code    string // error code answered; empty for success; "reset" where the connection was broken
}

// New is an organisation without accounts, its clock at now.
func New(now time.Time) *Cloud {
	return &Cloud{
		now: now.UTC(), byID: map[string]*Account{}, owners: map[string]*Account{}, sessions: map[string]*session{},
		counts: map[string]Count{}, lazy: lazy{most: lazyUsers}, random: rand.New(rand.NewPCG(1, 2)),
	}
}

// Now is the time of the Cloud's clock, which stands still until moved.
func (c *Cloud) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// SetNow moves the clock, forwards or back.
func (c *Cloud) SetNow(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t.UTC()
}

// Set replaces the switches.
func (c *Cloud) Set(s Switches) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.switches = s
}

// AddAccount adds an account: a.ID must have twelve digits, a.Partition may be empty for aws, a.Name is the
// alias and the name in the organisation, a.OU the path of its place there (empty for the root), a.Tags are its
// tags there. An account that is there already is returned as it is.
func (c *Cloud) AddAccount(a fact.Account) *Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addAccount(a)
}

func (c *Cloud) addAccount(a fact.Account) *Account {
	if old := c.byID[a.ID]; old != nil {
		return old
	}
	if a.Partition == "" {
		a.Partition = "aws"
	}
	out := &Account{
		cloud: c, id: a.ID, partition: a.Partition, alias: a.Name, name: a.Name, place: a.OU, tags: maps.Clone(a.Tags),
		state: fact.StateActive, rootCreated: c.now.AddDate(-5, 0, 0),
	}
	c.accounts = append(c.accounts, out)
	c.byID[a.ID] = out
	if c.org != nil && c.org.all {
		c.org.put(out, out.place)
	}
	return out
}

// Account is the account of that id, or nil.
func (c *Cloud) Account(id string) *Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byID[id]
}

// Accounts are all accounts in the order they were added.
func (c *Cloud) Accounts() []*Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.accounts)
}

// Calls are the calls so far, in the order of arrival; none with Switches.NoLog.
func (c *Cloud) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// Count is how often an action was called.
type Count struct {
	Calls     int `json:"calls"`
	Throttled int `json:"throttled"` // of them, turned away for now
	Failed    int `json:"failed"`    // of them, answered with another error, or with a broken connection
}

// Counts are the calls so far by action, as a policy names it.
func (c *Cloud) Counts() map[string]Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

func (c *Cloud) note(call Call) {
	n := c.counts[call.Action]
	n.Calls++
	switch call.Code {
	case "":
	case throttling, tooManyRequests:
		n.Throttled++
	default:
		n.Failed++
	}
	c.counts[call.Action] = n
	if !c.switches.NoLog {
		c.calls = append(c.calls, call)
	}
}

// ResetCalls empties the log, Counts and Peak.
func (c *Cloud) ResetCalls() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls, c.counts, c.peak = nil, map[string]Count{}, 0
}

// Peak is the largest number of requests that were under way at once.
func (c *Cloud) Peak() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peak
}

// ServeHTTP answers one request of the query protocol, or of the JSON protocol for Organizations.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.serve(w, r) }
