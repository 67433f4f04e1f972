package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/report"
)

// runAt is when the run of the fixture began.
var runAt = time.Date(2026, 11, 22, 9, 30, 50, 0, time.UTC)

// entriesOf are the entries that leave a step with that status, numbered from seq.
func entriesOf(s journal.Status, seq int64) []journal.Entry {
	left := func(r journal.Result, note string) []journal.Entry {
		return []journal.Entry{{Kind: journal.Left, Result: r, Note: note}}
	}
	tried := func(outcome journal.Result, note string, seen journal.Result, what string) []journal.Entry {
		es := []journal.Entry{{Kind: journal.Intent}, {Kind: journal.Outcome, Result: outcome, Note: note}}
		if seen != "" {
			es = append(es, journal.Entry{Kind: journal.Verification, Result: seen, Note: what})
		}
		return es
	}
	es := map[journal.Status][]journal.Entry{
		journal.StatusPlanned:    nil,
		journal.StatusDone:       tried(journal.OK, "request 4e6f7420-6120-7265-616c-206f6e65", journal.Shows, "the key is inactive"),
		journal.StatusUnresolved: tried(journal.Unclear, "no answer: connection reset", journal.Unseen, "the keys could not be read: throttled"),
		journal.StatusFailed:     tried(journal.Refused, "access denied: iam:UpdateAccessKey is missing; keyreeve iam-policy --for remediate prints the policy", "", ""),
		journal.StatusConflict:   tried(journal.OK, "", journal.Other, "the key is gone: somebody else has deleted it"),
		journal.StatusStale:      left(journal.Stale, "the key was used 4 minutes ago"),
		journal.StatusRefused:    left(journal.Refused, "it is the key that keyreeve runs with"),
		journal.StatusDependent:  left(journal.Dependent, "step c0ffee12 was not done"),
		journal.StatusNotDue:     left(journal.NotDue, "not before 2026-11-29 09:30 UTC"),
		journal.StatusAlready:    left(journal.Already, "inactive already"),
		journal.StatusUnread:     left(journal.Unread, "the keys of the user could not be read: throttled"),
		journal.StatusBeyond:     left(journal.Beyond, "a deleted key cannot come back"),
	}[s]
	for i := range es {
		es[i].Seq, es[i].At, es[i].Hash = seq+int64(i), runAt.Add(time.Duration(seq)*time.Second+time.Duration(i)*120*time.Millisecond), strings.Repeat(fmt.Sprintf("%02x", seq), 32)
	}
	return es
}

// fullRun has a step of every status, and every action.
func fullRun() journal.Run {
	r := journal.Run{
		ID: "20261122T093050Z-3f9a", Kind: journal.Apply, Account: prod.ID, Caller: "arn:aws:sts::111122223333:assumed-role/Remediate/ana",
		Plan: "sha256:" + strings.Repeat("5e", 32), Version: "1.2.3", Host: "build-7", PID: 4242, StartedAt: runAt, EndedAt: runAt.Add(95 * time.Second),
	}
	for i, s := range journal.Statuses() {
		a := journal.Actions()[i%3]
		step := journal.Step{
			ID: fmt.Sprintf("%08x", 0xc0ffee00+i), Action: a, User: fmt.Sprintf("user-%d", i), UserID: fmt.Sprintf("AIDAFAKE%08d", i), KeyID: fmt.Sprintf("AKIAFAKERUNS%08d", i),
			KeyCreated: asOf.Add(-200 * oneDay), LastUsed: asOf.Add(-time.Duration(50+i) * oneDay), From: journal.Active, Because: []string{fmt.Sprintf("v%d", i)}, Rules: []string{"key-unused-45", "key-unused-90"},
			Entries: entriesOf(s, int64(3*i+2)),
		}
		if a == journal.Deactivate {
			step.Then = journal.Delete
		}
		r.Steps = append(r.Steps, step)
	}
	r.Steps[1].LastUsed = time.Time{} // never
	return r
}

