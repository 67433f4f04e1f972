package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// Reader is all that a live audit reads.
type Reader interface {
	collect.ReportReader
	collect.LiveReader
}

// LiveOptions say how to read the account.
type LiveOptions struct {
	collect.Options
	Evidence fact.Source // fact.Report or fact.Live
	// Confirm reads the keys of failing users again; with fact.Report only, live evidence is of now anyway.
	Confirm bool
	// Known is what the history knows of the account. A user all of whose failing keys are known is not read again: its findings
	// are then as old as the report. AWS gives out one report for four hours, and much may have been done since: where a report is
	// older than what the history knows, users of whom the two differ are read again. nil: nothing is known.
	Known *history.Known
	// KnownIn gives Known for an account that shows only by being read; it takes the place of Known. nil: Known stands.
	KnownIn func(ctx context.Context, account string) *history.Known
	// KnownTags gives the tags of a user that were read before; nil where they were not. Watch reads those of users about whom
	// something fails, or falls due, and that it does not know. They say whose a user is; nothing is judged by them, for
	// what was read at another time judges nothing. nil: nobody asks for tags.
	KnownTags func(user string) map[string]string
	// Seen is given what was read of each account, before it is judged; its error ends the run. nil: nobody asks. Many accounts
	// are told of from several goroutines.
	Seen func(ctx context.Context, s *fact.Snapshot, asOf time.Time) error
}

// Live audits the account whose credentials r holds. A zero opt.AsOf is the moment at which the reading was done, to
// the second.
func Live(ctx context.Context, r Reader, how LiveOptions, opt Options) (*finding.Audit, error) {
	s, err := read(ctx, r, how)
	if err != nil {
		return nil, err
	}
	if opt.AsOf.IsZero() {
		opt.AsOf = how.Now().UTC().Truncate(time.Second)
	}
	if how.confirms() {
		if err := confirm(ctx, r, s, firstJudge(opt), how); err != nil {
			return nil, err
		}
	}
	if how.Seen != nil {
		if err := how.Seen(ctx, s, opt.AsOf); err != nil {
			return nil, err
		}
	}
	return Snapshot(s, opt)
}

// confirms tells whether failing users are read again: live evidence is of now anyway.
func (how *LiveOptions) confirms() bool { return how.Confirm && how.Evidence != fact.Live }

// firstJudge judges before failing users are read again. It is one of its own: an exception counts as matched only when
// it covers what is reported in the end.
func firstJudge(opt Options) *rule.Judge {
	return rule.NewJudge(opt.Ruleset, opt.Exceptions.Fresh(), fact.At(opt.AsOf))
}

func confirm(ctx context.Context, r Reader, s *fact.Snapshot, first *rule.Judge, how LiveOptions) error {
	known := how.Known
	if how.KnownIn != nil {
		known = how.KnownIn(ctx, s.Account.ID)
	}
	return collect.Confirm(ctx, r, s, failing(first, s, known), how.Options)
}

// Snapshot audits what was read of one account. opt.AsOf is required.
func Snapshot(s *fact.Snapshot, opt Options) (*finding.Audit, error) {
	b := newBook(opt)
	b.snapshot(s)
	return b.finish()
}

func read(ctx context.Context, r Reader, how LiveOptions) (*fact.Snapshot, error) {
	if how.Evidence == fact.Live {
		return collect.Live(ctx, r, how.Options)
	}
	return collect.Report(ctx, r, how.Options)
}

// snapshot judges an account that was read as a whole.
func (b *book) snapshot(s *fact.Snapshot) {
	acc := &account{}
	acc.Account, acc.Evidence, acc.Gaps = s.Account, s.Evidence, s.Gaps
	acc.unread = !s.UsersRead && s.Evidence.MadeAt().Unknown()
	acc.count(s.Users)
	t := b.tally()
	t.add(b, &s.Account, s.Evidence.Source, s.Users)
	if !s.UsersRead {
		t.judgements = b.judge.UsersUnread(s.Evidence.Source, t.judgements[:0])
		t.keep(b, &fact.User{}, b.judge.Now())
	}
	b.merge(acc, t)
	b.accounts = append(b.accounts, acc)
	if n := len(s.Gone); n == 1 {
		acc.notes = append(acc.notes, fmt.Sprintf("the user %q that the evidence lists is gone by now and left out", s.Gone[0]))
	} else if n > 1 {
		acc.notes = append(acc.notes, fmt.Sprintf("%d users that the evidence lists are gone by now and left out: %s", n, few(quoted(s.Gone))))
	}
	if s.UsersRead && acc.Users == 0 {
		acc.notes = append(acc.notes, accountText(s.Account)+" has no user")
	}
}

// count counts the users and their keys.
func (acc *account) count(users []fact.User) {
	for i := range users {
		if users[i].Root {
			acc.rootSeen = true
		} else {
			acc.Users++
		}
		acc.Keys += len(users[i].Keys)
		acc.ActiveKeys += users[i].ActiveKeys()
	}
}

// failing are the places of the users about whom something fails, or cannot be said, as the report has it; those left out whose
// failing keys are all known, which get their ids.
func failing(j *rule.Judge, s *fact.Snapshot, known *history.Known) []int {
	var places []int
	outdated := known.Outdates(&s.Evidence)
	var scratch []rule.Judgement
	for i := range s.Users {
		u := &s.Users[i]
		if u.Root && !u.KeysRead {
			continue // what is known of it was read live already
		}
		scratch = j.User(&s.Account, s.Evidence.Source, u, scratch[:0])
		worth := slices.DeleteFunc(scratch, func(g rule.Judgement) bool { return !worthReading(&g) })
		if len(worth) > 0 && !remembered(u, worth, known) || outdated && !agrees(j, s, u, worth, known.Open[u.Name]) {
			places = append(places, i)
		}
	}
	return places
}

// agrees tells whether what fails about the user is what is open.
func agrees(j *rule.Judge, s *fact.Snapshot, u *fact.User, worth []rule.Judgement, open map[string]bool) bool {
	failing := 0
	for i := range worth {
		if worth[i].Status() != finding.Fail {
			continue
		}
		if failing++; !open[j.Verdict(&s.Account, u, &worth[i]).ID] {
			return false
		}
	}
	return failing == len(open)
}

// remembered gives the failing keys of u the ids that are known of them, and tells whether that are all.
func remembered(u *fact.User, worth []rule.Judgement, known *history.Known) bool {
	ids := make(map[int]string, len(u.Keys))
	for i := range worth {
		g := &worth[i]
		if g.Status() != finding.Fail {
			return false
		}
		if g.Key < 0 { // about the user itself: it rests on the keys, which the report lists
			continue
		}
		k := &u.Keys[g.Key]
		twin := slices.ContainsFunc(u.Keys, func(o fact.Key) bool { return o.Slot != k.Slot && o.Created.Unix() == k.Created.Unix() })
		if !k.Created.Known() || twin {
			return false
		}
		if ids[g.Key] = known.Key(u.Name, k.Created); ids[g.Key] == "" {
			return false
		}
	}
	for i, id := range ids {
		u.Keys[i].ID = id
	}
	return len(ids) > 0
}

// worthReading tells whether the keys as they are now can change the judgement: a failure may have been
// fixed since the report, a contradiction in the report may resolve. Another missing reading stays missing.
func worthReading(g *rule.Judgement) bool {
	switch g.Outcome.Missing {
	case rule.MissingKeys, rule.MissingCreated, rule.MissingLastUse:
		return true
	default:
		return g.Status() == finding.Fail
	}
}

func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%q", n)
	}
	return out
}
