// Package audit carries out one audit: evidence in, finding.Audit out. Files judges credential reports on
// disk while they stream by, on all cores; Live collects from an account, judges, reads the failing users
// again and judges those anew.
//
// It holds no rule and no format, and changes nothing. Its promises: the same evidence and the same
// instant give the same audit, whatever the number of cores; nothing is called complete while a reading is
// missing, a verdict is unknown, or the evidence is older than allowed.
package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// Options say how to judge and what to keep of it.
type Options struct {
	Version    string // of the program, for the record
	Ruleset    *rule.Ruleset
	Exceptions *rule.Exceptions // nil: none
	AsOf       time.Time        // judged as if it were this instant; required by Files
	// CountOnly keeps no verdict, only the summary: memory then does not grow with what fails.
	CountOnly bool
	All       bool          // keep passing verdicts too
	DueWithin time.Duration // also list what will start to fail in that time; 0: no such list
	// MaxEvidenceAge makes the audit incomplete when the evidence is older; 0: never, but above
	// FreshEvidence there is a note.
	MaxEvidenceAge time.Duration
	Framework      string // canonical name; makes the scoreboard; empty: none
}

// FreshEvidence is how long AWS gives out the same credential report: older evidence is worth a note.
const FreshEvidence = 4 * time.Hour

// InputError says that what was asked for or given cannot be judged: the caller's mistake, not a failure.
type InputError struct {
	Problem string
	Hint    string
}

func (e *InputError) Error() string {
	if e.Hint == "" {
		return e.Problem
	}
	return e.Problem + "\nhint: " + e.Hint
}

// finish turns what was gathered into the audit.
func (b *book) finish() (*finding.Audit, error) {
	slices.SortStableFunc(b.accounts, func(x, y *account) int { return strings.Compare(x.Account.ID, y.Account.ID) })
	a := &finding.Audit{
		Version: b.opt.Version, AsOf: b.opt.AsOf.UTC(), Ruleset: b.opt.Ruleset.Name, Complete: true,
		Exceptions: b.opt.Exceptions.Notices(b.sources()), Notes: b.notes,
	}
	for _, acc := range b.accounts {
		a.Notes = append(a.Notes, acc.notes...)
	}
	b.weighAges(a)
	for _, acc := range b.accounts {
		slices.SortStableFunc(acc.kept, b.compare)
		a.Accounts = append(a.Accounts, acc.AccountResult)
		a.Complete = a.Complete && len(acc.Gaps) == 0
	}
	a.Units = units(a.Accounts)
	if err := b.summarize(a); err != nil {
		return nil, err
	}
	a.Verdicts = b.verdicts
	a.Due = b.due()
	if b.opt.Framework != "" {
		a.Scoreboard = b.scoreboard(a)
	}
	return a, nil
}

// summarize counts by rule and leaves out the rules that no evidence here could answer.
func (b *book) summarize(a *finding.Audit) error {
	a.NotJudged = b.notJudged()
	for i := range b.judge.Rules() {
		r := &b.judge.Rules()[i]
		n := b.results[i]
		row := finding.RuleResult{
			Rule: r.ID, Kind: r.Kind.Name, Title: r.Title, Severity: r.Severity,
			Fail: n.counts[rule.Fails], Pass: n.counts[rule.Passes], Unknown: n.counts[rule.Undecided], Excepted: n.excepted,
		}
		judged := row.Fail+row.Pass+row.Unknown+row.Excepted > 0
		if !judged && slices.ContainsFunc(a.NotJudged, func(n finding.NotJudged) bool { return n.Rule == r.ID }) {
			continue
		}
		a.Complete = a.Complete && row.Unknown == 0
		a.Summary = append(a.Summary, row)
	}
	if len(a.Summary) == 0 && len(a.NotJudged) > 0 {
		n := a.NotJudged[0]
		return &InputError{Problem: fmt.Sprintf("no rule could be judged: %s: %s", n.Rule, n.Why), Hint: "choose other rules, or run against the live account"}
	}
	return nil
}

