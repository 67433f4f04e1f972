//go:build unix

package cli_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/cli"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

const (
	fewestRotKills = 120
	manyRotKills   = 1000
	mostProcesses  = 1500 // of one rotation; more is one that does not end
	killsInARow    = 5    // of processes that find the rotation alike
	triesOfAPoint  = 4
)

// rotScene is what is to become of a rotation.
type rotScene struct {
	name      string
	condition condition
	cancelAt  rotate.State // a person cancels when it is there, or further; empty: nobody does
	lateUse   bool         // somebody uses the old key after it was deactivated
	ends      rotate.State
}

func rotScenes() []*rotScene {
	out := []*rotScene{
		{name: "rotation", condition: goodDay, ends: rotate.Done},
		{name: "rotation", condition: noReply, ends: rotate.Done},
		{name: "rotation", condition: staleLists, ends: rotate.Done},
		{name: "late use", condition: goodDay, lateUse: true, ends: rotate.Done},
	}
	for _, s := range []rotate.State{
		rotate.Requested, rotate.Delivering, rotate.Probing, rotate.Proving, rotate.Deactivating, rotate.Quiet,
	} {
		out = append(out, &rotScene{name: "cancelled when " + string(s), condition: goodDay, cancelAt: s, ends: rotate.Cancelled})
	}
	return append(out, &rotScene{name: "cancelled when quiet", condition: noReply, cancelAt: rotate.Quiet, ends: rotate.Cancelled})
}

func (s *rotScene) String() string { return s.name + ", " + string(s.condition) }

// The real process is killed around every write to its ledger and at every call to AWS, and at moments that nothing is known
// about, again and again in one rotation, also while it recovers. It is started again until the rotation ends. At every call and
// after each end of a process the user has working keys that the targets hold, whole; what is deleted nobody needs; each edge
// is taken once.
func TestCrash_rotationEndsWholeWhateverMomentItIsKilledAt(t *testing.T) {
	least, seed, whole := crashSize(t, fewestRotKills)
	c := newRotCrashes(t, least, seed)
	if c.whole = whole; whole {
		c.least = max(least/2, manyRotKills)
	}
	scenes := rotScenes()
	c.each(scenes, true)
	for round := 0; !t.Failed() && (c.kills < c.least || c.whole && (len(c.open()) > 0 || c.random < c.least)); round++ {
		if round == 200 {
			t.Errorf("never reached: %v", c.open())
		}
		c.each(scenes, false)
	}
	t.Logf("rotation: %d kills, states hit: %s, %d violations (points %d of %d, at any time: %d, rotations %d; seed %d)",
		c.kills, c.stateText(), c.wrong, c.planned()-len(c.open()), c.planned(), c.random, c.rotations, c.seed)
	if c.kills < c.least {
		t.Errorf("%d kills of %d", c.kills, c.least)
	}
}

// place is a process as it finds a rotation: its command, and where that stands.
type place struct {
	took    time.Duration
	planned bool
	points  []kill // that a process reached there
	hit     map[kill]bool
	tries   map[kill]int
}

// rotCrashes counts what happened in all rotations.
type rotCrashes struct {
	t     *testing.T
	dir   string
	on    *journals
	least int
	whole bool // every point, not a few
	seed  uint64

	mu                       sync.Mutex
	places                   map[string]*place
	states                   map[rotate.State]int // in which a rotation was when its process was killed
	kills, random, rotations int
	wrong                    int
}

func newRotCrashes(t *testing.T, least int, seed uint64) *rotCrashes {
	return &rotCrashes{t: t, dir: t.TempDir(), least: least, seed: seed, places: map[string]*place{}, states: map[rotate.State]int{}}
}

// each has every scene played once, some at once.
func (c *rotCrashes) each(scenes []*rotScene, rehearse bool) {
	work := make(chan *rotScene)
	var workers sync.WaitGroup
	for range worldsAtOnce {
		workers.Go(func() {
			for s := range work {
				c.play(s, rehearse)
			}
		})
	}
	for _, s := range scenes {
		if !rehearse && c.enough(s) {
			continue
		}
		work <- s
	}
	close(work)
	workers.Wait()
}

// enough tells whether there were kills enough, and of a scene every point where that is wanted.
func (c *rotCrashes) enough(s *rotScene) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := slices.ContainsFunc(c.open(), func(point string) bool { return strings.HasPrefix(point, s.String()+":") })
	return c.kills >= c.least && (!c.whole || !left && c.random >= c.least)
}

// play plays a scene to its end; without a kill, if it is a rehearsal.
func (c *rotCrashes) play(s *rotScene, rehearse bool) {
	w, err := newRotWorld(s, c.dir, c.on)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer w.close()
	c.mu.Lock()
	c.rotations++
	draw := rand.New(rand.NewPCG(c.seed, uint64(c.rotations)))
	c.mu.Unlock()
	err = c.toTheEnd(w, draw, rehearse)
	if err != nil || len(w.wrong) > 0 {
		c.mu.Lock()
		c.wrong += len(w.wrong)
		c.mu.Unlock()
		c.t.Errorf("%s (seed %d): %v\n  %s\n%s", s, c.seed, err, strings.Join(w.wrong, "\n  "), strings.Join(w.told, ""))
	}
}

