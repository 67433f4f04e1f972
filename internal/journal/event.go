package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Rotation is what a run of the kind Rotate is about, as it stood when the rotation began.
type Rotation struct {
	User    string
	UserID  string    // unique id (AIDA...)
	Old     string    // id of the key that is replaced; empty: none, the new one is a first key
	Created time.Time // of that key; zero without one
	Others  []string  // ids of the user's other keys
	Targets []string  // names of the places where the new key goes
}

// Happening is what an entry of the kind Event holds. States, names and acts are those of package rotate, which the
// journal repeats and does not judge.
type Happening struct {
	From, To string
	Name     string // what was seen, done or said; empty for an intent
	Act      string // intended or done; may be empty
	Changed  []KeyChange
}

// KeyChange says that a rotation changed a key and saw it changed.
type KeyChange struct {
	Action     Action
	KeyID      string
	KeyCreated time.Time
	LastUsed   time.Time // as it was when the key was changed; zero: never
	From       State
}

type rotationRecord struct {
	User    string   `json:"user"`
	UserID  string   `json:"user_id"`
	Old     string   `json:"old_key_id"`
	Created string   `json:"old_key_created_at"`
	Others  []string `json:"other_key_ids"`
	Targets []string `json:"targets"`
}

type happening struct {
	From    string      `json:"from"`
	To      string      `json:"to"`
	Name    string      `json:"event"`
	Act     string      `json:"act"`
	Changed []keyChange `json:"changed"`
}

type keyChange struct {
	Action     Action  `json:"action"`
	KeyID      string  `json:"key_id"`
	KeyCreated string  `json:"key_created_at"`
	LastUsed   *string `json:"last_used_at"` // null: never
	From       State   `json:"from"`
}

// RecordHappening is the Data of an entry of the kind Event. The same happening gives the same bytes.
func RecordHappening(h *Happening) json.RawMessage {
	out := happening{h.From, h.To, h.Name, h.Act, []keyChange{}}
	for _, c := range h.Changed {
		out.Changed = append(out.Changed, keyChange{c.Action, c.KeyID, Stamp(c.KeyCreated), stampOrNull(c.LastUsed), c.From})
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil // cannot be: strings only
	}
	return body
}

// ReadHappening is the happening that RecordHappening wrote.
func ReadHappening(data json.RawMessage) (*Happening, error) {
	var in happening
	if err := DecodeStrict(data, &in); err != nil {
		return nil, fmt.Errorf("no record of an event: %w", err)
	}
	h := &Happening{From: in.From, To: in.To, Name: in.Name, Act: in.Act}
	if h.From == "" || h.To == "" {
		return nil, fmt.Errorf("event %q from state %q to %q", h.Name, h.From, h.To)
	}
	for _, c := range in.Changed {
		change, err := c.read()
		if err != nil {
			return nil, fmt.Errorf("event %q: key %q: %w", h.Name, c.KeyID, err)
		}
		h.Changed = append(h.Changed, change)
	}
	return h, nil
}

func (c *keyChange) read() (KeyChange, error) {
	out := KeyChange{Action: c.Action, KeyID: c.KeyID, From: c.From}
	var err error
	if out.KeyCreated, err = ParseStamp(c.KeyCreated); err != nil {
		return out, err
	}
	if c.LastUsed != nil {
		if out.LastUsed, err = ParseStamp(*c.LastUsed); err != nil {
			return out, err
		}
	}
	switch {
	case !slices.Contains(Actions(), c.Action):
		return out, fmt.Errorf("unknown action %q", c.Action)
	case !slices.Contains(States(), c.From):
		return out, fmt.Errorf("unknown state %q", c.From)
	case c.KeyID == "" || out.KeyCreated.IsZero():
		return out, errors.New("it lacks an id or the time at which it was made")
	case c.LastUsed != nil && out.LastUsed.IsZero():
		return out, fmt.Errorf("last used at %q", *c.LastUsed) // null says never
	default:
		return out, nil
	}
}

func recordRotation(r *Rotation) *rotationRecord {
	if r == nil {
		return nil
	}
	return &rotationRecord{r.User, r.UserID, r.Old, Stamp(r.Created), list(r.Others), list(r.Targets)}
}

func (r *rotationRecord) read(at func(string) time.Time) *Rotation {
	if r == nil {
		return nil
	}
	return &Rotation{r.User, r.UserID, r.Old, at(r.Created), some(r.Others), some(r.Targets)}
}

func (r *Rotation) valid() error {
	switch {
	case r.User == "" || r.UserID == "":
		return errors.New("its rotation lacks a user or a user id")
	case (r.Old == "") != r.Created.IsZero():
		return errors.New("its rotation has a key without the time at which it was made, or that time without a key")
	default:
		return nil
	}
}

// changes are what the events of a rotation did to keys. An event that cannot be read has changed nothing that anybody
// could rely on.
func (r *Run) changes() []Change {
	var out []Change
	for i := range r.Events {
		e := &r.Events[i]
		h, err := ReadHappening(e.Data)
		if err != nil {
			continue
		}
		for _, c := range h.Changed {
			step := Step{
				Action: c.Action, User: r.Rotation.User, UserID: r.Rotation.UserID,
				KeyID: c.KeyID, KeyCreated: c.KeyCreated, LastUsed: c.LastUsed, From: c.From,
			}
			out = append(out, Change{Run: r.ID, Plan: r.Plan, Step: step, State: c.Action.Leaves(), At: e.At, Seq: e.Seq})
		}
	}
	return out
}
