package channel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// longestAnswer is how much of an answer is read: it tells whether, and why not.
const longestAnswer = 4 << 10

// poster sends JSON to one address. Slack, Teams and webhooks have it in common.
type poster struct {
	url    fact.Secret
	client *http.Client
	own    []fact.Secret // that no error may hold, beside the address
}

func newPoster(address fact.Secret, own ...fact.Secret) *poster {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t = &http.Transport{Proxy: http.ProxyFromEnvironment}
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = 4
	return &poster{url: address, own: append(own, address), client: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close ends the idle connections. What was opened stays usable.
func (p *poster) Close() { p.client.CloseIdleConnections() }

// checkURL wants an address that a secret may be sent to.
func checkURL(address fact.Secret, plainHTTP bool) error {
	u, err := url.Parse(address.Reveal())
	switch {
	case address.Empty():
		return errors.New("the address is missing")
	case err != nil, u.Hostname() == "", u.Scheme != "http" && u.Scheme != "https":
		return errors.New("the address is not an absolute https URL")
	case u.User != nil:
		return errors.New("the address holds a user or a password")
	case u.Scheme == "http" && !plainHTTP && !loopback(u.Hostname()):
		return errors.New("the address is http, which anybody on the way can read")
	default:
		return nil
	}
}

// loopback tells whether host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// post sends body once and gives what the other side says of it, cut and cleaned. The error is a *notice.Failure.
func (p *poster) post(ctx context.Context, doing string, body []byte, header http.Header) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url.Reveal(), bytes.NewReader(body))
	if err != nil {
		return "", trouble(doing, errors.New("the address is no URL"))
	}
	req.Header = header.Clone()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "keyreeve")
	res, err := p.client.Do(req)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) { // its text begins with the address
			err = wrapped.Err
		}
		return "", trouble(doing, err, p.own...)
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, longestAnswer))
	_ = res.Body.Close() // what matters was read
	said := scrub(shown(string(answer)), p.own...)
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return said, nil // the status says that it was taken, whatever became of the rest
	}
	text := fmt.Sprintf("HTTP %d", res.StatusCode)
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		text += ", a redirect, which is not followed"
	case err == nil && said != "":
		text += ": " + said
	}
	return "", &notice.Failure{
		Err: fmt.Errorf("%s: %s", doing, text), Permanent: refusesMessage(res.StatusCode), After: retryAfter(res),
	}
}

// refusesMessage tells whether a status is about the message itself. An address that is gone or forbidden is not: somebody
// may put it right before the message is given up.
func refusesMessage(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge || status == http.StatusUnprocessableEntity
}

// retryAfter is how long the other side asks to wait; a date is taken by its own clock.
func retryAfter(res *http.Response) time.Duration {
	text := strings.TrimSpace(res.Header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

// shown is a line of what somebody else said: printable, and short.
func shown(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		default:
			return -1
		}
	}, strings.ToValidUTF8(text, ""))
	text = strings.TrimSpace(text)
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + "..."
	}
	return text
}
