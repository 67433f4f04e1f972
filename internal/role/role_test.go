package role_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/role"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// allow is a policy of one statement, as iam-policy prints one.
func allow(sid string, actions ...string) role.Document {
	return role.Document{Version: "2012-10-17", Statement: []role.Statement{{Sid: sid, Effect: "Allow", Action: actions, Resource: "*"}}}
}

func auditRole() role.Role {
	return role.Role{Mode: role.Audit, Policy: allow("KeyreeveAudit", "iam:GetCredentialReport", "iam:ListUsers")}
}

func remediateRole() role.Role {
	return role.Role{
		Mode: role.Remediate, Policy: allow("KeyreeveRemediate", "iam:DeleteAccessKey", "iam:GetUser", "iam:UpdateAccessKey"),
		Changes: []string{"iam:DeleteAccessKey", "iam:UpdateAccessKey"},
	}
}

// rotateRole also writes a secret, a parameter, and a secret that another account's role reaches.
func rotateRole() role.Role {
	p := allow("KeyreeveRotate", "iam:CreateAccessKey", "iam:GetUser")
	p.Statement = append(p.Statement,
		role.Statement{Sid: "KeyreeveSecret1", Effect: "Allow", Action: []string{"secretsmanager:PutSecretValue"}, Resource: "arn:*:secretsmanager:eu-west-1:*:secret:prod/*-??????"},
		role.Statement{Sid: "KeyreeveParameter2", Effect: "Allow", Action: []string{"ssm:PutParameter"}, Resource: "arn:*:ssm:*:*:parameter/prod/*"},
		role.Statement{Sid: "KeyreeveAssume3", Effect: "Allow", Action: []string{"sts:AssumeRole"}, Resource: "arn:aws:iam::444455556666:role/writer"},
	)
	return role.Role{Mode: role.Rotate, Policy: p, Changes: []string{"iam:CreateAccessKey"}}
}

// plain asks for nothing but what is required, and full for everything.
func plain() *role.Settings {
	return &role.Settings{Roles: []role.Role{auditRole()}, Trust: "111122223333"}
}

func full() *role.Settings {
	return &role.Settings{
		Roles: []role.Role{rotateRole(), remediateRole(), auditRole()}, Trust: "arn:aws-cn:iam::111122223333:role/ops/keyreeve",
		ExternalID: "keyreeve-4a7c", OrgID: "o-a1b2c3d4e5", Name: "sec-audit", Path: "/security/", Boundary: "limits/Keyreeve",
		MaxSession: 2 * time.Hour, Protect: []string{"/break-glass/", "/vendor/x/"},
	}
}

// cases are the settings that every test of the texts goes through.
func cases() map[string]*role.Settings {
	aws := plain()
	aws.Roles, aws.Boundary = []role.Role{remediateRole()}, "arn:aws:iam::aws:policy/job-function/Limits"
	return map[string]*role.Settings{"plain": plain(), "full": full(), "aws-boundary": aws}
}

// files are the texts by their names.
func files(t *testing.T, s *role.Settings, f role.Format) map[string]string {
	t.Helper()
	list, err := role.Files(s, f)
	if err != nil {
		t.Fatalf("Files(%s): %v", f, err)
	}
	out := map[string]string{}
	for _, f := range list {
		out[f.Name] = f.Text
	}
	return out
}

// stack is the CloudFormation template.
func stack(t *testing.T, s *role.Settings) string {
	t.Helper()
	list, err := role.Files(s, role.CloudFormation)
	if err != nil || len(list) != 1 {
		t.Fatalf("Files: %d files, %v", len(list), err)
	}
	return list[0].Text
}

func TestFiles_ofOtherRolesHaveAnotherStack(t *testing.T) {
	for want, roles := range map[string][]role.Role{
		"keyreeve-audit.yaml": {auditRole()}, "keyreeve-remediate-rotate.yaml": {rotateRole(), remediateRole()},
	} {
		s := plain()
		s.Roles = roles
		for name, text := range files(t, s, role.CloudFormation) {
			if name != want || !strings.Contains(text, "--template-body file://"+want+" ") || !strings.Contains(text, "--stack-set-name "+strings.TrimSuffix(want, ".yaml")+" ") {
				t.Errorf("file %s, want %s and the StackSet so named:\n%s", name, want, text)
			}
		}
	}
}

