package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

const (
	day     = 24 * time.Hour
	account = "111122223333"
	user    = "ci"
	oldKey  = "AKIAFAKEOLD000000001"
)

var start = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)

// memory is a ledger for tests of the machine; the real one has a suite of its own.
type memory struct {
	mu     sync.Mutex
	rows   map[string]rotate.Rotation
	events []rotate.Event
	uses   map[string][]time.Time
	fail   func() error // of the next save; nil: none
}

func clone(r *rotate.Rotation) rotate.Rotation {
	c := *r
	c.Targets, c.Others, c.Before, c.Sealed = slices.Clone(r.Targets), slices.Clone(r.Others), slices.Clone(r.Before), slices.Clone(r.Sealed)
	return c
}

func (m *memory) Begin(_ context.Context, r *rotate.Rotation, e rotate.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.rows {
		if o.UserID == r.UserID && !o.State.Over() {
			return rotate.ErrLive
		}
	}
	m.rows[r.ID] = clone(r)
	m.events = append(m.events, e)
	return nil
}

func (m *memory) Load(_ context.Context, id string) (*rotate.Rotation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rows[id]
	if !ok {
		return nil, rotate.ErrNoRotation
	}
	c := clone(&r)
	return &c, nil
}

func (m *memory) Save(_ context.Context, r *rotate.Rotation, events ...rotate.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if err := m.fail(); err != nil {
			return err
		}
	}
	if m.rows[r.ID].Version != r.Version {
		return rotate.ErrLost
	}
	r.Version++
	m.rows[r.ID] = clone(r)
	m.events = append(m.events, events...)
	return nil
}

func (m *memory) Due(_ context.Context, _ string, now time.Time, limit int) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for id, r := range m.rows {
		if !r.State.Over() && !r.NextAt.After(now) && len(ids) < limit {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func (m *memory) RecordUse(_ context.Context, _, key string, use fact.Use, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := use.At.Time(); !slices.ContainsFunc(m.uses[key], at.Equal) {
		m.uses[key] = append(m.uses[key], at)
		slices.SortFunc(m.uses[key], time.Time.Compare)
	}
	return nil
}

func (m *memory) LongestGap(_ context.Context, _, key string) (time.Duration, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var gap time.Duration
	for i := 1; i < len(m.uses[key]); i++ {
		gap = max(gap, m.uses[key][i].Sub(m.uses[key][i-1]))
	}
	return gap, len(m.uses[key]), nil
}

// open "seals" without sealing: the real seal has tests of its own.
type open struct{}

func (open) SealPair(p fact.Pair) ([]byte, error) {
	return []byte(p.KeyID + " " + p.Secret.Reveal()), nil
}
func (open) OpenPair(b []byte) (fact.Pair, error) {
	id, secret, ok := strings.Cut(string(b), " ")
	if !ok {
		return fact.Pair{}, errors.New("nothing is sealed")
	}
	return fact.Pair{KeyID: id, Secret: fact.NewSecret(secret)}, nil
}

// place is a target in memory, with faults.
type place struct {
	mu            sync.Mutex
	pair, before  fact.Pair
	puts          int
	deliver, back error // what the next calls answer
	restore       error
	half          bool // Deliver puts and fails
}

func (p *place) now() fact.Pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pair
}

func (p *place) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *place) Preflight(context.Context) error { return nil }

func (p *place) Deliver(_ context.Context, _ string, pair fact.Pair, _ []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deliver != nil && !p.half {
		return nil, p.deliver
	}
	if p.pair.KeyID != pair.KeyID {
		p.before, p.pair = p.pair, pair
		p.puts++
	}
	return []byte("before " + p.before.KeyID), p.deliver
}

func (p *place) ReadBack(_ context.Context, _ string, digest [32]byte, _ []byte) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pair.Digest() == digest, p.back
}

func (p *place) Restore(context.Context, string, []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.restore != nil {
		return p.restore
	}
	p.pair = p.before
	return nil
}

