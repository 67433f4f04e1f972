package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
)

// Apply carries out what is due of a plan. A *plan.Refusal or a *plan.InputError means that nothing was
// tried; otherwise what became of each step stands in the result, whose run is on record unless it is dry.
func (e *Engine) Apply(ctx context.Context, p *plan.Plan, o Options) (*Result, error) {
	if err := Check(p, e.Caller.Account.ID, e.now(), o.MaxAge); err != nil {
		return nil, err
	}
	book, stuck, err := e.read(ctx, o.DryRun)
	if err != nil {
		return nil, err
	}
	a := &applying{Engine: e, plan: p, opt: o, at: e.now(), book: book, stuck: stuck, result: &Result{Run: newRun(p), Unresolved: texts(stuck)}}
	for _, s := range p.Steps {
		switch {
		case s.Action == plan.Rotate:
			a.result.Rotations = append(a.result.Rotations, s)
		case s.Open():
			a.result.Undecided = append(a.result.Undecided, s)
		}
	}
	if len(a.result.Run.Steps) == 0 {
		return nil, a.nothing()
	}
	if err := a.guard(ctx); err != nil {
		return nil, err
	}
	if !o.DryRun {
		if err := e.begin(ctx, a.result.Run); err != nil {
			return nil, err
		}
	}
	return a.result, a.walk(ctx)
}

// read is open, but a dry run changes nothing of the journal either.
func (e *Engine) read(ctx context.Context, dry bool) (journal.Book, map[string]string, error) {
	if !dry {
		return e.open(ctx)
	}
	book, err := e.Journal.Book(ctx, e.Caller.Account.ID)
	stuck := map[string]string{}
	for _, open := range book.Unresolved {
		stuck[open.Step.KeyID] = fmt.Sprintf("what became of step %s of run %s is not known yet", open.Step.ID, open.Run.ID)
	}
	return book, stuck, err
}

func texts(stuck map[string]string) []string {
	return slices.Sorted(maps.Values(stuck))
}

// Check refuses a plan that has no steps, is of another account than account, or older than maxAge (0: 24 h).
func Check(p *plan.Plan, account string, now time.Time, maxAge time.Duration) error {
	if len(p.Steps) == 0 {
		return &plan.InputError{Problem: "the plan has no steps: there is nothing to do"}
	}
	if err := p.For(account); err != nil {
		return err
	}
	return p.Fresh(now, maxAge)
}

// newRun is the run of the plan's steps that a run carries out.
func newRun(p *plan.Plan) *journal.Run {
	run := &journal.Run{Kind: journal.Apply, Plan: p.Digest}
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Open() || s.Action == plan.Rotate {
			continue
		}
		step := journal.Step{
			ID: s.ID, Action: journal.Deactivate, User: s.User, UserID: s.UserID, KeyID: s.KeyID,
			KeyCreated: s.Expect.CreatedAt, LastUsed: lastUsed(s), From: journal.State(s.Expect.Status), Because: s.Because, Rules: s.Rules,
		}
		if s.Action == plan.Delete {
			step.Action = journal.Delete
		}
		if s.Then == plan.Delete {
			step.Then = journal.Delete
		}
		run.Steps = append(run.Steps, step)
	}
	return run
}

// lastUsed is the key's last use as the step knows it; zero: never.
func lastUsed(s *plan.Step) time.Time {
	if s.Expect.LastUsedAt == nil {
		return time.Time{}
	}
	return *s.Expect.LastUsedAt
}

// applying is one run of a plan under way.
type applying struct {
	*Engine
	plan        *plan.Plan
	opt         Options
	at          time.Time // of the run: what becomes due while it lasts waits for another one, with guards of its own
	book        journal.Book
	stuck       map[string]string // keys that are left alone, and why
	quarantined map[string][]string
	result      *Result
}

// nothing is the refusal of a plan of which a run can do nothing.
func (a *applying) nothing() error {
	r := &plan.Refusal{Guard: plan.GuardGuidance, Why: "the plan has no step that a run can carry out"}
	if n := len(a.result.Rotations); n > 0 {
		r.Why += fmt.Sprintf("; %d to rotate", n)
		r.Widen = "keyreeve rules show key-age-30 lists the steps of a rotation"
	}
	if n := len(a.result.Undecided); n > 0 {
		r.Why += fmt.Sprintf("; %d undecided", n)
		r.Widen = "choose with keyreeve plan --keep KEYID"
	}
	return r
}

// due tells whether the step would be tried now, as far as plan and journal tell.
func (a *applying) due(s *plan.Step) bool {
	c, ok := a.book.Changes[s.KeyID]
	done := ok && c.Plan == a.plan.Digest && c.Step.ID == s.ID && !c.Undoing
	return !done && !a.at.Before(s.NotBefore)
}

// guard refuses the run as a whole, before its first step: too many steps, a permission that is missing.
func (a *applying) guard(ctx context.Context) error {
	var due []*plan.Step
	for i := range a.result.Run.Steps {
		if s := a.plan.Step(a.result.Run.Steps[i].ID); a.due(s) {
			due = append(due, s)
		}
	}
	if len(due) == 0 {
		return nil
	}
	active := 0
	for i := range a.plan.Accounts {
		active += a.plan.Accounts[i].ActiveKeys
	}
	if err := a.opt.Limits.Check(len(due), active); err != nil {
		return err
	}
	var users needs
	for _, s := range due {
		users.add(s.User, s.Action == plan.Delete)
	}
	var err error
	a.quarantined, err = a.preflight(ctx, users)
	return err
}

