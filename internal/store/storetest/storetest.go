// Package storetest is the definition of the store: what every database that keeps the journal must do.
//
// Run is the part within one process, Processes the part that starts others and kills them. SQLite and PostgreSQL run
// the same two. It knows nothing of SQL: what a database adds of its own, its
// own tests show.
package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/notice/noticetest"
	"github.com/keyreeve/keyreeve/internal/store"
)

// Account is the account that the suite works on.
const Account = "111122223333"

// start is the instant at which its first run begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// Run runs the suite. open gives an empty store that the test's end closes.
func Run(t *testing.T, open func(t *testing.T) *store.DB) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, d *store.DB)
	}{
		{"is empty at first", emptyAtFirst},
		{"gives a run back as it was begun", roundTrip},
		{"takes what a run admits and refuses the rest", admits},
		{"refuses runs that make no sense", refusesRuns},
		{"takes the verification of an unresolved step after the end", lateVerification},
		{"finds runs by id and prefix", findsRuns},
		{"lists runs newest first", listsRuns},
		{"keeps the book of an account", keepsBook},
		{"tells changes apart by the chain, not by clocks", keepsOrder},
		{"lists runs that died until they are ended", listsDead},
		{"keeps any text", keepsText},
		{"writes nothing once the context has ended", endedContext},
		{"chains what many write at once", manyWriters},
		{"does as the rules of the journal say", asTheModel},
		{"locks one account for one run", locks},
		{"keeps rotations with their events", keepsRotations},
		{"refuses rotations that make no sense", refusesRotations},
		{"begins one rotation a user", oneRotationAUser},
		{"lets one of many save a version", savesRace},
		{"lists rotations and what is due", listsRotations},
		{"knows in the book what rotations did", rotationsInTheBook},
		{"remembers uses of keys", remembersUses},
		{"keeps requests and who decided", keepsRequests},
		{"keeps when verdicts opened and closed", keepsHistory},
		{"records an observation once", recordsOnce},
		{"keeps open what could not be judged", keepsUnseen},
		{"closes what was open in accounts that leave", accountsLeave},
		{"leaves alone accounts that another organisation lists, or none", accountsStay},
		{"counts what is open, also what could not be judged", countsWhatIsOpen},
		{"lists the history by any filter", listsHistory},
		{"knows the keys of open verdicts", knowsKeys},
		{"knows the tags that were read", knowsTags},
		{"draws trends", drawsTrends},
		{"forgets what is too old", prunes},
		{"lists notices with their subjects", noticesTold},
		{"lets many observe at once", manyObservers},
		{"counts what there is", countsAll},
		{"keeps what there is of tokens until they are revoked", keepsTokens},
		{"refuses tokens that make no sense", refusesTokens},
		{"lets many add and revoke tokens at once", manyTokens},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := open(t)
			test.run(t, d)
			if err := d.Check(t.Context()); err != nil {
				t.Errorf("check afterwards: %v", err)
			}
		})
	}
	t.Run("outbox", func(t *testing.T) {
		noticetest.Run(t, func(t *testing.T) notice.Outbox { return open(t).Outbox() })
	})
}

// apply is a run of that many steps that begins some minutes after the first.
func apply(id string, minutes, steps int) journal.Run {
	r := journal.Run{
		ID: id, Kind: journal.Apply, Account: Account, Caller: "arn:aws:iam::" + Account + ":user/ops", Plan: "sha256:ab",
		Version: "1.2.3", Host: "ops-1", PID: 4711, StartedAt: start.Add(time.Duration(minutes) * time.Minute),
	}
	for i := range steps {
		r.Steps = append(r.Steps, journal.Step{
			ID: fmt.Sprintf("step%04d", i), Action: journal.Deactivate, User: fmt.Sprintf("user-%d", i), UserID: fmt.Sprintf("AIDA%d", i),
			KeyID: fmt.Sprintf("AKIAEXAMPLE%05d", i), KeyCreated: start.AddDate(-1, 0, i), LastUsed: start.AddDate(0, 0, -i-1), From: journal.Active,
			Because: []string{"0123456789abcdef"}, Rules: []string{"key-unused", "key-age"}, Then: journal.Delete,
		})
	}
	return r
}

