package journal_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/internal/journal"
)

func rotation(id string) journal.Run {
	r := sample(id, 0)
	r.Kind, r.Plan = journal.Rotate, ""
	r.Rotation = &journal.Rotation{
		User: "ci<&>é", UserID: "AIDAROT", Old: "AKIAOLD", Created: noon.AddDate(-1, 0, 0), Others: []string{"AKIAOTHER"}, Targets: []string{"vault"},
	}
	return r
}

// happened is an event that changed the old key by the action, or nothing if that is empty.
func happened(from, to, name string, action journal.Action) *journal.Happening {
	h := &journal.Happening{From: from, To: to, Name: name}
	if action != "" {
		h.Act = string(action) + " the old key"
		h.Changed = []journal.KeyChange{{Action: action, KeyID: "AKIAOLD", KeyCreated: noon.AddDate(-1, 0, 0), From: journal.Active}}
	}
	return h
}

func TestHappening_isReadBackAsItWasAndNothingElseIs(t *testing.T) {
	want := happened("deactivating", "quiet", "deactivated", journal.Deactivate)
	want.Changed = append(want.Changed, want.Changed[0])
	want.Changed[1].LastUsed = noon
	body := string(journal.RecordHappening(want))
	got, err := journal.ReadHappening(json.RawMessage(body))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("happening (-want +got):\n%s", diff)
	}
	for _, bad := range []string{
		``, `null`, `[]`, `{}`, body + `{}`, strings.Replace(body, `"to":"quiet"`, `"to":""`, 1), strings.Replace(body, `"event"`, `"secret"`, 1),
		strings.Replace(body, `"action":"deactivate"`, `"action":"create"`, 1), strings.Replace(body, `"from":"active"`, `"from":""`, 1),
		strings.Replace(body, `"key_id":"AKIAOLD"`, `"key_id":""`, 1), strings.Replace(body, `"last_used_at":null`, `"last_used_at":"0001-01-01T00:00:00.000000Z"`, 1),
	} {
		if got, err := journal.ReadHappening(json.RawMessage(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
}

func TestRecord_ofARotationIsReadBackAsItWas(t *testing.T) {
	want := rotation("rot-1")
	got, err := journal.ReadRecord(journal.Record(&want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	for name, edit := range map[string]func(r *journal.Run){
		"no subject":      func(r *journal.Run) { r.Rotation = nil },
		"steps":           func(r *journal.Run) { r.Steps = sample("x", 1).Steps },
		"another kind":    func(r *journal.Run) { r.Kind = journal.Apply },
		"no user id":      func(r *journal.Run) { r.Rotation.UserID = "" },
		"no key":          func(r *journal.Run) { r.Rotation.Old = "" },
		"no time of make": func(r *journal.Run) { r.Rotation.Created = time.Time{} },
	} {
		r := rotation("rot-1")
		edit(&r)
		if _, err := journal.ReadRecord(journal.Record(&r)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestAdmits_takesEventsInARotationThatIsUnderWayAndNowhereElse(t *testing.T) {
	event := journal.Entry{Run: "run-1", Kind: journal.Event}
	apply, rotate := sample("run-1", 1), rotation("run-1")
	if err := apply.Admits(&event); !errors.Is(err, journal.ErrOutOfPlace) {
		t.Errorf("an event of a plan's run: %v", err)
	}
	if err := rotate.Admits(&event); err != nil {
		t.Errorf("an event of a rotation: %v", err)
	}
	if err := rotate.Admits(&journal.Entry{Run: "run-1", Step: "step0", Kind: journal.Intent}); !errors.Is(err, journal.ErrOutOfPlace) {
		t.Errorf("a step of a rotation: %v", err)
	}
	rotate.EndedAt = noon
	if err := rotate.Admits(&event); !errors.Is(err, journal.ErrOutOfPlace) {
		t.Errorf("an event after the end: %v", err)
	}
}

func TestVerify_findsWhatCannotHaveHappenedInARotation(t *testing.T) {
	r, undo := rotation("run-1"), sample("run-2", 0)
	undo.Kind, undo.Undoes = journal.Undo, "run-1"
	begin := journal.Entry{Run: "run-1", Kind: journal.Begin, At: noon, Data: journal.Record(&r)}
	event := journal.Entry{Run: "run-1", Kind: journal.Event, Data: journal.RecordHappening(happened("quiet", "deleting", "quiet over", ""))}
	for name, entries := range map[string][]journal.Entry{
		"event before the begin": {event},
		"event after the end":    {begin, {Run: "run-1", Kind: journal.End}, event},
		"no happening":           {begin, {Run: "run-1", Kind: journal.Event, Data: json.RawMessage(`{}`)}},
		"undone":                 {begin, {Run: "run-2", Kind: journal.Begin, At: noon, Data: journal.Record(&undo)}},
	} {
		if _, err := journal.NewExport("1", noon, chained(entries...)).Verify(); err == nil {
			t.Errorf("%s: nothing was found", name)
		}
	}
}

func TestRead_knowsWhatARotationDidAndDoesNotTakeItForDead(t *testing.T) {
	r := rotation("rot-1")
	r.Events = []journal.Entry{
		{Seq: 2, Kind: journal.Event, At: noon, Data: journal.RecordHappening(happened("proving", "deactivating", "proven", ""))},
		{Seq: 3, Kind: journal.Event, At: noon.Add(time.Hour), Data: journal.RecordHappening(happened("deactivating", "quiet", "deactivated", journal.Deactivate))},
	}
	book := journal.Read([]journal.Run{r})
	if len(book.Dead) != 0 || book.Rotating["AIDAROT"] != "rot-1" {
		t.Errorf("dead %q, rotating %v", book.Dead, book.Rotating)
	}
	want := journal.Change{
		Run: "rot-1", State: journal.Inactive, At: noon.Add(time.Hour), Seq: 3,
		Step: journal.Step{
			Action: journal.Deactivate, User: "ci<&>é", UserID: "AIDAROT", KeyID: "AKIAOLD", KeyCreated: noon.AddDate(-1, 0, 0), From: journal.Active,
		},
	}
	if diff := cmp.Diff(map[string]journal.Change{"AKIAOLD": want}, book.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	r.EndedAt = noon
	if book := journal.Read([]journal.Run{r}); len(book.Rotating) != 0 || len(book.Changes) != 1 {
		t.Errorf("a rotation that is over: %+v", book)
	}
}
