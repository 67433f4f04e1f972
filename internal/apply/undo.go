package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
)

// Undo takes back what a run did, newest first: keys that it deactivated become active again, and those that
// an undo activated inactive. Steps, if any, narrows it to those. A key must be as the run left it. What
// cannot come back is said in the run's record. The undo is a run like any other; in a dry run it is not
// recorded.
func (e *Engine) Undo(ctx context.Context, id string, steps []string, dry bool) (*Result, error) {
	of, err := e.Journal.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	if of.Account != e.Caller.Account.ID {
		return nil, &plan.Refusal{
			Guard: plan.GuardAccount, Widen: "use credentials of that account",
			Why: fmt.Sprintf("run %s changed account %s, the credentials reach account %s", of.ID, of.Account, e.Caller.Account.ID),
		}
	}
	var book journal.Book
	if dry {
		book, err = e.Journal.Book(ctx, of.Account)
	} else {
		book, err = e.open(ctx)
	}
	if err != nil {
		return nil, err
	}
	if of, err = e.Journal.Run(ctx, of.ID); err != nil { // what dangled is resolved now
		return nil, err
	}
	run, err := reverse(of, steps)
	if err != nil {
		return nil, err
	}
	u := &undoing{Engine: e, of: of, book: book, dry: dry, result: &Result{Run: run}}
	var users needs
	for i := range run.Steps {
		if run.Steps[i].Action != journal.Delete {
			users.add(run.Steps[i].User, false)
		}
	}
	if u.quarantined, err = e.preflight(ctx, users); err != nil {
		return nil, err
	}
	if !dry {
		if err := e.begin(ctx, run); err != nil {
			return nil, err
		}
	}
	return u.result, u.walk(ctx)
}

// reverse is the run that takes back what of did, newest first.
func reverse(of *journal.Run, only []string) (*journal.Run, error) {
	run := &journal.Run{Kind: journal.Undo, Undoes: of.ID, Plan: of.Plan}
	var unknown []string
	for _, id := range only {
		if !slices.ContainsFunc(of.Steps, func(s journal.Step) bool { return s.ID == id }) {
			unknown = append(unknown, fmt.Sprintf("%q", id))
		}
	}
	if len(unknown) > 0 {
		return nil, &plan.InputError{
			Problem: fmt.Sprintf("run %s has no step %s", of.ID, strings.Join(unknown, ", ")),
			Hint:    "keyreeve runs show " + of.ID + " lists its steps",
		}
	}
	for _, s := range slices.Backward(of.Steps) {
		if s.Status() != journal.StatusDone || len(only) > 0 && !slices.Contains(only, s.ID) {
			continue
		}
		back := s
		back.Entries, back.From = nil, s.Action.Leaves()
		switch s.Action {
		case journal.Deactivate:
			back.Action = journal.Activate
		case journal.Activate:
			back.Action = journal.Deactivate
		default: // a deletion stays one, and is left as not possible
		}
		run.Steps = append(run.Steps, back)
	}
	if len(run.Steps) == 0 {
		return nil, &plan.InputError{
			Problem: fmt.Sprintf("run %s has done nothing that could be undone", of.ID),
			Hint:    "keyreeve runs show " + of.ID + " tells what it did",
		}
	}
	return run, nil
}

// undoing is one undo under way.
type undoing struct {
	*Engine
	of          *journal.Run
	book        journal.Book
	dry         bool
	quarantined map[string][]string
	result      *Result
}

func (u *undoing) walk(ctx context.Context) error {
	run := u.result.Run
	note := ""
	for i := range run.Steps {
		if ctx.Err() != nil {
			u.result.Interrupted, note = true, "interrupted"
			break
		}
		if err := u.step(ctx, &run.Steps[i]); err != nil {
			return err
		}
		if u.Told != nil {
			u.Told(&run.Steps[i])
		}
	}
	if u.dry {
		return nil
	}
	return u.end(ctx, run, note)
}

// step takes back one step. Once begun it is finished, also when ctx ends meanwhile.
func (u *undoing) step(ctx context.Context, s *journal.Step) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.stepTime())
	defer cancel()
	t := &task{e: u.Engine, run: u.result.Run, step: s, dry: u.dry}
	if s.Action == journal.Delete {
		return t.left(ctx, journal.Beyond, fmt.Sprintf("key %s was deleted: AWS cannot bring it back, only a new key can take its place", s.KeyID))
	}
	v, err := u.look(ctx, s.User, s.KeyID)
	if err != nil {
		return t.left(ctx, journal.Unread, err.Error())
	}
	if result, why := u.compare(s, &v); result != "" {
		return t.left(ctx, result, why)
	}
	if u.dry {
		return nil
	}
	return t.do(ctx)
}

// compare says why the step is left; an empty result: it is as the run left it.
func (u *undoing) compare(s *journal.Step, v *view) (journal.Result, string) {
	if why := v.wrongUser(s.User, s.UserID); why != "" {
		return journal.Stale, why
	}
	last := u.book.Changes[s.KeyID]
	switch {
	case v.key == nil:
		return journal.Stale, fmt.Sprintf("key %s is gone", s.KeyID)
	case !v.key.Created.Time().Equal(s.KeyCreated):
		return journal.Stale, fmt.Sprintf("key %s was made %s, run %s knew %s", s.KeyID, instant(v.key.Created), u.of.ID, stamp(s.KeyCreated))
	case v.state() != s.From:
		return journal.Already, fmt.Sprintf("key %s is %s already", s.KeyID, v.state())
	case last.Run != u.of.ID:
		return journal.Stale, fmt.Sprintf("run %s changed key %s after run %s", last.Run, s.KeyID, u.of.ID)
	case quarantinedUser(u.quarantined, s.User) != nil:
		return journal.Refused, fmt.Sprintf("user %q is in quarantine: AWS found a key of it exposed", s.User)
	}
	if s.Action != journal.Deactivate {
		return "", ""
	}
	switch use := v.key.LastUsed; {
	case u.ours(&v.user, s.KeyID):
		return journal.Refused, fmt.Sprintf("key %s belongs to the credentials that keyreeve runs with", s.KeyID)
	case use.At.Unknown():
		return journal.Unread, fmt.Sprintf("the last use of key %s is unknown", s.KeyID)
	case use.At.Known() && use.At.Time().After(last.At):
		return journal.Stale, fmt.Sprintf("key %s was used %s, after run %s activated it", s.KeyID, useText(use), u.of.ID)
	}
	return "", ""
}
