package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

func ledgerOf(d *store.DB) *store.Ledger {
	return d.Ledger(store.Origin{Version: "1.2.3", Host: "ops-1", PID: 4711})
}

// rotating is a rotation of a user of that name, which begins some minutes after the first run.
func rotating(id, user string, minutes int) rotate.Rotation {
	at := start.Add(time.Duration(minutes) * time.Minute)
	return rotate.Rotation{
		ID: id, State: rotate.Requested, Account: Account, Partition: "aws", User: user, UserID: "AIDA" + user,
		ARN: "arn:aws:iam::" + Account + ":user/" + user, Caller: "arn:aws:iam::" + Account + ":user/ops", Reason: "it is 91 days old",
		Terms: rotate.Terms{}.WithDefaults(), Old: rotate.KeyRecord{ID: "AKIAOLD" + user, Active: true, Created: start.AddDate(0, -3, 0)},
		StartedAt: at, ChangedAt: at, EnteredAt: at,
	}
}

// full has something in every field of a rotation.
func full(id, user string) rotate.Rotation {
	r := rotating(id, user, 0)
	r.State, r.Resume, r.Why, r.Intent, r.IntentAt = rotate.Held, rotate.Probing, `no answer: "<é>"`, rotate.Probe, start.Add(time.Second)
	r.Plan, r.Terms.Mode, r.Terms.Unproven = "sha256:ab", rotate.Before, true
	r.Old.LastUsed = start.Add(-time.Hour)
	r.New = rotate.KeyRecord{ID: "AKIANEW" + user, Active: true, Created: start, LastUsed: start.Add(time.Minute)}
	r.Others = []rotate.KeyRecord{{ID: "AKIATHIRD", Created: start.AddDate(-1, 0, 0)}}
	r.Before, r.Sealed = []string{r.Old.ID, "AKIATHIRD"}, []byte("sealed \x00\xff bytes")
	r.Targets = []rotate.Target{
		{Name: "vault", Kind: "secretsmanager", Where: "eu-west-1", State: rotate.Holds, Receipt: []byte{0, 255}, Tries: 2},
		{Name: "file", Kind: "file", State: rotate.Put, Why: "slow"},
	}
	r.NextAt, r.Tries, r.Answers, r.ProbedAt = start.Add(time.Minute), 3, 2, start.Add(2*time.Minute)
	r.ProvenBy, r.ConfirmedBy, r.ApprovedBy = "a use", "arn:bob", "arn:ana"
	r.DeactivatedAt, r.DueAt, r.Gap = start.Add(time.Hour), start.AddDate(0, 0, 9), 36*time.Hour+time.Millisecond
	return r
}

// event leads to where the rotation stands.
func event(r *rotate.Rotation, from rotate.State, name rotate.EventName) rotate.Event {
	return rotate.Event{At: r.StartedAt.Add(time.Duration(r.Version) * time.Minute), From: from, To: r.State, Name: name, Note: "a note"}
}

func beginRotation(t testing.TB, l *store.Ledger, r *rotate.Rotation) {
	t.Helper()
	if err := l.Begin(t.Context(), r, event(r, r.State, "")); err != nil {
		t.Fatal(err)
	}
}

// move saves the rotation in the state that the event leads to.
func move(t testing.TB, l *store.Ledger, r *rotate.Rotation, to rotate.State, name rotate.EventName) {
	t.Helper()
	from := r.State
	if r.State = to; !to.Waiting() {
		r.Resume = ""
	}
	if err := l.Save(t.Context(), r, event(r, from, name)); err != nil {
		t.Fatalf("%s to %s: %v", from, to, err)
	}
}

