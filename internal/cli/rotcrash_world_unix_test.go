//go:build unix

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

const (
	rotUser   = "ci-deploy"
	rotOld    = "AKIAROTCRASH00000OLD"
	rotAside  = "AKIAROTCRASH000ASIDE" // of another user: nobody touches it
	anySecret = "not-a-secret-of-"     // every secret that fakeaws hands out begins so
	keyLag    = 12 * time.Second
	useLag    = 10 * time.Minute
	quietTime = 24 * time.Hour
)

// handover is the command that the second target runs, with its file and one of the verbs as arguments. It writes down
// what it was called with, so that a secret in arguments or environment is found.
const handover = `#!/bin/sh
echo "$@" >>log/arguments
export -p >>log/environment
case $2 in
deliver)
	[ -e "$1.was" ] || { cp "$1" "$1.is" && mv "$1.is" "$1.was"; }
	in=$(cat)
	case $in in
	*'}') printf '%s\n' "$in" >"$1.$$" && mv "$1.$$" "$1" ;;
	*) exit 75 ;; # cut off: who called was killed
	esac ;;
read-back) sed 's/.*\("sha256":"[0-9a-f]*"\).*/{\1}/' "$1" ;;
restore) cp "$1.was" "$1.$$" && mv "$1.$$" "$1" ;;
esac
`

const rotSettings = `rotation:
  settling: 2h
  quiet: 1d
  limits: {delivery: 3d, probe: 3d}
  targets:
    laptop:
      credentials_file: {path: consumer/credentials, profile: robot}
    script:
      command: {run: [%[1]s/handover, %[1]s/consumer/pair.json]}
  users:
    - user: ci-deploy
      targets: [laptop, script]
`

// rotWorld is one account with a user whose key is rotated, a ledger, two targets, and the consumers that read them.
type rotWorld struct {
	*rotScene
	dir     string
	on      *journals
	url     string // of the ledger on the server; empty: it is files
	cloud   *fakeaws.Cloud
	account *fakeaws.Account
	now     time.Time // of everybody; moved on between processes
	hour    time.Time // when the consumers last worked
	lost    map[string]bool
	said    bool // that it is cancelled
	late    bool // that somebody used the old key after all
	told    []string

	rotEvidence
}

func newRotWorld(s *rotScene, under string, on *journals) (*rotWorld, error) {
	dir, err := os.MkdirTemp(under, "rotation")
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	w := &rotWorld{rotScene: s, dir: dir, on: on, cloud: fakeaws.New(now), now: now, hour: now, lost: map[string]bool{}, rotEvidence: newEvidence()}
	w.account = w.cloud.AddAccount(fact.Account{ID: crashAccount})
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, u := range []fakeaws.User{
		{Name: rotUser, ID: "AIDAROTCRASHCI000000", Created: ago(400 * 24 * time.Hour), Keys: []fakeaws.Key{
			{ID: rotOld, Created: ago(100 * 24 * time.Hour), LastUsed: ago(30 * time.Minute)},
		}},
		{Name: "eve", ID: "AIDAROTCRASHEVE00000", Created: ago(400 * 24 * time.Hour), Keys: []fakeaws.Key{{ID: rotAside, Created: ago(24 * time.Hour)}}},
	} {
		if err := w.account.AddUser(u); err != nil {
			return nil, err
		}
	}
	if on != nil {
		if w.url, err = on.holding(nil); err != nil {
			return nil, err
		}
	}
	switches := fakeaws.Switches{KeyLag: keyLag, UseLag: useLag}
	if s.condition == staleLists {
		switches.StaleReads = 2
	}
	w.cloud.Set(switches)
	w.last = w.now.Add(-30 * time.Minute)
	old := fact.Pair{KeyID: rotOld, Secret: fact.NewSecret(anySecret + rotOld)}
	return w, errors.Join(
		os.Mkdir(filepath.Join(dir, "consumer"), 0o700), os.Mkdir(filepath.Join(dir, "log"), 0o700),
		os.WriteFile(filepath.Join(dir, "handover"), []byte(strings.ReplaceAll(handover, "log/", dir+"/log/")), 0o700),
		os.WriteFile(filepath.Join(dir, "keyreeve.yaml"), fmt.Appendf(nil, rotSettings, dir), 0o600),
		os.WriteFile(filepath.Join(dir, "consumer", "credentials"), []byte(credentialsOf(old)), 0o600),
		os.WriteFile(filepath.Join(dir, "consumer", "pair.json"), fmt.Appendf(nil,
			`{"access_key_id":%q,"secret_access_key":%q,"sha256":"%x"}`, old.KeyID, old.Secret.Reveal(), old.Digest()), 0o600),
	)
}

func credentialsOf(p fact.Pair) string {
	return "# kept by hand\n[default]\nregion = eu-west-1\n\n[robot]\naws_access_key_id = " + p.KeyID +
		"\naws_secret_access_key = " + p.Secret.Reveal() + "\n# the end\n"
}

