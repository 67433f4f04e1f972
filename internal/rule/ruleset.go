package rule

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

//go:embed rulesets/*.yaml
var builtins embed.FS

// BuiltinNames lists the built-in rulesets.
func BuiltinNames() []string {
	return []string{"default", "conformity", "cis-1.4", "cis-3.0", "cis-5.0", "cis-6.0", "cis-7.0", "aws-fsbp"}
}

// Builtin returns a built-in ruleset. The error lists the names there are.
func Builtin(name string) (*Ruleset, error) {
	if !slices.Contains(BuiltinNames(), name) {
		return nil, fmt.Errorf("unknown ruleset %q\nhint: %s", name, yamlfile.DidYouMean(name, BuiltinNames()))
	}
	file := "rulesets/" + name + ".yaml"
	data, err := builtins.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return load(file, data, true)
}

// Load reads a ruleset from YAML. name is for errors, and names the ruleset where the file does not. The error
// lists every mistake with its place.
func Load(name string, data []byte) (*Ruleset, error) { return load(name, data, false) }

func load(name string, data []byte, builtin bool) (*Ruleset, error) {
	s := newSource(name)
	root := s.Parse(data)
	if root == nil {
		return nil, s.Err()
	}
	rs := s.ruleset(root, builtin)
	if err := s.Err(); err != nil {
		return nil, err
	}
	return rs, nil
}

func rulesetKeys() []string { return []string{"name", "title", "extends", "rules"} }

func (s *source) ruleset(root *ast.MappingNode, builtin bool) *Ruleset {
	f := s.Fields(root, "a ruleset", rulesetKeys())
	rs := &Ruleset{Name: s.Name}
	if v, ok := f["name"]; ok {
		rs.Name = s.Text(v.Value, "name")
		if !builtin && slices.Contains(BuiltinNames(), rs.Name) {
			s.Wrong(v.Value, "give your ruleset a name of its own; extends: "+rs.Name+" builds on it", "name %q is a built-in ruleset's", rs.Name)
		}
	}
	if v, ok := f["title"]; ok {
		rs.Title = s.Text(v.Value, "title")
	}
	if v, ok := f["extends"]; ok {
		base, err := Builtin(s.Text(v.Value, "extends"))
		if err != nil {
			s.Wrong(v.Value, "one of "+strings.Join(BuiltinNames(), ", "), "extends names no built-in ruleset")
		} else {
			rs.Rules = base.Rules
		}
	}
	if v, ok := f["rules"]; ok {
		s.rules(v.Value, rs)
	}
	if len(rs.Rules) == 0 && s.Mistakes() == 0 {
		s.Wrong(root, "list rules:, or build on a ruleset: extends: default", "no rule is switched on: everything would pass")
	}
	return rs
}

// rules reads the entries into rs: one whose id is there already replaces it, in place.
func (s *source) rules(n ast.Node, rs *Ruleset) {
	seen := map[string]bool{}
	for _, item := range s.Items(n, "a list of rules") {
		e := s.ruleEntry(item, rs)
		if e == nil {
			continue
		}
		if seen[e.rule.ID] {
			s.Wrong(e.id, "one entry for each id; a second instance has an id of its own", "a second entry with id %q", e.rule.ID)
			continue
		}
		seen[e.rule.ID] = true
		at := slices.IndexFunc(rs.Rules, func(r Rule) bool { return r.ID == e.rule.ID })
		switch {
		case at >= 0 && e.off:
			rs.Rules = slices.Delete(rs.Rules, at, at+1)
		case at >= 0:
			rs.Rules[at] = e.rule
		case !e.off:
			rs.Rules = append(rs.Rules, e.rule)
		}
	}
}

// ruleEntry is an entry of rules: as it was read.
type ruleEntry struct {
	rule Rule
	id   ast.Node
	off  bool // enabled: false
}

func paramKeys() []string {
	return []string{"max_age", "max_unused", "grace", "window", "max_active", "max_inactive", "console_only"}
}

func customKeys() []string { return []string{"subject", "when", "fail", "message", "remedy", "why"} }

func ruleKeys() []string {
	return slices.Concat([]string{"id", "kind", "severity", "enabled", "title", "scope"}, paramKeys(), customKeys())
}

