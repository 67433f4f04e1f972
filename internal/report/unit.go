package report

import (
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/finding"
)

// unitTitles head the table of organisational units, in every format for people.
var unitTitles = [...]string{"unit", "accounts", "not whole", "users", "active keys", "fail", "unknown", "excepted"}

// unitRow is a row below unitTitles; the last three and the third are counts that should be zero.
func unitRow(u *finding.UnitResult) [len(unitTitles)]string {
	return [...]string{
		clean(u.Path), number(u.Accounts), number(u.Incomplete), number(u.Users), number(u.ActiveKeys),
		number(u.Counts.Fail), number(u.Counts.Unknown), number(u.Counts.Excepted),
	}
}

// unitsLeftOut are the columns that a narrow page does without, the first to go first.
var unitsLeftOut = [...]int{3, 7, 4, 2}

// unitTable writes the units one below the other, a column a count.
func unitTable(p *page, units []finding.UnitResult, indent int) {
	if len(units) == 0 {
		return
	}
	const narrowest = 12 // of the path
	rows := [][len(unitTitles)]string{unitTitles}
	for i := range units {
		rows = append(rows, unitRow(&units[i]))
	}
	var wide [len(unitTitles)]int
	taken := indent
	for i := range wide {
		for _, r := range rows {
			wide[i] = max(wide[i], lipgloss.Width(r[i]))
		}
		if i > 0 {
			taken += 2 + wide[i]
		}
	}
	for _, i := range unitsLeftOut {
		if taken+narrowest <= p.width {
			break
		}
		taken -= 2 + wide[i]
		wide[i] = 0
	}
	wide[0] = min(wide[0], max(narrowest, p.width-taken))
	for n, r := range rows {
		line := strings.Repeat(" ", indent) + cellText(r[0], wide[0])
		for i := 1; i < len(r); i++ {
			if wide[i] > 0 {
				line += "  " + rightText(r[i], wide[i])
			}
		}
		tn := normal
		switch {
		case n == 0:
			tn = faint
		case units[n-1].Counts.Fail > 0:
			tn = bad
		}
		p.put(p.style(tn, line) + "\n")
	}
}

// accountCounts are the verdicts of an account that do not pass, in words; "not judged" where there are none.
func accountCounts(r *finding.AccountResult) string {
	return countText(r.Counts.Fail, r.Counts.Unknown, r.Counts.Excepted, 0)
}

// quiet tells that nothing is to be said of the account beside that it was read: nothing fails, is unknown or accepted.
func quiet(s *section) bool {
	return len(s.result.Gaps)+len(s.failing)+len(s.unknown)+len(s.excepted)+len(s.passing) == 0
}
