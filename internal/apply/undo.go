package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
)

// Undo takes back what a run did, newest first: keys that it deactivated become active again, and those that
// an undo activated inactive. Steps, if any, narrows it to those. A key must be as the run left it. What
// cannot come back is said in the run's record. The undo is a run like any other; in a dry run it is not
// recorded.
func (e *Engine) Undo(ctx context.Context, id string, steps []string, o Options) (*Result, error) {
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
	book, stuck, err := e.read(ctx, o.DryRun)
	if err != nil {
		return nil, err
	}
	if of, err = e.Journal.Run(ctx, of.ID); err != nil { // what dangled is resolved now
		return nil, err
	}
	run, err := Reverse(of, steps)
	if err != nil {
		return nil, err
	}
	u := &undoing{Engine: e, of: of, opt: o, book: book, stuck: stuck, result: &Result{Run: run, Unresolved: texts(stuck)}}
	var users needs
	deactivations := 0
	for i := range run.Steps {
		if run.Steps[i].Action != journal.Delete {
			users.add(run.Steps[i].User, false)
		}
		if run.Steps[i].Action == journal.Deactivate {
			deactivations++
		}
	}
	// The way back is open without a limit. Its own undoing takes keys away again: the limits of a plan hold, of which the
	// number of active keys is not known here.
	if err := o.Limits.Check(deactivations, 0); deactivations > 0 && err != nil {
		return nil, err
	}
	if u.quarantined, err = e.preflight(ctx, users); err != nil {
		return nil, err
	}
	if !o.DryRun {
		if err := e.begin(ctx, run); err != nil {
			return nil, err
		}
	}
	return u.result, u.walk(ctx)
}

// Reverse is the run that takes back what of did, newest first: all of it, or the steps named by the beginnings of their
// ids, four characters or more.
func Reverse(of *journal.Run, only []string) (*journal.Run, error) {
	if of.Kind == journal.Rotate {
		return nil, &plan.InputError{Problem: fmt.Sprintf("run %s is a rotation", of.ID), Hint: "keyreeve rotate cancel " + of.ID + " backs out of it"}
	}
	run := &journal.Run{Kind: journal.Undo, Undoes: of.ID, Plan: of.Plan}
	var unknown []string
	for _, id := range only {
		if !slices.ContainsFunc(of.Steps, func(s journal.Step) bool { return named(s.ID, id) }) {
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
		if s.Status() != journal.StatusDone || len(only) > 0 && !slices.ContainsFunc(only, func(id string) bool { return named(s.ID, id) }) {
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
		what := "has done nothing"
		if len(only) > 0 {
			what = "did not do " + strings.Join(only, ", ") + ": there is nothing"
		}
		return nil, &plan.InputError{
			Problem: fmt.Sprintf("run %s %s that could be undone", of.ID, what),
			Hint:    "keyreeve runs show " + of.ID + " tells what it did",
		}
	}
	return run, nil
}

// named tells whether text names the step of that id.
func named(id, text string) bool {
	return id == text || len(text) >= 4 && strings.HasPrefix(id, text)
}

// settling is how recent a use makes a key one in use, where no plan says.
const settling = 7 * 24 * time.Hour

// undoing is one undo under way.
type undoing struct {
	*Engine
	of          *journal.Run
	opt         Options
	book        journal.Book
	stuck       map[string]string
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
	if u.opt.DryRun {
		return nil
	}
	return u.end(ctx, run, note)
}

// step takes back one step. Once begun it is finished, also when ctx ends meanwhile.
func (u *undoing) step(ctx context.Context, s *journal.Step) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.stepTime())
	defer cancel()
	t := &task{e: u.Engine, run: u.result.Run, step: s, dry: u.opt.DryRun}
	if s.Action == journal.Delete {
		return t.left(ctx, journal.Beyond, fmt.Sprintf("key %s was deleted: AWS cannot bring it back, only a new key can take its place", s.KeyID))
	}
	if why := u.stuck[s.KeyID]; why != "" {
		return t.left(ctx, journal.Unread, why)
	}
	v, err := u.look(ctx, s.User, s.KeyID)
	if err != nil {
		return t.left(ctx, journal.Unread, err.Error())
	}
	if result, why := u.compare(s, &v); result != "" {
		return t.left(ctx, result, why)
	}
	if u.opt.DryRun {
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
	case u.book.Rotating[v.user.ID] != "":
		return journal.Refused, fmt.Sprintf("rotation %s of user %q is under way", u.book.Rotating[v.user.ID], s.User)
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
	case !slices.Contains(u.opt.AllowUsed, s.KeyID) && v.lastInUse(settling, u.now()):
		return journal.Refused, fmt.Sprintf("key %s is the user's last active key and was used %s", s.KeyID, useText(use))
	}
	if u.opt.Excepted != nil {
		if x := u.opt.Excepted(s.Rules, &v.user, v.key); x != nil {
			return journal.Refused, fmt.Sprintf("an exception of %s covers it until %s: %s", x.Owner, x.Expires, x.Reason)
		}
	}
	return "", ""
}