// undoRun is under way, or died in the middle of its first step.
func undoRun() journal.Run {
	r := fullRun()
	r.ID, r.StartedAt, r.Kind, r.Undoes, r.EndedAt, r.Caller = "20261123T053040Z-77aa", runAt.Add(20*time.Hour-10*time.Second), journal.Undo, "20261122T093050Z-3f9a", time.Time{}, "arn:aws:iam::111122223333:user/path/bob"
	r.Steps = slices.Clone(r.Steps[:2])
	for i := range r.Steps {
		r.Steps[i].Action, r.Steps[i].From, r.Steps[i].Then, r.Steps[i].Entries = journal.Activate, journal.Inactive, "", nil
	}
	r.Steps[0].Entries = []journal.Entry{{Seq: 99, Kind: journal.Intent, At: runAt.Add(20 * time.Hour)}}
	return r
}

// deadRun is undoRun, once another run has found what became of it.
func deadRun() journal.Run {
	r := undoRun()
	r.Steps[0].Entries = append(r.Steps[0].Entries, journal.Entry{
		Seq: 100, Kind: journal.Verification, Result: journal.Unmoved, At: runAt.Add(47 * time.Hour), Note: "the key is inactive still",
	})
	r.EndedAt, r.EndNote = runAt.Add(47*time.Hour), "it died; found by run 20261124T090000Z-0b0b"
	return r
}

// lateRun was done within a run, and found so on the next day.
func lateRun() journal.Run {
	r := fullRun()
	r.Steps = slices.Clone(r.Steps[1:2])
	r.Steps[0].Action, r.Steps[0].Then = journal.Deactivate, journal.Delete
	r.Steps[0].Entries[2].At = runAt.Add(oneDay)
	return r
}

func hostileRun() journal.Run {
	r := fullRun()
	r.ID, r.Account, r.Caller, r.Plan, r.Undoes, r.Version, r.Host = hostile, hostile, "arn:aws:iam::1:user/"+hostile, hostile, hostile, hostile, hostile
	r.EndNote = "ended by " + hostile + "\n" + strings.Repeat("v", 150)
	for i := range r.Steps {
		s := &r.Steps[i]
		s.User, s.Rules = hostile+strings.Repeat("x", 150), []string{hostile}
		for j := range s.Entries {
			s.Entries[j].Note = hostile + "\n\t" + strings.Repeat("w", 150)
		}
	}
	return r
}

// fixtureRuns has a usual run too, and one without steps.
func fixtureRuns() []journal.Run {
	usual, empty := fullRun(), fullRun()
	usual.ID, empty.ID, empty.Steps = "20261121T083050Z-0c1d", "20261120T083050Z-beef", nil
	usual.Steps = []journal.Step{usual.Steps[1], usual.Steps[5], usual.Steps[1], usual.Steps[9]}
	usual.StartedAt, empty.StartedAt = runAt.Add(-25*time.Hour), runAt.Add(-49*time.Hour)
	dead := deadRun()
	dead.ID = "20261121T073050Z-dead"
	return []journal.Run{undoRun(), fullRun(), usual, dead, empty}
}

// runTexts is every text about runs.
func runTexts(t *testing.T, r journal.Run, o report.Options) map[string]string {
	t.Helper()
	var one, outcome, list bytes.Buffer
	for _, err := range []error{
		report.WriteRun(&one, report.Text, &r, o), report.WriteOutcome(&outcome, &r, o),
		report.WriteRuns(&list, report.Text, []journal.Run{r}, o),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string]string{"run": one.String(), "outcome": outcome.String(), "runs": list.String()}
}

