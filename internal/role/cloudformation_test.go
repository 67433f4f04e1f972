package role_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/role"
)

// parseTemplate is a CloudFormation template as data. A function of CloudFormation is a mapping of its tag to its argument.
func parseTemplate(t *testing.T, text string) map[string]any {
	t.Helper()
	f, err := parser.ParseBytes([]byte(text), 0)
	if err != nil || len(f.Docs) != 1 {
		t.Fatalf("it is no YAML document: %v", err)
	}
	out, ok := value(f.Docs[0].Body).(map[string]any)
	if !ok {
		t.Fatal("it is no mapping")
	}
	return out
}

func value(n ast.Node) any {
	switch n := n.(type) {
	case *ast.MappingNode:
		out := map[string]any{}
		for _, v := range n.Values {
			out[v.Key.String()] = value(v.Value)
		}
		return out
	case *ast.MappingValueNode:
		return map[string]any{n.Key.String(): value(n.Value)}
	case *ast.SequenceNode:
		var out []any
		for _, v := range n.Values {
			out = append(out, value(v))
		}
		return out
	case *ast.TagNode:
		return map[string]any{n.Start.Value: value(n.Value)}
	case *ast.StringNode:
		return n.Value
	case ast.ScalarNode:
		return fmt.Sprint(n.GetValue())
	default:
		return n.String()
	}
}

// at is what stands under these keys.
func at(t *testing.T, in any, keys ...string) any {
	t.Helper()
	for _, k := range keys {
		m, ok := in.(map[string]any)
		if !ok || m[k] == nil {
			t.Fatalf("no %s in %v", k, in)
		}
		in = m[k]
	}
	return in
}

// resolved is v of template p with the functions of CloudFormation carried out, in partition aws and account 999900001111, by the
// defaults of the parameters. A reference to what is not there fails the test.
func resolved(t *testing.T, p map[string]any, v any) any {
	t.Helper()
	switch v := v.(type) {
	case []any:
		var out []any
		for _, x := range v {
			out = append(out, resolved(t, p, x))
		}
		return out
	case map[string]any:
		if name, ok := v["!Ref"].(string); ok {
			return at(t, p["Parameters"], name, "Default")
		}
		if text, ok := v["!Sub"].(string); ok {
			return strings.NewReplacer("${!", "${", "${AWS::Partition}", "aws", "${AWS::AccountId}", "999900001111").Replace(text)
		}
		out := map[string]any{}
		for k, x := range v {
			out[k] = resolved(t, p, x)
		}
		return out
	default:
		return v
	}
}

// modeOf finds the mode of a logical id: AuditRole.
func modeOf(id string) role.Mode {
	return role.Mode(strings.ToLower(strings.TrimSuffix(id, "Role")))
}

// statements are those of a policy document, as this package says them.
func statements(t *testing.T, doc any) []role.Statement {
	t.Helper()
	if v := at(t, doc, "Version"); v != "2012-10-17" {
		t.Errorf("the policy is of version %v", v)
	}
	var out []role.Statement
	for _, s := range at(t, doc, "Statement").([]any) {
		st := role.Statement{Sid: at(t, s, "Sid").(string), Effect: at(t, s, "Effect").(string), Resource: at(t, s, "Resource").(string)}
		for _, a := range at(t, s, "Action").([]any) {
			st.Action = append(st.Action, a.(string))
		}
		out = append(out, st)
	}
	return out
}

// wanted are the statements that a role must have, in partition aws: those of its policy, and the denials.
func wanted(s *role.Settings, m role.Mode) []role.Statement {
	i := slices.IndexFunc(s.Roles, func(r role.Role) bool { return r.Mode == m })
	var out []role.Statement
	for _, st := range s.Roles[i].Policy.Statement {
		st.Resource = strings.Replace(st.Resource, "arn:*:", "arn:aws:", 1)
		out = append(out, st)
	}
	if changes := s.Roles[i].Changes; len(changes) > 0 {
		for n, p := range s.Protect {
			out = append(out, role.Statement{
				Sid: fmt.Sprintf("KeyreeveProtect%d", n+1), Effect: "Deny", Action: changes, Resource: "arn:aws:iam::*:user" + p + "*",
			})
		}
	}
	return out
}

func conditions(s *role.Settings) map[string]any {
	out := map[string]any{}
	if s.ExternalID != "" {
		out["sts:ExternalId"] = s.ExternalID
	}
	if s.OrgID != "" {
		out["aws:PrincipalOrgID"] = s.OrgID
	}
	return out
}

