package courier_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/courier"
	"github.com/keyreeve/keyreeve/internal/fact"
)

// The conformance suite: every courier keeps the same claims. A rig makes fresh places of one kind, and is their
// consumer, their thief and their bad day.

// carrier is the interface as its caller declares it.
type carrier interface {
	Preflight(ctx context.Context) error
	Deliver(ctx context.Context, id string, p fact.Pair, earlier []byte) (receipt []byte, err error)
	ReadBack(ctx context.Context, id string, digest [sha256.Size]byte, receipt []byte) (bool, error)
	Restore(ctx context.Context, id string, receipt []byte) error
}

var (
	_ carrier = (*courier.SecretsManager)(nil)
	_ carrier = (*courier.Parameter)(nil)
	_ carrier = (*courier.Credentials)(nil)
	_ carrier = (*courier.Sealed)(nil)
	_ carrier = (*courier.Command)(nil)
)

const rotation = "rot-2026-0001"

func pairNo(n byte) fact.Pair {
	return fact.Pair{
		KeyID:  "AKIAFAKE00000000000" + string('A'+rune(n)),
		Secret: fact.NewSecret("s" + strings.Repeat(string('a'+rune(n)), 8) + "/K7MDENG+bPxRfiCYzEXAMPLEKEY" + fmt.Sprintf("%03d", n)),
	}
}

var oldPair, newPair, otherPair, thirdPair = pairNo(1), pairNo(2), pairNo(3), pairNo(4)

// site is one place with its courier, holding oldPair among other things.
type site struct {
	carrier
	bad []carrier // whose preflight refuses

	held   func(t *testing.T) string            // what the place holds, to the byte or the value
	pair   func(t *testing.T) (fact.Pair, bool) // as its consumer reads it; false: cannot be told
	meddle func(t *testing.T)                   // somebody else puts otherPair there

	// break_ makes the place fail in one way, after that many more calls where calls can be counted.
	break_ func(t *testing.T, how trouble, after int) (heal func())
	kinds  []trouble
	calls  int // a delivery makes at most this many

	unseen bool // nobody but the recipients can read it
	traces func() string
}

type trouble string

const (
	down   trouble = "down"    // no answer, nothing done
	cut    trouble = "cut"     // done, and the answer is lost
	slow   trouble = "slow"    // no answer before the deadline
	denied trouble = "denied"  // not allowed
	blab   trouble = "blabber" // refuses and quotes what it was sent
)

func (s *site) has(how trouble) bool {
	for _, k := range s.kinds {
		if k == how {
			return true
		}
	}
	return false
}

// diary collects all that a courier says, to be searched for secrets.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// listener passes every call on and notes what comes back.
type listener struct {
	carrier
	diary *diary
}

func (l listener) note(v ...any) { _, _ = fmt.Fprintf(l.diary, "%v %+v %#v %q\n", v, v, v, v) }

func (l listener) Preflight(ctx context.Context) error {
	err := l.carrier.Preflight(ctx)
	l.note(err)
	return err
}

func (l listener) Deliver(ctx context.Context, id string, p fact.Pair, earlier []byte) ([]byte, error) {
	r, err := l.carrier.Deliver(ctx, id, p, earlier)
	l.note(string(r), err)
	return r, err
}

func (l listener) ReadBack(ctx context.Context, id string, digest [sha256.Size]byte, b []byte) (bool, error) {
	ok, err := l.carrier.ReadBack(ctx, id, digest, b)
	l.note(err)
	return ok, err
}

func (l listener) Restore(ctx context.Context, id string, b []byte) error {
	err := l.carrier.Restore(ctx, id, b)
	l.note(err)
	return err
}

func TestCouriers_conform(t *testing.T) {
	for name, fresh := range rigs(t) {
		t.Run(name, func(t *testing.T) {
			d := &diary{}
			place := func(t *testing.T) *site {
				s := fresh(t, d)
				s.carrier = listener{s.carrier, d}
				return s
			}
			for claim, check := range map[string]func(*testing.T, func(*testing.T) *site){
				"preflight":      claimPreflight,
				"delivers":       claimDelivers,
				"repeats":        claimRepeats,
				"anotherKey":     claimAnotherKey,
				"restores":       claimRestores,
				"interrupted":    claimInterrupted,
				"neverTorn":      claimNeverTorn,
				"permission":     claimPermission,
				"deadline":       claimDeadline,
				"moved":          claimMoved,
				"refuses":        claimRefuses,
				"quotingRefusal": claimQuoting,
			} {
				t.Run(claim, func(t *testing.T) { check(t, place) })
			}
			text := d.String()
			if len(text) < 500 {
				t.Errorf("only %d bytes were noted: the search for secrets looks at nothing", len(text))
			}
			for _, p := range []fact.Pair{oldPair, newPair, otherPair, thirdPair} {
				if i := strings.Index(text, p.Secret.Reveal()); i >= 0 {
					t.Errorf("a receipt, an error or a log line holds a secret: %.300s", text[max(0, i-200):])
				}
			}
		})
	}
}

