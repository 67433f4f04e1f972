package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

func rotationOf(t *testing.T, f report.Format, r rotate.Rotation, events []rotate.Event, o report.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.WriteRotation(&b, f, &r, events, o, asOf); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func rotationsOf(t *testing.T, f report.Format, rs []rotate.Rotation, o report.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.WriteRotations(&b, f, rs, o, asOf); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// rotationsInAll is one rotation in each state.
func rotationsInAll() []rotate.Rotation {
	var out []rotate.Rotation
	for i, s := range rotate.States() {
		r, _ := rotationIn(s)
		r.ID = fmt.Sprintf("202611%02dT093050Z-3f9a", 1+i)
		out = append(out, r)
	}
	out[3].User = "a-user-whose-name-is-longer-than-the-list-has-room-for"
	return out
}

func TestWriteRotation_looksAsTheGoldenFilesShow(t *testing.T) {
	show := func(name string, s rotate.State, o report.Options) {
		r, events := rotationIn(s)
		out := rotationOf(t, report.Text, r, events, o)
		checkText(t, name, out, o)
		golden(t, "rotation."+name+".text", out)
	}
	for _, s := range rotate.States() {
		show(string(s), s, report.Options{})
	}
	show("60", rotate.Conflict, report.Options{Width: 60})
	show("color", rotate.Held, report.Options{Width: 80, Color: true})
	show("mask", rotate.Conflict, report.Options{Width: 80, MaskKeys: true})
	r, events := firstKey(rotate.Done)
	golden(t, "rotation.first.text", rotationOf(t, report.Text, r, events, report.Options{}))
	r, events = hostileRotation()
	golden(t, "rotation.hostile.text", rotationOf(t, report.Text, r, events, report.Options{Width: 80}))
	r, events = rotationIn(rotate.Blocked)
	golden(t, "rotation.json", rotationOf(t, report.JSON, r, events, report.Options{}))
	for _, width := range []int{0, 60, 140} {
		o := report.Options{Width: width}
		out := rotationsOf(t, report.Text, rotationsInAll(), o)
		checkText(t, "list", out, o)
		golden(t, fmt.Sprintf("rotations.%d.text", width), out)
	}
	golden(t, "rotations.json", rotationsOf(t, report.JSON, rotationsInAll(), report.Options{}))
}

func TestWriteRotation_staysCleanAndWithinAnyWidth(t *testing.T) {
	check := func(name string, r rotate.Rotation, events []rotate.Event) {
		for _, width := range []int{0, 60, 72, 80, 120, 200} {
			for _, color := range []bool{false, true} {
				o := report.Options{Width: width, Color: color}
				checkText(t, fmt.Sprintf("%s at %d", name, width), rotationOf(t, report.Text, r, events, o), o)
				checkText(t, fmt.Sprintf("list of %s at %d", name, width), rotationsOf(t, report.Text, []rotate.Rotation{r}, o), o)
			}
		}
	}
	for _, s := range rotate.States() {
		r, events := rotationIn(s)
		check(string(s), r, events)
	}
	r, events := hostileRotation()
	check("hostile", r, events)
	r, events = firstKey(rotate.Probing)
	check("first", r, events)
	check("zero", rotate.Rotation{}, []rotate.Event{{}})
	check("bare", rotate.Rotation{State: rotate.Held, Targets: []rotate.Target{{}}, Others: []rotate.KeyRecord{{}}}, nil)
}

func TestWriteRotation_colorChangesNoWord(t *testing.T) {
	for _, s := range rotate.States() {
		r, events := rotationIn(s)
		plain := rotationOf(t, report.Text, r, events, report.Options{})
		color := rotationOf(t, report.Text, r, events, report.Options{Color: true})
		if got := strings.ReplaceAll(ansi.ReplaceAllString(color, ""), "─", "-"); got != plain {
			t.Errorf("%s with colour reads differently:\n%s\nwithout:\n%s", s, got, plain)
		}
	}
}

// No format shows the sealed secret or a receipt, in whatever way bytes may be written.
func TestWriteRotation_neverShowsSealedBytesOrReceipts(t *testing.T) {
	for _, s := range rotate.States() {
		r, events := rotationIn(s)
		r.Sealed = []byte(sealedBytes)
		for i := range r.Targets {
			r.Targets[i].Receipt = []byte(receiptBytes)
		}
		for _, f := range report.RotationFormats() {
			out := rotationOf(t, f, r, events, report.Options{}) + rotationsOf(t, f, []rotate.Rotation{r}, report.Options{})
			for _, secret := range [][]byte{[]byte(sealedBytes), []byte(receiptBytes)} {
				b64, err := json.Marshal(secret)
				if err != nil {
					t.Fatal(err)
				}
				for _, form := range []string{string(secret)[:12], strings.Trim(string(b64), `"`)[:12], fmt.Sprintf("%x", secret)[:12], strings.Trim(fmt.Sprintf("%v", secret), "[]")[:12]} {
					if strings.Contains(strings.ToLower(out), strings.ToLower(form)) {
						t.Errorf("%s of %s shows %q:\n%s", f, s, form, out)
					}
				}
			}
			if f == report.JSON && !strings.Contains(out, `"sealed": true`) {
				t.Errorf("%s: it is not said that the secret is kept:\n%s", s, out)
			}
		}
		if string(r.Sealed) != sealedBytes || string(r.Targets[0].Receipt) != receiptBytes {
			t.Errorf("%s: showing it changed the rotation itself", s)
		}
	}
}

func TestWriteRotation_maskLeavesNoKeyID(t *testing.T) {
	for _, s := range rotate.States() {
		r, events := rotationIn(s)
		odd := "akiafake-4" // looks like no id, and is that of a key
		r.Others, r.Before = append(r.Others, rotate.KeyRecord{ID: odd}), append(r.Before, odd, "akiafake-gone")
		all := " AKIAFAKEOLD000000001 AKIAFAKENEW000000002 xASIAFAKEOTHER9999999y " + odd + " akiafake-gone"
		for _, text := range []*string{&r.User, &r.ARN, &r.Why, &r.Caller, &r.Reason, &r.ProvenBy, &r.ConfirmedBy, &r.ApprovedBy} {
			*text += all
		}
		for i := range r.Targets {
			x := &r.Targets[i]
			x.Name, x.Kind, x.Where, x.Why = x.Name+all, x.Kind+all, x.Where+all, x.Why+all
		}
		for i := range events {
			events[i].Note += all
		}
		before := events[0].Note
		for _, f := range report.RotationFormats() {
			for _, width := range []int{60, 1000} {
				o := report.Options{MaskKeys: true, Width: width}
				out := rotationOf(t, f, r, events, o) + rotationsOf(t, f, []rotate.Rotation{r}, o)
				if id := regexp.MustCompile(`(?i)(AKIA|ASIA)FAKE[\w-]*`).FindString(out); id != "" {
					t.Errorf("masked %s of %s holds %q:\n%s", f, s, id, out)
				}
			}
		}
		if r.Old.ID != "AKIAFAKEOLD000000001" || !slices.Contains(r.Before, odd) || events[0].Note != before {
			t.Error("masking changed the rotation itself")
		}
	}
}

// What the text and the JSON offer is what the table of the rotation takes; what waits says so loudly.
func TestWriteRotation_offersWhatThePersonCanDo(t *testing.T) {
	for _, s := range rotate.States() {
		r, events := rotationIn(s)
		out := rotationOf(t, report.Text, r, events, report.Options{Width: 200})
		var doc struct{ Commands []string }
		if err := json.Unmarshal([]byte(rotationOf(t, report.JSON, r, events, report.Options{})), &doc); err != nil {
			t.Fatal(err)
		}
		for _, c := range []string{"confirm", "approve", "cancel"} {
			_, want := rotate.Next(s, rotate.EventName(c))
			if c == "confirm" {
				want = s == rotate.Proving || s == rotate.Held // the fixture is held while proving
			}
			if got := strings.Contains(out, "keyreeve rotate "+c+" "+r.ID); got != want {
				t.Errorf("%s: offers %s: %v, want %v:\n%s", s, c, got, want, out)
			}
			if got := slices.Contains(doc.Commands, c); got != want {
				t.Errorf("%s: JSON offers %s: %v, want %v", s, c, got, want)
			}
		}
		if loud := strings.Contains(out, strings.ToUpper(string(s))); loud != s.Waiting() {
			t.Errorf("%s: written large: %v, waits: %v:\n%s", s, loud, s.Waiting(), out)
		}
		if s.Waiting() && !strings.Contains(out, "["+string(r.Resume)+", "+strings.ToUpper(string(s))+"]") || !s.Waiting() && !strings.Contains(out, "["+string(s)+"]") {
			t.Errorf("%s is not marked on the track:\n%s", s, out)
		}
		if s == rotate.Blocked && !strings.Contains(out, "keyreeve iam-policy --for rotate") {
			t.Errorf("blocked, and nothing says what permission is missing:\n%s", out)
		}
		if !s.Over() && !strings.Contains(out, "looks") || s.Over() && strings.Contains(out, "looks") {
			t.Errorf("%s: when it looks again:\n%s", s, out)
		}
	}
	r, events := rotationIn(rotate.Held)
	r.Resume = rotate.Quiet
	if out := rotationOf(t, report.Text, r, events, report.Options{}); strings.Contains(out, "rotate confirm") {
		t.Errorf("held in its quiet period, and a confirmation is offered:\n%s", out)
	}
}

func TestWriteRotation_callsNoUseNever(t *testing.T) {
	r, events := rotationIn(rotate.Requested)
	r.Old.LastUsed = r.StartedAt
	if out := rotationOf(t, report.Text, r, events, report.Options{}); strings.Contains(out, "never used") {
		t.Errorf("the use of other keys is not read, and called never:\n%s", out)
	}
	r, events = rotationIn(rotate.Delivering)
	if out := rotationOf(t, report.Text, r, events, report.Options{Width: 200}); strings.Count(out, "never used, as last read") != 1 {
		t.Errorf("the old key was never used, which was read:\n%s", out)
	}
}

func TestWriteRotation_saysNothingOfAnOldKeyWhereNoneIsReplaced(t *testing.T) {
	for _, s := range []rotate.State{rotate.Probing, rotate.BackingOut, rotate.Done} {
		r, events := firstKey(s)
		out := rotationOf(t, report.Text, r, events, report.Options{Width: 200})
		if !strings.Contains(out, "replaces none") || strings.Contains(out, "the old key") || strings.Contains(out, "deactivat") || strings.Contains(out, "deleted;") {
			t.Errorf("%s of a first key:\n%s", s, out)
		}
		if out := rotationOf(t, report.JSON, r, events, report.Options{}); !strings.Contains(out, `"old": null`) {
			t.Errorf("%s of a first key:\n%s", s, out)
		}
	}
}

func TestWriteRotation_saysTheQuietTimeThatTheRotationKeeps(t *testing.T) {
	r, events := rotationIn(rotate.Quiet)
	want := r.DeactivatedAt.Add(r.Gap + r.Gap/4).Format("2006-01-02 15:04")
	if out := rotationOf(t, report.Text, r, events, report.Options{}); !strings.Contains(out, "not before "+want) {
		t.Errorf("want a limit %s:\n%s", want, out)
	}
	r.Gap = oneDay
	want = r.DeactivatedAt.Add(r.Terms.Quiet).Format("2006-01-02 15:04")
	if out := rotationOf(t, report.Text, r, events, report.Options{}); !strings.Contains(out, "not before "+want) {
		t.Errorf("want a limit %s:\n%s", want, out)
	}
}

func TestRotationJSON_validatesAgainstItsPublishedSchema(t *testing.T) {
	var strict map[string]any
	if err := json.Unmarshal(report.RotationSchema(), &strict); err != nil {
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
	for _, schema := range [][]byte{report.RotationSchema(), closed} {
		one, list := compile(t, schema, ""), compile(t, schema, "#/$defs/rotations")
		for _, o := range []report.Options{{}, {MaskKeys: true}} {
			for _, s := range rotate.States() {
				r, events := rotationIn(s)
				validate(t, one, rotationOf(t, report.JSON, r, events, o))
			}
			r, events := firstKey(rotate.Done)
			validate(t, one, rotationOf(t, report.JSON, r, events, o))
			r, events = hostileRotation()
			validate(t, one, rotationOf(t, report.JSON, r, events, o))
			validate(t, list, rotationsOf(t, report.JSON, append(rotationsInAll(), r), o))
			validate(t, list, rotationsOf(t, report.JSON, nil, o))
		}
	}
}

func TestRotationSchema_listsEveryValueOfARotation(t *testing.T) {
	type property struct {
		Enum  []string
		Items struct{ Enum []string }
	}
	var schema struct {
		Properties map[string]property
		Defs       map[string]struct {
			Enum       []string
			Properties map[string]property
		} `json:"$defs"`
	}
	if err := json.Unmarshal(report.RotationSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	want := func(name string, got []string, values []string, more ...string) {
		t.Helper()
		values = append(values, more...)
		slices.Sort(got)
		slices.Sort(values)
		if !slices.Equal(got, values) {
			t.Errorf("%s: the schema has %q, a rotation %q", name, got, values)
		}
	}
	want("state", schema.Defs["state"].Enum, texts(rotate.States()))
	want("resume", schema.Properties["resume"].Enum, texts(rotate.States()), "")
	want("resume of a row", schema.Defs["row"].Properties["resume"].Enum, texts(rotate.States()), "")
	want("intent", schema.Properties["intent"].Enum, texts(rotate.Acts()), "")
	want("mode", schema.Defs["terms"].Properties["mode"].Enum, texts(rotate.Modes()), "")
	want("target", schema.Defs["target"].Properties["state"].Enum, texts(rotate.TargetStates()))
	event := schema.Defs["event"].Properties
	want("from", event["from"].Enum, texts(rotate.States()), "")
	want("name", event["name"].Enum, texts(rotate.EventNames()), "")
	want("act", event["act"].Enum, texts(rotate.Acts()), "")
}

func texts[T ~string](values []T) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

func TestWriteRotations_emptyLedgerIsSaidInALine(t *testing.T) {
	if got := rotationsOf(t, report.Text, nil, report.Options{}); got != "No rotation is under way; --all lists those that are over.\n" {
		t.Errorf("got %q", got)
	}
}

func TestWriteRotation_refusesOtherFormatsAndReturnsWriteErrors(t *testing.T) {
	r, events := rotationIn(rotate.Held)
	for _, f := range []report.Format{report.Markdown, report.CSV, "nonsense"} {
		if report.WriteRotation(&bytes.Buffer{}, f, &r, events, report.Options{}, asOf) == nil || report.WriteRotations(&bytes.Buffer{}, f, nil, report.Options{}, asOf) == nil {
			t.Errorf("%s is taken", f)
		}
	}
	for _, f := range report.RotationFormats() {
		if report.WriteRotation(broken{}, f, &r, events, report.Options{}, asOf) == nil || report.WriteRotations(broken{}, f, []rotate.Rotation{r}, report.Options{}, asOf) == nil {
			t.Errorf("%s: an error of the writer is lost", f)
		}
	}
}
