package notice_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// The golden files hold a digest of every kind of change in each form: -update rewrites them, review the difference.
func TestCompose_digestReadsLikeThis(t *testing.T) {
	got := compose(t, routing(notice.Terms{Name: "team", Digest: true}), cycle())
	if len(got) != 1 || got[0].More != 0 || len(got[0].Covers) != len(cycle()) {
		t.Fatalf("%d messages: %+v", len(got), got)
	}
	m := got[0].Message
	golden(t, "digest.txt", []byte(m.Text()))
	golden(t, "digest.md", []byte(m.Markdown()))
	body, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, body, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "digest.json", append(indented.Bytes(), '\n'))
}

func TestCompose_eachChangeIsAMessageOfItsOwn(t *testing.T) {
	got := compose(t, routing(notice.Terms{Name: "each"}), cycle())
	var all strings.Builder
	for _, m := range got {
		if len(m.Items) != 1 || len(m.Covers) != 1 || m.ID != m.Items[0].ID || m.ID != m.Covers[0] || m.Thread == "" {
			t.Errorf("%+v", m)
		}
		all.WriteString(m.Text() + "\n")
	}
	if len(got) != len(cycle()) {
		t.Errorf("%d messages, want %d", len(got), len(cycle()))
	}
	golden(t, "each.txt", []byte(all.String()))
}

func TestCompose_theSameChangesGiveTheSameNoticesInAnyOrder(t *testing.T) {
	for _, terms := range []notice.Terms{{Name: "a", Digest: true}, {Name: "a"}, {Name: "a", Digest: true, Whole: true, Most: 2}} {
		r := routing(terms)
		want := compose(t, r, cycle())
		for range 20 {
			changes := cycle()
			rand.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
			changes = append(changes, changes[0]) // twice is once
			if d := cmp.Diff(want, compose(t, r, changes), cmpopts.EquateComparable(fact.Time{})); d != "" {
				t.Fatalf("%+v (-want +got):\n%s", terms, d)
			}
		}
	}
}

func TestItemID_dependsOnTheChangeAndTheChannelAlone(t *testing.T) {
	base := opened(verdict(prod, "a", "key-age-90", finding.High), now, nil)
	same := opened(verdict(prod, "a", "key-age-90", finding.Low), now.In(time.FixedZone("x", 3600)), map[string]string{"owner": "b"})
	same.Verdict.Message, same.Account.Name = "other words", "renamed"
	if base.ItemID("x") != same.ItemID("x") {
		t.Error("words, tags, names or the zone of its instant change the id")
	}
	ids := map[string]string{base.ItemID("x"): "itself"}
	for what, other := range map[string]string{
		"another channel": base.ItemID("y"),
		"another instant": func() string { c := base; c.At = now.Add(time.Microsecond); return c.ItemID("x") }(),
		"another kind":    func() string { c := base; c.Kind = notice.Overdue; return c.ItemID("x") }(),
		"another user": func() string {
			c := opened(verdict(prod, "b", "key-age-90", finding.High), now, nil)
			return c.ItemID("x")
		}(),
	} {
		if before, twice := ids[other]; twice {
			t.Errorf("%s has the id of %s", what, before)
		}
		ids[other] = what
	}
}

