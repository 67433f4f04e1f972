package journal_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/internal/journal"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// told is an entry of one step.
func told(kind journal.EntryKind, result journal.Result) journal.Entry {
	return journal.Entry{Run: "run-1", Step: "step", Kind: kind, Result: result, At: noon}
}

func TestStatus_followsFromTheEntries(t *testing.T) {
	var (
		intent  = told(journal.Intent, "")
		ok      = told(journal.Outcome, journal.OK)
		refused = told(journal.Outcome, journal.Refused)
		unclear = told(journal.Outcome, journal.Unclear)
		seen    = func(r journal.Result) journal.Entry { return told(journal.Verification, r) }
		left    = func(r journal.Result) journal.Entry { return told(journal.Left, r) }
	)
	type entries []journal.Entry
	for _, test := range []struct {
		name    string
		entries entries
		want    journal.Status
	}{
		{"nothing", nil, journal.StatusPlanned},
		{"intent", entries{intent}, journal.StatusUnresolved},
		{"accepted, not seen", entries{intent, ok}, journal.StatusUnresolved},
		{"no answer", entries{intent, unclear}, journal.StatusUnresolved},
		{"not to be read", entries{intent, ok, seen(journal.Unseen)}, journal.StatusUnresolved},
		{"refused", entries{intent, refused}, journal.StatusFailed},
		{"done", entries{intent, ok, seen(journal.Shows)}, journal.StatusDone},
		{"done without an answer", entries{intent, unclear, seen(journal.Shows)}, journal.StatusDone},
		{"died, found done", entries{intent, seen(journal.Shows)}, journal.StatusDone},
		{"died, found untouched", entries{intent, seen(journal.Unmoved)}, journal.StatusFailed},
		{"seen late", entries{intent, ok, seen(journal.Unseen), seen(journal.Shows)}, journal.StatusDone},
		{"somebody else", entries{intent, ok, seen(journal.Other)}, journal.StatusConflict},
		{"tried again", entries{intent, refused, intent}, journal.StatusUnresolved},
		{"stale", entries{left(journal.Stale)}, journal.StatusStale},
		{"unread", entries{left(journal.Unread)}, journal.StatusUnread},
		{"refused by a guard", entries{left(journal.Refused)}, journal.StatusRefused},
		{"skipped", entries{left(journal.Dependent)}, journal.StatusDependent},
		{"not due", entries{left(journal.NotDue)}, journal.StatusNotDue},
		{"done before", entries{left(journal.Already)}, journal.StatusAlready},
		{"not possible", entries{left(journal.Beyond)}, journal.StatusBeyond},
	} {
		s := journal.Step{Entries: test.entries}
		if got := s.Status(); got != test.want || !slices.Contains(journal.Statuses(), got) {
			t.Errorf("%s: status %q, want %q", test.name, got, test.want)
		}
	}
}

func TestLists_holdEachValueOnceAndEveryReasonHasItsStatus(t *testing.T) {
	unique(t, journal.Statuses())
	unique(t, journal.EntryKinds())
	unique(t, journal.RunKinds())
	unique(t, journal.Actions())
	unique(t, journal.States())
	seen := map[journal.Status]journal.Result{}
	for _, r := range journal.Left.Results() {
		s := journal.Step{Entries: []journal.Entry{told(journal.Left, r)}}
		if old, ok := seen[s.Status()]; ok {
			t.Errorf("left for %s and left for %s are both %s", old, r, s.Status())
		}
		seen[s.Status()] = r
	}
	for _, a := range journal.Actions() {
		if !slices.Contains(journal.States(), a.Leaves()) {
			t.Errorf("%s leaves a key %q", a, a.Leaves())
		}
	}
}

func unique[T comparable](t *testing.T, list []T) {
	t.Helper()
	for i, v := range list {
		if slices.Contains(list[:i], v) {
			t.Errorf("%v is listed twice in %v", v, list)
		}
	}
}

