//go:build unix

package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/store"
)

// month is a simulated month of an organisation of thirty accounts that keyreeve serve watches: what happens in it, what should
// be found, and the places where that is told.
type month struct {
	t        *testing.T
	cloud    *fakeaws.Cloud
	clock    *conductor
	random   *rand.Rand
	accounts []string
	suspend  map[string]bool
	accepted map[string]time.Time // user in account, until when its key may be old
	dir      string
	env      []string
	cmd      *exec.Cmd
	dead     chan struct{}
	stderr   bytes.Buffer
	sink     *inbox
	listen   string // where it serves HTTP

	active int             // keys in the accounts that are there
	open   map[string]bool // by rule, account, user and key, as of the last time of the schedule
	want   []string        // what should be told, in no order
}

// The rules of the month, few enough to be recomputed in a few lines.
const monthRules = `rules:
  - id: old
    kind: key-age
    severity: high
    max_age: 90d
  - id: two
    kind: multiple-active-keys
    severity: medium
    max_active: 1
`

// monthStart is the evening before the first reading.
var monthStart = time.Date(2026, 10, 1, 20, 0, 0, 0, time.UTC)

// inbox takes what is posted, and counts how often each message came.
type inbox struct {
	url string

	mu       sync.Mutex
	messages map[string]int // by the id of the message
	told     []string       // what the messages tell, each message once
	posts    int
	onPost   func(n int) // called with the number of the post, before it is answered
}

func newInbox(t *testing.T) *inbox {
	s := &inbox{messages: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if err := s.take(body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *inbox) take(body []byte) error {
	var m struct {
		ID    string
		Items []struct {
			Kind, Why string
			At        time.Time
			Account   struct{ ID string }
			Verdict   struct {
				Rule, User string
			}
		}
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return err
	}
	s.mu.Lock()
	s.posts++
	n, onPost := s.posts, s.onPost
	if s.messages[m.ID]++; s.messages[m.ID] == 1 {
		for _, i := range m.Items {
			s.told = append(s.told, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s %s", i.At.Format(time.DateOnly), i.Account.ID, i.Verdict.User, i.Verdict.Rule, i.Kind, i.Why)))
		}
	}
	s.mu.Unlock()
	if onPost != nil {
		onPost(n)
	}
	return nil
}

func (s *inbox) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.told)
}

func newMonth(t *testing.T, seed uint64) *month {
	m := &month{
		t: t, cloud: fakeaws.New(monthStart), clock: newConductor(t, monthStart), random: rand.New(rand.NewPCG(seed, 5)),
		suspend: map[string]bool{}, accepted: map[string]time.Time{}, open: map[string]bool{}, dir: t.TempDir(), sink: newInbox(t),
	}
	management := m.cloud.AddAccount(fact.Account{ID: "111122223333", Name: "management"})
	for i := range 30 {
		id := fmt.Sprintf("2222%08d", i)
		acc := m.cloud.AddAccount(fact.Account{ID: id, Name: "team", OU: "Root/Workloads"})
		m.accounts = append(m.accounts, id)
		for u := range 3 {
			made := monthStart.AddDate(0, 0, -m.random.IntN(100)).Add(-time.Duration(m.random.IntN(86400)) * time.Second)
			m.must(acc.AddUser(fakeaws.User{Name: fmt.Sprintf("user-%d", u), Created: made.AddDate(-1, 0, 0), Keys: []fakeaws.Key{{Created: made, LastUsed: monthStart.Add(-time.Hour)}}}))
		}
	}
	m.must(m.cloud.Organize(management.ID()))
	server, err := m.cloud.Start()
	m.must(err)
	t.Cleanup(server.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	m.must(err)
	m.listen = l.Addr().String()
	m.must(l.Close()) // it is free for the program, each time that it is started
	m.write("rules.yaml", monthRules)
	m.settings()
	m.env = []string{
		"HOME=" + m.dir, "AWS_ENDPOINT_URL=" + server.URL, "AWS_ACCESS_KEY_ID=" + management.Credential(), "AWS_SECRET_ACCESS_KEY=any",
		"AWS_REGION=us-east-1", conductorURL + "=" + m.clock.url,
	}
	t.Cleanup(m.kill)
	return m
}

func (m *month) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *month) write(name, text string) {
	m.must(os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600))
}

