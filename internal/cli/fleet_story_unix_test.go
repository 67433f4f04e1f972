//go:build unix

package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/keyreeve/keyreeve/internal/config"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

const (
	fleetAccounts  = 300 // beside the management account
	fleetRotations = 30  // in the first of them, of the user robot
	fleetAtOnce    = 8   // accounts that a machine reads at once

	fleetSettings = `rotation:
  settling: 2h
  quiet: 1d
  targets:
    file:
      credentials_file: {path: "consumer/{account}", profile: robot}
  users:
    - user: robot
      targets: [file]
notices:
  channels:
    sink: {kind: webhook, url: %q}
  routes:
    - to: sink
      kinds: [opened, closed]
`
	fleetRules = `rules:
  - id: old
    kind: key-age
    severity: high
    max_age: 90d
`
)

// fleetStory is an organisation that three machines watch, and in which they rotate keys; each is the real program in a process of
// its own. All ages of keys are whole days and a half: a few minutes more or less move none over a boundary.
type fleetStory struct {
	t        *testing.T
	cloud    *fakeaws.Cloud
	accounts []string // without the management account
	dir      string
	env      []string
	server   *postgres.Server
	url      string // of the database
	db       *store.DB
	sink     *inbox
	start    time.Time     // of the story, by the machine's own clock
	ahead    time.Duration // of everybody's clock
	machines []*fleetMachine
	want     []string // what should be told
	stand    string   // of the work, when it was looked at last

	mu      sync.Mutex
	changed chan struct{} // closed whenever a call or a message came, or a line of a log
	log     bytes.Buffer  // of all machines
}

// fleetMachine is a worker.
type fleetMachine struct {
	cmd  *exec.Cmd
	dead chan struct{}
}

func (s *fleetStory) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func newFleetStory(t *testing.T) *fleetStory {
	now := time.Now().UTC().Truncate(time.Second)
	s := &fleetStory{
		t: t, cloud: fakeaws.New(now), dir: t.TempDir(), server: postgres.Start(t), sink: newInbox(t), start: now,
		changed: make(chan struct{}),
	}
	s.url = s.server.URL(t)
	var err error
	s.db, err = store.Open(t.Context(), s.url, store.Options{})
	s.must(err)
	t.Cleanup(func() { _ = s.db.Close() })
	s.must(os.Mkdir(filepath.Join(s.dir, "consumer"), 0o700))
	for name, text := range map[string]string{"keyreeve.yaml": fmt.Sprintf(fleetSettings, s.sink.url+"/"), "rules.yaml": fleetRules} {
		s.must(os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
	}
	management := s.cloud.AddAccount(fact.Account{ID: "111122223333", Name: "management"})
	for i := range fleetAccounts {
		s.addAccount(i)
	}
	s.must(s.cloud.Organize(management.ID()))
	aws, err := s.cloud.Start()
	s.must(err)
	t.Cleanup(aws.Close)
	s.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "AWS_ENDPOINT_URL=" + aws.URL, "AWS_ACCESS_KEY_ID=" + management.Credential(),
		"AWS_SECRET_ACCESS_KEY=any", "AWS_REGION=us-east-1", clockFile + "=clock",
	}
	t.Cleanup(func() { s.kill(s.machines...) })
	return s
}

// addAccount adds an account with two users, and to the first ones a robot whose rotation has begun.
func (s *fleetStory) addAccount(i int) {
	id := fmt.Sprintf("2222%08d", i)
	s.accounts = append(s.accounts, id)
	acc := s.cloud.AddAccount(fact.Account{ID: id, Name: "team", OU: "Root"})
	made := func(days int) time.Time { return s.start.Add(-time.Duration(days)*24*time.Hour - 12*time.Hour) }
	for u, days := range []int{i % 100, 60 + i%40} {
		s.must(acc.AddUser(fakeaws.User{Name: fmt.Sprintf("user-%d", u), Created: made(400), Keys: []fakeaws.Key{{Created: made(days), LastUsed: made(0)}}}))
	}
	if i >= fleetRotations {
		return
	}
	old := fakeaws.Key{ID: fmt.Sprintf("AKIAFLEETROBOT%06d", i), Created: made(100), LastUsed: made(2)}
	u := fakeaws.User{Name: "robot", ID: fmt.Sprintf("AIDAFLEETROBOT%06d", i), Created: made(400), Keys: []fakeaws.Key{old}}
	s.must(acc.AddUser(u))
	path := filepath.Join(s.dir, "consumer", id)
	s.must(os.WriteFile(path, []byte(credentialsOf(fact.Pair{KeyID: old.ID, Secret: fact.NewSecret(anySecret + old.ID)})), 0o600))
	r := &rotate.Rotation{
		ID: fmt.Sprintf("20260101T000000Z-%06d", i), State: rotate.Requested, Account: id, Partition: "aws", User: u.Name,
		ARN: "arn:aws:iam::" + id + ":user/robot", UserID: u.ID, Terms: rotate.Terms{Settling: 2 * time.Hour, Quiet: 24 * time.Hour}.WithDefaults(),
		Old:       rotate.KeyRecord{ID: old.ID, Active: true, Created: old.Created, LastUsed: old.LastUsed},
		Targets:   []rotate.Target{{Name: "file", Kind: string(config.CredentialsFile), Where: "profile robot of credentials file " + path, State: rotate.Pending}},
		StartedAt: s.start, EnteredAt: s.start, NextAt: s.start,
	}
	s.must(s.ledger().Begin(context.Background(), r, rotate.Event{At: s.start, To: rotate.Requested}))
}

