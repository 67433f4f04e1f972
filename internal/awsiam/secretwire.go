package awsiam

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// What clients of other services than IAM have in common; and calls that carry a secret.

// purposeRotate is whose policy grants the calls of Secrets and Parameters.
const purposeRotate = "rotate"

// service is the configuration for a client of another service than IAM that speaks JSON: the same credentials,
// connections, meter and retries, and an endpoint of its own where the environment or a profile names one.
func (c *client) service(ctx context.Context) (aws.Config, error) {
	cfg, err := c.serviceXML(ctx)
	cfg.APIOptions = append(cfg.APIOptions, speakJSON)
	return cfg, err
}

// serviceXML is service for one that speaks as IAM does.
func (c *client) serviceXML(ctx context.Context) (aws.Config, error) {
	cfg, err := configure(ctx, c.set, &roleManners{}) // for the endpoints that it names; it calls nobody
	if err != nil {
		return cfg, err
	}
	own := c.iam.Options()
	cfg.Region, cfg.Credentials, cfg.HTTPClient = own.Region, c.signer, c.http
	cfg.Retryer = func() aws.Retryer { return c.meter.retryer }
	cfg.RetryMaxAttempts = 0
	cfg.APIOptions = append([]func(*middleware.Stack) error{}, own.APIOptions...)
	return cfg, nil
}

// speakJSON puts the check of a JSON answer in the place of that of an XML one.
func speakJSON(stack *middleware.Stack) error {
	_, err := stack.Deserialize.Swap(keyreeveWhole, whole(wholeJSON))
	return err
}

// wholeJSON wants a JSON object, of a refusal too.
func wholeJSON(_ context.Context, status int, body []byte) error {
	if status >= 500 || bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) && json.Valid(body) {
		return nil
	}
	form := "nothing"
	if len(body) > 0 {
		form = http.DetectContentType(body)
	}
	err := error(&foreign{status, form})
	if status < 400 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests {
		return err
	}
	return &givenUp{err} // who refuses once refuses again, whoever it is
}

// foreign is an answer in another form than that of AWS: of a proxy, or of another service. The answer itself is not kept: it may quote
// what was sent.
type foreign struct {
	status int
	form   string // such as text/html; charset=utf-8
}

func (f *foreign) Error() string {
	return fmt.Sprintf("HTTP %d without a JSON object: it holds %s", f.status, f.form)
}

// sentence is a call of another service than IAM as its errors tell of it.
type sentence struct {
	action  string
	doing   string
	subject string
	carried fact.Secret // what the call sent; AWS quotes a value that it refuses
}

// failed is the error of a call that reads, changed that of a call that changes something.
func (c *client) failed(ctx context.Context, s sentence, err error) *Error {
	e := c.failure(ctx, s.action, s.doing, s.subject, err)
	if e.Kind == nil && ctx.Err() == nil {
		e.Kind = kindOfStoreCode(apiCode(err))
	}
	if quotes(e.Err.Error(), s.carried) {
		e.Err = &smithy.GenericAPIError{Code: orDefault(apiCode(err), "Refused"), Message: "(withheld, for it quotes what was sent)"}
	}
	return e
}

func (c *client) changed(ctx context.Context, s sentence, err error) *Error {
	e := c.failed(ctx, s, err)
	e.Unclear = errors.As(err, new(*unclear))
	return e
}

// garbled is the refusal of an answer that AWS gave.
func (c *client) garbled(ctx context.Context, s sentence, format string, args ...any) *Error {
	return c.failure(ctx, s.action, s.doing, s.subject, &refusal{fmt.Sprintf(format, args...)})
}

// kindOfStoreCode is kindOfCode for the codes that IAM does not have.
func kindOfStoreCode(code string) error {
	switch code {
	case "ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound", "NotFound": // the last is of SNS
		return ErrNotFound
	case "TooManyUpdates": // the parameter is being changed right now
		return ErrThrottled
	case "AuthorizationError": // of SNS
		return ErrDenied
	case "InternalServiceError", "InternalServerError", "InternalServiceErrorException", "InternalException", "InternalError":
		return ErrUnavailable
	}
	return nil
}

// quotes tells whether text holds any long word of what was sent: a secret, whole or cut.
func quotes(text string, sent fact.Secret) bool {
	const long = 12
	for _, word := range strings.FieldsFunc(sent.Reveal(), func(r rune) bool {
		plain := r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		return !plain && !strings.ContainsRune("/+=_-", r)
	}) {
		for i := 0; i+long <= len(word); i++ {
			if strings.Contains(text, word[i:i+long]) {
				return true
			}
		}
	}
	return false
}
