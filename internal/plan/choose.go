package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// young is the age up to which the sources want a key to be kept.
const young = 90 * day

// keepOne answers verdicts that say that the user has too many active keys. Keys that go for reasons of their
// own are taken away first; a choice is made, or left open, among the others.
//
// A key taken for this reason alone is deactivated and no more: nothing is wrong with it, so there is always a
// way back, and the rule for inactive keys will speak up in its time.
func (w *work) keepOne(vs []*finding.Verdict) {
	limit := limitOf(vs[0])
	for _, v := range vs[1:] {
		limit = min(limit, limitOf(v))
	}
	rest, going := w.remaining()
	for _, d := range going {
		d.add(vs)
	}
	if len(rest) <= limit {
		if len(going) == 0 {
			for _, v := range vs {
				w.leave(GuardGuidance, &draft{user: w.u, verdicts: []*finding.Verdict{v}},
					fmt.Sprintf("there is nothing to choose: %s, and one is always kept", plural(len(rest), "active key")), showRule(v))
			}
		}
		return
	}
	for _, k := range rest {
		w.choosable[k.ID] = true
	}
	keep, why, open := w.choose(rest, limit)
	if open != "" {
		w.ask(rest, vs, open)
		return
	}
	for _, k := range rest {
		if !slices.Contains(keep, k) {
			w.give(k, vs, why)
		}
	}
}

// remaining are the active keys that stay so far, and the steps that take the others.
func (w *work) remaining() (rest []*fact.Key, going []*draft) {
	for _, k := range byCreation(w.u.Keys) {
		if !k.Active {
			continue
		}
		if i := slices.IndexFunc(w.drafts, func(d *draft) bool { return d.key == k && d.takes() }); i >= 0 {
			going = append(going, w.drafts[i])
		} else {
			rest = append(rest, k)
		}
	}
	return rest, going
}

// give deactivates a key that is not kept. If it was to be rotated it no longer is.
func (w *work) give(k *fact.Key, vs []*finding.Verdict, why string) {
	d := &draft{user: w.u, key: k, notBefore: w.due()}
	if i := slices.IndexFunc(w.drafts, func(d *draft) bool { return d.key == k }); i >= 0 {
		d = w.drafts[i]
		w.drafts = slices.Delete(w.drafts, i, i+1)
	}
	d.action = Deactivate
	d.add(vs)
	d.why = append(d.why, why)
	if !w.ownKey(d) {
		w.drafts = append(w.drafts, d)
	}
}

// ask leaves the choice to a person.
func (w *work) ask(rest []*fact.Key, vs []*finding.Verdict, open string) {
	d := &draft{user: w.u, action: Deactivate, verdicts: vs, undecided: open, choices: rest, notBefore: w.due()}
	if !slices.ContainsFunc(rest, func(k *fact.Key) bool { return !w.isOwn(k) }) {
		w.leave(GuardOwnKey, d, ownWhy, ownHint)
		return
	}
	w.drafts = append(w.drafts, d)
}

// choose says which of the keys to keep and why, or why nobody but a person can: open is then not empty.
func (w *work) choose(keys []*fact.Key, limit int) (keep []*fact.Key, why, open string) {
	for _, k := range keys {
		if w.keep[k.ID] {
			keep = append(keep, k)
		}
	}
	switch {
	case len(keep) > limit:
		w.mistakes.add("name those to keep, and no more", "--keep %s: user %q may have %s", strings.Join(ids(keep), ", "),
			w.u.Name, plural(limit, "active key"))
		return keep, "", ""
	case len(keep) == limit:
		return keep, strings.Join(ids(keep), ", ") + " kept, as --keep says", ""
	case limit > 1:
		return nil, "", fmt.Sprintf("%d of %d active keys may stay, and --keep names %d", limit, len(keys), len(keep))
	}
	k, why, open := w.working(keys)
	if open == "" {
		open = w.doubt(k, keys)
	}
	if open == "" && !w.young(k) {
		why += "; none is under 90 days old"
	}
	return []*fact.Key{k}, why, open
}

// working is the key that is shown to work: the one in use, or else the one used last.
func (w *work) working(keys []*fact.Key) (k *fact.Key, why, open string) {
	var used []*fact.Key // in use
	tie := false
	for _, c := range keys {
		if w.inUse(c) {
			used = append(used, c)
		}
		switch at := c.LastUsed.At; {
		case !at.Known():
		case k == nil || at.After(k.LastUsed.At):
			k, tie = c, false
		case at == k.LastUsed.At:
			tie = true
		}
	}
	switch {
	case len(used) > 1:
		return nil, "", fmt.Sprintf("%s were used in the last %s: %s", bothOr(len(used), len(keys)), span(w.opt.Settling), w.uses(used))
	case len(used) == 1:
		return used[0], used[0].ID + " is kept: it is the one in use, " + w.lastUse(used[0]), ""
	case k == nil:
		return nil, "", "none of them was ever used"
	case tie:
		return nil, "", "none is in use, and two were last used at the same time: " + w.uses(keys)
	default:
		return k, k.ID + " is kept: none is in use, it is the one used last, " + w.lastUse(k), ""
	}
}

// doubt is what speaks against keeping k alone; empty when nothing does.
func (w *work) doubt(k *fact.Key, keys []*fact.Key) string {
	for _, o := range keys {
		switch {
		case o == k:
		// About a young key "never used" is no evidence: it may be the new key of a rotation under way.
		case w.at.Sub(o.Created) <= w.opt.Settling:
			return fmt.Sprintf("%s was made only %s ago and may be about to replace %s", o.ID, w.age(o), k.ID)
		case !w.young(k) && w.young(o):
			return fmt.Sprintf("%s works but is %s old, and %s is under 90 days old", k.ID, w.age(k), o.ID)
		case w.excepted[o.ID]:
			return fmt.Sprintf("%s would go, and an accepted risk covers it", o.ID)
		}
	}
	return ""
}

// inUse tells whether the key was used within the settling time. A use after the moment judged is one.
func (w *work) inUse(k *fact.Key) bool {
	return k.LastUsed.At.Known() && w.at.Sub(k.LastUsed.At) <= w.opt.Settling
}

// young tells whether the key is at most 90 days old, at the later moment: a key does not grow younger.
func (w *work) young(k *fact.Key) bool { return w.late.Sub(k.Created) <= young }

// age of the key, in words, at the later moment.
func (w *work) age(k *fact.Key) string { return about(w.late.Sub(k.Created)) }

// uses lists when and by what keys were last used.
func (w *work) uses(keys []*fact.Key) string {
	var parts []string
	for _, k := range keys {
		parts = append(parts, k.ID+" "+w.lastUse(k))
	}
	return strings.Join(parts, ", ")
}

func bothOr(n, of int) string {
	if n == 2 && of == 2 {
		return "both"
	}
	return fmt.Sprintf("%d of %d", n, of)
}

func ids(keys []*fact.Key) []string {
	out := make([]string, 0, len(keys))
	for _, k := range keys {
		out = append(out, k.ID)
	}
	return out
}
