package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/finding"
)

// shutGroup is the accounts of which nothing was read, for one reason. In a long list they are told of together: one wrong
// external id shuts thousands.
type shutGroup struct {
	reading string
	why     string   // with "..." where it names the account
	names   []string // of the accounts
}

// shut tells that nothing at all was read of the account, for one reason.
func shut(r *finding.AccountResult) bool { return nothingRead(r) && len(r.Gaps) == 1 }

// addShut puts the account to those that share its reason, in the order of the first of each.
func addShut(groups []*shutGroup, r *finding.AccountResult) []*shutGroup {
	g := r.Gaps[0]
	reading, why := clean(g.Reading), clean(strings.ReplaceAll(g.Why, r.Account.ID, "..."))
	i := slices.IndexFunc(groups, func(s *shutGroup) bool { return s.reading == reading && s.why == why })
	if i < 0 {
		i = len(groups)
		groups = append(groups, &shutGroup{reading: reading, why: why})
	}
	groups[i].names = append(groups[i].names, accountName(r.Account))
	return groups
}

// accountsText names the first few of the accounts, written as name writes them.
func (g *shutGroup) accountsText(name func(string) string) string {
	var out []string
	for _, n := range g.names[:min(listed, len(g.names))] {
		out = append(out, name(n))
	}
	text := strings.Join(out, ", ")
	if more := len(g.names) - len(out); more > 0 {
		text += fmt.Sprintf(" and %s more, all in -o summary", number(more))
	}
	return text
}

// shutTitle is the heading over all groups.
func shutTitle(groups []*shutGroup) string {
	n := 0
	for _, g := range groups {
		n += len(g.names)
	}
	return "Nothing was read of " + plural(n, "account")
}