// notJudged lists, once each, the rules that some evidence of this run cannot answer.
func (b *book) notJudged() []finding.NotJudged {
	var out []finding.NotJudged
	for _, source := range b.sources() {
		for _, n := range b.judge.NotJudged(source) {
			if !slices.ContainsFunc(out, func(o finding.NotJudged) bool { return o.Rule == n.Rule }) {
				out = append(out, n)
			}
		}
	}
	var rootless []string
	for _, acc := range b.accounts {
		if !acc.rootSeen && !acc.unread {
			rootless = append(rootless, accountText(acc.Account))
		}
	}
	for i := range b.judge.Rules() {
		if r := &b.judge.Rules()[i]; r.Kind.Subject == rule.ForRoot && len(rootless) > 0 {
			out = append(out, finding.NotJudged{Rule: r.ID, Why: "no row for root in the report of " + few(rootless)})
		}
	}
	return out
}

// weighAges compares the age of every account's evidence with what is allowed. What is only worth a note is told once for all.
func (b *book) weighAges(a *finding.Audit) {
	now, limit := b.judge.Now(), b.opt.MaxEvidenceAge
	var ahead, aged []string
	var oldest time.Duration
	for _, acc := range b.accounts {
		if acc.unread {
			continue
		}
		e := acc.Evidence
		made := e.MadeAt()
		name := accountText(acc.Account)
		if !b.ongoing && (e.Newest.Known() && e.Newest.Unix() > now.Unix() || made.Known() && made.Unix() > now.Unix()) { // now is of whole seconds
			ahead = append(ahead, name)
		}
		switch {
		case made.Known() && limit > 0 && now.Sub(made) > limit:
			acc.stale(fmt.Sprintf("the evidence was made %s, %s before the instant judged at; at most %s is allowed", made, roundedAge(now.Sub(made)), limit))
		case made.Known() && now.Sub(made) > FreshEvidence:
			aged = append(aged, name)
			oldest = max(oldest, now.Sub(made))
		case made.Unknown() && limit > 0 && !recent(e.Newest, now, limit):
			acc.stale("a CSV does not state when it was made, and no date in it shows that it is recent enough; use the JSON reply of get-credential-report")
		}
	}
	if len(ahead) > 0 {
		a.Notes = append(a.Notes, fmt.Sprintf("the evidence of %s holds dates after %s, the instant judged at: it knows more than was known then", few(ahead), now))
	}
	if len(aged) > 0 {
		a.Notes = append(a.Notes, fmt.Sprintf("the evidence of %s is %s old; AWS makes a new report every four hours at most", few(aged), upTo(len(aged), oldest)))
	}
}

func upTo(n int, d time.Duration) string {
	if n > 1 {
		return "up to " + roundedAge(d)
	}
	return roundedAge(d)
}

// few names the first few of a list.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// units sums accounts by organisational unit, those below included, in the order of their paths.
func units(accounts []finding.AccountResult) []finding.UnitResult {
	byPath := map[string]*finding.UnitResult{}
	for i := range accounts {
		r := &accounts[i]
		for path := r.Account.OU; path != ""; path = parent(path) {
			u := byPath[path]
			if u == nil {
				u = &finding.UnitResult{Path: path}
				byPath[path] = u
			}
			u.Accounts++
			u.Users, u.Keys, u.ActiveKeys = u.Users+r.Users, u.Keys+r.Keys, u.ActiveKeys+r.ActiveKeys
			u.Counts.Add(r.Counts)
			if len(r.Gaps) > 0 {
				u.Incomplete++
			}
		}
	}
	out := make([]finding.UnitResult, 0, len(byPath))
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		out = append(out, *byPath[path])
	}
	return out
}

// parent is the path of the unit above; empty above the root.
func parent(path string) string {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)]
}

// recent tells whether a report that holds the date newest cannot be older than limit. A date after now proves nothing.
func recent(newest, now fact.Time, limit time.Duration) bool {
	return newest.Known() && !newest.After(now) && now.Sub(newest) <= limit
}

func (acc *account) stale(why string) {
	acc.Gaps = append(acc.Gaps, fact.Gap{Account: acc.Account.ID, Reading: "evidence age", Why: why})
}

func roundedAge(d time.Duration) string {
	if d >= 2*rule.Day {
		return fmt.Sprintf("%d days", d/rule.Day)
	}
	return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
}

func accountText(a fact.Account) string {
	if a.ID == "" {
		return "an account that it does not name"
	}
	return "account " + a.ID
}
