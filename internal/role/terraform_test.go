package role_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/keyreeve/keyreeve/internal/role"
)

// module is a Terraform module: its blocks by type and labels, such as "resource.aws_iam_role.audit".
type module map[string]*hclsyntax.Block

func parseModule(t *testing.T, files map[string]string) module {
	t.Helper()
	m, p := module{}, hclparse.NewParser()
	for name, text := range files {
		if !strings.HasSuffix(name, ".tf") {
			continue
		}
		f, diags := p.ParseHCL([]byte(text), name)
		if diags.HasErrors() {
			t.Fatalf("%s: %v", name, diags)
		}
		for _, b := range f.Body.(*hclsyntax.Body).Blocks {
			id := strings.Join(append([]string{b.Type}, b.Labels...), ".")
			if m[id] != nil {
				t.Errorf("two blocks %s", id)
			}
			m[id] = b
		}
	}
	return m
}

// defaults are the values of the variables, and the account that the module is in, for an expression.
func (m module) defaults(t *testing.T) *hcl.EvalContext {
	t.Helper()
	vars := map[string]cty.Value{}
	for id, b := range m {
		if b.Type == "variable" {
			v, diags := b.Body.Attributes["default"].Expr.Value(nil)
			if diags.HasErrors() {
				t.Fatalf("%s: %v", id, diags)
			}
			vars[b.Labels[0]] = v
		}
	}
	current := func(name, value string) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{"current": cty.ObjectVal(map[string]cty.Value{name: cty.StringVal(value)})})
	}
	return &hcl.EvalContext{Variables: map[string]cty.Value{
		"var": cty.ObjectVal(vars),
		"data": cty.ObjectVal(map[string]cty.Value{
			"aws_partition": current("partition", "aws"), "aws_caller_identity": current("account_id", "999900001111"),
		}),
	}}
}

// text is an attribute that is one text, or a list of them.
func (m module) text(t *testing.T, b *hclsyntax.Block, name string) []string {
	t.Helper()
	a := b.Body.Attributes[name]
	if a == nil {
		return nil
	}
	v, diags := a.Expr.Value(m.defaults(t))
	if diags.HasErrors() {
		t.Fatalf("%s: %v", name, diags)
	}
	if v.Type() == cty.String {
		return []string{v.AsString()}
	}
	var out []string
	for _, e := range v.AsValueSlice() {
		out = append(out, e.AsString())
	}
	return out
}

// policy are the statements of a policy document.
func (m module) policy(t *testing.T, name string) []role.Statement {
	t.Helper()
	doc := m["data.aws_iam_policy_document."+name]
	if doc == nil {
		t.Fatalf("no policy document %s", name)
	}
	var out []role.Statement
	for _, b := range doc.Body.Blocks {
		resources := m.text(t, b, "resources")
		if b.Type != "statement" || len(resources) != 1 {
			t.Fatalf("%s: a %s about %q", name, b.Type, resources)
		}
		out = append(out, role.Statement{
			Sid: m.text(t, b, "sid")[0], Effect: m.text(t, b, "effect")[0], Action: m.text(t, b, "actions"), Resource: resources[0],
		})
	}
	return out
}

func TestTerraform_rolesMayDoWhatTheirPoliciesSayAndNoMore(t *testing.T) {
	for name, s := range cases() {
		m := parseModule(t, files(t, s, role.Terraform))
		resources := 0
		for _, b := range m {
			if b.Type == "resource" {
				resources++
			}
		}
		if resources != 2*len(s.Roles) {
			t.Errorf("%s: %d resources for %d roles and their policies", name, resources, len(s.Roles))
		}
		for _, r := range s.Roles {
			if diff := cmp.Diff(wanted(s, r.Mode), m.policy(t, string(r.Mode))); diff != "" {
				t.Errorf("%s: %s may (-want +got):\n%s", name, r.Mode, diff)
			}
			refersTo(t, m["resource.aws_iam_role_policy."+string(r.Mode)], "policy", "data.aws_iam_policy_document."+string(r.Mode)+".json")
			refersTo(t, m["resource.aws_iam_role_policy."+string(r.Mode)], "role", "aws_iam_role."+string(r.Mode)+".id")
			refersTo(t, m["resource.aws_iam_role."+string(r.Mode)], "assume_role_policy", "data.aws_iam_policy_document.trust.json")
			refersTo(t, m["output."+string(r.Mode)+"_role_arn"], "value", "aws_iam_role."+string(r.Mode)+".arn")
		}
	}
}

// refersTo wants an attribute that is nothing but that reference.
func refersTo(t *testing.T, b *hclsyntax.Block, name, want string) {
	t.Helper()
	if b == nil || b.Body.Attributes[name] == nil {
		t.Errorf("no %s that refers to %s", name, want)
		return
	}
	x, ok := b.Body.Attributes[name].Expr.(*hclsyntax.ScopeTraversalExpr)
	if !ok || reference(x.Traversal) != want {
		t.Errorf("%s is not %s", name, want)
	}
}

// reference is a traversal as it is written.
func reference(t hcl.Traversal) string {
	var out []string
	for _, step := range t {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			out = append(out, step.Name)
		case hcl.TraverseAttr:
			out = append(out, step.Name)
		}
	}
	return strings.Join(out, ".")
}

