package role

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed template/*.tmpl
var templates embed.FS

// Format is a language that says roles.
type Format string

// The formats.
const (
	CloudFormation Format = "cloudformation" // one template
	Terraform      Format = "terraform"      // a module of a few files
)

// Formats are all formats.
func Formats() []Format { return []Format{CloudFormation, Terraform} }

// Valid tells whether f is one of Formats.
func (f Format) Valid() bool { return f == CloudFormation || f == Terraform }

// Mark stands in the first line of every file that this package writes, and so tells it from a file of yours.
const Mark = "Written by keyreeve org setup"

const stackTemplate = "stack.yaml"

// File is a file to write.
type File struct {
	Name string // without a directory
	Text string
	Page bool // for people to read; the tools need it not
}

// Files writes the roles in that format, in the order in which they read best. An error is a mistake of the settings.
func Files(s *Settings, f Format) ([]File, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	var names []string
	switch f {
	case CloudFormation:
		names = []string{stackTemplate}
	case Terraform:
		names = []string{"main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md"}
	default:
		return nil, fmt.Errorf("unknown format %q", f)
	}
	t, err := template.New("role").Option("missingkey=error").Funcs(template.FuncMap{
		"yaml": quoted, "hcl": hclText, "cfn": cfnARN, "tf": tfARN,
	}).ParseFS(templates, "template/*.tmpl")
	if err != nil {
		return nil, fmt.Errorf("templates of roles: %w", err)
	}
	var out []File
	p := s.page()
	for _, name := range names {
		var b strings.Builder
		if err := t.ExecuteTemplate(&b, name+".tmpl", p); err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
		if name == stackTemplate {
			name = p.Stack + ".yaml" // so that the roles of two principals are two files and two StackSets
		}
		out = append(out, File{Name: name, Text: b.String(), Page: strings.HasSuffix(name, ".md")})
	}
	return out, nil
}

// page is what the templates see: settings with every default filled in.
type page struct {
	Mark                         string
	Stack                        string // the name of the StackSet, and with .yaml that of its template
	What                         string // the roles in words, as after "The"
	Trust, ExternalID, OrgID     string
	Path, Partition, Region      string
	Seconds                      int
	Boundary                     string // an ARN, as in Statement, or of ownAccount; empty: none
	NeedsPartition, NeedsAccount bool
	Roles                        []pageRole
}

type pageRole struct {
	Role
	Name string
}

// anyPartition begins an ARN of whatever partition the role is in, and ownAccount is the role's account in one.
const (
	anyPartition = "arn:*:"
	ownAccount   = "iam::{account}:"
)

func (s *Settings) page() page {
	p := page{
		Mark: Mark, Stack: "keyreeve", Trust: s.Trust, ExternalID: s.ExternalID, OrgID: s.OrgID,
		Path: s.Path, Partition: s.partition(), Region: homeRegion(s.partition()), Seconds: int(s.session() / time.Second),
	}
	if p.Path == "" {
		p.Path = "/"
	}
	if of := awsPolicy.FindStringSubmatch(s.Boundary); of != nil {
		p.Boundary = anyPartition + "iam::aws:policy/" + of[2]
	} else if s.Boundary != "" {
		p.Boundary, p.NeedsAccount = anyPartition+ownAccount+"policy/"+s.Boundary, true
	}
	p.NeedsPartition = p.Boundary != ""
	var does []string
	for _, m := range Modes() {
		i := slices.IndexFunc(s.Roles, func(r Role) bool { return r.Mode == m })
		if i < 0 {
			continue
		}
		r := s.Roles[i]
		r.Policy.Statement = append(slices.Clone(r.Policy.Statement), s.protection(&r)...)
		for _, st := range r.Policy.Statement {
			p.NeedsPartition = p.NeedsPartition || strings.HasPrefix(st.Resource, anyPartition)
		}
		p.Roles = append(p.Roles, pageRole{r, s.NameOf(m)})
		p.Stack += "-" + string(m)
		does = append(does, string(m))
	}
	p.What = "role that keyreeve assumes to " + does[0]
	if n := len(does) - 1; n > 0 {
		p.What = "roles that keyreeve assumes to " + strings.Join(does[:n], ", ") + " and " + does[n]
	}
	return p
}

// protection are the statements that keep a role away from the users who are protected from it. An explicit denial
// wins over what the role is allowed here and, by its boundary or another policy, anywhere.
func (s *Settings) protection(r *Role) []Statement {
	if len(r.Changes) == 0 {
		return nil
	}
	var out []Statement
	for i, p := range s.Protect {
		out = append(out, Statement{
			Sid: fmt.Sprintf("KeyreeveProtect%d", i+1), Effect: "Deny", Action: r.Changes,
			Resource: anyPartition + "iam::*:user" + p + "*",
		})
	}
	return out
}

// homeRegion is the region in which IAM of a partition is at home, where it is known.
// Source: https://docs.aws.amazon.com/general/latest/gr/iam-service.html
func homeRegion(partition string) string {
	switch partition {
	case "aws":
		return "us-east-1"
	case "aws-cn":
		return "cn-north-1"
	case "aws-us-gov":
		return "us-gov-west-1"
	case "aws-eusc":
		return "eusc-de-east-1"
	default:
		return "REGION"
	}
}

// quoted is text between quotes, as JSON and so YAML read it.
func quoted(text string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string always can
	return strings.TrimSuffix(b.String(), "\n")
}

// hclText is text between quotes, as HCL reads it: without interpolation.
func hclText(text string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(quoted(text))
}

// cfnARN is a resource of a statement in CloudFormation.
func cfnARN(arn string) string {
	rest, ok := strings.CutPrefix(arn, anyPartition)
	if !ok {
		return quoted(arn)
	}
	rest = strings.ReplaceAll(rest, "${", "${!")
	if own, ok := strings.CutPrefix(rest, ownAccount); ok {
		rest = "iam::${AWS::AccountId}:" + own
	}
	return "!Sub " + quoted("arn:${AWS::Partition}:"+rest)
}

// tfARN is a resource of a statement in Terraform.
func tfARN(arn string) string {
	rest, ok := strings.CutPrefix(arn, anyPartition)
	if !ok {
		return hclText(arn)
	}
	text := strings.TrimPrefix(hclText(rest), `"`)
	if own, ok := strings.CutPrefix(text, ownAccount); ok {
		text = "iam::${data.aws_caller_identity.current.account_id}:" + own
	}
	return `"arn:${data.aws_partition.current.partition}:` + text
}