func (w *rotWorld) close() {
	_ = os.RemoveAll(w.dir)
	if w.on != nil {
		w.on.drop(w.url)
	}
}

func (w *rotWorld) state() string { return filepath.Join(w.dir, "state") }

// held is the pair that each target holds; an error where one is torn.
func (w *rotWorld) held() (map[string]string, error) {
	file, err := os.ReadFile(filepath.Join(w.dir, "consumer", "credentials"))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "consumer", "pair.json"))
	if err != nil {
		return nil, err
	}
	var pair struct {
		ID     string `json:"access_key_id"`
		Secret string `json:"secret_access_key"`
	}
	if err := json.Unmarshal(text, &pair); err != nil {
		return nil, fmt.Errorf("the file of the command is torn: %w: %q", err, text)
	}
	robot := regexp.MustCompile(`(?s)^# kept by hand\n\[default\]\nregion = eu-west-1\n\n\[robot\]\naws_access_key_id = (\S+)\naws_secret_access_key = (\S+)\n# the end\n$`)
	m := robot.FindSubmatch(file)
	switch {
	case m == nil:
		return nil, fmt.Errorf("the credentials file is torn: %q", file)
	case string(m[2]) != anySecret+string(m[1]):
		return nil, fmt.Errorf("the credentials file holds key %s with the secret %s", m[1], m[2])
	case pair.Secret != anySecret+pair.ID:
		return nil, fmt.Errorf("the file of the command holds key %s with the secret %s", pair.ID, pair.Secret)
	}
	return map[string]string{"laptop": string(m[1]), "script": pair.ID}, nil
}

// pass lets time go by until then. Each hour the consumers read their targets and call.
func (w *rotWorld) pass(until time.Time) {
	if w.condition == staleLists && until.Sub(w.now) > 30*time.Second { // by then every list is as it should be
		for range 2 {
			w.call(w.account.Credential(), url.Values{"Action": {"ListAccessKeys"}, "UserName": {rotUser}})
		}
	}
	for w.now.Before(until) {
		next := w.hour.Add(time.Hour)
		if next.After(until) {
			w.now = until
			break
		}
		w.now, w.hour = next, next
		w.cloud.SetNow(w.now)
		w.consume()
		if w.lateUse && !w.late && !w.deactivated.IsZero() && w.now.Sub(w.deactivated) > 5*time.Hour {
			w.late = true
			if err := w.account.Use(rotUser, rotOld, "s3", "eu-west-1"); err != nil {
				w.bad("the straggler: %v", err)
			}
			w.used(rotOld, w.now)
		}
	}
	w.cloud.SetNow(w.now)
}

// consume is an hour's work of the consumers: whatever a target holds has to work.
func (w *rotWorld) consume() {
	held, err := w.held()
	if err != nil {
		w.bad("a consumer reads what is not whole: %v", err)
		return
	}
	for name, id := range held {
		answer := w.call(id, url.Values{"Action": {"GetUser"}})
		if answer.Code != http.StatusOK {
			w.bad("the consumer of %s fails with key %s at %s: %s", name, id, w.now.Format(time.RFC3339), answer.Body)
		}
		w.used(id, w.now)
	}
}

// call asks IAM with a key.
func (w *rotWorld) call(keyID string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+keyID+"/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0")
	answer := httptest.NewRecorder()
	w.young(r)
	w.cloud.ServeHTTP(answer, r)
	return answer
}

// young makes a call with a key that was made less than keyLag ago one that AWS does not know.
func (w *rotWorld) young(r *http.Request) {
	for _, u := range w.account.Users() {
		for _, k := range u.Keys {
			if w.cloud.Now().Sub(k.Created) < keyLag {
				r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "="+k.ID, "=AKIAUNKNOWNYET000000", 1))
			}
		}
	}
}

// rotProcess is one run of the real program in a rotWorld.
type rotProcess struct {
	w       *rotWorld
	kill    kill
	cmd     *exec.Cmd
	started chan struct{}
	dead    chan struct{}

	mu     sync.Mutex // held while a call is served: one at a time
	calls  int
	params url.Values // of the call that is served
	change bool       // it changes a key
	seen   int        // writes of the account
	points []kill
}

