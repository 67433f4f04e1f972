package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// draft is a step in the making.
type draft struct {
	user      *fact.User
	key       *fact.Key // nil while undecided
	action    Action
	verdicts  []*finding.Verdict
	before    *journal.Step // the deactivation that this deletion follows; nil: none of ours asked for it
	why       []string      // beside the verdicts' messages
	undecided string
	choices   []*fact.Key
	then      Action
	since     time.Time // inactive since, by our journal; zero: not known, or active
	notBefore time.Time
	allowUsed bool
}

// takes tells whether the step leaves its user with one active key less.
func (d *draft) takes() bool {
	return d.key != nil && d.key.Active && (d.action == Deactivate || d.action == Delete)
}

// add lets the step answer more verdicts.
func (d *draft) add(vs []*finding.Verdict) {
	for _, v := range vs {
		if !slices.Contains(d.verdicts, v) {
			d.verdicts = append(d.verdicts, v)
		}
	}
}

// work is what is made of one user.
type work struct {
	*maker
	u        *fact.User
	missing  []string // what was not read of the user; then it gets no step
	verdicts []*finding.Verdict
	excepted map[string]bool // ids of keys that an accepted risk covers
	drafts   []*draft
	left     []left
}

// do makes the user's steps: first what each key asks for by itself, then what its number of keys asks for.
func (w *work) do() {
	about := map[string][]*finding.Verdict{} // by key id
	var keepOne []*finding.Verdict
	for _, v := range w.verdicts {
		if v.Status == finding.Excepted && v.Key != nil && v.Key.ID != "" {
			w.excepted[v.Key.ID] = true
		}
		switch {
		case v.Status != finding.Fail:
		case w.beyond(v):
		case v.Key == nil:
			keepOne = append(keepOne, v)
		default:
			about[v.Key.ID] = append(about[v.Key.ID], v)
		}
	}
	for _, k := range byCreation(w.u.Keys) {
		switch asked := about[k.ID]; {
		case !k.Active:
			w.inactive(k, asked)
		case len(asked) > 0:
			w.active(k, asked)
		}
	}
	if len(keepOne) > 0 {
		w.keepOne(keepOne)
	}
	w.guardLastKey()
}

// active makes the step of an active key whose own verdicts fail. Taking it away wins over rotating it: a
// key that nobody needs is not worth a new one.
func (w *work) active(k *fact.Key, asked []*finding.Verdict) {
	d := &draft{user: w.u, key: k, action: Rotate, verdicts: asked, notBefore: w.due()}
	if slices.ContainsFunc(asked, func(v *finding.Verdict) bool { return v.Remedy != finding.Rotate }) {
		d.action, d.then = Deactivate, Delete
		// What somebody accepted a risk for is not destroyed without the days in which it can be brought back.
		if w.opt.DeleteNow && k.LastUsed.At.Never() && w.at.Sub(k.Created) >= w.opt.Grace && !w.excepted[k.ID] {
			d.action, d.then = Delete, ""
		}
	}
	if !w.ownKey(d) {
		w.drafts = append(w.drafts, d)
	}
}

// inactive makes the step of an inactive key: its deletion, when a rule asks for it or when we deactivated it
// in order to.
func (w *work) inactive(k *fact.Key, asked []*finding.Verdict) {
	c, known := w.change(k)
	ours := known && c.State == journal.Inactive
	d := &draft{user: w.u, key: k, action: Delete, verdicts: asked, notBefore: w.due()}
	if ours && c.Step.Then == journal.Delete && w.chosen(c.Step.Rules) {
		d.before = &c.Step
	}
	if d.before == nil && !slices.ContainsFunc(asked, func(v *finding.Verdict) bool { return v.Remedy == finding.Delete }) {
		for _, v := range asked {
			w.leave(GuardGuidance, d.only(v), "the key is inactive already, and the rule asks for no deletion", showRule(v))
		}
		return
	}
	if w.unsound(d) || w.ownKey(d) || w.accepted(d, c, ours) {
		return
	}
	if ours {
		w.quietByJournal(d, c)
		return
	}
	latest, what := k.Created, "made"
	if use := k.LastUsed.At; use.Known() && use.After(latest) {
		latest, what = use, "last used"
	}
	if known && fact.At(c.At).After(latest) {
		latest, what = fact.At(c.At), "activated by run "+c.Run
	}
	w.quietByTrust(d, latest, what)
}

