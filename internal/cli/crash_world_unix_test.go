//go:build unix

package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/store"
)

const crashAccount = "444455556666"

// scene is a command that is killed, the account and the journal as it finds them, and what is to come of it.
type scene struct {
	expectation
	name    string
	whole   bool // make test kills it at every point
	args    []string
	exit    int
	ahead   time.Duration     // of the clock
	journal map[string][]byte // its files by name; empty: there is none yet
	plan    []byte
}

// condition is how AWS behaves meanwhile.
type condition string

const (
	goodDay    condition = "good day"
	staleLists condition = "stale lists"  // keys are listed as they were before, a few times after each change
	noReply    condition = "lost answers" // changes take effect, and their answers never come or are a fault
)

// lost is a phase of a call beside those of fakeaws: the request never reaches AWS.
const lost fakeaws.Phase = "lost"

// kill is when a process ends; the zero value: not before it is done.
type kill struct {
	write int // the nth point around a write to the journal
	call  int // the nth call to AWS, in that phase
	phase fakeaws.Phase
	after time.Duration
}

func (k kill) String() string {
	switch {
	case k.write > 0:
		return fmt.Sprintf("journal point %d", k.write)
	case k.call > 0:
		return fmt.Sprintf("call %d %s", k.call, k.phase)
	case k.after > 0:
		return k.after.String()
	default:
		return "never"
	}
}

// world is one account, one journal, and the processes that meet them one after the other.
type world struct {
	*scene
	condition condition
	double    bool // AWS gets each change twice: what must never happen, to see that it is noticed
	dir       string
	on        *journals
	url       string // of the journal on the server; empty: it is files
	cloud     *fakeaws.Cloud
	account   *fakeaws.Account
}

func newWorld(s *scene, c condition, under string, on *journals) (*world, error) {
	dir, err := os.MkdirTemp(under, "world")
	if err != nil {
		return nil, err
	}
	w := &world{scene: s, condition: c, dir: dir, on: on, cloud: fakeaws.New(time.Now().Add(s.ahead))}
	w.account = w.cloud.AddAccount(fact.Account{ID: crashAccount})
	for _, u := range s.users {
		if err := w.account.AddUser(u); err != nil {
			return nil, err
		}
	}
	if c == staleLists {
		w.cloud.Set(fakeaws.Switches{StaleReads: 2})
	}
	if on != nil {
		w.url, err = on.holding(s.journal)
	} else {
		err = writeJournal(w.state(), s.journal)
	}
	if err != nil {
		return nil, err
	}
	return w, errors.Join(os.WriteFile(filepath.Join(dir, "plan.json"), s.plan, 0o600), w.setClock(s.ahead))
}

func (w *world) close() {
	_ = os.RemoveAll(w.dir)
	if w.on != nil {
		w.on.drop(w.url)
	}
}

func (w *world) state() string { return filepath.Join(w.dir, "state") }

func (w *world) setClock(ahead time.Duration) error {
	return os.WriteFile(filepath.Join(w.dir, "clock"), []byte(ahead.String()), 0o600)
}

// process is one run of the real program in a world.
type process struct {
	w       *world
	kill    kill
	cmd     *exec.Cmd
	started chan struct{}
	dead    chan struct{}

	mu     sync.Mutex // held while a call is served: one at a time
	calls  int
	points []kill // the calls and phases that were reached
}

// ended is how a process ended.
type ended struct {
	code           int  // its exit code; -1 when it was killed
	killed         bool // by SIGKILL
	stdout, stderr string
	points         []kill
	took           time.Duration
}

// run starts the program and waits until it and every call that it made are over.
func (w *world) run(k kill, args ...string) (*ended, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &process{w: w, kill: k, started: make(chan struct{}), dead: make(chan struct{})}
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // ends with ErrServerClosed
	w.cloud.OnCall(func(_ string, phase fakeaws.Phase) { p.reached(phase) })
	var stdout, stderr bytes.Buffer
	p.cmd = &exec.Cmd{
		Path: self, Args: append([]string{"keyreeve"}, args...), Dir: w.dir, Stdout: &stdout, Stderr: &stderr,
		Env: []string{
			"HOME=" + w.dir, "XDG_STATE_HOME=" + w.state(), "AWS_ENDPOINT_URL=http://" + listener.Addr().String(),
			"AWS_ACCESS_KEY_ID=" + w.account.Credential(), "AWS_SECRET_ACCESS_KEY=any", "AWS_REGION=us-east-1",
			"AWS_MAX_ATTEMPTS=1", // an answer that is lost stays lost, and nobody pauses
			testDB + "=" + w.url, clockFile + "=clock", noWait + "=1", pointFile + "=points", fmt.Sprintf("%s=%d", killAt, k.write),
		},
	}
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	close(p.started)
	if k.after > 0 {
		timer := time.AfterFunc(k.after, func() { _ = p.cmd.Process.Kill() }) // it may be over
		defer timer.Stop()
	}
	_ = p.cmd.Wait() // how it ended is looked at below
	took := time.Since(begun)
	close(p.dead)
	// AWS goes on with what it has, also when nobody waits for the answer.
	if err := server.Shutdown(context.Background()); err != nil {
		return nil, err
	}
	if w.on != nil {
		if err := w.on.alone(w.url); err != nil {
			return nil, err
		}
	}
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return &ended{
		code: p.cmd.ProcessState.ExitCode(), killed: status.Signaled() && status.Signal() == syscall.SIGKILL,
		stdout: stdout.String(), stderr: stderr.String(), points: p.points, took: took,
	}, nil
}

