package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/awsiam"
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
			"them to credentials of their own (--remediate-profile, --remediate-role).\n" +
			"sts:GetCallerIdentity is called too and needs no permission.",
		Example: "  keyreeve iam-policy --for audit > keyreeve-audit.json\n" +
			"  keyreeve iam-policy --for remediate > keyreeve-remediate.json\n" +
			"  aws iam create-policy --policy-name keyreeve-audit --policy-document file://keyreeve-audit.json",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			policy, ok := policies()[mode]
			if !ok {
				return misuse("use audit or remediate", "unknown mode %q", mode)
			}
			text, err := json.MarshalIndent(policy, "", "  ")
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), string(text))
			return err
		},
	}
	c.Flags().StringVar(&mode, "for", "audit", "`MODE`: audit, remediate")
	completeValues(c, "for", []string{"audit", "remediate"})
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
	}
}
