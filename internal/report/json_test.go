package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/report"
)

func compile(t *testing.T, schema []byte, at string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("test:schema", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("test:schema" + at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, doc string) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
	if err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%#v", err)
	}
}

func TestJSON_validatesAgainstItsPublishedSchema(t *testing.T) {
	s := compile(t, report.AuditSchema(), "")
	masked := options()
	masked.MaskKeys = true
	for _, o := range []report.Options{{}, options(), masked} {
		validate(t, s, render(t, report.JSON, fixture(), o))
	}
	validate(t, s, render(t, report.JSON, emptyAudit(), report.Options{}))
	validate(t, s, render(t, report.JSON, &finding.Audit{AsOf: asOf, Verdicts: each(nil)}, report.Options{}))
	line := compile(t, report.AuditSchema(), "#/$defs/verdict")
	for l := range strings.Lines(render(t, report.NDJSON, fixture(), options())) {
		validate(t, line, l)
	}
}

func TestAuditSchema_describesEveryFieldWeWrite(t *testing.T) {
	// With unknown fields forbidden everywhere, only what the schema names may be written.
	var schema map[string]any
	if err := json.Unmarshal(report.AuditSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	var forbid func(any)
	forbid = func(n any) {
		switch n := n.(type) {
		case map[string]any:
			if _, ok := n["properties"].(map[string]any); ok && n["additionalProperties"] == nil {
				n["additionalProperties"] = false
			}
			for _, c := range n {
				forbid(c)
			}
		case []any:
			for _, c := range n {
				forbid(c)
			}
		}
	}
	forbid(schema)
	strict, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	validate(t, compile(t, strict, ""), render(t, report.JSON, fixture(), options()))
}

// The contract in words: the names and the order that others rely on.
func TestJSON_keepsTheOrderOfTheContract(t *testing.T) {
	out := render(t, report.JSON, fixture(), options())
	check := func(where string, names ...string) {
		t.Helper()
		at := 0
		for _, n := range names {
			i := strings.Index(out[at:], `"`+n+`": `)
			if i < 0 {
				t.Fatalf("%s: no field %q after byte %d", where, n, at)
			}
			at += i
		}
	}
	check("audit", "schema", "tool", "as_of", "ruleset", "complete", "accounts", "verdicts", "summary", "due", "not_judged",
		"exceptions", "scoreboard", "notes")
	check("account", "accounts", "id", "partition", "name", "evidence", "source", "path", "generated_at", "read_at", "newest",
		"users", "keys", "active_keys", "gaps", "reading", "subject", "why")
	check("verdict", "verdicts", "id", "rule", "kind", "status", "severity", "account", "user", "user_arn", "key", "message",
		"facts", "since", "remedy", "controls", "exception", "title", "due")
	check("key", "verdicts", "slot", "active", "created_at", "last_used_at", "last_used_service", "last_used_region")
	if !strings.HasSuffix(out, "}\n") || !strings.Contains(out, "<root_account>") || !strings.Contains(out, `"key": null`) {
		t.Error("final newline, unescaped <root_account> or a null key is missing")
	}
}

func TestReadAudit_givesBackWhatJSONWrote(t *testing.T) {
	want := fixture()
	got, vs, err := report.ReadAudit(strings.NewReader(render(t, report.JSON, want, options())))
	if err != nil {
		t.Fatal(err)
	}
	opts := cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b fact.Time) bool { return a == b }), cmpopts.IgnoreFields(finding.Audit{}, "Verdicts")}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("audit (-written +read):\n%s", diff)
	}
	if diff := cmp.Diff(fixtureVerdicts(), vs, opts); diff != "" {
		t.Errorf("verdicts (-written +read):\n%s", diff)
	}
	n := 0
	for v := range got.Verdicts {
		if v != &vs[n] {
			t.Fatalf("the audit's verdict %d is not that of the slice", n)
		}
		n++
	}
	if again := render(t, report.JSON, got, options()); again != render(t, report.JSON, want, options()) {
		t.Error("written again it differs")
	}
}

func TestReadAudit_takesUnknownFieldsAndRefusesTheRest(t *testing.T) {
	good := render(t, report.JSON, fixture(), options())
	if _, _, err := report.ReadAudit(strings.NewReader(strings.Replace(good, `"tool":`, `"later": [1], "tool":`, 1))); err != nil {
		t.Errorf("a field of a later version: %v", err)
	}
	id := fixtureVerdicts()[0].ID
	for name, c := range map[string]struct {
		in, want string
		foreign  bool
	}{
		"empty":           {"", "it is empty", true},
		"html":            {"<html>", "invalid character", true},
		"cut":             {good[:len(good)/2], "unexpected EOF", true},
		"a second value":  {good + "{}", "more follows", true},
		"foreign":         {`{"Users": []}`, "names no schema", true},
		"an array":        {`[]`, "names no schema", true},
		"a plan":          {`{"schema": "keyreeve.plan/1"}`, `"keyreeve.plan/1"`, true},
		"a later version": {`{"schema": "keyreeve.audit/2"}`, "hint: read it with the version that wrote it", false},
		"no verdicts":     {`{"schema": "keyreeve.audit/1", "as_of": "2026-01-01T00:00:00Z", "complete": true}`, `"verdicts" is missing`, false},
		"no completeness": {`{"schema": "keyreeve.audit/1", "as_of": "2026-01-01T00:00:00Z", "verdicts": []}`, `"complete" is missing`, false},
		"bad time":        {strings.Replace(good, `"as_of": "2026-11-22T06:00:00Z"`, `"as_of": "yesterday"`, 1), `"yesterday"`, false},
		"bad status":      {strings.Replace(good, `"status": "excepted"`, `"status": "fine"`, 1), `"fine"`, false},
		"bad severity":    {strings.Replace(good, `"severity": "critical"`, `"severity": "huge"`, 1), `"huge"`, false},
		"twice":           {strings.Replace(good, fixtureVerdicts()[1].ID, id, 1), "repeats id", false},
	} {
		_, _, err := report.ReadAudit(strings.NewReader(c.in))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "\nhint: ") {
			t.Errorf("%s: %v, want %q and a hint", name, err, c.want)
		}
		if errors.Is(err, report.ErrNotAudit) != c.foreign {
			t.Errorf("%s: is ErrNotAudit: %v, want %v", name, !c.foreign, c.foreign)
		}
	}
}

func FuzzReadAudit(f *testing.F) {
	// Small seeds: the fuzzer spends its time on shrinking long ones.
	seeds, err := filepath.Glob(filepath.Join("testdata", "seed", "*.json"))
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range seeds {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		a, vs, err := report.ReadAudit(bytes.NewReader(in))
		if err != nil {
			return
		}
		if d := finding.Diff(vs, vs); len(d.New)+len(d.Gone) != 0 {
			t.Errorf("an audit differs from itself: %+v", d)
		}
		for _, format := range []report.Format{report.JSON, report.Text} {
			if err := report.Write(&bytes.Buffer{}, format, a, report.Options{All: true}); err != nil {
				t.Errorf("what was read cannot be written as %s: %v", format, err)
			}
		}
	})
}
