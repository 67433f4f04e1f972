// Package fleet has many machines share the work of package daemon: River, a queue of jobs in PostgreSQL, hands it out.
//
// Every machine runs the same program with the same settings. One of them, elected, puts in what comes round: the beats, each of
// which is a job that any machine may take. The beat of the accounts asks which are due and puts in a job for each; that of the
// rotations does the same with the ledger. A job names an account, a rotation and an instant, nothing else: no name, no
// address, no secret. Where an account, a notice or a rotation stands is in the store, so that a job may be broken off at any moment
// and run again.
//
// It refuses a database that holds no journal, two jobs of one account at once on all machines together, and to go by
// the queue alone: before an account is read, the store is asked whether it was judged since. Its promises: an account is
// read once for each time of its schedule, also when two machines lead or a machine dies; what a dead machine
// had under way is taken up by another within a minute or so; a job that fails, or panics, stops no other one and is tried again;
// stopping takes ten seconds at most, and what was not done by then is done elsewhere.
package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

// Book tells how an account stands, and whether it is on record at all; *store.DB is one.
type Book interface {
	AccountOf(ctx context.Context, id string) (store.Account, bool, error)
}

// Rotations are what is under way; *store.Ledger is one.
type Rotations interface {
	Due(ctx context.Context, account string, now time.Time, limit int) ([]string, error)
	Load(ctx context.Context, id string) (*rotate.Rotation, error)
}

// Settings say what a machine of the fleet does. Those without a word on zero are required. All machines are set up alike: what is
// nil on the one that leads is done by none.
type Settings struct {
	URL      string // of the database of the journal: postgres://...
	Work     *daemon.Work
	Schedule *daemon.Schedule
	Book     Book

	// Rotate does what is due of one rotation; it may be called again for what it has done. Work.Rotate is not used here.
	// nil, as Rotations: nobody moves rotations on.
	Rotate    func(ctx context.Context, rotation, account string) error
	Rotations Rotations

	Concurrency int           // accounts that this machine reads at once; 0 means 8
	Turns       int           // rotations that it moves on at once; 0 means 4
	Tick        time.Duration // between two beats; whole seconds; 0 means 15 s
	Relist      time.Duration // how long a list of accounts is good for while nothing is due; 0 means an hour
	Longest     time.Duration // what reading an account may take before it is broken off; 0 means 30 minutes
	// Missing is for how long a job must have been under way, without any machine holding its account, before another machine
	// takes it; 0 means 30 s. A look for such jobs is a beat.
	Missing time.Duration
}

const (
	longestPart  = 15 * time.Minute // of a beat: the list of a large organisation takes its time
	longestTurns = 10 * time.Minute // of a rotation, twice what rotate.Engine gives one turn

	softStop = 5 * time.Second // what is under way may end by itself
	hardStop = 9 * time.Second // Run returns: deliveries of notices have had their time, and two seconds to be marked

	poolSize = 8 // connections of one machine, beside that of its locks and those of the store
)

func (s *Settings) withDefaults() Settings {
	out := *s
	out.Concurrency, out.Turns = cmp.Or(s.Concurrency, 8), cmp.Or(s.Turns, 4)
	out.Tick, out.Relist = cmp.Or(s.Tick, 15*time.Second), cmp.Or(s.Relist, time.Hour)
	out.Longest, out.Missing = cmp.Or(s.Longest, 30*time.Minute), cmp.Or(s.Missing, 30*time.Second)
	return out
}

// Validate reports every mistake of s at once.
func (s *Settings) Validate() error {
	var errs []error
	check := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(s.Work == nil || s.Schedule == nil || s.Book == nil, "the work, its schedule or its book is missing")
	check((s.Rotate == nil) != (s.Rotations == nil), "rotations need both who moves them on and where they stand")
	check(s.Concurrency < 0 || s.Concurrency > 1000, "%d accounts at once: 1 to 1,000 can be", s.Concurrency)
	check(s.Turns < 0 || s.Turns > 1000, "%d rotations at once: 1 to 1,000 can be", s.Turns)
	check(s.Tick < 0 || s.Tick%time.Second != 0, "a tick of %s: whole seconds can be", s.Tick)
	check(s.Relist < 0 || s.Longest < 0 || s.Missing < 0, "a negative time")
	return errors.Join(errs...)
}

