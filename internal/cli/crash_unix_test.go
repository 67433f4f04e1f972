//go:build unix

package cli_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

const (
	crashVar     = "KEYREEVE_CRASH"      // how many kills there are to be; default fewestKills; beyond that every point is hit
	crashSeed    = "KEYREEVE_CRASH_SEED" // of what is drawn at random; default 1
	fewestKills  = 200
	worldsAtOnce = 4
	processes    = 5 // processes of one attempt; some after the first are killed too, not the last two
)

// attempt is one case: a world whose command is killed at a point, and maybe again after the restart.
type attempt struct {
	*staged
	kill   kill
	random uint64 // what is drawn: whether the restart is killed as well, and where
}

// staged is a scene under a condition, and how the command goes when nobody kills it.
type staged struct {
	*scene
	condition condition
	points    []kill
	took      time.Duration
}

// point names where the first process is killed.
func (a *attempt) point() string { return fmt.Sprintf("%s, %s, %s", a.name, a.condition, a.kill) }

func (a *attempt) String() string {
	return fmt.Sprintf("%s, %s, killed at %s (draws %d)", a.name, a.condition, a.kill, a.random)
}

// The real process is killed around every write to its journal, and at every call to AWS: before it arrives, before
// it takes effect, after that, and after its answer. Then it is started again until it ends by itself. After each
// end of a process the journal must fit the account, and at the last everything has been done, each thing once.
func TestCrash_everyStepIsAsBeforeOrAsPlannedHappensOnceAndTheJournalSaysWhich(t *testing.T) {
	least, seed, whole := crashSize(t, fewestKills)
	c := newCrashes(t)
	list := crashAttempts(c.stage(), whole, seed)
	for range 3 { // a process may be over before the kill at its last answer reaches it
		c.attempts(list)
		list = slices.DeleteFunc(list, func(a attempt) bool { return c.hit[a.point()] })
	}
	random := rand.New(rand.NewPCG(seed, 0))
	if whole {
		c.atAnyTime(least/4, random)
	}
	for c.kills < least && !t.Failed() {
		c.atAnyTime(least-c.kills, random)
	}
	t.Logf("crash: %d kills, %d points of %d hit, %d violations (kills after a restart: %d, at any time: %d; seed %d)",
		c.kills, len(c.hit), len(c.planned), c.wrong, c.again, c.random, seed)
	if c.kills < least || len(c.hit) < len(c.planned) {
		t.Errorf("%d kills of %d, %d points of %d", c.kills, least, len(c.hit), len(c.planned))
	}
}

// crashSize is how many kills there are to be, by which seed, and whether every point is hit, as the environment says.
func crashSize(t *testing.T, fewest int) (least int, seed uint64, whole bool) {
	t.Helper()
	least, seed = fewest, 1
	for name, into := range map[string]func(n int){
		crashVar: func(n int) { least, whole = max(n, fewest), n > fewest }, crashSeed: func(n int) { seed = uint64(n) },
	} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				t.Fatalf("%s=%q is no number from 1 on", name, text)
			}
			into(n)
		}
	}
	return least, seed, whole
}

// crashAttempts has every point, or else every point of one apply and one undo on a good day, before and after each
// call, and a few of all the others.
func crashAttempts(all []*staged, whole bool, seed uint64) []attempt {
	var out []attempt
	for _, s := range all {
		for i, k := range s.points {
			if whole || s.whole && s.condition == goodDay && !s.same(k) || i%32 == 0 {
				out = append(out, attempt{staged: s, kill: k, random: seed<<32 + uint64(len(out))})
			}
		}
	}
	return out
}

// same tells of a point that nobody but the process itself can tell from that before it: a call that changes
// nothing has changed nothing.
func (s *staged) same(k kill) bool {
	return k.phase == fakeaws.Done && !slices.Contains(s.points, kill{call: k.call, phase: lost})
}

// crashes counts what happened in all attempts.
type crashes struct {
	t   *testing.T
	dir string
	on  *journals
	all []*staged

	mu           sync.Mutex
	kills, again int             // in all, and after a restart
	hit          map[string]bool // points, of a scene under a condition, at which a process died
	planned      map[string]bool // points that were to be hit
	wrong        int             // violations
	random       int             // kills at moments that nothing is known about
}

func newCrashes(t *testing.T) *crashes {
	return &crashes{t: t, dir: t.TempDir(), hit: map[string]bool{}, planned: map[string]bool{}}
}

// attempts makes all of them, some at once.
func (c *crashes) attempts(list []attempt) {
	work := make(chan attempt)
	var workers sync.WaitGroup
	for range worldsAtOnce {
		workers.Go(func() {
			for a := range work {
				c.attempt(&a)
			}
		})
	}
	for _, a := range list {
		work <- a
	}
	close(work)
	workers.Wait()
}

// atAnyTime makes n attempts, in each of which the process is killed at a moment that nothing is known about.
func (c *crashes) atAnyTime(n int, random *rand.Rand) {
	var list []attempt
	for range n {
		s := c.all[random.IntN(len(c.all))]
		after := time.Duration(1 + random.Int64N(int64(s.took)))
		list = append(list, attempt{staged: s, kill: kill{after: after}, random: random.Uint64()})
	}
	c.attempts(list)
}

func (c *crashes) attempt(a *attempt) {
	w, err := newWorld(a.scene, a.condition, c.dir, c.on)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer w.close()
	random := rand.New(rand.NewPCG(a.random, 1))
	var told []string
	next := a.kill
	if next.after == 0 {
		c.count(func() { c.planned[a.point()] = true })
	}
	for restart := range processes {
		end, err := w.run(next, a.args...)
		if err != nil {
			c.t.Errorf("%s: %v", a, err)
			return
		}
		told = append(told, fmt.Sprintf("process %d, killed at %s: exit %d\n%s%s", restart+1, next, end.code, end.stdout, end.stderr))
		c.ended(a, end, restart)
		wrong, e, err := w.check(end)
		if err != nil || len(wrong) > 0 {
			c.count(func() { c.wrong += len(wrong) })
			c.t.Errorf("%s: %v\n  %s\n%s", a, err, strings.Join(wrong, "\n  "), strings.Join(told, ""))
			return
		}
		if !end.killed {
			return
		}
		if err := w.catchUp(e); err != nil {
			c.t.Error(err)
			return
		}
		next = kill{}
		if restart < processes-2 && random.IntN(4) == 0 {
			next = a.points[random.IntN(len(a.points))]
		}
	}
}

// ended counts a process that ended.
func (c *crashes) ended(a *attempt, end *ended, restart int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !end.killed:
	case restart > 0:
		c.kills, c.again = c.kills+1, c.again+1
	default:
		c.kills++
		if a.kill.after > 0 {
			c.random++
		} else {
			c.hit[a.point()] = true
		}
	}
}

func (c *crashes) count(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}
