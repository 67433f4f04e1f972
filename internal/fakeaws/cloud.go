// Package fakeaws is an organisation of AWS accounts in memory, served over HTTP on this machine. It feeds
// the tests and the demo.
//
// It knows the parts of IAM and STS that keyreeve uses, in AWS's query protocol, so that the real SDK and
// the AWS CLI talk to it: users, access keys, passwords, tags, quarantine policies, assumed roles, the
// credential report with its states and its four hours. Its clock is moved by hand. Faults are switches:
// throttling, denial, broken connections before and after a call took effect, held calls, short pages, lag,
// stale lists of keys.
//
// It checks no signature and evaluates no policy: a credential is the account it belongs to, limited to a list
// of actions where a test says so. It is no place for secrets; those it hands out are invented.
//
// Its promise: one contract suite in awsiam runs against it and against moto, an emulator written by
// others, so it does not drift into a world of its own.
package fakeaws

import (
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
}

// Cloud is the organisation. Its methods are safe for concurrent use.
type Cloud struct {
	mu       sync.Mutex
	now      time.Time
	switches Switches
	accounts []*Account
	sessions map[string]*session // by access key id
	faults   []*fault
	random   *rand.Rand
	calls    []Call
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
	return &Cloud{now: now.UTC(), sessions: map[string]*session{}, random: rand.New(rand.NewPCG(1, 2))}
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

// AddAccount adds an account: a.ID must have twelve digits, a.Partition may be empty for aws, a.Name is
// the alias. An account that is there already is returned as it is.
func (c *Cloud) AddAccount(a fact.Account) *Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, old := range c.accounts {
		if old.id == a.ID {
			return old
		}
	}
	if a.Partition == "" {
		a.Partition = "aws"
	}
	out := &Account{
		cloud: c, id: a.ID, partition: a.Partition, alias: a.Name,
		rootCreated: c.now.AddDate(-5, 0, 0), users: map[string]*user{},
		allowed: map[string][]string{}, extra: map[string]bool{},
	}
	c.accounts = append(c.accounts, out)
	return out
}

// Account is the account of that id, or nil.
func (c *Cloud) Account(id string) *Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.accounts {
		if a.id == id {
			return a
		}
	}
	return nil
}

// Accounts are all accounts in the order they were added.
func (c *Cloud) Accounts() []*Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.accounts)
}

// Calls are the calls so far, in the order of arrival.
func (c *Cloud) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// ResetCalls empties the log and Peak.
func (c *Cloud) ResetCalls() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls, c.peak = nil, 0
}

// Peak is the largest number of requests that were under way at once.
func (c *Cloud) Peak() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peak
}

// ServeHTTP answers one request of the query protocol.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.serve(w, r) }
