//go:build unix

package cli_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

const rotNew = "AKIAROTCRASH00000NEW"

// rotStory is a rotation that goes as it should, told event by event to the evidence; a test forges one of them.
type rotStory struct {
	e      rotEvidence
	now    time.Time
	user   fakeaws.User
	held   map[string]string
	events []rotate.Event
	end    rotate.Rotation
	writes []fakeaws.Write
	acts   []rotate.Act // announced before each write
	pauses []time.Duration
}

func newRotStory() *rotStory {
	made := time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)
	write := func(action, id, status string) fakeaws.Write {
		return fakeaws.Write{Action: "iam:" + action, User: rotUser, KeyID: id, Status: status, Effect: true}
	}
	s := &rotStory{
		e: newEvidence(), now: made, user: fakeaws.User{Name: rotUser, Keys: []fakeaws.Key{{ID: rotNew, Created: made}}},
		held: map[string]string{"laptop": rotNew, "script": rotNew}, end: rotate.Rotation{State: rotate.Done, New: rotate.KeyRecord{ID: rotNew}},
		writes: []fakeaws.Write{write("CreateAccessKey", rotNew, ""), write("UpdateAccessKey", rotOld, "Inactive"), write("DeleteAccessKey", rotOld, "")},
		acts:   []rotate.Act{rotate.Create, rotate.Deactivate, rotate.Delete},
		pauses: []time.Duration{0, 3 * time.Hour, 25 * time.Hour},
		events: []rotate.Event{{To: rotate.Requested}},
	}
	s.e.last = made.Add(-30 * time.Minute)
	for _, on := range []rotate.EventName{
		rotate.SlotFree, rotate.Made, rotate.AllHold, rotate.Answered, rotate.Proven, rotate.WentInert, rotate.QuietOver, rotate.WentForGood,
	} {
		from := s.events[len(s.events)-1].To
		edge, _ := rotate.Next(from, on)
		s.events = append(s.events, rotate.Event{From: from, To: edge.To, Name: on})
	}
	return s
}

// tell has the evidence judge it all.
func (s *rotStory) tell() string {
	for i, w := range s.writes {
		s.now = s.now.Add(s.pauses[i])
		action := strings.TrimPrefix(w.Action, "iam:")
		asked := w.KeyID
		if action == "CreateAccessKey" {
			asked = ""
		}
		s.e.announced(action, asked, w.Status, s.acts[i])
		s.e.happened(w, s.held, s.now)
	}
	aside := fakeaws.User{Name: "eve", Keys: []fakeaws.Key{{ID: rotAside}}}
	s.e.judge([]fakeaws.User{s.user, aside}, s.held, s.now)
	s.e.edges(s.events, s.end.State)
	s.e.ended(&s.end, s.user, s.held)
	return strings.Join(s.e.wrong, "\n")
}

func TestCrash_noticesEachWayInWhichARotationIsWrong(t *testing.T) {
	if wrong := newRotStory().tell(); wrong != "" {
		t.Fatalf("nothing is wrong with the rotation before it is forged: %s", wrong)
	}
	drop := func(s *rotStory, act rotate.Act, after time.Duration) { // a second key was made, and goes
		made := fakeaws.Write{Action: "iam:CreateAccessKey", User: rotUser, KeyID: "AKIASECOND", Effect: true}
		gone := made
		gone.Action = "iam:DeleteAccessKey"
		s.writes, s.acts = append(s.writes, made, gone), append(s.acts, rotate.Create, act)
		s.pauses = append(s.pauses, 0, after)
	}
	for name, c := range map[string]struct {
		forge func(s *rotStory)
		want  string
	}{
		"no intent before the making": {func(s *rotStory) { s.acts[0] = rotate.None }, "the intent on record is"},
		"another intent":              {func(s *rotStory) { s.acts[2] = rotate.Deactivate }, "the intent on record is"},
		"deactivated twice":           {func(s *rotStory) { s.writes[2] = s.writes[1]; s.writes[2].Effect = false }, "repeated what was so already"},
		"deactivated in use":          {func(s *rotStory) { s.pauses[1] = time.Minute }, "after its consumer used it"},
		"deleted while active":        {func(s *rotStory) { s.writes[1] = s.writes[2] }, "deleted while it is active"},
		"deleted too early":           {func(s *rotStory) { s.pauses[2] = 23 * time.Hour }, "of silence"},
		"deleted though used":         {func(s *rotStory) { s.e.used(rotOld, s.now.Add(5*time.Hour)) }, "nobody approved"},
		"another user's key":          {func(s *rotStory) { s.writes[0].User = "eve" }, "whom nobody named"},
		"a strange key deleted":       {func(s *rotStory) { s.writes[2].KeyID = "AKIASTRANGE" }, "no part of this"},
		"the delivered key deleted":   {func(s *rotStory) { s.writes[2].KeyID = rotNew }, "target laptop holds it"},
		"an orphan deleted at once":   {func(s *rotStory) { drop(s, rotate.DropOrphan, time.Minute) }, "could not have shown yet"},
		"a key deleted that was handed": {func(s *rotStory) {
			s.e.handed["AKIASECOND"] = s.now.Add(28 * time.Hour)
			drop(s, rotate.DropNew, time.Minute)
		}, "after a target held it"},
		"a key deleted that was used": {func(s *rotStory) {
			s.e.used("AKIASECOND", s.now.Add(28*time.Hour))
			drop(s, rotate.DropNew, 20*time.Minute)
		}, "after its consumer used it"},
		"a target with a dead key":      {func(s *rotStory) { s.user.Keys[0].Inactive = true }, "which is inactive"},
		"a target with a key gone":      {func(s *rotStory) { s.held["script"] = rotOld }, "which is gone"},
		"a target with a key too young": {func(s *rotStory) { s.user.Keys[0].Created = s.now.Add(28 * time.Hour) }, "does not work yet"},
		"a third key in the end":        {func(s *rotStory) { s.user.Keys = append(s.user.Keys, fakeaws.Key{ID: "AKIATHIRD"}) }, "in the end the user has"},
		"an edge twice":                 {func(s *rotStory) { s.events = append(s.events[:2], s.events...) }, "ended in"},
		"an edge of no table":           {func(s *rotStory) { s.events[3].Name = rotate.Proven }, "the table does not know"},
		"made again without a loss":     {func(s *rotStory) { s.events = append(s.events, s.events[1]) }, "was taken 2 times"},
		"another state than its events": {func(s *rotStory) { s.end.State = rotate.Deleting }, "the rotation is deleting"},
	} {
		s := newRotStory()
		c.forge(s)
		if wrong := s.tell(); !strings.Contains(wrong, c.want) {
			t.Errorf("%s: not noticed, want %q: %s", name, c.want, wrong)
		}
	}
}

func TestCrash_noticesASecretInWhateverForm(t *testing.T) {
	for _, text := range []string{
		"x not-a-secret-of-AKIA", "6e6f742d612d7365637265742d6f662d414b4941", `{"old":"bm90LWEtc2VjcmV0LW9mLUFLSUE="}`, "eG5vdC1hLXNlY3JldC1vZi1BS0lB",
	} {
		if leak([]byte(text)) == "" {
			t.Errorf("%s: not noticed", text)
		}
	}
	if what := leak([]byte("AKIAROTCRASH00000NEW [secret]")); what != "" {
		t.Errorf("no secret is taken for one: %s", what)
	}
}
