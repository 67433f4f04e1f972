package fleet_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sim"
	"github.com/keyreeve/keyreeve/internal/fleet"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// envMachine has a test binary be one machine of a fleet: what it does as JSON, see machine.
const envMachine = "KEYREEVE_FLEET_MACHINE"

// The tests wait far more than they work: they run beside each other, on however few cores.
func TestMain(m *testing.M) {
	text := os.Getenv(envMachine)
	if text == "" {
		if err := flag.Set("test.parallel", "6"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	if err := child(context.Background(), []byte(text)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// machine is one machine of a fleet in a test.
type machine struct {
	Name, Database, World, Credential string

	Schedule    string // empty: daily, so that all accounts are due once
	Concurrency int
	Tick        time.Duration // 0 means 1 s
	Missing     time.Duration // 0 means 2 s
}

// settings wire the machine as the command line does.
func (m *machine) settings(ctx context.Context, log io.Writer) (fleet.Settings, func(), error) {
	db, err := store.Open(ctx, m.Database, store.Options{})
	if err != nil {
		return fleet.Settings{}, nil, err
	}
	set := awsiam.Settings{EndpointURL: m.World, Region: "us-east-1", Now: time.Now, Credentials: &awsiam.Credentials{ID: m.Credential, Secret: fact.NewSecret("any")}}
	members, err := awsiam.OpenMembers(ctx, set)
	if err != nil {
		return fleet.Settings{}, nil, err
	}
	line := m.Schedule
	if line == "" {
		line = "@daily"
	}
	schedule, err := daemon.ParseSchedule(line, "", 0)
	if err != nil {
		return fleet.Settings{}, nil, err
	}
	rules, err := rule.Builtin("default")
	if err != nil {
		return fleet.Settings{}, nil, err
	}
	work := &daemon.Work{
		Store: db,
		List:  func(ctx context.Context) (daemon.Listing, error) { return m.list(ctx, set, members) },
		Judge: func(time.Time) (audit.Options, error) { return audit.Options{Ruleset: rules}, nil },
		How:   audit.LiveOptions{Options: collect.Options{Now: time.Now}, Evidence: fact.Report, Confirm: true},
		Now:   time.Now, Log: slog.New(slog.NewTextHandler(log, nil)), Health: &daemon.Health{},
		Collected: func(o *history.Observation, _ *history.Changes) { m.tell("judged", o.Account.ID) },
		Tell: func(_ context.Context, urgent bool) error {
			if urgent {
				m.tell("told of what is urgent", m.Name)
			} else {
				m.tell("told", m.Name)
			}
			return nil
		},
		Send: func(context.Context) error { m.tell("sent", m.Name); return nil },
	}
	s := fleet.Settings{
		URL: m.Database, Work: work, Schedule: schedule, Book: db, Concurrency: m.Concurrency, Tick: max(m.Tick, time.Second), Missing: m.Missing,
	}
	if s.Missing == 0 {
		s.Missing = 2 * time.Second
	}
	return s, func() { members.Close(); _ = db.Close() }, nil
}

func (m *machine) list(ctx context.Context, set awsiam.Settings, members *awsiam.Members) (daemon.Listing, error) {
	o, err := awsiam.OpenOrganization(ctx, set)
	if err != nil {
		return daemon.Listing{}, err
	}
	defer o.Close()
	org, err := o.Read(ctx)
	if err != nil {
		return daemon.Listing{}, err
	}
	l := daemon.Listing{Organization: org.ID}
	for i := range org.Members {
		a := org.Members[i].Account
		l.There = append(l.There, a.ID)
		l.Members = append(l.Members, audit.Member{Account: a, Open: func(ctx context.Context) (audit.Reader, func(), error) {
			m.tell("begin", a.ID)
			r, err := members.Open(ctx, a, awsiam.MemberSettings{})
			if err != nil {
				m.tell("end", a.ID)
				return nil, nil, err
			}
			return r, func() { m.tell("end", a.ID) }, nil
		}})
	}
	return l, nil
}

// tell tells the world what the machine does.
func (m *machine) tell(what, about string) {
	q := url.Values{"what": {what}, "about": {about}, "machine": {m.Name}}
	res, err := http.Get(m.World + "/watch?" + q.Encode()) //nolint:noctx // the world is in the same machine
	if err == nil {
		_ = res.Body.Close()
	}
}

// child is a machine in a process of its own: it works from the line go on, until its input ends.
func child(ctx context.Context, text []byte) error {
	var m machine
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	s, done, err := m.settings(ctx, os.Stderr)
	if err != nil {
		return err
	}
	defer done()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	going := make(chan struct{})
	in := bufio.NewScanner(os.Stdin)
	go func() {
		in.Scan()
		close(going)
		for in.Scan() { // until it is closed
		}
		stop()
	}()
	list := s.Work.List
	s.Work.List = func(ctx context.Context) (daemon.Listing, error) { // nothing is read before the line comes
		select {
		case <-going:
			return list(ctx)
		case <-ctx.Done():
			return daemon.Listing{}, ctx.Err()
		}
	}
	s.Work.Log = slog.New(&starting{s.Work.Log.Handler()})
	return fleet.Run(ctx, s)
}

// starting says so when a machine has begun, and by which name the queue knows it.
type starting struct{ slog.Handler }

func (h *starting) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "working in the fleet" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "machine" {
				fmt.Println("ready", a.Value)
			}
			return true
		})
	}
	return h.Handler.Handle(ctx, r)
}

