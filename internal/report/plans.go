package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/plan"
)

// AccountPlan is what came of planning one account of several.
type AccountPlan struct {
	Account fact.Account
	Plan    *plan.Plan // nil where Err is not
	Err     error
	Path    string // of the file; empty: none was written, for there are no steps, or nobody asked
}

// WritePlans tells for each account how many steps its plan has, and where it is. Each plan itself is written by WritePlan.
func WritePlans(w io.Writer, plans []AccountPlan, o Options) error {
	return writeRun(w, Text, o, nil, func(t *runText) { t.plans(plans, o) })
}

func (t *runText) plans(plans []AccountPlan, o Options) {
	var calm, unread int
	sum := map[plan.Action]int{}
	for _, p := range plans {
		name := accountName(p.Account)
		switch {
		case p.Err != nil:
			unread++
			text := p.Err.Error()
			if o.MaskKeys {
				text = Mask(text)
			}
			t.line(0, 2, piece{name + ":", strong}, piece{"not planned: " + clean(text), bad})
		case len(p.Plan.Steps)+len(p.Plan.LeftOut) == 0:
			calm++
		default:
			pieces := []piece{{name + ":", strong}}
			count := map[plan.Action]int{}
			for i := range p.Plan.Steps {
				count[p.Plan.Steps[i].Action]++
				sum[p.Plan.Steps[i].Action]++
			}
			parts := actionTexts(count)
			if n := len(p.Plan.LeftOut); n > 0 {
				parts = append(parts, plural(n, "subject")+" left out")
			}
			pieces = append(pieces, piece{strings.Join(parts, ", "), normal})
			if p.Path != "" {
				pieces = append(pieces, piece{"-> " + clean(p.Path), faint})
			}
			t.line(0, 2, pieces...)
		}
	}
	if len(plans) > 0 {
		t.blank()
	}
	t.line(0, 2, piece{fmt.Sprintf("Plans of %s:", plural(len(plans), "account")), strong},
		piece{strings.Join(append(actionTexts(sum), "nothing to do in "+plural(calm, "account")), ", ") + ".", normal})
	if unread > 0 {
		t.line(0, 2, piece{plural(unread, "account") + " could not be planned: nothing is known of them.", bad})
	}
}

// actionTexts counts steps by action.
func actionTexts(count map[plan.Action]int) []string {
	var out []string
	for _, a := range plan.Actions() {
		if n := count[a]; n > 0 {
			out = append(out, fmt.Sprintf("%s to %s", number(n), a))
		}
	}
	return out
}
