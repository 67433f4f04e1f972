package report

import (
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/rotate"
)

// rotationText lays out rotations as they stand at now.
type rotationText struct {
	page
	now time.Time
}

const rotationLabel = len("other key")

func (t *rotationText) field(name string, pieces ...piece) {
	t.put(t.style(faint, padded(name, rotationLabel)) + "  ")
	t.flow(rotationLabel+2, rotationLabel+2, pieces...)
}

func (t *rotationText) rotation(r *rotate.Rotation, events []rotate.Event) {
	t.heading(strong, product+" rotation "+orDash(clean(r.ID)))
	t.line(0, 2, track(r, events)...)
	t.blank()
	t.stands(r)
	t.blank()
	t.order(r)
	t.blank()
	t.keys(r)
	for i := range r.Targets {
		t.target(&r.Targets[i])
	}
	t.blank()
	t.terms(r)
	t.blank()
	t.events(r, events)
}

// track is the way of the rotation, the present state marked. One that left the way shows how far it came, if its events
// tell.
func track(r *rotate.Rotation, events []rotate.Event) []piece {
	line, at := mainLine(r), standing(r)
	mark := clean(string(at))
	_, tn := stateWord(r.State)
	if r.State != at {
		word, _ := stateWord(r.State)
		mark += ", " + word
	}
	if tn == normal || tn == faint {
		tn = strong
	}
	present := piece{"[" + mark + "]", tn}
	var out []piece
	add := func(p piece) {
		if len(out) > 0 {
			out = append(out, piece{">", faint})
		}
		out = append(out, p)
	}
	if here := slices.Index(line, at); here >= 0 {
		for i, s := range line {
			switch {
			case i < here:
				add(piece{string(s), normal})
			case i == here:
				add(present)
			default:
				add(piece{string(s), faint})
			}
		}
		return out
	}
	reached := -1
	for i := range events {
		if n := slices.Index(line, events[i].To); n >= 0 {
			reached = n
		}
	}
	for _, s := range line[:reached+1] {
		add(piece{string(s), normal})
	}
	if at == rotate.Cancelled {
		add(piece{string(rotate.BackingOut), normal})
	}
	add(present)
	if at == rotate.BackingOut {
		add(piece{string(rotate.Cancelled), faint})
	}
	return out
}

// stands says where the rotation is, why it waits, what a person can do, and what comes next.
func (t *rotationText) stands(r *rotate.Rotation) {
	word, tn := stateWord(r.State)
	loud := strong
	if tn != normal && tn != faint {
		loud = tn
	}
	t.field("state", piece{word, loud}, piece{"since", normal}, piece{t.when(r.EnteredAt), normal})
	if why := strings.TrimSpace(clean(r.Why)); why != "" {
		t.field("why", piece{why, tn})
	} else if r.State.Waiting() {
		t.field("why", piece{"no reason is on record", warn})
	}
	if r.Intent != rotate.None && !r.State.Over() {
		t.field("intent", piece{clean(string(r.Intent)) + ",", warn}, piece{t.when(r.IntentAt) + ":", normal},
			piece{"whether it was done is found out by looking, before anything else", warn})
	}
	switch r.State {
	case rotate.Blocked:
		t.field("do", piece{"give back the permission that is missing:", normal}, piece{product + " iam-policy --for rotate", strong},
			piece{"prints the policy, and it goes on by itself", normal})
	case rotate.Conflict:
		t.field("do", piece{"look at the user's keys and targets, and find out who changed them; then", normal})
	default: // the commands say it all
	}
	for _, c := range commands(r) {
		t.field("do", piece{product + " rotate " + c.name + " " + orDash(clean(r.ID)), strong})
		t.line(rotationLabel+4, rotationLabel+4, piece{c.effect, normal})
	}
	t.field("next", piece{upcoming(r), normal})
	if r.State.Over() {
		return
	}
	look := []piece{{"at once", strong}}
	if r.NextAt.After(t.now) {
		look = []piece{{t.when(r.NextAt), strong}}
	}
	if r.State == rotate.Held || r.State == rotate.Conflict {
		look = append(look, piece{"only to see that the user is still there", normal})
	} else if r.Tries > 0 {
		look = append(look, piece{"after " + tries(r.Tries) + " without progress", normal})
	}
	t.field("looks", look...)
	if at, before, then := bound(r); !at.IsZero() {
		text := t.when(at)
		if then != "" {
			text += ","
		}
		t.field("limit", piece{before, normal}, piece{text, normal}, piece{then, normal})
	}
}