func (s *source) ruleEntry(n ast.Node, rs *Ruleset) *ruleEntry {
	before := s.Mistakes()
	f := s.Fields(n, "a rule", ruleKeys())
	if f == nil {
		return nil
	}
	idField, ok := f["id"]
	if !ok {
		s.Note(s.MistakeAt(yamlfile.PlaceOf(n), "such as id: key-age-60", "rule without id"))
		return nil
	}
	e := &ruleEntry{id: idField.Value}
	id := s.Text(idField.Value, "id")
	if id == "" {
		return nil
	}
	if !isRuleID(id) {
		s.Wrong(idField.Value, "begin with a small letter; then small letters, digits and dashes, 63 at most", "id %q is not one", id)
		return nil
	}
	if !s.base(e, id, f, rs) {
		return nil
	}
	if v, ok := f["enabled"]; ok {
		e.off = !s.Truth(v.Value, "enabled")
	}
	if v, ok := f["severity"]; ok {
		e.rule.Severity = s.severity(v.Value)
	}
	if v, ok := f["scope"]; ok {
		e.rule.Scope = s.scope(v.Value)
	}
	if e.rule.Kind.Name == customKind {
		s.custom(e, f)
	} else {
		s.instance(e, f)
	}
	if v, ok := f["title"]; ok {
		e.rule.Title = s.Text(v.Value, "title")
	}
	if s.Mistakes() > before {
		return nil
	}
	return e
}

func isRuleID(s string) bool {
	if len(s) > 63 || s == "" || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

// base fills e.rule with what the entry builds on: the rule of that id in rs or in the catalogue, or a kind.
func (s *source) base(e *ruleEntry, id string, f map[string]yamlfile.Field, rs *Ruleset) bool {
	kind := ""
	if v, ok := f["kind"]; ok {
		if kind = s.Text(v.Value, "kind"); kind == "" {
			return false
		}
	}
	if at := slices.IndexFunc(rs.Rules, func(r Rule) bool { return r.ID == id }); at >= 0 {
		e.rule = rs.Rules[at]
	} else if c, ok := entry(id); ok {
		e.rule = c.rule()
	} else {
		return s.newInstance(e, id, kind, f)
	}
	if kind != "" && kind != e.rule.Kind.Name {
		s.Wrong(f["kind"].Value, "give your instance an id of its own", "%s is of kind %s, not %s", id, e.rule.Kind.Name, kind)
		return false
	}
	return true
}

func (s *source) newInstance(e *ruleEntry, id, kind string, f map[string]yamlfile.Field) bool {
	e.rule.ID = id
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Name)
	}
	names = append(names, customKind)
	if kind == "" {
		s.Wrong(e.id, yamlfile.DidYouMean(id, catalogueIDs())+" a rule of your own needs kind:, one of "+strings.Join(names, ", "),
			"rule %q is not in the catalogue and has no kind", id)
		return false
	}
	if !slices.Contains(names, kind) {
		s.Wrong(f["kind"].Value, yamlfile.DidYouMean(kind, names), "unknown kind %q", kind)
		return false
	}
	if _, ok := f["severity"]; !ok {
		s.Wrong(e.id, "one of low, medium, high, critical", "rule %q has no severity", id)
		return false
	}
	if kind == customKind {
		e.rule.Kind.Name = customKind
		return true
	}
	e.rule.Kind, _ = FindKind(kind)
	e.rule.Params = e.rule.Kind.Default
	return true
}

// instance reads the thresholds of a rule of a built-in kind.
func (s *source) instance(e *ruleEntry, f map[string]yamlfile.Field) {
	r := &e.rule
	for _, name := range customKeys() {
		if v, ok := f[name]; ok {
			s.Wrong(v.Key, "only rules of kind: custom have it", "kind %s has no %s", r.Kind.Name, name)
		}
	}
	before := r.Params
	for _, name := range paramKeys() {
		v, ok := f[name]
		switch {
		case !ok:
		case !slices.Contains(r.Kind.Params, name):
			s.Wrong(v.Key, hasParams(r.Kind), "kind %s has no %s", r.Kind.Name, name)
		default:
			s.param(&r.Params, name, v.Value)
		}
	}
	if r.Params != before {
		if c, ok := entry(r.ID); ok && slices.Contains([]string{"key-age", "key-unused"}, c.kind) {
			s.Wrong(e.id, "give your instance an id of its own, such as "+c.kind+"-60, and switch this one off with enabled: false",
				"%s promises its number of days", r.ID)
		}
		r.Title = titleOf(r.Kind.Name, &r.Params)
	}
	if r.Title == "" {
		r.Title = titleOf(r.Kind.Name, &r.Params)
	}
	r.Controls = coreControls(serves(r))
}

