package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// day is 24 hours, always; standard is what a zero duration of the Options means.
const (
	day      = 24 * time.Hour
	standard = 7 * day
)

// Input is what a plan is made of: one account.
type Input struct {
	Version  string            // of the program
	Ruleset  string            // name
	Snapshot *fact.Snapshot    // live evidence
	Verdicts []finding.Verdict // the failing, excepted and unknown ones, in the order of finding.Compare
	Caller   fact.Caller       // who read
	OwnKeys  []string          // access key ids of the credentials that we run with, of their whole chain
	OwnUsers []fact.Caller     // users of whom a session stands in that chain: every key of theirs may be ours
	// Changes are journal.Book.Changes of the account: by access key id, what we last did.
	Changes map[string]journal.Change
	// Rotating is journal.Book.Rotating of the account: by unique user id, the rotation that is under way.
	Rotating map[string]string
	// Excepted gives the accepted risk in force that covers one of the rules for the user and the key, or nil. It is
	// asked for deletions that follow an earlier step, of whose rules no verdict speaks any more. nil: there is none.
	Excepted func(rules []string, u *fact.User, k *fact.Key) *finding.Exception
}

// Options say how a plan is made.
type Options struct {
	Now      time.Time     // the moment of making
	AsOf     time.Time     // the moment that the verdicts were judged at; zero means Now
	Settling time.Duration // a key used within it is in use; whole seconds, 0 means 7 days
	Quiet    time.Duration // a key is deleted after being inactive for it; whole seconds, 0 means 7 days
	Grace    time.Duration // with DeleteNow, a key never used goes from this age on; 0 means 7 days

	Keep      []string // ids of keys to keep where there is a choice
	AllowUsed []string // ids of keys that may go although they are in use and their user has no other active one

	TrustInactive bool // delete inactive keys of whose deactivation the journal does not know
	DeleteNow     bool // delete active keys that were never used, without deactivating them first

	Only  []string                    // ids of steps, or prefixes of 4 characters or more that mean one; empty: all
	Users func(name, arn string) bool // whom the plan may speak of; nil: all
	// Rules are the ids of the rules that somebody narrowed the plan to: a deletion that follows an earlier step is planned
	// only if one of them had asked for that. Empty: all.
	Rules []string
}

// Validate reports every mistake at once, as an InputError.
func (o *Options) Validate() error {
	var m mistakes
	if o.Now.IsZero() {
		m.add("", "no time to make the plan at")
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"settling time", o.Settling}, {"quiet period", o.Quiet}, {"grace", o.Grace}} {
		switch {
		case d.d < 0:
			m.add("", "the %s is negative: %s", d.name, d.d)
		case d.d%time.Second != 0:
			m.add("", "the %s is not in whole seconds: %s", d.name, d.d)
		}
	}
	for _, ids := range []struct {
		flag string
		list []string
	}{{"--keep", o.Keep}, {"--allow-used", o.AllowUsed}} {
		if slices.Contains(ids.list, "") {
			m.add("", "%s with an empty key id", ids.flag)
		}
	}
	for _, id := range o.Only {
		if len(id) < minPrefix {
			m.add("", "--only %q: a step is named by %d characters of its id or more", id, minPrefix)
		}
	}
	return m.err()
}

// withDefaults replaces zero values by what they mean.
func (o Options) withDefaults() Options {
	o.Now = o.Now.Round(0).UTC()
	if o.AsOf.IsZero() {
		o.AsOf = o.Now
	}
	o.AsOf = o.AsOf.Round(0).UTC()
	o.Settling = cmp.Or(o.Settling, standard)
	o.Quiet = cmp.Or(o.Quiet, standard)
	o.Grace = cmp.Or(o.Grace, standard)
	return o
}

// mistakes gathers what is wrong with what was asked for.
type mistakes struct{ problems, hints []string }

func (m *mistakes) add(hint, format string, args ...any) {
	m.problems = append(m.problems, fmt.Sprintf(format, args...))
	if hint != "" && !slices.Contains(m.hints, hint) {
		m.hints = append(m.hints, hint)
	}
}

func (m *mistakes) err() error {
	if len(m.problems) == 0 {
		return nil
	}
	return &InputError{Problem: strings.Join(m.problems, "\n"), Hint: strings.Join(m.hints, "; ")}
}

// Make turns verdicts into a sealed plan. Its errors: an InputError for options that make no sense or name
// what the account does not have, a Refusal for evidence of another account than the caller's, and
// others for evidence that no plan may rest on.
func Make(in Input, opt Options) (*Plan, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	m := newMaker(&in, opt.withDefaults())
	for _, w := range m.works() {
		w.do()
		m.drafts = append(m.drafts, w.drafts...)
		m.left = append(m.left, w.left...)
	}
	m.checkNames()
	p := m.plan()
	if err := m.mistakes.err(); err != nil {
		return nil, err
	}
	if err := p.Seal(); err != nil {
		return nil, err
	}
	return p, nil
}

