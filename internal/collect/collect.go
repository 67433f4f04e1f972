// Package collect reads the evidence of one account through a narrow Reader and turns it into a
// fact.Snapshot: from one credential report (Report) or by asking about every user (Live). Confirm reads
// the keys of chosen users again, so that findings carry key ids and speak of now.
//
// It judges nothing and can change nothing. Its promise: a reading that did not succeed leaves a gap and
// an unknown fact, never an empty answer; only the caller's identity is indispensable, for without it
// there is no account to speak of.
package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Reader reads what stands for the whole account. Its errors wrap fact.ErrNotFound where what was asked
// about does not exist (any more).
type Reader interface {
	// Caller tells whose credentials these are.
	Caller(ctx context.Context) (fact.Caller, error)
	// Alias is the account's alias, empty when it has none.
	Alias(ctx context.Context) (string, error)
	// Quarantined gives the users to whom AWS attached a policy for exposed keys, with the policies'
	// names. What it found before an error is returned beside the error.
	Quarantined(ctx context.Context, partition string) (map[string][]string, error)
	// RootHasKeys tells whether the root user has any key, active or not.
	RootHasKeys(ctx context.Context) (bool, error)
}

// ReportReader also gets the credential report.
type ReportReader interface {
	Reader
	// Report gives the report as AWS sends it, never an empty one, and when AWS made it.
	Report(ctx context.Context) (csv []byte, generated time.Time, err error)
}

// KeyReader reads the access keys of one user.
type KeyReader interface {
	Keys(ctx context.Context, user string) ([]fact.Key, error)
}

// LiveReader also reads user by user.
type LiveReader interface {
	Reader
	KeyReader
	Users(ctx context.Context, each func([]fact.User) error) error
	UserReader
}

// UserReader reads what is known of one user or key beside the list of keys.
type UserReader interface {
	LastUse(ctx context.Context, keyID string) (fact.Use, error)
	Password(ctx context.Context, user string) (fact.Answer, error)
	Tags(ctx context.Context, user string) (map[string]string, error)
}

// Options are common to all ways of collecting.
type Options struct {
	// Account is what is known of the account before: its id is compared with that of the credentials, its name saves asking for
	// the alias. Zero: nothing is known.
	Account     fact.Account
	Concurrency int                              // users read at once; 0 means 8
	Now         func() time.Time                 // required
	Progress    func(stage string, done, of int) // may be nil; of 0: the end is not known; called from one goroutine at a time
}

func (o Options) progress(stage string, done, of int) {
	if o.Progress != nil {
		o.Progress(stage, done, of)
	}
}

func (o Options) concurrency() int {
	if o.Concurrency > 0 {
		return o.Concurrency
	}
	return 8
}

// gaps gathers what could not be read.
type gaps struct {
	account string
	list    []fact.Gap
}

func (g *gaps) add(reading, subject string, err error) {
	g.list = append(g.list, gap(g.account, reading, subject, err))
}

func gap(account, reading, subject string, err error) fact.Gap {
	return fact.Gap{Account: account, Reading: reading, Subject: subject, Why: err.Error(), Denied: errors.Is(err, fact.ErrDenied)}
}

// common reads what both ways need: whose account it is, its name, who is quarantined.
func common(ctx context.Context, r Reader, o Options) (fact.Snapshot, map[string][]string, error) {
	o.progress("identity", 0, 0)
	caller, err := r.Caller(ctx)
	if err != nil {
		return fact.Snapshot{}, nil, err
	}
	s := fact.Snapshot{Account: caller.Account, QuarantineRead: true}
	g := gaps{account: s.Account.ID}
	if known := o.Account; known.ID != "" {
		if known.ID != caller.Account.ID {
			return fact.Snapshot{}, nil, fmt.Errorf("the credentials belong to account %s, not to %s", caller.Account.ID, known.ID)
		}
		s.Account.Name, s.Account.OU, s.Account.Tags, s.Account.Organization = known.Name, known.OU, known.Tags, known.Organization
	}
	if s.Account.Name == "" {
		if s.Account.Name, err = r.Alias(ctx); err != nil {
			g.add("ListAccountAliases", "", err)
		}
	}
	o.progress("exposed keys", 0, 0)
	exposed, err := r.Quarantined(ctx, s.Account.Partition)
	if err != nil {
		s.QuarantineRead = false
		g.add("ListEntitiesForPolicy", "", err)
	}
	s.Gaps = g.list
	return s, exposed, ctx.Err()
}

// quarantine notes on every user whether it is exposed, and adds exposed users that the evidence lacks: a
// user younger than the report. One that is gone by now stays gone.
func quarantine(s *fact.Snapshot, exposed map[string][]string) {
	missing := make(map[string]string, len(exposed)) // names as AWS spells them, by the name in lower case
	for name := range exposed {
		missing[strings.ToLower(name)] = name
	}
	for i := range s.Users {
		u := &s.Users[i]
		if u.Root {
			continue
		}
		key := strings.ToLower(u.Name)
		if name, ok := missing[key]; ok {
			u.Quarantine, u.Policies = fact.Yes, exposed[name]
			delete(missing, key)
		} else if s.QuarantineRead {
			u.Quarantine = fact.No
		}
	}
	for _, gone := range s.Gone {
		delete(missing, strings.ToLower(gone))
	}
	for _, name := range missing {
		s.Users = append(s.Users, fact.User{
			Name: name, ARN: fmt.Sprintf("arn:%s:iam::%s:user/%s", s.Account.Partition, s.Account.ID, name),
			Quarantine: fact.Yes, Policies: exposed[name],
		})
	}
	sortUsers(s.Users)
}

// sortUsers puts users in the order of their names, root first.
func sortUsers(us []fact.User) {
	slices.SortFunc(us, func(a, b fact.User) int {
		if a.Root != b.Root {
			if a.Root {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// rootUser makes the root user of live evidence, of which AWS tells only whether it has keys.
func rootUser(a fact.Account, hasKeys fact.Answer) fact.User {
	return fact.User{
		Name: fact.RootName, Root: true, KeysPresent: hasKeys,
		ARN: fmt.Sprintf("arn:%s:iam::%s:root", a.Partition, a.ID),
	}
}

// readRoot asks whether root has keys; a failure is a gap and leaves it unknown.
func readRoot(ctx context.Context, r Reader, s *fact.Snapshot) fact.Answer {
	has, err := r.RootHasKeys(ctx)
	if err != nil {
		s.Gaps = append(s.Gaps, gap(s.Account.ID, "GetAccountSummary", fact.RootName, err))
		return fact.Unknown
	}
	return fact.YesNo(has)
}