// settings writes the settings file: where notices go, and the accepted risks.
func (m *month) settings() {
	text := "notices:\n  channels:\n    sink: {kind: webhook, url: \"" + m.sink.url + "/\"}\n  routes:\n    - to: sink\n      kinds: [opened, closed]\n"
	for i, who := range slices.Sorted(maps.Keys(m.accepted)) {
		if i == 0 {
			text += "exceptions:\n"
		}
		account, user, _ := strings.Cut(who, "/")
		text += fmt.Sprintf("  - {rule: \"*\", account: \"%s\", user: %s, reason: it is planned, owner: ops@example.com, expires: %s}\n",
			account, user, m.accepted[who].Format(time.DateOnly))
	}
	m.write("keyreeve.yaml", text)
}

// parts of serve that wait: reading, delivery, retention.
const parts = 3

// serve starts the program, and waits until it waits.
func (m *month) serve() {
	m.t.Helper()
	self, err := os.Executable()
	m.must(err)
	m.cmd = &exec.Cmd{
		Path: self, Dir: m.dir, Env: m.env, Stderr: &m.stderr,
		Args: []string{"keyreeve", "serve", "--org", "--schedule", "0 6 * * *", "--tick", "1h", "--listen", m.listen, "--ruleset", "rules.yaml", "--concurrency", "4", "--log-level", "warn"},
	}
	m.must(m.cmd.Start())
	m.dead = make(chan struct{})
	go func(cmd *exec.Cmd, dead chan struct{}) {
		_ = cmd.Wait() // it is killed, as a rule
		close(dead)
	}(m.cmd, m.dead)
}

func (m *month) kill() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		<-m.dead
	}
	m.clock.settled(0, nil)
}

// until lets the time go by. A program that dies on the way is started again.
func (m *month) until(at time.Time) (restarts int) {
	for {
		if !m.clock.settled(parts, m.dead) {
			restarts++
			if restarts > 100 {
				m.t.Fatalf("it dies again and again: %s", &m.stderr)
			}
			m.clock.settled(0, nil)
			m.serve()
			continue
		}
		if !m.clock.now.Before(at) {
			return restarts
		}
		m.clock.advance(at, m.cloud.SetNow)
	}
}

// happen is what people do in the accounts in an afternoon.
func (m *month) happen(day int) {
	for range 6 {
		id := m.accounts[m.random.IntN(len(m.accounts))]
		acc := m.cloud.Account(id)
		users := acc.Users()
		if len(users) == 0 {
			continue
		}
		u := users[m.random.IntN(len(users))]
		switch m.random.IntN(8) {
		case 0, 1: // a new key beside the old one
			if len(u.Keys) < 2 {
				_, err := acc.AddKey(u.Name, fakeaws.Key{})
				m.must(err)
			}
		case 2, 3: // the oldest active key is fixed
			if i := slices.IndexFunc(u.Keys, func(k fakeaws.Key) bool { return !k.Inactive }); i >= 0 {
				m.must(acc.SetActive(u.Name, u.Keys[i].ID, false))
			}
		case 4: // it was needed after all
			if i := slices.IndexFunc(u.Keys, func(k fakeaws.Key) bool { return k.Inactive }); i >= 0 {
				m.must(acc.SetActive(u.Name, u.Keys[i].ID, true))
			}
		case 5:
			m.must(acc.DeleteUser(u.Name))
		case 6:
			m.accepted[id+"/"+u.Name] = m.cloud.Now().AddDate(0, 0, 3+m.random.IntN(10)).Truncate(24 * time.Hour)
			m.settings()
		case 7:
			for _, k := range u.Keys {
				m.must(acc.Use(u.Name, k.ID, "s3", "eu-west-1"))
			}
		}
	}
	if day == 11 || day == 19 {
		id := m.accounts[m.random.IntN(len(m.accounts))]
		m.cloud.Account(id).SetState(fact.StateSuspended)
		m.suspend[id] = true
	}
}

