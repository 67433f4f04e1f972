package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/fleet"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/web"
)

// stopTime is how long requests under way may take when serve stops.
const stopTime = 5 * time.Second

// serveFlags are the flags of `keyreeve serve`, as they were written.
type serveFlags struct {
	orgFlags
	writerFlags
	only        string
	role        string
	ruleset     string
	exceptions  string
	evidence    string
	schedule    string
	zone        string
	jitter      string
	dueWithin   string
	listen      string
	tick        string
	keepClosed  string
	keepDays    string
	sums        bool
	concurrency int
	rate        float64
}

func (a *app) serveCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Continuous assurance: read, judge, keep, tell, rotate, on a schedule; HTTP",
		Long: "serve reads the account of your credentials, or with --org every account of the organisation, when the schedule\n" +
			"says so; it judges them, keeps what opened and closed in the history (--db), tells people what changed (notices: in\n" +
			"the settings file), moves rotations on, and serves health, metrics and a read-only API on a loopback port.\n\n" +
			"It can be killed at any moment and goes on where it stood. On an interrupt it finishes what is under way and stops.\n" +
			"The settings file, the ruleset and the exceptions are read again once a minute: no restart is needed.",
		Example: "  keyreeve serve\n" +
			"  keyreeve serve --org --external-id 7f3a --schedule '0 6 * * *' --time-zone Europe/Berlin --jitter 1h\n" +
			"  keyreeve serve --only rotations --rotate-profile keyreeve-rotate",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := errors.Join(refuseEmptyFlags(c), f.check(c)); err != nil {
				return asMisuse(err)
			}
			if f.role == roleWorker && !c.Flags().Changed("listen") {
				f.listen = "none" // several may run on one machine
			}
			switch f.only {
			case "":
				return a.serve(c.Context(), &f)
			case "rotations":
				return a.serveRotations(c.Context(), f.writerFlags)
			default:
				return misuse("this version has --only rotations", "serve %q", f.only)
			}
		},
	}
	f.orgFlags.register(c)
	registerRotator(&f.writerFlags, c)
	fs := c.Flags()
	fs.Lookup("rotate-role").Usage = "`ARN` of a role to assume for rotating; with --org the NAME of a role in each account"
	fs.StringVar(&f.only, "only", "", "serve only that `PART`: rotations")
	fs.StringVar(&f.role, "role", roleAll, "what this machine does where --db is PostgreSQL: `ROLE` all, web (HTTP alone), worker (all the rest; HTTP only with --listen)")
	fs.StringVar(&f.ruleset, "ruleset", "default", "built-in `NAME` or a file")
	fs.StringVar(&f.exceptions, "exceptions", "", "accepted risks, a YAML `FILE`; those of the settings file hold too")
	fs.StringVar(&f.evidence, "evidence", "report", "`KIND`: report, eight calls for the whole account; live, every user by calls of its own: for rules and accepted risks that name tags")
	fs.StringVar(&f.schedule, "schedule", "0 6 * * *", "when accounts are read: a `CRON` line of five fields, or @daily, @every 6h")
	fs.StringVar(&f.zone, "time-zone", "", "`ZONE` of the schedule, such as Europe/Berlin (default UTC)")
	fs.StringVar(&f.jitter, "jitter", "", "spread the accounts over that `TIME` after the schedule, such as 1h")
	fs.StringVar(&f.dueWithin, "due-within", "30d", "look that `TIME` ahead for what starts to fail, for reminders")
	fs.StringVar(&f.listen, "listen", web.DefaultAddress, "`ADDRESS` to serve HTTP on; none for no HTTP, as a worker without --listen")
	fs.BoolVar(&f.sums, "metric-sums", false, "metrics of all accounts together: of thousands, each takes some twenty series")
	fs.StringVar(&f.tick, "tick", "15s", "`TIME` between two looks at what is due")
	fs.StringVar(&f.keepClosed, "keep-closed", "730d", "forget verdicts that closed before that `TIME`")
	fs.StringVar(&f.keepDays, "keep-days", "1095d", "forget days of trends before that `TIME`")
	fs.IntVar(&f.concurrency, "concurrency", accountsAtOnce, "most `ACCOUNTS` read at once")
	fs.Float64Var(&f.rate, "rate", 0, "most `CALLS` to AWS a second in one account; 0: no fixed limit, slower when AWS throttles")
	completeValues(c, "evidence", []string{"report", "live"})
	completeValues(c, "only", []string{"rotations"})
	completeValues(c, "role", []string{roleAll, roleWeb, roleWorker})
	c.AddCommand(a.serveTokenCommand())
	return c
}