// chosen tells whether the plan may speak of what these rules asked for.
func (w *work) chosen(rules []string) bool {
	return len(w.opt.Rules) == 0 || slices.ContainsFunc(rules, func(id string) bool { return slices.Contains(w.opt.Rules, id) })
}

// only is the draft as it concerns one verdict.
func (d *draft) only(v *finding.Verdict) *draft {
	one := *d
	one.verdicts = []*finding.Verdict{v}
	return &one
}

// change is the last thing that we did to this very key.
func (m *maker) change(k *fact.Key) (journal.Change, bool) {
	c, ok := m.in.Changes[k.ID]
	return c, ok && k.ID != "" && k.Created.Known() && c.Step.KeyCreated.Unix() == k.Created.Unix()
}

func (w *work) change(k *fact.Key) (journal.Change, bool) {
	c, ok := w.maker.change(k)
	return c, ok && c.Step.UserID == w.u.ID // the user may have been made anew
}

// quietByJournal holds the deletion back until the key was inactive for the quiet period.
func (w *work) quietByJournal(d *draft, c journal.Change) {
	// A use shows late: one that nobody saw when the key was deactivated counts, also where it happened before.
	if use := d.key.LastUsed; use.At.Known() && use.At.Compare(fact.At(c.Step.LastUsed)) > 0 {
		when := "used since"
		if !use.At.After(fact.At(c.At)) {
			when = "used shortly before, which did not show then"
		}
		w.leave(GuardUsed, d, "it was deactivated "+minute(c.At)+", and "+when+": "+minute(use.At.Time())+by(use),
			"find out who used it; once switched on and deactivated by keyreeve again, its quiet period begins anew")
		return
	}
	d.since, d.notBefore = c.At.UTC(), c.At.Add(w.opt.Quiet).UTC()
	d.why = append(d.why, "deactivated "+minute(c.At)+" by run "+c.Run)
	// A verdict of a moment to come holds back longer; what follows an earlier step needs no verdict.
	if w.at.After(fact.At(w.opt.Now)) && d.before == nil && d.notBefore.Before(w.due()) {
		d.notBefore = w.due()
	}
	w.drafts = append(w.drafts, d)
}

// quietByTrust deletes a key of whose deactivation the journal knows nothing only when a person vouches for it,
// and nothing else says that it was active within the quiet period: latest is the last moment at which it was, and
// what happened then. AWS does not tell since when a key is inactive.
func (w *work) quietByTrust(d *draft, latest fact.Time, what string) {
	switch {
	case !w.opt.TrustInactive:
		w.leave(GuardQuiet, d, "since when it is inactive is not known: the journal has no deactivation of it",
			"--trust-inactive, if you know that they have been inactive for long")
	case w.at.Sub(latest) < w.opt.Quiet:
		w.leave(GuardQuiet, d, fmt.Sprintf("it was %s %s, so it cannot have been inactive for %s", what, minute(latest.Time()), span(w.opt.Quiet)),
			"plan again from "+minute(latest.Add(w.opt.Quiet+time.Minute).Time())+" on")
	default:
		d.why = append(d.why, "inactive for long, as --trust-inactive says")
		w.drafts = append(w.drafts, d)
	}
}

// byCreation are the keys in the order in which they were made.
func byCreation(keys []fact.Key) []*fact.Key {
	out := make([]*fact.Key, len(keys))
	for i := range keys {
		out[i] = &keys[i]
	}
	slices.SortFunc(out, compareKeys)
	return out
}

func compareKeys(a, b *fact.Key) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}