func TestCloudFormation_rolesMayDoWhatTheirPoliciesSayAndNoMore(t *testing.T) {
	for name, s := range cases() {
		p := parseTemplate(t, stack(t, s))
		resources := at(t, p, "Resources").(map[string]any)
		if len(resources) != len(s.Roles) {
			t.Errorf("%s: %d resources for %d roles", name, len(resources), len(s.Roles))
		}
		for id, r := range resources {
			props := resolved(t, p, at(t, r, "Properties"))
			policies := at(t, props, "Policies").([]any)
			if typ := at(t, r, "Type"); typ != "AWS::IAM::Role" || len(policies) != 1 {
				t.Errorf("%s: %s is a %v with %d policies", name, id, typ, len(policies))
			}
			if diff := cmp.Diff(wanted(s, modeOf(id)), statements(t, at(t, policies[0], "PolicyDocument"))); diff != "" {
				t.Errorf("%s: %s may (-want +got):\n%s", name, id, diff)
			}
			for key := range props.(map[string]any) {
				if key == "ManagedPolicyArns" {
					t.Errorf("%s: %s has policies beside its own", name, id)
				}
			}
			at(t, p, "Outputs", id+"Arn")
		}
	}
}

func TestCloudFormation_trustsOnlyWhoMeetsEveryCondition(t *testing.T) {
	for name, s := range cases() {
		p := parseTemplate(t, stack(t, s))
		for id, r := range at(t, p, "Resources").(map[string]any) {
			trust := resolved(t, p, at(t, r, "Properties", "AssumeRolePolicyDocument", "Statement")).([]any)
			want := map[string]any{"Sid": "KeyreeveTrust", "Effect": "Allow", "Principal": map[string]any{"AWS": s.Trust}, "Action": "sts:AssumeRole"}
			if c := conditions(s); len(c) > 0 {
				want["Condition"] = map[string]any{"StringEquals": c}
			}
			if diff := cmp.Diff([]any{want}, trust); diff != "" {
				t.Errorf("%s: %s trusts (-want +got):\n%s", name, id, diff)
			}
		}
	}
}

func TestCloudFormation_everyParameterIsUsedAndHasItsDefault(t *testing.T) {
	for name, s := range cases() {
		text := stack(t, s)
		for id := range at(t, parseTemplate(t, text), "Parameters").(map[string]any) {
			if !strings.Contains(text, "!Ref "+id+"\n") {
				t.Errorf("%s: nothing refers to parameter %s", name, id)
			}
		}
		if len(text) > 51200 {
			t.Errorf("%s: %d bytes, and AWS takes 51200 with --template-body", name, len(text))
		}
	}
}

func TestFiles_keepWhatANameHoldsFromBeingRead(t *testing.T) {
	for _, resource := range []string{
		`arn:*:ssm:*:*:parameter/a"b`, `arn:*:ssm:*:*:parameter/${AWS::Region}`, `arn:*:ssm:*:*:parameter/${path.module}%{if true}`,
		`arn:*:ssm:*:*:parameter/a\b`, "arn:*:ssm:*:*:parameter/a\nb", `arn:aws:ssm:*:*:parameter/${path.module}`, `arn:*:ssm:*:*:parameter/é: #<&`,
	} {
		s := plain()
		s.Roles[0].Policy.Statement[0].Resource = resource
		p := parseTemplate(t, stack(t, s))
		policies := resolved(t, p, at(t, p, "Resources", "AuditRole", "Properties", "Policies")).([]any)
		want := strings.Replace(resource, "arn:*:", "arn:aws:", 1)
		if got := statements(t, at(t, policies[0], "PolicyDocument"))[0].Resource; got != want {
			t.Errorf("CloudFormation: %q, want %q", got, want)
		}
		m := parseModule(t, files(t, s, role.Terraform))
		if got := m.policy(t, "audit")[0].Resource; got != want {
			t.Errorf("Terraform: %q, want %q", got, want)
		}
	}
}

// cfn-lint knows the schema of every resource. It comes with moto's server.
func TestCloudFormation_agreesWithTheSchemasOfItsResources(t *testing.T) {
	python := os.Getenv("KEYREEVE_PYTHON")
	if python == "" {
		python = "python3"
	}
	if err := exec.Command(python, "-c", "import cfnlint").Run(); err != nil {
		const advice = "install moto: python3 -m pip install 'moto[server]', or set KEYREEVE_PYTHON to a Python that has it"
		if strings.Contains(os.Getenv("KEYREEVE_REQUIRE"), "moto") {
			t.Fatalf("cfn-lint is required and missing: %v; %s", err, advice)
		}
		t.Skipf("cfn-lint is missing: %v; %s", err, advice)
	}
	dir := t.TempDir()
	const run = "import sys; from cfnlint.runner import main; sys.exit(main())"
	args := []string{"-c", run, "--non-zero-exit-code", "informational", "--"}
	for name, s := range cases() {
		args = append(args, filepath.Join(dir, name+".yaml"))
		if err := os.WriteFile(args[len(args)-1], []byte(stack(t, s)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte("Resources:\n  R:\n    Type: AWS::IAM::Role\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(python, "-c", run, broken).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("AssumeRolePolicyDocument")) {
		t.Fatalf("cfn-lint finds nothing in a role without a trust:\n%s", out)
	}
	if out, err := exec.Command(python, args...).CombinedOutput(); err != nil {
		t.Errorf("cfn-lint: %v\n%s", err, out)
	}
}
