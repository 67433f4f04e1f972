package rule

import (
	"bytes"
	"encoding/json"
	"github.com/keyreeve/keyreeve/internal/finding"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compiled(t *testing.T, data []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:s", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mem:s")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate checks YAML against a schema, as an editor would.
func validate(t *testing.T, s *jsonschema.Schema, data []byte) error {
	t.Helper()
	js, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(js))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

// samples reads the files of a directory; none at all fails the test.
func samples(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples in %s: %v", dir, err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[f] = data
	}
	return out
}

func TestSchemas_agreeWithTheLoaders(t *testing.T) {
	for _, c := range []struct {
		dir    string
		schema []byte
		load   func([]byte) error
	}{
		{"ruleset", RulesetSchema(), func(b []byte) error { _, err := Load("f", b); return err }},
		{"exceptions", ExceptionsSchema(), func(b []byte) error { _, err := ParseExceptions("f", b, asOf, asOf); return err }},
	} {
		s := compiled(t, c.schema)
		for f, data := range samples(t, c.dir+"/good") {
			if err := c.load(data); err != nil {
				t.Errorf("%s: the loader refuses it: %v", f, err)
			}
			if err := validate(t, s, data); err != nil {
				t.Errorf("%s: the schema refuses it: %v", f, err)
			}
		}
		for f, data := range samples(t, c.dir+"/bad") {
			if err := c.load(data); err == nil {
				t.Errorf("%s: the loader takes it", f)
			}
			if err := validate(t, s, data); err == nil {
				t.Errorf("%s: the schema takes it", f)
			}
		}
	}
}

func TestSchema_takesTheBuiltinRulesets(t *testing.T) {
	s := compiled(t, RulesetSchema())
	for _, name := range BuiltinNames() {
		data, err := builtins.ReadFile("rulesets/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchema_listsWhatTheLoaderKnows(t *testing.T) {
	var doc struct {
		Properties map[string]any
		Defs       struct {
			Rule struct {
				Properties map[string]struct{ Enum []string }
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(RulesetSchema(), &doc); err != nil {
		t.Fatal(err)
	}
	var kinds, remedies []string
	for _, k := range Kinds() {
		kinds = append(kinds, k.Name)
	}
	for _, r := range finding.Remedies() {
		remedies = append(remedies, string(r))
	}
	rule := doc.Defs.Rule.Properties
	if got := rule["kind"].Enum; !slices.Equal(got, append(kinds, customKind)) {
		t.Errorf("kinds %v", got)
	}
	if got := rule["remedy"].Enum; !slices.Equal(got, remedies) {
		t.Errorf("remedies %v", got)
	}
	if len(rule) != len(ruleKeys()) {
		t.Errorf("%d keys of a rule, want %d", len(rule), len(ruleKeys()))
	}
	for _, k := range ruleKeys() {
		if _, ok := rule[k]; !ok {
			t.Errorf("key %s is not in the schema", k)
		}
	}
}