// walk takes the steps one by one. It returns an error only when the journal, or the result as a whole, is
// in trouble.
func (a *applying) walk(ctx context.Context) error {
	run := a.result.Run
	status := map[string]journal.Status{}
	note := ""
	for i := range run.Steps {
		if ctx.Err() != nil {
			a.result.Interrupted, note = true, "interrupted"
			break
		}
		s := &run.Steps[i]
		if err := a.step(ctx, s, status); err != nil {
			return err
		}
		status[s.ID] = s.Status()
		if s.Status() == journal.StatusDone {
			a.book.Changes[s.KeyID] = journal.Change{
				Run: run.ID, Plan: run.Plan, Step: *s, State: s.Action.Leaves(), At: s.DoneAt(),
			} // the next step of the user compares with it; Seq is the journal's matter
		}
		if a.Told != nil {
			a.Told(s)
		}
	}
	if a.opt.DryRun {
		return nil
	}
	return a.end(ctx, run, note)
}

// step carries out one step. Once begun it is finished, also when ctx ends meanwhile.
func (a *applying) step(ctx context.Context, s *journal.Step, status map[string]journal.Status) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.stepTime())
	defer cancel()
	t := &task{e: a.Engine, run: a.result.Run, step: s, dry: a.opt.DryRun}
	planned := a.plan.Step(s.ID)
	for _, id := range planned.DependsOn {
		switch got, ran := status[id]; {
		case !ran, got == journal.StatusDone, got == journal.StatusAlready:
		case a.opt.DryRun && got == journal.StatusPlanned:
		default:
			return t.left(ctx, journal.Dependent, fmt.Sprintf("step %s, which comes first, is %s", id, got))
		}
	}
	if a.at.Before(planned.NotBefore) {
		return t.left(ctx, journal.NotDue, "not before "+stamp(planned.NotBefore))
	}
	if why := a.stuck[s.KeyID]; why != "" {
		return t.left(ctx, journal.Unread, why)
	}
	v, err := a.look(ctx, s.User, s.KeyID)
	if err != nil {
		return t.left(ctx, journal.Unread, err.Error())
	}
	if run := a.doneBefore(s, &v); run != "" {
		return t.left(ctx, journal.Already, fmt.Sprintf("run %s did it, and the key is still %s", run, v.state()))
	}
	if why := v.stale(planned, a.plan, &a.book); why != "" {
		return t.left(ctx, journal.Stale, why)
	}
	if a.opt.Excepted != nil {
		if x := a.opt.Excepted(s.Rules, &v.user, v.key); x != nil {
			return t.left(ctx, journal.Stale, fmt.Sprintf("an exception of %s covers it until %s: %s", x.Owner, x.Expires, x.Reason))
		}
	}
	if why := a.refused(planned, &v); why != "" {
		return t.left(ctx, journal.Refused, why)
	}
	if a.opt.DryRun {
		return nil
	}
	return t.do(ctx)
}

// doneBefore is the earlier run of this plan that did the step and whose work still stands; empty: none.
func (a *applying) doneBefore(s *journal.Step, v *view) string {
	c, ok := a.book.Changes[s.KeyID]
	if !ok || c.Plan != a.plan.Digest || c.Step.ID != s.ID || c.Undoing || v.state() != c.State {
		return ""
	}
	if v.user.ID != s.UserID && c.State != journal.Absent {
		return ""
	}
	return c.Run
}

// refused is why a guard keeps the step from being done, whatever the plan says; empty: none does.
func (a *applying) refused(s *plan.Step, v *view) string {
	switch {
	case a.ours(&v.user, s.KeyID):
		return fmt.Sprintf("key %s belongs to the credentials that keyreeve runs with: run it with others", s.KeyID)
	case a.book.Rotating[v.user.ID] != "":
		return fmt.Sprintf("rotation %s of user %q is under way: keyreeve rotate show %s", a.book.Rotating[v.user.ID], s.User, a.book.Rotating[v.user.ID])
	case quarantinedUser(a.quarantined, s.User) != nil:
		return fmt.Sprintf("user %q is in quarantine: AWS found a key of it exposed; keyreeve rules show exposed-key lists the steps", s.User)
	case !s.AllowUsed && !slices.Contains(a.opt.AllowUsed, s.KeyID) &&
		v.lastInUse(time.Duration(a.plan.Terms.Settling)*time.Second, a.now()):
		return fmt.Sprintf("key %s is the user's last active key and was used %s; --allow-used %s lets it go", s.KeyID, useText(v.key.LastUsed), s.KeyID)
	case s.Action == plan.Delete && s.Expect.Status == plan.Active && !v.key.LastUsed.At.Never():
		return fmt.Sprintf("key %s is active and was used: plan again, without --delete-now", s.KeyID)
	default:
		return ""
	}
}

// ours tells whether the key belongs to the credentials in use.
func (e *Engine) ours(u *fact.User, keyID string) bool {
	return slices.Contains(e.OwnKeys, keyID) || slices.ContainsFunc(e.OwnUsers, func(c fact.Caller) bool {
		return c.ARN == u.ARN || c.ID != "" && c.ID == u.ID
	})
}
