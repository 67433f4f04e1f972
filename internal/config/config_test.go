package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/keyreeve/keyreeve/internal/courier"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/seal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// dir is absolute on every system.
var dir, _ = filepath.Abs("testdata")

func env() Env {
	return Env{Dir: dir, Getenv: func(name string) string {
		return map[string]string{"HOME": filepath.Join(dir, "home"), "VAULT_ADDR": "https://vault.example.com", "OTHER": "x"}[name]
	}}
}

func load(text string) (*Config, error) { return Load("k.yaml", []byte(text), env(), now, now) }

func loaded(t *testing.T, text string) *Config {
	t.Helper()
	c, err := load(text)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c
}

func user(name, path string, tags map[string]string) fact.User {
	return fact.User{Name: name, Path: path, ARN: "arn:aws:iam::111122223333:user" + path + name, Tags: tags, TagsRead: tags != nil}
}

func example(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("../../examples/keyreeve.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const day = 24 * time.Hour

// termsFor fails where the user has no terms.
func termsFor(t *testing.T, c *Config, u fact.User) *UserTerms {
	t.Helper()
	out, ok, err := c.For(u)
	if err != nil || !ok {
		t.Fatalf("%s: %v, %v", u.Name, ok, err)
	}
	return out
}

func TestLoad_readsTheExample(t *testing.T) {
	c := loaded(t, string(example(t)))
	if len(c.Exceptions.All()) != 1 || c.Targets() != 5 || c.Entries() != 4 || len(c.Warnings) != 0 {
		t.Errorf("%d exceptions, %d targets, %d entries, warnings %q", len(c.Exceptions.All()), c.Targets(), c.Entries(), c.Warnings)
	}
	standard := rotate.Terms{}.WithDefaults()
	ci := standard
	ci.Unproven, ci.Quiet = true, 14*day
	vendor := standard
	vendor.Proof = 30 * day
	program := "/usr/local/bin/handover"
	for _, want := range []struct {
		u    fact.User
		want UserTerms
	}{
		{user("ci-deploy", "/", map[string]string{}), UserTerms{Terms: ci, Targets: []Target{
			{Name: "ci-secret", Kind: SecretsManager, Secret: &courier.SecretSettings{
				Secret: "prod/ci-deploy", Region: "eu-west-1", RoleARN: "arn:aws:iam::111122223333:role/keyreeve-deliver", ExternalID: "keyreeve",
				Fields: courier.Fields{KeyID: "AccessKeyId", Secret: "SecretAccessKey"},
			}},
			{Name: "script", Kind: Command, Command: &courier.CommandSettings{
				Argv: []string{program, "--prod"}, Environment: map[string]string{"VAULT_ADDR": "https://vault.example.com"}, User: "ci-deploy", Limit: 30 * time.Second,
			}},
		}}},
		{user("etl", "/service/", map[string]string{"team": "data"}), UserTerms{Terms: standard, Targets: []Target{
			{Name: "data-parameter", Kind: SSM, Parameter: &courier.ParameterSettings{Name: "/data/111122223333/etl/key", Region: "eu-central-1"}},
		}}},
		{user("own-robot", "/", map[string]string{}), UserTerms{Terms: standard, Own: true, Targets: []Target{
			{Name: "laptop", Kind: CredentialsFile, Credentials: &courier.CredentialsSettings{
				Path: filepath.Join(dir, "home", ".aws", "credentials"), Profile: "robot",
			}},
		}}},
		{user("vendor-a", "/", map[string]string{}), UserTerms{Terms: vendor, Targets: []Target{
			{Name: "handover", Kind: SealedFile, Sealed: &courier.SealedSettings{
				Path: filepath.Join(dir, "out", "111122223333", "vendor-a.age"), User: "vendor-a",
				Recipients: []string{"age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"},
			}},
		}}},
	} {
		got := termsFor(t, c, want.u)
		if !strings.HasPrefix(got.Origin, "k.yaml:") {
			t.Errorf("%s: origin %q", want.u.Name, got.Origin)
		}
		got.Origin = ""
		opaque := cmp.Comparer(func(a, b *seal.Box) bool { return a == b })
		if d := cmp.Diff(&want.want, got, opaque); d != "" {
			t.Errorf("%s (-want +got):\n%s", want.u.Name, d)
		}
	}
}

func TestLoad_anEmptyFileIsFine(t *testing.T) {
	for _, text := range []string{"", "\n \n", "# rate: 5\n", "---\n# nothing yet\n", "null\n", "exceptions:\n", "rotation:\n", "notices:\n", "notices:\n  channels:\n  routes:\n", "\ufeff# a\n", "rotation:\n  targets:\n  users:\n"} {
		c, err := load(text)
		if err != nil || c.Exceptions == nil || len(c.Exceptions.All()) != 0 || c.Targets()+c.Entries() != 0 {
			t.Errorf("%q: %+v, %v", text, c, err)
			continue
		}
		if _, ok, err := c.For(user("a", "/", nil)); ok || err != nil {
			t.Errorf("%q: terms for a user: %v, %v", text, ok, err)
		}
	}
}

// The golden file holds every mistake with its text: -update rewrites it, review the difference.
func TestLoad_mistakesReadLikeThis(t *testing.T) {
	golden := filepath.Join("testdata", "mistakes.golden")
	files, err := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	var got bytes.Buffer
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Load(filepath.Base(f), data, Env{Dir: dir}, now, now)
		if err == nil {
			t.Errorf("%s: no mistake was found", f)
			continue
		}
		got.WriteString(err.Error() + "\n\n")
	}
	compare(t, golden, got.Bytes())
}

func compare(t *testing.T, golden string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", golden, d)
	}
}

