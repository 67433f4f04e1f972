// Package sim is an organisation of any size in one process, for benchmarks and stories: ten thousand accounts of a
// hundred users, or fifty of five thousand, in some hundred megabytes.
//
// It knows which users fail: every account and every user follow from a seed, so that a run can be compared with what
// it should have found. Accounts are made when somebody asks about them and forgotten again, except for those that were
// changed. Beside AWS's own protocol it serves /sim/, where a clock is moved, keys are made, used and fixed, and calls
// are counted.
//
// It holds no secret and is no copy of any real company. Its promise: the same options make the same organisation, to
// the byte of every credential report.
package sim

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// Management is the id of the management account, which has as many users as the others.
const Management = "999999999999"

const defaultFailing = 0.05

// Accounts are read some hundreds at once where they are small, and fewer where they are large.
const keptUsers, keptAccounts = 50_000, 64

// Options describe an organisation.
type Options struct {
	Accounts int       // besides the management account
	Users    int       // in each
	Seed     uint64    // another seed, another organisation
	Now      time.Time // where the clock stands at first; all dates lie before it

	Failing   float64 // share of the users that fail a rule of the default ruleset; 0 means 0.05, negative none
	NoRole    float64 // share of the accounts in which nobody can assume a role; 0 means none
	Suspended float64 // share of the accounts that are suspended; 0 means none

	Role       string // the only one in each account, with its path; empty: every role exists
	ExternalID string // that Role asks for; empty: none

	Limits  fakeaws.Limits
	Latency time.Duration // of each call, in real time
}

// Validate reports every mistake of o at once.
func (o Options) Validate() error {
	var errs []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(o.Accounts < 0 || o.Accounts >= 1e6, "%d accounts: it can be up to 999,999", o.Accounts)
	check(o.Users < 0 || o.Users > 5000, "%d users in an account: AWS lets it have 5,000", o.Users)
	check(o.Now.IsZero(), "the time to begin with is not set")
	check(o.Failing > 1 || o.NoRole < 0 || o.Suspended < 0 || o.NoRole+o.Suspended > 1, "a share lies outside of 0 to 1")
	check(o.Role == "" && o.ExternalID != "", "the external id %q needs a role", o.ExternalID)
	return errors.Join(errs...)
}

// Sim is a simulated organisation. It is safe for concurrent use.
type Sim struct {
	options Options
	cloud   *fakeaws.Cloud
	admin   *http.ServeMux
}

// New makes an organisation; its users are made when somebody asks.
func New(o Options) (*Sim, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("simulate an organisation: %w", err)
	}
	if o.Failing == 0 {
		o.Failing = defaultFailing
	}
	o.Now = o.Now.UTC().Truncate(time.Second)
	s := &Sim{options: o, cloud: fakeaws.New(o.Now)}
	s.cloud.KeepLazy(max(keptUsers, keptAccounts*o.Users))
	s.cloud.Set(fakeaws.Switches{NoLog: true, Latency: o.Latency})
	s.add(fact.Account{ID: Management, Name: "management"}, o.Accounts)
	for i := range o.Accounts {
		a := s.add(fact.Account{ID: ID(i), Name: fmt.Sprintf("team-%05d", i), OU: unitOf(i)}, i)
		switch s.fate(i) {
		case suspended:
			a.SetState(fact.StateSuspended)
		case roleless:
			a.SetRoles()
		case readable:
			if o.Role != "" {
				a.SetRoles(fakeaws.Role{Name: o.Role, ExternalID: o.ExternalID})
			}
		}
	}
	if err := s.cloud.Organize(Management); err != nil {
		return nil, err
	}
	s.cloud.SetLimits(o.Limits)
	s.admin = s.routes()
	return s, nil
}

func (s *Sim) add(a fact.Account, i int) *fakeaws.Account {
	return s.cloud.AddLazyAccount(a, func() []fakeaws.User { return s.users(i) })
}

// Cloud is what answers as AWS.
func (s *Sim) Cloud() *fakeaws.Cloud { return s.cloud }

// ServeHTTP answers as AWS, and below /sim/ as the simulator.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/sim/") {
		s.admin.ServeHTTP(w, r)
		return
	}
	s.cloud.ServeHTTP(w, r)
}

// ID is the id of account i, from 0.
func ID(i int) string { return fmt.Sprintf("1%011d", i) }

// unitOf spreads the accounts over 40 teams in production and test, and a sandbox.
func unitOf(i int) string {
	switch i % 10 {
	case 9:
		return "Root/Sandbox"
	case 8:
		return fmt.Sprintf("Root/Workloads/Test/Team-%02d", i/10%20)
	default:
		return fmt.Sprintf("Root/Workloads/Prod/Team-%02d", i/10%20)
	}
}
