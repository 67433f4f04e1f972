package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/channel"
	"github.com/keyreeve/keyreeve/internal/config"
	"github.com/keyreeve/keyreeve/internal/role"
)

// policyFlags are the flags of `keyreeve iam-policy`, as they were written.
type policyFlags struct {
	mode      string
	orgRole   string
	partition string
}

func (a *app) policyCommand() *cobra.Command {
	var f policyFlags
	c := &cobra.Command{
		Use:   "iam-policy",
		Short: "Print the least-privilege IAM policy that a mode needs",
		Long: "iam-policy prints the policy with exactly the actions that keyreeve calls in a mode, no more.\n" +
			"audit, plan and doctor only read. apply and undo need the actions of remediate, and these alone: give\n" +
			"them to credentials of their own (--remediate-profile, --remediate-role). rotate needs those of rotate,\n" +
			"with the secrets and parameters that the settings file names, as far as they are in the same account.\n" +
			"org is for the credentials that list an organisation's accounts and assume a role in each (--org-role);\n" +
			"keyreeve org setup makes these roles, with the policies of the other modes.\n" +
			"notify is for the channels of the settings file that are in AWS; exit code 2 where there is none.\n" +
			"sts:GetCallerIdentity is called too and needs no permission.",
		Example: "  keyreeve iam-policy --for audit > keyreeve-audit.json\n" +
			"  keyreeve iam-policy --for remediate > keyreeve-remediate.json\n" +
			"  keyreeve iam-policy --for org --org-role security/keyreeve-audit > keyreeve-org.json\n" +
			"  aws iam create-policy --policy-name keyreeve-audit --policy-document file://keyreeve-audit.json",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			return a.printPolicy(&f, c.Flags().Changed("org-role") || c.Flags().Changed("partition"))
		},
	}
	modes := append(words(role.Modes()), forOrg, forNotify)
	fs := c.Flags()
	fs.StringVar(&f.mode, "for", string(role.Audit), "`MODE`: "+strings.Join(modes, ", "))
	fs.StringVar(&f.orgRole, "org-role", role.DefaultName, "with --for org: `NAME` of the role to assume in each account, after its path where it has one")
	fs.StringVar(&f.partition, "partition", role.DefaultPartition, "with --for org: `NAME` of the partition of the accounts")
	completeValues(c, "for", modes)
	return c
}

// forOrg is the mode of the credentials that reach the accounts of an organisation.
const forOrg = "org"

// forNotify is the mode of the credentials that deliver notices to channels in AWS.
const forNotify = "notify"

// printPolicy prints the policy of a mode; place tells whether flags say where the roles of an organisation are.
func (a *app) printPolicy(f *policyFlags, place bool) error {
	policy := role.Document{}
	var err error
	switch {
	case f.mode == forOrg:
		policy, err = orgPolicy(f.orgRole, f.partition)
	case f.mode != forNotify && !role.Mode(f.mode).Valid():
		err = misuse("use audit, remediate, rotate, org or notify", "unknown mode %q", f.mode)
	case place:
		err = misuse("leave them out, or say --for org", "--org-role and --partition go with --for org")
	case f.mode == forNotify:
		policy, err = a.notifyPolicy()
	default:
		policy, err = a.policy(role.Mode(f.mode))
	}
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(policy, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.sys.Stdout, string(text))
	return err
}

// policy is what a mode needs in one account. The resource is everything: users come and go, ListUsers, the credential
// report and the account's summary take no narrower one, and the partition is not known here.
func (a *app) policy(m role.Mode) (role.Document, error) {
	switch m {
	case role.Remediate:
		return allow("KeyreeveRemediate", awsiam.RemediateActions()), nil
	case role.Rotate:
		set, _, err := a.readConfig(a.sys.Now())
		if err != nil {
			return role.Document{}, asMisuse(err)
		}
		out := allow("KeyreeveRotate", awsiam.RotateActions())
		out.Statement = append(out.Statement, targetStatements(set)...)
		return out, nil
	default:
		return allow("KeyreeveAudit", awsiam.AuditActions()), nil
	}
}

