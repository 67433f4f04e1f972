package audit

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// book gathers judgements. They stay as small as the judge made them and are put in words only when
// somebody walks the verdicts.
type book struct {
	opt      Options
	judge    *rule.Judge
	results  []results // by rule
	accounts []*account
	notes    []string
	ongoing  bool // AsOf is the instant at which the reading began: evidence may be younger
}

// results are how often each result came out for one rule, failures that an exception covers apart.
type results struct {
	counts   rule.Counts
	excepted int
}

// account is one account's result, and what is kept of its verdicts.
type account struct {
	finding.AccountResult
	notes    []string
	rootSeen bool
	unread   bool // nothing of it was read
	kept     []kept
	due      []kept
}

// kept is a verdict in waiting. user is a copy that shares no memory with the evidence.
type kept struct {
	user      *fact.User
	judgement rule.Judgement
}

func newBook(opt Options) *book {
	j := rule.NewJudge(opt.Ruleset, opt.Exceptions, fact.At(opt.AsOf))
	return &book{opt: opt, judge: j, results: make([]results, len(j.Rules()))}
}

// ageBands are where the bands of the chart of key ages begin, in days; they meet the tiers of the age rules.
var ageBands = [...]time.Duration{0, 30 * rule.Day, 45 * rule.Day, 90 * rule.Day, 180 * rule.Day, 365 * rule.Day}

// tally is what judging a batch of users gives. It is merged into the book when the batch is done, so that
// batches can be judged at once.
type tally struct {
	counts     []rule.Counts // by rule
	excepted   []int         // by rule
	ages       [len(ageBands)]int
	kept, due  []kept
	judgements []rule.Judgement // scratch
}

func (b *book) tally() *tally {
	return &tally{counts: make([]rule.Counts, len(b.results)), excepted: make([]int, len(b.results))}
}

// add judges a batch of users of one account.
func (t *tally) add(b *book, a *fact.Account, from fact.Source, users []fact.User) {
	for i := range users {
		for k := range users[i].Keys {
			if users[i].Keys[k].Active {
				t.age(users[i].Keys[k].Created, b.judge.Now())
			}
		}
	}
	if b.opt.CountOnly && b.opt.DueWithin == 0 && !b.judge.Excepting() {
		b.judge.Count(a, from, users, t.counts)
		return
	}
	dueBy := b.judge.Now().Add(b.opt.DueWithin)
	for i := range users {
		t.judgements = b.judge.User(a, from, &users[i], t.judgements[:0])
		t.keep(b, &users[i], dueBy)
	}
}

// age counts an active key in its band; one whose creation is unknown is in none.
func (t *tally) age(created, now fact.Time) {
	if !created.Known() {
		return
	}
	d := now.Sub(created)
	for i := len(ageBands) - 1; i > 0; i-- {
		if d >= ageBands[i] {
			t.ages[i]++
			return
		}
	}
	t.ages[0]++
}

// keep counts the judgements of u and keeps those that somebody will want to read.
func (t *tally) keep(b *book, u *fact.User, dueBy fact.Time) {
	var copied *fact.User
	for i := range t.judgements {
		g := &t.judgements[i]
		if g.Exception != nil {
			t.excepted[g.Rule]++
		} else {
			t.counts[g.Rule][g.Outcome.Result]++
		}
		if b.opt.CountOnly && b.opt.DueWithin == 0 {
			continue
		}
		passes := g.Outcome.Result == rule.Passes
		wanted := !b.opt.CountOnly && (!passes || b.opt.All)
		due := b.opt.DueWithin > 0 && passes && g.Outcome.At.Known() && g.Outcome.At.Compare(dueBy) <= 0
		if !wanted && !due {
			continue
		}
		if copied == nil {
			copied = clone(u)
		}
		if wanted {
			t.kept = append(t.kept, kept{copied, *g})
		}
		if due {
			t.due = append(t.due, kept{copied, *g})
		}
	}
}

// merge adds t to the account and to the counts by rule.
func (b *book) merge(acc *account, t *tally) {
	acc.kept = append(acc.kept, t.kept...)
	acc.due = append(acc.due, t.due...)
	if acc.Ages == nil {
		acc.Ages = make([]finding.AgeBand, len(ageBands))
		for i, from := range ageBands {
			acc.Ages[i].From = int(from / rule.Day)
			if i+1 < len(ageBands) {
				acc.Ages[i].To = int(ageBands[i+1] / rule.Day)
			}
		}
	}
	for i, n := range t.ages {
		acc.Ages[i].Keys += n
	}
	for i := range b.results {
		b.results[i].excepted += t.excepted[i]
		for r, n := range t.counts[i] {
			b.results[i].counts[r] += n
		}
		acc.Counts.Add(finding.Counts{
			Fail: t.counts[i][rule.Fails], Unknown: t.counts[i][rule.Undecided], Excepted: t.excepted[i],
		})
	}
}