func keepsRotations(t *testing.T, d *store.DB) {
	l := ledgerOf(d)
	want := full("rot-0001", "ci")
	first := event(&want, "", "")
	want.NextAt = want.NextAt.Add(789 * time.Nanosecond).In(time.FixedZone("elsewhere", 7200)) // stored in UTC, to the microsecond
	if err := l.Begin(t.Context(), &want, first); err != nil || want.Version != 1 {
		t.Fatalf("begin: version %d, %v", want.Version, err)
	}
	want.NextAt = start.Add(time.Minute)
	same := func(ask string) *rotate.Rotation {
		t.Helper()
		got, err := l.Load(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("rotation %q (-want +got):\n%s", ask, diff)
		}
		return got
	}
	got := same("rot-0001")
	want.State, want.Resume, want.Why, want.Sealed, want.New, want.NextAt = rotate.BackingOut, "", "", nil, rotate.KeyRecord{}, time.Time{}
	want.Others, want.Targets, want.Before, want.Version = nil, nil, nil, 1
	second := event(&want, rotate.Held, rotate.Cancel)
	intent := rotate.Event{At: start, From: rotate.BackingOut, To: rotate.BackingOut, Act: rotate.DropNew}
	if err := l.Save(t.Context(), &want, second, intent); err != nil || want.Version != 2 {
		t.Fatalf("save: version %d, %v", want.Version, err)
	}
	same("rot-")
	events, err := l.Events(t.Context(), "rot-0001")
	first.From = rotate.Held
	if diff := cmp.Diff([]rotate.Event{first, second, intent}, events); err != nil || diff != "" {
		t.Errorf("events, %v (-want +got):\n%s", err, diff)
	}
	if err := l.Save(t.Context(), got); !errors.Is(err, rotate.ErrLost) || got.Version != 1 {
		t.Errorf("save of an older version: version %d, %v", got.Version, err)
	}
	run, err := d.Run(t.Context(), "rot-0001")
	if err != nil {
		t.Fatal(err)
	}
	about := &journal.Rotation{User: "ci", UserID: "AIDAci", Old: "AKIAOLDci", Created: want.Old.Created, Others: []string{"AKIATHIRD"}, Targets: []string{"vault", "file"}}
	wantRun := &journal.Run{
		ID: "rot-0001", Kind: journal.Rotate, Account: Account, Caller: want.Caller, Plan: "sha256:ab", Rotation: about,
		Version: "1.2.3", Host: "ops-1", PID: 4711, StartedAt: start,
	}
	if diff := cmp.Diff(wantRun, run, cmpopts.IgnoreFields(journal.Run{}, "Events")); diff != "" || len(run.Events) != 3 {
		t.Errorf("its run, with %d events (-want +got):\n%s", len(run.Events), diff)
	}
}