// process is a machine in a process of its own.
type process struct {
	id  string // by which the queue knows it
	cmd *exec.Cmd
	in  io.WriteCloser
	err bytes.Buffer
}

// launch starts a machine, which has begun when it returns, and waits for its go.
func launch(t testing.TB, m machine) *process {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), envMachine+"="+string(text))
	p.cmd.Stderr = &p.err
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	lines.Scan()
	var ready bool
	if p.id, ready = strings.CutPrefix(lines.Text(), "ready "); !ready {
		t.Fatalf("machine %s: %v\n%s", m.Name, p.cmd.Wait(), p.err.String())
	}
	return p
}

func (p *process) goOn(t testing.TB) {
	t.Helper()
	if _, err := io.WriteString(p.in, "go\n"); err != nil {
		t.Fatal(err)
	}
}

// stop has it stop cleanly, and gives its log.
func (p *process) stop(t testing.TB) string {
	t.Helper()
	_ = p.in.Close() // that is the sign
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("it stopped with %v\n%s", err, p.err.String())
	}
	return p.err.String()
}

// kill ends it at once, and gives its log.
func (p *process) kill(t testing.TB) string {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // it was killed: that is its error
	return p.err.String()
}

// world is a simulated organisation that counts what is done to each account.
type world struct {
	*sim.Sim
	url string

	mu       sync.Mutex
	changed  chan struct{}     // closed at each event
	count    map[string]int    // of events and what they are about: "judged 100000000001"; of an event alone, in all
	under    map[string]string // accounts that are being read, and by which machine
	last     map[string]string // the machine that began an account last
	gone     map[string]bool   // machines that were killed
	overlaps []string
}

func organise(t testing.TB, o sim.Options) *world {
	t.Helper()
	o.Now = time.Now()
	s, err := sim.New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		Sim: s, changed: make(chan struct{}), count: map[string]int{}, under: map[string]string{}, last: map[string]string{}, gone: map[string]bool{},
	}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/watch" {
		w.saw(r.FormValue("what"), r.FormValue("about"), r.FormValue("machine"))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if q, err := url.ParseQuery(string(body)); err == nil && q.Get("Action") == "AssumeRole" {
		account, _, _ := strings.Cut(strings.TrimPrefix(q.Get("RoleArn"), "arn:aws:iam::"), ":")
		w.saw("assumed", account, "")
	}
	w.Sim.ServeHTTP(rw, r)
}

