//go:build unix

package cli_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

// rotEvidence is what was seen of a rotation while it went on, and what is wrong with it.
type rotEvidence struct {
	wrong       []string
	changes     []fakeaws.Write
	made        map[string]time.Time // keys of the user by when they were made
	uses        map[string]time.Time // the last use by somebody other than keyreeve, by key, whether AWS shows it or not
	last        time.Time            // use of the old key
	deactivated time.Time            // the old key; zero: it is active
	approved    time.Time            // by a person, with the uses of the old key known
	handed      map[string]time.Time // when a target was last seen with a key, by key
	intent      rotate.Act           // of the change that is under way
	sealed      [][]byte             // every sealed secret that the ledger held
}

func newEvidence() rotEvidence {
	return rotEvidence{made: map[string]time.Time{}, uses: map[string]time.Time{}, handed: map[string]time.Time{}}
}

func (e *rotEvidence) bad(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(e.wrong, text) {
		e.wrong = append(e.wrong, text)
	}
}

// used notes a true use of a key.
func (e *rotEvidence) used(keyID string, at time.Time) {
	e.uses[keyID] = at
	if keyID == rotOld {
		e.last = at
	}
}

// observe checks what holds at every moment: the user has working keys, and the targets hold nothing else, whole.
func (w *rotWorld) observe() {
	held, err := w.held()
	if err != nil {
		w.bad("%v", err)
		return
	}
	users := w.account.Users()
	w.judge(users, held, w.cloud.Now())
}

// judge compares the account with what the targets hold.
func (e *rotEvidence) judge(users []fakeaws.User, held map[string]string, now time.Time) {
	if len(users) != 2 {
		e.bad("the account has %d users", len(users))
		return
	}
	if keys := users[1].Keys; len(keys) != 1 || keys[0].ID != rotAside || keys[0].Inactive {
		e.bad("the keys of another user are %+v", keys)
	}
	for name, id := range held {
		e.handed[id] = now
		i := slices.IndexFunc(users[0].Keys, func(k fakeaws.Key) bool { return k.ID == id })
		switch {
		case i < 0:
			e.bad("target %s holds key %s, which is gone", name, id)
		case users[0].Keys[i].Inactive:
			e.bad("target %s holds key %s, which is inactive", name, id)
		case now.Sub(users[0].Keys[i].Created) < keyLag:
			e.bad("target %s holds key %s, which does not work yet", name, id)
		}
	}
}

// intended checks that the ledger announces a change before it is asked for.
func (w *rotWorld) intended(params url.Values) {
	rec, err := w.read()
	if err != nil {
		w.bad("before a change: %v", err)
		return
	}
	intent := rotate.None
	if rec.rotation != nil {
		intent = rec.rotation.Intent
	}
	w.announced(params.Get("Action"), params.Get("AccessKeyId"), params.Get("Status"), intent)
}

func (e *rotEvidence) announced(action, keyID, status string, intent rotate.Act) {
	e.intent = intent
	var want []rotate.Act
	switch {
	case action == "CreateAccessKey":
		want = []rotate.Act{rotate.Create}
	case action == "UpdateAccessKey" && keyID == rotOld && status == "Inactive":
		want = []rotate.Act{rotate.Deactivate}
	case action == "UpdateAccessKey" && keyID == rotOld:
		want = []rotate.Act{rotate.Reactivate}
	case action == "DeleteAccessKey" && keyID == rotOld:
		want = []rotate.Act{rotate.Delete}
	case action == "DeleteAccessKey":
		want = []rotate.Act{rotate.DropOrphan, rotate.DropNew}
	}
	if !slices.Contains(want, intent) {
		e.bad("%s %s of key %q is asked for, and the intent on record is %q", action, status, keyID, intent)
	}
}

// wrote checks a change that has just taken effect.
func (w *rotWorld) wrote(c fakeaws.Write) {
	held, err := w.held()
	if err != nil {
		w.bad("%v", err)
	}
	w.happened(c, held, w.cloud.Now())
}

