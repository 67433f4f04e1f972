package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
)

const (
	ownWhy  = "keyreeve runs with this key, or may"
	ownHint = "run with other credentials, such as a role of their own"
)

// left is a LeftOut in the making.
type left struct {
	user     *fact.User
	key      *fact.Key // nil: about the user
	guard    Guard
	why      string
	hint     string
	verdicts []*finding.Verdict
	before   *journal.Step
}

// leave gives no step to what the draft answers, and says why. Verdicts about the same thing, left out for the same
// reason, stand together.
func (w *work) leave(g Guard, d *draft, why, hint string) {
	for i := range w.left {
		l := &w.left[i]
		if l.key == d.key && l.guard == g && l.why == why && l.hint == hint {
			for _, v := range d.verdicts {
				if !slices.Contains(l.verdicts, v) {
					l.verdicts = append(l.verdicts, v)
				}
			}
			l.before = cmp.Or(l.before, d.before)
			return
		}
	}
	w.left = append(w.left, left{w.u, d.key, g, why, hint, slices.Clone(d.verdicts), d.before})
}

func showRule(v *finding.Verdict) string {
	return "keyreeve rules show " + v.Rule + " lists the steps"
}

// beyond leaves out a failing verdict that no automatic step may answer.
func (w *work) beyond(v *finding.Verdict) bool {
	d := &draft{user: w.u, verdicts: []*finding.Verdict{v}}
	if v.Key != nil {
		d.key = w.key(v.Key.ID)
	}
	aboutKey := v.Remedy == finding.Rotate || v.Remedy == finding.Deactivate || v.Remedy == finding.Delete
	switch {
	case w.u.Root:
		w.leave(GuardRoot, d, "a root key is never changed automatically", showRule(v))
	case v.Kind == "exposed-key":
		w.leave(GuardQuarantine, d, quarantined, showRule(v))
	case w.u.Quarantine == fact.Yes:
		return w.unsound(d)
	case v.Remedy == finding.Guide:
		w.leave(GuardGuidance, d, "what to do is for a person to decide", showRule(v))
	case w.unsound(d):
	case v.Key != nil && d.key == nil:
		w.leave(GuardIncomplete, d, cmp.Or(v.Key.ID, "the key that the verdict is about")+" was not read", readAgain)
	case aboutKey && v.Key == nil:
		w.leave(GuardGuidance, d, "the rule speaks of the user: which key it means is for a person to decide", showRule(v))
	case !aboutKey && (v.Remedy != finding.KeepOne || v.Key != nil):
		w.leave(GuardGuidance, d, "the rule teaches nothing that can be done to one key", showRule(v))
	default:
		return false
	}
	return true
}

const (
	quarantined = "AWS found a key of this user exposed: what strangers did with it has to be looked into first"
	readAgain   = "plan again; keyreeve doctor tells whether a permission is missing"
)

// unsound leaves out whatever concerns a user that is quarantined or was not wholly read.
func (w *work) unsound(d *draft) bool {
	switch {
	case w.u.Quarantine == fact.Yes:
		w.leave(GuardQuarantine, d, quarantined, "keyreeve rules show exposed-key lists the steps")
	case len(w.missing) > 0:
		w.leave(GuardIncomplete, d, "not read of this user: "+strings.Join(w.missing, ", "), readAgain)
	case w.in.Rotating[w.u.ID] != "":
		w.leave(GuardRotating, d, "rotation "+w.in.Rotating[w.u.ID]+" of this user is under way", "keyreeve rotate show "+w.in.Rotating[w.u.ID]+" tells where it stands")
	default:
		return false
	}
	return true
}

// missing lists what was not read of a user. Without any of it nobody can say whom a step would break, or
// whether an accepted risk covers it.
func (m *maker) missing(u *fact.User) []string {
	var out []string
	need := func(ok bool, what string) {
		if !ok {
			out = append(out, what)
		}
	}
	need(u.ID != "", "its unique id")
	need(u.ARN != "", "its ARN")
	need(u.KeysRead, "its keys")
	for i := range u.Keys {
		k := &u.Keys[i]
		name := cmp.Or(k.ID, "a key")
		need(k.ID != "", "the id of a key")
		need(k.Created.Known(), "when "+name+" was made")
		need(!k.LastUsed.At.Unknown(), "when "+name+" was last used")
		if c, ours := m.change(k); ours && c.State == journal.Absent {
			need(false, "that "+name+" is gone: it was deleted "+minute(c.At)+" by run "+c.Run) // IAM shows it late
		}
	}
	need(u.Password != fact.Unknown, "whether it has a password")
	need(u.TagsRead, "its tags")
	need(u.Quarantine != fact.Unknown, "whether it is quarantined")
	return out
}

// key is the user's key of that id, or nil.
func (w *work) key(id string) *fact.Key {
	if i := slices.IndexFunc(w.u.Keys, func(k fact.Key) bool { return id != "" && k.ID == id }); i >= 0 {
		return &w.u.Keys[i]
	}
	return nil
}

