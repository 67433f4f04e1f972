package awsiam

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/wire"
)

// client is what a Reader and a Writer have in common: one set of credentials, one way to AWS, and the
// readings that both make. No method of it changes an account.
type client struct {
	set     Settings
	cfg     aws.Config // by which clients are made, without a meter
	purpose string     // whose policy a denied call needs: see Error.Purpose
	iam     *iam.Client
	sts     *sts.Client
	signer  aws.CredentialsProvider // nil: none was found
	role    *roleManners
	meter   *meter
	http    *http.Client
	shared  bool                        // http is that of others too
	account atomic.Pointer[string]      // named in errors once Caller has told it
	told    atomic.Pointer[fact.Caller] // by STS when it let us assume the role; nil: Caller asks
}

// connect prepares a client and calls nobody.
func connect(ctx context.Context, s Settings, purpose string) (*client, error) {
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
	m := newMeter(s, s.retryer())
	cfg.Retryer = func() aws.Retryer { return m.retryer }
	if name, version, ok := strings.Cut(s.UserAgent, "/"); ok {
		cfg.APIOptions = append(cfg.APIOptions, awsmiddleware.AddUserAgentKeyValue(name, version))
	} else if s.UserAgent != "" {
		cfg.APIOptions = append(cfg.APIOptions, awsmiddleware.AddUserAgentKey(s.UserAgent))
	}
	transport := httpClient(cfg, s)
	cfg.HTTPClient = transport
	if s.RoleARN != "" && cfg.Credentials != nil { // before the meter: see attachInside
		cfg.Credentials = role.assume(sts.NewFromConfig(cfg), s)
	}
	if cfg.Credentials != nil {
		cfg.Credentials = named{cfg.Credentials}
	}
	c := &client{set: s, cfg: cfg, purpose: purpose, role: role, meter: m, http: transport}
	c.sign(cfg.Credentials, nil)
	base := c.sts.Options().BaseEndpoint
	role.apply = func(o *sts.Options) {
		if base != nil {
			o.BaseEndpoint = base
		}
		o.HTTPClient, o.Retryer = transport, m.retryer
		o.APIOptions = append(o.APIOptions, m.attachInside)
	}
	return c, nil
}

// sign makes the clients, whose calls signer signs. bases are by which its roles were assumed already.
func (c *client) sign(signer aws.CredentialsProvider, bases []aws.CredentialsProvider) {
	c.signer = signer
	c.role.bases = append(c.role.bases, bases...)
	cfg := c.cfg
	cfg.Credentials = signer
	cfg.APIOptions = append(slices.Clip(cfg.APIOptions), c.meter.attach)
	c.iam, c.sts = iam.NewFromConfig(cfg, c.iamEndpoint), sts.NewFromConfig(cfg, c.stsEndpoint)
}

// The endpoint is set on the clients, not on cfg: AWS_ENDPOINT_URL_IAM would win over the latter.
func (c *client) iamEndpoint(o *iam.Options) { c.endpoint(&o.BaseEndpoint) }
func (c *client) stsEndpoint(o *sts.Options) { c.endpoint(&o.BaseEndpoint) }

func (c *client) endpoint(base **string) {
	if c.set.EndpointURL != "" {
		*base = &c.set.EndpointURL
	}
}

// branch is a client by the same way to AWS, with settings and a meter of its own, before it can sign.
func (c *client) branch(s Settings) *client {
	return &client{
		set: s, cfg: c.cfg, purpose: purposeAudit, role: &roleManners{}, meter: newMeter(s, c.meter.retryer), http: c.http, shared: true,
	}
}

// Close ends the idle connections, unless others use them too. What was opened stays usable.
func (c *client) Close() {
	if !c.shared {
		c.http.CloseIdleConnections()
	}
}

// Calls tells how many operations were made so far, by action: "iam:ListUsers" for one. A retried
// operation counts once, each page of a listing counts. What gets credentials, such as the role of a
// profile being assumed, is not counted here, except for the role by which Members opened the account.
func (c *client) Calls() map[string]int {
	c.meter.mu.Lock()
	defer c.meter.mu.Unlock()
	out := make(map[string]int, len(c.meter.calls))
	for action, n := range c.meter.calls {
		out[action] = n
	}
	return out
}

// Skew is how far AWS's clock is ahead of this machine's, by the Date of its last answer, to the second. False:
// no answer told.
func (c *client) Skew() (time.Duration, bool) {
	c.meter.mu.Lock()
	defer c.meter.mu.Unlock()
	return c.meter.skew, c.meter.skewSet
}

// Attempts tells how many HTTP requests were sent so far to IAM and STS, retries and those that assume a
// role included.
func (c *client) Attempts() int { return int(c.meter.attempts.Load()) }

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
		Transport:     &wire.Transport{Transport: transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