// order says who asked for what.
func (t *rotationText) order(r *rotate.Rotation) {
	t.field("user", piece{userName(r.User), strong}, piece{"(" + orDash(clean(r.UserID)) + ")", normal}, piece{"in account", normal}, piece{orDash(clean(r.Account)), normal})
	t.field("by", piece{orDash(clean(r.Caller)), normal})
	t.field("reason", piece{orDash(strings.TrimSpace(clean(r.Reason))), normal})
	if r.Plan != "" {
		t.field("plan", piece{clean(r.Plan), normal})
	}
	t.field("started", piece{t.when(r.StartedAt), normal})
	if !r.DueAt.IsZero() {
		what := "to be begun"
		if r.Terms.Mode == rotate.Before {
			what = "the old key to be gone"
		}
		t.field("due", piece{t.when(r.DueAt) + ":", normal}, piece{what, normal})
	}
	if r.ConfirmedBy != "" {
		t.field("confirmed", piece{"by " + clean(r.ConfirmedBy), normal})
	}
	if r.ApprovedBy != "" {
		t.field("approved", piece{"by " + clean(r.ApprovedBy), normal})
	}
}

func (t *rotationText) keys(r *rotate.Rotation) {
	if r.First() {
		t.field("old key", piece{"none: the new key replaces none", normal})
	} else {
		t.oldKey(r)
	}
	t.newKeyAndProof(r)
	for i := range r.Others {
		k := &r.Others[i] // of their use nothing is on record
		t.field("other key", piece{orDash(clean(k.ID)), strong}, piece{keyState(r, k) + ";", normal}, piece{"made " + t.when(k.Created), normal})
	}
	if r.New.ID == "" && len(r.Before) > 0 {
		t.field("before", piece{"keys that stood before a new one was made:", faint}, piece{clean(strings.Join(r.Before, ", ")), faint})
	}
}

func (t *rotationText) oldKey(r *rotate.Rotation) {
	old := []piece{{orDash(clean(r.Old.ID)), strong}}
	switch {
	case r.State == rotate.Done:
		old = append(old, piece{"deleted;", good})
	case !r.Old.Active && !r.DeactivatedAt.IsZero():
		old = append(old, piece{"inactive since " + t.when(r.DeactivatedAt) + ";", normal})
	default:
		old = append(old, piece{keyState(r, &r.Old) + ";", normal})
	}
	last := "never used, as last read"
	if !r.Old.LastUsed.IsZero() {
		last = "last used " + t.when(r.Old.LastUsed)
	}
	t.field("old key", append(old, piece{"made " + t.when(r.Old.Created) + ",", normal}, piece{last, normal})...)
}

// newKeyAndProof says what is known of the new key, of its secret, and of its use.
func (t *rotationText) newKeyAndProof(r *rotate.Rotation) {
	t.field("new key", t.newKey(r)...)
	secret := piece{"not kept", faint}
	if len(r.Sealed) > 0 {
		secret = piece{"kept sealed until every target has read back and the key has answered", normal}
	}
	t.field("secret", secret)
	if !r.ProbedAt.IsZero() {
		text := "last called by us " + t.when(r.ProbedAt)
		if r.State == rotate.Probing {
			text += "; answers in a row: " + number(r.Answers)
		}
		t.field("probe", piece{text, normal})
	}
	if r.ProvenBy != "" {
		t.field("proof", piece{clean(r.ProvenBy), good})
	}
}

func (t *rotationText) newKey(r *rotate.Rotation) []piece {
	switch {
	case r.New.ID == "" && (r.Intent == rotate.Create || r.Intent == rotate.DropOrphan):
		return []piece{{"not known whether it exists: it was asked for, and never recorded", warn}}
	case r.New.ID == "" && r.State.Over():
		return []piece{{"none is on record", normal}}
	case r.New.ID == "":
		return []piece{{"not made yet", faint}}
	}
	out := []piece{{clean(r.New.ID), strong}}
	if r.State == rotate.Cancelled {
		out = append(out, piece{"deleted on the way back;", normal})
	} else {
		out = append(out, piece{keyState(r, &r.New) + ";", normal})
	}
	if !r.New.Created.IsZero() {
		out = append(out, piece{"made " + t.when(r.New.Created) + ",", normal})
	}
	if r.New.LastUsed.IsZero() { // it is read only for the proof
		return append(out, piece{"no use on record", normal})
	}
	return append(out, piece{"last used " + t.when(r.New.LastUsed), normal})
}

