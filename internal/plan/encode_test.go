package plan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
)

// sample is a plan with a step of each kind and something left out.
func sample(t testing.TB) *plan.Plan {
	t.Helper()
	return about(
		root(), user("ana", off(key("X", 400*day, 30*day)), off(key("Y", 300*day, never)), key("D", 200*day, 100*day), key("R", 100*day, hour)),
		user("bob", key("A", 60*day, hour), key("B", 50*day, 2*hour)), user("eve", key("E", 60*day, hour)),
	).says(finding.Fail, "root-access-key", finding.Guide, "<root_account>", "").
		left("ana", "X").unused("ana", "D").rotate("ana", "R").many("bob").unused("eve", "E").
		changed("ana", "X", journal.Deactivate, "", 8*day).changed("ana", "Y", journal.Deactivate, journal.Delete, day).make(t)
}

func encode(t testing.TB, p *plan.Plan) []byte {
	t.Helper()
	body, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestPlan_encodesAndDecodesToTheSame(t *testing.T) {
	p := sample(t)
	body := encode(t, p)
	got, err := plan.Decode(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, got); d != "" {
		t.Error(d)
	}
	if again := encode(t, got); !bytes.Equal(body, again) {
		t.Error("a plan that was read is written differently")
	}
	if _, err := (&plan.Plan{}).Encode(); err == nil {
		t.Error("a plan without a digest was encoded")
	}
}

func refused(err error) bool {
	var r *plan.Refusal
	var e *plan.InputError
	return errors.As(err, &r) || errors.As(err, &e)
}

func TestDecode_refusesAPlanWithAnyByteChanged(t *testing.T) {
	body := encode(t, sample(t))
	for i := range body {
		for _, change := range []byte{1, 0x20, 0x80} { // another letter or digit, another case, no UTF-8
			edited := bytes.Clone(body)
			edited[i] ^= change
			if p, err := plan.Decode(bytes.NewReader(edited)); !refused(err) {
				t.Fatalf("byte %d, %q became %q: %v, %v", i, body[i], edited[i], p, err)
			}
		}
		if _, err := plan.Decode(bytes.NewReader(body[:i])); !refused(err) {
			t.Fatalf("cut after %d bytes: %v", i, err)
		}
	}
	for _, more := range []string{"\n", " ", "{}", "x"} {
		if _, err := plan.Decode(bytes.NewReader(append(bytes.Clone(body), more...))); !refused(err) {
			t.Errorf("with %q at its end: %v", more, err)
		}
	}
}

func TestDecode_tellsWhatIsNoPlan(t *testing.T) {
	for text, want := range map[string]string{
		"": "empty file", " \n": "empty file", "{": "line 1", "{\n\"schema\": x}": "line 2", "[]": "no JSON object", "null": "has no schema",
		"{}": "has no schema", `{"schema": "keyreeve.audit/1"}`: "not keyreeve.plan/1", `{"schema": "keyreeve.plan/0"}`: "this program reads keyreeve.plan/1",
		`{"schema": 7}`: "no JSON object",
	} {
		_, err := plan.Decode(strings.NewReader(text))
		var e *plan.InputError
		if !errors.As(err, &e) || !strings.Contains(e.Problem, want) || e.Hint == "" {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A digest is no signature: who seals a plan by other means still meets what Make never writes.
func TestDecode_refusesASealedPlanThatMakesNoSense(t *testing.T) {
	at := func(p *plan.Plan, open bool) *plan.Step {
		for i := range p.Steps {
			if p.Steps[i].Open() == open {
				return &p.Steps[i]
			}
		}
		panic("no such step")
	}
	for name, change := range map[string]func(*plan.Plan){
		"no id":                     func(p *plan.Plan) { at(p, false).ID = "" },
		"two with one id":           func(p *plan.Plan) { p.Steps[1].ID = p.Steps[0].ID },
		"two for one key":           func(p *plan.Plan) { p.Steps[1].KeyID, p.Steps[1].Expect = p.Steps[0].KeyID, p.Steps[0].Expect },
		"unknown action":            func(p *plan.Plan) { at(p, false).Action = "activate" },
		"account":                   func(p *plan.Plan) { at(p, false).Account = "999" },
		"no user":                   func(p *plan.Plan) { at(p, false).User = "" },
		"no user id":                func(p *plan.Plan) { at(p, false).UserID = "" },
		"no key":                    func(p *plan.Plan) { at(p, false).KeyID = "" },
		"undecided with a key":      func(p *plan.Plan) { at(p, true).KeyID = "A" },
		"undecided deletion":        func(p *plan.Plan) { at(p, true).Action, at(p, true).Reversible = plan.Delete, false },
		"undecided between one":     func(p *plan.Plan) { at(p, true).Choices = []string{"A"} },
		"undecided between others":  func(p *plan.Plan) { at(p, true).Choices = []string{"A", "Z"} },
		"undecided with a follower": func(p *plan.Plan) { at(p, true).Then = plan.Delete },
		"decided with choices":      func(p *plan.Plan) { at(p, false).Choices = []string{"A", "B"} },
		"status":                    func(p *plan.Plan) { at(p, false).Expect.Status = "gone" },
		"deactivating an inactive":  func(p *plan.Plan) { at(p, true).Expect.Status = plan.Inactive },
		"no creation":               func(p *plan.Plan) { at(p, false).Expect.CreatedAt = time.Time{} },
		"reversible deletion":       func(p *plan.Plan) { p.Steps[0].Reversible = true },
		"deletion with a follower":  func(p *plan.Plan) { p.Steps[0].Then = plan.Delete },
		"its own sibling":           func(p *plan.Plan) { p.Steps[0].Expect.Siblings[0].KeyID = p.Steps[0].KeyID },
		"depends on a later one":    func(p *plan.Plan) { p.Steps[0].DependsOn = []string{p.Steps[1].ID} },
		"unknown guard":             func(p *plan.Plan) { p.LeftOut[0].Guard = "mood" },
		"no account":                func(p *plan.Plan) { p.Accounts, p.Steps, p.LeftOut = nil, nil, nil },
		"negative terms":            func(p *plan.Plan) { p.Terms.Quiet = -1 },
	} {
		p := sample(t)
		change(p)
		if err := p.Seal(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, err := plan.Decode(bytes.NewReader(encode(t, p)))
		var e *plan.InputError
		if !errors.As(err, &e) || !strings.Contains(e.Problem, "makes no sense") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(plan.PlanSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("test:schema", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("test:schema")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t testing.TB, s *jsonschema.Schema, p *plan.Plan) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(encode(t, p)))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

func TestPlanSchema_holdsForPlansAndNotForOthers(t *testing.T) {
	s := schema(t)
	for _, p := range []*plan.Plan{sample(t), about().make(t), about(user("ana", key("A", 1, never))).make(t)} {
		if err := validate(t, s, p); err != nil {
			t.Errorf("%#v", err)
		}
	}
	for name, change := range map[string]func(*plan.Plan){
		"schema":  func(p *plan.Plan) { p.Schema = "keyreeve.plan/2" },
		"action":  func(p *plan.Plan) { p.Steps[0].Action = "activate" },
		"null":    func(p *plan.Plan) { p.LeftOut = nil },
		"choices": func(p *plan.Plan) { p.Steps[0].Choices = []string{"A", "B"} },
		"guard":   func(p *plan.Plan) { p.LeftOut[0].Guard = "mood" },
	} {
		p := sample(t)
		change(p)
		if validate(t, s, p) == nil {
			t.Errorf("%s: the schema takes it", name)
		}
	}
}

// What the schema lists is what the code has: every field of every object, every action, every guard.
func TestPlanSchema_namesEveryFieldActionAndGuard(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(plan.PlanSchema(), &doc); err != nil {
		t.Fatal(err)
	}
	defs := doc["$defs"].(map[string]any)
	fields := func(o any) map[string]any { return o.(map[string]any)["properties"].(map[string]any) }
	for name, c := range map[string]struct {
		schema any
		value  any
	}{
		"plan": {doc, plan.Plan{}}, "account": {defs["account"], plan.Account{}}, "step": {defs["step"], plan.Step{}},
		"expect": {defs["expect"], plan.Expect{}}, "left out": {defs["left_out"], plan.LeftOut{}},
		"tool": {fields(doc)["tool"], plan.Tool{}}, "terms": {fields(doc)["terms"], plan.Terms{}},
		"sibling": {fields(defs["expect"])["siblings"].(map[string]any)["items"], plan.Sibling{}},
	} {
		body, err := json.Marshal(c.value)
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]any{}
		if err := json.Unmarshal(body, &has); err != nil {
			t.Fatal(err)
		}
		listed := fields(c.schema)
		if len(listed) != len(has) || len(c.schema.(map[string]any)["required"].([]any)) != len(has) {
			t.Errorf("%s: the schema has %d fields, the code %d", name, len(listed), len(has))
		}
		for f := range has {
			if listed[f] == nil {
				t.Errorf("%s: the schema lacks %s", name, f)
			}
		}
	}
	if got, want := len(fields(defs["left_out"])["guard"].(map[string]any)["enum"].([]any)), len(plan.Guards()); got != want {
		t.Errorf("%d guards, want %d", got, want)
	}
	if got, want := len(fields(defs["step"])["action"].(map[string]any)["enum"].([]any)), len(plan.Actions()); got != want {
		t.Errorf("%d actions, want %d", got, want)
	}
	for _, g := range plan.Guards() {
		if !bytes.Contains(plan.PlanSchema(), []byte(`"`+string(g)+`"`)) {
			t.Errorf("the schema lacks the guard %s", g)
		}
	}
}

func FuzzDecode(f *testing.F) {
	body := encode(f, sample(f))
	f.Add(body)
	f.Add(encode(f, about().make(f)))
	f.Add(bytes.Replace(body, []byte("deactivate"), []byte("delete"), 1))
	f.Add(bytes.Replace(body, []byte(`"digest": "sha256:`), []byte(`"digest": "sha256:0`), 1))
	f.Add(body[:len(body)/2])
	f.Add([]byte(`{"schema": "keyreeve.plan/1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := plan.Decode(bytes.NewReader(data))
		if err != nil {
			if !refused(err) {
				t.Errorf("neither refused nor bad input: %v", err)
			}
			return
		}
		if again := encode(t, p); !bytes.Equal(again, data) {
			t.Error("taken, and written differently")
		}
		if err := p.Seal(); err != nil || !bytes.Contains(data, []byte(p.Digest)) {
			t.Errorf("taken with a digest that is not its own: %v", err)
		}
	})
}
