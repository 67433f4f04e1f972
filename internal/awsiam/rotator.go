package awsiam

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyreeve/keyreeve/internal/fact"
)

const actionCreateKey = "iam:CreateAccessKey"

// RotateActions are all IAM actions of a Rotator, sorted, as a policy names them. Where new keys go, in Secrets Manager or
// Systems Manager, takes permissions there.
func RotateActions() []string {
	return slices.Sorted(slices.Values(append(RemediateActions(), actionCreateKey)))
}

// RotateChanges are the IAM actions with which a Rotator changes keys, sorted.
func RotateChanges() []string {
	return slices.Sorted(slices.Values(append(ActActions(), actionCreateKey)))
}

// Rotator is a Writer that also makes access keys and calls with them.
type Rotator struct{ *Writer }

// OpenRotator prepares a Rotator from settings of its own and calls nobody.
func OpenRotator(ctx context.Context, s Settings) (*Rotator, error) {
	w, err := OpenWriter(ctx, s)
	if err != nil {
		return nil, err
	}
	w.purpose = purposeRotate
	return &Rotator{w}, nil
}

// CreateKey makes an access key. It is sent once: AWS takes no token by which it would know a repetition, and a second key
// would be one that nobody holds. An error that wraps fact.ErrUnclear leaves open whether a key was made, whose secret is
// then lost; after any other error none was.
func (r *Rotator) CreateKey(ctx context.Context, user string) (fact.Pair, error) {
	doing := fmt.Sprintf("create an access key for user %q", user)
	if err := r.nameless(ctx, actionCreateKey, doing, user); err != nil {
		return fact.Pair{}, err
	}
	out, err := r.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &user}, func(o *iam.Options) { o.Retryer = aws.NopRetryer{} })
	if err != nil {
		e := r.failure(ctx, actionCreateKey, doing, user, err)
		e.Unclear = errors.As(err, new(*unclear))
		return fact.Pair{}, e
	}
	k := out.AccessKey
	if k == nil || aws.ToString(k.AccessKeyId) == "" || aws.ToString(k.SecretAccessKey) == "" {
		e := r.failure(ctx, actionCreateKey, doing, user, &refusal{"the answer lacks the id or the secret of the key"})
		e.Unclear = true
		return fact.Pair{}, e
	}
	return fact.Pair{KeyID: *k.AccessKeyId, Secret: fact.NewSecret(*k.SecretAccessKey)}, nil
}

// Probe calls sts:GetCallerIdentity with the pair and gives the ARN of the user that it belongs to. A key that was just made is
// not known everywhere for some seconds.
func (r *Rotator) Probe(ctx context.Context, p fact.Pair) (arn string, err error) {
	who, err := r.whose(ctx, func(o *sts.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: p.KeyID, SecretAccessKey: p.Secret.Reveal(), Source: "keyreeve"}, nil
		})
		o.Retryer = aws.NopRetryer{}
	})
	return who.ARN, err
}
