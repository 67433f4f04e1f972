package channel

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// MailTLS is how the connection to a mail server is kept secret.
type MailTLS string

const (
	StartTLS MailTLS = "starttls" // the server must offer it; port 587
	WholeTLS MailTLS = "tls"      // from the first byte; port 465
	NoTLS    MailTLS = "none"     // to a server on this machine only; port 25
)

// MailTLSs lists every MailTLS.
func MailTLSs() []MailTLS { return []MailTLS{StartTLS, WholeTLS, NoTLS} }

func (t MailTLS) port() int {
	switch t {
	case WholeTLS:
		return 465
	case NoTLS:
		return 25
	default:
		return 587
	}
}

// MailSettings are those of a mail server that takes our mail.
type MailSettings struct {
	Name     string
	Host     string
	Port     int     // 0 means that of TLS
	TLS      MailTLS // empty means StartTLS
	User     string  // empty: no signing in
	Password fact.Secret
	From     string   // address
	Default  []string // addresses, one at least: for messages whose own recipient the server refuses
	// RootCAs are those that the server's certificate is checked by; nil means the system's.
	RootCAs *x509.CertPool
}

// hostName is a name or an address, without port.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?$`)

// Validate reports every mistake of s at once.
func (s MailSettings) Validate() error {
	var errs []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(!hostName.MatchString(s.Host), "the host %q is not the name of one, such as smtp.example.com", s.Host)
	wrong(s.Port < 0 || s.Port > 65535, "the port %d is none", s.Port)
	wrong(s.TLS != "" && !slices.Contains(MailTLSs(), s.TLS), "tls %q is none of starttls, tls, none", string(s.TLS))
	wrong(s.TLS == NoTLS && !loopback(s.Host), "tls none is for a server on this machine; %q is not", s.Host)
	wrong((s.User == "") != s.Password.Empty(), "a user and a password need each other")
	_, ok := notice.Address(s.From)
	wrong(!ok, "the sender %q is not one address, such as keyreeve@example.com", s.From)
	wrong(len(s.Default) == 0, "a default recipient is missing")
	for _, d := range s.Default {
		_, ok := notice.Address(d)
		wrong(!ok, "the recipient %q is not one address, such as security@example.com", d)
	}
	return errors.Join(errs...)
}

// MailChannel sends mail by a server of ours. Each message has text and HTML; messages of one thread hang together in a
// reader.
type MailChannel struct {
	set    MailSettings
	domain string
}

// NewMail prepares a channel and calls nobody.
func NewMail(s MailSettings) (*MailChannel, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	if s.TLS == "" {
		s.TLS = StartTLS
	}
	if s.Port == 0 {
		s.Port = s.TLS.port()
	}
	return &MailChannel{s, s.From[strings.LastIndexByte(s.From, '@')+1:]}, nil
}

// Name is of notice.Channel.
func (c *MailChannel) Name() string { return c.set.Name }

// Send is of notice.Channel. The receipt has the Message-ID. Where the server refuses the recipient for good, such as an
// owner who left, the message goes to the default recipients.
func (c *MailChannel) Send(ctx context.Context, m notice.Message) (notice.Receipt, error) {
	to := strings.Split(m.Recipient, ", ")
	if m.Recipient == "" {
		to = c.set.Default
	}
	err := c.send(ctx, &m, to, "")
	if refused := (*mail.SendError)(nil); errors.As(err, &refused) && refused.Reason == mail.ErrSMTPRcptTo && refused.ErrorCode() >= 500 && !slices.Equal(to, c.set.Default) {
		err = c.send(ctx, &m, c.set.Default, "The mail server refused the recipient "+strings.Join(to, ", ")+".")
	}
	if err != nil {
		return notice.Receipt{}, c.failure(ctx, err)
	}
	return notice.Receipt{Answer: c.id(m.ID)}, nil
}

// id is a Message-ID, without its brackets.
func (c *MailChannel) id(of string) string { return of + "@" + c.domain }

