package channel

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// WebhookSettings are those of a webhook of anybody's.
type WebhookSettings struct {
	Name      string
	URL       fact.Secret
	PlainHTTP bool // the address may be http beyond this machine
	// Key signs what is sent (HMAC-SHA256, as Standard Webhooks has it): whsec_ and base64, or any text of 16 characters at
	// least. Empty: nothing is signed.
	Key fact.Secret
	Now func() time.Time // for the signature
}

const leastKey = 16

// Validate reports every mistake of s at once.
func (s WebhookSettings) Validate() error {
	errs := []error{checkURL(s.URL, s.PlainHTTP)}
	if !s.Key.Empty() {
		key, err := s.key()
		switch {
		case err != nil:
			errs = append(errs, errors.New("the key to sign with begins with whsec_ and goes on with something that is not base64"))
		case len(key) < leastKey:
			errs = append(errs, fmt.Errorf("the key to sign with is shorter than %d bytes", leastKey))
		}
	}
	return errors.Join(errs...)
}

func (s WebhookSettings) key() ([]byte, error) {
	text := s.Key.Reveal()
	if encoded, ok := strings.CutPrefix(text, "whsec_"); ok {
		return base64.StdEncoding.DecodeString(encoded)
	}
	return []byte(text), nil
}

// WebhookChannel posts messages in JSON (keyreeve.notice/1), with the headers of Standard Webhooks: webhook-id is the
// message's, by which the other side does a thing once; webhook-timestamp is when it was sent; webhook-signature is
// "v1," and the base64 of the HMAC-SHA256 of id, timestamp and body with dots between them.
type WebhookChannel struct {
	*poster
	set  WebhookSettings
	sign *standardwebhooks.Webhook // nil: not signed
}

// NewWebhook prepares a channel and calls nobody.
func NewWebhook(s WebhookSettings) (*WebhookChannel, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	c := &WebhookChannel{poster: newPoster(s.URL, s.Key), set: s}
	if !s.Key.Empty() {
		key, err := s.key()
		if err != nil {
			return nil, errors.New("webhook: the key to sign with is not base64")
		}
		if c.sign, err = standardwebhooks.NewWebhookRaw(key); err != nil {
			return nil, errors.New("webhook: the key to sign with is not usable")
		}
	}
	return c, nil
}

// Name is of notice.Channel.
func (c *WebhookChannel) Name() string { return c.set.Name }

// Send is of notice.Channel. The receipt has the beginning of the answer.
func (c *WebhookChannel) Send(ctx context.Context, m notice.Message) (notice.Receipt, error) {
	const doing = "post to the webhook"
	body, err := m.Encode()
	if err != nil {
		return notice.Receipt{}, &notice.Failure{Err: err, Permanent: true}
	}
	now := c.set.Now()
	header := http.Header{}
	header.Set(standardwebhooks.HeaderWebhookID, m.ID)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if c.sign != nil {
		signature, err := c.sign.Sign(m.ID, now, body)
		if err != nil {
			return notice.Receipt{}, trouble(doing, err, c.own...)
		}
		header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	}
	answer, err := c.post(ctx, doing, body, header)
	return notice.Receipt{Answer: answer}, err
}
