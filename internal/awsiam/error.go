package awsiam

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// The kinds of trouble, decided by what a caller does next. Test with errors.Is.
var (
	ErrNotFound       = fact.ErrNotFound                    // gone, or never there
	ErrDenied         = fact.ErrDenied                      // a permission is missing: see Error.Action
	ErrThrottled      = fact.ErrThrottled                   // AWS was busy until the last attempt
	ErrExpiredToken   = errors.New("credentials expired")   // sign in again
	ErrNoCredentials  = errors.New("no usable credentials") // none found, or their source refused
	ErrBadCredentials = errors.New("credentials refused")   // AWS does not know them, or the signature is wrong
	ErrUnavailable    = errors.New("no answer from AWS")    // unreachable, timed out, or broken on its side
	ErrNoReport       = errors.New("no credential report")  // AWS did not deliver one in time
	ErrUnusable       = errors.New("unusable answer")       // empty, cut short or contradicting itself
	ErrSettings       = errors.New("unusable settings")     // of the caller, the environment or a file: no call was made
	ErrNoOrganization = errors.New("no organisation")       // the account of the credentials is in none
)

// The purposes of a client, as iam-policy --for names them.
const (
	purposeAudit     = "audit"
	purposeRemediate = "remediate"
)

// Error is a reading or a change that did not succeed.
type Error struct {
	Action  string // the IAM action: iam:ListAccessKeys; empty where no call was made
	Doing   string // what was being done, as a sentence begins: list access keys of user "ana" in account 111122223333
	Subject string // the user, key or policy it is about; empty for the account
	Kind    error  // one of the kinds above; nil when none fits
	Err     error  // the cause

	// Purpose is whose policy grants Action: audit of a Reader, remediate of a Writer, org of an Organization; empty
	// where no call was made.
	Purpose string
	// Unclear: the change may have taken effect, see fact.ErrUnclear. Never so for a reading.
	Unclear bool

	hint string // where the kind does not tell the next move
}

// Error is one line; Hint has the next move.
func (e *Error) Error() string {
	if e.Unclear {
		return e.sentence() + "; it may have taken effect"
	}
	return e.sentence()
}

func (e *Error) sentence() string {
	switch {
	case errors.Is(e.Kind, ErrDenied):
		return fmt.Sprintf("%s: %v: %s", e.Doing, e.Kind, e.Action)
	case e.Kind != nil:
		return fmt.Sprintf("%s: %v: %s", e.Doing, e.Kind, causeText(e.Err))
	default:
		return fmt.Sprintf("%s: %s", e.Doing, causeText(e.Err))
	}
}

// Unwrap lets errors.Is find the kind and the cause, and errors.As the cause.
func (e *Error) Unwrap() []error {
	var errs []error
	if e.Kind != nil {
		errs = append(errs, e.Kind)
	}
	if e.Unclear {
		errs = append(errs, fact.ErrUnclear)
	}
	return append(errs, e.Err)
}

// Hint is the next move for a person, or empty.
func (e *Error) Hint() string {
	source := (*sourceError)(nil)
	inner := (*Error)(nil)
	switch {
	case e.hint != "":
		return e.hint
	case errors.As(e.Err, &source) && errors.As(source.err, &inner): // what was to get the credentials
		return inner.Hint()
	case errors.Is(e.Kind, ErrDenied):
		return "keyreeve iam-policy --for " + orDefault(e.Purpose, purposeAudit) + " prints the policy"
	case errors.Is(e.Kind, ErrExpiredToken):
		return "sign in again (aws sso login), or renew the session credentials"
	case errors.Is(e.Kind, ErrNoCredentials) && errors.Is(kindOfCode(apiCode(e.Err)), ErrDenied):
		return "allow sts:AssumeRole in the policy of the credentials, and them in the trust policy of the role"
	case errors.Is(e.Kind, ErrNoCredentials):
		return "name a profile with --profile or AWS_PROFILE, or sign in with aws sso login"
	case errors.Is(e.Kind, ErrBadCredentials):
		return "check the credentials with aws sts get-caller-identity, and the clock of this machine"
	case errors.Is(e.Kind, ErrThrottled):
		return "try again later, or with a lower --rate and --concurrency"
	case errors.Is(e.Kind, ErrNoOrganization):
		return "use credentials of the management account or of a delegated administrator, or read this account alone, without --org"
	case errors.Is(e.Kind, ErrUnavailable):
		return "check the network, --region and --endpoint-url"
	case errors.As(e.Err, new(*foreign)):
		return "somebody else answers in the place of AWS: check --endpoint-url, --region and the proxy"
	default:
		return ""
	}
}

