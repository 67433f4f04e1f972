package awsiam

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// SecretActions are the actions of Secrets, sorted, as a policy names them; create is to make secrets too. A
// secret under a key of its own needs kms:Decrypt and kms:GenerateDataKey of that key besides.
func SecretActions(create bool) []string {
	out := []string{
		"secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue",
		"secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage",
	}
	if create {
		out = append(out, "secretsmanager:CreateSecret")
	}
	slices.Sort(out)
	return out
}

// noVersion is the id of a version that no secret has.
const noVersion = "keyreeve-preflight-no-such-version-0000"

// Secrets reads and writes secrets of Secrets Manager, in one account and region. It is safe for concurrent use.
//
// Every change may be repeated with the same result, and is, within Settings.MaxAttempts. A failure whose effect
// nobody knows is fact.ErrUnclear beside its kind.
type Secrets struct {
	*client
	api *secretsmanager.Client
}

// OpenSecrets prepares Secrets and calls nobody.
func OpenSecrets(ctx context.Context, s Settings) (*Secrets, error) {
	c, err := connect(ctx, s, purposeRotate)
	if err != nil {
		return nil, err
	}
	cfg, err := c.service(ctx)
	if err != nil {
		return nil, err
	}
	return &Secrets{c, secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) {
		if c.set.EndpointURL != "" {
			o.BaseEndpoint = aws.String(c.set.EndpointURL)
		}
	})}, nil
}

// Region is where the secrets are.
func (s *Secrets) Region() string { return s.api.Options().Region }

// SecretVersions reads which version of a secret bears which staging labels: label to version id. doomed: the
// secret is scheduled for deletion. Versions without a label are not told, and may be gone at any time.
func (s *Secrets) SecretVersions(ctx context.Context, secret string) (labels map[string]string, doomed bool, err error) {
	doing := sentence{action: "secretsmanager:DescribeSecret", doing: fmt.Sprintf("describe secret %q", secret), subject: secret}
	out, err := s.api.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &secret})
	if err != nil {
		return nil, false, s.failed(ctx, doing, err)
	}
	if aws.ToString(out.ARN) == "" {
		return nil, false, s.garbled(ctx, doing, "it holds no secret")
	}
	labels = map[string]string{}
	for version, names := range out.VersionIdsToStages {
		for _, label := range names {
			if other, twice := labels[label]; twice && other != version {
				return nil, false, s.garbled(ctx, doing, "two versions bear the label %s", label)
			}
			labels[label] = version
		}
	}
	return labels, out.DeletedDate != nil, nil
}

// SecretValue reads the text of a version. A secret that holds bytes is refused.
func (s *Secrets) SecretValue(ctx context.Context, secret, version string) (fact.Secret, error) {
	doing := sentence{
		action: "secretsmanager:GetSecretValue", doing: fmt.Sprintf("read version %q of secret %q", version, secret), subject: secret,
	}
	out, err := s.api.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &secret, VersionId: &version})
	switch {
	case err != nil:
		return fact.Secret{}, s.failed(ctx, doing, err)
	case aws.ToString(out.VersionId) != version:
		return fact.Secret{}, s.garbled(ctx, doing, "it is about version %q", aws.ToString(out.VersionId))
	case out.SecretString == nil:
		return fact.Secret{}, s.garbled(ctx, doing, "it holds no text")
	}
	return fact.NewSecret(*out.SecretString), nil
}

// PutSecret adds a version under the id given, with one staging label. A version of that id and value that is
// there already stays as it is; one with another value is an error.
func (s *Secrets) PutSecret(ctx context.Context, secret, version string, value fact.Secret, label string) error {
	doing := sentence{
		action: "secretsmanager:PutSecretValue", doing: fmt.Sprintf("put version %q into secret %q", version, secret),
		subject: secret, carried: value,
	}
	out, err := s.api.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &secret, ClientRequestToken: &version, SecretString: aws.String(value.Reveal()), VersionStages: []string{label},
	})
	if err != nil {
		return s.changed(ctx, doing, err)
	}
	if aws.ToString(out.VersionId) != version {
		e := s.garbled(ctx, doing, "it is about version %q", aws.ToString(out.VersionId))
		e.Unclear = true
		return e
	}
	return nil
}

// CreateSecret makes a secret whose first version, with the id given, is current. kmsKey may be empty: the
// account's own key for Secrets Manager.
func (s *Secrets) CreateSecret(ctx context.Context, secret, version string, value fact.Secret, kmsKey string) error {
	doing := sentence{
		action: "secretsmanager:CreateSecret", doing: fmt.Sprintf("create secret %q", secret), subject: secret, carried: value,
	}
	in := &secretsmanager.CreateSecretInput{
		Name: &secret, ClientRequestToken: &version, SecretString: aws.String(value.Reveal()),
		Description: aws.String("An access key, kept up to date by keyreeve"),
	}
	if kmsKey != "" {
		in.KmsKeyId = &kmsKey
	}
	if _, err := s.api.CreateSecret(ctx, in); err != nil {
		return s.changed(ctx, doing, err)
	}
	return nil
}

// MoveLabel takes a staging label from one version and gives it to another; either may be empty. AWS refuses
// when from does not bear it, so that one of two who move it at once fails. It keeps AWSPREVIOUS by itself.
func (s *Secrets) MoveLabel(ctx context.Context, secret, label, from, to string) error {
	doing := sentence{
		action: "secretsmanager:UpdateSecretVersionStage", subject: secret,
		doing: fmt.Sprintf("move label %s of secret %q from version %q to version %q", label, secret, from, to),
	}
	in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &secret, VersionStage: &label}
	if from != "" {
		in.RemoveFromVersionId = &from
	}
	if to != "" {
		in.MoveToVersionId = &to
	}
	if _, err := s.api.UpdateSecretVersionStage(ctx, in); err != nil {
		return s.changed(ctx, doing, err)
	}
	return nil
}

// MayMoveLabel asks AWS whether these credentials may move labels of a secret, by taking one from a version that
// cannot exist: nil for yes, ErrDenied for no, everything else is no answer. Nothing like it exists for
// PutSecretValue, which without permission fails at the first delivery, before anything changed.
func (s *Secrets) MayMoveLabel(ctx context.Context, secret string) error {
	doing := sentence{
		action: "secretsmanager:UpdateSecretVersionStage", subject: secret,
		doing: fmt.Sprintf("check the permission to move labels of secret %q", secret),
	}
	_, err := s.api.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &secret, VersionStage: aws.String("AWSPENDING"), RemoveFromVersionId: aws.String(noVersion),
	})
	switch apiCode(err) {
	case "InvalidParameterException", "InvalidRequestException", "ResourceNotFoundException":
		return nil // it got as far as looking for the version
	}
	if err == nil {
		return s.garbled(ctx, doing, "AWS says that it moved a label of a version that cannot exist")
	}
	return s.failed(ctx, doing, err)
}
