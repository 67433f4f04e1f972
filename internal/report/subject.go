package report

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// section is one account with its verdicts as people read them: by user, then by key, worst first.
type section struct {
	result   *finding.AccountResult
	failing  []*holder
	passing  []*holder
	unknown  []*bundle
	excepted []*bundle

	unknowns, exceptions bundler // what the two are made of
}

// holder is a user, or the account itself, with what fails, or passes, about it and its keys.
type holder struct {
	user     string // as the verdict has it; empty for the account
	worst    finding.Severity
	subjects []*subject
}

// subject is one key, or the user itself, with all rules of one outcome.
type subject struct {
	key     *fact.Key // nil: the user itself
	worst   finding.Severity
	since   fact.Time // the earliest among the rules; unknown when none can tell
	rules   []ruleMark
	message string // of the worst rule
}

// ruleMark is a rule's name and its weight.
type ruleMark struct {
	name     string
	severity finding.Severity
}

// sections walks the audit account by account, in the order of account ids. It holds one account at a time.
func sections(a *finding.Audit, o Options) iter.Seq[*section] {
	return func(yield func(*section) bool) {
		results := make([]*finding.AccountResult, 0, len(a.Accounts))
		for i := range a.Accounts {
			results = append(results, &a.Accounts[i])
		}
		slices.SortStableFunc(results, func(x, y *finding.AccountResult) int {
			return strings.Compare(x.Account.ID, y.Account.ID)
		})
		next := 0
		var open *section
		for v := range a.Verdicts {
			if open == nil || open.result.Account.ID != v.Account.ID {
				if open != nil && !yield(open.sorted()) {
					return
				}
				for ; next < len(results) && results[next].Account.ID < v.Account.ID; next++ {
					if !yield(&section{result: results[next]}) {
						return
					}
				}
				open = &section{result: &finding.AccountResult{Account: v.Account}}
				if next < len(results) && results[next].Account.ID == v.Account.ID {
					open.result = results[next]
					next++
				}
			}
			open.add(v, o)
		}
		if open != nil && !yield(open.sorted()) {
			return
		}
		for ; next < len(results); next++ {
			if !yield(&section{result: results[next]}) {
				return
			}
		}
	}
}

func (s *section) add(v *finding.Verdict, o Options) {
	switch v.Status {
	case finding.Fail:
		s.failing = addSubject(s.failing, v)
	case finding.Pass:
		if o.All {
			s.passing = addSubject(s.passing, v)
		}
	case finding.Unknown:
		s.unknowns.add(v, clean(v.Message))
	case finding.Excepted:
		s.exceptions.add(v, exceptionText(v))
	}
}

func exceptionText(v *finding.Verdict) string {
	e := v.Exception
	if e == nil {
		return clean(v.Message)
	}
	return "until " + date(e.Expires) + ", " + clean(e.Owner) + ": " + clean(e.Reason)
}

// addSubject relies on the order of verdicts: those of one user come together, but those of two keys made
// in the same second may alternate.
func addSubject(hs []*holder, v *finding.Verdict) []*holder {
	if len(hs) == 0 || hs[len(hs)-1].user != v.User {
		hs = append(hs, &holder{user: v.User})
	}
	h := hs[len(hs)-1]
	var s *subject
	for _, old := range h.subjects {
		if sameKey(old.key, v.Key) {
			s = old
		}
	}
	if s == nil {
		s = &subject{}
		if v.Key != nil {
			k := *v.Key
			s.key = &k
		}
		h.subjects = append(h.subjects, s)
	}
	if v.Severity.Rank() > s.worst.Rank() {
		s.worst, s.message = v.Severity, clean(v.Message)
	}
	if v.Severity.Rank() > h.worst.Rank() {
		h.worst = v.Severity
	}
	if v.Since.Known() && (!s.since.Known() || v.Since.Compare(s.since) < 0) {
		s.since = v.Since
	}
	s.rules = append(s.rules, ruleMark{clean(v.Rule), v.Severity})
	return hs
}

func sameKey(a, b *fact.Key) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ID == b.ID && a.Slot == b.Slot && a.Created == b.Created
}

