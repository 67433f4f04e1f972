//go:build unix

package cli_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/config"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

const (
	crowdOfRotations = 500
	crowdSettings    = `rotation:
  targets:
    file:
      credentials_file: {path: "consumer/{user}", profile: robot}
  users:
    - user: "robot-*"
      targets: [file]
`
)

// rotCrowd is one account with many users, a rotation of each of them begun, and one ledger.
type rotCrowd struct {
	t       *testing.T
	dir     string
	cloud   *fakeaws.Cloud
	account *fakeaws.Account
	server  *fakeaws.Server
	now     time.Time
}

func newRotCrowd(t *testing.T, n int) *rotCrowd {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	c := &rotCrowd{t: t, dir: t.TempDir(), cloud: fakeaws.New(now), now: now}
	c.account = c.cloud.AddAccount(fact.Account{ID: crashAccount})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"consumer", "state/keyreeve"} {
		must(os.MkdirAll(filepath.Join(c.dir, dir), 0o700))
	}
	must(os.WriteFile(filepath.Join(c.dir, "keyreeve.yaml"), []byte(crowdSettings), 0o600))
	db, err := store.Open(t.Context(), "sqlite:"+c.database(), store.Options{})
	must(err)
	ledger := db.Ledger(store.Origin{})
	for i := range n {
		name := fmt.Sprintf("robot-%03d", i)
		old := fakeaws.Key{ID: fmt.Sprintf("AKIAROTCROWD%08d", i), Created: now.Add(-100 * 24 * time.Hour), LastUsed: now.Add(-50 * time.Hour)}
		u := fakeaws.User{Name: name, ID: fmt.Sprintf("AIDAROTCROWD%08d", i), Created: old.Created, Keys: []fakeaws.Key{old}}
		must(c.account.AddUser(u))
		path := filepath.Join(c.dir, "consumer", name)
		pair := fact.Pair{KeyID: old.ID, Secret: fact.NewSecret(anySecret + old.ID)}
		must(os.WriteFile(path, []byte(credentialsOf(pair)), 0o600))
		r := &rotate.Rotation{
			ID: fmt.Sprintf("20260101T000000Z-%06d", i), State: rotate.Requested, Account: crashAccount, Partition: "aws",
			User: name, ARN: "arn:aws:iam::" + crashAccount + ":user/" + name, UserID: u.ID, Terms: rotate.Terms{}.WithDefaults(),
			Old:       rotate.KeyRecord{ID: old.ID, Active: true, Created: old.Created, LastUsed: old.LastUsed},
			Targets:   []rotate.Target{{Name: "file", Kind: string(config.CredentialsFile), Where: "profile robot of credentials file " + path, State: rotate.Pending}},
			StartedAt: now, EnteredAt: now, NextAt: now,
		}
		must(ledger.Begin(context.Background(), r, rotate.Event{At: now, To: rotate.Requested}))
	}
	must(db.Close())
	c.server, err = c.cloud.Start()
	must(err)
	t.Cleanup(c.server.Close)
	return c
}

func (c *rotCrowd) database() string {
	return filepath.Join(c.dir, "state", "keyreeve", "keyreeve.db")
}

// advance runs n processes at once, so much later.
func (c *rotCrowd) advance(n int, later time.Duration) {
	c.t.Helper()
	c.now = c.now.Add(later)
	c.cloud.SetNow(c.now)
	if err := os.WriteFile(filepath.Join(c.dir, "clock"), []byte(time.Until(c.now).String()), 0o600); err != nil {
		c.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	begun := time.Now()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			cmd := &exec.Cmd{Path: self, Args: []string{"keyreeve", "rotate", "advance", "--quiet"}, Dir: c.dir, Env: []string{
				"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "XDG_STATE_HOME=" + filepath.Join(c.dir, "state"), "AWS_ENDPOINT_URL=" + c.server.URL,
				"AWS_ACCESS_KEY_ID=" + c.account.Credential(), "AWS_SECRET_ACCESS_KEY=any", "AWS_REGION=us-east-1",
				clockFile + "=clock", noWait + "=1",
			}}
			if out, err := cmd.CombinedOutput(); err != nil {
				c.t.Errorf("rotate advance: %v\n%s", err, out)
			}
		})
	}
	all.Wait()
	c.now = c.now.Add(time.Since(begun) + time.Minute) // pauses that ended at once have moved their clocks on
}

// rotations are all of the ledger, with the events of each.
func (c *rotCrowd) rotations() map[*rotate.Rotation][]rotate.Event {
	c.t.Helper()
	db, err := store.Open(c.t.Context(), "sqlite:"+c.database(), store.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Check(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	ledger := db.Ledger(store.Origin{})
	list, err := ledger.Rotations(c.t.Context(), store.RotationFilter{})
	if err != nil {
		c.t.Fatal(err)
	}
	out := map[*rotate.Rotation][]rotate.Event{}
	for i := range list {
		if out[&list[i]], err = ledger.Events(c.t.Context(), list[i].ID); err != nil {
			c.t.Fatal(err)
		}
	}
	return out
}

// Two runners meet at each of many rotations, all the way from the first edge to the last.
func TestRotation_twoRunnersTakeEveryEdgeOnce(t *testing.T) {
	c := newRotCrowd(t, crowdOfRotations)
	c.advance(2, 0)
	for range 2 { // the new key has to answer three times
		c.advance(2, time.Minute)
	}
	c.now = c.now.Add(30 * time.Minute)
	c.cloud.SetNow(c.now)
	for _, u := range c.account.Users() { // the consumers take up the new keys
		if err := c.account.Use(u.Name, u.Keys[len(u.Keys)-1].ID, "s3", "eu-west-1"); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(2, 20*time.Minute)
	c.advance(2, 8*24*time.Hour)

	edges := 0
	for r, events := range c.rotations() {
		e := newEvidence()
		e.edges(events, r.State)
		if r.State != rotate.Done {
			e.bad("it is %s: %s", r.State, r.Why)
		}
		for i := range events {
			if v := &events[i]; v.From != v.To {
				edges++
			}
			if events[i].Name == rotate.NotMade {
				e.bad("the new key was made more than once")
			}
		}
		if len(e.wrong) > 0 {
			t.Errorf("rotation of %s:\n  %s", r.User, strings.Join(e.wrong, "\n  "))
		}
	}
	writes := map[string]int{}
	for _, w := range c.account.Writes() {
		writes[fmt.Sprintf("%s %s %s %t", w.User, w.Action, w.Status, w.Effect)]++
	}
	for what, n := range writes {
		if n > 1 || strings.HasSuffix(what, "false") {
			t.Errorf("%d times %s", n, what)
		}
	}
	if len(writes) != 3*crowdOfRotations {
		t.Errorf("%d writes, want %d", len(writes), 3*crowdOfRotations)
	}
	t.Logf("two runners: %d rotations, %d edges, %d writes", crowdOfRotations, edges, len(writes))
}