// clone copies u without the memory of the chunk it was read from. Policies and Tags, which no report has, stay shared.
func clone(u *fact.User) *fact.User {
	c := *u
	c.Name, c.ARN, c.Path, c.ID = strings.Clone(u.Name), strings.Clone(u.ARN), strings.Clone(u.Path), strings.Clone(u.ID)
	c.Keys = slices.Clone(u.Keys)
	for i := range c.Keys {
		k := &c.Keys[i]
		k.ID, k.LastUsed.Region, k.LastUsed.Service = strings.Clone(k.ID), strings.Clone(k.LastUsed.Region), strings.Clone(k.LastUsed.Service)
	}
	return &c
}

// compare is finding.Compare within one account, without putting verdicts in words first; keys of one second are told
// by their ids, else by their slots.
func (b *book) compare(x, y kept) int {
	if c := strings.Compare(x.user.Name, y.user.Name); c != 0 {
		return c
	}
	kx, ky := x.judgement.Key, y.judgement.Key
	if c := cmp.Compare(min(kx, 0), min(ky, 0)); c != 0 || kx < 0 {
		return cmp.Or(c, strings.Compare(b.ruleID(x), b.ruleID(y)))
	}
	a, c := &x.user.Keys[kx], &y.user.Keys[ky]
	return cmp.Or(a.Created.Compare(c.Created), strings.Compare(b.ruleID(x), b.ruleID(y)), strings.Compare(a.ID, c.ID), cmp.Compare(a.Slot, c.Slot))
}

func (b *book) ruleID(k kept) string { return b.judge.Rules()[k.judgement.Rule].ID }

// verdicts walks everything that was kept, in order.
func (b *book) verdicts(yield func(*finding.Verdict) bool) {
	for _, acc := range b.accounts {
		for i := range acc.kept {
			k := &acc.kept[i]
			v := b.judge.Verdict(&acc.Account, k.user, &k.judgement)
			if !yield(&v) {
				return
			}
		}
	}
}

// due lists what will start to fail, soonest first.
func (b *book) due() []finding.Verdict {
	var out []finding.Verdict
	for _, acc := range b.accounts {
		for i := range acc.due {
			out = append(out, b.judge.Verdict(&acc.Account, acc.due[i].user, &acc.due[i].judgement))
		}
	}
	slices.SortStableFunc(out, func(x, y finding.Verdict) int {
		return cmp.Or(x.Due.Compare(y.Due), finding.Compare(&x, &y))
	})
	return out
}

// sources are the sources of this run's evidence, each once.
func (b *book) sources() []fact.Source {
	var out []fact.Source
	for _, acc := range b.accounts {
		if !slices.Contains(out, acc.Evidence.Source) {
			out = append(out, acc.Evidence.Source)
		}
	}
	return out
}

// scoreboard counts the verdicts by the controls of the framework.
func (b *book) scoreboard(a *finding.Audit) *finding.Scoreboard {
	board := &finding.Scoreboard{Framework: b.opt.Framework}
	rows := map[string]*finding.ScoreRow{}
	for i := range b.judge.Rules() {
		r := &b.judge.Rules()[i]
		n := slices.IndexFunc(a.Summary, func(s finding.RuleResult) bool { return s.Rule == r.ID })
		if n < 0 {
			continue
		}
		for _, c := range r.Controls {
			if c.Framework != b.opt.Framework {
				continue
			}
			for _, id := range c.IDs {
				row := rows[id]
				if row == nil {
					row = &finding.ScoreRow{Control: id}
					rows[id] = row
				}
				s := a.Summary[n]
				row.Rules = append(row.Rules, r.ID)
				row.Fail, row.Pass, row.Unknown, row.Excepted = row.Fail+s.Fail, row.Pass+s.Pass, row.Unknown+s.Unknown, row.Excepted+s.Excepted
			}
		}
	}
	for _, e := range rule.Catalogue() { // a control that nothing here was judged for is not left out
		for _, id := range rule.ControlsOf(e.ID, b.opt.Framework) {
			if rows[id] == nil {
				rows[id] = &finding.ScoreRow{Control: id}
			}
		}
	}
	for _, row := range rows {
		slices.Sort(row.Rules)
		board.Rows = append(board.Rows, *row)
	}
	slices.SortFunc(board.Rows, func(x, y finding.ScoreRow) int { return compareControls(x.Control, y.Control) })
	return board
}

// compareControls orders 1.4 before 1.13: runs of digits by their number.
func compareControls(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			if c := cmp.Or(cmp.Compare(na, nb), strings.Compare(a[:na], b[:nb])); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits is the length of the run of digits that s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}