// What a machine of a fleet does.
const (
	roleAll    = "all"
	roleWeb    = "web"
	roleWorker = "worker"
)

// service is what serve works with.
type service struct {
	db     *store.DB
	work   *daemon.Work
	run    func(ctx context.Context) error // does the work; nil: this machine does none
	queue  func() int                      // accounts that are due and not read yet
	told   string                          // what it works on, for people
	listen net.Listener                    // nil: no HTTP
	sums   bool                            // metrics leave single accounts out
	closes []func()
}

func (s *service) close() {
	for i := len(s.closes) - 1; i >= 0; i-- {
		s.closes[i]()
	}
}

// serve runs until ctx ends.
func (a *app) serve(ctx context.Context, f *serveFlags) error {
	s, err := a.service(ctx, f)
	if err != nil {
		return err
	}
	defer s.close()
	where := "no HTTP"
	if s.listen != nil {
		where = "http://" + s.listen.Addr().String()
	}
	a.say("serving; %s; Ctrl-C stops", where)
	a.say("%s", s.told)
	g, ctx := errgroup.WithContext(ctx)
	if s.run != nil {
		g.Go(func() error { return s.run(ctx) })
	}
	if s.listen != nil {
		h, err := a.surface(s)
		if err != nil {
			return err
		}
		g.Go(func() error { return web.Serve(ctx, s.listen, h, stopTime) })
	}
	return g.Wait()
}

