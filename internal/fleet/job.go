package fleet

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/keyreeve/keyreeve/internal/daemon"
)

// The queues. Each has places of its own on every machine: accounts that take their time do not hold up a rotation.
const (
	collectQueue = "collect"
	rotateQueue  = "rotate"
	partQueue    = "part"
)

const busyPause = 3 * time.Second // before a job asks again for an account that another one has

// The jobs about one account. Due is the instant that a job is put in for: each has one of its own.
type collectArgs struct {
	Account string    `json:"account"`
	Due     time.Time `json:"due"`
}

type rotateArgs struct {
	Rotation string    `json:"rotation"`
	Account  string    `json:"account"`
	Due      time.Time `json:"due"`
}

// partArgs is a beat of one part of the work.
type partArgs struct {
	Part string `json:"part"`
}

func (collectArgs) Kind() string { return "collect" }
func (rotateArgs) Kind() string  { return "rotate" }
func (partArgs) Kind() string    { return "part" }

// InsertOpts has an account put in once for each instant, also when that was done long before it is put in again; one that was
// given up may come back.
func (collectArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: collectQueue, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: rivertype.UniqueOptsByStateDefault()}}
}

// InsertOpts has a rotation put in once at a time. Whether what it was put in for is done, the ledger knows.
func (rotateArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: rotateQueue, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning, rivertype.JobStateRetryable, rivertype.JobStateScheduled,
	}}}
}

// exclusive runs do while this machine has the account, and puts the job back for a moment where another one has it. The end
// of the lock ends do. A panic in it is an error like another, with its stack.
func (f *fleet) exclusive(ctx context.Context, account string, do func(ctx context.Context) error) error {
	key, err := accountKey(account)
	if err != nil {
		return river.JobCancel(fmt.Errorf("account %q: %w", account, err))
	}
	held, release, err := f.locks.take(ctx, key)
	if errors.Is(err, errBusy) {
		return river.JobSnooze(busyPause)
	}
	if err != nil {
		return fmt.Errorf("take account %s: %w", account, err)
	}
	defer release()
	err = guarded(held, do)
	switch {
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("account %s: %w", account, ctx.Err()) // River tells the end of the machine from that of the job's time
	case errors.Is(context.Cause(held), errLost):
		return fmt.Errorf("account %s: %w", account, errLost)
	default:
		return err
	}
}

func guarded(ctx context.Context, do func(ctx context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do(ctx)
}

// backoff says when a job that failed is tried again.
type backoff struct{ now func() time.Time }

// NextRetry doubles the pause with each failure.
func (b *backoff) NextRetry(job *rivertype.JobRow) time.Time {
	return b.now().Add(daemon.PauseAfter(len(job.Errors) + 1))
}

// troubles tells of jobs that failed.
type troubles struct{ *fleet }

// HandleError logs the error once, here. The job is tried again as backoff says.
func (t *troubles) HandleError(_ context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	t.log.Error(job.Kind, "job", job.ID, "args", string(job.EncodedArgs), "attempt", job.Attempt, "error", err)
	return nil
}

// HandlePanic is about panics outside of the handlers, whose own are errors.
func (t *troubles) HandlePanic(_ context.Context, job *rivertype.JobRow, what any, trace string) *river.ErrorHandlerResult {
	t.log.Error(job.Kind, "job", job.ID, "args", string(job.EncodedArgs), "attempt", job.Attempt, "panic", fmt.Sprint(what), "trace", trace)
	return nil
}

// collecting is the work on one account.
type collecting struct {
	river.WorkerDefaults[collectArgs]
	*fleet
}

// Timeout bounds the reading of an account.
func (c *collecting) Timeout(*river.Job[collectArgs]) time.Duration { return c.Longest }

// Work reads the account, unless it was judged since the instant that the job is for, or is there no more.
func (c *collecting) Work(ctx context.Context, job *river.Job[collectArgs]) error {
	id := job.Args.Account
	return c.exclusive(ctx, id, func(ctx context.Context) error {
		a, _, err := c.Book.AccountOf(ctx, id)
		if err != nil {
			return err
		}
		if a.GoneAt.IsZero() && !a.JudgedAt.Before(job.Args.Due) {
			return nil // by a job that was broken off after that
		}
		m, err := c.known.member(ctx, id)
		if err != nil {
			return err
		}
		if m == nil {
			c.log.Info("account left out: it is not listed any more", "account", id)
			return nil
		}
		return c.work.Collect(ctx, m)
	})
}

// rotating is the work on one rotation.
type rotating struct {
	river.WorkerDefaults[rotateArgs]
	*fleet
}

// Timeout bounds what is done of a rotation at a time.
func (r *rotating) Timeout(*river.Job[rotateArgs]) time.Duration { return longestTurns }

// Work moves the rotation on, unless it has been moved on since it was found due.
func (r *rotating) Work(ctx context.Context, job *river.Job[rotateArgs]) error {
	return r.exclusive(ctx, job.Args.Account, func(ctx context.Context) error {
		now, err := r.Rotations.Load(ctx, job.Args.Rotation)
		if err != nil {
			return err
		}
		if now.State.Over() || !now.NextAt.Equal(job.Args.Due) {
			return nil
		}
		return r.Rotate(ctx, job.Args.Rotation, job.Args.Account)
	})
}