// draw is a run with entries that it admits, by chance.
func draw(t *rapid.T, id string) journal.Run {
	r := sample(id, 3)
	for i := range rapid.IntRange(0, 25).Draw(t, "entries") {
		e := journal.Entry{
			Run: id, Step: r.Steps[rapid.IntRange(0, 2).Draw(t, "step")].ID, At: noon.Add(time.Duration(i) * time.Second),
			Kind: rapid.SampledFrom([]journal.EntryKind{
				journal.Left, journal.Intent, journal.Intent, journal.Outcome, journal.Outcome, journal.Verification, journal.End,
			}).Draw(t, "kind"),
		}
		if results := e.Kind.Results(); results != nil {
			e.Result = rapid.SampledFrom(results).Draw(t, "result")
		}
		if r.Admits(&e) != nil {
			continue
		}
		if e.Kind == journal.End {
			r.EndedAt = e.At
			continue
		}
		for j := range r.Steps {
			if r.Steps[j].ID == e.Step {
				r.Steps[j].Entries = append(r.Steps[j].Entries, e)
			}
		}
	}
	return r
}

func sample(id string, steps int) journal.Run {
	r := journal.Run{
		ID: id, Kind: journal.Apply, Account: "111122223333", Caller: "arn:aws:iam::111122223333:user/ops", Plan: "sha256:ab",
		Version: "1.2.3", Host: "ops-1", PID: 4711, StartedAt: noon,
	}
	for i := range steps {
		r.Steps = append(r.Steps, journal.Step{
			ID: fmt.Sprintf("step%d", i), Action: journal.Deactivate, User: "u<&>é", UserID: "AIDA", KeyID: fmt.Sprintf("AKIA%d", i),
			KeyCreated: noon.AddDate(-1, 0, 0), LastUsed: noon.AddDate(0, 0, -i), From: journal.Active, Because: []string{"0123456789abcdef"}, Rules: []string{"key-age"},
			Then: journal.Delete,
		})
	}
	return r
}

func TestStatus_neverGuessesWhatBecameOfAnIntent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := draw(t, "run-1")
		for i := range r.Steps {
			s := &r.Steps[i]
			var tried, answered bool
			for _, e := range s.Entries { // since the last intent
				switch {
				case e.Kind == journal.Intent:
					tried, answered = true, false
				case e.Kind == journal.Outcome && e.Result == journal.Refused, e.Kind == journal.Verification && e.Result != journal.Unseen:
					answered = true
				}
			}
			if unresolved := s.Status() == journal.StatusUnresolved; unresolved != (tried && !answered) {
				t.Fatalf("tried %t, answered %t, status %s: %v", tried, answered, s.Status(), s.Entries)
			}
			last := s.Entries[max(0, len(s.Entries)-1):]
			if s.Status() == journal.StatusDone && (s.DoneAt().IsZero() || s.DoneAt().Before(s.IntendedAt())) {
				t.Fatalf("done at %s, intended at %s: %v", s.DoneAt(), s.IntendedAt(), last)
			}
			if s.Status() != journal.StatusDone && !s.DoneAt().IsZero() {
				t.Fatalf("%s, and done at %s", s.Status(), s.DoneAt())
			}
			if tried == s.IntendedAt().IsZero() {
				t.Fatalf("tried %t, intended at %s", tried, s.IntendedAt())
			}
		}
	})
}

func TestRead_listsEachStepAsItsStatusSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		runs := []journal.Run{draw(t, "run-1"), draw(t, "run-2")}
		var dead []string
		for i := range runs {
			if runs[i].EndedAt.IsZero() {
				dead = append(dead, runs[i].ID)
			}
		}
		for i := range runs[1].Steps {
			runs[1].Steps[i].KeyID = fmt.Sprintf("AKIB%d", i)
		}
		book := journal.Read(runs)
		done, open := 0, 0
		for i := range runs {
			for j := range runs[i].Steps {
				s := &runs[i].Steps[j]
				switch s.Status() {
				case journal.StatusDone:
					done++
					if c := book.Changes[s.KeyID]; c.Run != runs[i].ID || c.State != journal.Inactive || !c.At.Equal(s.DoneAt()) {
						t.Fatalf("change %+v of step %+v", c, s)
					}
				case journal.StatusUnresolved:
					open++
				default:
				}
			}
		}
		if !slices.Equal(book.Dead, dead) {
			t.Fatalf("dead %q, want %q", book.Dead, dead)
		}
		if len(book.Changes) != done || len(book.Unresolved) != open {
			t.Fatalf("%d changes and %d unresolved, want %d and %d", len(book.Changes), len(book.Unresolved), done, open)
		}
	})
}