// orgPolicy is what it takes to list the accounts of an organisation and to assume that role in each.
func orgPolicy(name, partition string) (role.Document, error) {
	if !role.IsName(name) {
		return role.Document{}, misuse("write its name, after its path where it has one: security/keyreeve-audit", "--org-role %q is no role", name)
	}
	if !role.IsPartition(partition) {
		return role.Document{}, misuse("use aws, aws-cn, aws-us-gov or the like", "%q is no partition", partition)
	}
	out := allow("KeyreeveOrganization", awsiam.OrgActions())
	out.Statement = append(out.Statement, role.Statement{
		Sid: "KeyreeveAssume", Effect: "Allow", Action: []string{"sts:AssumeRole"}, Resource: "arn:" + partition + ":iam::*:role/" + name,
	})
	return out, nil
}

// allow is a policy of one statement about everything.
func allow(sid string, actions []string) role.Document {
	return role.Document{
		Version:   "2012-10-17",
		Statement: []role.Statement{{Sid: sid, Effect: "Allow", Action: actions, Resource: "*"}},
	}
}

// targetStatements are what the couriers need, for each secret and parameter that the settings name. What a role reaches
// needs only the right to assume it; the role's own policy is the other account's matter.
func targetStatements(set *config.Config) []role.Statement {
	var out []role.Statement
	for i, s := range set.Stores() {
		st := role.Statement{Effect: "Allow"}
		region := s.Region
		if region == "" {
			region = "*"
		}
		switch {
		case s.Role != "":
			st.Sid, st.Action, st.Resource = "KeyreeveAssume", []string{"sts:AssumeRole"}, s.Role
		case s.Kind == config.SecretsManager:
			st.Sid, st.Action, st.Resource = "KeyreeveSecret", awsiam.SecretActions(s.Create), s.Name
			if !strings.HasPrefix(s.Name, "arn:") { // AWS adds a dash and six characters to the name of a secret
				st.Resource = "arn:*:secretsmanager:" + region + ":*:secret:" + s.Name + "-??????"
			}
		default:
			st.Sid, st.Action = "KeyreeveParameter", awsiam.ParameterActions()
			st.Resource = "arn:*:ssm:" + region + ":*:parameter/" + strings.TrimPrefix(s.Name, "/")
		}
		st.Sid += strconv.Itoa(i + 1)
		out = append(out, st)
	}
	return out
}

func (a *app) notifyPolicy() (role.Document, error) {
	set, _, err := a.readConfig(a.sys.Now())
	if err != nil {
		return role.Document{}, asMisuse(err)
	}
	out := role.Document{Version: "2012-10-17", Statement: channelStatements(set)}
	if len(out.Statement) == 0 { // which AWS takes for no policy
		return role.Document{}, misuse("docs/notices.md shows the kinds sns, eventbridge and securityhub; the others need no permission", "the settings name no channel in AWS")
	}
	return out, nil
}

// channelStatements are what the channels in AWS need, for each that the settings name. What a role reaches needs only the
// right to assume it.
func channelStatements(set *config.Config) []role.Statement {
	var out []role.Statement
	for i, c := range set.Notices().Channels {
		if c.AWS == nil {
			continue
		}
		st := role.Statement{Sid: "KeyreeveNotify" + strconv.Itoa(i+1), Effect: "Allow"}
		region := c.AWS.Region
		if region == "" {
			region = "*"
		}
		switch {
		case c.AWS.RoleARN != "":
			st.Action, st.Resource = []string{"sts:AssumeRole"}, c.AWS.RoleARN
		case c.Kind == channel.SNS:
			st.Action, st.Resource = awsiam.TopicActions(), c.AWS.Place
		case c.Kind == channel.EventBridge:
			st.Action, st.Resource = awsiam.BusActions(), c.AWS.Place
			if !strings.HasPrefix(st.Resource, "arn:") {
				bus := st.Resource
				if bus == "" {
					bus = "default"
				}
				st.Resource = "arn:*:events:" + region + ":*:event-bus/" + bus
			}
		default: // the default product of each account
			st.Action, st.Resource = awsiam.HubActions(), "arn:*:securityhub:"+region+":*:product/*/default"
		}
		out = append(out, st)
	}
	return out
}