// service checks everything that can be wrong before anything is read, and opens what serve needs.
func (a *app) service(ctx context.Context, f *serveFlags) (_ *service, err error) {
	s := &service{sums: f.sums}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	jitter, err1 := parseFlagDuration("--jitter", f.jitter)
	due, err2 := parseFlagDuration("--due-within", f.dueWithin)
	tick, err3 := parseFlagDuration("--tick", f.tick)
	closed, err4 := parseFlagDuration("--keep-closed", f.keepClosed)
	days, err5 := parseFlagDuration("--keep-days", f.keepDays)
	evidence, err6 := parseEvidence(f.evidence)
	limits := selectionFlags{concurrency: f.concurrency, rate: f.rate}
	if err := errors.Join(err1, err2, err3, err4, err5, err6, limits.limits()); err != nil {
		return nil, asMisuse(err)
	}
	if tick%time.Second != 0 {
		return nil, misuse("such as 15s", "--tick %s is not in whole seconds", tick)
	}
	schedule, err := daemon.ParseSchedule(f.schedule, f.zone, jitter)
	if err != nil {
		return nil, misuse("such as '0 6 * * *' with --time-zone Europe/Berlin", "%v", err)
	}
	terms := &termsNow{app: a, flags: f, due: due}
	if _, err := terms.judge(a.sys.Now()); err != nil {
		return nil, asMisuse(err)
	}
	if _, _, err := terms.notices(a.sys.Now()); err != nil {
		return nil, asMisuse(err)
	}
	if err := f.checkRole(a); err != nil {
		return nil, err
	}
	channels := &openChannels{app: a}
	s.closes = append(s.closes, channels.close)
	if f.role != roleWeb { // which tells nobody
		if _, _, err := channels.now(ctx, a.sys.Now()); err != nil {
			return nil, asMisuse(err)
		}
	}
	if f.listen != "none" {
		if s.listen, err = (&net.ListenConfig{}).Listen(ctx, "tcp", f.listen); err != nil {
			return nil, misuse("--listen names another address, or none", "listen on %q: %v", f.listen, err)
		}
		s.closes = append(s.closes, func() { _ = s.listen.Close() }) // mostly closed by then
	}
	if s.db, err = a.openStore(ctx); err != nil {
		return nil, asMisuse(err)
	}
	s.closes = append(s.closes, func() { _ = s.db.Close() })
	if f.role == roleWeb { // it shows what others do, and asks nothing of AWS
		s.work = &daemon.Work{Health: &daemon.Health{}}
		s.told = "what others read into " + s.db.Name() + " is shown"
		_, err := a.watchQueue(ctx, s)
		return s, err
	}
	list, of, closeList, err := a.lister(ctx, f, terms)
	if err != nil {
		return nil, err
	}
	s.closes = append(s.closes, closeList)
	s.told = fmt.Sprintf("%s is read into %s, by the schedule next at %s; channels: %d",
		of, s.db.Name(), schedule.Next(a.sys.Now()).Format(time.RFC3339), len(terms.tells.routing.Channels))
	ledger := s.db.Ledger(store.Origin{})
	teller := &daemon.Teller{
		Record: s.db, Standing: standing{s.db, ledger}, Outbox: s.db.Outbox(), Terms: terms.notices, Exceptions: terms.exceptions, Now: a.sys.Now,
	}
	senders := &daemon.Senders{Outbox: s.db.Outbox(), Channels: channels.now, Now: a.sys.Now, Random: rand.Float64, Log: a.log()}
	work := &daemon.Work{
		Store: s.db, List: list, Judge: terms.judge, Tell: teller.Tell, Send: senders.Send, Now: a.sys.Now, Wait: a.wait, Log: a.log(),
		Health: &daemon.Health{},
		How:    audit.LiveOptions{Evidence: evidence, Confirm: true, Options: collect.Options{Concurrency: callsInAccount, Now: a.sys.Now}},
		Owners: terms.owners,
		Prune: func(ctx context.Context) error {
			now := a.sys.Now()
			_, err := s.db.Prune(ctx, store.Before{Closed: now.Add(-closed), Days: now.Add(-days), Notices: now.AddDate(-1, -1, 0)})
			return err
		},
	}
	turn, err := a.rotator(ctx, f, s)
	if err != nil {
		return nil, err
	}
	s.work = work
	if s.db.Path() == "" { // on a server: many machines share the work
		return s, a.share(ctx, f, s, schedule, tick, turn)
	}
	if turn != nil {
		work.Rotate = func(ctx context.Context) error { return a.turnDue(ctx, ledger, turn) }
	}
	loop := &daemon.Loop{Work: work, Schedule: schedule, Concurrency: f.concurrency, Tick: tick}
	s.queue = loop.Queue
	s.run = func(ctx context.Context) error {
		loop.Run(ctx)
		return nil
	}
	return s, nil
}

// share makes this machine one of those that share the work by the queue of the database.
func (a *app) share(
	ctx context.Context, f *serveFlags, s *service, schedule *daemon.Schedule, tick time.Duration, turn func(ctx context.Context, rotation, account string) error,
) error {
	url, err := a.watchQueue(ctx, s)
	if err != nil {
		return err
	}
	set := fleet.Settings{
		URL: url, Work: s.work, Schedule: schedule, Book: s.db, Concurrency: f.concurrency, Tick: tick, Relist: 24 * time.Hour, Turns: 1,
	}
	if turn != nil {
		set.Rotate, set.Rotations = turn, s.db.Ledger(store.Origin{})
	}
	s.run = func(ctx context.Context) error { return fleet.Run(ctx, set) }
	return nil
}

// watchQueue opens the queue of the database, to tell how much is in it, and gives its URL.
func (a *app) watchQueue(ctx context.Context, s *service) (string, error) {
	url, err := a.database()
	if err != nil {
		return "", err
	}
	q, err := fleet.Open(ctx, url)
	if err != nil {
		return "", err
	}
	s.closes = append(s.closes, q.Close)
	s.queue = depth(ctx, q)
	return url, nil
}

