package report

import (
	"slices"

	"github.com/keyreeve/keyreeve/internal/finding"
)

// outcome says what became of a failing verdict that the later audit does not fail.
type outcome string

const (
	goneFixed     outcome = "fixed"      // it passes, or its key or user is gone and all of the account was read
	goneNotJudged outcome = "not-judged" // the later audit did not ask
	goneUnknown   outcome = "unknown"    // it asked and could not tell
	goneExcepted  outcome = "excepted"   // it still fails and is an accepted risk
)

// gone is a verdict that is gone, with what became of it and a sentence why.
type gone struct {
	finding.Gone
	outcome outcome
	why     string
}

// later is the audit that a verdict is gone from. unknown has the rule, account and user of each verdict of it
// that is unknown: one about a user stands for the keys that could not be read and so have no verdict.
type later struct {
	audit   *finding.Audit
	unknown map[[3]string]bool
}

// sortOut says of each of gs what became of it, as far as the later audit allows, and no better.
func sortOut(gs []finding.Gone, after *finding.Audit) []gone {
	if len(gs) == 0 {
		return nil
	}
	l := later{after, map[[3]string]bool{}}
	for v := range after.Verdicts {
		if v.Status == finding.Unknown {
			l.unknown[[3]string{v.Rule, v.Account.ID, v.User}] = true
		}
	}
	out := make([]gone, 0, len(gs))
	for i := range gs {
		g := gone{Gone: gs[i]}
		g.outcome, g.why = l.became(&gs[i])
		out = append(out, g)
	}
	return out
}

func (l later) became(g *finding.Gone) (outcome, string) {
	switch g.Now {
	case finding.Pass:
		return goneFixed, "passes now"
	case finding.Unknown:
		return goneUnknown, "unknown now: not fixed, not read"
	case finding.Excepted:
		return goneExcepted, "excepted now: it still fails"
	case finding.Fail:
		return goneUnknown, "still fails"
	}
	v := &g.Verdict
	at := slices.IndexFunc(l.audit.Accounts, func(r finding.AccountResult) bool { return r.Account.ID == v.Account.ID })
	if at < 0 {
		return goneNotJudged, "its account is not in the later audit"
	}
	// A rule may be judged for one account and not for another whose report has no row for root, and the audit
	// does not say for which: then nobody can tell that it was judged here.
	left := slices.ContainsFunc(l.audit.NotJudged, func(n finding.NotJudged) bool { return n.Rule == v.Rule })
	judged := slices.ContainsFunc(l.audit.Summary, func(r finding.RuleResult) bool { return r.Rule == v.Rule })
	switch {
	case left && judged && len(l.audit.Accounts) > 1:
		return goneNotJudged, "its rule was not judged for every account of the later audit"
	case left || !judged:
		return goneNotJudged, "its rule was not judged in the later audit"
	}
	for _, user := range []string{v.User, ""} {
		if l.unknown[[3]string{v.Rule, v.Account.ID, user}] {
			return goneUnknown, "its rule is unknown for " + subjectName(&finding.Verdict{User: user}) + " now: not fixed, not read"
		}
	}
	if len(l.audit.Accounts[at].Gaps) > 0 {
		return goneUnknown, "not failing in what was read of its account, and not all was read"
	}
	return goneFixed, "no longer failing: it passes, or the key or user is gone"
}

func count(gs []gone, o outcome) int {
	n := 0
	for i := range gs {
		if gs[i].outcome == o {
			n++
		}
	}
	return n
}

func split(gs []gone) (fixed, rest []gone) {
	for _, g := range gs {
		if g.outcome == goneFixed {
			fixed = append(fixed, g)
		} else {
			rest = append(rest, g)
		}
	}
	return fixed, rest
}