func (s *site) deliver(t *testing.T, p fact.Pair, earlier []byte) []byte {
	t.Helper()
	r, err := s.Deliver(t.Context(), rotation, p, earlier)
	if err != nil {
		t.Fatalf("deliver %s: %v", p.KeyID, err)
	}
	return r
}

func (s *site) expect(t *testing.T, p fact.Pair, receipt []byte) {
	t.Helper()
	for _, q := range []fact.Pair{oldPair, newPair, otherPair} {
		if s.unseen && q == oldPair {
			continue
		}
		got, err := s.ReadBack(t.Context(), rotation, q.Digest(), receipt)
		if err != nil || got != (q == p) {
			t.Errorf("read back %s: %v, %v; it should hold %s", q.KeyID, got, err, p.KeyID)
		}
	}
	if got, ok := s.pair(t); ok && got != p {
		t.Errorf("its consumer reads %s, want %s", got.KeyID, p.KeyID)
	}
}

func claimPreflight(t *testing.T, fresh func(*testing.T) *site) {
	s := fresh(t)
	before := s.held(t)
	if err := s.Preflight(t.Context()); err != nil {
		t.Errorf("a good place: %v", err)
	}
	for i, bad := range s.bad {
		if err := bad.Preflight(t.Context()); err == nil {
			t.Errorf("bad place %d passes", i)
		}
		if _, err := bad.Deliver(t.Context(), rotation, newPair, nil); err == nil {
			t.Errorf("bad place %d takes a delivery", i)
		}
	}
	if s.held(t) != before {
		t.Error("preflight changed the place")
	}
}

func claimDelivers(t *testing.T, fresh func(*testing.T) *site) {
	s := fresh(t)
	r := s.deliver(t, newPair, nil)
	s.expect(t, newPair, r)
	if err := s.Preflight(t.Context()); err != nil {
		t.Errorf("preflight after it: %v", err)
	}
}

func claimRepeats(t *testing.T, fresh func(*testing.T) *site) {
	s := fresh(t)
	r := s.deliver(t, newPair, nil)
	held, traces := s.held(t), s.traces()
	for _, earlier := range [][]byte{r, nil, r} {
		if again := s.deliver(t, newPair, earlier); string(again) != string(r) {
			t.Errorf("the receipt changed from %s to %s", r, again)
		}
	}
	if s.held(t) != held || s.traces() != traces {
		t.Errorf("a repeated delivery changed the place: %s, before %s", s.traces(), traces)
	}
}

// A rotation whose first key was an orphan has a second one; what it restores is the key of before both.
func claimAnotherKey(t *testing.T, fresh func(*testing.T) *site) {
	s := fresh(t)
	before := s.held(t)
	r := s.deliver(t, newPair, nil)
	r = s.deliver(t, otherPair, r)
	s.expect(t, otherPair, r)
	if err := s.Restore(t.Context(), rotation, r); err != nil || s.held(t) != before {
		t.Errorf("restore: %v, holds the place of before: %v", err, s.held(t) == before)
	}
}

func claimRestores(t *testing.T, fresh func(*testing.T) *site) {
	s := fresh(t)
	before := s.held(t)
	r := s.deliver(t, newPair, nil)
	for range 2 {
		if err := s.Restore(t.Context(), rotation, r); err != nil {
			t.Fatal(err)
		}
		if after := s.held(t); after != before {
			t.Errorf("got\n%s\nwant\n%s", after, before)
		}
	}
	r = s.deliver(t, newPair, r)
	s.expect(t, newPair, r)
}

// Whatever call fails, done or not: the next delivery finishes, also without the receipt, and is undone in full.
func claimInterrupted(t *testing.T, fresh func(*testing.T) *site) {
	for _, how := range []trouble{down, cut} {
		for after := 0; after <= fresh(t).calls; after++ {
			s := fresh(t)
			if !s.has(how) {
				break
			}
			before := s.held(t)
			heal := s.break_(t, how, after)
			lost, err := s.Deliver(t.Context(), rotation, newPair, nil)
			heal()
			if p, ok := s.pair(t); ok && p != oldPair && p != newPair {
				t.Errorf("%s after %d: the consumer reads %v", how, after, p)
			}
			if err == nil && after < 1 {
				t.Errorf("%s after %d: no error", how, after)
			}
			earlier := [][]byte{nil, lost}[after%2]
			r := s.deliver(t, newPair, earlier)
			s.expect(t, newPair, r)

			heal = s.break_(t, how, after)
			_ = s.Restore(t.Context(), rotation, r) // fails or not
			heal()
			if err := s.Restore(t.Context(), rotation, r); err != nil {
				t.Errorf("%s after %d: restore: %v", how, after, err)
			}
			if s.held(t) != before {
				t.Errorf("%s after %d: not restored", how, after)
			}
		}
	}
}