func hasParams(k Kind) string {
	if len(k.Params) == 0 {
		return "it has no thresholds"
	}
	return "it has " + strings.Join(k.Params, ", ")
}

func (s *source) param(p *Params, name string, n ast.Node) {
	switch name {
	case "max_age":
		p.MaxAge = s.duration(n, name, 1)
	case "max_unused":
		p.MaxUnused = s.duration(n, name, 1)
	case "max_inactive":
		p.MaxInactive = s.duration(n, name, 1)
	case "grace":
		p.Grace = s.duration(n, name, 0)
	case "window":
		p.Window = s.duration(n, name, 0)
	case "max_active":
		p.MaxActive = s.Count(n, name)
	case "console_only":
		p.ConsoleOnly = s.Truth(n, name)
	}
}

func (s *source) severity(n ast.Node) finding.Severity {
	v := finding.Severity(s.Text(n, "severity"))
	if v != "" && !v.Valid() {
		s.Wrong(n, "one of low, medium, high, critical", "unknown severity %q", v)
	}
	return v
}

func (s *source) scope(n ast.Node) *Scope {
	f := s.Fields(n, "a scope", []string{"accounts", "ous", "paths", "users", "tags", "account_tags"})
	if f == nil {
		return nil
	}
	scope := &Scope{}
	for _, list := range []struct {
		name string
		to   *[]string
		read func(ast.Node, string) string
	}{
		{"accounts", &scope.Accounts, s.Digits}, {"ous", &scope.OUs, s.Text},
		{"paths", &scope.Paths, s.Text}, {"users", &scope.Users, s.Text},
	} {
		v, ok := f[list.name]
		if !ok {
			continue
		}
		*list.to = s.Texts(v.Value, list.name, list.read)
		if len(*list.to) == 0 {
			s.Wrong(v.Key, "leave it out where nothing is to be limited", "scope with no %s", list.name)
		}
	}
	if v, ok := f["tags"]; ok {
		scope.Tags = s.Pairs(v.Value, "tags")
	}
	if v, ok := f["account_tags"]; ok {
		scope.AccountTags = s.Pairs(v.Value, "account_tags")
	}
	if len(f) == 0 {
		s.Wrong(n, "leave scope out where nothing is to be limited", "empty scope")
	}
	return scope
}

// Select keeps the rules of rs that ids name, each an id of rs, of the catalogue, or an alias; what rs lacks is
// taken from the catalogue with its defaults. No ids keep rs as it is. The error lists every unknown id.
func Select(rs *Ruleset, ids []string) (*Ruleset, error) {
	if len(ids) == 0 {
		return rs, nil
	}
	own := func(id string) int { return slices.IndexFunc(rs.Rules, func(r Rule) bool { return r.ID == id }) }
	var want []string
	var problems []string
	for _, id := range ids {
		if own(id) >= 0 {
			want = append(want, id)
			continue
		}
		resolved, err := Resolve(id)
		if err != nil {
			problems = append(problems, selectError(rs, id, err))
			continue
		}
		want = append(want, resolved...)
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(problems, "\n"))
	}
	out := &Ruleset{Name: rs.Name, Title: rs.Title}
	for i := range rs.Rules {
		if slices.Contains(want, rs.Rules[i].ID) {
			out.Rules = append(out.Rules, rs.Rules[i])
		}
	}
	for _, c := range catalogue() {
		if slices.Contains(want, c.id) && own(c.id) < 0 {
			out.Rules = append(out.Rules, c.rule())
		}
	}
	return out, nil
}

// selectError prefers a near rule of the ruleset to the catalogue's.
func selectError(rs *Ruleset, id string, err error) string {
	var own []string
	for i := range rs.Rules {
		if _, ok := entry(rs.Rules[i].ID); !ok {
			own = append(own, rs.Rules[i].ID)
		}
	}
	if near := yamlfile.Nearest(id, own); len(near) > 0 {
		return fmt.Sprintf("unknown rule %q\nhint: did you mean %s?", id, yamlfile.OrList(near))
	}
	return err.Error()
}