func TestGolden_everyFileIsAsItWas(t *testing.T) {
	for name, s := range cases() {
		for _, f := range role.Formats() {
			for file, got := range files(t, s, f) {
				path := filepath.Join("testdata", "golden", name+"."+file)
				if *update {
					if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
					continue
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatalf("%v (go test -update writes it)", err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("%s differs (-golden +now); review, then -update:\n%s", path, diff)
				}
			}
		}
	}
}

func TestFiles_beginWithTheMark(t *testing.T) {
	for _, f := range role.Formats() {
		for name, text := range files(t, full(), f) {
			first, _, _ := strings.Cut(text, "\n")
			if !strings.Contains(first, role.Mark) {
				t.Errorf("%s begins with %q, without the mark", name, first)
			}
		}
	}
}

func TestFiles_nameNoAccountBesideTheTrustAndTheSettings(t *testing.T) {
	s := full()
	for _, f := range role.Formats() {
		for name, text := range files(t, s, f) {
			if strings.HasSuffix(name, ".md") {
				continue // its examples are accounts
			}
			for _, given := range []string{s.Trust, "arn:aws:iam::444455556666:role/writer"} {
				text = strings.ReplaceAll(text, given, "")
			}
			for line := range strings.Lines(text) {
				if strings.Contains(line, "AllowedPattern") || strings.Contains(line, "regex(") {
					continue
				}
				if strings.Contains(line, "arn:aws") || strings.Contains(line, "111122223333") {
					t.Errorf("%s: %q holds a partition or an account", name, line)
				}
			}
		}
	}
}

func TestFiles_refuseAnUnknownFormat(t *testing.T) {
	if _, err := role.Files(plain(), "pulumi"); err == nil || !strings.Contains(err.Error(), `"pulumi"`) {
		t.Errorf("Files(pulumi) = %v, want an error that quotes it", err)
	}
	if role.Format("pulumi").Valid() {
		t.Error("pulumi is valid")
	}
}

func TestNameOf_putsTheModeInPlaceOfAudit(t *testing.T) {
	for _, c := range []struct {
		name, want string
		mode       role.Mode
	}{
		{"", "keyreeve-audit", role.Audit},
		{"", "keyreeve-remediate", role.Remediate},
		{"sec-audit", "sec-rotate", role.Rotate},
		{"keyreeve", "keyreeve", role.Audit},
		{"keyreeve", "keyreeve-rotate", role.Rotate},
	} {
		if got := (&role.Settings{Name: c.name}).NameOf(c.mode); got != c.want {
			t.Errorf("name %q, %s: %q, want %q", c.name, c.mode, got, c.want)
		}
	}
}

func TestValidate_refusesEachMistake(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*role.Settings)
		want   string
	}{
		"no role":                 {func(s *role.Settings) { s.Roles = nil }, "no role"},
		"unknown mode":            {func(s *role.Settings) { s.Roles[0].Mode = "fix" }, `"fix"`},
		"a mode twice":            {func(s *role.Settings) { s.Roles = append(s.Roles, auditRole()) }, "two roles for audit"},
		"nobody":                  {func(s *role.Settings) { s.Trust = "" }, "nobody"},
		"everybody":               {func(s *role.Settings) { s.Trust = "*" }, `"*" is neither`},
		"eleven digits":           {func(s *role.Settings) { s.Trust = "11112222333" }, `"11112222333"`},
		"a user":                  {func(s *role.Settings) { s.Trust = "arn:aws:iam::111122223333:user/ci" }, "is a user"},
		"a session":               {func(s *role.Settings) { s.Trust = "arn:aws:sts::111122223333:assumed-role/keyreeve/me" }, "neither"},
		"roles by a pattern":      {func(s *role.Settings) { s.Trust = "arn:aws:iam::111122223333:role/*" }, "neither"},
		"a trust that is long":    {func(s *role.Settings) { s.Trust = "arn:aws:iam::111122223333:role/" + strings.Repeat("a/", 1100) + "b" }, "neither"},
		"another partition":       {func(s *role.Settings) { s.Trust, s.Partition = "arn:aws:iam::111122223333:role/x", "aws-cn" }, "not in aws-cn"},
		"no partition":            {func(s *role.Settings) { s.Partition = "gcp" }, `"gcp"`},
		"external id, one letter": {func(s *role.Settings) { s.ExternalID = "x" }, `"x"`},
		"external id, blank":      {func(s *role.Settings) { s.ExternalID = "a b" }, `"a b"`},
		"external id, too long":   {func(s *role.Settings) { s.ExternalID = strings.Repeat("x", 1225) }, "2 to 1224"},
		"organisation":            {func(s *role.Settings) { s.OrgID = "ou-1234" }, `"ou-1234"`},
		"name":                    {func(s *role.Settings) { s.Name = "a/b" }, `"a/b"`},
		"name, too long": {func(s *role.Settings) {
			s.Name, s.Roles = strings.Repeat("n", 60), []role.Role{auditRole(), remediateRole()}
		}, "-remediate"},
		"path without an end":    {func(s *role.Settings) { s.Path = "/security" }, `"/security"`},
		"path, too long":         {func(s *role.Settings) { s.Path = "/" + strings.Repeat("p", 511) + "/" }, "no path"},
		"boundary of an account": {func(s *role.Settings) { s.Boundary = "arn:aws:iam::111122223333:policy/x" }, "neither the name"},
		"boundary elsewhere":     {func(s *role.Settings) { s.Boundary = "arn:aws-cn:iam::aws:policy/x" }, "not in aws"},
		"session, short":         {func(s *role.Settings) { s.MaxSession = time.Hour - time.Second }, "59m59s"},
		"session, long":          {func(s *role.Settings) { s.MaxSession = 12*time.Hour + time.Second }, "12h0m1s"},
		"session, split":         {func(s *role.Settings) { s.MaxSession = 90*time.Minute + time.Millisecond }, "whole seconds"},
		"nothing to protect":     {func(s *role.Settings) { s.Protect = []string{"/x/"} }, "no role changes keys"},
		"protect everybody":      {func(s *role.Settings) { s.Roles, s.Protect = []role.Role{remediateRole()}, []string{"/"} }, "every user"},
		"protect a pattern":      {func(s *role.Settings) { s.Roles, s.Protect = []role.Role{remediateRole()}, []string{"/x*/"} }, `"/x*/"`},
		"protect twice":          {func(s *role.Settings) { s.Roles, s.Protect = []role.Role{remediateRole()}, []string{"/x/", "/x/"} }, "twice"},
	} {
		s := plain()
		c.change(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
		if _, err := role.Files(s, role.CloudFormation); err == nil {
			t.Errorf("%s: Files takes it", name)
		}
	}
}