// check refuses what no plan may rest on.
func (in *Input) check() error {
	s := in.Snapshot
	switch {
	case s == nil || s.Account.ID == "":
		return fmt.Errorf("make a plan: the evidence names no account")
	case s.Evidence.Source != fact.Live || !s.Evidence.ReadAt.Known():
		return fmt.Errorf("make a plan for account %s: only live evidence will do, not %q", s.Account.ID, s.Evidence.Source)
	case in.Caller.Account.ID != "" && in.Caller.Account.ID != s.Account.ID:
		return wrongAccount(s.Account.ID, in.Caller.Account.ID)
	}
	for i := range in.Verdicts {
		if id := in.Verdicts[i].Account.ID; id != s.Account.ID {
			return fmt.Errorf("make a plan for account %s: a verdict is about account %q", s.Account.ID, id)
		}
	}
	return nil
}

// maker makes one plan.
type maker struct {
	in  *Input
	opt Options
	// at is AsOf. A use after it is a use within every window, so an instant in the past is never the bolder choice; with
	// one in the future no step is due before it, see due.
	at                fact.Time
	late              fact.Time // the later of Now and AsOf
	own, keep, allow  map[string]bool
	choosable         map[string]bool // ids of keys between which there was a choice
	drafts            []*draft
	left              []left
	mistakes          mistakes
	incomplete        bool // some user was not wholly read
	users, keys, live int
}

func newMaker(in *Input, opt Options) *maker {
	m := &maker{
		in: in, opt: opt, at: fact.At(opt.AsOf), late: fact.At(opt.Now),
		own: set(in.OwnKeys), keep: set(opt.Keep), allow: set(opt.AllowUsed), choosable: map[string]bool{},
	}
	if m.at.After(m.late) {
		m.late = m.at
	}
	return m
}

func set(list []string) map[string]bool {
	out := make(map[string]bool, len(list))
	for _, s := range list {
		out[s] = true
	}
	return out
}

// due is when a step may be done that nothing but its verdicts holds back: not before they fail.
func (m *maker) due() time.Time { return m.late.Time() }

// works pairs each user with its verdicts. A user that only verdicts name was not read.
func (m *maker) works() []*work {
	var out []*work
	byName := map[string]*work{}
	add := func(u *fact.User) *work {
		w := &work{maker: m, u: u, missing: m.missing(u), excepted: map[string]bool{}}
		m.incomplete = m.incomplete || !u.Root && len(w.missing) > 0
		out = append(out, w)
		byName[u.Name] = w
		return w
	}
	for i := range m.in.Snapshot.Users {
		u := &m.in.Snapshot.Users[i]
		add(u)
		m.keys += len(u.Keys)
		m.live += u.ActiveKeys()
		if !u.Root {
			m.users++
		}
	}
	for i := range m.in.Verdicts {
		v := &m.in.Verdicts[i]
		w := byName[v.User]
		if w == nil {
			w = add(&fact.User{Name: v.User, ARN: v.UserARN, Root: v.User == fact.RootName})
		}
		w.verdicts = append(w.verdicts, v)
	}
	return out
}

// plan puts the drafts in order and into words.
func (m *maker) plan() *Plan {
	s := m.in.Snapshot
	p := &Plan{
		Schema: Schema, Tool: Tool{"keyreeve", m.in.Version}, CreatedAt: m.opt.Now, AsOf: m.opt.AsOf, Ruleset: m.in.Ruleset,
		Terms: Terms{int64(m.opt.Settling / time.Second), int64(m.opt.Quiet / time.Second)},
		Accounts: []Account{{
			ID: s.Account.ID, Partition: s.Account.Partition, Name: s.Account.Name, Caller: m.in.Caller.ARN,
			Source: string(s.Evidence.Source), ReadAt: s.Evidence.ReadAt.Time(),
			Complete: s.UsersRead && s.QuarantineRead && len(s.Gaps) == 0 && !m.incomplete,
			Users:    m.users, Keys: m.keys, ActiveKeys: m.live,
		}},
		Steps: []Step{}, LeftOut: []LeftOut{},
	}
	slices.SortFunc(m.drafts, compareDrafts)
	ids := m.ids()
	for i, d := range m.drafts {
		if m.opt.Users == nil || m.opt.Users(d.user.Name, d.user.ARN) {
			p.Steps = append(p.Steps, m.step(d, ids[i]))
		}
	}
	if len(m.opt.Only) > 0 {
		m.narrow(p)
	} else {
		p.LeftOut = append(p.LeftOut, m.leftOut()...)
	}
	chain(p.Steps)
	return p
}

// chain lets each step depend on the one before it of the same user: when that one was refused, the user is
// not as planned. Nothing waits for a step that is due later than itself, for a person to choose, or for
// a rotation, which takes days.
func chain(steps []Step) {
	for i := range steps {
		s := &steps[i]
		s.DependsOn = []string{}
		for _, b := range slices.Backward(steps[:i]) {
			if b.UserID != s.UserID || b.User != s.User {
				break
			}
			if !b.Open() && b.Action != Rotate && !b.NotBefore.After(s.NotBefore) {
				s.DependsOn = append(s.DependsOn, b.ID)
				break
			}
		}
	}
}

// limitOf is how many active keys the verdict's rule allows. One always stays, whatever the limit.
func limitOf(v *finding.Verdict) int {
	for _, name := range []string{"limit", "max_active"} {
		switch n := v.Facts[name].(type) {
		case int:
			return max(n, 1)
		case int64:
			return int(min(max(n, 1), math.MaxInt32))
		case float64: // as JSON has it
			if n >= 1 && n <= math.MaxInt32 {
				return int(n)
			}
		}
	}
	return 1
}
