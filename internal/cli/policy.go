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
)

// policyDocument is an IAM policy, as AWS takes it.
type policyDocument struct {
	Version   string
	Statement []policyStatement
}

type policyStatement struct {
	Sid      string
	Effect   string
	Action   []string
	Resource string
}

func (a *app) policyCommand() *cobra.Command {
	var mode string
	c := &cobra.Command{
		Use:   "iam-policy",
		Short: "Print the least-privilege IAM policy that a mode needs",
		Long: "iam-policy prints the policy with exactly the actions that keyreeve calls in a mode, no more.\n" +
			"audit, plan and doctor only read. apply and undo need the actions of remediate, and these alone: give\n" +
			"them to credentials of their own (--remediate-profile, --remediate-role). rotate needs those of rotate,\n" +
			"with the secrets and parameters that the settings file names, as far as they are in the same account.\n" +
			"notify is for the channels of the settings file that are in AWS; it is empty where there is none.\n" +
			"sts:GetCallerIdentity is called too and needs no permission.",
		Example: "  keyreeve iam-policy --for audit > keyreeve-audit.json\n" +
			"  keyreeve iam-policy --for remediate > keyreeve-remediate.json\n" +
			"  aws iam create-policy --policy-name keyreeve-audit --policy-document file://keyreeve-audit.json",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			policy, ok := policies()[mode]
			if !ok {
				return misuse("use audit, remediate, rotate or notify", "unknown mode %q", mode)
			}
			if mode == "rotate" || mode == "notify" {
				set, _, err := a.readConfig(a.sys.Now())
				if err != nil {
					return asMisuse(err)
				}
				if mode == "rotate" {
					policy.Statement = append(policy.Statement, targetStatements(set)...)
				} else {
					policy.Statement = channelStatements(set)
				}
			}
			text, err := json.MarshalIndent(policy, "", "  ")
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), string(text))
			return err
		},
	}
	c.Flags().StringVar(&mode, "for", "audit", "`MODE`: audit, remediate, rotate, notify")
	completeValues(c, "for", []string{"audit", "remediate", "rotate", "notify"})
	return c
}

// policies are the policies by the mode that needs them. The resource is everything: users come and go, ListUsers,
// the credential report and the account's summary take no narrower one, and the partition is not known here.
func policies() map[string]policyDocument {
	allow := func(sid string, actions []string) policyDocument {
		return policyDocument{
			Version:   "2012-10-17",
			Statement: []policyStatement{{Sid: sid, Effect: "Allow", Action: actions, Resource: "*"}},
		}
	}
	return map[string]policyDocument{
		"audit":     allow("KeyreeveAudit", awsiam.AuditActions()),
		"remediate": allow("KeyreeveRemediate", awsiam.RemediateActions()),
		"rotate":    allow("KeyreeveRotate", awsiam.RotateActions()),
		"notify":    {Version: "2012-10-17"}, // what the settings name
	}
}

// targetStatements are what the couriers need, for each secret and parameter that the settings name. What a role reaches
// needs only the right to assume it; the role's own policy is the other account's matter.
func targetStatements(set *config.Config) []policyStatement {
	var out []policyStatement
	for i, s := range set.Stores() {
		st := policyStatement{Effect: "Allow"}
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

// channelStatements are what the channels in AWS need, for each that the settings name. What a role reaches needs only the
// right to assume it.
func channelStatements(set *config.Config) []policyStatement {
	out := []policyStatement{}
	for i, c := range set.Notices().Channels {
		if c.AWS == nil {
			continue
		}
		st := policyStatement{Sid: "KeyreeveNotify" + strconv.Itoa(i+1), Effect: "Allow"}
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