// isOwn tells whether the credentials that we run with are, or come from, this key.
func (w *work) isOwn(k *fact.Key) bool {
	return w.own[k.ID] || slices.ContainsFunc(w.in.OwnUsers, func(c fact.Caller) bool {
		return c.ARN == w.u.ARN || c.ID != "" && c.ID == w.u.ID
	})
}

// ownKey leaves out a step that would saw off the branch we sit on.
func (w *work) ownKey(d *draft) bool {
	if !w.isOwn(d.key) {
		return false
	}
	w.leave(GuardOwnKey, d, ownWhy, ownHint)
	return true
}

// accepted leaves out the deletion of a key that an accepted risk covers, though not by the rule that asks for
// the deletion: what somebody wants to keep is not destroyed.
func (w *work) accepted(d *draft, c journal.Change, ours bool) bool {
	const hint = "let the exception go, or cover the rule that asks for the deletion too"
	if w.excepted[d.key.ID] {
		w.leave(GuardException, d, "an accepted risk covers this key", hint)
		return true
	}
	if !ours || w.in.Excepted == nil || len(c.Step.Rules) == 0 {
		return false
	}
	e := w.in.Excepted(c.Step.Rules, w.u, d.key)
	if e == nil {
		return false
	}
	why := "an accepted risk covers the rule that it was deactivated for: " + strings.Join(c.Step.Rules, ", ")
	if e.Reason != "" {
		why += " (" + e.Reason + ")"
	}
	w.leave(GuardException, d, why, hint)
	return true
}

// guardLastKey looks at what all steps of the user do together: when none of its active keys would stay and
// some are in use, the one used last stays, unless a person allowed each of those in use to go.
func (w *work) guardLastKey() {
	rest, going := w.remaining()
	if len(rest) > 0 {
		return
	}
	var last *draft
	for _, d := range going {
		if !w.inUse(d.key) || w.allow[d.key.ID] {
			continue
		}
		if last == nil || d.key.LastUsed.At.After(last.key.LastUsed.At) {
			last = d
		}
	}
	if last == nil {
		for _, d := range going {
			d.allowUsed = w.inUse(d.key)
		}
		return
	}
	w.leave(GuardLastKey, last, "the user would be left without an active key, and this one is in use: "+w.lastUse(last.key),
		"--allow-used "+last.key.ID)
	w.drafts = slices.DeleteFunc(w.drafts, func(d *draft) bool { return d == last })
}

// checkNames finds ids of keys that the account does not have, or between which there was nothing to choose.
func (m *maker) checkNames() {
	known := map[string]bool{}
	for i := range m.in.Snapshot.Users {
		for j := range m.in.Snapshot.Users[i].Keys {
			known[m.in.Snapshot.Users[i].Keys[j].ID] = true
		}
	}
	const hint = "keyreeve plan without it shows the keys and the choices"
	for _, f := range []struct {
		flag string
		ids  []string
	}{{"--keep", m.opt.Keep}, {"--allow-used", m.opt.AllowUsed}} {
		for _, id := range f.ids {
			switch {
			case !known[id]:
				m.mistakes.add(hint, "%s %s: account %s has no such key", f.flag, id, m.in.Snapshot.Account.ID)
			case f.flag == "--keep" && !m.choosable[id]:
				m.mistakes.add(hint, "%s %s: there is nothing to choose about this key", f.flag, id)
			}
		}
	}
}

// leftOut puts what was left out in order and into words.
func (m *maker) leftOut() []LeftOut {
	slices.SortStableFunc(m.left, func(a, b left) int {
		return cmp.Or(cmp.Compare(a.user.Name, b.user.Name), compareMaybe(a.key, b.key), cmp.Compare(a.guard, b.guard))
	})
	var out []LeftOut
	for _, l := range m.left {
		if m.opt.Users != nil && !m.opt.Users(l.user.Name, l.user.ARN) {
			continue
		}
		o := LeftOut{Account: m.in.Snapshot.Account.ID, User: l.user.Name, Guard: l.guard, Why: l.why, Hint: l.hint}
		if l.key != nil {
			o.KeyID = l.key.ID
		}
		o.Because, o.Rules = reasons(l.verdicts, l.before)
		out = append(out, o)
	}
	return out
}

// compareMaybe puts what is about the user before what is about its keys.
func compareMaybe(a, b *fact.Key) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	default:
		return compareKeys(a, b)
	}
}

// wrongAccount says that a plan is for one account and the credentials are for another.
func wrongAccount(plan, reached string) *Refusal {
	return &Refusal{
		Guard: GuardAccount, Why: fmt.Sprintf("the plan is for account %s, and the credentials reach account %s", plan, reached),
		Widen: "use credentials of account " + plan,
	}
}