func TestLoad_warnsOfWhatHasNoEffect(t *testing.T) {
	c := loaded(t, `rotation:
  targets:
    a: {ssm: {parameter: "/{user}"}}
    b: {ssm: {parameter: "/b/{user}"}}
    c: {ssm: {parameter: "/c/{account}/{user}"}}
  users:
    - {user: "ci-*", targets: [a, c]}
    - {user: ci-deploy, targets: [a]}
    - {user: other, targets: [a]}
    - {user: "ci-*", account: "111122223333", targets: [c]}
    - {path: /x/, targets: [a]}
    - {user: "*", targets: [a]}
`)
	compare(t, filepath.Join("testdata", "warnings.golden"), []byte(strings.Join(c.Warnings, "\n\n")+"\n"))
}

func TestLoad_showsNoPrivateKey(t *testing.T) {
	const secret = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"
	for _, text := range []string{
		"rotation: {targets: {a: {sealed_file: {path: a, recipients: [" + secret + "]}}}}\n",
		"rotation: {targets: {a: {sealed_file: {path: a, recipients: " + secret + "}}}}\n",
		"rotation: {targets: {a: {sealed_file: {path: a, identity: " + strings.ToLower(secret) + "}}}}\n",
		"rotation: {targets: " + secret + "}\n",
		secret + ": a\n",
		"a: {" + secret + "\n",
	} {
		_, err := load(text)
		if err == nil || strings.Contains(strings.ToUpper(err.Error()), secret[:30]) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

const two = `rotation:
  targets:
    a: {ssm: {parameter: "/a/{user}"}}
    b: {ssm: {parameter: "/b/{user}"}}
  users:
    - {user: "CI-*", tag: {env: prod}, targets: [a]}
    - {user: "ci-*", targets: [b]}
    - {user: "arn:aws:iam::111122223333:user/team/*", targets: [b, a]}
`

func TestFor_theFirstMatchWinsAndNamesAreMatchedWhole(t *testing.T) {
	c := loaded(t, two)
	for _, want := range []struct {
		u      fact.User
		target string
	}{
		{user("ci-x", "/", map[string]string{"env": "prod"}), "a"},
		{user("ci-x", "/", map[string]string{"env": "test"}), "b"},
		{user("ci-x", "/", map[string]string{}), "b"},
		{user("x-ci-x", "/", nil), ""},
		{user("ci", "/", nil), ""},
		{user("z", "/team/", nil), "b"},
		{fact.User{Name: fact.RootName, Root: true}, ""},
	} {
		got, ok, err := c.For(want.u)
		if err != nil || ok != (want.target != "") || ok && got.Targets[0].Name != want.target {
			t.Errorf("%s %v: %+v, %v, %v; want %q", want.u.Name, want.u.Tags, got, ok, err, want.target)
		}
	}
}

func TestFor_refusesToGuessWhereTagsWereNotRead(t *testing.T) {
	c := loaded(t, two)
	_, ok, err := c.For(user("ci-x", "/", nil))
	if ok || err == nil || !strings.Contains(err.Error(), "k.yaml:6") {
		t.Errorf("got %v, %v", ok, err)
	}
}

func TestFor_refusesWhatItCannotName(t *testing.T) {
	c := loaded(t, `rotation:
  targets:
    f: {sealed_file: {path: "{account}/{user}", recipients: [age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj]}}
    p: {ssm: {parameter: "/p/{user}"}}
    q: {credentials_file: {path: ~/q, profile: "{user}"}}
    x: {sealed_file: {path: "{user}/b", recipients: [age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj]}}
    y: {sealed_file: {path: "clash/{user}", recipients: [age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj]}}
  users:
    - {user: "p*", targets: [p]}
    - {user: "q*", targets: [q]}
    - {user: "?lash", targets: [x]}
    - {user: "b", targets: [y]}
    - {user: "*", targets: [f]}
`)
	c.env.Getenv = nil
	for _, want := range []struct {
		u    fact.User
		text string
	}{
		{user("..", "/", nil), "no place can be named after it"},
		{user("a/b", "/", nil), "no place can be named after it"},
		{user("", "/", nil), "no place can be named after it"},
		{user("{account}", "/", nil), "no place can be named after it"},
		{fact.User{Name: "a"}, "names the account, which is not known"},
		{user("p@x", "/", nil), `the parameter "/p/p@x" is not the name of one`},
		{user("q", "/", nil), "HOME names no directory"},
	} {
		got, ok, err := c.For(want.u)
		if got != nil || ok || err == nil || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%q: %+v, %v, %v; want %q", want.u.Name, got, ok, err, want.text)
		}
	}
}

func TestFor_onePlaceTwiceForOneUserIsRefused(t *testing.T) {
	c := loaded(t, `rotation:
  targets:
    a: {ssm: {parameter: "/x/{user}"}}
    b: {ssm: {parameter: "/x/ci"}}
  users:
    - {user: ci, targets: [a, b]}
`)
	if _, ok, err := c.For(user("ci", "/", nil)); ok || err == nil || !strings.Contains(err.Error(), `target "b" is the same place as "a"`) {
		t.Errorf("got %v, %v", ok, err)
	}
}

func TestFor_givesValuesOfTheirOwn(t *testing.T) {
	c := loaded(t, string(example(t)))
	u := user("ci-x", "/", map[string]string{})
	got := termsFor(t, c, u)
	got.Targets[0].Secret.Secret = "changed"
	got.Targets[1].Command.Argv[0] = "changed"
	got.Targets[1].Command.Environment["VAULT_ADDR"] = "changed"
	again := termsFor(t, c, u)
	if again.Targets[0].Secret.Secret != "prod/ci-x" || again.Targets[1].Command.Argv[0] == "changed" || again.Targets[1].Command.Environment["VAULT_ADDR"] == "changed" {
		t.Errorf("a change of one shows in the next: %+v", again.Targets)
	}
}

func TestTarget_isWhatForGivesWhoeverTheEntriesAreAbout(t *testing.T) {
	c := loaded(t, string(example(t)))
	for _, u := range []fact.User{user("ci-x", "/", map[string]string{}), user("vendor-x", "/", map[string]string{})} {
		for _, want := range termsFor(t, c, u).Targets {
			got, ok, err := c.Target(want.Name, "111122223333", u.Name)
			if !ok || err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, %v, %v; want %+v", want.Name, got, ok, err, want)
			}
		}
	}
	if got, ok, err := c.Target("data-parameter", "444455556666", "nobody"); !ok || err != nil || got.Parameter.Name != "/data/444455556666/nobody/key" {
		t.Errorf("a user that no entry is about: %+v, %v, %v", got, ok, err)
	}
	if _, ok, err := c.Target("no-more", "111122223333", "ci-x"); ok || err != nil {
		t.Errorf("a target that is gone: %v, %v", ok, err)
	}
	if _, ok, err := c.Target("handover", "111122223333", ".."); !ok || err == nil {
		t.Errorf("a name that is a path: %v, %v", ok, err)
	}
}

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(ConfigSchema()))
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