func TestCompose_isCutAtItsLengthAndSaysSo(t *testing.T) {
	var changes []notice.Change
	for i := range 200 {
		changes = append(changes, opened(verdict(prod, fmt.Sprintf("user-%03d", i), "key-age-90", finding.High), now, nil))
	}
	for _, want := range []struct {
		terms notice.Terms
		shown int
	}{
		{notice.Terms{Name: "a", Digest: true, Length: 1 << 20}, 50},
		{notice.Terms{Name: "a", Digest: true, Most: 3}, 3},
		{notice.Terms{Name: "a", Digest: true, Length: 1}, 1},
		{notice.Terms{Name: "a", Digest: true, Most: 1000, Length: 1 << 20}, 200},
	} {
		got := compose(t, routing(want.terms), changes)
		if len(got) != 1 || len(got[0].Items) != want.shown || got[0].More != 200-want.shown || len(got[0].Covers) != 200 {
			t.Errorf("%+v: %d messages, %d items, %d more, covers %d", want.terms, len(got), len(got[0].Items), got[0].More, len(got[0].Covers))
			continue
		}
		if tail := fmt.Sprintf("and %d more", 200-want.shown); strings.Contains(got[0].Text(), tail) != (want.shown < 200) {
			t.Errorf("%+v: the text does not end in %q", want.terms, tail)
		}
		if !strings.HasPrefix(got[0].Subject, "keyreeve: 200 opened") {
			t.Errorf("the subject %q does not count what was cut", got[0].Subject)
		}
	}
	if n := utf8.RuneCountInString(compose(t, routing(notice.Terms{Name: "a", Digest: true}), changes)[0].Text()); n > 9000 {
		t.Errorf("%d characters by default", n)
	}
	short := compose(t, routing(notice.Terms{Name: "a", Digest: true, Length: 2000}), changes)[0]
	if n := utf8.RuneCountInString(short.Text()); n > 2600 || len(short.Items) < 8 {
		t.Errorf("%d characters, %d items for a length of 2000", n, len(short.Items))
	}
}

func TestCompose_aWholeChannelLeavesNothingOut(t *testing.T) {
	var changes []notice.Change
	for i := range 205 {
		changes = append(changes, opened(verdict(prod, fmt.Sprintf("user-%03d", i), "key-age-90", finding.High), now, nil))
	}
	got := compose(t, routing(notice.Terms{Name: "a", Digest: true, Whole: true, Most: 100, Length: 1}), changes)
	seen := map[string]bool{}
	for _, m := range got {
		if m.More != 0 || len(m.Items) > 100 || len(m.Items) != len(m.Covers) {
			t.Errorf("%d items, %d more", len(m.Items), m.More)
		}
		for _, id := range m.Covers {
			seen[id] = true
		}
	}
	if len(got) != 3 || len(seen) != 205 {
		t.Errorf("%d messages with %d changes", len(got), len(seen))
	}
}

func TestCompose_keyIDsAreMaskedUnlessAskedForInFull(t *testing.T) {
	changes := cycle()
	changes[0].Tags["owner"] = "holder of AKIAIOSFODNN7EXAMPLE"
	changes[0].Verdict.Message = "AKIAIOSFODNN7EXAMPLE is 91 days old"
	changes[7].Gap.Why = "no AKIAIOSFODNN7EXAMPLE"
	changes[8].Exception.Key = "AKIAIOSFODNN7EXAMPLE"
	for _, full := range []bool{false, true} {
		m := compose(t, routing(notice.Terms{Name: "a", Digest: true, FullKeys: full}), changes)[0]
		body, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		for what, text := range map[string]string{"text": m.Text(), "markdown": m.Markdown(), "json": string(body)} {
			if strings.Contains(text, "AKIAIOSFODNN7EXAMPLE") != full || strings.Contains(text, "AKIAI44QH8DHBEXAMPLE") != full {
				t.Errorf("%s with full keys %v:\n%s", what, full, text)
			}
		}
		if strings.Contains(string(body), "not told") {
			t.Error("a tag that names no owner is in the message")
		}
	}
	if changes[0].Verdict.Key.ID != "AKIAIOSFODNN7EXAMPLE" {
		t.Error("masking changed what was handed in")
	}
}