func refusesRotations(t *testing.T, d *store.DB) {
	l := ledgerOf(d)
	r := rotating("rot-0001", "ci", 0)
	beginRotation(t, l, &r)
	refuse := func(why string, edit func(r *rotate.Rotation), is error, events ...rotate.Event) {
		t.Helper()
		other := r
		edit(&other)
		version := other.Version
		err := l.Save(t.Context(), &other, events...)
		if err == nil || is != nil && !errors.Is(err, is) || other.Version != version {
			t.Errorf("%s: got %v, want %v", why, err, is)
		}
		if got, err := l.Load(t.Context(), r.ID); err != nil || got.Version != 1 {
			t.Errorf("%s: something was written: %+v, %v", why, got, err)
		}
	}
	at := rotate.Event{At: start, From: rotate.Requested, To: rotate.Creating, Name: rotate.SlotFree}
	of := func(edit func(e *rotate.Event)) rotate.Event { e := at; edit(&e); return e }
	creating := func(r *rotate.Rotation) { r.State = rotate.Creating }
	refuse("another version", func(r *rotate.Rotation) { r.Version = 2 }, rotate.ErrLost)
	refuse("an unknown rotation", func(r *rotate.Rotation) { r.ID = "rot-0002" }, rotate.ErrNoRotation)
	refuse("a prefix", func(r *rotate.Rotation) { r.ID = "rot-" }, rotate.ErrNoRotation)
	refuse("a state without event", creating, nil)
	refuse("an event from elsewhere", creating, nil, of(func(e *rotate.Event) { e.From = rotate.Probing }))
	refuse("an event to elsewhere", creating, nil, of(func(e *rotate.Event) { e.To = rotate.Probing }))
	refuse("events that do not meet", creating, nil, of(func(e *rotate.Event) { e.To = rotate.Held }), at)
	refuse("an unknown event", creating, nil, of(func(e *rotate.Event) { e.Name = "x" }))
	refuse("an unknown act", creating, nil, of(func(e *rotate.Event) { e.Act = "x" }))
	refuse("an event without instant", creating, nil, of(func(e *rotate.Event) { e.At = time.Time{} }))
	refuse("an unknown state", func(r *rotate.Rotation) { r.State = "x" }, nil)
	refuse("an unknown intent", func(r *rotate.Rotation) { r.Intent = "x" }, nil)
	refuse("an unknown mode", func(r *rotate.Rotation) { r.Terms.Mode = "x" }, nil)
	refuse("a target in an unknown state", func(r *rotate.Rotation) { r.Targets = []rotate.Target{{}} }, nil)
	refuse("held for good", func(r *rotate.Rotation) { r.State = rotate.Held }, nil, of(func(e *rotate.Event) { e.To = rotate.Held }))
	refuse("another user", func(r *rotate.Rotation) { r.User = "x" }, nil)
	refuse("another user id", func(r *rotate.Rotation) { r.UserID = "x" }, nil)
	refuse("another account", func(r *rotate.Rotation) { r.Account = "444455556666" }, nil)
	refuse("another start", func(r *rotate.Rotation) { r.StartedAt = start.Add(time.Second) }, nil)
	for _, s := range rotate.States() {
		if s == rotate.Proving || s == rotate.Deactivating || s == rotate.Quiet || s == rotate.Deleting || s.Over() {
			sealed := func(r *rotate.Rotation) { r.State, r.Sealed = s, []byte("x") }
			refuse("a sealed secret when "+string(s), sealed, nil, of(func(e *rotate.Event) { e.To = s }))
		}
	}
	for name, edit := range map[string]func(r *rotate.Rotation){
		"an id that is taken":  func(r *rotate.Rotation) { r.ID = "rot-0001" },
		"no id":                func(r *rotate.Rotation) { r.ID = "" },
		"an end":               func(r *rotate.Rotation) { r.State = rotate.Done },
		"a version":            func(r *rotate.Rotation) { r.Version = 2 },
		"no user id":           func(r *rotate.Rotation) { r.UserID = "" },
		"no key":               func(r *rotate.Rotation) { r.Old.ID = "" },
		"an account of words":  func(r *rotate.Rotation) { r.Account = "production" },
		"no start":             func(r *rotate.Rotation) { r.StartedAt = time.Time{} },
		"a waiting in nothing": func(r *rotate.Rotation) { r.State = rotate.Blocked },
	} {
		other := rotating("rot-0003", "other", 1)
		edit(&other)
		if err := l.Begin(t.Context(), &other, event(&other, other.State, "")); err == nil {
			t.Errorf("a rotation with %s was begun", name)
		}
	}
	for _, kind := range []journal.EntryKind{journal.End, journal.Event} { // past the ledger
		if _, err := d.Append(t.Context(), journal.Entry{Run: r.ID, Kind: kind, At: start}); !errors.Is(err, journal.ErrOutOfPlace) {
			t.Errorf("append %s: %v", kind, err)
		}
	}
	undo := apply("run-undo", 1, 0)
	undo.Kind, undo.Undoes = journal.Undo, r.ID
	if err := d.Begin(t.Context(), undo); err == nil {
		t.Error("a rotation was undone")
	}
}

func oneRotationAUser(t *testing.T, d *store.DB) {
	l := ledgerOf(d)
	const many = 8
	errs := make([]error, many)
	var wait sync.WaitGroup
	for i := range many {
		wait.Go(func() {
			r := rotating(fmt.Sprintf("rot-%04d", i), "ci", i)
			errs[i] = l.Begin(t.Context(), &r, event(&r, r.State, ""))
		})
	}
	wait.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, rotate.ErrLive) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Fatalf("%d rotations of one user were begun", won)
	}
	elsewhere := rotating("rot-else", "ci", 0)
	elsewhere.Account = "444455556666"
	beginRotation(t, l, &elsewhere)
	again := rotating("rot-made", "ci", 0)
	again.UserID = "AIDAANEW" // the name is the same, the user is not
	beginRotation(t, l, &again)
	move(t, l, &again, rotate.Gone, rotate.UserGone)
	next := rotating("rot-next", "ci", 0)
	next.UserID = "AIDAANEW"
	beginRotation(t, l, &next)
	if err := l.Save(t.Context(), &again); err == nil {
		t.Error("a rotation that is over was saved")
	}
}

