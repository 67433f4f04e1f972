package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// Lengths of a step's id, and of what names it on the command line, in hex digits.
const (
	idLength  = 8
	minPrefix = 4
)

// step puts a draft into words.
func (m *maker) step(d *draft, id string) Step {
	s := Step{
		ID: id, Action: d.action, Account: m.in.Snapshot.Account.ID,
		User: d.user.Name, UserARN: d.user.ARN, UserID: d.user.ID,
		Undecided: d.undecided, Choices: ids(d.choices), Expect: m.expect(d),
		Why: d.reason(), NotBefore: d.notBefore, Reversible: d.action != Delete, Risk: m.risk(d),
		Then: d.then, AllowUsed: d.allowUsed,
	}
	if d.key != nil {
		s.KeyID = d.key.ID
	}
	s.Because, s.Rules = reasons(d.verdicts, d.before)
	return s
}

// expect is the state of the user's keys that the step was decided on.
func (m *maker) expect(d *draft) Expect {
	e := Expect{Status: Active, Siblings: []Sibling{}}
	if d.key == nil {
		e.CreatedAt = d.choices[0].Created.Time() // the oldest
	} else {
		e.Status, e.CreatedAt, e.LastUsedAt = statusOf(d.key), d.key.Created.Time(), lastUsed(d.key)
	}
	if !d.since.IsZero() {
		since := d.since
		e.InactiveSince = &since
	}
	for _, k := range byCreation(d.user.Keys) {
		if k != d.key {
			e.Siblings = append(e.Siblings, Sibling{k.ID, statusOf(k), k.Created.Time(), lastUsed(k)})
		}
	}
	return e
}

func statusOf(k *fact.Key) Status {
	if k.Active {
		return Active
	}
	return Inactive
}

func lastUsed(k *fact.Key) *time.Time {
	if !k.LastUsed.At.Known() {
		return nil
	}
	t := k.LastUsed.At.Time()
	return &t
}

// reasons are the ids of the verdicts and of their rules, each once; of a follow-up also those of the step
// before.
func reasons(vs []*finding.Verdict, before *journal.Step) (because, rules []string) {
	because, rules = []string{}, []string{}
	add := func(list []string, s string) []string {
		if slices.Contains(list, s) {
			return list
		}
		return append(list, s)
	}
	for _, v := range vs {
		because, rules = add(because, v.ID), add(rules, v.Rule)
	}
	if before != nil {
		for _, id := range before.Because {
			because = add(because, id)
		}
		for _, id := range before.Rules {
			rules = add(rules, id)
		}
	}
	return because, rules
}

// compareDrafts is the order of steps: by user; deletions, deactivations, open choices, and last rotations, which
// take days.
func compareDrafts(a, b *draft) int {
	return cmp.Or(
		cmp.Compare(a.user.Name, b.user.Name), cmp.Compare(a.rank(), b.rank()), compareMaybe(a.key, b.key),
	)
}

func (d *draft) rank() int {
	switch {
	case d.action == Delete:
		return 0
	case d.undecided != "":
		return 2
	case d.action == Deactivate:
		return 1
	default:
		return 3
	}
}

// ids are those of the drafts: the same for the same key and action, whenever they are planned.
func (m *maker) ids() []string {
	sums := make([]string, len(m.drafts))
	for i, d := range m.drafts {
		what := "choose"
		if d.key != nil {
			what = d.key.ID
		}
		var b strings.Builder
		for _, s := range []string{"keyreeve.step/1", m.in.Snapshot.Account.ID, d.user.ID, what, string(d.action)} {
			b.WriteString(strconv.Quote(s))
		}
		sum := sha256.Sum256([]byte(b.String()))
		sums[i] = hex.EncodeToString(sum[:])
	}
	return shorten(sums)
}

// shorten cuts different texts to 8 characters, or where two begin alike to as few more as tell them apart.
func shorten(sums []string) []string {
	sorted := slices.Sorted(slices.Values(sums))
	out := make([]string, len(sums))
	for i, s := range sums {
		n := idLength
		at, _ := slices.BinarySearch(sorted, s)
		for _, j := range []int{at - 1, at + 1} {
			for j >= 0 && j < len(sorted) && n < len(s) && strings.HasPrefix(sorted[j], s[:n]) {
				n++
			}
		}
		out[i] = s[:n]
	}
	return out
}

// narrow keeps the steps that Only names. They do not bring others with them: whoever names steps has
// looked at the plan.
func (m *maker) narrow(p *Plan) {
	const hint = "keyreeve plan without --only lists the steps"
	keep := map[string]bool{}
	for _, prefix := range m.opt.Only {
		var found []string
		for i := range p.Steps {
			if strings.HasPrefix(p.Steps[i].ID, strings.ToLower(prefix)) {
				found = append(found, p.Steps[i].ID)
			}
		}
		switch len(found) {
		case 0:
			m.mistakes.add(hint, "--only %s: the plan has no such step", prefix)
		case 1:
			keep[found[0]] = true
		default:
			m.mistakes.add(hint, "--only %s means %d steps: %s", prefix, len(found), strings.Join(found, ", "))
		}
	}
	p.Steps = slices.DeleteFunc(p.Steps, func(s Step) bool { return !keep[s.ID] })
}