// stage is one user with one key in use, whose consumer reads its credentials from a place.
type stage struct {
	t       *testing.T
	ctx     context.Context
	cloud   *fakeaws.Cloud
	account *fakeaws.Account
	server  *fakeaws.Server
	ledger  *memory
	place   *place
	engine  *rotate.Engine
	starts  int
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{
		t: t, ctx: context.Background(), cloud: fakeaws.New(start),
		ledger: &memory{rows: map[string]rotate.Rotation{}, uses: map[string][]time.Time{}},
		place:  &place{pair: fact.Pair{KeyID: oldKey, Secret: fact.NewSecret("old")}},
	}
	s.account = s.cloud.AddAccount(fact.Account{ID: account})
	s.must(s.account.AddUser(fakeaws.User{Name: user, Created: start.Add(-400 * day), Keys: []fakeaws.Key{
		{ID: oldKey, Created: start.Add(-100 * day), LastUsed: start.Add(-time.Hour), Service: "s3"},
	}}))
	s.cloud.Set(fakeaws.Switches{KeyLag: 12 * time.Second, UseLag: 5 * time.Minute})
	var err error
	s.server, err = s.cloud.Start()
	s.must(err)
	t.Cleanup(s.server.Close)
	s.engine = s.newEngine()
	return s
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) newEngine() *rotate.Engine {
	s.t.Helper()
	w, err := awsiam.OpenRotator(s.ctx, awsiam.Settings{
		EndpointURL: s.server.URL, Region: "us-east-1", MaxAttempts: 2, BackoffCap: time.Millisecond,
		Credentials: &awsiam.Credentials{ID: s.account.Credential(), Secret: fact.NewSecret("any")},
	})
	s.must(err)
	s.t.Cleanup(w.Close)
	caller, err := w.Caller(s.ctx)
	s.must(err)
	return &rotate.Engine{
		Account: w, Ledger: s.ledger, Uses: s.ledger, Sealer: open{}, Caller: caller,
		Courier: func(*rotate.Rotation, *rotate.Target) (rotate.Courier, error) { return s.place, nil },
		Now:     s.cloud.Now, Wait: s.wait,
	}
}

func (s *stage) wait(ctx context.Context, d time.Duration) error {
	s.later(d)
	return ctx.Err()
}

func (s *stage) later(d time.Duration) { s.cloud.SetNow(s.cloud.Now().Add(d)) }

// begin starts the rotation of the user's key.
func (s *stage) begin(terms rotate.Terms) string {
	s.t.Helper()
	s.starts++
	r, err := s.engine.Start(s.ctx, rotate.Order{
		ID: fmt.Sprintf("rot-%d", s.starts), User: user, Reason: "test", Terms: terms,
		Targets: []rotate.Target{{Name: "place", Kind: "memory", Where: "a place"}},
	})
	s.must(err)
	return r.ID
}

// consume is the consumer: it reads its credentials and makes a call with them.
func (s *stage) consume() error {
	pair := s.place.now()
	for _, u := range s.account.Users() {
		for _, k := range u.Keys {
			if u.Name == user && k.ID == pair.KeyID && !k.Inactive && !s.cloud.Now().Before(k.Created.Add(12*time.Second)) {
				return s.account.Use(user, pair.KeyID, "s3", "eu-west-1")
			}
		}
	}
	return fmt.Errorf("the consumer fails with key %s at %s", pair.KeyID, s.cloud.Now())
}

// tick ticks what is due.
func (s *stage) tick(id string) *rotate.Rotation {
	s.t.Helper()
	r, err := s.engine.Tick(s.ctx, id)
	s.must(err)
	return r
}

// until lets hours pass, with the consumer at work each hour, until the rotation is in that state.
func (s *stage) until(id string, want rotate.State) *rotate.Rotation {
	s.t.Helper()
	return s.untilWith(id, want, s.consume)
}

func (s *stage) untilWith(id string, want rotate.State, each func() error) *rotate.Rotation {
	s.t.Helper()
	for range 24 * 120 {
		r := s.tick(id)
		if r.State == want {
			return r
		}
		if r.State.Over() || r.State == rotate.Held || r.State == rotate.Conflict {
			s.t.Fatalf("the rotation is %s, not %s: %s", r.State, want, r.Why)
		}
		pause := min(time.Hour, max(time.Second, r.NextAt.Sub(s.cloud.Now())))
		s.later(pause)
		if s.cloud.Now().Sub(start)%time.Hour < pause {
			s.must(each())
		}
	}
	s.t.Fatalf("the rotation never came to %s", want)
	return nil
}

// keys are the user's keys: id to whether it is active.
func (s *stage) keys() map[string]bool {
	out := map[string]bool{}
	for _, u := range s.account.Users() {
		if u.Name == user {
			for _, k := range u.Keys {
				out[k.ID] = !k.Inactive
			}
		}
	}
	return out
}