func listsRotations(t *testing.T, d *store.DB) {
	l := ledgerOf(d)
	next := []time.Duration{2 * time.Hour, -time.Hour, 0, time.Microsecond, -2 * time.Hour}
	for i, after := range next {
		r := rotating(fmt.Sprintf("rot-%d", i), fmt.Sprint("u", i), -i) // clocks may step back
		if r.NextAt = start.Add(after); i == 4 {
			r.NextAt = time.Time{}
		}
		if i == 3 {
			r.Account = "444455556666"
		}
		beginRotation(t, l, &r)
	}
	over := rotating("rot-over", "u9", 9)
	beginRotation(t, l, &over)
	move(t, l, &over, rotate.BackingOut, rotate.Cancel)
	over.NextAt = start
	move(t, l, &over, rotate.Cancelled, rotate.BackedOut)
	if got, err := l.Load(t.Context(), over.ID); err != nil || !got.NextAt.IsZero() || !over.NextAt.IsZero() {
		t.Errorf("over: %+v, %v", got, err)
	}
	for _, test := range []struct {
		account string
		after   time.Duration
		limit   int
		want    string
	}{
		{"", 0, 0, "rot-4 rot-1 rot-2"},
		{"", 0, 2, "rot-4 rot-1"},
		{"", time.Microsecond, 0, "rot-4 rot-1 rot-2 rot-3"},
		{"", 9 * time.Hour, 0, "rot-4 rot-1 rot-2 rot-3 rot-0"},
		{Account, 9 * time.Hour, 0, "rot-4 rot-1 rot-2 rot-0"},
		{"444455556666", 9 * time.Hour, 5, "rot-3"},
		{"000000000000", 9 * time.Hour, 5, ""},
		{"", -24 * time.Hour, 5, "rot-4"},
	} {
		ids, err := l.Due(t.Context(), test.account, start.Add(test.after), test.limit)
		if got := strings.Join(ids, " "); err != nil || got != test.want {
			t.Errorf("due of %q after %s, at most %d: %q, %v, want %q", test.account, test.after, test.limit, got, err, test.want)
		}
	}
	if waiting, err := l.Waiting(t.Context()); err != nil || len(waiting) != 0 {
		t.Errorf("nothing waits for a person: %+v, %v", waiting, err)
	}
	for _, test := range []struct {
		f    store.RotationFilter
		want string
	}{
		{store.RotationFilter{}, "rot-over rot-4 rot-3 rot-2 rot-1 rot-0"},
		{store.RotationFilter{Live: true}, "rot-4 rot-3 rot-2 rot-1 rot-0"},
		{store.RotationFilter{Account: Account, Live: true, Limit: 2}, "rot-4 rot-2"},
		{store.RotationFilter{Account: "444455556666"}, "rot-3"},
		{store.RotationFilter{User: "u2"}, "rot-2"},
		{store.RotationFilter{User: "u"}, ""},
		{store.RotationFilter{State: rotate.Cancelled}, "rot-over"},
		{store.RotationFilter{State: rotate.Cancelled, Live: true}, ""},
		{store.RotationFilter{State: rotate.Requested, Limit: 1}, "rot-4"},
		{store.RotationFilter{Before: "rot-4"}, "rot-3 rot-2 rot-1 rot-0"},
		{store.RotationFilter{Before: "rot-over", Limit: 2}, "rot-4 rot-3"},
		{store.RotationFilter{Before: "rot-3", Account: Account, Limit: 2}, "rot-2 rot-1"},
		{store.RotationFilter{Before: "rot-0"}, ""},
		{store.RotationFilter{Before: "rot-"}, ""},
	} {
		found, err := l.Rotations(t.Context(), test.f)
		var ids []string
		for i := range found {
			ids = append(ids, found[i].ID)
		}
		if got := strings.Join(ids, " "); err != nil || got != test.want {
			t.Errorf("rotations of %+v: %q, %v, want %q", test.f, got, err, test.want)
		}
	}
	for _, ask := range []string{"", "rot", "nonsense", "ROT-0", "rot-00", "rot-\xff", "rot-0\x00"} {
		if got, err := l.Load(t.Context(), ask); !errors.Is(err, rotate.ErrNoRotation) {
			t.Errorf("load %q: %+v, %v", ask, got, err)
		}
	}
	var input *journal.InputError
	if _, err := l.Load(t.Context(), "rot-"); !errors.As(err, &input) {
		t.Errorf("an ambiguous prefix: %v", err)
	}
	if got, err := l.Load(t.Context(), "rot-o"); err != nil || got.ID != "rot-over" {
		t.Errorf("a prefix: %+v, %v", got, err)
	}
	held := rotating("rot-held", "u8", 8)
	beginRotation(t, l, &held)
	held.Resume, held.Why = rotate.Requested, "a permission is missing"
	move(t, l, &held, rotate.Blocked, rotate.Lacking)
	if waiting, err := l.Waiting(t.Context()); err != nil || len(waiting) != 1 || waiting[0].ID != "rot-held" {
		t.Errorf("waiting: %+v, %v", waiting, err)
	}
	if _, err := l.Events(t.Context(), "rot-x"); !errors.Is(err, rotate.ErrNoRotation) {
		t.Errorf("events of none: %v", err)
	}
}