func TestSchema_takesWhatLoadTakes(t *testing.T) {
	s := compiled(t)
	for _, text := range []string{string(example(t)), two, "exceptions:\n", "rotation:\n", "rotation: {targets: {}, users: []}\n", "notices: {channels: {}, routes: []}\n", simple} {
		if _, err := load(text); err != nil {
			t.Errorf("%s\nLoad refuses it: %v", text, err)
		}
		if err := validate(t, s, []byte(text)); err != nil {
			t.Errorf("%s\nthe schema refuses it: %v", text, err)
		}
	}
	for _, name := range []string{"shape.yaml", "notices.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", "bad", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, data); err == nil {
			t.Errorf("the schema takes %s", name)
		}
	}
}

func TestSchema_listsTheKeysThatLoadKnows(t *testing.T) {
	type object struct {
		Properties map[string]json.RawMessage
		Defs       map[string]json.RawMessage `json:"$defs"`
	}
	read := func(data []byte) (o object) {
		t.Helper()
		if err := json.Unmarshal(data, &o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	root := read(ConfigSchema())
	for what, c := range map[string]struct {
		schema object
		keys   []string
	}{
		"the file":          {root, sections()},
		"rotation":          {read(root.Properties["rotation"]), rotationKeys()},
		"an entry of users": {read(root.Defs["user"]), entryKeys()},
		"a target":          {read(root.Defs["target"]), kindNames()},
		"notices":           {read(root.Properties["notices"]), noticesKeys()},
		"a channel":         {read(root.Defs["channel"]), channelKeys("")},
		"a route":           {read(root.Defs["route"]), routeKeys()},
	} {
		var have []string
		for k := range c.schema.Properties {
			have = append(have, k)
		}
		slices.Sort(have)
		slices.Sort(c.keys)
		if !slices.Equal(have, c.keys) {
			t.Errorf("%s: the schema has %v, the loader %v", what, have, c.keys)
		}
	}
	var own, theirs any
	for to, data := range map[*any]json.RawMessage{&own: root.Defs["exception"], &theirs: read(rule.ExceptionsSchema()).Defs["exception"]} {
		if err := json.Unmarshal(data, to); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(own, theirs) {
		t.Error("an exception is not what it is in exceptions.schema.json")
	}
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range append(files, "../../examples/keyreeve.yaml") {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "ci-a")
	}
	f.Add([]byte(two), "z")
	f.Add([]byte(simple), "z")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		c, err := Load("k.yaml", data, env(), now, now)
		if (c == nil) == (err == nil) {
			t.Fatalf("%q: both or neither: %v, %v", data, c, err)
		}
		if err != nil {
			return
		}
		got, ok, err := c.For(user(name, "/service/", map[string]string{"team": "data"}))
		if ok != (got != nil) || ok && (err != nil || len(got.Targets) == 0) {
			t.Fatalf("%q: %+v, %v, %v", data, got, ok, err)
		}
		if !ok {
			return
		}
		for _, g := range got.Targets {
			filled := &target{Target: g}
			if place, _ := filled.text(); g.Kind != Command && (strings.Contains(place, userHole) || strings.Contains(place, accountHole)) {
				t.Errorf("%q: a placeholder is left in %q", data, place)
			}
		}
	})
}
