package journal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/internal/journal"
)

// story is a chain of two runs, the second of which undoes the first, and a rotation; each kind of entry is in it.
func story() []journal.Entry {
	first, second := sample("run-1", 2), sample("run-2", 1)
	second.Kind, second.Undoes = journal.Undo, "run-1"
	second.Steps[0].Action, second.Steps[0].From = journal.Activate, journal.Inactive
	second.StartedAt, second.Steps[0].LastUsed = noon.Add(time.Hour), time.Time{} // never
	third := rotation("run-3")
	third.StartedAt = noon.Add(2 * time.Hour)
	return chained(
		journal.Entry{Run: "run-1", Kind: journal.Begin, At: noon, Data: journal.Record(&first)},
		journal.Entry{Run: "run-1", Step: "step0", Kind: journal.Intent, Note: "deactivate <key> & wait"},
		journal.Entry{Run: "run-1", Step: "step0", Kind: journal.Outcome, Result: journal.OK, Note: "é \u2028 \""},
		journal.Entry{Run: "run-1", Step: "step0", Kind: journal.Verification, Result: journal.Unseen},
		journal.Entry{Run: "run-1", Step: "step1", Kind: journal.Left, Result: journal.Stale},
		journal.Entry{Run: "run-1", Kind: journal.End, Note: "it died; found by run run-2"},
		journal.Entry{Run: "run-1", Step: "step0", Kind: journal.Verification, Result: journal.Shows},
		journal.Entry{Run: "run-2", Kind: journal.Begin, At: noon.Add(time.Hour), Data: journal.Record(&second)},
		journal.Entry{Run: "run-2", Step: "step0", Kind: journal.Intent},
		journal.Entry{Run: "run-2", Step: "step0", Kind: journal.Outcome, Result: journal.Refused},
		journal.Entry{Run: "run-2", Kind: journal.End},
		journal.Entry{Run: "run-3", Kind: journal.Begin, At: noon.Add(2 * time.Hour), Data: journal.Record(&third)},
		journal.Entry{Run: "run-3", Kind: journal.Event, Data: journal.RecordHappening(happened("deactivating", "quiet", "deactivated", journal.Deactivate)), Note: "seen"},
		journal.Entry{Run: "run-3", Kind: journal.End},
	)
}

// chained gives the entries their places, and a second each where they have no instant.
func chained(entries ...journal.Entry) []journal.Entry {
	seq, hash := int64(0), ""
	for i := range entries {
		e := &entries[i]
		if e.At.IsZero() {
			e.At = noon.Add(time.Duration(i) * time.Second)
		}
		e.Chain(seq, hash)
		seq, hash = e.Seq, e.Hash
	}
	return entries
}