// ServeHTTP is AWS as this process meets it.
func (p *process) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := r.ParseForm(); err != nil {
		panic(http.ErrAbortHandler) // killed amid the request: AWS has not got it
	}
	p.calls++
	action := "iam:" + r.Form.Get("Action")
	if isChange(action, r.Form.Get("AccessKeyId")) {
		if p.kill == (kill{call: p.calls, phase: lost}) {
			p.end()
			panic(http.ErrAbortHandler)
		}
		p.points = append(p.points, kill{call: p.calls, phase: lost})
		if p.w.double {
			p.w.cloud.ServeHTTP(discard{}, r)
		}
		if p.w.condition == noReply {
			kinds := []fakeaws.Kind{fakeaws.ResetAfter, fakeaws.ErrorAfter}
			p.w.cloud.Inject(fakeaws.Fault{Kind: kinds[p.calls%2], Action: action, Times: 1})
		}
	}
	p.w.cloud.ServeHTTP(rw, r)
}

// isChange tells a change of a key from the question whether one would be allowed, about a key that cannot be.
func isChange(action, keyID string) bool {
	return (action == "iam:UpdateAccessKey" || action == "iam:DeleteAccessKey") && strings.HasPrefix(keyID, "AKIA")
}

func (p *process) reached(phase fakeaws.Phase) {
	at := kill{call: p.calls, phase: phase}
	p.points = append(p.points, at)
	if p.kill == at {
		p.end()
	}
}

// end kills the process and waits until it is gone.
func (p *process) end() {
	<-p.started
	_ = p.cmd.Process.Kill() // it may be over
	<-p.dead
}

// discard is where an answer goes that nobody waits for.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// writePoints counts the points around writes to the journal that processes of this world have reached.
func (w *world) writePoints() int {
	text, err := os.ReadFile(filepath.Join(w.dir, "points"))
	if err != nil {
		return 0
	}
	return strings.Count(string(text), "\n")
}

// look gathers what there is to see, while no process runs. It opens a copy of the journal, so that the next
// process finds it as the last one left it.
func (w *world) look() (*evidence, error) {
	e := &evidence{users: w.account.Users(), writes: w.account.Writes(), calls: map[string]int{}}
	for _, c := range w.cloud.Calls() {
		if id := c.Params.Get("AccessKeyId"); isChange(c.Action, id) {
			e.calls[id]++
		}
	}
	var err error
	if w.url == "" {
		e.runs, e.entries, err = readJournal(w.state())
		return e, err
	}
	db, err := store.Open(context.Background(), w.url, store.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	e.runs, e.entries, err = runsAndEntries(db)
	return e, err
}

// check looks, and says what is wrong; of a process that was not killed also what it left undone.
func (w *world) check(end *ended) ([]string, *evidence, error) {
	e, err := w.look()
	if err != nil {
		return nil, nil, err
	}
	wrong := w.violations(e, !end.killed)
	if !end.killed && end.code != w.exit {
		wrong = append(wrong, fmt.Sprintf("exit code %d, want %d", end.code, w.exit))
	}
	return wrong, e, nil
}

// catchUp sets the clock of the next process to where the last one left the journal: pauses that ended at once
// have moved it on. No further, or intents would be older than they are.
func (w *world) catchUp(e *evidence) error {
	ahead := w.ahead
	if n := len(e.entries); n > 0 {
		ahead = max(ahead, time.Until(e.entries[n-1].At)+time.Millisecond)
	}
	return w.setClock(ahead)
}

func readJournal(state string) (runs []journal.Run, entries []journal.Entry, err error) {
	files, err := journalFiles(state)
	if err != nil || len(files) == 0 {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(state), "look")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := writeJournal(dir, files); err != nil {
		return nil, nil, err
	}
	ctx := context.Background()
	db, err := store.Open(ctx, "sqlite:"+filepath.Join(dir, "keyreeve", "keyreeve.db"), store.Options{})
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = db.Close() }()
	return runsAndEntries(db)
}

func runsAndEntries(db *store.DB) (runs []journal.Run, entries []journal.Entry, err error) {
	ctx := context.Background()
	if runs, err = db.Runs(ctx, store.RunFilter{}); err != nil {
		return nil, nil, err
	}
	entries, err = db.Entries(ctx)
	return runs, entries, err
}

// journalFiles are the database and its write-ahead log.
func journalFiles(state string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range []string{"keyreeve.db", "keyreeve.db-wal"} {
		body, err := os.ReadFile(filepath.Join(state, "keyreeve", name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = body
	}
	return files, nil
}

func writeJournal(state string, files map[string][]byte) error {
	dir := filepath.Join(state, "keyreeve")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			return err
		}
	}
	return nil
}
