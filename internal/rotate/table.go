package rotate

// EventName is what a look at the world, an act or a person may bring about.
type EventName string

const (
	// Seen or done.
	SlotFree    EventName = "slot free"        // the user can have one more key
	SlotsFull   EventName = "slots full"       // it cannot
	Made        EventName = "made"             // the new key exists and is recorded
	NotMade     EventName = "not made"         // it does not exist: an orphan was deleted, or none was made
	AllHold     EventName = "all hold"         // every target has read back
	Answered    EventName = "answered"         // the new key answered several times in a row
	HandedOver  EventName = "handed over"      // so did a first key, which replaces none
	Proven      EventName = "proven"           // its consumer has used it, or somebody vouches for that
	WentInert   EventName = "deactivated"      // the old key is seen inactive
	QuietOver   EventName = "quiet over"       // nobody used the old key for the whole quiet period
	WentForGood EventName = "deleted"          // the old key is seen gone
	BackedOut   EventName = "backed out"       // the account is as it was found
	NotYet      EventName = "not yet"          // what the state waits for has not come: look again later
	UsedAgain   EventName = "used again"       // the old key was used after we deactivated it
	TooLong     EventName = "too long"         // the state's limit is over
	Lacking     EventName = "lacks permission" // a permission is missing
	Permitted   EventName = "permitted"        // it is back
	Unreadable  EventName = "unreadable"       // throttled, no answer: unknown, so nothing happens
	Moved       EventName = "moved"            // keys or targets are not as we left them
	UserGone    EventName = "user gone"        // deleted, or made again

	// Said by a person.
	Approve EventName = "approve"
	Cancel  EventName = "cancel"
)

// EventNames lists every EventName.
func EventNames() []EventName {
	return []EventName{
		SlotFree, SlotsFull, Made, NotMade, AllHold, Answered, HandedOver, Proven, WentInert, QuietOver, WentForGood, BackedOut, NotYet,
		UsedAgain, TooLong, Lacking, Permitted, Unreadable, Moved, UserGone, Approve, Cancel,
	}
}

// Edge is one row of the table: in From, On leads to To.
type Edge struct {
	From State
	On   EventName
	To   State // ToResume: where the rotation stood before it had to wait
}

// ToResume stands for the state in the rotation's Resume.
const ToResume State = "(resume)"

// Edges is the whole table, written out. A pair of state and event that is not in it cannot happen or changes nothing.
func Edges() []Edge {
	edges := []Edge{
		{Requested, SlotFree, Creating},
		{Requested, SlotsFull, Held},
		{Requested, NotYet, Requested},
		{Creating, Made, Delivering},
		{Creating, NotMade, Requested},
		{Creating, NotYet, Creating},
		{Creating, SlotsFull, Held},
		{Delivering, AllHold, Probing},
		{Delivering, NotYet, Delivering},
		{Delivering, TooLong, Held},
		{Probing, Answered, Proving},
		{Probing, HandedOver, Done},
		{Probing, NotYet, Probing},
		{Probing, TooLong, Held},
		{Proving, Proven, Deactivating},
		{Proving, NotYet, Proving},
		{Proving, TooLong, Held},
		{Deactivating, WentInert, Quiet},
		{Deactivating, NotYet, Deactivating},
		{Quiet, QuietOver, Deleting},
		{Quiet, NotYet, Quiet},
		{Quiet, UsedAgain, Held},
		{Deleting, WentForGood, Done},
		{Deleting, NotYet, Deleting},
		{Deleting, UsedAgain, Held},
		{BackingOut, BackedOut, Cancelled},
		{BackingOut, NotYet, BackingOut},
		{BackingOut, TooLong, Held},
		{Blocked, Permitted, ToResume},
		{Blocked, NotYet, Blocked},
		{Held, Approve, ToResume},
		{Conflict, Approve, ToResume},
	}
	for _, s := range States() {
		if s.Over() {
			continue
		}
		edges = append(edges, Edge{s, UserGone, Gone})
		if s.Waiting() {
			edges = append(edges, Edge{s, Cancel, BackingOut}, Edge{s, Unreadable, s}, Edge{s, Lacking, s})
			continue
		}
		edges = append(edges, Edge{s, Unreadable, s}, Edge{s, Lacking, Blocked}, Edge{s, Moved, Conflict})
		// What is being deleted may be gone already: from there is no way back.
		if s != Deleting && s != BackingOut {
			edges = append(edges, Edge{s, Cancel, BackingOut})
		}
	}
	return edges
}

// Next is the edge from a state on an event; false: there is none.
func Next(from State, on EventName) (Edge, bool) {
	for _, e := range Edges() {
		if e.From == from && e.On == on {
			return e, true
		}
	}
	return Edge{}, false
}