func (e *rotEvidence) happened(c fakeaws.Write, held map[string]string, now time.Time) {
	e.changes = append(e.changes, c)
	switch {
	case c.User != rotUser:
		e.bad("%s of user %q, whom nobody named", c.Action, c.User)
	case !c.Effect:
		e.bad("key %s: %s %s repeated what was so already", c.KeyID, c.Action, c.Status)
	case c.Action == "iam:CreateAccessKey":
		e.made[c.KeyID] = now
	case c.Action == "iam:UpdateAccessKey" && c.KeyID == rotOld && c.Status == "Inactive":
		if now.Sub(e.last) < time.Hour {
			e.bad("the old key is deactivated %s after its consumer used it", now.Sub(e.last))
		}
		e.deactivated = now
	case c.Action == "iam:UpdateAccessKey" && c.KeyID == rotOld:
		e.deactivated = time.Time{}
	case c.Action == "iam:DeleteAccessKey" && c.KeyID == rotOld:
		e.goneForGood(now)
	case c.Action == "iam:DeleteAccessKey" && !e.made[c.KeyID].IsZero():
		e.dropped(c.KeyID, held, now)
	default:
		e.bad("key %s: %s %s, which is no part of this", c.KeyID, c.Action, c.Status)
	}
}

// goneForGood checks the deletion of the old key.
func (e *rotEvidence) goneForGood(now time.Time) {
	since := e.deactivated
	if since.IsZero() {
		e.bad("the old key is deleted while it is active")
		return
	}
	if e.last.After(since) {
		if e.approved.Before(e.last) {
			e.bad("the old key is deleted, was used after it was deactivated, and nobody approved")
		}
		since = e.approved
	}
	if quiet := now.Sub(since); quiet < quietTime-time.Minute { // the clocks are read some moments apart
		e.bad("the old key is deleted after %s of silence, not %s", quiet, quietTime)
	}
}

// dropped checks the deletion of a key that was made by us: nobody may need it, and AWS must have had the time to say so.
func (e *rotEvidence) dropped(keyID string, held map[string]string, now time.Time) {
	for name, id := range held {
		if id == keyID {
			e.bad("key %s is deleted, and target %s holds it", keyID, name)
		}
	}
	// The program wants an hour without a use; AWS tells the first of each quarter, which may be our own probe.
	if used, ok := e.uses[keyID]; ok && now.Sub(used) < 30*time.Minute {
		e.bad("key %s is deleted %s after its consumer used it", keyID, now.Sub(used))
	}
	since, told := e.handed[keyID], "a target held it"
	if e.intent == rotate.DropOrphan { // whose it is shows by its use alone
		since, told = e.made[keyID], "it was made"
	}
	if age := now.Sub(since); age < useLag {
		e.bad("key %s is deleted %s after %s, when a use of it could not have shown yet", keyID, age, told)
	}
}

// standing checks the ledger after a process ended; by itself means that it was not killed.
func (w *rotWorld) standing(rec *record, byItself bool) {
	r := rec.rotation
	if r == nil {
		return
	}
	if rec.count > 1 {
		w.bad("%d rotations are on record", rec.count)
	}
	w.edges(rec.events, r.State)
	if len(r.Sealed) > 0 {
		w.sealed = append(w.sealed, r.Sealed)
	}
	if waits := r.State == rotate.Held && !w.late; waits || r.State == rotate.Conflict || r.State == rotate.Blocked || r.State == rotate.Gone {
		w.bad("the rotation is %s: %s", r.State, r.Why)
	}
	if r.State == rotate.Proving || r.State.Over() {
		w.wiped(r, byItself)
	}
}

// wiped checks that the sealed secret is gone from the ledger, and, where the process had the time, from its files.
func (w *rotWorld) wiped(r *rotate.Rotation, byItself bool) {
	if len(r.Sealed) > 0 {
		w.bad("a rotation that is %s keeps the sealed secret", r.State)
	}
	if !byItself {
		return
	}
	files, err := journalFiles(w.state())
	if err != nil {
		w.bad("%v", err)
	}
	for name, body := range files {
		for _, s := range w.sealed {
			if bytes.Contains(body, s) {
				w.bad("%s keeps the sealed secret", name)
			}
		}
	}
}

