package awsiam

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// pageSize is the largest page IAM gives; it may give shorter ones.
const pageSize = 1000

// maxPages of one listing are more than any account fills: it holds 5,000 users.
const maxPages = 10_000

// Caller asks STS who is calling. The partition comes from the ARN. An answer whose ARN and account
// disagree is refused: everything after would be read of an account we cannot name. A Reader that Members opened was told
// already, by the session that it got.
func (c *client) Caller(ctx context.Context) (fact.Caller, error) {
	if told := c.told.Load(); told != nil {
		return *told, nil
	}
	who, err := c.whose(ctx)
	if err == nil {
		c.account.Store(&who.Account.ID)
	}
	return who, err
}

func (c *client) whose(ctx context.Context, how ...func(*sts.Options)) (fact.Caller, error) {
	const action, doing = "sts:GetCallerIdentity", "ask who is calling"
	out, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, how...)
	if err != nil {
		return fact.Caller{}, c.fail(ctx, action, doing, "", err)
	}
	arn, id := aws.ToString(out.Arn), aws.ToString(out.Account)
	part := strings.SplitN(arn, ":", 6)
	if len(part) != 6 || part[0] != "arn" || part[1] == "" || !fact.IsAccountID(part[4]) {
		return fact.Caller{}, c.unusable(ctx, action, doing, "", "the ARN %q names no account", arn)
	}
	if part[4] != id {
		return fact.Caller{}, c.unusable(ctx, action, doing, "", "the ARN %q is not of account %q", arn, id)
	}
	return fact.Caller{
		Account: fact.Account{ID: id, Partition: part[1]},
		ARN:     arn,
		ID:      aws.ToString(out.UserId),
	}, nil
}

// Alias is the account alias; empty when it has none.
func (r *Reader) Alias(ctx context.Context) (string, error) {
	const action, doing = "iam:ListAccountAliases", "read the account alias"
	out, err := r.iam.ListAccountAliases(ctx, &iam.ListAccountAliasesInput{})
	if err != nil {
		return "", r.fail(ctx, action, doing, "", err)
	}
	if out.AccountAliases == nil {
		return "", r.unusable(ctx, action, doing, "", "it holds no list of aliases")
	}
	if len(out.AccountAliases) == 0 {
		return "", nil
	}
	return out.AccountAliases[0], nil // an account has at most one
}

// RootHasKeys tells whether root has any access key, active or not.
func (r *Reader) RootHasKeys(ctx context.Context) (bool, error) {
	const action, doing = "iam:GetAccountSummary", "count the access keys of root"
	out, err := r.iam.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
	if err != nil {
		return false, r.fail(ctx, action, doing, fact.RootName, err)
	}
	n, ok := out.SummaryMap[string(types.SummaryKeyTypeAccountAccessKeysPresent)]
	if !ok || n < 0 {
		return false, r.unusable(ctx, action, doing, fact.RootName, "the account summary has no AccountAccessKeysPresent")
	}
	return n > 0, nil
}

// Quarantined finds the users to whom AWS has attached a quarantine policy, with the names of the policies,
// sorted. A policy that the partition does not know is attached to nobody. partition is Caller's. Beside an
// error stands what was found before it: those users are in quarantine, of the others nothing is known.
func (c *client) Quarantined(ctx context.Context, partition string) (map[string][]string, error) {
	users := map[string][]string{}
	var failed error
	for _, policy := range QuarantinePolicies() {
		err := c.attached(ctx, "arn:"+partition+":iam::aws:policy/"+policy, func(user string) {
			users[user] = append(users[user], policy)
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			failed = err
			break
		}
	}
	for user, policies := range users {
		users[user] = sortedUnique(policies)
	}
	return users, failed
}

func (c *client) attached(ctx context.Context, policyARN string, each func(user string)) error {
	const action = "iam:ListEntitiesForPolicy"
	doing := "list the users of policy " + policyARN
	in := iam.ListEntitiesForPolicyInput{
		PolicyArn: &policyARN, EntityFilter: types.EntityTypeUser, MaxItems: aws.Int32(pageSize),
	}
	return c.pages(ctx, action, doing, policyARN, func(marker *string) (*string, bool, error) {
		in.Marker = marker
		out, err := c.iam.ListEntitiesForPolicy(ctx, &in)
		if err != nil {
			return nil, false, c.fail(ctx, action, doing, policyARN, err)
		}
		if out.PolicyUsers == nil && out.PolicyGroups == nil && out.PolicyRoles == nil {
			return nil, false, c.unusable(ctx, action, doing, policyARN, "it holds no list of users")
		}
		for _, u := range out.PolicyUsers {
			if aws.ToString(u.UserName) == "" {
				return nil, false, c.unusable(ctx, action, doing, policyARN, "a user has no name")
			}
			each(*u.UserName)
		}
		return out.Marker, out.IsTruncated, nil
	})
}

// pages calls page until the listing is complete. The SDK's paginators stop at a missing marker, also
// where AWS says that more follows; here that is an error, and so are a marker that comes back and a
// listing without end.
func (c *client) pages(
	ctx context.Context, action, doing, subject string, page func(marker *string) (next *string, more bool, err error),
) error {
	var marker *string
	seen := map[string]bool{}
	for {
		next, more, err := page(marker)
		switch {
		case err != nil:
			return err
		case !more:
			return nil
		case aws.ToString(next) == "":
			return c.unusable(ctx, action, doing, subject, "more pages follow, but it does not say where")
		case seen[*next]:
			return c.unusable(ctx, action, doing, subject, "its pages go round in a circle")
		case len(seen) == maxPages:
			return c.unusable(ctx, action, doing, subject, "it has more than %d pages", maxPages)
		}
		seen[*next] = true
		marker = next
	}
}