func encoded(t testing.TB, e *journal.Export) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestExport_isReadBackAsItWasAndVerified(t *testing.T) {
	want := journal.NewExport("1.2.3", noon.Add(2*time.Hour), story())
	body := encoded(t, want)
	got, err := journal.DecodeExport(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	compact := cmp.Transformer("compact", func(raw json.RawMessage) string {
		var b bytes.Buffer
		_ = json.Compact(&b, raw)
		return b.String()
	})
	if diff := cmp.Diff(want, got, compact); diff != "" {
		t.Errorf("export (-want +got):\n%s", diff)
	}
	if again := encoded(t, got); !bytes.Equal(body, again) {
		t.Errorf("encoded again it differs:\n%s", cmp.Diff(string(body), string(again)))
	}
	sum, err := got.Verify()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(journal.Summary{Entries: 14, Runs: 3, From: noon, To: noon.Add(2 * time.Hour), Head: want.Head}, sum); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	empty, err := journal.DecodeExport(bytes.NewReader(encoded(t, journal.NewExport("1", noon, nil))))
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := empty.Verify(); err != nil || sum != (journal.Summary{}) {
		t.Errorf("an empty journal: %+v, %v", sum, err)
	}
	var small bytes.Buffer
	if err := json.Compact(&small, body); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"compact": small.String(), "CRLF": strings.ReplaceAll(string(body), "\n", "\r\n")} {
		if e, err := journal.DecodeExport(strings.NewReader(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if _, err := e.Verify(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerify_findsEveryFieldThatWasChanged(t *testing.T) {
	edits := map[string]func(e *journal.Entry){
		"seq":  func(e *journal.Entry) { e.Seq++ },
		"run":  func(e *journal.Entry) { e.Run += "x" },
		"step": func(e *journal.Entry) { e.Step += "1" },
		"kind": func(e *journal.Entry) {
			e.Kind = journal.EntryKinds()[(slices.Index(journal.EntryKinds(), e.Kind)+1)%len(journal.EntryKinds())]
		},
		"at":     func(e *journal.Entry) { e.At = e.At.Add(time.Microsecond) },
		"result": func(e *journal.Entry) { e.Result += "x" },
		"note":   func(e *journal.Entry) { e.Note += " " },
		"data": func(e *journal.Entry) {
			if e.Data = bytes.Replace(e.Data, []byte("4711"), []byte("4712"), 1); e.Data == nil {
				e.Data = json.RawMessage("null")
			}
			e.Data = bytes.Replace(e.Data, []byte(`"quiet"`), []byte(`"proving"`), 1) // of an event
		},
		"no data": func(e *journal.Entry) {
			if e.Data == nil {
				e.Note += "."
			}
			e.Data = nil
		},
		"prev":    func(e *journal.Entry) { e.Prev = strings.Repeat("0", 64) },
		"hash":    func(e *journal.Entry) { e.Hash = strings.Repeat("0", 64) },
		"no hash": func(e *journal.Entry) { e.Hash, e.Data = "", json.RawMessage("no JSON") },
	}
	for i := range story() {
		for name, edit := range edits {
			export := journal.NewExport("1", noon, story())
			edit(&export.Entries[i])
			if _, err := export.Verify(); err == nil {
				t.Errorf("%s of entry %d was changed, and nothing was found", name, i+1)
			}
			if name == "hash" || name == "no hash" || name == "data" && i != 0 && i != 7 && i != 11 && i != 12 {
				continue
			}
			// Somebody who gives the entry a new hash must go on to the end of the chain.
			export.Entries[i].Hash = export.Entries[i].Sum()
			if i == len(export.Entries)-1 {
				continue // and then only a head that was noted elsewhere tells
			}
			if _, err := export.Verify(); err == nil {
				t.Errorf("%s of entry %d was changed with its hash, and nothing was found", name, i+1)
			}
		}
	}
}

func TestVerify_findsEntriesThatAreMissingMovedOrDoubled(t *testing.T) {
	n := len(story())
	broken := func(name string, at int, edit func(e []journal.Entry) []journal.Entry) {
		t.Helper()
		export := journal.NewExport("1", noon, story())
		export.Entries = edit(export.Entries)
		if _, err := export.Verify(); err == nil {
			t.Errorf("entry %d was %s, and nothing was found", at+1, name)
		}
	}
	for i := range n {
		broken("removed", i, func(e []journal.Entry) []journal.Entry { return slices.Delete(e, i, i+1) })
		broken("the last one kept", i, func(e []journal.Entry) []journal.Entry { return e[:i] })
		broken("doubled", i, func(e []journal.Entry) []journal.Entry { return slices.Insert(e, i, e[i]) })
		for j := range i {
			broken("swapped", i, func(e []journal.Entry) []journal.Entry { e[i], e[j] = e[j], e[i]; return e })
		}
	}
	export := journal.NewExport("1", noon, story())
	export.Head = export.Entries[0].Hash
	if _, err := export.Verify(); err == nil {
		t.Error("a head that is not the last hash was not found")
	}
}

// These chains are whole: every hash fits. What they tell cannot have happened.
func TestVerify_findsWhatCannotHaveHappened(t *testing.T) {
	r := sample("run-1", 1)
	other := sample("run-2", 1)
	undo := sample("run-3", 0)
	undo.Kind, undo.Undoes = journal.Undo, "run-9"
	begin := journal.Entry{Run: "run-1", Kind: journal.Begin, At: noon, Data: journal.Record(&r)}
	intent := journal.Entry{Run: "run-1", Step: "step0", Kind: journal.Intent}
	end := journal.Entry{Run: "run-1", Kind: journal.End}
	of := func(e journal.Entry, edit func(e *journal.Entry)) journal.Entry { edit(&e); return e }
	for name, entries := range map[string][]journal.Entry{
		"no begin":             {intent},
		"begin afterwards":     {intent, begin},
		"two begins":           {begin, begin},
		"another's record":     {of(begin, func(e *journal.Entry) { e.Data = journal.Record(&other) })},
		"another start":        {of(begin, func(e *journal.Entry) { e.At = noon.Add(1e9) })},
		"no record":            {of(begin, func(e *journal.Entry) { e.Data = json.RawMessage(`{}`) })},
		"null for a record":    {of(begin, func(e *journal.Entry) { e.Data = json.RawMessage(`null`) })},
		"more than a record":   {of(begin, func(e *journal.Entry) { e.Data = json.RawMessage(`{"x":1}`) })},
		"unknown step":         {begin, of(intent, func(e *journal.Entry) { e.Step = "step1" })},
		"unknown run":          {begin, of(intent, func(e *journal.Entry) { e.Run = "run-2" })},
		"tried twice":          {begin, intent, intent},
		"intent after the end": {begin, end, intent},
		"two ends":             {begin, end, end},
		"undoes nothing":       {{Run: "run-3", Kind: journal.Begin, At: noon, Data: journal.Record(&undo)}},
	} {
		if _, err := journal.NewExport("1", noon, chained(entries...)).Verify(); err == nil {
			t.Errorf("%s: nothing was found", name)
		}
	}
}

func TestDecodeExport_refusesWhatKeyreeveDoesNotWrite(t *testing.T) {
	body := string(encoded(t, journal.NewExport("1.2.3", noon, story())))
	swap := func(old, with string) string {
		if !strings.Contains(body, old) {
			t.Fatalf("the export has no %s", old)
		}
		return strings.Replace(body, old, with, 1)
	}
	for _, test := range []struct{ name, text, says string }{
		{"empty", "", "empty"},
		{"blank", " \n", "empty"},
		{"no JSON", "seq,run\n1,2\n", "line 1"},
		{"cut short", body[:len(body)/2], "is no JSON"},
		{"list", "[]", "is no journal"},
		{"null", "null", "no schema"},
		{"other JSON", `{"Version": "2012-10-17"}`, "no schema"},
		{"plan", `{"schema": "keyreeve.plan/1"}`, `"keyreeve.plan/1"`},
		{"newer", `{"schema": "keyreeve.journal/2"}`, "version"},
		{"unknown field", swap(`"tool":`, `"x": 1, "tool":`), "unknown field"},
		{"unknown field of an entry", swap(`"seq": 1`, `"seq": 1, "x": 1`), "unknown field"},
		{"more after it", body + "{}", "is no JSON"},
		{"field twice", swap(`"note": ""`, `"note": "harmless", "note": ""`), "not written"},
		{"field in capitals", swap(`"note"`, `"Note"`), "not written"},
		{"field missing", swap(`"note": "",`, ``), "not written"},
		{"another tool", swap(`"name": "keyreeve"`, `"name": "other"`), "not written"},
		{"another order", swap(`"seq": 1,`, ``), "not written"},
		{"escaped", swap(`"run-1"`, `"run\u002d1"`), "not written"},
		{"time with an offset", swap(`.123456Z"`, `.123456+00:00"`), "no time"},
		{"time as a number", swap(`"exported_at": "2026-03-01T12:00:00.123456Z"`, `"exported_at": 1`), "changed"},
		{"null entries", `{"schema":"keyreeve.journal/1","tool":{"name":"keyreeve","version":"1"},"exported_at":"2026-03-01T12:00:00.123456Z","entries":null,"head":""}`, "not written"},
	} {
		_, err := journal.DecodeExport(strings.NewReader(test.text))
		var input *journal.InputError
		if !errors.As(err, &input) || !strings.Contains(input.Problem, test.says) || input.Hint == "" {
			t.Errorf("%s: got %v, want %q", test.name, err, test.says)
		}
	}
}

// Every byte of the file is covered, but for white space and the time and version of the export itself.
func TestExport_findsEveryByteThatWasChanged(t *testing.T) {
	body := encoded(t, journal.NewExport("1", noon, story()[:3]))
	own := regionOf(body, `"version": "1"`, `"exported_at": "2026-03-01T12:00:00.123456Z"`)
	for i := range body {
		for _, b := range []byte{body[i] ^ 1, 'x'} {
			if own[i] || b == body[i] {
				continue
			}
			changed := bytes.Clone(body)
			changed[i] = b
			e, err := journal.DecodeExport(bytes.NewReader(changed))
			if err == nil {
				_, err = e.Verify()
			}
			if err == nil {
				t.Errorf("byte %d, %q, became %q, and nothing was found", i, body[max(0, i-20):i+1], b)
			}
		}
	}
}

func regionOf(body []byte, texts ...string) map[int]bool {
	region := map[int]bool{}
	for _, text := range texts {
		at := bytes.Index(body, []byte(text))
		for i := range len(text) {
			region[at+i] = true
		}
	}
	return region
}

func TestExportSchema_takesAnExportAndRefusesOthers(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(journal.ExportSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("urn:keyreeve:journal:1", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("urn:keyreeve:journal:1")
	if err != nil {
		t.Fatal(err)
	}
	takes := func(e *journal.Export) error {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded(t, e)))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	for _, entries := range [][]journal.Entry{nil, story()} {
		if err := takes(journal.NewExport("1", noon, entries)); err != nil {
			t.Error(err)
		}
	}
	for _, kind := range journal.EntryKinds() {
		for _, other := range append(journal.EntryKinds(), "nonsense") {
			for _, result := range append(slices.Clone(other.Results()), "", "nonsense") {
				e := journal.Entry{Run: "run-1", Step: "step0", Kind: kind, At: noon, Result: result}
				if kind == journal.Begin || kind == journal.Event || kind == journal.End {
					e.Step = ""
				}
				if kind == journal.Begin {
					r := sample("run-1", 1)
					e.Data = journal.Record(&r)
				}
				if kind == journal.Event {
					e.Data = journal.RecordHappening(happened("quiet", "deleting", "quiet over", ""))
				}
				e.Chain(0, "")
				err := takes(journal.NewExport("1", noon, []journal.Entry{e}))
				if (err == nil) != (e.Valid() == nil) {
					t.Errorf("%s %q: the schema says %v, the journal %v", kind, result, err, e.Valid())
				}
			}
		}
	}
}

func TestRecord_isReadBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := sample(rapid.StringMatching(`[a-zA-Z0-9é<-]{1,20}`).Draw(t, "id"), rapid.IntRange(0, 4).Draw(t, "steps"))
		r.Host, r.PID = rapid.String().Draw(t, "host"), rapid.Int().Draw(t, "pid")
		for i := range r.Steps {
			s := &r.Steps[i]
			s.Action, s.From = rapid.SampledFrom(journal.Actions()).Draw(t, "action"), rapid.SampledFrom(journal.States()).Draw(t, "from")
			s.Rules = rapid.SliceOf(rapid.String()).Draw(t, "rules")
			s.User = rapid.StringN(1, 10, -1).Draw(t, "user")
			if rapid.Bool().Draw(t, "never used") {
				s.LastUsed = time.Time{}
			}
		}
		data := journal.Record(&r)
		got, err := journal.ReadRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&r, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("run (-want +got):\n%s", diff)
		}
		if again := journal.Record(got); !bytes.Equal(data, again) {
			t.Fatalf("recorded again: %s, was %s", again, data)
		}
	})
	r := sample("run-1", 1)
	body := string(journal.Record(&r))
	used := `"last_used_at":"` + journal.Stamp(r.Steps[0].LastUsed) + `"`
	for _, bad := range []string{
		``, `{}`, `null`, `[]`, body + `{}`, strings.Replace(body, `"host"`, `"secret":"x","host"`, 1), strings.Replace(body, used, `"last_used_at":""`, 1),
		strings.Replace(body, used, `"last_used_at":"0001-01-01T00:00:00.000000Z"`, 1), strings.Replace(body, used, `"last_used_at":0`, 1),
	} {
		if got, err := journal.ReadRecord(json.RawMessage(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
}

func TestRecord_saysNullForAKeyThatWasNeverUsed(t *testing.T) {
	r := sample("run-1", 2)
	r.Steps[1].LastUsed = time.Time{}
	for _, want := range []string{`"last_used_at":"2026-03-01T12:00:00.123456Z"`, `"last_used_at":null`} {
		if body := string(journal.Record(&r)); strings.Count(body, want) != 1 {
			t.Errorf("no %s in %s", want, body)
		}
	}
}

func TestFold_tellsHowARunEnded(t *testing.T) {
	runs, err := journal.Fold(story())
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) != 3 || runs[0].EndNote != "it died; found by run run-2" || runs[0].EndedAt.IsZero() || runs[1].EndNote != "" {
		t.Errorf("runs %+v", runs)
	}
}

func FuzzDecodeExport(f *testing.F) {
	body := encoded(f, journal.NewExport("1.2.3", noon, story()))
	f.Add(body)
	f.Add(body[:len(body)/2])
	f.Add(bytes.Replace(body, []byte(`"note": ""`), []byte(`"note": "x"`), 1))
	f.Add(bytes.Replace(body, []byte(`"Note": ""`), []byte(`"note": ""`), 1))
	f.Add(encoded(f, journal.NewExport("1", noon, nil)))
	f.Add([]byte(`{"schema":"keyreeve.journal/1","entries":[{"data":null}]}`))
	f.Add([]byte(`{"schema":"keyreeve.plan/1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := journal.DecodeExport(bytes.NewReader(data))
		if err != nil {
			var input *journal.InputError
			if !errors.As(err, &input) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		again, err := journal.DecodeExport(bytes.NewReader(encoded(t, e)))
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		_, first := e.Verify()
		_, second := again.Verify()
		if (first == nil) != (second == nil) {
			t.Fatalf("verified %v, and then %v", first, second)
		}
	})
}
