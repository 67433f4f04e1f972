package awsiam

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// temporaryPrefix begins the access key ids that STS hands out.
const temporaryPrefix = "ASIA"

// KeyIDs are the access key ids that these credentials work with, sorted: the one that signs, and behind a
// role those that assume it, up to the first. To touch one of them is to saw at one's own branch.
//
// It sees what a role, a profile and the environment name. The key behind a session token, a sign-in, a
// credential_process or a metadata service stays unknown: those hand out temporary credentials and do not
// say what they hold themselves. See SessionUsers.
func (c *client) KeyIDs(ctx context.Context) ([]string, error) {
	id, err := c.signingKey(ctx)
	if err != nil {
		return nil, err
	}
	ids := []string{id}
	for _, base := range c.role.bases {
		got, err := base.Retrieve(ctx)
		if err != nil {
			return nil, c.fail(ctx, "", doingKeyIDs, "", &sourceError{err})
		}
		ids = append(ids, got.AccessKeyID)
	}
	return sortedUnique(ids), nil
}

// SessionUsers are the users of whom a session stands in the chain: temporary credentials of a user itself, as
// GetSessionToken gives them for a second factor, also where a role is assumed with them. A key of that user is
// behind them, and nobody says which. It asks STS about each temporary credential.
func (c *client) SessionUsers(ctx context.Context) ([]fact.Caller, error) {
	if _, err := c.signingKey(ctx); err != nil {
		return nil, err
	}
	var users []fact.Caller
	for _, provider := range append([]aws.CredentialsProvider{c.signer}, c.role.bases...) {
		got, err := provider.Retrieve(ctx)
		if err != nil {
			return nil, c.fail(ctx, "", doingKeyIDs, "", &sourceError{err})
		}
		if !strings.HasPrefix(got.AccessKeyID, temporaryPrefix) {
			continue
		}
		who, err := c.whose(ctx, func(o *sts.Options) { o.Credentials = provider })
		if err != nil {
			return nil, err
		}
		if strings.Contains(who.ARN, ":user/") {
			users = append(users, who)
		}
	}
	return users, nil
}

const doingKeyIDs = "read the access key ids of the credentials in use"

func (c *client) signingKey(ctx context.Context) (string, error) {
	if c.signer == nil {
		return "", c.fail(ctx, "", doingKeyIDs, "", &sourceError{errors.New("none were found")})
	}
	got, err := c.signer.Retrieve(ctx)
	switch {
	case err != nil:
		return "", c.fail(ctx, "", doingKeyIDs, "", err)
	case got.AccessKeyID == "":
		return "", c.fail(ctx, "", doingKeyIDs, "", &sourceError{errors.New("they have no access key id")})
	default:
		return got.AccessKeyID, nil
	}
}

// cached keeps what provider gave until it ends, or nearly.
func cached(provider aws.CredentialsProvider) aws.CredentialsProvider {
	return aws.NewCredentialsCache(provider, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewal })
}