func runsOf(t *testing.T, f report.Format, rs []journal.Run, o report.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.WriteRuns(&b, f, rs, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func runJSON(t *testing.T, r journal.Run, o report.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.WriteRun(&b, report.JSON, &r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWriteRun_looksAsTheGoldenFilesShow(t *testing.T) {
	for name, c := range map[string]struct {
		r journal.Run
		o report.Options
	}{
		"full":       {fullRun(), report.Options{}},
		"full.60":    {fullRun(), report.Options{Width: 60}},
		"full.color": {fullRun(), report.Options{Width: 80, Color: true}},
		"full.mask":  {fullRun(), report.Options{Width: 80, MaskKeys: true}},
		"undo":       {undoRun(), report.Options{Width: 80}},
		"late":       {lateRun(), report.Options{Width: 80}},
		"dead":       {deadRun(), report.Options{Width: 80}},
		"hostile":    {hostileRun(), report.Options{Width: 80}},
	} {
		texts := runTexts(t, c.r, c.o)
		for _, what := range []string{"run", "outcome"} {
			checkText(t, what+" "+name, texts[what], c.o)
			golden(t, what+"."+name+".text", texts[what])
		}
	}
	for _, width := range []int{0, 60, 140} {
		golden(t, fmt.Sprintf("runs.%d.text", width), runsOf(t, report.Text, fixtureRuns(), report.Options{Width: width}))
	}
	golden(t, "runs.json", runsOf(t, report.JSON, fixtureRuns(), report.Options{}))
	golden(t, "run.json", runJSON(t, fullRun(), report.Options{}))
}

func TestWriteRun_staysCleanAndWithinAnyWidth(t *testing.T) {
	for name, r := range map[string]journal.Run{"full": fullRun(), "undo": undoRun(), "late": lateRun(), "dead": deadRun(), "hostile": hostileRun(), "zero": {}, "bare": {Steps: []journal.Step{{}}}} {
		for _, width := range []int{0, 60, 72, 80, 120, 200} {
			for _, color := range []bool{false, true} {
				o := report.Options{Width: width, Color: color}
				for what, out := range runTexts(t, r, o) {
					checkText(t, fmt.Sprintf("%s %s at %d", what, name, width), out, o)
				}
			}
		}
	}
}

func TestWriteRun_colorChangesNoWord(t *testing.T) {
	plain, color := runTexts(t, fullRun(), report.Options{}), runTexts(t, fullRun(), report.Options{Color: true})
	for what := range plain {
		if got := strings.ReplaceAll(ansi.ReplaceAllString(color[what], ""), "─", "-"); got != plain[what] {
			t.Errorf("%s with colour reads differently:\n%s\nwithout:\n%s", what, got, plain[what])
		}
	}
}

func TestWriteRun_maskLeavesNoKeyID(t *testing.T) {
	r := fullRun()
	r.Caller = "arn:aws:iam::111122223333:user/AKIAFAKERUNS99999999"
	r.Host, r.EndNote = "ASIAFAKERUNS99999998", "key AKIAFAKERUNS00000002 was used"
	odd := "akiafake-4" // looks like no id, and is that of a step
	r.Steps[4].KeyID = odd
	for i := range r.Steps {
		s := &r.Steps[i]
		s.User += "-" + s.KeyID
		s.Rules = append(s.Rules, "rule-"+odd)
		s.Because = append(s.Because, s.KeyID)
		for j := range s.Entries {
			s.Entries[j].Note += fmt.Sprintf(" key %s was used, \"%s\" not, nor %s, xAKIAFAKEOTHER99999997y", s.KeyID, r.Steps[(i+1)%5].KeyID, odd)
		}
	}
	o := report.Options{MaskKeys: true}
	texts := runTexts(t, r, o)
	texts["json"], texts["list"] = runJSON(t, r, o), runsOf(t, report.JSON, []journal.Run{r}, o)
	for what, out := range texts {
		if id := regexp.MustCompile(`(?i)(AKIA|ASIA)FAKE[\w-]*`).FindString(out); id != "" {
			t.Errorf("masked %s holds %q:\n%s", what, id, out)
		}
	}
	if r.Steps[1].KeyID != "AKIAFAKERUNS00000001" || !strings.Contains(r.Steps[1].Entries[0].Note, "AKIAFAKERUNS00000001") {
		t.Error("masking changed the run itself")
	}
}

func TestWriteRun_neverCallsUnresolvedDone(t *testing.T) {
	for what, out := range runTexts(t, undoRun(), report.Options{Width: 200}) {
		if strings.Contains(out, "1 done") || !strings.Contains(out, "under way or died") || !strings.Contains(out, "1 unresolved") {
			t.Errorf("%s of a run that died:\n%s", what, out)
		}
		if what != "runs" && (!strings.Contains(out, "UNRESOLVED") || !strings.Contains(out, "the next apply or undo looks at the account first")) {
			t.Errorf("%s does not say loudly what happens next:\n%s", what, out)
		}
	}
}

func TestWriteOutcome_saysHowEachStatusCameAbout(t *testing.T) {
	want := map[journal.Status]string{
		journal.StatusPlanned:    "planned       deactivate  KEY  user ana: not tried",
		journal.StatusDone:       "done          deactivate  KEY  user ana  inactive since 09:31:00 UTC",
		journal.StatusUnresolved: "UNRESOLVED    deactivate  KEY  user ana: the keys could not be read: throttled; the next apply or undo looks at the account first",
		journal.StatusFailed:     "failed        deactivate  KEY  user ana: access denied: iam:UpdateAccessKey is missing; keyreeve iam-policy --for remediate prints the policy",
		journal.StatusConflict:   "conflict      deactivate  KEY  user ana: the key is gone: somebody else has deleted it",
		journal.StatusStale:      "stale         deactivate  KEY  user ana: the key was used 4 minutes ago",
		journal.StatusRefused:    "refused       deactivate  KEY  user ana: it is the key that keyreeve runs with",
		journal.StatusDependent:  "skipped       deactivate  KEY  user ana: step c0ffee12 was not done",
		journal.StatusNotDue:     "not due       deactivate  KEY  user ana: not before 2026-11-29 09:30 UTC",
		journal.StatusAlready:    "already done  deactivate  KEY  user ana: inactive already",
		journal.StatusUnread:     "not read      deactivate  KEY  user ana: the keys of the user could not be read: throttled",
		journal.StatusBeyond:     "not possible  deactivate  KEY  user ana: a deleted key cannot come back",
	}
	for _, status := range journal.Statuses() {
		s := journal.Step{Action: journal.Deactivate, User: "ana", KeyID: "AKIAFAKERUNS00000001", Entries: entriesOf(status, 10)}
		if s.Status() != status {
			t.Fatalf("the fixture of %s has the status %s", status, s.Status())
		}
		got := outcomeLine(t, &s)
		if w := strings.Replace(want[status], "KEY", s.KeyID, 1); got != w {
			t.Errorf("%s:\n got %q\nwant %q", status, got, w)
		}
	}
	for a, w := range map[journal.Action]string{journal.Activate: "active since 09:31:00 UTC", journal.Delete: "deleted at 09:31:00 UTC"} {
		s := journal.Step{Action: a, User: "ana", KeyID: "AKIAFAKERUNS00000001", Entries: entriesOf(journal.StatusDone, 10)}
		if got := outcomeLine(t, &s); !strings.HasSuffix(got, "  "+w) {
			t.Errorf("%s: %q, want it to end in %q", a, got, w)
		}
	}
	late := lateRun()
	if got := outcomeLine(t, &late.Steps[0]); !strings.HasSuffix(got, "inactive since 2026-11-23 09:30:50 UTC") {
		t.Errorf("seen on another day: %q", got)
	}
}

// outcomeLine is the line about a step in the outcome of a run.
func outcomeLine(t *testing.T, s *journal.Step) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.WriteOutcome(&b, &journal.Run{ID: "run", EndedAt: runAt, Steps: []journal.Step{*s}}, report.Options{Width: 300}); err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(b.String(), "\n")
	return line
}

func TestWriteRun_saysWhatEndedIt(t *testing.T) {
	for name, r := range map[string]journal.Run{"died": deadRun(), "hostile": hostileRun()} {
		for what, out := range runTexts(t, r, report.Options{Width: 300}) {
			want := "it died; found by run 20261124T090000Z-0b0b"
			if name == "hostile" {
				want = "ended by"
			}
			if !strings.Contains(out, want) || strings.Contains(out, "under way") || strings.Contains(out, "took 1m") {
				t.Errorf("%s of a run that was found dead:\n%s", what, out)
			}
		}
	}
	for f, out := range map[string]string{
		"run": runJSON(t, deadRun(), report.Options{}), "runs": runsOf(t, report.JSON, []journal.Run{deadRun()}, report.Options{}),
	} {
		if !strings.Contains(out, `"end_note": "it died; found by run 20261124T090000Z-0b0b"`) && !strings.Contains(out, `"end_note":"it died; found by run 20261124T090000Z-0b0b"`) {
			t.Errorf("%s in JSON:\n%s", f, out)
		}
	}
}

func TestRunJSON_saysNullForAKeyThatWasNeverUsed(t *testing.T) {
	out := runJSON(t, fullRun(), report.Options{})
	for want, n := range map[string]int{`"last_used_at": null`: 1, `"last_used_at": "2026-`: len(journal.Statuses()) - 1} {
		if got := strings.Count(out, want); got != n {
			t.Errorf("%s occurs %d times, want %d", want, got, n)
		}
	}
}

func TestRunJSON_validatesAgainstItsPublishedSchema(t *testing.T) {
	var strict map[string]any
	if err := json.Unmarshal(report.RunSchema(), &strict); err != nil {
		t.Fatal(err)
	}
	var forbid func(any)
	forbid = func(n any) {
		m, ok := n.(map[string]any)
		if !ok {
			return
		}
		if _, ok := m["properties"].(map[string]any); ok && m["additionalProperties"] == nil {
			m["additionalProperties"] = false
		}
		for _, c := range m {
			forbid(c)
		}
	}
	forbid(strict)
	closed, err := json.Marshal(strict)
	if err != nil {
		t.Fatal(err)
	}
	for _, schema := range [][]byte{report.RunSchema(), closed} {
		one, list := compile(t, schema, ""), compile(t, schema, "#/$defs/runs")
		for _, r := range []journal.Run{fullRun(), undoRun(), lateRun(), deadRun(), hostileRun()} {
			for _, o := range []report.Options{{}, {MaskKeys: true}} {
				validate(t, one, runJSON(t, r, o))
				validate(t, list, runsOf(t, report.JSON, []journal.Run{r}, o))
			}
		}
		validate(t, list, runsOf(t, report.JSON, nil, report.Options{}))
	}
}

func TestRunSchema_listsEveryValueOfTheJournal(t *testing.T) {
	var schema struct {
		Defs map[string]struct {
			Enum       []string
			Properties map[string]struct{ Enum []string }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(report.RunSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	want := func(name string, got []string, values ...string) {
		t.Helper()
		slices.Sort(got)
		slices.Sort(values)
		if values = slices.Compact(values); !slices.Equal(got, values) {
			t.Errorf("%s: the schema has %q, the journal %q", name, got, values)
		}
	}
	var statuses, actions, results []string
	for _, s := range journal.Statuses() {
		statuses = append(statuses, string(s))
	}
	for _, a := range journal.Actions() {
		actions = append(actions, string(a))
	}
	kinds := []string{}
	for _, k := range journal.EntryKinds() {
		if k != journal.Begin && k != journal.End && k != journal.Event { // these are of the run, not of a step
			kinds = append(kinds, string(k))
		}
		for _, r := range k.Results() {
			results = append(results, string(r))
		}
	}
	want("status", schema.Defs["status"].Enum, statuses...)
	want("action", schema.Defs["step"].Properties["action"].Enum, actions...)
	want("kind", schema.Defs["entry"].Properties["kind"].Enum, kinds...)
	want("result", schema.Defs["entry"].Properties["result"].Enum, append(results, "")...)
}

func TestRunJSON_headIsTheHashOfTheLastEntry(t *testing.T) {
	r := fullRun()
	slices.Reverse(r.Steps) // the last entry stands where its number says, not where its step stands
	if out, want := runJSON(t, r, report.Options{}), fmt.Sprintf("%q: %q\n}\n", "head", strings.Repeat(fmt.Sprintf("%02x", 3*len(journal.Statuses())-1), 32)); !strings.HasSuffix(out, want) {
		t.Errorf("want the end %s in:\n%s", want, out[len(out)-200:])
	}
	if out := runJSON(t, journal.Run{}, report.Options{}); !strings.Contains(out, `"head": ""`) || !strings.Contains(out, `"ended_at": null`) {
		t.Errorf("a run without entries:\n%s", out)
	}
}

func TestWriteRuns_emptyJournalIsSaidInALine(t *testing.T) {
	if got := runsOf(t, report.Text, nil, report.Options{}); got != "The journal holds no runs.\n" {
		t.Errorf("got %q", got)
	}
}

func TestWriteRun_refusesOtherFormatsAndReturnsWriteErrors(t *testing.T) {
	r := fullRun()
	for _, f := range []report.Format{report.Markdown, report.CSV, "nonsense"} {
		if report.WriteRun(&bytes.Buffer{}, f, &r, report.Options{}) == nil || report.WriteRuns(&bytes.Buffer{}, f, nil, report.Options{}) == nil {
			t.Errorf("%s is taken", f)
		}
	}
	for _, f := range report.RunFormats() {
		if report.WriteRun(broken{}, f, &r, report.Options{}) == nil || report.WriteRuns(broken{}, f, []journal.Run{r}, report.Options{}) == nil {
			t.Errorf("%s: an error of the writer is lost", f)
		}
	}
	if report.WriteOutcome(broken{}, &r, report.Options{}) == nil {
		t.Error("outcome: an error of the writer is lost")
	}
}