// expect is what a reading at that instant should find, recomputed from the accounts as they are.
func (m *month) expect(at time.Time) {
	m.active = 0
	now, excepted, there := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, id := range m.accounts {
		if m.suspend[id] {
			continue
		}
		for _, u := range m.cloud.Account(id).Users() {
			who := id + " " + u.Name
			there[who] = true
			accepted := at.Before(m.accepted[id+"/"+u.Name])
			active := 0
			for _, k := range u.Keys {
				if k.Inactive {
					continue
				}
				active++
				m.active++
				if at.Sub(k.Created) > 90*24*time.Hour {
					note(now, excepted, accepted, fmt.Sprint(who, " old ", k.Created.Unix()))
				}
			}
			if active > 1 {
				note(now, excepted, accepted, who+" two")
			}
		}
	}
	tell := func(what, kind string) {
		part := strings.Fields(what)
		m.want = append(m.want, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", at.Format(time.DateOnly), part[0], part[1], part[2], kind)))
	}
	for what := range now {
		if !m.open[what] {
			tell(what, "opened")
		}
	}
	for what := range m.open {
		part := strings.Fields(what)
		switch {
		case now[what]:
		case m.suspend[part[0]]:
			tell(what, "closed account gone")
		case excepted[what]:
			tell(what, "closed excepted")
		case !there[part[0]+" "+part[1]]:
			tell(what, "closed user gone")
		default:
			tell(what, "closed fixed")
		}
	}
	m.open = now
}

func note(now, excepted map[string]bool, accepted bool, what string) {
	if accepted {
		excepted[what] = true
	} else {
		now[what] = true
	}
}

// history is what the program has kept.
func (m *month) history() []string {
	db, err := store.Open(m.t.Context(), "sqlite:"+m.dir+"/.local/state/keyreeve/keyreeve.db", store.Options{})
	m.must(err)
	defer func() { _ = db.Close() }()
	return kept(m.t, db)
}

// kept is the history of a database, as notices would tell it.
func kept(t *testing.T, db *store.DB) []string {
	t.Helper()
	entries, err := db.History(t.Context(), store.HistoryFilter{})
	must(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, fmt.Sprintf("%s %s %s %s opened", e.OpenedAt.Format(time.DateOnly), e.Account, e.User, e.Rule))
		if !e.Open() {
			out = append(out, fmt.Sprintf("%s %s %s %s closed %s", e.ClosedAt.Format(time.DateOnly), e.Account, e.User, e.Rule, strings.ReplaceAll(string(e.Why), "-", " ")))
		}
	}
	slices.Sort(out)
	return out
}

// metrics compares what the page for Prometheus counts with what the accounts held at the last reading.
func (m *month) metrics() {
	page := scrape(m.t, "http://"+m.listen+"/metrics")
	open := map[string]int{}
	for what := range m.open {
		open[strings.Fields(what)[2]]++
	}
	for _, c := range []struct {
		family string
		labels []string
		want   int
	}{
		{"keyreeve_up", nil, 1},
		{"keyreeve_verdicts", []string{"rule", "old", "status", "fail"}, open["old"]},
		{"keyreeve_verdicts", []string{"rule", "two", "status", "fail"}, open["two"]},
		{"keyreeve_accounts", []string{"state", "read"}, 31 - len(m.suspend)},
		{"keyreeve_accounts", []string{"state", "gone"}, len(m.suspend)},
		{"keyreeve_keys", []string{"active", "true"}, m.active},
		{"keyreeve_key_age_keys", nil, m.active},
		{"keyreeve_notices", []string{"state", "waiting"}, 0},
	} {
		if got, _ := page.sum(c.family, c.labels...); int(got) != c.want {
			m.t.Errorf("metric %s %v: %v, want %d", c.family, c.labels, got, c.want)
		}
	}
}