func TestCompose_refusesAChangeThatLacksItsRecord(t *testing.T) {
	v := verdict(prod, "a", "key-age-90", finding.High)
	for what, c := range map[string]notice.Change{
		"unknown kind": {Kind: "new", At: now, Verdict: v},
		"instant":      {Kind: notice.Opened, Verdict: v},
		"verdict":      {Kind: notice.Opened, At: now},
		"why":          {Kind: notice.Closed, At: now, Verdict: v},
		"rotation":     {Kind: notice.Waits, At: now},
		"gap":          {Kind: notice.Unreadable, At: now, Account: prod},
		"exception":    {Kind: notice.Expiring, At: now},
	} {
		if _, err := routing(notice.Terms{Name: "a"}).Parcels([]notice.Change{c}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(notice.NoticeSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("mem:s", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mem:s")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEncode_isAsTheSchemaSaysAndComesBack(t *testing.T) {
	s := compiled(t)
	messages := compose(t, routing(notice.Terms{Name: "a", Digest: true, FullKeys: true}, notice.Terms{Name: "b"}), cycle())
	messages = append(messages, notice.Composed{Message: notice.NewTest(notice.Terms{Name: "c", Default: []string{"a@example.com"}}, now)})
	for _, m := range messages {
		body, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("%s\n%v", body, err)
		}
		got, err := notice.Decode(body)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m.Message, got, cmpopts.EquateComparable(fact.Time{}), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(fact.Gap{}, "Denied"), cmpopts.IgnoreFields(finding.Verdict{}, "Account")); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		again, err := got.Encode()
		if err != nil || !bytes.Equal(body, again) {
			t.Errorf("encoded again, %v:\n%s\n%s", err, body, again)
		}
	}
	kinds := string(notice.NoticeSchema())
	for _, k := range notice.Kinds() {
		if !strings.Contains(kinds, `"`+string(k)+`"`) {
			t.Errorf("the schema has no kind %s", k)
		}
	}
	for _, r := range notice.Reasons() {
		if !strings.Contains(kinds, `"`+string(r)+`"`) {
			t.Errorf("the schema has no reason %s", r)
		}
	}
}

// A receiver would read null as never used.
func TestEncode_leavesOutWhatIsNotKnown(t *testing.T) {
	v := verdict(prod, "ci-deploy", "key-age-90", finding.High)
	v.UserARN, v.Facts, v.Controls, v.Key.LastUsed = "", nil, nil, fact.Use{}
	m := compose(t, routing(notice.Terms{Name: "a"}), []notice.Change{opened(v, now, nil)})[0]
	body, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled(t).Validate(doc); err != nil {
		t.Errorf("%s\n%v", body, err)
	}
	for _, name := range []string{"user_arn", "facts", "controls", "slot", "last_used_at", "last_used_service", "last_used_region", "never_used"} {
		if bytes.Contains(body, []byte(`"`+name+`"`)) {
			t.Errorf("it tells of %s: %s", name, body)
		}
	}
}

func TestEncode_refusesAnInstantThatHasNoFormInJSON(t *testing.T) {
	v := verdict(prod, "a", "key-age-90", finding.High)
	v.Since = fact.At(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))
	m := compose(t, routing(notice.Terms{Name: "a"}), []notice.Change{opened(v, now, nil)})[0]
	if _, err := m.Encode(); err == nil {
		t.Error("the year 10000 was written")
	}
}

func TestDecode_refusesWhatIsNoNotice(t *testing.T) {
	for _, body := range []string{"", "{}", "null", `{"schema":"keyreeve.notice/2"}`, `{"schema":"keyreeve.notice/1"}`,
		`{"schema":"keyreeve.notice/1","id":"a","channel":"b","items":[{"id":"x","kind":"opened","at":"2026-11-22T12:00:00Z"}]}`} {
		if _, err := notice.Decode([]byte(body)); err == nil {
			t.Errorf("%q was taken", body)
		}
	}
}

func TestKinds_areCoveredByEveryText(t *testing.T) {
	var seen []notice.Kind
	for _, c := range cycle() {
		seen = append(seen, c.Kind)
	}
	for _, k := range notice.Kinds() {
		if !slices.Contains(seen, k) {
			t.Errorf("the golden files have no %s", k)
		}
	}
}