func claimNeverTorn(t *testing.T, fresh func(*testing.T) *site) {
	s := fresh(t)
	if s.unseen {
		t.Log("its consumer needs a private key to read it")
	}
	stop, seen := make(chan struct{}), make(chan map[string]int)
	go func() {
		count := map[string]int{}
		defer func() { seen <- count }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			p, ok := s.pair(t)
			switch {
			case s.unseen && (!ok || p == newPair): // the old one is no pair
				count["sealed"]++
			case !ok, p != oldPair && p != newPair:
				count["torn"]++
			default:
				count[p.KeyID]++
			}
		}
	}()
	var r []byte
	for range 4 {
		r = s.deliver(t, newPair, r)
		if err := s.Restore(t.Context(), rotation, r); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	if count := <-seen; count["torn"] > 0 || len(count) == 0 {
		t.Errorf("reads: %v, want none torn", count)
	}
}

func claimPermission(t *testing.T, fresh func(*testing.T) *site) {
	s := fresh(t)
	if !s.has(denied) {
		t.Fatal("no rig may leave this out")
	}
	before := s.held(t)
	r := s.deliver(t, newPair, nil)
	if err := s.Restore(t.Context(), rotation, r); err != nil {
		t.Fatal(err)
	}
	heal := s.break_(t, denied, 0)
	_, deliverErr := s.Deliver(t.Context(), rotation, newPair, r)
	_, readErr := s.ReadBack(t.Context(), rotation, newPair.Digest(), r)
	for what, err := range map[string]error{
		"preflight": s.Preflight(t.Context()), "deliver": deliverErr, "read back": readErr, "restore": s.Restore(t.Context(), rotation, r),
	} {
		if !errors.Is(err, fact.ErrDenied) {
			t.Errorf("%s: %v, want %v", what, err, fact.ErrDenied)
		}
	}
	heal()
	if s.held(t) != before {
		t.Error("the place was changed without permission")
	}
	s.expect(t, newPair, s.deliver(t, newPair, r))
}

func claimDeadline(t *testing.T, fresh func(*testing.T) *site) {
	s := fresh(t)
	before := s.held(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Deliver(ended, rotation, newPair, nil); !errors.Is(err, context.Canceled) || s.held(t) != before {
		t.Errorf("a call that had ended: %v", err)
	}
	if !s.has(slow) {
		return
	}
	heal := s.break_(t, slow, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := s.Deliver(ctx, rotation, newPair, nil)
	if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 5*time.Second {
		t.Errorf("after %v: %v, want %v", took, err, context.DeadlineExceeded)
	}
	heal()
	s.expect(t, newPair, s.deliver(t, newPair, nil))
}

func claimMoved(t *testing.T, fresh func(*testing.T) *site) {
	s := fresh(t)
	r := s.deliver(t, newPair, nil)
	s.meddle(t)
	after := s.held(t)
	if err := s.Restore(t.Context(), rotation, r); !errors.Is(err, courier.ErrMoved) {
		t.Errorf("restore: %v, want %v", err, courier.ErrMoved)
	}
	if _, err := s.Deliver(t.Context(), rotation, newPair, r); !errors.Is(err, courier.ErrMoved) {
		t.Errorf("deliver again: %v, want %v", err, courier.ErrMoved)
	}
	if got, err := s.ReadBack(t.Context(), rotation, newPair.Digest(), r); err != nil || got {
		t.Errorf("read back: %v, %v, want false", got, err)
	}
	if s.held(t) != after {
		t.Error("what somebody else put there was touched")
	}
}

func claimRefuses(t *testing.T, fresh func(*testing.T) *site) {
	s := fresh(t)
	before := s.held(t)
	for name, try := range map[string]func() error{
		"no id": func() error { _, err := s.Deliver(t.Context(), "", newPair, nil); return err },
		"no key id": func() error {
			_, err := s.Deliver(t.Context(), rotation, fact.Pair{Secret: newPair.Secret}, nil)
			return err
		},
		"no secret": func() error { _, err := s.Deliver(t.Context(), rotation, fact.Pair{KeyID: "AKIA"}, nil); return err },
		"a line feed": func() error {
			_, err := s.Deliver(t.Context(), rotation, fact.Pair{KeyID: "A\nB", Secret: newPair.Secret}, nil)
			return err
		},
		"a wrong receipt": func() error { _, err := s.Deliver(t.Context(), rotation, newPair, []byte("{")); return err },
		"a later receipt": func() error { return s.Restore(t.Context(), rotation, []byte(`{"version":2}`)) },
		"no receipt":      func() error { return s.Restore(t.Context(), rotation, nil) },
	} {
		if err := try(); err == nil || s.held(t) != before {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func claimQuoting(t *testing.T, fresh func(*testing.T) *site) {
	s := fresh(t)
	if !s.has(blab) {
		return
	}
	heal := s.break_(t, blab, 0)
	_, err := s.Deliver(t.Context(), rotation, newPair, nil)
	heal()
	if err == nil || !strings.Contains(err.Error(), "withheld") || strings.Contains(err.Error(), newPair.Secret.Reveal()[:12]) {
		t.Errorf("got %v", err)
	}
	s.expect(t, newPair, s.deliver(t, newPair, nil))
}