// run lets the month go by, and compares what was kept and told with what happened.
func (m *month) run(disturb func(day int)) (restarts int) {
	m.serve()
	for day := range 30 {
		m.cloud.SetNow(m.clock.time())
		morning := monthStart.Truncate(24*time.Hour).AddDate(0, 0, day+1).Add(6 * time.Hour)
		restarts += m.until(morning.Add(-30 * time.Minute))
		if day == 0 {
			m.open = map[string]bool{} // the reading at the start, on the evening before, is the first
			m.expect(monthStart)
		}
		disturb(day)
		m.expect(morning)
		restarts += m.until(morning.Add(8 * time.Hour))
		m.happen(day)
	}
	restarts += m.until(m.clock.time().Add(4 * time.Hour)) // the last messages
	m.metrics()
	slices.Sort(m.want)
	if diff := cmp.Diff(m.want, m.history()); diff != "" {
		m.t.Errorf("history (-happened +kept):\n%s", diff)
	}
	m.sink.mu.Lock()
	defer m.sink.mu.Unlock()
	slices.Sort(m.sink.told)
	if diff := cmp.Diff(m.want, m.sink.told); diff != "" {
		m.t.Errorf("notices (-happened +told):\n%s", diff)
	}
	kinds := map[string]int{}
	for _, w := range m.want {
		kinds[strings.Join(strings.Fields(w)[4:], " ")]++
	}
	for _, kind := range []string{"opened", "closed fixed", "closed excepted", "closed user gone", "closed account gone"} {
		if kinds[kind] == 0 {
			m.t.Errorf("nothing of the kind %q happened: %v", kind, kinds)
		}
	}
	m.t.Logf("%v; %d posts, %d restarts", kinds, m.sink.posts, restarts)
	return restarts
}

func TestServe_aMonthIsKeptAndToldAsItHappened(t *testing.T) {
	m := newMonth(t, 1)
	if restarts := m.run(func(int) {}); restarts > 0 {
		t.Errorf("it died %d times: %s", restarts, &m.stderr)
	}
	for id, n := range m.sink.messages {
		if n != 1 {
			t.Errorf("message %s came %d times", id, n)
		}
	}
}

// The same month, in which the program is killed day after day: over a call to AWS, over a message that was just taken and not
// yet answered, or while it waits. What is kept and told is the same; a message comes twice only where the kill was between its
// delivery and the receipt.
func TestServe_killedDayAfterDayItKeepsAndTellsTheSame(t *testing.T) {
	m := newMonth(t, 1)
	random := rand.New(rand.NewPCG(7, 7))
	var mu sync.Mutex
	calls, posts := -1, -1 // until the kill; negative: none is planned
	mayRepeat := 0
	at := func(left *int) bool {
		mu.Lock()
		defer mu.Unlock()
		if *left < 0 {
			return false
		}
		*left--
		return *left < 0
	}
	m.cloud.OnCall(func(_ string, phase fakeaws.Phase) {
		if phase == fakeaws.Arrived && at(&calls) {
			_ = m.cmd.Process.Kill()
		}
	})
	m.sink.onPost = func(int) {
		if at(&posts) {
			_ = m.cmd.Process.Kill()
		}
	}
	kills := 0
	restarts := m.run(func(day int) {
		mu.Lock()
		calls, posts = -1, -1
		switch day % 3 {
		case 0:
			calls = random.IntN(200)
		case 1:
			posts = 0
			mayRepeat += 4 // deliveries under way at once
		}
		mu.Unlock()
		if day%3 == 2 {
			m.kill()
			kills++
			m.serve()
		}
	})
	if restarts+kills < 15 {
		t.Errorf("it was killed %d times only: this proves little", restarts+kills)
	}
	twice := 0
	for id, n := range m.sink.messages {
		if n > 2 {
			t.Errorf("message %s came %d times", id, n)
		}
		twice += n - 1
	}
	if twice > mayRepeat {
		t.Errorf("%d messages came twice, at most %d may have", twice, mayRepeat)
	}
	t.Logf("%d kills, %d messages came twice", restarts+kills, twice)
}
