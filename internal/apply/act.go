package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/journal"
)

// task is one step under way.
type task struct {
	e    *Engine
	run  *journal.Run
	step *journal.Step
	dry  bool
}

// do makes the change: intent, call, outcome, read back. The step must have been compared with the account
// just before. An error is one of the journal; what goes wrong with the account is on record.
func (t *task) do(ctx context.Context) error {
	s := t.step
	if err := t.note(ctx, journal.Intent, "", fmt.Sprintf("%s key %s of user %q", s.Action, s.KeyID, s.User)); err != nil {
		return err
	}
	err := t.e.call(ctx, s)
	result, note := journal.OK, "AWS accepted it"
	switch {
	case errors.Is(err, fact.ErrUnclear), err != nil && ctx.Err() != nil:
		result, note = journal.Unclear, err.Error()
	case err != nil:
		result, note = journal.Refused, err.Error()
	}
	if err := t.note(ctx, journal.Outcome, result, note); err != nil || result == journal.Refused {
		return err
	}
	seen, note := t.e.readBack(ctx, s, result == journal.Unclear)
	return t.note(ctx, journal.Verification, seen, note)
}

func (e *Engine) call(ctx context.Context, s *journal.Step) error {
	switch s.Action {
	case journal.Deactivate, journal.Activate:
		return e.Account.SetActive(ctx, s.User, s.KeyID, s.Action == journal.Activate)
	case journal.Delete:
		return e.Account.DeleteKey(ctx, s.User, s.KeyID)
	default:
		return fmt.Errorf("unknown action %q", s.Action)
	}
}

// readBack looks until the change shows, or for as long as patience lasts. A key that still looks untouched
// then is untouched if the call was unclear; if AWS accepted it, the change was not seen.
func (e *Engine) readBack(ctx context.Context, s *journal.Step, unclear bool) (journal.Result, string) {
	var (
		state  journal.State
		why    string
		waited time.Duration
	)
	for pause := time.Second; ; pause = min(2*pause, 10*time.Second) {
		state, why = e.stateOf(ctx, s)
		if state == strange {
			return journal.Other, why
		}
		if state == s.Action.Leaves() {
			return journal.Shows, fmt.Sprintf("the key is %s", state)
		}
		if state != "" && state != s.From {
			return journal.Other, fmt.Sprintf("the key is %s: somebody else has changed it", state)
		}
		if waited >= e.patience() {
			break
		}
		pause = min(pause, e.patience()-waited)
		if err := e.Wait(ctx, pause); err != nil {
			return journal.Unseen, "not looked for to the end: " + err.Error()
		}
		waited += pause
	}
	switch {
	case state == "":
		return journal.Unseen, why
	case unclear:
		return journal.Unmoved, fmt.Sprintf("the key is still %s after %s: the call did not reach AWS", state, waited)
	default:
		return journal.Unseen, fmt.Sprintf("AWS accepted the change, and after %s the key still shows as %s", waited, state)
	}
}

// strange is the state of a key whose user is not the one that was meant.
const strange journal.State = "strange"

// stateOf is how the step's key stands now; empty, and why, when that could not be read; strange, and why, when the user
// is gone or another one. A user that is gone may have been renamed, and its key live on: that is no proof of a deletion.
func (e *Engine) stateOf(ctx context.Context, s *journal.Step) (journal.State, string) {
	u, err := e.Account.User(ctx, s.User)
	var keys []fact.Key
	if err == nil && u.ID == s.UserID {
		keys, err = e.Account.Keys(ctx, s.User)
	}
	switch {
	case errors.Is(err, fact.ErrNotFound):
		return strange, fmt.Sprintf("user %q is gone, deleted or renamed: nobody can tell how its key stands", s.User)
	case err != nil:
		return "", err.Error()
	case u.ID != s.UserID:
		return strange, fmt.Sprintf("user %q is another one now: its unique id is %s, not %s", s.User, u.ID, s.UserID)
	}
	for i := range keys {
		if keys[i].ID == s.KeyID {
			return journal.StateOf(&keys[i]), ""
		}
	}
	return journal.Absent, ""
}

// resolve finds out what became of a step whose run did not live to see it. A key that looks untouched is
// believed so only when the intent is old enough for a call under way to have shown; where AWS had accepted the change,
// only after a whole patience of looking, and then somebody has changed it back. why: nothing could be found out.
func (e *Engine) resolve(ctx context.Context, open *journal.Open) (why string, err error) {
	s := &open.Step
	accepted := slices.ContainsFunc(s.Entries, func(x journal.Entry) bool { return x.Kind == journal.Outcome && x.Result == journal.OK })
	age := e.now().Sub(s.IntendedAt())
	if accepted {
		age = 0
	}
	var result journal.Result
	var note string
	for result == "" {
		state, why := e.stateOf(ctx, s)
		young := e.patience() - age
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case state == "":
			return why, nil
		case state == strange:
			result, note = journal.Other, why
		case state == s.Action.Leaves():
			result, note = journal.Shows, fmt.Sprintf("the key is %s", state)
		case state != s.From:
			result, note = journal.Other, fmt.Sprintf("the key is %s", state)
		case young <= 0 && accepted:
			result, note = journal.Other, fmt.Sprintf("AWS had accepted the change, and the key is %s: somebody changed it back", state)
		case young <= 0:
			result, note = journal.Unmoved, fmt.Sprintf("the key is still %s: the change did not happen", state)
		default:
			pause := min(young, 5*time.Second)
			if err := e.Wait(ctx, pause); err != nil {
				return "", err
			}
			age += pause
		}
	}
	entry := journal.Entry{
		Run: open.Run.ID, Step: s.ID, Kind: journal.Verification, At: e.now(), Result: result,
		Note: note + ", as found by run " + e.RunID,
	}
	return "", e.append(ctx, &entry)
}