func TestTerraform_trustsOnlyWhoMeetsEveryCondition(t *testing.T) {
	for name, s := range cases() {
		m := parseModule(t, files(t, s, role.Terraform))
		list := m["data.aws_iam_policy_document.trust"].Body.Blocks
		if len(list) != 1 {
			t.Fatalf("%s: %d statements", name, len(list))
		}
		got := map[string]any{}
		for _, b := range list[0].Body.Blocks {
			switch b.Type {
			case "principals":
				if who := m.text(t, b, "identifiers"); m.text(t, b, "type")[0] != "AWS" || !slices.Equal(who, []string{s.Trust}) {
					t.Errorf("%s: trusts %q, want %q", name, who, s.Trust)
				}
			case "condition":
				if test := m.text(t, b, "test")[0]; test != "StringEquals" {
					t.Errorf("%s: a condition by %s", name, test)
				}
				got[m.text(t, b, "variable")[0]] = strings.Join(m.text(t, b, "values"), " or ")
			default:
				t.Errorf("%s: a block %s in the trust", name, b.Type)
			}
		}
		if diff := cmp.Diff(conditions(s), got); diff != "" {
			t.Errorf("%s: conditions (-want +got):\n%s", name, diff)
		}
		if actions := m.text(t, list[0], "actions"); !slices.Equal(actions, []string{"sts:AssumeRole"}) {
			t.Errorf("%s: trusted with %q", name, actions)
		}
	}
}

func TestTerraform_everyReferenceResolvesAndEverythingIsReferredTo(t *testing.T) {
	for name, s := range cases() {
		m := parseModule(t, files(t, s, role.Terraform))
		used := map[string]bool{}
		for id, b := range m {
			for _, ref := range references(b.Body) {
				if b.Type == "variable" && ref == "var."+b.Labels[0] {
					continue // its own validation
				}
				kind, rest, _ := strings.Cut(ref, ".")
				at := "resource." + ref
				switch kind {
				case "var":
					at = "variable." + rest
				case "data":
					at = ref
				}
				if kind != "var" {
					at = at[:strings.LastIndexByte(at, '.')]
				}
				if m[at] == nil {
					t.Errorf("%s: %s refers to %s, which is not there", name, id, ref)
				}
				used[at] = true
			}
		}
		for id, b := range m {
			if (b.Type == "variable" || b.Type == "data") && !used[id] {
				t.Errorf("%s: nothing refers to %s", name, id)
			}
		}
	}
}

func references(body *hclsyntax.Body) []string {
	var out []string
	for _, a := range body.Attributes {
		if _, isType := a.Expr.(*hclsyntax.ScopeTraversalExpr); isType && a.Name == "type" {
			continue // string and number are no references
		}
		for _, x := range a.Expr.Variables() {
			if ref := reference(x); ref != "string" {
				out = append(out, ref)
			}
		}
	}
	for _, b := range body.Blocks {
		out = append(out, references(b.Body)...)
	}
	return out
}

// required are the arguments without which the provider refuses a block, and allowed those that it takes beside.
// Source: the pages aws_iam_role and aws_iam_role_policy of the provider's documentation, version 5.
var required, allowed = map[string]string{
	"resource.aws_iam_role":        "assume_role_policy",
	"resource.aws_iam_role_policy": "role policy",
	"variable":                     "type default description",
	"output":                       "value description",
}, map[string]string{
	"resource.aws_iam_role":        "name path description max_session_duration permissions_boundary tags",
	"resource.aws_iam_role_policy": "name",
}

func TestTerraform_givesEachBlockWhatTheProviderRequires(t *testing.T) {
	for name, s := range cases() {
		for id, b := range parseModule(t, files(t, s, role.Terraform)) {
			kind := b.Type
			if b.Type == "resource" {
				kind += "." + b.Labels[0]
			}
			for _, arg := range strings.Fields(required[kind]) {
				if b.Body.Attributes[arg] == nil {
					t.Errorf("%s: %s lacks %s", name, id, arg)
				}
			}
			for arg := range b.Body.Attributes {
				if !slices.Contains(strings.Fields(required[kind]+" "+allowed[kind]), arg) && (b.Type == "resource" || b.Type == "output") {
					t.Errorf("%s: %s has %s, which the provider does not know", name, id, arg)
				}
			}
		}
	}
}

func TestTerraform_isFormattedAsTerraformFormats(t *testing.T) {
	for name, s := range cases() {
		for file, text := range files(t, s, role.Terraform) {
			if strings.HasSuffix(file, ".tf") {
				if diff := cmp.Diff(string(hclwrite.Format([]byte(text))), text); diff != "" {
					t.Errorf("%s: %s (-formatted +is):\n%s", name, file, diff)
				}
			}
		}
	}
}

func TestTerraform_examplesOfTheReadmeAreTerraform(t *testing.T) {
	examples := exampleBlocks(t, files(t, plain(), role.Terraform)["README.md"])
	if len(examples) != 3 {
		t.Fatalf("%d examples, want 3", len(examples))
	}
	for i, text := range examples {
		if _, diags := hclparse.NewParser().ParseHCL([]byte(text), "README.md"); diags.HasErrors() {
			t.Errorf("example %d: %v", i+1, diags)
		}
		if !bytes.Equal(hclwrite.Format([]byte(text)), []byte(text)) {
			t.Errorf("example %d is not formatted:\n%s", i+1, text)
		}
	}
}

// exampleBlocks are the pieces of HCL in a page.
func exampleBlocks(t *testing.T, page string) []string {
	t.Helper()
	var out []string
	for {
		_, rest, ok := strings.Cut(page, "```hcl\n")
		if !ok {
			return out
		}
		text, after, ok := strings.Cut(rest, "```\n")
		if !ok {
			t.Fatal("a block has no end")
		}
		out, page = append(out, text), after
	}
}