// fleet is one machine at work.
type fleet struct {
	Settings
	work  daemon.Work
	log   *slog.Logger
	pool  *pgxpool.Pool
	locks *locks
	queue *river.Client[pgx.Tx]
	known *listing
	// onStop has do called as soon as this machine is to stop; what it gives takes that back.
	onStop func(do func()) func() bool
}

// Run works as one machine of the fleet until ctx ends, and returns nil within ten seconds of that: what is under way has half
// of them to end, deliveries of notices their own time, and is put back into the queue where it does not. A server that is away
// while it works is waited for. The errors are those of the start: settings that make no sense, a server that cannot be reached,
// a database without a journal.
func Run(ctx context.Context, s Settings) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("settings of the fleet: %w", err)
	}
	f := &fleet{Settings: s.withDefaults(), work: *s.Work, log: s.Work.Log}
	f.work.Wait = pause
	f.known = &listing{fleet: f, turn: make(chan struct{}, 1)}
	f.onStop = func(do func()) func() bool { return context.AfterFunc(ctx, do) }
	if err := Migrate(ctx, s.URL); err != nil {
		return err
	}
	var err error
	if f.pool, err = connect(ctx, s.URL); err != nil {
		return err
	}
	f.locks = &locks{config: f.pool.Config().ConnConfig, log: f.log, health: f.work.Health, now: f.work.Now, held: map[int64]context.CancelCauseFunc{}}
	if f.queue, err = river.NewClient(riverpgxv5.New(f.pool), f.config()); err != nil {
		f.pool.Close()
		return fmt.Errorf("set up the queue: %w", err)
	}
	return f.run(ctx)
}

func (f *fleet) run(ctx context.Context) error {
	// The locks stand until the last job has ended.
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if err := f.queue.Start(ctx); err != nil {
		f.pool.Close()
		return unreachable(f.URL, err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { f.locks.keep(keeping) })
	wg.Go(func() { f.known.keep(ctx) })
	wg.Go(func() { f.heed(ctx) })
	f.log.Info("working in the fleet", "machine", f.queue.ID(), "accounts_at_once", f.Concurrency)
	stopped, ended := f.queue.Stopped(), make(chan struct{})
	<-ctx.Done()
	go func() {
		defer close(ended)
		<-stopped
		stop()
		wg.Wait()
		f.pool.Close()
	}()
	timer := time.NewTimer(hardStop)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C: // the process is about to end: what hangs ends with it, and is found missing
		f.log.Warn("stopped with jobs under way; other machines take them up", "machine", f.queue.ID())
	}
	return nil
}

// config is what River is told.
func (f *fleet) config() *river.Config {
	workers := river.NewWorkers()
	river.AddWorker(workers, &collecting{fleet: f})
	river.AddWorker(workers, &beating{fleet: f})
	queues := map[string]river.QueueConfig{
		collectQueue: {MaxWorkers: f.Concurrency},
		partQueue:    {MaxWorkers: len(f.parts())},
	}
	if f.Rotate != nil {
		river.AddWorker(workers, &rotating{fleet: f})
		queues[rotateQueue] = river.QueueConfig{MaxWorkers: f.Turns}
	}
	return &river.Config{
		Logger:  slog.New(&muted{f.log.Handler()}),
		Workers: workers, Queues: queues, PeriodicJobs: f.periodic(),
		ErrorHandler: &troubles{f}, RetryPolicy: &backoff{f.work.Now},
		FetchCooldown:               20 * time.Millisecond, // a machine takes what others leave without a pause
		JobTimeout:                  longestPart,           // of a kind that says nothing else
		RescueStuckJobsAfter:        max(longestPart, longestTurns, f.Longest) + time.Minute,
		SoftStopTimeout:             softStop,
		DiscardedJobRetentionPeriod: 24 * time.Hour,
		FetchOnlyKnownKinds:         true, // while an update is on its way, a machine of before leaves alone what it does not know
	}
}

// pause waits; the error is that of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// muted makes River's own warnings and errors debug, and leaves out the rest: each of its parts tells each of its tries while the server
// is away, of which locks tells once. What befalls a job is told by troubles.
type muted struct{ slog.Handler }

func (h *muted) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h *muted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}
func (h *muted) WithAttrs(attrs []slog.Attr) slog.Handler { return &muted{h.Handler.WithAttrs(attrs)} }
func (h *muted) WithGroup(name string) slog.Handler       { return &muted{h.Handler.WithGroup(name)} }
