package audit

import (
	"context"
	"fmt"

	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
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
}

// Live audits the account whose credentials r holds.
func Live(ctx context.Context, r Reader, how LiveOptions, opt Options) (*finding.Audit, error) {
	b := newBook(opt)
	s, err := snapshot(ctx, r, how, b)
	if err != nil {
		return nil, err
	}
	acc := &account{}
	acc.Account, acc.Evidence, acc.Gaps = s.Account, s.Evidence, s.Gaps
	t := b.tally()
	t.add(b, &s.Account, s.Evidence.Source, s.Users)
	if !s.UsersRead {
		t.judgements = b.judge.UsersUnread(s.Evidence.Source, t.judgements[:0])
		t.keep(b, &fact.User{}, b.judge.Now())
	}
	b.merge(acc, t)
	b.accounts = append(b.accounts, acc)
	if len(s.Gone) > 0 {
		b.notes = append(b.notes, fmt.Sprintf("%d that the evidence lists are gone by now and left out: %s", len(s.Gone), shortList(s.Gone)))
	}
	if s.UsersRead && acc.Users == 0 {
		b.notes = append(b.notes, accountText(s.Account)+" has no user")
	}
	return b.finish()
}

// snapshot reads the account, and reads the failing users of a report again.
func snapshot(ctx context.Context, r Reader, how LiveOptions, b *book) (*fact.Snapshot, error) {
	if how.Evidence == fact.Live {
		return collect.Live(ctx, r, how.Options)
	}
	s, err := collect.Report(ctx, r, how.Options)
	if err != nil || !how.Confirm {
		return s, err
	}
	// A judge of its own: an exception counts as matched only when it covers what is reported in the end.
	first := rule.NewJudge(b.opt.Ruleset, b.opt.Exceptions.Fresh(), b.judge.Now())
	return s, collect.Confirm(ctx, r, s, failing(first, s), how.Options)
}

// failing are the places of the users about whom something fails, or cannot be said, as the report has it.
func failing(j *rule.Judge, s *fact.Snapshot) []int {
	var places []int
	var scratch []rule.Judgement
	for i := range s.Users {
		scratch = j.User(&s.Account, s.Evidence.Source, &s.Users[i], scratch[:0])
		for k := range scratch {
			if worthReading(&scratch[k]) {
				places = append(places, i)
				break
			}
		}
	}
	return places
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

// shortList names the first few.
func shortList(names []string) string {
	const most = 5
	out := ""
	for i, n := range names {
		if i == most {
			return out + fmt.Sprintf(" and %d more", len(names)-most)
		}
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%q", n)
	}
	return out
}