func begin(t testing.TB, d *store.DB, r journal.Run) {
	t.Helper()
	if err := d.Begin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// entry of the step, some seconds after the run's start.
func entry(r journal.Run, step string, seconds int, kind journal.EntryKind, result journal.Result) journal.Entry {
	return journal.Entry{Run: r.ID, Step: step, Kind: kind, Result: result, At: r.StartedAt.Add(time.Duration(seconds) * time.Second), Note: "a note"}
}

func add(t testing.TB, d *store.DB, e journal.Entry) journal.Entry {
	t.Helper()
	got, err := d.Append(t.Context(), e)
	if err != nil {
		t.Fatalf("append %s %s of step %q: %v", e.Kind, e.Result, e.Step, err)
	}
	return got
}

// done carries out the step.
func done(t testing.TB, d *store.DB, r journal.Run, step string, seconds int) {
	t.Helper()
	add(t, d, entry(r, step, seconds, journal.Intent, ""))
	add(t, d, entry(r, step, seconds+1, journal.Outcome, journal.OK))
	add(t, d, entry(r, step, seconds+2, journal.Verification, journal.Shows))
}

func emptyAtFirst(t *testing.T, d *store.DB) {
	runs, err := d.Runs(t.Context(), store.RunFilter{})
	if err != nil || len(runs) != 0 {
		t.Errorf("runs of an empty store: %v, %v", runs, err)
	}
	entries, err := d.Entries(t.Context())
	if err != nil || len(entries) != 0 {
		t.Errorf("entries of an empty store: %v, %v", entries, err)
	}
	book, err := d.Book(t.Context(), Account)
	if err != nil || len(book.Changes) != 0 || len(book.Unresolved) != 0 || len(book.Dead) != 0 {
		t.Errorf("book of an empty store: %+v, %v", book, err)
	}
}

func roundTrip(t *testing.T, d *store.DB) {
	want := apply("20260301T120000Z-1a2b", 0, 3)
	want.StartedAt = want.StartedAt.In(time.FixedZone("elsewhere", 7200)).Add(789 * time.Nanosecond) // stored in UTC, to the microsecond
	want.Steps[1].Because, want.Steps[1].Rules, want.Steps[1].Then = nil, []string{}, ""
	want.Steps[2].Action, want.Steps[2].From = journal.Delete, journal.Inactive
	want.Steps[1].LastUsed = time.Time{} // never
	begin(t, d, want)
	want.StartedAt = start
	first := add(t, d, entry(want, "step0000", 1, journal.Intent, ""))
	second := add(t, d, entry(want, "step0002", 2, journal.Left, journal.Stale))
	if first.Seq != 2 || second.Seq != 3 || second.Prev != first.Hash || second.Hash != second.Sum() {
		t.Errorf("entries as chained: %+v then %+v", first, second)
	}
	want.Steps[0].Entries = []journal.Entry{first}
	want.Steps[2].Entries = []journal.Entry{second}
	got, err := d.Run(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	end := add(t, d, entry(want, "", 9, journal.End, ""))
	if got, err = d.Run(t.Context(), want.ID); err != nil || !got.EndedAt.Equal(end.At) || got.EndNote != end.Note || end.Note == "" {
		t.Errorf("ended run: %+v, %v", got, err)
	}
	entries, err := d.Entries(t.Context())
	if err != nil || len(entries) != 4 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if string(entries[0].Data) != string(journal.Record(&want)) {
		t.Errorf("data of begin: %s", entries[0].Data)
	}
	export := journal.NewExport("1.2.3", start, entries)
	if sum, err := export.Verify(); err != nil || sum.Runs != 1 || sum.Entries != 4 {
		t.Errorf("export: %+v, %v", sum, err)
	}
}

func admits(t *testing.T, d *store.DB) {
	r := apply("run-admits", 0, 6)
	begin(t, d, r)
	refuse := func(why string, e journal.Entry, is error) {
		t.Helper()
		before, err := d.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Append(t.Context(), e)
		if err == nil || is != nil && !errors.Is(err, is) {
			t.Errorf("%s: got %v, want %v", why, err, is)
		}
		if after, err := d.Entries(t.Context()); err != nil || len(after) != len(before) {
			t.Errorf("%s: %d entries became %d, %v", why, len(before), len(after), err)
		}
	}
	refuse("unknown run", entry(apply("run-other", 0, 1), "step0000", 1, journal.Intent, ""), journal.ErrNoRun)
	refuse("prefix of a run", entry(apply("run-adm", 0, 1), "step0000", 1, journal.Intent, ""), journal.ErrNoRun)
	refuse("unknown step", entry(r, "step9999", 1, journal.Intent, ""), journal.ErrOutOfPlace)
	refuse("step without id", entry(r, "", 1, journal.Intent, ""), journal.ErrOutOfPlace)
	refuse("second begin", entry(r, "", 1, journal.Begin, ""), journal.ErrOutOfPlace)
	refuse("end of a step", entry(r, "step0000", 1, journal.End, ""), nil)
	refuse("outcome before intent", entry(r, "step0000", 1, journal.Outcome, journal.OK), journal.ErrOutOfPlace)
	refuse("verification before intent", entry(r, "step0000", 1, journal.Verification, journal.Shows), journal.ErrOutOfPlace)
	refuse("unknown kind", entry(r, "step0000", 1, "nonsense", ""), journal.ErrOutOfPlace)
	refuse("result of another kind", entry(r, "step0000", 1, journal.Left, journal.Shows), nil)
	refuse("no instant", journal.Entry{Run: r.ID, Step: "step0000", Kind: journal.Intent}, nil)
	data := entry(r, "step0000", 1, journal.Intent, "")
	data.Data = []byte(`{}`)
	refuse("data", data, nil)

	add(t, d, entry(r, "step0000", 1, journal.Intent, ""))
	refuse("intent of an unresolved step", entry(r, "step0000", 2, journal.Intent, ""), journal.ErrOutOfPlace)
	refuse("left after intent", entry(r, "step0000", 2, journal.Left, journal.Stale), journal.ErrOutOfPlace)
	add(t, d, entry(r, "step0000", 2, journal.Outcome, journal.Unclear))
	refuse("second outcome", entry(r, "step0000", 3, journal.Outcome, journal.OK), journal.ErrOutOfPlace)
	refuse("intent after an unclear outcome", entry(r, "step0000", 3, journal.Intent, ""), journal.ErrOutOfPlace)
	add(t, d, entry(r, "step0000", 3, journal.Verification, journal.Unseen))
	refuse("intent after an unseen change", entry(r, "step0000", 4, journal.Intent, ""), journal.ErrOutOfPlace)
	add(t, d, entry(r, "step0000", 4, journal.Verification, journal.Shows))
	refuse("intent of a step that is done", entry(r, "step0000", 5, journal.Intent, ""), journal.ErrOutOfPlace)

	add(t, d, entry(r, "step0001", 1, journal.Intent, ""))
	add(t, d, entry(r, "step0001", 2, journal.Outcome, journal.Refused))
	done(t, d, r, "step0001", 3) // known to have changed nothing: it may be tried again
	for i, result := range journal.Left.Results() {
		add(t, d, entry(r, fmt.Sprintf("step%04d", 2+i%4), 1, journal.Left, result))
	}
	add(t, d, entry(r, "", 9, journal.End, ""))
	refuse("second end", entry(r, "", 10, journal.End, ""), journal.ErrOutOfPlace)
	refuse("intent after the end", entry(r, "step0002", 10, journal.Intent, ""), journal.ErrOutOfPlace)
	refuse("left after the end", entry(r, "step0002", 10, journal.Left, journal.Stale), journal.ErrOutOfPlace)
	refuse("verification of a done step after the end", entry(r, "step0000", 10, journal.Verification, journal.Unmoved), journal.ErrOutOfPlace)
}

func refusesRuns(t *testing.T, d *store.DB) {
	begin(t, d, apply("run-first", 0, 1))
	for _, test := range []struct {
		why  string
		edit func(r *journal.Run)
	}{
		{"an id that is taken", func(r *journal.Run) { r.ID = "run-first" }},
		{"no id", func(r *journal.Run) { r.ID = "" }},
		{"an id with a blank", func(r *journal.Run) { r.ID = "run second" }},
		{"an unknown kind", func(r *journal.Run) { r.Kind = "nonsense" }},
		{"an undo of nothing", func(r *journal.Run) { r.Kind = journal.Undo }},
		{"an undo of a run that is not on record", func(r *journal.Run) { r.Kind, r.Undoes = journal.Undo, "run-third" }},
		{"an undo of itself", func(r *journal.Run) { r.Kind, r.Undoes = journal.Undo, r.ID }},
		{"an apply that undoes", func(r *journal.Run) { r.Undoes = "run-first" }},
		{"an account of letters", func(r *journal.Run) { r.Account = "11112222333x" }},
		{"no start", func(r *journal.Run) { r.StartedAt = time.Time{} }},
		{"an end", func(r *journal.Run) { r.EndedAt = start }},
		{"a step without id", func(r *journal.Run) { r.Steps[1].ID = "" }},
		{"two steps of one id", func(r *journal.Run) { r.Steps[1].ID = r.Steps[0].ID }},
		{"an unknown action", func(r *journal.Run) { r.Steps[0].Action = "rotate" }},
		{"an unknown state", func(r *journal.Run) { r.Steps[0].From = "" }},
		{"an unknown follow-up", func(r *journal.Run) { r.Steps[0].Then = journal.Activate }},
		{"a step without user", func(r *journal.Run) { r.Steps[0].User = "" }},
		{"a step without user id", func(r *journal.Run) { r.Steps[0].UserID = "" }},
		{"a step without key", func(r *journal.Run) { r.Steps[0].KeyID = "" }},
		{"a key that was never made", func(r *journal.Run) { r.Steps[0].KeyCreated = time.Time{} }},
		{"entries", func(r *journal.Run) { r.Steps[0].Entries = []journal.Entry{{}} }},
	} {
		r := apply("run-second", 0, 2)
		test.edit(&r)
		if err := d.Begin(t.Context(), r); err == nil {
			t.Errorf("a run with %s was begun", test.why)
		}
	}
	if entries, err := d.Entries(t.Context()); err != nil || len(entries) != 1 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	undo := apply("run-second", 1, 1)
	undo.Kind, undo.Undoes = journal.Undo, "run-first"
	begin(t, d, undo)
	again := apply("run-third", 2, 0)
	again.Kind, again.Undoes = journal.Undo, "run-second"
	begin(t, d, again)
}

func lateVerification(t *testing.T, d *store.DB) {
	r := apply("run-late", 0, 2)
	begin(t, d, r)
	add(t, d, entry(r, "step0000", 1, journal.Intent, ""))
	add(t, d, entry(r, "", 2, journal.End, ""))
	if _, err := d.Append(t.Context(), entry(r, "step0001", 3, journal.Verification, journal.Shows)); !errors.Is(err, journal.ErrOutOfPlace) {
		t.Errorf("verification of a step that was never tried: %v", err)
	}
	add(t, d, entry(r, "step0000", 3, journal.Verification, journal.Unseen))
	add(t, d, entry(r, "step0000", 4, journal.Verification, journal.Shows))
	got, err := d.Run(t.Context(), r.ID)
	if err != nil || got.Steps[0].Status() != journal.StatusDone || !got.EndedAt.Equal(r.StartedAt.Add(2*time.Second)) {
		t.Errorf("run: %+v, %v", got, err)
	}
}

func findsRuns(t *testing.T, d *store.DB) {
	for i, id := range []string{"aaaa1", "aaaa11", "bbbb2", "cc", "dd%_x", "ééééé"} {
		begin(t, d, apply(id, i, 1))
	}
	for _, test := range []struct{ ask, want string }{
		{"aaaa1", "aaaa1"}, // the whole id wins over what begins with it
		{"aaaa11", "aaaa11"},
		{"bbbb", "bbbb2"},
		{"cc", "cc"},
		{"dd%_", "dd%_x"},
		{"éééé", "ééééé"},
		{"bbb", ""},
		{"ééé", ""},
		{"BBBB", ""},
		{"%%%%", ""},
		{"bbbb22", ""},
		{"\xff\xff\xff\xff", ""},
		{"cc\x00", ""},
		{"", ""},
	} {
		got, err := d.Run(t.Context(), test.ask)
		switch {
		case test.want == "" && !errors.Is(err, journal.ErrNoRun):
			t.Errorf("run %q: got %v, %v, want no such run", test.ask, got, err)
		case test.want != "" && (err != nil || got.ID != test.want || len(got.Steps) != 1):
			t.Errorf("run %q: got %+v, %v, want %s", test.ask, got, err, test.want)
		}
	}
	var input *journal.InputError
	if _, err := d.Run(t.Context(), "aaaa"); !errors.As(err, &input) || input.Hint == "" {
		t.Errorf("an ambiguous prefix: %v", err)
	}
}

func listsRuns(t *testing.T, d *store.DB) {
	other := apply("run-c", -9, 2) // its clock is behind: the order is that of the journal
	other.Account = "444455556666"
	for _, r := range []journal.Run{apply("run-a", 0, 1), apply("run-b", 1, 0), other, apply("run-d", 2, 3)} {
		begin(t, d, r)
		for i := range r.Steps {
			done(t, d, r, r.Steps[i].ID, 10*i)
		}
	}
	for _, test := range []struct {
		f    store.RunFilter
		want []string
	}{
		{store.RunFilter{}, []string{"run-d", "run-c", "run-b", "run-a"}},
		{store.RunFilter{Limit: 2}, []string{"run-d", "run-c"}},
		{store.RunFilter{Account: Account}, []string{"run-d", "run-b", "run-a"}},
		{store.RunFilter{Account: Account, Limit: 2}, []string{"run-d", "run-b"}},
		{store.RunFilter{Account: "444455556666", Limit: 9}, []string{"run-c"}},
		{store.RunFilter{Account: "000000000000"}, nil},
		{store.RunFilter{Before: "run-c"}, []string{"run-b", "run-a"}},
		{store.RunFilter{Before: "run-d", Limit: 1}, []string{"run-c"}},
		{store.RunFilter{Account: Account, Before: "run-c", Limit: 1}, []string{"run-b"}}, // the place may be of another account
		{store.RunFilter{Before: "run-a"}, nil},
		{store.RunFilter{Before: "run-"}, nil},
		{store.RunFilter{Before: "none"}, nil},
	} {
		runs, err := d.Runs(t.Context(), test.f)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range runs {
			got = append(got, runs[i].ID)
			for j := range runs[i].Steps {
				if s := &runs[i].Steps[j]; s.Status() != journal.StatusDone || len(s.Entries) != 3 || s.ID != fmt.Sprintf("step%04d", j) {
					t.Errorf("runs of %+v: step %d of %s: %+v", test.f, j, runs[i].ID, s)
				}
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("runs of %+v (-want +got):\n%s", test.f, diff)
		}
	}
}