func (w *world) saw(what, about, machine string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count[what]++
	w.count[what+" "+about]++
	if by, ok := w.under[about]; what == "begin" {
		if ok && !w.gone[by] {
			w.overlaps = append(w.overlaps, fmt.Sprintf("%s began with %s, which %s had", machine, about, by))
		}
		w.under[about], w.last[about] = machine, machine
	}
	if what == "end" {
		delete(w.under, about)
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// lost is called about a machine that was killed; it tells which accounts it had begun and not said to be judged.
func (w *world) lost(machine string) map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone[machine] = true
	had := map[string]bool{}
	for account, by := range w.last {
		if by == machine && w.count["judged "+account] == 0 {
			had[account] = true
		}
	}
	return had
}

func (w *world) of(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count[what]
}

const patience = 3 * time.Minute // for what takes seconds on a machine with nothing else to do

// wait waits until it holds; it is asked at each event.
func (w *world) wait(t testing.TB, what string, holds func(count map[string]int) bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		w.mu.Lock()
		ok, changed := holds(w.count), w.changed
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			w.mu.Lock()
			defer w.mu.Unlock()
			t.Fatalf("%s: not after %s; begun %d, ended %d, judged %d", what, patience, w.count["begin"], w.count["end"], w.count["judged"])
		}
	}
}

// accounts are all of them, the management account included.
func (w *world) accounts() []string {
	var ids []string
	for _, a := range w.Cloud().Accounts() {
		ids = append(ids, a.ID())
	}
	return ids
}

func (w *world) machine(name, database string) machine {
	return machine{Name: name, Database: database, World: w.url, Credential: w.Cloud().Account(sim.Management).Credential()}
}

// running is a machine in this process.
type running struct {
	stop  context.CancelFunc
	ended chan error
	log   *safeBuffer
}

// begin runs a machine in this process until the test ends, or it is stopped. edit changes its settings; nil: nothing.
func begin(t testing.TB, m machine, edit func(*fleet.Settings)) *running {
	t.Helper()
	r := &running{ended: make(chan error, 1), log: &safeBuffer{}}
	s, done, err := m.settings(t.Context(), r.log)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(&s)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.ended <- fleet.Run(ctx, s) }()
	t.Cleanup(func() {
		stop()
		if err, there := <-r.ended; there && err != nil {
			t.Errorf("machine %s: %v", m.Name, err)
		}
		done()
		if t.Failed() {
			t.Logf("machine %s:\n%s", m.Name, r.log.String())
		}
	})
	return r
}

// end stops it, and gives how long that took.
func (r *running) end(t testing.TB) time.Duration {
	t.Helper()
	start := time.Now()
	r.stop()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	close(r.ended)
	return time.Since(start)
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// query asks the database for one value.
func query[T any](t testing.TB, database, question string, args ...any) T {
	t.Helper()
	c, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	var out T
	if err := c.QueryRow(t.Context(), question, args...).Scan(&out); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", question, err)
	}
	return out
}

func TestRun_readsEachAccountOnceOnTwoMachines(t *testing.T) {
	t.Parallel()
	w := organise(t, sim.Options{Accounts: 20, Users: 5})
	db := postgres.URL(t)
	m := w.machine("one", db)
	m.Concurrency = 4
	one := begin(t, m, nil)
	m.Name = "two"
	two := begin(t, m, nil)
	w.wait(t, "all judged", func(n map[string]int) bool { return n["judged"] >= 21 })
	one.end(t)
	two.end(t)
	for _, id := range w.accounts() {
		if n := w.of("judged " + id); n != 1 {
			t.Errorf("account %s was judged %d times, want once", id, n)
		}
	}
	if len(w.overlaps) > 0 {
		t.Error(w.overlaps)
	}
	if n := query[int](t, db, `SELECT count(*) FROM river_job WHERE kind = 'collect' AND state <> 'completed'`); n != 0 {
		t.Errorf("%d jobs are not completed", n)
	}
}
