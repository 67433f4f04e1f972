package collect

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/keyreeve/keyreeve/internal/credreport"
	"github.com/keyreeve/keyreeve/internal/fact"
)

// Report reads an account through its credential report: 8 calls when AWS holds a fresh one, one more
// where the report has no root row. The report may be four hours old: fine to judge by, and Confirm makes
// it current for the users that matter.
func Report(ctx context.Context, r ReportReader, o Options) (*fact.Snapshot, error) {
	s, exposed, err := common(ctx, r, o)
	if err != nil {
		return nil, err
	}
	s.Evidence.Source = fact.Report
	o.progress("credential report", 0, 0)
	body, generated, err := r.Report(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s.Evidence.ReadAt = fact.At(o.Now())
	if err == nil {
		s.Evidence.GeneratedAt = fact.At(generated)
		err = parse(ctx, body, &s)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.UsersRead, s.Users = false, nil
		s.Gaps = append(s.Gaps, gap(s.Account.ID, "GetCredentialReport", "", err))
	}
	if !slices.ContainsFunc(s.Users, func(u fact.User) bool { return u.Root }) {
		s.Users = append(s.Users, rootUser(s.Account, readRoot(ctx, r, &s)))
	}
	quarantine(&s, exposed)
	return &s, ctx.Err()
}

// parse fills s from a report. The account in it must be the caller's.
func parse(ctx context.Context, body []byte, s *fact.Snapshot) error {
	var mu sync.Mutex
	s.Users = make([]fact.User, 0, bytes.Count(body, []byte{'\n'})+1) // once: a row a user, or a little more
	rep, err := credreport.Read(ctx, bytes.NewReader(body), credreport.Options{Name: "credential report"},
		func(b credreport.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			s.Users = append(s.Users, b.Users...)
			return nil
		})
	if err != nil {
		return err
	}
	if rep.Account.ID != "" && rep.Account.ID != s.Account.ID {
		return &wrongAccount{report: rep.Account.ID, caller: s.Account.ID}
	}
	s.UsersRead = true
	s.Evidence.Newest = rep.Newest
	return nil
}

// recreated tells whether the user may have been deleted and made again under its name since the report: none of the
// keys it had is left, and it has one that the report is too old for. What else the report says of it may then be
// about somebody else.
func recreated(report, live []fact.Key, generated fact.Time) bool {
	younger := false
	for i := range live {
		if len(sameSecond(report, live[i].Created)) > 0 {
			return false
		}
		younger = younger || !generated.Known() || live[i].Created.Compare(generated) > 0
	}
	return len(report) > 0 && younger
}

type wrongAccount struct{ report, caller string }

func (e *wrongAccount) Error() string {
	return "the report speaks of account " + e.report + ", the credentials belong to " + e.caller
}

// Confirm reads the access keys of the users at the given places of s.Users again: their ids, statuses and
// creation times become those of now, what only the report knows (last use) is kept where a key can be
// told by its creation time. Users that are gone are taken out and listed in s.Gone. One call a user. A reading
// that failed leaves the user as the report has it, and a gap.
func Confirm(ctx context.Context, r interface {
	KeyReader
	RootHasKeys(ctx context.Context) (bool, error)
}, s *fact.Snapshot, places []int, o Options) error {
	type answer struct {
		keys []fact.Key
		root fact.Answer
		err  error
	}
	answers := make([]answer, len(places))
	err := each(ctx, o, "confirm", len(places), func(i int) {
		u := &s.Users[places[i]]
		if u.Root {
			has, err := r.RootHasKeys(ctx)
			answers[i] = answer{root: fact.YesNo(has), err: err}
			return
		}
		keys, err := r.Keys(ctx, u.Name)
		answers[i] = answer{keys: keys, err: err}
	})
	if err != nil {
		return err
	}
	gone := map[int]bool{}
	for i, place := range places {
		u, a := &s.Users[place], answers[i]
		u.Confirmed = a.err == nil
		switch {
		case isGone(a.err):
			gone[place] = true
			s.Gone = append(s.Gone, u.Name)
		case a.err != nil:
			reading := "ListAccessKeys"
			if u.Root {
				reading = "GetAccountSummary"
			}
			s.Gaps = append(s.Gaps, gap(s.Account.ID, reading, u.Name, a.err))
		case u.Root && a.root == fact.No:
			u.Keys, u.KeysRead = nil, true
		case !u.Root:
			if recreated(u.Keys, a.keys, s.Evidence.GeneratedAt) {
				u.Created, u.Password, u.PasswordLastUsed = fact.Time{}, fact.Unknown, fact.Time{}
			}
			u.Keys, u.KeysRead = Match(u.Keys, a.keys), true
		}
	}
	if len(gone) > 0 {
		kept := s.Users[:0]
		for i := range s.Users {
			if !gone[i] {
				kept = append(kept, s.Users[i])
			}
		}
		s.Users = kept
		slices.Sort(s.Gone)
	}
	return nil
}