// In each case the clock says something else than the chain about which change is the later one.
func TestRead_takesTheLaterChangeOfTheChainWhateverTheClocksSay(t *testing.T) {
	done := func(r *journal.Run, seq int64, at time.Time) journal.Run {
		r.Steps[0].Entries = []journal.Entry{
			{Seq: seq, Run: r.ID, Step: "step0", Kind: journal.Intent, At: at},
			{Seq: seq + 1, Run: r.ID, Step: "step0", Kind: journal.Outcome, Result: journal.OK, At: at},
			{Seq: seq + 2, Run: r.ID, Step: "step0", Kind: journal.Verification, Result: journal.Shows, At: at},
		}
		return *r
	}
	for name, test := range map[string]struct {
		applySeq, undoSeq int64
		undoAt            time.Time
		want              string
		state             journal.State
	}{
		"the clock steps back before the undo":          {2, 7, noon.Add(-time.Hour), "run-2", journal.Active},
		"two at the same instant":                       {2, 7, noon, "run-2", journal.Active},
		"the clock goes on":                             {2, 7, noon.Add(time.Hour), "run-2", journal.Active},
		"the step of the first run is found done later": {12, 7, noon.Add(time.Hour), "run-1", journal.Inactive},
	} {
		apply, undo := sample("run-1", 1), sample("run-2", 1)
		undo.Kind, undo.Undoes, undo.Steps[0].Action, undo.Steps[0].From = journal.Undo, "run-1", journal.Activate, journal.Inactive
		book := journal.Read([]journal.Run{done(&apply, test.applySeq, noon), done(&undo, test.undoSeq, test.undoAt)})
		c := book.Changes["AKIA0"]
		if c.Run != test.want || c.State != test.state || c.Undoing != (test.want == "run-2") || c.Seq != max(test.applySeq, test.undoSeq)+2 || c.Step.Entries != nil {
			t.Errorf("%s: change %+v, want that of %s", name, c, test.want)
		}
	}
}

func TestAdmits_takesNoIntentWhileAnotherOneIsOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := draw(t, "run-1")
		for i := range r.Steps {
			s := &r.Steps[i]
			e := journal.Entry{Run: r.ID, Step: s.ID, Kind: journal.Intent}
			err := r.Admits(&e)
			must := s.Status() == journal.StatusUnresolved || s.Status() == journal.StatusDone || !r.EndedAt.IsZero()
			if must && !errors.Is(err, journal.ErrOutOfPlace) {
				t.Fatalf("an intent after %v: %v", s.Entries, err)
			}
			e.Kind, e.Result = journal.Verification, journal.Shows
			if err := r.Admits(&e); s.Status() == journal.StatusUnresolved && err != nil {
				t.Fatalf("nobody may find out what became of %v: %v", s.Entries, err)
			}
		}
	})
}

func TestStamp_isReadBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := time.UnixMicro(rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(t, "a"))
		b := time.UnixMicro(rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(t, "b"))
		got, err := journal.ParseStamp(journal.Stamp(a))
		if err != nil || !got.Equal(a) {
			t.Fatalf("%s came back as %s, %v", a, got, err)
		}
		if (journal.Stamp(a) < journal.Stamp(b)) != a.Before(b) {
			t.Fatalf("%s and %s sort otherwise as texts", journal.Stamp(a), journal.Stamp(b))
		}
	})
	for _, text := range []string{
		"", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00.123Z", "2026-03-01T12:00:00.123456+00:00", "2026-03-01t12:00:00.123456Z",
		"2026-03-01T12:00:00.1234567Z", "2026-02-30T12:00:00.123456Z", "2026-03-01T12:00:00,123456Z", " 2026-03-01T12:00:00.123456Z",
	} {
		if got, err := journal.ParseStamp(text); err == nil {
			t.Errorf("%q is taken as %s", text, got)
		}
	}
}
