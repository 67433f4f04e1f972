package awsiam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
)

// configure reads the SDK's own chain, or takes the credentials given by hand. Every client of STS that
// the chain makes in order to assume a role goes by the manners of role.
func configure(ctx context.Context, s Settings, role *roleManners) (aws.Config, error) {
	if c := s.Credentials; c != nil {
		return aws.Config{
			Region: s.Region,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{
					AccessKeyID: c.ID, SecretAccessKey: c.Secret.Reveal(), SessionToken: c.Session.Reveal(),
					Source: "keyreeve",
				}, nil
			}),
		}, nil
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithSharedConfigProfile(s.Profile),
		config.WithRegion(s.Region),
		config.WithDefaultRegion(defaultRegion),
		config.WithLogger(sdkLog(s.Log)),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(s.CallTimeout)),
		config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
			if o.Client != nil { // nil where the SDK only checks the options
				o.Client = role.client(o.Client)
			}
		}),
		config.WithWebIdentityRoleCredentialOptions(func(o *stscreds.WebIdentityRoleOptions) {
			if o.Client != nil {
				o.Client = tokenClient{o.Client, role}
			}
		}))
	if err != nil {
		return cfg, notLoaded(s.Profile, err)
	}
	return cfg, nil
}

// notLoaded tells a profile that gives no credentials from a variable or a file that makes no sense.
func notLoaded(profile string, err error) error {
	var (
		number *strconv.NumError
		file   config.SharedConfigLoadError
	)
	if _, envErr := config.NewEnvConfig(); envErr != nil || errors.As(err, &number) || errors.As(err, &file) {
		return &Error{Doing: "read the AWS configuration", Kind: ErrSettings, Err: err}
	}
	doing := "read the AWS configuration"
	if profile != "" {
		doing = fmt.Sprintf("open AWS profile %q", profile)
	}
	return &Error{Doing: doing, Subject: profile, Kind: ErrNoCredentials, Err: err}
}

// roleManners are how a role is assumed: by the endpoint, the connections and the patience of the client.
// The SDK builds the client for it before it looks for the endpoint that is configured, and would call AWS
// itself; so they are filled in later, before the first call.
type roleManners struct {
	apply func(*sts.Options)
	bases []aws.CredentialsProvider // by which roles are assumed, the first of the chain first
}

// renewal is how long before their end the credentials of a role are renewed.
const renewal = time.Minute

// assume gives the credentials of the role of s, assumed by the credentials of api.
func (m *roleManners) assume(api *sts.Client, s Settings) aws.CredentialsProvider {
	return cached(stscreds.NewAssumeRoleProvider(m.client(api), s.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = s.SessionName
		if s.ExternalID != "" {
			o.ExternalID = &s.ExternalID
		}
	}))
}

// client takes note of the credentials that api assumes a role by. They are cached here, for the SDK does
// not do it in the middle of a chain.
func (m *roleManners) client(api stscreds.AssumeRoleAPIClient) roleClient {
	out := roleClient{client: api, role: m}
	if known, ok := api.(interface{ Options() sts.Options }); ok && known.Options().Credentials != nil {
		out.base = cached(known.Options().Credentials)
		m.bases = append(m.bases, out.base)
	}
	return out
}

// roleClient assumes a role.
type roleClient struct {
	client stscreds.AssumeRoleAPIClient
	role   *roleManners
	base   aws.CredentialsProvider // nil: the client's own
}

func (c roleClient) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput, opts ...func(*sts.Options)) (
	*sts.AssumeRoleOutput, error,
) {
	return c.client.AssumeRole(ctx, in, append(opts, c.role.apply, func(o *sts.Options) {
		if c.base != nil {
			o.Credentials = c.base
		}
	})...)
}

// tokenClient assumes a role with the token of a web identity, as in a cluster or a CI job.
type tokenClient struct {
	client stscreds.AssumeRoleWithWebIdentityAPIClient
	role   *roleManners
}

func (c tokenClient) AssumeRoleWithWebIdentity(
	ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, opts ...func(*sts.Options),
) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	// Before the others: they add to the retryer that they find.
	return c.client.AssumeRoleWithWebIdentity(ctx, in, append([]func(*sts.Options){c.role.apply}, opts...)...)
}

// sdkLog takes what the SDK says of itself into our log, rather than past it to standard error.
func sdkLog(log *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) {
		log.Debug("AWS SDK: " + fmt.Sprintf(format, v...))
	})
}