func (s *fleetStory) ledger() *store.Ledger { return s.db.Ledger(store.Origin{}) }

func (s *fleetStory) now() time.Time { return time.Now().Add(s.ahead) }

func (s *fleetStory) event() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// launch starts so many machines. Accounts are due once a day, twelve hours from the beginning of the story; and at once
// where they never were read.
func (s *fleetStory) launch(n int) {
	s.t.Helper()
	self, err := os.Executable()
	s.must(err)
	for range n {
		m := &fleetMachine{dead: make(chan struct{}), cmd: &exec.Cmd{
			Path: self, Dir: s.dir, Env: s.env, Args: []string{
				"keyreeve", "serve", "--org", "--db", s.url, "--role", "worker", "--schedule", fmt.Sprintf("0 %d * * *", (s.start.Hour()+12)%24), "--tick", "1s",
				"--ruleset", "rules.yaml", "--concurrency", fmt.Sprint(fleetAtOnce), "--rotate-role", "keyreeve-rotate", "--log-level", "info",
			},
		}}
		out, err := m.cmd.StderrPipe()
		s.must(err)
		s.must(m.cmd.Start())
		go func() {
			for lines := bufio.NewScanner(out); lines.Scan(); s.event() {
				s.mu.Lock()
				s.log.WriteString(lines.Text() + "\n")
				s.mu.Unlock()
			}
			_ = m.cmd.Wait() // how it ended is looked at where it matters
			close(m.dead)
		}()
		s.machines = append(s.machines, m)
	}
}

// kill ends machines at once.
func (s *fleetStory) kill(machines ...*fleetMachine) {
	for _, m := range machines {
		_ = m.cmd.Process.Kill() // it may be dead
	}
	for _, m := range machines {
		<-m.dead
	}
	s.machines = slices.DeleteFunc(s.machines, func(m *fleetMachine) bool { return slices.Contains(machines, m) })
}

// stop has all machines end as they should.
func (s *fleetStory) stop() {
	s.t.Helper()
	for _, m := range s.machines {
		s.must(m.cmd.Process.Signal(syscall.SIGTERM))
	}
	for _, m := range s.machines {
		<-m.dead
		if code := m.cmd.ProcessState.ExitCode(); code != 0 {
			s.t.Errorf("a machine stopped with exit code %d", code)
		}
	}
	s.machines = nil
}

// until waits for something that shows whenever a call or a message comes, or a line of a log.
func (s *fleetStory) until(what string, holds func() bool) {
	s.t.Helper()
	limit := time.After(3 * time.Minute)
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if holds() {
			return
		}
		select {
		case <-changed:
		case <-limit:
			s.t.Fatalf("not after three minutes: %s: %s\n%s", what, s.stand, s.log.String())
		}
	}
}