func (c *rotCrashes) toTheEnd(w *rotWorld, draw *rand.Rand, rehearse bool) error {
	rec := &record{}
	row, where := 0, ""
	for range mostProcesses {
		if rec.rotation != nil && rec.rotation.State.Over() {
			return w.finished(rec)
		}
		args := w.next(rec)
		if name := w.where(args, rec.rotation); name != where {
			row, where = 0, name
		}
		k := kill{}
		if !rehearse && row < c.inARow() {
			k = c.choose(where, draw)
		}
		end, err := w.run(k, args...)
		if err != nil {
			return err
		}
		w.observe()
		if rec, err = w.read(); err != nil {
			return err
		}
		w.standing(rec, !end.killed)
		w.catchUp(rec)
		c.ended(where, k, end, rec, rehearse)
		if !end.killed && end.code != 0 && !w.mayFail(args, end, rec) {
			w.bad("%v: exit code %d", args, end.code)
		}
		if len(w.wrong) > 0 {
			return nil
		}
		if end.killed {
			row++
			if draw.IntN(4) == 0 { // nobody looks for a while
				w.pass(w.now.Add(time.Duration(1+draw.IntN(40)) * time.Minute))
			}
		}
	}
	w.bad("the rotation does not end: it is %s: %s", rec.rotation.State, rec.rotation.Why)
	return nil
}

// inARow is how many processes are killed that find a rotation alike, before one may go on.
func (c *rotCrashes) inARow() int {
	if c.whole {
		return 5 * killsInARow
	}
	return killsInARow
}

// next is the command that somebody gives, once it is time.
func (w *rotWorld) next(rec *record) []string {
	r := rec.rotation
	if r == nil {
		return []string{"rotate", "start", rotUser, "--reason", "a test"}
	}
	order := rotate.States()
	if w.cancelAt != "" && r.State != rotate.BackingOut && slices.Index(order, r.State) >= slices.Index(order, w.cancelAt) {
		if w.said { // it was refused for now, or killed
			w.pass(w.now.Add(time.Minute))
			if r.Intent != rotate.None { // somebody may be at it
				w.pass(r.NextAt)
			}
		}
		w.said = true
		return []string{"rotate", "cancel", r.ID}
	}
	if r.State == rotate.Held && w.late {
		w.approved = w.now
		return []string{"rotate", "approve", r.ID}
	}
	w.pass(r.NextAt)
	return []string{"rotate", "advance"}
}

// mayFail tells whether a command that nobody killed may end in vain.
func (w *rotWorld) mayFail(args []string, end *ended, rec *record) bool {
	held := rec.rotation != nil && rec.rotation.State == rotate.Held && w.late
	unclear := args[1] == "cancel" && end.code == cli.ExitRefused && rec.rotation.Intent != rotate.None
	return held || unclear
}

// where names a process by what it finds.
func (w *rotWorld) where(args []string, r *rotate.Rotation) string {
	if r == nil {
		return fmt.Sprintf("%s: %s", w.rotScene, args[1])
	}
	text := fmt.Sprintf("%s: %s %s %s, intent %q, answers %d, targets", w.rotScene, args[1], r.State, r.Resume, r.Intent, r.Answers)
	for i := range r.Targets {
		text += " " + string(r.Targets[i].State)
	}
	return text
}

// catchUp moves the clock to where the last process left the ledger: pauses that ended at once have moved its own on.
func (w *rotWorld) catchUp(rec *record) {
	if r := rec.rotation; r != nil && r.ChangedAt.After(w.now) {
		w.now = r.ChangedAt.Add(time.Millisecond)
	}
	w.pass(w.now)
}

// choose draws where the next process is killed, of the points that are open there; none is a moment at random, or never.
func (c *rotCrashes) choose(where string, draw *rand.Rand) kill {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.places[where]
	if p == nil {
		return kill{after: time.Duration(1 + draw.Int64N(int64(200*time.Millisecond)))}
	}
	if c.whole && c.random >= c.least || draw.IntN(4) > 0 {
		var list []kill
		for _, k := range p.points {
			if !p.hit[k] && p.tries[k] < triesOfAPoint {
				list = append(list, k)
			}
		}
		if len(list) > 0 {
			k := list[draw.IntN(len(list))]
			p.tries[k]++
			return k
		}
	}
	if c.whole && c.random >= c.least || draw.IntN(3) == 0 {
		return kill{}
	}
	return kill{after: time.Duration(1 + draw.Int64N(int64(p.took)))}
}

// ended counts a process that ended, and learns its points.
func (c *rotCrashes) ended(where string, k kill, end *ended, rec *record, rehearsed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.places[where]
	if p == nil {
		p = &place{hit: map[kill]bool{}, tries: map[kill]int{}}
		c.places[where] = p
	}
	for _, point := range end.points {
		if !slices.Contains(p.points, point) {
			p.points = append(p.points, point)
		}
	}
	p.took = max(p.took, end.took)
	p.planned = p.planned || rehearsed
	if !end.killed {
		return
	}
	c.kills++
	state := rotate.State("none")
	if rec.rotation != nil {
		state = rec.rotation.State
	}
	c.states[state]++
	if k.after > 0 {
		c.random++
	} else {
		p.hit[k] = true
	}
}

// open are the points of rehearsed processes at which none was killed yet.
func (c *rotCrashes) open() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(c.places)) {
		p := c.places[name]
		for _, k := range p.points {
			if p.planned && !p.hit[k] && p.tries[k] < triesOfAPoint {
				out = append(out, name+", "+k.String())
			}
		}
	}
	return out
}

func (c *rotCrashes) planned() int {
	n := 0
	for _, p := range c.places {
		if p.planned {
			n += len(p.points)
		}
	}
	return n
}

func (c *rotCrashes) stateText() string {
	var out []string
	for _, s := range append([]rotate.State{"none"}, rotate.States()...) {
		if n := c.states[s]; n > 0 {
			out = append(out, fmt.Sprintf("%s %d", s, n))
		}
	}
	return strings.Join(out, ", ")
}