func TestValidate_takesTheBoundaries(t *testing.T) {
	for name, change := range map[string]func(*role.Settings){
		"nothing but what is required": func(*role.Settings) {},
		"the longest session":          func(s *role.Settings) { s.MaxSession = 12 * time.Hour },
		"the shortest":                 func(s *role.Settings) { s.MaxSession = time.Hour },
		"the longest name":             func(s *role.Settings) { s.Name = strings.Repeat("n", 64) },
		"the longest path":             func(s *role.Settings) { s.Path = "/" + strings.Repeat("p", 510) + "/" },
		"the longest external id":      func(s *role.Settings) { s.ExternalID = strings.Repeat("x", 1224) },
		"a role of single sign-on": func(s *role.Settings) {
			s.Trust = "arn:aws-us-gov:iam::111122223333:role/aws-reserved/sso.amazonaws.com/us-gov-west-1/AWSReservedSSO_Ops_0a1b"
		},
	} {
		s := plain()
		change(s)
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidate_tellsEveryMistakeAtOnce(t *testing.T) {
	s := &role.Settings{Trust: "me", ExternalID: "x", OrgID: "y", Path: "z", Boundary: "#", MaxSession: time.Second, Protect: []string{"w"}}
	err := s.Validate()
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, want := range []string{"no role", `"me"`, `"x"`, `"y"`, `"z"`, `"#"`, "1s", `"w"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nhas no %s", err, want)
		}
	}
}

func TestIsName_takesAPathBeforeIt(t *testing.T) {
	for text, want := range map[string]bool{
		"keyreeve-audit": true, "security/keyreeve-audit": true, "a/b/c": true,
		"": false, "/keyreeve": false, "a//b": false, "a/": false, "*": false, "a b": false, strings.Repeat("n", 65): false,
	} {
		if got := role.IsName(text); got != want {
			t.Errorf("IsName(%q) = %v, want %v", text, got, want)
		}
	}
}