// settled waits until the machines have nothing to do: no account or rotation is due or under way, and all is told that should be.
func (s *fleetStory) settled() {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	defer stop()
	c, err := pgx.Connect(ctx, s.url)
	s.must(err)
	ended := make(chan struct{})
	defer func() { stop(); <-ended; _ = c.Close(context.Background()) }()
	_, err = c.Exec(ctx, `LISTEN "public.river_insert"`) // the beats, once a second
	s.must(err)
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if _, err := c.WaitForNotification(ctx); err == nil {
				s.event()
			}
		}
	}()
	begun := s.now()
	s.until("all is done and told", func() bool {
		if s.now().Sub(begun) < 3*time.Second { // every part has come round
			return false
		}
		due, err := s.ledger().Due(ctx, "", s.now(), fleetRotations)
		s.must(err)
		jobs := s.value(`SELECT count(*) FROM river_job WHERE kind <> 'part' AND state NOT IN ('completed', 'cancelled', 'discarded')`)
		unread := fleetAccounts + 1 - s.value(`SELECT count(*) FROM accounts WHERE judged_at <> ''`)
		s.stand = fmt.Sprintf("%d rotations due, %d jobs, %d accounts unread, %d told of %d", len(due), jobs, unread, s.sink.count(), len(s.want))
		return len(due)+jobs+unread == 0 && s.sink.count() >= len(s.want)
	})
}

// value asks the database for a number.
func (s *fleetStory) value(question string) (n int) {
	s.t.Helper()
	c, err := pgx.Connect(s.t.Context(), s.url)
	s.must(err)
	defer func() { _ = c.Close(context.Background()) }()
	s.must(c.QueryRow(s.t.Context(), question).Scan(&n))
	return n
}

// later stops the machines, lets time go by, lets things happen, and starts them again.
func (s *fleetStory) later(d time.Duration, happen func()) {
	s.t.Helper()
	s.stop()
	s.ahead += d
	s.cloud.SetNow(s.now().UTC())
	s.must(os.WriteFile(filepath.Join(s.dir, "clock"), []byte(s.ahead.String()), 0o600))
	happen()
	s.launch(3)
	s.settled()
}

// tell adds what should be told about the users of an account.
func (s *fleetStory) tell(account, user, kind string) {
	s.want = append(s.want, account+" "+user+" old "+kind)
}

// Three machines read three hundred accounts, rotate thirty keys and tell people. One of them is killed while they read, the server
// is stopped twice, once as by a crash, and when the first message is on its way all machines are killed.
func TestFleet_readsAllRotatesOnceAndTellsOnceThoughMachinesAndServerDie(t *testing.T) {
	s := newFleetStory(t)
	old := func(account, user string) bool {
		for _, u := range s.cloud.Account(account).Users() {
			for _, k := range u.Keys {
				if u.Name == user && !k.Inactive && s.now().Sub(k.Created) > 90*24*time.Hour {
					return true
				}
			}
		}
		return false
	}
	users := []string{"robot", "user-0", "user-1"}
	open := map[[2]string]bool{}
	judge := func() {
		for _, id := range s.accounts {
			for _, user := range users {
				who := [2]string{id, user}
				if now := old(id, user); now != open[who] {
					s.tell(id, user, map[bool]string{true: "opened", false: "closed fixed"}[now])
					open[who] = now
				}
			}
		}
	}
	judge()
	var calls, posts atomic.Int64
	var once sync.Once
	s.cloud.OnCall(func(action string, phase fakeaws.Phase) {
		if phase == fakeaws.Arrived {
			s.cloud.SetNow(s.now().UTC())
			if action == "iam:GenerateCredentialReport" {
				calls.Add(1)
			}
		}
		s.event()
	})
	s.sink.onPost = func(int) {
		once.Do(func() {
			for _, m := range s.machines { // not waited for: one of them waits for the answer to this
				_ = m.cmd.Process.Kill()
			}
		})
		posts.Add(1)
		s.event()
	}
	reached := func(n int64) { s.until(fmt.Sprint(n, " calls"), func() bool { return calls.Load() >= n }) }

	s.launch(3)
	reached(60)
	s.kill(s.machines[1])
	for i, mode := range []string{"immediate", "fast"} {
		reached(int64(130 + 80*i))
		s.must(s.server.Down(mode))
		s.must(s.server.Up())
	}
	s.until("a message", func() bool { return posts.Load() > 0 })
	s.kill(s.machines...)
	again := s.reread()
	s.launch(3)
	s.settled()
	for n := 0; s.are(rotate.Proving) < fleetRotations; n++ { // the new keys have to answer three times; a lost one goes after half an hour
		if n == 12 {
			t.Fatalf("two hours on, %d of %d rotations are proving", s.are(rotate.Proving), fleetRotations)
		}
		s.later(10*time.Minute, func() {})
	}
	s.later(time.Hour, s.consume)
	s.later(8*24*time.Hour, func() {
		for _, id := range s.accounts[100:120] { // somebody fixes what was found
			acc := s.cloud.Account(id)
			for _, u := range acc.Users() {
				s.must(acc.SetActive(u.Name, u.Keys[0].ID, false))
			}
		}
		judge()
	})
	s.stop()

	if again > fleetAtOnce {
		t.Errorf("%d accounts were read again; the killed machine reads %d at once", again, fleetAtOnce)
	}
	s.compare(t)
	s.rotated(t)
	t.Logf("%d accounts read again; %d messages, %d of them twice", again, len(s.sink.messages), s.sink.posts-len(s.sink.messages))
}