// edges checks that the events follow the table, and that each edge was taken once. Only the making of a key may be begun
// anew, each time that its outcome was lost.
func (e *rotEvidence) edges(events []rotate.Event, state rotate.State) {
	taken := map[rotate.Edge]int{}
	at := rotate.Requested
	for i := range events {
		v := &events[i]
		if v.From != at && i > 0 {
			e.bad("event %d begins in %s, the one before ended in %s", i, v.From, at)
		}
		at = v.To
		if v.From == v.To || v.From == "" {
			continue
		}
		edge, ok := rotate.Next(v.From, v.Name)
		if !ok || edge.To != v.To && edge.To != rotate.ToResume {
			e.bad("event %d, %q, leads from %s to %s, which the table does not know", i, v.Name, v.From, v.To)
		}
		taken[rotate.Edge{From: v.From, On: v.Name, To: v.To}]++
	}
	if at != state {
		e.bad("the events lead to %s, the rotation is %s", at, state)
	}
	again := taken[rotate.Edge{From: rotate.Creating, On: rotate.NotMade, To: rotate.Requested}]
	for edge, n := range taken {
		switch {
		case n == 1, edge.On == rotate.NotMade:
		case edge.On == rotate.SlotFree && n <= again+1:
		case edge.On == rotate.QuietOver && !e.approved.IsZero():
		default:
			e.bad("the edge from %s to %s (%s) was taken %d times", edge.From, edge.To, edge.On, n)
		}
	}
}

// ended checks what a rotation that is over has come to.
func (e *rotEvidence) ended(r *rotate.Rotation, user fakeaws.User, held map[string]string) {
	want := rotOld
	if r.State == rotate.Done {
		want = r.New.ID
	}
	if len(user.Keys) != 1 || user.Keys[0].ID != want || user.Keys[0].Inactive {
		e.bad("in the end the user has the keys %+v, not %s alone, active", user.Keys, want)
	}
	for name, id := range held {
		if id != want {
			e.bad("in the end target %s holds key %s, not %s", name, id, want)
		}
	}
	count := map[string]int{}
	for _, c := range e.changes {
		count[c.Action+" "+c.Status+" "+c.KeyID]++
	}
	for what, n := range count {
		if n > 1 {
			e.bad("%d times %s", n, what)
		}
	}
}

// finished checks a world whose rotation is over, with its journal by the program itself.
func (w *rotWorld) finished(rec *record) error {
	held, err := w.held()
	if err != nil {
		w.bad("%v", err)
	}
	if r := rec.rotation; r.State != w.ends {
		w.bad("the rotation ends %s, not %s", r.State, w.ends)
	}
	w.ended(rec.rotation, w.account.Users()[0], held)
	end, err := w.run(kill{}, "runs", "verify")
	if err != nil {
		return err
	}
	if end.code != 0 {
		w.bad("runs verify: exit %d: %s", end.code, end.stderr)
	}
	return w.leaks()
}

// leaks looks for secrets in all that the program wrote, but the targets: raw, in base64 and in hex.
func (w *rotWorld) leaks() error {
	for _, text := range w.told {
		if what := leak([]byte(text)); what != "" {
			w.bad("what a process printed holds a secret (%s): %s", what, text)
		}
	}
	return filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(filepath.Dir(path)) == "consumer" {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if what := leak(body); what != "" {
			w.bad("%s holds a secret (%s)", strings.TrimPrefix(path, w.dir), what)
		}
		return nil
	})
}

// leak tells how a secret stands in there; empty: it does not.
func leak(body []byte) string {
	if bytes.Contains(body, []byte(anySecret)) {
		return "as it is"
	}
	if bytes.Contains(bytes.ToLower(body), []byte(hex.EncodeToString([]byte(anySecret)))) {
		return "hex"
	}
	for shift := range 3 { // base64 of something that it is a part of
		text := base64.StdEncoding.EncodeToString(append(make([]byte, shift), anySecret...))
		if bytes.Contains(body, []byte(text[4:len(text)-4])) {
			return "base64"
		}
	}
	return ""
}