// depth counts the accounts that are due and not read yet, on all machines together; as it was last known while the server is away.
func depth(ctx context.Context, q *fleet.Queue) func() int {
	var last atomic.Int64
	return func() int {
		ctx, cancel := context.WithTimeout(ctx, pingTime)
		defer cancel()
		if stand, err := q.Stand(ctx); err == nil {
			last.Store(int64(stand.Accounts.Waiting + stand.Accounts.Running + stand.Accounts.Retrying))
		}
		return int(last.Load())
	}
}

// checkRole refuses a role that makes no sense with the database.
func (f *serveFlags) checkRole(a *app) error {
	if !slices.Contains([]string{roleAll, roleWeb, roleWorker}, f.role) {
		return misuse("use all, web or worker", "unknown --role %q", f.role)
	}
	url, err := a.database()
	if err != nil {
		return err
	}
	if f.role != roleAll && !strings.HasPrefix(url, "postgres") {
		return misuse("--db postgres://... shares the work of many machines; one machine needs no --role", "--role %s needs a database on a server", f.role)
	}
	if f.role == roleWeb && f.listen == "none" {
		return misuse("leave out --listen none", "--role web does nothing but HTTP")
	}
	return nil
}

// rotator moves one rotation on: of the account of the flags' credentials, or with --org of any, by a role in it. nil: nobody
// was asked to.
func (a *app) rotator(ctx context.Context, f *serveFlags, s *service) (func(ctx context.Context, rotation, account string) error, error) {
	role := f.writerFlags.role
	if f.profile == "" && role == "" {
		return nil, nil //nolint:nilnil // as said
	}
	if f.org {
		if role == "" || strings.HasPrefix(role, "arn:") {
			return nil, misuse("such as --rotate-role keyreeve-rotate; keyreeve org setup makes it", "with --org, --rotate-role is the name of a role in each account")
		}
		return func(ctx context.Context, rotation, account string) error {
			return a.rotateIn(ctx, f, s, rotation, account)
		}, nil
	}
	r, err := a.rotating(ctx, f.writerFlags)
	if err != nil {
		return nil, err
	}
	s.closes = append(s.closes, r.close)
	var one sync.Mutex // the places of one account are opened one after the other
	return func(ctx context.Context, rotation, account string) error {
		if account != r.engine.Caller.Account.ID {
			return nil // somebody else's, with credentials of that account
		}
		one.Lock()
		defer one.Unlock()
		return ticked(r.engine.Tick(ctx, rotation))
	}, nil
}

// ticked is what is wrong with a tick: that somebody else was first is not.
func ticked(_ *rotate.Rotation, err error) error {
	if errors.Is(err, rotate.ErrLost) {
		return nil
	}
	return err
}