// are counts the rotations in a state.
func (s *fleetStory) are(state rotate.State) int {
	list, err := s.ledger().Rotations(s.t.Context(), store.RotationFilter{State: state})
	s.must(err)
	return len(list)
}

// consume has the consumers of the rotated keys work with what they hold.
func (s *fleetStory) consume() {
	for _, id := range s.accounts[:fleetRotations] {
		keyID, _, _ := strings.Cut(s.held(id)[len("aws_access_key_id = "):], "\n")
		s.must(s.cloud.Account(id).Use("robot", keyID, "s3", "eu-west-1"))
	}
}

// held is what the consumer in an account holds, from the id of the key on.
func (s *fleetStory) held(account string) string {
	text, err := os.ReadFile(filepath.Join(s.dir, "consumer", account))
	s.must(err)
	return string(text[max(0, bytes.Index(text, []byte("aws_access_key_id"))):])
}

// reread counts the readings beyond one of each account: roles that were assumed for it.
func (s *fleetStory) reread() int {
	n := map[string]int{}
	for _, c := range s.cloud.Calls() {
		if arn := c.Params.Get("RoleArn"); c.Action == "sts:AssumeRole" && !strings.HasSuffix(arn, "keyreeve-rotate") {
			n[arn]++
		}
	}
	again := 0
	for arn, times := range n {
		if again += times - 1; times > 2 {
			s.t.Errorf("%s was assumed %d times", arn, times)
		}
	}
	return again
}

// compare compares what was kept and told with what happened.
func (s *fleetStory) compare(t *testing.T) {
	undated := func(lines []string) []string { // the story may go over midnight
		for i := range lines {
			lines[i] = lines[i][len(time.DateOnly)+1:]
		}
		slices.Sort(lines)
		return lines
	}
	slices.Sort(s.want)
	if diff := cmp.Diff(s.want, undated(kept(t, s.db))); diff != "" {
		t.Errorf("history (-happened +kept):\n%s", diff)
	}
	if diff := cmp.Diff(s.want, undated(s.sink.told)); diff != "" {
		t.Errorf("notices (-happened +told):\n%s", diff)
	}
	if twice := s.sink.posts - len(s.sink.messages); twice > 4 {
		t.Errorf("%d messages came twice; 4 were on their way at the kill", twice)
	}
}

// rotated looks at what became of the rotations.
func (s *fleetStory) rotated(t *testing.T) {
	s.must(s.db.Check(t.Context()))
	list, err := s.ledger().Rotations(t.Context(), store.RotationFilter{})
	s.must(err)
	if len(list) != fleetRotations {
		t.Fatalf("%d rotations", len(list))
	}
	again := 0
	for i := range list {
		r := &list[i]
		events, err := s.ledger().Events(t.Context(), r.ID)
		s.must(err)
		e := newEvidence()
		e.edges(events, r.State)
		if r.State != rotate.Done {
			e.bad("it is %s: %s", r.State, r.Why)
		}
		made := 0
		for _, w := range s.cloud.Account(r.Account).Writes() {
			if !w.Effect {
				e.bad("%s of key %s was repeated", w.Action, w.KeyID)
			}
			if w.Action == "iam:CreateAccessKey" {
				made++
			}
		}
		again += made - 1
		for _, u := range s.cloud.Account(r.Account).Users() {
			if u.Name == "robot" && (len(u.Keys) != 1 || u.Keys[0].ID != r.New.ID || u.Keys[0].Inactive) {
				e.bad("the keys in the end are %+v", u.Keys)
			}
		}
		if want := credentialsOf(fact.Pair{KeyID: r.New.ID, Secret: fact.NewSecret(anySecret + r.New.ID)}); !strings.HasSuffix(want, s.held(r.Account)) {
			e.bad("its consumer has %q", s.held(r.Account))
		}
		if len(e.wrong) > 0 {
			t.Errorf("rotation in %s:\n  %s", r.Account, strings.Join(e.wrong, "\n  "))
		}
	}
	if again > 4 { // machines that died, each with one rotation under way
		t.Errorf("%d keys were made more than once", again)
	}
}
