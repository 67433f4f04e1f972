package rule

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/goccy/go-yaml/ast"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

const customKind = "custom"

// costLimit bounds one evaluation, in CEL's own units (about one a step). A condition over all keys of a user with
// string comparisons stays far below; what exceeds it is undecided.
const costLimit = 100_000

// expression is compiled CEL of type bool.
type expression struct {
	text    string
	program cel.Program
}

// custom reads a rule of kind custom: whom it judges, when, and what fails, as CEL over the facts.
//
// The expression is checked when the ruleset is loaded. A fact that was not read is an unknown of CEL's: it makes the
// verdict undecided unless the rest decides (false && unknown is false). So does whatever goes wrong while evaluating.
func (s *source) custom(e *ruleEntry, f map[string]yamlfile.Field) {
	for _, name := range paramKeys() {
		if v, ok := f[name]; ok {
			s.Wrong(v.Key, "write the limit into fail:, such as key.age > duration(\"720h\")", "kind custom has no %s", name)
		}
	}
	for _, name := range []string{"subject", "fail", "title", "message"} {
		if _, ok := f[name]; !ok {
			s.Wrong(e.id, "kind custom needs subject, fail, title and message", "rule %q has no %s", e.rule.ID, name)
		}
	}
	subject := ForKey
	if v, ok := f["subject"]; ok {
		subject = Subject(s.Text(v.Value, "subject"))
		if subject == "" {
			return
		}
		if subject != ForKey && subject != ForUser {
			s.Wrong(v.Value, "key or user; root is judged by root-access-key alone", "unknown subject %q", subject)
			return
		}
	}
	c := &customRule{when: s.expression(f["when"].Value, "when", subject), fail: s.expression(f["fail"].Value, "fail", subject), remedy: finding.Guide}
	if v, ok := f["message"]; ok {
		c.message = s.Text(v.Value, "message")
	}
	if v, ok := f["why"]; ok {
		c.why = s.Text(v.Value, "why")
	}
	if v, ok := f["remedy"]; ok {
		c.remedy = finding.Remedy(s.Text(v.Value, "remedy"))
		if !slices.Contains(finding.Remedies(), c.remedy) {
			s.Wrong(v.Value, "one of rotate, deactivate, delete, keep-one, guide", "unknown remedy %q", c.remedy)
		}
	}
	e.rule.Kind = c.kind(subject)
}

// expression compiles the CEL at n; nil where there is none, or where it is wrong, with the reasons noted.
func (s *source) expression(n ast.Node, what string, subject Subject) *expression {
	if n == nil {
		return nil
	}
	text := s.Text(n, what)
	if text == "" {
		return nil
	}
	env, err := celEnv(subject)
	if err != nil {
		s.Wrong(n, "", "%s: %v", what, err)
		return nil
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			s.celMistake(n, what, text, e)
		}
		return nil
	}
	if checked.OutputType() != cel.BoolType {
		s.Wrong(n, "compare it with something: it must be true or false", "%s is of type %s, not bool", what, checked.OutputType())
		return nil
	}
	program, err := env.Program(checked, cel.CostLimit(costLimit))
	if err != nil {
		s.Wrong(n, "", "%s: %v", what, err)
		return nil
	}
	return &expression{text, program}
}

// customRule is what a rule of kind custom was read into.
type customRule struct {
	when, fail   *expression // when is nil where everyone is judged
	message, why string
	remedy       finding.Remedy
}

// terms are the expressions, as they were written.
func (c *customRule) terms() string {
	var out []string
	for _, e := range []*expression{c.when, c.fail} {
		if e == nil {
			out = append(out, "")
			continue
		}
		out = append(out, e.text)
	}
	return strings.Join(out, "\n--\n")
}

func (c *customRule) kind(subject Subject) Kind {
	return Kind{
		Name: customKind, Subject: subject, Terms: c.terms(),
		Prepare: func(_ *Params, now fact.Time) judge {
			return func(u *fact.User, k *fact.Key) (Result, Missing) { return c.judge(newActivation(u, k, now)) }
		},
		Explain: func(_ *Params, u *fact.User, k *fact.Key, now fact.Time, o Outcome) (string, map[string]any) {
			facts := map[string]any{"fail": c.fail.text}
			if c.when != nil {
				facts["when"] = c.when.text
			}
			if c.why != "" {
				facts["why"] = c.why
			}
			switch o.Result {
			case Fails:
				return c.message, facts
			case Undecided:
				return "whether the rule fails is unknown: " + c.reason(newActivation(u, k, now)), facts
			default:
				return "what the rule looks for is not there", facts
			}
		},
		Remedy: remedy(c.remedy),
	}
}

// judge decides. Where when is undecided, a failure is undecided too and anything else passes.
func (c *customRule) judge(vars celVars) (Result, Missing) {
	when := fact.Yes
	if c.when != nil {
		when, _ = c.when.eval(vars)
	}
	if when == fact.No {
		return Inapplicable, NothingMissing
	}
	failed, _ := c.fail.eval(vars)
	switch {
	case failed == fact.No:
		return Passes, NothingMissing
	case failed == fact.Yes && when == fact.Yes:
		return Fails, NothingMissing
	default:
		return Undecided, MissingFact
	}
}

// reason says which fact is missing, or what went wrong.
func (c *customRule) reason(vars celVars) string {
	for _, e := range []*expression{c.when, c.fail} {
		if e == nil {
			continue
		}
		if answer, why := e.eval(vars); answer == fact.Unknown {
			return why
		}
	}
	return MissingFact.String()
}

// eval is Unknown, with the reason, where a fact that decides was not read or the evaluation went wrong.
func (e *expression) eval(vars celVars) (fact.Answer, string) {
	out, _, err := e.program.Eval(vars)
	if err != nil {
		return fact.Unknown, "the expression cannot be evaluated: " + err.Error()
	}
	if u, ok := out.(*types.Unknown); ok {
		return fact.Unknown, strings.Join(missingFacts(u), ", ") + " could not be read"
	}
	b, ok := out.(types.Bool)
	if !ok {
		return fact.Unknown, "the expression gave no answer"
	}
	return fact.YesNo(bool(b)), ""
}

func missingFacts(u *types.Unknown) []string {
	var names []string
	for _, id := range u.IDs() {
		trails, _ := u.GetAttributeTrails(id)
		for _, t := range trails {
			if !slices.Contains(names, t.String()) {
				names = append(names, t.String())
			}
		}
	}
	slices.Sort(names)
	return names
}

// celVars resolves the variables of an expression.
type celVars struct{ user, key, account, now ref.Val }

// ResolveName is cel's Activation.
func (v celVars) ResolveName(name string) (any, bool) {
	switch name {
	case "user":
		return v.user, true
	case "key":
		return v.key, v.key != nil
	case "account":
		return v.account, true
	case "now":
		return v.now, true
	default:
		return nil, false
	}
}

// Parent is cel's Activation.
func (celVars) Parent() cel.Activation { return nil }