func rotationsInTheBook(t *testing.T, d *store.DB) {
	l := ledgerOf(d)
	step := func(r *rotate.Rotation, edges ...any) {
		t.Helper()
		beginRotation(t, l, r)
		for i := 0; i < len(edges); i += 2 {
			move(t, l, r, edges[i].(rotate.State), edges[i+1].(rotate.EventName))
		}
	}
	one, two, three := rotating("rot-1", "one", 0), rotating("rot-2", "two", 1), rotating("rot-3", "three", 2)
	two.Old.LastUsed = start.Add(-time.Hour)
	three.New = rotate.KeyRecord{ID: "AKIANEW", Active: true, Created: start}
	path := []any{rotate.Creating, rotate.SlotFree, rotate.Delivering, rotate.Made, rotate.Probing, rotate.AllHold, rotate.Proving, rotate.Answered, rotate.Deactivating, rotate.Proven, rotate.Quiet, rotate.WentInert}
	step(&one, path...)
	step(&two, append(path[:len(path):len(path)], rotate.Deleting, rotate.QuietOver, rotate.Done, rotate.WentForGood)...)
	step(&three, append(path[:len(path):len(path)], rotate.BackingOut, rotate.Cancel, rotate.Cancelled, rotate.BackedOut)...)
	book, err := d.Book(t.Context(), Account)
	if err != nil {
		t.Fatal(err)
	}
	if len(book.Dead) != 0 || len(book.Unresolved) != 0 || len(book.Rotating) != 1 || book.Rotating["AIDAone"] != "rot-1" {
		t.Errorf("book: %+v", book)
	}
	type change struct {
		Run    string
		Action journal.Action
		State  journal.State
		UserID string
		Then   journal.Action
	}
	got := map[string]change{}
	for id, c := range book.Changes {
		got[id] = change{c.Run, c.Step.Action, c.State, c.Step.UserID, c.Step.Then}
	}
	want := map[string]change{
		"AKIAOLDone":   {"rot-1", journal.Deactivate, journal.Inactive, "AIDAone", ""},
		"AKIAOLDtwo":   {"rot-2", journal.Delete, journal.Absent, "AIDAtwo", ""},
		"AKIAOLDthree": {"rot-3", journal.Activate, journal.Active, "AIDAthree", ""},
		"AKIANEW":      {"rot-3", journal.Delete, journal.Absent, "AIDAthree", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if c := book.Changes["AKIAOLDtwo"]; !c.Step.LastUsed.Equal(two.Old.LastUsed) || !c.Step.KeyCreated.Equal(two.Old.Created) {
		t.Errorf("change: %+v", c)
	}
	run, err := d.Run(t.Context(), "rot-2")
	if err != nil || run.EndedAt.IsZero() || run.EndNote != string(rotate.Done) || len(run.Events) != 9 {
		t.Errorf("run: %+v, %v", run, err)
	}
	entries, err := d.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := journal.NewExport("1.2.3", start, entries).Verify(); err != nil || sum.Runs != 3 {
		t.Errorf("export: %+v, %v", sum, err)
	}
}
