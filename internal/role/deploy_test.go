package role_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sdk"
	"github.com/keyreeve/keyreeve/internal/role"
)

func TestCloudFormation_deployedItMakesTheRoles(t *testing.T) {
	server := moto.Start(t)
	for name, s := range deployed() {
		server.Reset()
		createStack(t, server, stack(t, s))
		holdsRoles(t, server, name, s)
	}
}

// deployed are settings for moto's account, which is in partition aws.
func deployed() map[string]*role.Settings {
	s := full()
	s.Trust = "arn:aws:iam::111122223333:role/ops/keyreeve"
	return map[string]*role.Settings{"plain": plain(), "full": s}
}

// createStack is cloudformation:CreateStack as any client sends it, by the defaults of the parameters.
func createStack(t *testing.T, server *moto.Server, template string) {
	t.Helper()
	form := url.Values{
		"Action": {"CreateStack"}, "Version": {"2010-05-15"}, "StackName": {"keyreeve"}, "TemplateBody": {template},
		"Capabilities.member.1": {"CAPABILITY_NAMED_IAM"},
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// moto finds the service in the signature, and checks no more of it.
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAFAKE123456789012/20261122/us-east-1/cloudformation/aws4_request, SignedHeaders=host, Signature=00")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte("StackId")) {
		t.Fatalf("CreateStack: HTTP %d, %v\n%s", res.StatusCode, err, answer)
	}
}

// holdsRoles reads every role back from AWS and compares it with what was asked for.
func holdsRoles(t *testing.T, server *moto.Server, name string, s *role.Settings) {
	t.Helper()
	ctx := context.Background()
	api := iam.NewFromConfig(sdk.Config(server.URL(), "us-east-1", aws.Credentials{AccessKeyID: "AKIAFAKE123456789012", SecretAccessKey: "any"}))
	list, err := api.ListRoles(ctx, &iam.ListRolesInput{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Roles) != len(s.Roles) {
		t.Errorf("%s: AWS holds %d roles, want %d", name, len(list.Roles), len(s.Roles))
	}
	for _, want := range s.Roles {
		roleName := s.NameOf(want.Mode)
		got, err := api.GetRole(ctx, &iam.GetRoleInput{RoleName: &roleName})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r := got.Role
		seconds := int32(3600)
		if s.MaxSession != 0 {
			seconds = int32(s.MaxSession / time.Second)
		}
		path := s.Path
		if path == "" {
			path = "/"
		}
		if *r.Path != path || aws.ToInt32(r.MaxSessionDuration) != seconds || *r.Description != want.Mode.Purpose() {
			t.Errorf("%s: %s has path %s, sessions of %d s, description %q", name, roleName, *r.Path, aws.ToInt32(r.MaxSessionDuration), aws.ToString(r.Description))
		}
		if s.Boundary != "" && (r.PermissionsBoundary == nil || *r.PermissionsBoundary.PermissionsBoundaryArn != "arn:aws:iam::123456789012:policy/"+s.Boundary) {
			t.Errorf("%s: %s has boundary %+v, want %s", name, roleName, r.PermissionsBoundary, s.Boundary)
		}
		if len(r.Tags) != 1 || *r.Tags[0].Key != "keyreeve" || *r.Tags[0].Value != string(want.Mode) {
			t.Errorf("%s: %s has tags %v", name, roleName, r.Tags)
		}
		trusts(t, name, s, *r.AssumeRolePolicyDocument)

		own, err := api.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &roleName})
		if err != nil {
			t.Fatal(err)
		}
		other, err := api.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &roleName})
		if err != nil {
			t.Fatal(err)
		}
		if len(own.PolicyNames) != 1 || len(other.AttachedPolicies) != 0 {
			t.Fatalf("%s: %s has policies %v and %v, want one of its own", name, roleName, own.PolicyNames, other.AttachedPolicies)
		}
		policy, err := api.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &roleName, PolicyName: &own.PolicyNames[0]})
		if err != nil {
			t.Fatal(err)
		}
		may(t, name+": "+roleName, wanted(s, want.Mode), *policy.PolicyDocument)
	}
}

// oneOrMany is an element of a policy that may be a text or a list of texts.
type oneOrMany []string

func (o *oneOrMany) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*o = oneOrMany{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(o))
}

// heldStatement is a statement as AWS holds it.
type heldStatement struct {
	Sid, Effect      string
	Action, Resource oneOrMany
	Principal        map[string]oneOrMany
	Condition        map[string]map[string]oneOrMany
}

func held(t *testing.T, document string) []heldStatement {
	t.Helper()
	text, err := url.QueryUnescape(document) // as IAM answers
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Statement []heldStatement }
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return doc.Statement
}