// fail wraps a cause once, at this border. Cancellation by the caller stays recognisable and has no kind.
func (c *client) fail(ctx context.Context, action, doing, subject string, err error) error {
	return c.failure(ctx, action, doing, subject, err)
}

func (c *client) failure(ctx context.Context, action, doing, subject string, err error) *Error {
	if id := c.account.Load(); id != nil {
		doing += " in account " + *id
	}
	e := &Error{Action: action, Doing: doing, Subject: subject, Err: err, Purpose: c.purpose}
	if ctxErr := ctx.Err(); ctxErr != nil {
		e.Err = ctxErr
		return e
	}
	e.Kind = kindOf(err)
	return e
}

// unusable is the refusal of an answer that AWS gave.
func (c *client) unusable(ctx context.Context, action, doing, subject, format string, args ...any) error {
	return c.fail(ctx, action, doing, subject, &refusal{fmt.Sprintf(format, args...)})
}

type refusal struct{ text string }

func (e *refusal) Error() string { return e.text }

// named marks errors of a source of credentials, which the SDK would mix with those of the call.
type named struct{ aws.CredentialsProvider }

func (n named) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := n.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return c, &sourceError{err}
	}
	return c, nil
}

type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// RetryableError: a source repeats its own calls; the call that waits for it would repeat the repetitions.
func (*sourceError) RetryableError() bool { return false }

func kindOf(err error) error {
	var (
		source  *sourceError
		refused *refusal
		broken  *partial
		garbled *smithy.DeserializationError
		api     smithy.APIError
		send    *smithyhttp.RequestSendError
		status  *smithyhttp.ResponseError
	)
	switch {
	case errors.As(err, &source):
		return ErrNoCredentials
	case errors.As(err, &refused), errors.As(err, &broken), errors.As(err, &garbled):
		return ErrUnusable
	case errors.As(err, &send):
		return ErrUnavailable
	case errors.As(err, &api):
		if kind := kindOfCode(api.ErrorCode()); kind != nil {
			return kind
		}
	}
	if errors.As(err, &status) && status.HTTPStatusCode() >= 500 {
		return ErrUnavailable
	}
	return nil
}

func kindOfCode(code string) error {
	switch code {
	case "NoSuchEntity":
		return ErrNotFound
	case "AccessDenied", "AccessDeniedException":
		return ErrDenied
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return ErrExpiredToken
	case "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException",
		"IncompleteSignature", "MissingAuthenticationToken", "AuthFailure":
		return ErrBadCredentials
	}
	if _, ok := retry.DefaultThrottleErrorCodes[code]; ok {
		return ErrThrottled
	}
	return nil
}

// apiCode is the error code that AWS sent; empty when err is no answer of AWS.
func apiCode(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// causeText leaves out the layers that the SDK wraps around a cause.
func causeText(err error) string {
	var (
		api    smithy.APIError
		source *sourceError
		send   *smithyhttp.RequestSendError
		broken *partial
		op     *smithy.OperationError
	)
	switch {
	case errors.As(err, &source):
		return source.Error()
	case errors.As(err, &api):
		if api.ErrorMessage() == "" {
			return api.ErrorCode()
		}
		return fmt.Sprintf("%s: %s", api.ErrorCode(), api.ErrorMessage())
	case errors.As(err, &send):
		return send.Err.Error()
	case errors.As(err, &broken):
		return broken.Error()
	case errors.As(err, &op):
		return op.Err.Error()
	default:
		return err.Error()
	}
}
