package awsiam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyreeve/keyreeve/internal/fact"
)

const (
	defaultRegion      = "us-east-1" // IAM is global; its signing region in the aws partition
	defaultConcurrency = 8
	defaultCallTimeout = 30 * time.Second
	defaultBackoffCap  = 20 * time.Second
	defaultPollFirst   = time.Second
	defaultPollLimit   = 10 * time.Second
	defaultPatience    = 5 * time.Minute
)

// Settings say which account to read and how hard. The zero value is usable.
type Settings struct {
	Profile string // as in the AWS CLI; empty: the SDK's own chain (AWS_PROFILE and the rest)
	Region  string // empty: the chain, and us-east-1 when that names none

	// EndpointURL, an absolute http or https URL, is called in place of IAM and of STS, also to assume the
	// role of a profile. A sign-in service or a metadata service that a profile names keeps its own. Empty:
	// the chain (AWS_ENDPOINT_URL), else AWS itself.
	EndpointURL string

	// Credentials are used in place of the chain when not nil. Then no file and no variable of the
	// environment is read: not the profile, not the region, not the endpoint.
	Credentials *Credentials

	Concurrency int     // operations under way at once; 0 means 8
	Rate        float64 // HTTP requests a second, retries included; 0 means no fixed limit

	MaxAttempts int           // of one operation; 0 means 10, or what AWS_MAX_ATTEMPTS says; 3 where no connection is made
	CallTimeout time.Duration // of one attempt; 0 means 30 s
	BackoffCap  time.Duration // longest pause between two attempts; 0 means 20 s

	PollFirst time.Duration // first pause while a report is made, doubled from there; 0 means 1 s
	Patience  time.Duration // for one report in all, calls and pauses; 0 means 5 minutes
	// Wait pauses for d or until ctx ends, whose error it then returns; nil means a timer.
	Wait func(ctx context.Context, d time.Duration) error

	Now       func() time.Time // measures calls for the log; nil: durations are not logged
	Log       *slog.Logger     // debug: one line an operation; warn: one at its second failure; nil: silent
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
	errs = append(errs, checkEndpoint(s.EndpointURL))
	return errors.Join(errs...)
}

func checkEndpoint(text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil
	case err != nil:
		return fmt.Errorf("the endpoint is no URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return fmt.Errorf("the endpoint %q is not an absolute http or https URL, such as https://iam.example.com", u.Redacted())
	default:
		return nil
	}
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
		return nil, &Error{Doing: "open AWS", Kind: ErrSettings, Err: err}
	}
	s = s.withDefaults()
	role := &roleManners{}
	cfg, err := configure(ctx, s, role)
	if err != nil {
		return nil, err
	}
	if s.MaxAttempts == 0 && cfg.RetryMaxAttempts > 0 {
		s.MaxAttempts = cfg.RetryMaxAttempts
	}
	cfg.RetryMaxAttempts = 0 // the SDK would let the environment win over the setting
	if cfg.Region == "" {
		cfg.Region = defaultRegion
	}
	if cfg.Credentials != nil {
		cfg.Credentials = named{cfg.Credentials}
	}
	m := newMeter(s)
	cfg.Retryer = func() aws.Retryer { return m.retryer }
	cfg.APIOptions = append(cfg.APIOptions, m.attach)
	if name, version, ok := strings.Cut(s.UserAgent, "/"); ok {
		cfg.APIOptions = append(cfg.APIOptions, awsmiddleware.AddUserAgentKeyValue(name, version))
	} else if s.UserAgent != "" {
		cfg.APIOptions = append(cfg.APIOptions, awsmiddleware.AddUserAgentKey(s.UserAgent))
	}
	client := httpClient(cfg, s)
	cfg.HTTPClient = client

	// Set on the clients, not on cfg: AWS_ENDPOINT_URL_IAM would win over the latter.
	endpoint := func(base **string) {
		if s.EndpointURL != "" {
			*base = aws.String(s.EndpointURL)
		}
	}
	r := &Reader{
		set: s, meter: m, http: client,
		iam: iam.NewFromConfig(cfg, func(o *iam.Options) { endpoint(&o.BaseEndpoint) }),
		sts: sts.NewFromConfig(cfg, func(o *sts.Options) { endpoint(&o.BaseEndpoint) }),
	}
	base := r.sts.Options().BaseEndpoint
	role.apply = func(o *sts.Options) {
		if base != nil {
			o.BaseEndpoint = base
		}
		o.HTTPClient, o.Retryer = client, m.retryer
		o.APIOptions = append(o.APIOptions, m.attachInside)
	}
	return r, nil
}

// Close ends the idle connections. The Reader stays usable.
func (r *Reader) Close() { r.http.CloseIdleConnections() }

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
