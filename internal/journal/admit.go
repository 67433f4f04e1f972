package journal

import (
	"errors"
	"fmt"
	"slices"
)

// ErrOutOfPlace says that an entry cannot follow those that its run has.
var ErrOutOfPlace = errors.New("the entry is out of place")

// Admits says why e cannot be the next entry of the run, by an error that wraps ErrOutOfPlace. The run must
// hold the step that e is about with all its entries; other steps may be missing.
//
// A step is tried once in a run, unless the first try is known to have changed nothing. A run that has ended
// takes nothing but the verification of a step that is still unresolved: somebody looked later.
func (r *Run) Admits(e *Entry) error {
	ended := !r.EndedAt.IsZero()
	switch {
	case e.Kind == Begin:
		return out(e, "the run has begun already")
	case ended && e.Kind != Verification:
		return out(e, "the run has ended")
	case e.Kind == End:
		return nil
	case e.Kind == Event && r.Kind != Rotate:
		return out(e, "the run is no rotation")
	case e.Kind == Event:
		return nil
	}
	i := slices.IndexFunc(r.Steps, func(s Step) bool { return s.ID == e.Step })
	if i < 0 {
		return out(e, "the run has no such step")
	}
	s := &r.Steps[i]
	tried := slices.ContainsFunc(s.Entries, func(old Entry) bool { return old.Kind == Intent })
	status := s.Status()
	switch e.Kind {
	case Intent:
		if status == StatusUnresolved || status == StatusDone {
			return out(e, "the step is "+string(status)+": it is not tried again")
		}
	case Outcome:
		if len(s.Entries) == 0 || s.Entries[len(s.Entries)-1].Kind != Intent {
			return out(e, "no intent stands open before it")
		}
	case Verification:
		if !tried {
			return out(e, "the step was not tried")
		}
		if ended && status != StatusUnresolved {
			return out(e, "the run has ended and the step is "+string(status))
		}
	case Left:
		if tried {
			return out(e, "the step was tried")
		}
	default:
		return out(e, "unknown kind")
	}
	return nil
}

func out(e *Entry, why string) error {
	if e.Step == "" {
		return fmt.Errorf("%s of run %s: %w: %s", e.Kind, e.Run, ErrOutOfPlace, why)
	}
	return fmt.Errorf("%s of step %s of run %s: %w: %s", e.Kind, e.Step, e.Run, ErrOutOfPlace, why)
}

// add takes an entry that the run admits.
func (r *Run) add(e *Entry) {
	if e.Kind == End {
		r.EndedAt, r.EndNote = e.At, e.Note
		return
	}
	if e.Kind == Event {
		r.Events = append(r.Events, *e)
		return
	}
	if i := slices.IndexFunc(r.Steps, func(s Step) bool { return s.ID == e.Step }); i >= 0 {
		r.Steps[i].Entries = append(r.Steps[i].Entries, *e)
	}
}
