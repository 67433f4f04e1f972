package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/rotate"
)

// mainLine is the way of a rotation that meets no trouble; that of a first key ends once it is handed over.
func mainLine(r *rotate.Rotation) []rotate.State {
	states := rotate.States()
	if r.First() {
		return append(states[:slices.Index(states, rotate.Probing)+1], rotate.Done)
	}
	return states[:slices.Index(states, rotate.Done)+1]
}

// standing is the state in which a rotation's work is: of a waiting one, that in which it goes on.
func standing(r *rotate.Rotation) rotate.State {
	if r.State.Waiting() && r.Resume != "" {
		return r.Resume
	}
	return r.State
}

// stateWord is a state for people; one that waits is written large.
func stateWord(s rotate.State) (string, tone) {
	word := clean(string(s))
	switch s {
	case rotate.Held, rotate.Blocked:
		return strings.ToUpper(word), warn
	case rotate.Conflict:
		return strings.ToUpper(word), bad
	case rotate.BackingOut, rotate.Gone:
		return word, warn
	case rotate.Done:
		return word, good
	case rotate.Cancelled:
		return word, faint
	default:
		return word, normal
	}
}

// targetWord is how far a delivery is, for people.
func targetWord(x *rotate.Target) (string, tone) {
	switch x.State {
	case rotate.Pending:
		return "nothing put there yet", faint
	case rotate.Put:
		return "put there, or may have been; not read back", warn
	case rotate.Holds:
		return "holds the new key", good
	case rotate.Restored:
		return "holds again what it held before", good
	case rotate.Marked:
		return "NOT RESTORED: a person has to put back what it held", bad
	default:
		return orDash(clean(string(x.State))), warn
	}
}

// command is something that a person may say to a rotation, and what comes of it.
type command struct{ name, effect string }

// commands are those that a rotation takes now.
func commands(r *rotate.Rotation) []command {
	at := standing(r)
	var out []command
	if at == rotate.Proving && (r.State == rotate.Proving || r.State == rotate.Held) {
		out = append(out, command{"confirm", "says that its consumer uses the new key"})
	}
	if _, ok := rotate.Next(r.State, rotate.Approve); ok {
		out = append(out, command{"approve", approval(r, at)})
	}
	if _, ok := rotate.Next(r.State, rotate.Cancel); ok {
		effect := "backs out: the old key active, the targets restored, the new key gone"
		if r.First() {
			effect = "backs out: the targets restored, the new key gone"
		}
		out = append(out, command{"cancel", effect})
	}
	return out
}

// approval says what approving brings about.
func approval(r *rotate.Rotation, at rotate.State) string {
	var text string
	switch at {
	case rotate.Requested, rotate.Creating:
		text = "begins anew, if the user can have one more key by then"
	case rotate.Delivering, rotate.Probing, rotate.Proving:
		text = "goes on " + string(at) + "; its limit begins anew"
	case rotate.Quiet, rotate.Deleting:
		text = "leaves the old key inactive; its quiet period begins anew"
	case rotate.BackingOut:
		text = "goes on backing out"
	default:
		text = "goes on " + doing(at)
	}
	if r.State == rotate.Conflict {
		text += ". The user's other keys are taken as they are then; refused unless its own keys are as it left them"
	}
	return text
}

// upcoming says what a rotation does next.
func upcoming(r *rotate.Rotation) string {
	switch r.State {
	case rotate.Requested:
		return "make sure that the user can have one more key, then make the new key"
	case rotate.Creating:
		if r.Intent != rotate.None {
			return "find out by looking whether the new key was made"
		}
		return "make the new key"
	case rotate.Delivering:
		open := 0
		for i := range r.Targets {
			if r.Targets[i].State != rotate.Holds {
				open++
			}
		}
		return fmt.Sprintf("deliver the new key: %s of %s to go", number(open), plural(len(r.Targets), "target"))
	case rotate.Probing:
		return "call with the new key until it has answered several times in a row"
	case rotate.Proving:
		return "see whether its consumer has used the new key"
	case rotate.Deactivating:
		return "deactivate the old key, once nobody has used it for " + lasting(r.Terms.Settling)
	case rotate.Quiet:
		return "delete the old key, if nobody uses it until the quiet period is over"
	case rotate.Deleting:
		return "read the last use of the old key once more, then delete it"
	case rotate.BackingOut:
		if r.First() {
			return "restore the targets, delete the new key"
		}
		return "see that the old key is active, restore the targets, delete the new key"
	case rotate.Blocked:
		return "try again by itself, then go on " + doing(standing(r))
	case rotate.Held, rotate.Conflict:
		return "nothing until a person decides; then it goes on " + doing(standing(r)) + ", or backs out"
	case rotate.Done, rotate.Cancelled, rotate.Gone:
		return "nothing: it is over"
	default:
		return "not known"
	}
}

// doing names a state to go on in.
func doing(s rotate.State) string {
	switch s {
	case rotate.Requested:
		return "from its beginning"
	case rotate.Quiet:
		return "with the quiet period"
	default:
		return clean(string(s))
	}
}

// bound is a time that matters for the state, and what it means; the zero time: there is none.
func bound(r *rotate.Rotation) (at time.Time, before, after string) {
	limit := func(d time.Duration, then string) (time.Time, string, string) {
		if d <= 0 || r.EnteredAt.IsZero() {
			return time.Time{}, "", ""
		}
		return r.EnteredAt.Add(d), "until", then
	}
	const held = "then it is held for a person"
	switch {
	case r.State == rotate.Delivering:
		return limit(r.Terms.Delivery, held)
	case r.State == rotate.Probing:
		return limit(r.Terms.Probe, held)
	case r.State == rotate.Proving && r.Terms.Unproven:
		return limit(r.Terms.Proof, "then it goes on without proof, as its terms allow")
	case r.State == rotate.Proving:
		return limit(r.Terms.Proof, held)
	case r.State == rotate.Deactivating && !r.Old.LastUsed.IsZero():
		return r.Old.LastUsed.Add(r.Terms.Settling), "not before", ""
	case r.State == rotate.Quiet && !r.DeactivatedAt.IsZero():
		return r.DeactivatedAt.Add(r.QuietFor()), "not before", ""
	default:
		return time.Time{}, "", ""
	}
}

// lasting writes a length of time of the terms exactly: 7 days, 1 h.
func lasting(d time.Duration) string { return seconds(int64(d / time.Second)) }