// turnDue moves every rotation on that is due.
func (a *app) turnDue(ctx context.Context, ledger *store.Ledger, turn func(ctx context.Context, rotation, account string) error) error {
	ids, err := ledger.Due(ctx, "", a.sys.Now(), 1000)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		r, err := ledger.Load(ctx, id)
		if err == nil {
			err = turn(ctx, id, r.Account)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("rotation %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// rotateIn moves a rotation of one account of an organisation on.
func (a *app) rotateIn(ctx context.Context, f *serveFlags, s *service, rotation, account string) error {
	partition := "aws"
	if known, ok, err := s.db.AccountOf(ctx, account); err != nil {
		return err
	} else if ok {
		partition = known.Account.Partition
	}
	w := f.writerFlags
	w.external = cmp.Or(w.external, f.externalID)
	w.role = "arn:" + partition + ":iam::" + account + ":role/" + strings.TrimPrefix(f.writerFlags.role, "/")
	r, err := a.rotating(ctx, w)
	if err != nil {
		return err
	}
	defer r.close()
	return ticked(r.engine.Tick(ctx, rotation))
}

// standing is the store and its ledger, as a Teller asks them.
type standing struct {
	*store.DB
	ledger *store.Ledger
}

func (s standing) Waiting(ctx context.Context) ([]rotate.Rotation, error) {
	return s.ledger.Waiting(ctx)
}

// termsNow are the rules, the accepted risks and the settings of notices as the files have them now; read again once a minute.
type termsNow struct {
	app   *app
	flags *serveFlags
	due   time.Duration

	mu    sync.Mutex
	at    time.Time
	last  audit.Options
	tells noticesNow
}

type noticesNow struct {
	routing    notice.Routing
	reminders  notice.Reminders
	exceptions []finding.Exception
}

func (t *termsNow) read(now time.Time) error {
	if !t.at.IsZero() && !now.Before(t.at) && now.Sub(t.at) < time.Minute {
		return nil
	}
	rs, err := loadRuleset(t.flags.ruleset, nil)
	if err != nil {
		return err
	}
	exceptions, err := t.app.loadExceptions(t.flags.exceptions, now, rs)
	if err != nil {
		return err
	}
	set, _, err := t.app.readConfig(now)
	if err != nil {
		return err
	}
	n := set.Notices()
	t.last = audit.Options{Version: t.app.version, Ruleset: rs, Exceptions: exceptions, DueWithin: t.due}
	t.tells = noticesNow{n.Routing, n.Reminders, exceptions.All()}
	t.at = now
	return nil
}

func (t *termsNow) judge(now time.Time) (audit.Options, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.read(now)
	out := t.last
	out.Exceptions = out.Exceptions.Fresh() // what one account matches is not what another does
	return out, err
}

func (t *termsNow) notices(now time.Time) (notice.Routing, notice.Reminders, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.read(now)
	return t.tells.routing, t.tells.reminders, err
}

// owners tells whether anybody is told: only then it matters whose a user is.
func (t *termsNow) owners(now time.Time) (bool, error) {
	routing, _, err := t.notices(now)
	return len(routing.Channels) > 0, err
}

func (t *termsNow) exceptions(now time.Time) ([]finding.Exception, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.read(now)
	return t.tells.exceptions, err
}

// lister gives what lists the accounts: those of the organisation, or the one of the credentials. of names them.
func (a *app) lister(ctx context.Context, f *serveFlags, terms *termsNow) (list func(ctx context.Context) (daemon.Listing, error), of string, closes func(), err error) {
	set := a.settings(callsInAccount, f.rate)
	if !f.org {
		r, err := awsiam.Open(ctx, set)
		if err != nil {
			return nil, "", nil, err
		}
		caller, err := r.Caller(ctx)
		if err != nil {
			r.Close()
			return nil, "", nil, err
		}
		m := audit.Member{
			Account: fact.Account{ID: caller.Account.ID, Partition: caller.Account.Partition},
			Open:    func(context.Context) (audit.Reader, func(), error) { return r, func() {}, nil },
		}
		return func(context.Context) (daemon.Listing, error) { return daemon.Listing{Members: []audit.Member{m}}, nil }, "account " + caller.Account.ID, r.Close, nil
	}
	set.AssumeRate = f.assumeRate
	members, err := awsiam.OpenMembers(ctx, set)
	if err != nil {
		return nil, "", nil, err
	}
	return func(ctx context.Context) (daemon.Listing, error) {
		opt, err := terms.judge(a.sys.Now())
		if err != nil {
			return daemon.Listing{}, err
		}
		o, err := a.readOrganization(ctx, &f.orgFlags, set, opt.Ruleset)
		if err != nil {
			return daemon.Listing{}, err
		}
		o.members = members
		return daemon.Listing{Members: o.audited(), Organization: o.id, There: o.there, Notes: slices.Concat(o.absent, o.notes)}, nil
	}, "the organisation of account " + members.Caller().Account.ID, members.Close, nil
}

// serveTick is how often serve looks for what is due.
const serveTick = 15 * time.Second

func (a *app) serveRotations(ctx context.Context, f writerFlags) error {
	r, err := a.rotating(ctx, f)
	if err != nil {
		return err
	}
	defer r.close()
	a.say("serving the rotations of account %s; Ctrl-C stops", r.engine.Caller.Account.ID)
	for {
		if _, err := r.engine.TickDue(ctx, 1000); err != nil {
			a.log().Error("tick", "error", err)
		}
		if err := a.wait(ctx, serveTick); err != nil {
			if errors.Is(err, context.Canceled) {
				return nil // as asked
			}
			return err
		}
	}
}
