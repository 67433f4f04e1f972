package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// Member is one account of an organisation, and the way into it.
type Member struct {
	Account fact.Account // ID is required; the rest as the organisation tells it
	Gaps    []fact.Gap   // what the organisation would not tell of it
	// Open gives a Reader of the account, and what lets it go. Its error is a gap of this account.
	Open func(ctx context.Context) (r Reader, done func(), err error)
}

// Spool keeps what was read of each account until the whole run is done, so that one that was broken off can be taken up
// again. Its methods are called from several goroutines.
type Spool interface {
	Load(account string) (*fact.Snapshot, error) // nil: not there
	Save(s *fact.Snapshot) error
}

// OrganizationOptions say how to read many accounts.
type OrganizationOptions struct {
	LiveOptions           // Progress is told of accounts, with the stage "accounts"
	Accounts    int       // read at once; 0 means 16
	Spool       Spool     // nil: nothing is kept
	Began       time.Time // when the reading began, where this run takes another up; zero: now
}

// Organization audits many accounts as one. A zero opt.AsOf is the moment at which the reading began, to the second. An account that
// cannot be read is a gap with its reason; the errors of the whole are that of ctx, those of how.Seen, and of options that make no sense.
func Organization(ctx context.Context, members []Member, how OrganizationOptions, opt Options) (*finding.Audit, error) {
	asked := !opt.AsOf.IsZero()
	if !asked {
		opt.AsOf = how.began().UTC().Truncate(time.Second)
	}
	o := &organization{how: how, first: firstJudge(opt), book: newBook(opt), of: len(members)}
	o.book.ongoing = !asked
	o.tell(0)
	var g errgroup.Group
	g.SetLimit(how.accounts())
	for i := range members {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return o.member(ctx, &members[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return o.book.finish()
}

func (o *OrganizationOptions) began() time.Time {
	if o.Began.IsZero() {
		return o.Now()
	}
	return o.Began
}

func (o *OrganizationOptions) accounts() int {
	if o.Accounts > 0 {
		return o.Accounts
	}
	return 16
}

// organization is an audit of many accounts under way.
type organization struct {
	how   OrganizationOptions
	first *rule.Judge
	of    int

	mu        sync.Mutex // guards what follows
	book      *book
	done      int
	unspooled bool
}

// tell tells the progress. The caller holds the lock, or is alone.
func (o *organization) tell(done int) {
	if o.how.Progress != nil {
		o.how.Progress("accounts", done, o.of)
	}
}

// member reads one account, or takes what was read of it before, and judges it. Its error is that of ctx, or of how.Seen.
func (o *organization) member(ctx context.Context, m *Member) error {
	s, fresh, err := o.snapshot(ctx, m)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		s = unreadable(m.Account, o.how.Evidence, err)
	}
	kept := true
	if fresh && err == nil && o.how.Spool != nil {
		kept = o.how.Spool.Save(s) == nil
	}
	s.Gaps = append(s.Gaps, m.Gaps...)
	if o.how.Seen != nil {
		if err := o.how.Seen(ctx, s, o.book.opt.AsOf); err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.book.snapshot(s)
	if !kept && !o.unspooled {
		o.unspooled = true
		o.book.notes = append(o.book.notes, "what was read could not be kept: --resume would read it again")
	}
	o.done++
	o.tell(o.done)
	return nil
}

// snapshot is what was read of the account: now (fresh), or by the run that is taken up again. Where the account stood elsewhere
// then, or had other tags, other rules were meant for it, and other users were read again.
func (o *organization) snapshot(ctx context.Context, m *Member) (s *fact.Snapshot, fresh bool, err error) {
	if o.how.Spool != nil {
		s, err := o.how.Spool.Load(m.Account.ID)
		if err == nil && s != nil && s.Account.OU == m.Account.OU && maps.Equal(s.Account.Tags, m.Account.Tags) {
			s.Account = m.Account
			return s, false, nil
		}
	}
	s, err = gather(ctx, m, o.how.LiveOptions, o.first, nil)
	return s, err == nil, err
}

// gather reads an account, and reads again what fails there. then, if not nil, may read more; its error is that of ctx.
func gather(ctx context.Context, m *Member, how LiveOptions, first *rule.Judge, then func(r Reader, s *fact.Snapshot) error) (*fact.Snapshot, error) {
	r, done, err := m.Open(ctx)
	if err != nil {
		return nil, &memberError{"AssumeRole", err}
	}
	defer done()
	how.Progress, how.Account = nil, m.Account
	s, err := read(ctx, r, how)
	if err != nil {
		return nil, &memberError{"GetCallerIdentity", err}
	}
	if how.confirms() {
		err = confirm(ctx, r, s, first, how) // its error is that of ctx
	}
	if err == nil && then != nil {
		err = then(r, s)
	}
	return s, err
}

// Watch reads and judges one account, in the form that history compares with what stood open before. An account that cannot be
// read is an observation with a gap; the only errors are that of ctx, and of options that make no sense. A zero opt.AsOf is the
// moment at which the reading was done, to the second.
func Watch(ctx context.Context, m *Member, how LiveOptions, opt Options) (*history.Observation, error) {
	at := opt
	if at.AsOf.IsZero() {
		at.AsOf = how.Now().UTC().Truncate(time.Second)
	}
	var tags map[string]map[string]string
	then := func(r Reader, s *fact.Snapshot) error {
		users, err := told(s, at, how.KnownTags)
		if err == nil {
			tags, err = collect.Tags(ctx, r, users, how.Options)
		}
		return err
	}
	if how.KnownTags == nil {
		then = nil
	}
	s, err := gather(ctx, m, how, firstJudge(at), then)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		s = unreadable(m.Account, how.Evidence, err)
	}
	s.Gaps = append(s.Gaps, m.Gaps...)
	if opt.AsOf.IsZero() {
		at.AsOf = how.Now().UTC().Truncate(time.Second)
	}
	o, err := Observe(s, at)
	if err != nil || how.KnownTags == nil {
		return o, err
	}
	own := o.Tags
	o.Tags = func(user string) map[string]string {
		for _, t := range []map[string]string{own(user), tags[user]} {
			if t != nil {
				return t
			}
		}
		return how.KnownTags(user)
	}
	for i := range o.Due {
		o.Due[i].Tags = o.Tags(o.Due[i].User)
	}
	return o, nil
}

// told are the users about whom somebody may be told, and whose tags nobody knows.
func told(s *fact.Snapshot, opt Options, known func(user string) map[string]string) ([]string, error) {
	opt.Exceptions = opt.Exceptions.Fresh()
	o, err := Observe(s, opt)
	if err != nil {
		return nil, err
	}
	users := map[string]bool{}
	add := func(user string) {
		if user != fact.RootName && o.Tags(user) == nil && known(user) == nil {
			users[user] = true
		}
	}
	for i := range o.Verdicts {
		if o.Verdicts[i].Status == finding.Fail {
			add(o.Verdicts[i].User)
		}
	}
	for i := range o.Due {
		add(o.Due[i].User)
	}
	return slices.Sorted(maps.Keys(users)), nil
}

// memberError is what kept an account from being read at all.
type memberError struct {
	reading string
	err     error
}

func (e *memberError) Error() string { return e.err.Error() }
func (e *memberError) Unwrap() error { return e.err }

// unreadable is what can be said of an account that nothing could be read of.
func unreadable(a fact.Account, source fact.Source, err error) *fact.Snapshot {
	reading := ""
	if m := (*memberError)(nil); errors.As(err, &m) {
		reading = m.reading
	}
	return &fact.Snapshot{
		Account: a, Evidence: fact.Evidence{Source: source},
		Users: []fact.User{{Name: fact.RootName, Root: true, ARN: fmt.Sprintf("arn:%s:iam::%s:root", a.Partition, a.ID)}},
		Gaps:  []fact.Gap{{Account: a.ID, Reading: reading, Why: err.Error(), Denied: errors.Is(err, fact.ErrDenied)}},
	}
}
