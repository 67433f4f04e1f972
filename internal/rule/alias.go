package rule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

// Alias is a name that a rule has elsewhere.
type Alias struct {
	Scheme string // such as Conformity, CIS AWS Foundations 5.0, Prowler, AWS Config, AWS Security Hub
	Name   string // as it is printed there
}

func isCIS(framework string) bool { return strings.HasPrefix(framework, "CIS AWS Foundations ") }

// Resolve turns the id of a catalogue rule, or a name that rules have elsewhere, into ids in catalogue order,
// without regard to case. Names are those of Conformity (IAM-043), Security Hub (IAM.3), AWS Config and Prowler,
// and a control together with its framework (cis-5.0:1.13, CIS 5.0.0 1.13, nist-800-53-r5:AC-2(3)). A name that
// several rules have gives them all. A number of CIS AWS Foundations needs its version. The error lists choices or near
// names.
func Resolve(idOrAlias string) ([]string, error) {
	name := strings.TrimSpace(idOrAlias)
	if c, ok := entry(strings.ToLower(name)); ok {
		return []string{c.id}, nil
	}
	if ids := byName(name); len(ids) > 0 {
		return ids, nil
	}
	if ids := byControl(name); len(ids) > 0 {
		return ids, nil
	}
	if choices := byNumber(name); len(choices) > 0 {
		return nil, fmt.Errorf("rule %q is a number without its version\nhint: %s", idOrAlias, choicesHint(choices))
	}
	if near := yamlfile.Nearest(name, allNames()); len(near) > 0 {
		return nil, fmt.Errorf("unknown rule %q\nhint: did you mean %s?", idOrAlias, yamlfile.OrList(near))
	}
	return nil, fmt.Errorf("unknown rule %q\nhint: 'keyreeve rules' lists them: %s", idOrAlias, strings.Join(catalogueIDs(), ", "))
}

func byName(name string) []string {
	var ids []string
	for _, c := range catalogue() {
		if slices.ContainsFunc(c.names, func(a Alias) bool { return strings.EqualFold(a.Name, name) }) {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// byControl reads FRAMEWORK:CONTROL and "FRAMEWORK CONTROL".
func byControl(name string) []string {
	for _, cut := range []int{strings.LastIndex(name, ":"), strings.LastIndex(name, " ")} {
		if cut < 1 {
			continue
		}
		f, err := FindFramework(name[:cut])
		if err != nil {
			continue
		}
		if ids := serving(f.Name, strings.TrimSpace(name[cut+1:])); len(ids) > 0 {
			return ids
		}
	}
	return nil
}

// serving lists the catalogue rules that serve a control.
func serving(framework, control string) []string {
	var ids []string
	for _, id := range catalogueIDs() {
		for _, row := range controls().Mappings {
			if row.Rule == id && row.Framework == framework &&
				slices.ContainsFunc(row.IDs, func(c string) bool { return strings.EqualFold(c, control) }) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// byNumber lists what a number of CIS AWS Foundations without a version, with or without CIS before it, may stand for.
// The benchmark counts anew in each version: 1.13 was one key a user and became rotation. So even a number that one version
// alone has is not taken.
func byNumber(name string) []string {
	number := strings.TrimSpace(strings.TrimPrefix(strings.ToLower(name), "cis"))
	var choices []string
	for _, f := range Frameworks() {
		if !isCIS(f.Name) {
			continue
		}
		if ids := serving(f.Name, number); len(ids) > 0 {
			choices = append(choices, fmt.Sprintf("%s:%s (%s)", f.Slug, number, strings.Join(ids, ", ")))
		}
	}
	return choices
}

func choicesHint(choices []string) string {
	if len(choices) == 1 {
		return "write " + choices[0]
	}
	return "one of " + strings.Join(choices, "; ")
}

func allNames() []string {
	names := catalogueIDs()
	for _, c := range catalogue() {
		for _, a := range c.names {
			if !slices.Contains(names, a.Name) {
				names = append(names, a.Name)
			}
		}
	}
	return names
}
