package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/keyreeve/keyreeve/internal/daemon"
)

const (
	missingPart = "missing"

	daily      = 24 * time.Hour
	dailyTries = 5 // of a part that comes round daily; of others the next beat is the next try

	mostRotations = 1000 // that are put in by one beat

	// longestHold is for how long people are told only what is urgent while accounts wait to be read: what changed in one cycle
	// belongs together.
	longestHold = 5 * time.Minute
	secondLook  = time.Second // between two looks for jobs that are missing
)

// part is a piece of the work that comes round, on one machine at a time.
type part struct {
	name  string
	every time.Duration
	do    func(ctx context.Context) error
}

// parts are those that this machine can do.
func (f *fleet) parts() []part {
	all := []part{
		{daemon.Accounts, f.Tick, f.known.accounts},
		{missingPart, f.Tick, f.missing},
	}
	add := func(can bool, p part) {
		if can {
			all = append(all, p)
		}
	}
	add(f.work.Send != nil, part{daemon.Delivery, f.Tick, f.send})
	add(f.work.Prune != nil, part{daemon.Retention, daily, f.work.Prune})
	add(f.work.Tell != nil, part{daemon.Notices, f.Tick, f.tell})
	add(f.Rotate != nil, part{daemon.Rotations, f.Tick, f.rotations})
	return all
}

// beats come at the multiples of a time since 1970, whoever leads.
type beats time.Duration

// Next is the first beat after t.
func (b beats) Next(t time.Time) time.Time {
	return t.Truncate(time.Duration(b)).Add(time.Duration(b))
}

// periodic are the beats that the leader puts in: once for each time, also where two lead, and at once by a new leader.
func (f *fleet) periodic() []*river.PeriodicJob {
	var out []*river.PeriodicJob
	for _, p := range f.parts() {
		opts := river.InsertOpts{Queue: partQueue, MaxAttempts: 1, UniqueOpts: river.UniqueOpts{ByArgs: true, ByPeriod: p.every}}
		if p.every >= daily {
			opts.MaxAttempts = dailyTries
		}
		out = append(out, river.NewPeriodicJob(beats(p.every), func() (river.JobArgs, *river.InsertOpts) {
			return partArgs{p.name}, &opts
		}, &river.PeriodicJobOpts{RunOnStart: true}))
	}
	return out
}

// beating is the work on a part.
type beating struct {
	river.WorkerDefaults[partArgs]
	*fleet
}

// Work does a part, unless a machine is at it.
func (b *beating) Work(ctx context.Context, job *river.Job[partArgs]) error {
	for _, p := range b.parts() {
		if p.name != job.Args.Part {
			continue
		}
		held, release, err := b.locks.take(ctx, partKey(p.name))
		if errors.Is(err, errBusy) {
			return river.RecordOutput(ctx, "busy") // the next beat comes
		}
		if err == nil {
			err = guarded(held, p.do)
			release()
		}
		if err != nil && p.name != missingPart { // what went well is heeded, on every machine
			b.work.Health.Note(p.name, err, b.work.Now())
		}
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return fmt.Errorf("the part %q is unknown here", job.Args.Part)
}

// tell has people told, but only what cannot wait while accounts are spread, or those that came due together are still being read.
func (f *fleet) tell(ctx context.Context) error {
	if f.Schedule.Underway(f.work.Now()) {
		return f.work.Tell(ctx, true)
	}
	var wait bool
	err := f.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM river_job
		WHERE kind = $1 AND state IN ('available', 'running') AND scheduled_at BETWEEN now() - $2::interval AND now())`,
		collectArgs{}.Kind(), longestHold).Scan(&wait)
	if err != nil {
		return err
	}
	return f.work.Tell(ctx, wait)
}

// send delivers notices. It takes none once this machine is to stop, though River leaves the beat some seconds more: what would be
// under way when the process ends would be sent again.
func (f *fleet) send(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer f.onStop(cancel)()
	err := f.work.Send(ctx)
	if errors.Is(err, context.Canceled) {
		return nil // as asked
	}
	return err
}

// rotations puts in a job for each rotation that is due.
func (f *fleet) rotations(ctx context.Context) error {
	ids, err := f.Rotations.Due(ctx, "", f.work.Now().UTC(), mostRotations)
	if err != nil {
		return err
	}
	var jobs []river.InsertManyParams
	for _, id := range ids {
		r, err := f.Rotations.Load(ctx, id)
		if err != nil {
			return err
		}
		jobs = append(jobs, river.InsertManyParams{Args: rotateArgs{id, r.Account, r.NextAt.UTC()}})
	}
	if len(jobs) == 0 {
		return nil
	}
	if _, err := f.queue.InsertMany(ctx, jobs); err != nil {
		return fmt.Errorf("put %d rotations into the queue: %w", len(jobs), err)
	}
	return nil
}

// lost is true of a job that is under way for longer than $1 although no machine has its account: its machine died, or never heard
// that the job was given to it. After a start of the server machines are given time to take their locks again. What River
// offers for this goes by the time alone, which has to be that of the longest job.
const lost = `state = 'running' AND kind = ANY ($2) AND attempted_at < now() - $1::interval AND pg_postmaster_start_time() < now() - $1::interval
	AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
		AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND (l.classid::bigint << 32) | l.objid::bigint = $3 | (j.args ->> 'account')::bigint)`

// missing puts jobs back whose machine is gone. It looks twice: a job that has just ended is not missing.
func (f *fleet) missing(ctx context.Context) error {
	kinds := []string{collectArgs{}.Kind(), rotateArgs{}.Kind()}
	var ids []int64
	err := f.pool.QueryRow(ctx, `SELECT array_agg(id) FROM river_job j WHERE `+lost, f.Missing, kinds, int64(lockSpace)).Scan(&ids)
	if err != nil || len(ids) == 0 {
		return err
	}
	if err := pause(ctx, secondLook); err != nil {
		return err
	}
	rows, err := f.pool.Query(ctx, `UPDATE river_job j SET
			state = CASE WHEN attempt < max_attempts THEN 'retryable' ELSE 'discarded' END::river_job_state,
			finalized_at = CASE WHEN attempt < max_attempts THEN NULL ELSE now() END,
			scheduled_at = now() + least($5::interval * power(2, least(attempt, 10) - 1), $6::interval),
			errors = array_append(errors, jsonb_build_object('at', now(), 'attempt', attempt, 'error', 'its machine is gone', 'trace', ''))
		WHERE id = ANY ($4) AND `+lost+` RETURNING id, kind, args ->> 'account'`,
		f.Missing, kinds, int64(lockSpace), ids, daemon.FirstPause, daemon.LongestPause)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var kind, account string
		if err := rows.Scan(&id, &kind, &account); err != nil {
			return err
		}
		f.log.Warn("taken up again: the machine that had it is gone", "job", id, "kind", kind, "account", account)
	}
	return rows.Err()
}
