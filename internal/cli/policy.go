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
			"The audit only reads. sts:GetCallerIdentity is called too and needs no permission.",
		Example: "  keyreeve iam-policy --for audit > keyreeve-audit.json\n" +
			"  aws iam create-policy --policy-name keyreeve-audit --policy-document file://keyreeve-audit.json",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if mode != "audit" {
				return misuse("this version has --for audit", "unknown mode %q", mode)
			}
			text, err := json.MarshalIndent(auditPolicy(), "", "  ")
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), string(text))
			return err
		},
	}
	c.Flags().StringVar(&mode, "for", "audit", "`MODE`: audit")
	completeValues(c, "for", []string{"audit"})
	return c
}

func auditPolicy() policyDocument {
	return policyDocument{
		Version: "2012-10-17",
		Statement: []policyStatement{{
			Sid: "KeyreeveAudit", Effect: "Allow", Action: awsiam.AuditActions(),
			// ListUsers, the credential report and the account's summary take no narrower resource.
			Resource: "*",
		}},
	}
}