// may compares the statements of a policy, their actions as sets.
func may(t *testing.T, what string, want []role.Statement, document string) {
	t.Helper()
	var got []role.Statement
	for _, h := range held(t, document) {
		if len(h.Resource) != 1 || h.Principal != nil || h.Condition != nil {
			t.Errorf("%s: a statement %+v", what, h)
			continue
		}
		got = append(got, role.Statement{Sid: h.Sid, Effect: h.Effect, Action: h.Action, Resource: h.Resource[0]})
	}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("%s may (-want +got):\n%s", what, diff)
	}
}

func trusts(t *testing.T, what string, s *role.Settings, document string) {
	t.Helper()
	want := heldStatement{Sid: "KeyreeveTrust", Effect: "Allow", Action: oneOrMany{"sts:AssumeRole"}, Principal: map[string]oneOrMany{"AWS": {s.Trust}}}
	for key, v := range conditions(s) {
		if want.Condition == nil {
			want.Condition = map[string]map[string]oneOrMany{"StringEquals": {}}
		}
		want.Condition["StringEquals"][key] = oneOrMany{v.(string)}
	}
	if diff := cmp.Diff([]heldStatement{want}, held(t, document)); diff != "" {
		t.Errorf("%s: who may assume (-want +got):\n%s", what, diff)
	}
}

// terraform runs Terraform itself, with the provider of AWS, in a directory.
type terraform struct {
	path    string
	plugins []string // of init
	env     []string
}

// findTerraform skips the test without Terraform and a provider, or fails it when KEYREEVE_REQUIRE contains "terraform".
// KEYREEVE_TERRAFORM_PLUGINS is a directory that holds the provider, as `terraform providers mirror` fills it; without
// it Terraform fetches the provider.
func findTerraform(t *testing.T, endpoint string) *terraform {
	t.Helper()
	path, err := exec.LookPath("terraform")
	if err != nil {
		missingTerraform(t, err.Error())
	}
	tf := &terraform{path: path, env: append(os.Environ(),
		"CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "AWS_ENDPOINT_URL="+endpoint, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=AKIAFAKE123456789012",
		"AWS_SECRET_ACCESS_KEY=any", "AWS_EC2_METADATA_DISABLED=true")}
	if dir := os.Getenv("KEYREEVE_TERRAFORM_PLUGINS"); dir != "" {
		tf.plugins = []string{"-plugin-dir=" + dir}
	}
	return tf
}

func missingTerraform(t *testing.T, why string) {
	t.Helper()
	const advice = "install Terraform 1.3 or later, and set KEYREEVE_TERRAFORM_PLUGINS where it cannot fetch its provider"
	if strings.Contains(os.Getenv("KEYREEVE_REQUIRE"), "terraform") {
		t.Fatalf("Terraform is required and missing: %s; %s", why, advice)
	}
	t.Skipf("Terraform is missing: %s; %s", why, advice)
}

func (tf *terraform) run(dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tf.path, append([]string{args[0], "-no-color"}, args[1:]...)...)
	cmd.Dir, cmd.Env = dir, tf.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// begin prepares a directory. A provider that cannot be had is like Terraform that cannot.
func (tf *terraform) begin(t *testing.T, dir string) {
	t.Helper()
	if out, err := tf.run(dir, append([]string{"init", "-input=false"}, tf.plugins...)...); err != nil {
		missingTerraform(t, out)
	}
}

func writeAll(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTerraform_appliedItMakesTheRoles(t *testing.T) {
	server := moto.Start(t)
	tf := findTerraform(t, server.URL())
	for name, s := range deployed() {
		server.Reset()
		dir := t.TempDir()
		writeAll(t, dir, files(t, s, role.Terraform))
		tf.begin(t, dir)
		if out, err := tf.run(dir, "fmt", "-check", "-diff"); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if out, err := tf.run(dir, "apply", "-input=false", "-auto-approve"); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		holdsRoles(t, server, name, s)
		if out, err := tf.run(dir, "plan", "-input=false", "-detailed-exitcode"); err != nil { // 2: it would change something again
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if s.ExternalID != "" {
			if out, err := tf.run(dir, "plan", "-input=false", "-var", "external_id="); err == nil {
				t.Errorf("%s: it takes an empty external id:\n%s", name, out)
			}
		}
	}
}

func TestTerraform_examplesOfTheReadmeAreValid(t *testing.T) {
	s := plain()
	for i, example := range exampleBlocks(t, files(t, s, role.Terraform)["README.md"]) {
		dir := t.TempDir()
		writeAll(t, filepath.Join(dir, "keyreeve-roles"), files(t, s, role.Terraform))
		writeAll(t, dir, files(t, s, role.CloudFormation))
		writeAll(t, dir, map[string]string{"main.tf": example})
		tf := findTerraform(t, "http://127.0.0.1:1") // nobody is called
		tf.begin(t, dir)
		if out, err := tf.run(dir, "validate"); err != nil {
			t.Errorf("example %d: %v\n%s\n%s", i+1, err, out, example)
		}
	}
}