// send makes the message and hands it to the server. note, if any, stands before the rest.
func (c *MailChannel) send(ctx context.Context, m *notice.Message, to []string, note string) error {
	msg, err := c.compose(m, to, note)
	if err != nil {
		return &notice.Failure{Err: err, Permanent: true}
	}
	// The library ends at its own deadline, and leaves what it dialled open where something goes wrong. Closing that ends it
	// with ctx, wherever it is.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options := []mail.Option{
		mail.WithPort(c.set.Port), mail.WithTimeout(time.Minute), mail.WithoutNoop(), mail.WithoutRset(), mail.WithHELO("keyreeve.invalid"),
		mail.WithTLSConfig(c.tlsConfig()), mail.WithTLSPolicy(mail.TLSMandatory),
		mail.WithDialContextFunc(func(dialing context.Context, network, _ string) (net.Conn, error) {
			conn, err := c.dial(dialing, network)
			if err == nil { // with the outer context: the one of dialling ends when it is done
				context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return conn, err
		}),
	}
	if c.set.TLS != StartTLS {
		options = append(options, mail.WithTLSPolicy(mail.NoTLS)) // dial has seen to it, or it is this machine
	}
	if c.set.User != "" {
		options = append(options, mail.WithUsername(c.set.User), mail.WithPassword(c.set.Password.Reveal()),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthPlain, mail.SMTPAuthLogin, mail.SMTPAuthCramMD5))
	}
	client, err := mail.NewClient(c.set.Host, options...)
	if err != nil {
		return err
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return err
	}
	err = client.SendWithSMTPClient(conn, msg)
	_ = client.CloseWithSMTPClient(conn) // what was taken is taken, whatever becomes of the goodbye
	return err
}

func (c *MailChannel) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: c.set.Host, RootCAs: c.set.RootCAs, MinVersion: tls.VersionTLS12}
}

// dial connects, within TLS where it is to be so from the first byte.
func (c *MailChannel) dial(ctx context.Context, network string) (net.Conn, error) {
	address := net.JoinHostPort(c.set.Host, strconv.Itoa(c.set.Port))
	if c.set.TLS == WholeTLS {
		return (&tls.Dialer{Config: c.tlsConfig()}).DialContext(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// compose makes the mail. Every header is of printable characters on one line, and the library encodes what is not ASCII.
func (c *MailChannel) compose(m *notice.Message, to []string, note string) (*mail.Msg, error) {
	for _, address := range to {
		if _, ok := notice.Address(address); !ok {
			return nil, fmt.Errorf("the recipient %q is not one address", address)
		}
	}
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := errors.Join(msg.FromFormat("keyreeve", c.set.From), msg.To(to...)); err != nil {
		return nil, err
	}
	msg.Subject(shown(m.Subject))
	msg.SetDateWithValue(m.At)
	msg.SetMessageIDWithValue(c.id(m.ID))
	if m.Thread != "" { // no mail has this id: readers gather those that answer it
		root := "<" + c.id(m.Thread) + ">"
		msg.SetGenHeader(mail.HeaderInReplyTo, root)
		msg.SetGenHeader(mail.HeaderReferences, root)
	}
	msg.SetBulk() // nobody's absence is answered to us
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	text, page, err := mailBodies(m, note)
	if err != nil {
		return nil, err
	}
	msg.SetBodyString(mail.TypeTextPlain, text)
	msg.AddAlternativeString(mail.TypeTextHTML, page)
	return msg, nil
}

//go:embed page/mail.html
var mailPage string

// mailBodies are the text and the page of a mail.
func mailBodies(m *notice.Message, note string) (text, page string, err error) {
	t, err := template.New("mail").Parse(mailPage)
	if err != nil {
		return "", "", err
	}
	var b bytes.Buffer
	data := struct {
		Note, Subject, Tail string
		Sections            []notice.Section
	}{note, m.Subject, m.Tail(), m.Sections()}
	if err := t.Execute(&b, data); err != nil {
		return "", "", err
	}
	text = m.Text()
	if note != "" {
		text = note + "\n\n" + text
	}
	return text, b.String(), nil
}

// failure says what to do about a mail that was not taken. The server speaks of the message where it refuses the data; all
// else, such as a recipient or a password, somebody may put right.
func (c *MailChannel) failure(ctx context.Context, err error) error {
	out := &notice.Failure{}
	if known := (*notice.Failure)(nil); errors.As(err, &known) {
		out.Permanent = known.Permanent
	}
	if refused := (*mail.SendError)(nil); errors.As(err, &refused) {
		code := refused.ErrorCode()
		out.Permanent = code >= 500 && (refused.Reason == mail.ErrSMTPData || refused.Reason == mail.ErrSMTPDataClose)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	out.Err = fmt.Errorf("send mail by %s: %s", net.JoinHostPort(c.set.Host, strconv.Itoa(c.set.Port)), scrub(shown(err.Error()), c.set.Password))
	return out
}
