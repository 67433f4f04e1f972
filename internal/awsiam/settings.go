package awsiam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"sync"
	"time"

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
	defaultSession     = "keyreeve"
)

// Settings say by which credentials to reach an account, and how hard. The zero value is usable.
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

	// RoleARN names a role that the credentials above assume, by the same endpoint; its credentials make all
	// calls, and are renewed before they end. Empty: none.
	RoleARN     string
	ExternalID  string // that the role asks for; empty: none
	SessionName string // of the role's sessions, as the account's log shows it; empty means keyreeve

	Concurrency int     // operations under way at once; 0 means 8
	Rate        float64 // HTTP requests a second, retries included; 0 means no fixed limit
	AssumeRate  float64 // those with which Members assumes roles, in all accounts together; 0 means 100

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
	Counters  *Counters        // count what goes out, beside those of each Reader; nil: nobody does
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
	negative("rate", s.Rate < 0 || s.AssumeRate < 0)
	negative("attempts", s.MaxAttempts < 0)
	negative("a duration", s.CallTimeout < 0 || s.BackoffCap < 0 || s.PollFirst < 0 || s.Patience < 0)
	if s.Credentials != nil && s.Profile != "" {
		errs = append(errs, errors.New("a profile and credentials given by hand exclude each other"))
	}
	errs = append(errs, checkEndpoint(s.EndpointURL))
	errs = append(errs, s.checkRole()...)
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

// checkRole goes by the letters and lengths that STS takes.
func (s Settings) checkRole() []error {
	var errs []error
	check := func(pattern func() *regexp.Regexp, longest int, text, format string) {
		if text != "" && (len(text) > longest || !pattern().MatchString(text)) {
			errs = append(errs, fmt.Errorf(format, text))
		}
	}
	check(rolePattern, 2048, s.RoleARN,
		"the role %q is not the ARN of a role, such as arn:aws:iam::111122223333:role/keyreeve")
	check(externalPattern, 1224, s.ExternalID,
		"the external id %q is not one: 2 to 1224 letters, digits and +=,.@:/-_")
	check(sessionPattern, 64, s.SessionName,
		"the session name %q is not one: 2 to 64 letters, digits and +=,.@-_")
	if s.RoleARN == "" && s.ExternalID+s.SessionName != "" {
		errs = append(errs, errors.New("an external id and a session name need a role"))
	}
	return errs
}

// Compiled once, for Members checks a role an account, and not before somebody names one.
var (
	rolePattern     = pattern(`arn:aws[a-z-]*:iam::[0-9]{12}:role/([!-.0-~]+/)*[\w+=,.@-]{1,64}`)
	externalPattern = pattern(`[\w+=,.@:/-]{2,}`)
	sessionPattern  = pattern(`[\w+=,.@-]{2,}`)
)

func pattern(whole string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?:` + whole + `)$`) })
}

func (s Settings) withDefaults() Settings {
	s.Concurrency = orDefault(s.Concurrency, defaultConcurrency)
	s.CallTimeout = orDefault(s.CallTimeout, defaultCallTimeout)
	s.BackoffCap = orDefault(s.BackoffCap, defaultBackoffCap)
	s.PollFirst = orDefault(s.PollFirst, defaultPollFirst)
	s.Patience = orDefault(s.Patience, defaultPatience)
	s.SessionName = orDefault(s.SessionName, defaultSession)
	if s.Wait == nil {
		s.Wait = sleep
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Counters == nil {
		s.Counters = &Counters{}
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
