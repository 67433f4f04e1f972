package rule

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

// controlsJSON says which requirements of which framework a catalogue rule serves, each mapping with its public
// source. "mappings" have clause ids. "named" are frameworks that a source names for a rule without giving a
// clause. Left out on purpose: ids that are a source's own spelling and not the framework's (ac_1 and ac_6 for
// NIST CSF 2.0, a suffix .aws.iam.N for ENS), IAM.26 for unused keys (that control is about certificates) and
// IAM.22 as a part of AWS FSBP (Security Hub's page relates it to CIS and NIST 800-171 only; two scanners say otherwise).
// NIST 800-53 r5 is Security Hub's short list, not the long sample mappings; for key-unused-45, which Security Hub relates
// to no 800-53 control, it is what Prowler's mapping gives of that list. The 800-53 ids of the setup control come from a
// page that names no revision.
//
//go:embed data/controls.json
var controlsJSON []byte

// ControlSource names the requirements of one framework with the public sources that say so.
type ControlSource struct {
	Framework string
	IDs       []string // as the framework prints them; empty where no source gives a clause
	Sources   []string
}

type controlRow struct {
	Rule      string   `json:"rule"`
	Framework string   `json:"framework"`
	IDs       []string `json:"ids"`
	Sources   []string `json:"sources"`
}

type controlTable struct {
	Mappings []controlRow `json:"mappings"`
	Named    []controlRow `json:"named"`
}

var controls = sync.OnceValue(func() controlTable {
	var t controlTable
	if err := json.Unmarshal(controlsJSON, &t); err != nil {
		panic("rule: embedded controls.json: " + err.Error()) // a test reads it
	}
	return t
})

// Framework is a body of requirements that controls are named by.
type Framework struct {
	Name string // CIS AWS Foundations 5.0
	Slug string // cis-5.0
}

// coreFrameworks are those whose controls every verdict carries.
func coreFrameworks() []string {
	return []string{
		"CIS AWS Foundations 1.4", "CIS AWS Foundations 3.0", "CIS AWS Foundations 5.0", "CIS AWS Foundations 6.0",
		"CIS AWS Foundations 7.0", "AWS Security Hub", "NIST 800-53 r5", "NIST CSF 1.1", "NIST CSF 2.0",
		"PCI DSS 4.0.1", "ISO 27001:2022", "SOC 2", "HIPAA Security Rule 2003",
	}
}

// Frameworks lists every framework that some rule serves with a clause, by name.
func Frameworks() []Framework {
	var out []Framework
	seen := map[string]bool{}
	for _, row := range controls().Mappings {
		if !seen[row.Framework] {
			seen[row.Framework] = true
			out = append(out, Framework{row.Framework, slug(row.Framework)})
		}
	}
	slices.SortFunc(out, func(a, b Framework) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func slug(name string) string {
	s := strings.Replace(strings.ToLower(name), "cis aws foundations ", "cis-", 1)
	return strings.NewReplacer("&", "a", "(", "", ")", "", ":", "-", "/", "-", " ", "-").Replace(s)
}

// FindFramework finds a framework by name or slug without regard to case. CIS AWS Foundations may also be
// called CIS, and its versions by three numbers (CIS 5.0.0). The error lists near names.
func FindFramework(name string) (Framework, error) {
	all := Frameworks()
	want := slug(cisName(strings.TrimSpace(name)))
	var slugs []string
	for _, f := range all {
		if f.Slug == want {
			return f, nil
		}
		slugs = append(slugs, f.Slug)
	}
	near := yamlfile.Nearest(want, slugs)
	if len(near) == 0 {
		return Framework{}, fmt.Errorf("unknown framework %q\nhint: one of %s", name, strings.Join(slugs, ", "))
	}
	return Framework{}, fmt.Errorf("unknown framework %q\nhint: did you mean %s?", name, yamlfile.OrList(near))
}

// cisName turns the ways to write a version of CIS AWS Foundations into the one of the data: two numbers.
func cisName(name string) string {
	low := strings.ToLower(name)
	for _, prefix := range []string{"cis aws foundations benchmark ", "cis aws foundations ", "cis aws ", "cis-", "cis "} {
		version, ok := strings.CutPrefix(low, prefix)
		version = strings.TrimPrefix(version, "v")
		if !ok || strings.Trim(version, "0123456789.") != "" {
			continue
		}
		parts := strings.Split(version, ".")
		if len(parts) == 3 {
			version = parts[0] + "." + parts[1]
		}
		return "CIS AWS Foundations " + version
	}
	return name
}

// ControlsOf lists the clauses of a framework, by name or slug, that a catalogue rule serves; none where no
// source gives any.
func ControlsOf(ruleID, framework string) []string {
	f, err := FindFramework(framework)
	if err != nil {
		return nil
	}
	for _, row := range controls().Mappings {
		if row.Rule == ruleID && row.Framework == f.Name {
			return slices.Clone(row.IDs)
		}
	}
	return nil
}

// controlSources lists rows of a catalogue rule.
func controlSources(rows []controlRow, ruleID string) []ControlSource {
	var out []ControlSource
	for _, row := range rows {
		if row.Rule == ruleID {
			out = append(out, ControlSource{row.Framework, slices.Clone(row.IDs), slices.Clone(row.Sources)})
		}
	}
	return out
}

// controlsFor gathers the clauses of a framework that the catalogue rules ids serve.
func controlsFor(ids []string, framework string) (finding.Control, bool) {
	c := finding.Control{Framework: framework}
	for _, row := range controls().Mappings {
		if row.Framework != framework || !slices.Contains(ids, row.Rule) {
			continue
		}
		for _, id := range row.IDs {
			if !slices.Contains(c.IDs, id) {
				c.IDs = append(c.IDs, id)
			}
		}
	}
	return c, len(c.IDs) > 0
}

func coreControls(ids []string) []finding.Control {
	var out []finding.Control
	for _, f := range coreFrameworks() {
		if c, ok := controlsFor(ids, f); ok {
			out = append(out, c)
		}
	}
	return out
}

// WithFramework returns rs with the controls of f on each rule that serves any.
func WithFramework(rs *Ruleset, f Framework) *Ruleset {
	out := *rs
	out.Rules = slices.Clone(rs.Rules)
	for i := range out.Rules {
		r := &out.Rules[i]
		if slices.ContainsFunc(r.Controls, func(c finding.Control) bool { return c.Framework == f.Name }) {
			continue
		}
		if c, ok := controlsFor(serves(r), f.Name); ok {
			r.Controls = append(slices.Clone(r.Controls), c)
		}
	}
	return &out
}

// serves lists the catalogue rules whose controls r serves too: those of its kind with exactly its thresholds, and of them
// its own alone where r is in the catalogue. A looser rule passes what the control fails, a stricter one fails what it
// passes, and a scoped one says nothing of the rest of the account: none of them speaks for a control.
func serves(r *Rule) []string {
	if r.Scope != nil {
		return nil
	}
	var ids []string
	_, known := entry(r.ID)
	for _, c := range catalogue() {
		if c.kind == r.Kind.Name && c.params == r.Params && (!known || c.id == r.ID) {
			ids = append(ids, c.id)
		}
	}
	return ids
}
