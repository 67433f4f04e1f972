package report

import (
	"bufio"
	"bytes"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/plan"
)

// merged is what was left out without the rows about a user that say no more than rows about that user's keys do: the
// same guard for the same reason. Their rules go to the keys.
func merged(rows []plan.LeftOut) []plan.LeftOut {
	said := func(user, key *plan.LeftOut) bool {
		return user.KeyID == "" && key.KeyID != "" && user.Account == key.Account && user.User == key.User && user.Guard == key.Guard &&
			user.Why == strings.ReplaceAll(key.Why, key.KeyID, "KEYID")
	}
	byUser := map[string][]int{} // places in rows, of keys
	for i := range rows {
		if rows[i].KeyID != "" {
			byUser[rows[i].User] = append(byUser[rows[i].User], i)
		}
	}
	more, again := map[int][]string{}, map[int]bool{}
	for i := range rows {
		for _, j := range byUser[rows[i].User] {
			if said(&rows[i], &rows[j]) {
				more[j], again[i] = append(more[j], rows[i].Rules...), true
			}
		}
	}
	var out []plan.LeftOut
	for i, l := range rows {
		if again[i] {
			continue
		}
		l.Rules = append(slices.Clone(l.Rules), more[i]...)
		out = append(out, l)
	}
	return out
}

// leftOut tells what fails and has no step, guard by guard, those of most weight first.
func (t *planText) leftOut() {
	if len(t.left) == 0 {
		return
	}
	t.blank()
	t.heading(strong, "Left out")
	by := map[plan.Guard][]*plan.LeftOut{}
	guards := plan.Guards()
	for i := range t.left {
		l := &t.left[i]
		by[l.Guard] = append(by[l.Guard], l)
		if !slices.Contains(guards, l.Guard) {
			guards = append(guards, l.Guard)
		}
	}
	for _, g := range guards {
		if len(by[g]) > 0 {
			t.guard(g, by[g])
		}
	}
}

// leftLines is about how many lines a guard gets; what does not fit is counted, and -o json has it.
const leftLines = 10

func (t *planText) guard(g plan.Guard, items []*plan.LeftOut) {
	title, tn := guardTitle(g)
	t.line(2, 4, piece{title + ":", tn}, piece{number(len(items)), tn}, piece{"(" + t.show(string(g)) + ")", faint})
	groups := t.alike(items)
	hint := groups[0].hint // one that all share is given once
	shared := !slices.ContainsFunc(groups, func(gr leftGroup) bool { return gr.general != groups[0].general })
	if len(groups) > 1 {
		hint = groups[0].general
	}
	lines, shown := 0, 0
	for i, gr := range groups {
		if shared {
			gr.hint = ""
		}
		block := t.leftBlock(gr)
		lines += strings.Count(block, "\n")
		if i > 0 && lines > leftLines {
			break
		}
		shown += len(gr.names)
		t.put(block)
	}
	if rest := len(items) - shown; rest > 0 {
		t.line(4, 6, piece{"and " + number(rest) + " more, all in -o json", faint})
	}
	if shared && hint != "" {
		t.line(4, 6, piece{"hint:", faint}, piece{hint, normal})
	}
}

// leftGroup is what one guard left out for one reason.
type leftGroup struct {
	names     []string
	why, hint string
	general   string // the hint, without a key id
	rules     []string
}

// alike joins what differs in the key alone; there the texts say KEYID. The largest group comes first.
func (t *planText) alike(items []*plan.LeftOut) []leftGroup {
	type reason struct{ why, hint string }
	general := func(l *plan.LeftOut) reason {
		if l.KeyID == "" {
			return reason{l.Why, l.Hint}
		}
		return reason{strings.ReplaceAll(l.Why, l.KeyID, "KEYID"), strings.ReplaceAll(l.Hint, l.KeyID, "KEYID")}
	}
	var groups []leftGroup
	at := map[reason]int{}
	for _, l := range items {
		r := general(l)
		i, ok := at[r]
		if !ok {
			i = len(groups)
			at[r] = i
			groups = append(groups, leftGroup{why: t.show(l.Why), hint: t.show(l.Hint), general: t.show(r.hint)})
		} else {
			groups[i].why, groups[i].hint = t.show(r.why), t.show(r.hint)
		}
		name := t.show(userName(l.User))
		if l.KeyID != "" {
			name += " " + t.show(l.KeyID)
		}
		if len(t.plan.Accounts) > 1 {
			name += " in " + t.show(l.Account)
		}
		groups[i].names = append(groups[i].names, name)
		for _, rule := range l.Rules {
			if !slices.Contains(groups[i].rules, rule) {
				groups[i].rules = append(groups[i].rules, rule)
			}
		}
	}
	slices.SortStableFunc(groups, func(a, b leftGroup) int { return len(b.names) - len(a.names) })
	return groups
}

func (t *planText) leftBlock(g leftGroup) string {
	room, n := 4*(t.width-6), 0 // four lines of names
	for n < len(g.names) && (n == 0 || room >= lipgloss.Width(g.names[n])+2) {
		room -= lipgloss.Width(g.names[n]) + 2
		n++
	}
	names := strings.Join(g.names[:n], ", ")
	if rest := len(g.names) - n; rest > 0 {
		names += " and " + number(rest) + " more"
	}
	var b bytes.Buffer
	p := page{w: bufio.NewWriter(&b), width: t.width, color: t.color}
	p.line(4, 6, piece{names + ":", strong}, piece{g.why, normal}, piece{t.show(because(g.rules)), faint})
	if g.hint != "" {
		p.line(6, 8, piece{"hint:", faint}, piece{g.hint, normal})
	}
	_ = p.w.Flush() // a buffer takes everything
	return b.String()
}

func guardTitle(g plan.Guard) (string, tone) {
	switch g {
	case plan.GuardOwnKey:
		return "the key that keyreeve runs with", warn
	case plan.GuardRoot:
		return "of the root user", bad
	case plan.GuardQuarantine:
		return "exposed, and quarantined by AWS", bad
	case plan.GuardLastKey:
		return "the user's last active key, and in use", warn
	case plan.GuardIncomplete:
		return "not everything was read", bad
	case plan.GuardRotating:
		return "being rotated", warn
	case plan.GuardQuiet:
		return "inactive, nobody knows for how long", warn
	case plan.GuardUsed:
		return "used after keyreeve deactivated it", bad
	case plan.GuardGuidance:
		return "for a person to do", warn
	case plan.GuardException:
		return "covered by an accepted risk", warn
	default: // the others refuse a whole run
		return "refused", warn
	}
}
