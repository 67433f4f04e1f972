package awsiam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyreeve/keyreeve/internal/fact"
)

const (
	defaultRegion      = "us-east-1" // IAM is global; its signing region in the aws partition
	defaultConcurrency = 8
	defaultAttempts    = 10
	defaultCallTimeout = 30 * time.Second
	defaultBackoffCap  = 20 * time.Second
	defaultPollFirst   = time.Second
	defaultPollLimit   = 10 * time.Second
	defaultPatience    = 5 * time.Minute
)

// Settings say which account to read and how hard. The zero value is usable.
type Settings struct {
	Profile     string // as in the AWS CLI; empty: the SDK's own chain (AWS_PROFILE and the rest)
	Region      string // empty: the chain, and us-east-1 when that names none
	EndpointURL string // of IAM and STS alike; empty: the chain (AWS_ENDPOINT_URL), else AWS itself

	// Credentials are used in place of the chain when not nil. Then no file and no variable of the
	// environment is read: not the profile, not the region, not the endpoint.
	Credentials *Credentials

	Concurrency int     // operations under way at once; 0 means 8
	Rate        float64 // HTTP requests a second, retries included; 0 means no fixed limit

	MaxAttempts int           // of one operation; 0 means 10, or what AWS_MAX_ATTEMPTS says
	CallTimeout time.Duration // of one attempt; 0 means 30 s
	BackoffCap  time.Duration // longest pause between two attempts; 0 means 20 s

	// SteadyRetry answers throttling with back-off alone. Otherwise the reader also lowers its request
	// rate, as AWS asks; a fake that throttles at random would slow it to a crawl.
	SteadyRetry bool

	PollFirst time.Duration // first pause while a report is made, doubled from there; 0 means 1 s
	Patience  time.Duration // pauses for one report in all; 0 means 5 minutes
	// Wait pauses for d or until ctx ends, whose error it then returns; nil means a timer.
	Wait func(ctx context.Context, d time.Duration) error

	Now       func() time.Time // measures calls for the log; nil: durations are not logged
	Log       *slog.Logger     // debug: one line an operation; nil: silent
	UserAgent string           // "name/version", added to the SDK's own; empty adds nothing
}

// Credentials are given by hand, for a built-in account or a test.
type Credentials struct {
	ID      string
	Secret  fact.Secret
	Session fact.Secret // empty for long-lived credentials
}

// Validate reports every mistake of s at once.
func (s Settings) Validate() error {
	var errs []error
	negative := func(name string, bad bool) {
		if bad {
			errs = append(errs, fmt.Errorf("%s must not be negative", name))
		}
	}
	negative("concurrency", s.Concurrency < 0)
	negative("rate", s.Rate < 0)
	negative("attempts", s.MaxAttempts < 0)
	negative("a duration", s.CallTimeout < 0 || s.BackoffCap < 0 || s.PollFirst < 0 || s.Patience < 0)
	if s.Credentials != nil && s.Profile != "" {
		errs = append(errs, errors.New("a profile and credentials given by hand exclude each other"))
	}
	return errors.Join(errs...)
}

func (s Settings) withDefaults() Settings {
	s.Concurrency = orDefault(s.Concurrency, defaultConcurrency)
	s.CallTimeout = orDefault(s.CallTimeout, defaultCallTimeout)
	s.BackoffCap = orDefault(s.BackoffCap, defaultBackoffCap)
	s.PollFirst = orDefault(s.PollFirst, defaultPollFirst)
	s.Patience = orDefault(s.Patience, defaultPatience)
	if s.Wait == nil {
		s.Wait = sleep
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	return s
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// sleep is the timer behind Settings.Wait.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Reader reads one account. It is safe for concurrent use.
type Reader struct {
	set     Settings
	iam     *iam.Client
	sts     *sts.Client
	meter   *meter
	http    *http.Client
	account atomic.Pointer[string] // named in errors once Caller has told it
}

// Open prepares a Reader and calls nobody: wrong credentials, or none, show at the first reading. It fails
// on settings that make no sense and on a configuration of the AWS CLI that cannot be used, such as a
// profile that does not exist.
func Open(ctx context.Context, s Settings) (*Reader, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("open AWS: %w", err)
	}
	s = s.withDefaults()
	cfg, err := configure(ctx, s)
	if err != nil {
		return nil, err
	}
	if s.MaxAttempts > 0 {
		cfg.RetryMaxAttempts = 0 // the variable of the environment gives way to the setting
	}
	if cfg.Region == "" {
		cfg.Region = defaultRegion
	}
	if cfg.Credentials != nil {
		cfg.Credentials = named{cfg.Credentials}
	}
	cfg.Retryer = s.retryer
	m := newMeter(s)
	cfg.APIOptions = append(cfg.APIOptions, m.attach)
	if name, version, ok := strings.Cut(s.UserAgent, "/"); ok {
		cfg.APIOptions = append(cfg.APIOptions, awsmiddleware.AddUserAgentKeyValue(name, version))
	} else if s.UserAgent != "" {
		cfg.APIOptions = append(cfg.APIOptions, awsmiddleware.AddUserAgentKey(s.UserAgent))
	}
	client := httpClient(cfg, s)
	cfg.HTTPClient = client

	// Set on the clients, not on cfg: AWS_ENDPOINT_URL_IAM would win over the latter.
	var endpoint *string
	if s.EndpointURL != "" {
		endpoint = aws.String(s.EndpointURL)
	}
	return &Reader{
		set: s, meter: m, http: client,
		iam: iam.NewFromConfig(cfg, func(o *iam.Options) {
			if endpoint != nil {
				o.BaseEndpoint = endpoint
			}
		}),
		sts: sts.NewFromConfig(cfg, func(o *sts.Options) {
			if endpoint != nil {
				o.BaseEndpoint = endpoint
			}
		}),
	}, nil
}

// Close ends the idle connections. The Reader stays usable.
func (r *Reader) Close() { r.http.CloseIdleConnections() }

func configure(ctx context.Context, s Settings) (aws.Config, error) {
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
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(s.CallTimeout)))
	if err != nil {
		what := "read the AWS configuration"
		if s.Profile != "" {
			what = fmt.Sprintf("open AWS profile %q", s.Profile)
		}
		return cfg, &Error{Doing: what, Subject: s.Profile, Kind: ErrNoCredentials, Err: err}
	}
	return cfg, nil
}

// httpClient builds the client by hand because the SDK's own cannot close its idle connections. It keeps
// the certificates of AWS_CA_BUNDLE and, like the SDK's, follows no redirect.
func httpClient(cfg aws.Config, s Settings) *http.Client {
	buildable, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		buildable = awshttp.NewBuildableClient()
	}
	transport := buildable.GetTransport()
	transport.MaxIdleConnsPerHost = s.Concurrency
	return &http.Client{
		Timeout:       s.CallTimeout,
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// retryer repeats what may succeed later. Every operation here reads, so an answer cut short is repeated
// as well. The SDK's budget of retries is switched off: attempts bound them already, and a spent budget
// would turn late readings of a throttled account into gaps.
func (s Settings) retryer() aws.Retryer {
	standard := func(o *retry.StandardOptions) {
		o.MaxAttempts = orDefault(s.MaxAttempts, defaultAttempts)
		o.MaxBackoff = s.BackoffCap
		o.RateLimiter = ratelimit.None
		o.Retryables = append(o.Retryables, retry.IsErrorRetryableFunc(cutShort))
	}
	if s.SteadyRetry {
		return retry.NewStandard(standard)
	}
	return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.StandardOptions = append(o.StandardOptions, standard)
	})
}