// sorted puts what weighs most first: users, then a user's subjects, then a subject's rules.
func (s *section) sorted() *section {
	s.unknown, s.excepted = s.unknowns.bundles(), s.exceptions.bundles()
	for _, hs := range [][]*holder{s.failing, s.passing} {
		for _, h := range hs {
			for _, sub := range h.subjects {
				slices.SortStableFunc(sub.rules, byWeight)
			}
			slices.SortStableFunc(h.subjects, func(a, b *subject) int {
				return cmp.Compare(b.worst.Rank(), a.worst.Rank())
			})
		}
	}
	slices.SortStableFunc(s.failing, func(a, b *holder) int {
		return cmp.Or(cmp.Compare(b.worst.Rank(), a.worst.Rank()), cmp.Compare(b.rules(), a.rules()))
	})
	return s
}

func (h *holder) rules() int {
	n := 0
	for _, s := range h.subjects {
		n += len(s.rules)
	}
	return n
}

func byWeight(a, b ruleMark) int {
	return cmp.Or(cmp.Compare(b.severity.Rank(), a.severity.Rank()), naturally(a.name, b.name))
}

// naturally compares names that may end in a number: key-age-30 before key-age-100.
func naturally(a, b string) int {
	stemA, nA, _ := tier(a)
	stemB, nB, _ := tier(b)
	return cmp.Or(strings.Compare(stemA, stemB), cmp.Compare(nA, nB), strings.Compare(a, b))
}

// tier splits key-age-90 into key-age and 90.
func tier(name string) (stem string, n int, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return name, 0, false
	}
	n, err := strconv.Atoi(name[i+1:])
	if err != nil || n < 0 || strconv.Itoa(n) != name[i+1:] {
		return name, 0, false
	}
	return name[:i], n, true
}

// foldTiers joins the rules of one stem: key-age-90, key-age-30 and key-age-45 become key-age-30/45/90,
// from which each id can be read off. The joined mark has the heaviest weight and the first place.
func foldTiers(rules []ruleMark) []ruleMark {
	var out []ruleMark
	at := map[string]int{}
	levels := map[string][]int{}
	for _, r := range rules {
		stem, n, ok := tier(r.name)
		if !ok {
			out = append(out, r)
			continue
		}
		if i, seen := at[stem]; seen {
			levels[stem] = append(levels[stem], n)
			if r.severity.Rank() > out[i].severity.Rank() {
				out[i].severity = r.severity
			}
			continue
		}
		at[stem] = len(out)
		levels[stem] = []int{n}
		out = append(out, r)
	}
	for stem, i := range at {
		ns := levels[stem]
		slices.Sort(ns)
		parts := make([]string, len(ns))
		for j, n := range ns {
			parts[j] = strconv.Itoa(n)
		}
		out[i].name = stem + "-" + strings.Join(parts, "/")
	}
	return out
}

// tally counts who is hit: distinct users and keys with failing verdicts, and verdicts by severity.
type tally struct {
	users, keys, fails int
	bySeverity         map[finding.Severity]int
	worstRule          string
	worst              finding.Severity
	worstCount         int
}

// count adds the failing verdicts of one section.
func (t *tally) count(s *section) {
	if t.bySeverity == nil {
		t.bySeverity = map[finding.Severity]int{}
	}
	for _, h := range s.failing {
		if h.user != "" {
			t.users++
		}
		for _, sub := range h.subjects {
			if sub.key != nil {
				t.keys++
			}
			for _, r := range sub.rules {
				t.fails++
				t.bySeverity[r.severity]++
			}
		}
	}
}

// pickWorst chooses the rule to read up on first: the heaviest, and among those the one that fails most.
func (t *tally) pickWorst(a *finding.Audit) {
	for _, r := range a.Summary {
		if r.Fail == 0 {
			continue
		}
		if r.Severity.Rank() > t.worst.Rank() || (r.Severity == t.worst && r.Fail > t.worstCount) {
			t.worst, t.worstRule, t.worstCount = r.Severity, r.Rule, r.Fail
		}
	}
}