// run starts the program and waits until it and every call that it made are over; then everybody's clock is where its was.
func (w *rotWorld) run(k kill, args ...string) (*ended, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &rotProcess{w: w, kill: k, started: make(chan struct{}), dead: make(chan struct{}), seen: len(w.account.Writes())}
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // ends with ErrServerClosed
	w.cloud.OnCall(func(_ string, phase fakeaws.Phase) { p.reached(phase) })
	defer w.cloud.OnCall(nil)
	points := filepath.Join(w.dir, "log", "points")
	err = errors.Join(os.WriteFile(filepath.Join(w.dir, "clock"), []byte(time.Until(w.now).String()), 0o600), os.WriteFile(points, nil, 0o600))
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	p.cmd = &exec.Cmd{
		Path: self, Args: append([]string{"keyreeve"}, args...), Dir: w.dir, Stdout: &stdout, Stderr: &stderr,
		Env: []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "XDG_STATE_HOME=" + w.state(), "AWS_ENDPOINT_URL=http://" + listener.Addr().String(),
			"AWS_ACCESS_KEY_ID=" + w.account.Credential(), "AWS_SECRET_ACCESS_KEY=any", "AWS_REGION=us-east-1", "AWS_MAX_ATTEMPTS=1",
			testDB + "=" + w.url, clockFile + "=clock", noWait + "=1", pointFile + "=" + points, fmt.Sprintf("%s=%d", killAt, k.write),
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
	w.now = w.now.Add(took + time.Millisecond)
	lines, err := os.ReadFile(points)
	for n := range strings.Count(string(lines), "\n") {
		p.points = append(p.points, kill{write: n + 1})
	}
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	end := &ended{
		code: p.cmd.ProcessState.ExitCode(), killed: status.Signaled() && status.Signal() == syscall.SIGKILL,
		stdout: stdout.String(), stderr: stderr.String(), points: p.points, took: took,
	}
	w.told = append(w.told, fmt.Sprintf("%s %v, killed at %s: exit %d\n%s%s", w.now.Format(time.RFC3339), args, k, end.code, end.stdout, end.stderr))
	return end, err
}

// ServeHTTP is AWS as this process meets it.
func (p *rotProcess) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := r.ParseForm(); err != nil {
		panic(http.ErrAbortHandler) // killed amid the request: AWS has not got it
	}
	p.calls++
	p.params = r.Form
	action := "iam:" + r.Form.Get("Action")
	p.change = action == "iam:CreateAccessKey" || isChange(action, r.Form.Get("AccessKeyId"))
	if p.change {
		p.w.intended(r.Form)
		if p.kill == (kill{call: p.calls, phase: lost}) {
			p.end()
			panic(http.ErrAbortHandler)
		}
		p.points = append(p.points, kill{call: p.calls, phase: lost})
		if what := action + r.Form.Get("Status"); p.w.condition == noReply && !p.w.lost[what] { // each once
			p.w.lost[what] = true
			kinds := []fakeaws.Kind{fakeaws.ResetAfter, fakeaws.ErrorAfter}
			p.w.cloud.Inject(fakeaws.Fault{Kind: kinds[len(p.w.lost)%2], Action: action, Times: 1})
		}
	}
	p.w.young(r)
	p.w.cloud.ServeHTTP(rw, r)
}

func (p *rotProcess) reached(phase fakeaws.Phase) {
	if writes := p.w.account.Writes(); phase == fakeaws.Done && len(writes) > p.seen {
		for _, write := range writes[p.seen:] {
			p.w.wrote(write)
		}
		p.seen = len(writes)
	}
	p.w.observe()
	at := kill{call: p.calls, phase: phase}
	p.points = append(p.points, at)
	if p.kill == at {
		p.end()
	}
}

// end kills the process and waits until it is gone.
func (p *rotProcess) end() {
	<-p.started
	_ = p.cmd.Process.Kill() // it may be over
	<-p.dead
}

// record is the ledger and the journal, as a copy of their files tells.
type record struct {
	rotation *rotate.Rotation // nil: none was begun
	events   []rotate.Event
	count    int // rotations
}

func (w *rotWorld) read() (*record, error) {
	if w.url != "" {
		db, err := store.Open(context.Background(), w.url, store.Options{})
		if err != nil {
			return nil, err
		}
		defer func() { _ = db.Close() }()
		return recordIn(db)
	}
	files, err := journalFiles(w.state())
	if err != nil || len(files) == 0 {
		return &record{}, err
	}
	dir, err := os.MkdirTemp(w.dir, "look")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := writeJournal(dir, files); err != nil {
		return nil, err
	}
	db, err := store.Open(context.Background(), "sqlite:"+filepath.Join(dir, "keyreeve", "keyreeve.db"), store.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	return recordIn(db)
}

func recordIn(db *store.DB) (*record, error) {
	ctx := context.Background()
	entries, err := db.Entries(ctx)
	if err == nil {
		err = journal.Verify(entries)
	}
	if err != nil {
		return nil, err
	}
	ledger := db.Ledger(store.Origin{})
	all, err := ledger.Rotations(ctx, store.RotationFilter{})
	if err != nil || len(all) == 0 {
		return &record{}, err
	}
	events, err := ledger.Events(ctx, all[0].ID)
	return &record{rotation: &all[0], events: events, count: len(all)}, err
}