// keyState is the status of a key of r; once the user is gone, it is only what was last seen.
func keyState(r *rotate.Rotation, k *rotate.KeyRecord) string {
	text := "inactive"
	if k.Active {
		text = "active"
	}
	if r.State == rotate.Gone {
		text += " when last seen"
	}
	return text
}

func (t *rotationText) target(x *rotate.Target) {
	word, tn := targetWord(x)
	name := orDash(clean(x.Name))
	if x.Kind != "" {
		name += " (" + clean(x.Kind) + ")"
	}
	pieces := []piece{{name, strong}, {"at " + orDash(clean(x.Where)) + ":", normal}, {word, tn}}
	if why := strings.TrimSpace(clean(x.Why)); why != "" {
		pieces = append(pieces, piece{"- last trouble:", warn}, piece{why, warn})
	}
	if x.Tries > 0 {
		pieces = append(pieces, piece{"(failed " + tries(x.Tries) + ")", normal})
	}
	t.field("target", pieces...)
}

func (t *rotationText) terms(r *rotate.Rotation) {
	m := &r.Terms
	limits := piece{"delivery " + lasting(m.Delivery) + ", probe " + lasting(m.Probe) + ", then held for a person", normal}
	if r.First() {
		t.field("limits", limits)
		return
	}
	mode := map[rotate.Mode]string{
		rotate.After:  "after: it begins when the old key is due",
		rotate.Before: "before: it begins so early that the old key is gone when it is due",
	}[m.Mode]
	if mode == "" {
		mode = orDash(clean(string(m.Mode)))
	}
	t.field("mode", piece{mode, normal})
	quiet := "deleted after " + lasting(m.Quiet) + " of quiet"
	if longer := r.QuietFor(); longer > m.Quiet {
		quiet = "deleted after " + span(longer) + " of quiet, not " + lasting(m.Quiet) + ": it was seen unused for " + span(r.Gap) + " and used again"
	}
	t.field("terms", piece{"the old key is deactivated when not used for " + lasting(m.Settling) + ",", normal}, piece{quiet, normal})
	proof := "then held for a person"
	if m.Unproven {
		proof = "then on without proof"
	}
	limits.text += ";"
	t.field("limits", limits, piece{"proof " + lasting(m.Proof) + ", " + proof, normal})
}

func (t *rotationText) events(r *rotate.Rotation, events []rotate.Event) {
	if len(events) == 0 {
		t.line(0, 2, piece{"No events are on record.", faint})
		return
	}
	t.line(0, 2, piece{"events (UTC)", faint})
	at := 0
	for i := range events {
		at = max(at, len(clock(events[i].At, r.StartedAt)))
	}
	for i := range events {
		e := &events[i]
		t.put("  " + padded(clock(e.At, r.StartedAt), at) + "  ")
		t.flow(2+at+2, 2+at+4, told(e)...)
	}
}

// told is an event in words: an edge, an intent, or what a person said.
func told(e *rotate.Event) []piece {
	to := piece{clean(string(e.To)), strong}
	if e.To.Waiting() || e.To.Over() {
		if word, tn := stateWord(e.To); tn != faint {
			to = piece{word, tn}
		}
	}
	var out []piece
	if e.From != e.To && e.From != "" {
		out = append(out, piece{clean(string(e.From)) + " >", normal})
	}
	to.text += ":"
	out = append(out, to)
	if e.Name != "" {
		out = append(out, piece{clean(string(e.Name)), normal})
	}
	if e.Act != rotate.None {
		out = append(out, piece{"about to " + clean(string(e.Act)), normal})
	}
	if note := strings.TrimSpace(clean(e.Note)); note != "" {
		if e.Name != "" || e.Act != rotate.None {
			out = append(out, piece{"-", faint})
		}
		out = append(out, piece{note, normal})
	}
	return out
}

// when is an instant for people, with how far it is; what comes within the hour, to the minute.
func (t *rotationText) when(at time.Time) string {
	if d := at.Sub(t.now); d >= time.Minute && d < time.Hour {
		return moment(at) + " (in " + length(d+time.Minute-1) + ")"
	}
	return strings.TrimSpace(moment(at) + " " + relative(at, t.now))
}

func tries(n int) string {
	if n == 1 {
		return "1 try"
	}
	return number(n) + " tries"
}
