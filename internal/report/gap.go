package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// gapGroup is one reading that failed for one reason, once or for thousands of users or keys.
type gapGroup struct {
	reading  string
	why      string   // of several: with "..." where each names its own subject
	subjects []string // as many of them as are named
	count    int
}

// named is how many subjects of a group are written out; the rest is counted. -o json has them all.
const named = 5

// groupGaps joins gaps that differ in their subject only, in the order of the first of each.
func groupGaps(gaps []fact.Gap) []*gapGroup {
	type sameness struct{ reading, why string }
	var out []*gapGroup
	at := make(map[sameness]*gapGroup, len(gaps))
	for i := range gaps {
		g := &gaps[i]
		common := g.Why
		if g.Subject != "" { // a reason names its subject as errors quote it
			common = strings.ReplaceAll(g.Why, strconv.Quote(g.Subject), `"..."`)
		}
		key := sameness{g.Reading, common}
		group := at[key]
		if group == nil {
			group = &gapGroup{reading: clean(g.Reading), why: clean(g.Why)}
			at[key] = group
			out = append(out, group)
		} else {
			group.why = clean(common)
		}
		group.count++
		if g.Subject != "" && len(group.subjects) < named {
			group.subjects = append(group.subjects, clean(g.Subject))
		}
	}
	return out
}

// what names the reading and its subjects: ListAccessKeys of 5,000 (ana, bob and 4,998 more). Names are
// written as name writes them, the rest as text does; acc, unless empty, is named too.
func (g *gapGroup) what(acc fact.Account, text, name func(string) string) string {
	names := make([]string, 0, len(g.subjects))
	for _, s := range g.subjects {
		names = append(names, name(s))
	}
	out := text(g.reading)
	switch {
	case g.count > 1 && len(names) == 0:
		out += " " + number(g.count) + " times"
	case g.count > 1:
		out += " of " + number(g.count) + " (" + strings.Join(names, ", ")
		if more := g.count - len(names); more > 0 {
			out += " and " + number(more) + " more, all in -o json"
		}
		out += ")"
	case len(names) == 1:
		out += " of " + names[0]
	}
	if acc.ID != "" {
		out += " in account " + text(clean(acc.ID))
	}
	return out
}

// gapText is one gap in a sentence, for formats that list each.
func gapText(acc fact.Account, g fact.Gap) string {
	group := groupGaps([]fact.Gap{g})[0]
	return group.what(acc, asIs, asIs) + ": " + group.why
}

func asIs(s string) string { return s }

func gapCount(a *finding.Audit) int {
	n := 0
	for i := range a.Accounts {
		n += len(a.Accounts[i].Gaps)
	}
	return n
}

// gapKinds counts failed readings by name, the most frequent first: 5,000 ListAccessKeys, 1 ListUsers.
func gapKinds(results []finding.AccountResult) string {
	counts := map[string]int{}
	for i := range results {
		for _, g := range results[i].Gaps {
			counts[clean(g.Reading)]++
		}
	}
	kinds := make([]string, 0, len(counts))
	for k := range counts {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	parts := make([]string, 0, named+1)
	for i, k := range kinds {
		if i == named {
			parts = append(parts, "and others")
			break
		}
		parts = append(parts, number(counts[k])+" "+k)
	}
	return strings.Join(parts, ", ")
}
