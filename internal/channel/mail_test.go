package channel_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/keyreeve/keyreeve/internal/channel"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/notice"
)

const mailPassword = "mail-secret-password"

// post office is a mail server that keeps what it gets.
type office struct {
	port  int
	roots *x509.CertPool

	mu    sync.Mutex
	mails []letter
	// refuse decides about a step: mail, rcpt or data; nil takes everything.
	refuse func(step, arg string) error
}

type letter struct {
	from string
	to   []string
	data []byte
}

func (o *office) refused(step, arg string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuse == nil {
		return nil
	}
	return o.refuse(step, arg)
}

type session struct {
	office *office
	letter letter
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "keyreeve" || password != mailPassword {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.letter = letter{from: from}
	return s.office.refused("mail", from)
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.letter.to = append(s.letter.to, to)
	return s.office.refused("rcpt", to)
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.office.refused("data", ""); err != nil {
		return err
	}
	s.letter.data = data
	s.office.mu.Lock()
	defer s.office.mu.Unlock()
	s.office.mails = append(s.office.mails, s.letter)
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// newOffice opens a mail server of that manner; its certificate is for 127.0.0.1.
func newOffice(t *testing.T, manner channel.MailTLS) *office {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{roots: x509.NewCertPool()}
	o.roots.AddCert(cert)
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{office: o}, nil }))
	server.Domain, server.ErrorLog = "office.test", log.New(io.Discard, "", 0)
	pair := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	var listener net.Listener
	switch manner {
	case channel.WholeTLS:
		listener, err = tls.Listen("tcp", "127.0.0.1:0", pair)
	case channel.StartTLS:
		server.TLSConfig = pair
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	default:
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	o.port = listener.Addr().(*net.TCPAddr).Port
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return o
}

func (o *office) settings(manner channel.MailTLS) channel.MailSettings {
	return channel.MailSettings{
		Name: "mail", Host: "127.0.0.1", Port: o.port, TLS: manner, From: "keyreeve@example.com", Default: []string{"security@example.com"}, RootCAs: o.roots,
	}
}

func newMail(t *testing.T, s channel.MailSettings) *channel.MailChannel {
	t.Helper()
	c, err := channel.NewMail(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// opened takes a mail apart.
func opened(t *testing.T, data []byte) (header mail.Header, text, page string) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return m.Header, text, page
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.Header.Get("Content-Transfer-Encoding") != "quoted-printable" {
			t.Fatalf("part %v", p.Header)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.ReplaceAll(string(body), "\r\n", "\n")
		if strings.HasPrefix(p.Header.Get("Content-Type"), "text/plain") {
			text = got
		} else {
			page = got
		}
	}
}

func TestMail_isSentLikeThis(t *testing.T) {
	o := newOffice(t, channel.StartTLS)
	m := digest(t, channel.Mail, "ci-deploy")
	receipt, err := newMail(t, o.settings("")).Send(t.Context(), m)
	if err != nil || receipt.Answer != m.ID+"@example.com" {
		t.Fatalf("%+v, %v", receipt, err)
	}
	got := o.mails[0]
	header, text, page := opened(t, got.data)
	if got.from != "keyreeve@example.com" || !slices.Equal(got.to, []string{"security@example.com"}) || text != m.Text() {
		t.Errorf("from %q to %q:\n%s", got.from, got.to, text)
	}
	for name, want := range map[string]string{
		"From": `"keyreeve" <keyreeve@example.com>`, "To": "<security@example.com>", "Subject": m.Subject, "Message-Id": "<" + m.ID + "@example.com>",
		"Auto-Submitted": "auto-generated", "In-Reply-To": "", "Date": "Sun, 22 Nov 2026 12:00:00 +0000",
	} {
		if header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, header.Get(name), want)
		}
	}
	golden(t, "mail.html", []byte(page))
	golden(t, "mail.txt", []byte(text))
}

func TestMail_messagesAboutOneVerdictHangTogether(t *testing.T) {
	o := newOffice(t, channel.NoTLS)
	c := newMail(t, o.settings(channel.NoTLS))
	terms := channel.Mail.Terms()
	terms.Name, terms.Digest = "mail", false
	for _, m := range compose(t, terms, changes("a")) {
		for range 2 { // again, as after a crash
			if _, err := c.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	threads, ids := map[string]int{}, map[string]int{}
	for _, l := range o.mails {
		header, _, _ := opened(t, l.data)
		if header.Get("References") != header.Get("In-Reply-To") || header.Get("References") == "" {
			t.Errorf("references %q, in reply to %q", header.Get("References"), header.Get("In-Reply-To"))
		}
		threads[header.Get("References")]++
		ids[header.Get("Message-Id")]++
	}
	if len(threads) != 2 || len(ids) != 3 { // opened and closed are about one verdict
		t.Errorf("%d threads, %d ids of %d mails", len(threads), len(ids), len(o.mails))
	}
}

func TestMail_signsInWithinTLSOnly(t *testing.T) {
	for _, manner := range []channel.MailTLS{channel.StartTLS, channel.WholeTLS} {
		o := newOffice(t, manner)
		s := o.settings(manner)
		s.User, s.Password = "keyreeve", fact.NewSecret(mailPassword)
		if _, err := newMail(t, s).Send(t.Context(), digest(t, channel.Mail, "a")); err != nil || len(o.mails) != 1 {
			t.Errorf("%s: %v", manner, err)
		}
		s.Password = fact.NewSecret("another-secret")
		_, err := newMail(t, s).Send(t.Context(), digest(t, channel.Mail, "a"))
		if f := asFailure(t, err); f.Permanent || len(o.mails) != 1 {
			t.Errorf("%s: a wrong password: %v", manner, err)
		}
		s.RootCAs = x509.NewCertPool()
		_, err = newMail(t, s).Send(t.Context(), digest(t, channel.Mail, "a"))
		if f := asFailure(t, err); f.Permanent || len(o.mails) != 1 {
			t.Errorf("%s: a certificate of nobody's: %v", manner, err)
		}
	}
	plain := newOffice(t, channel.NoTLS)
	_, err := newMail(t, plain.settings(channel.StartTLS)).Send(t.Context(), digest(t, channel.Mail, "a"))
	if f := asFailure(t, err); f.Permanent || len(plain.mails) != 0 || !strings.Contains(err.Error(), "STARTTLS") {
		t.Errorf("a server without TLS: %v", err)
	}
}

func TestMail_anOwnerWhoLeftIsToldTheDefaultInstead(t *testing.T) {
	o := newOffice(t, channel.NoTLS)
	o.refuse = func(step, arg string) error {
		if step == "rcpt" && strings.HasPrefix(arg, "gone@") {
			return &smtp.SMTPError{Code: 550, Message: "no such user"}
		}
		return nil
	}
	c := newMail(t, o.settings(channel.NoTLS))
	m := digest(t, channel.Mail, "a")
	m.Recipient = "ana@example.com, bob@example.com"
	if _, err := c.Send(t.Context(), m); err != nil || !slices.Equal(o.mails[0].to, []string{"ana@example.com", "bob@example.com"}) {
		t.Fatalf("%+v, %v", o.mails, err)
	}
	m.Recipient = "gone@example.com"
	if _, err := c.Send(t.Context(), m); err != nil || len(o.mails) != 2 || !slices.Equal(o.mails[1].to, []string{"security@example.com"}) {
		t.Fatalf("%+v, %v", o.mails, err)
	}
	_, text, page := opened(t, o.mails[1].data)
	if !strings.HasPrefix(text, "The mail server refused the recipient gone@example.com.\n\n"+m.Subject) || !strings.Contains(page, "refused the recipient") {
		t.Errorf("%s\n%s", text, page)
	}
}

func TestMail_tellsWhatIsWorthRetrying(t *testing.T) {
	for _, want := range []struct {
		step      string
		code      int
		permanent bool
	}{
		{"mail", 451, false}, {"mail", 550, false}, {"rcpt", 450, false}, {"rcpt", 550, false}, {"data", 451, false}, {"data", 554, true},
	} {
		o := newOffice(t, channel.NoTLS)
		o.refuse = func(step, _ string) error {
			if step == want.step {
				return &smtp.SMTPError{Code: want.code, Message: "because\x1b[31m"}
			}
			return nil
		}
		_, err := newMail(t, o.settings(channel.NoTLS)).Send(t.Context(), digest(t, channel.Mail, "a"))
		if f := asFailure(t, err); f.Permanent != want.permanent || !strings.Contains(err.Error(), "because") || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%+v: %v, permanent %v", want, err, f.Permanent)
		}
	}
	_, err := newMail(t, channel.MailSettings{Name: "m", Host: "127.0.0.1", Port: 1, TLS: channel.NoTLS, From: "a@b.example", Default: []string{"c@d.example"}}).Send(t.Context(), digest(t, channel.Mail, "a"))
	if f := asFailure(t, err); f.Permanent {
		t.Errorf("nobody listens: %v", err)
	}
}

// silent is a server that says what it is told and nothing more.
func silent(t *testing.T, says ...string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close() //nolint:errcheck // the other side has gone
		for _, line := range says {
			if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
				return
			}
		}
		_, _ = io.Copy(io.Discard, conn) // until the other side has had enough
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

func TestMail_endsWithItsContextWhereverTheServerFallsSilent(t *testing.T) {
	for what, says := range map[string][]string{
		"at once": nil, "after its greeting": {"220 hello"}, "after the hello": {"220 hello", "250 ok"}, "at the data": {"220 hello", "250 ok", "250 ok", "250 ok", "354 go on"},
	} {
		s := channel.MailSettings{Name: "m", Host: "127.0.0.1", Port: silent(t, says...), TLS: channel.NoTLS, From: "a@b.example", Default: []string{"c@d.example"}}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		_, err := newMail(t, s).Send(ctx, digest(t, channel.Mail, "a"))
		cancel()
		if f := asFailure(t, err); f.Permanent || !strings.Contains(err.Error(), "deadline exceeded") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestMail_aServerThatSaysNoGoodbyeHasTheMailAllTheSame(t *testing.T) {
	port := silent(t, "220 hello", "250 ok", "250 ok", "250 ok", "354 go on", "250 taken", "421 goodbye? never")
	s := channel.MailSettings{Name: "m", Host: "127.0.0.1", Port: port, TLS: channel.NoTLS, From: "a@b.example", Default: []string{"c@d.example"}}
	if _, err := newMail(t, s).Send(t.Context(), digest(t, channel.Mail, "a")); err != nil {
		t.Errorf("it would be sent again: %v", err)
	}
}

func TestMail_hostileTextAddsNoHeaderNoRecipientAndNoTag(t *testing.T) {
	o := newOffice(t, channel.NoTLS)
	c := newMail(t, o.settings(channel.NoTLS))
	known := map[string]bool{}
	for i, text := range append([]string{"plain"}, hostile()...) {
		terms := channel.Mail.Terms()
		terms.Name, terms.Digest = "mail", false
		for _, m := range compose(t, terms, changes(text)) {
			m.Subject += text // also one that was not composed by us
			if _, err := c.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			last := o.mails[len(o.mails)-1]
			header, _, page := opened(t, last.data)
			for name := range header {
				if i == 0 {
					known[name] = true
				} else if !known[name] {
					t.Errorf("%q added the header %s", text, name)
				}
			}
			if !slices.Equal(last.to, []string{"security@example.com"}) {
				t.Errorf("%q added a recipient: %q", text, last.to)
			}
			checkPage(t, page)
		}
		m := digest(t, channel.Mail, "a")
		m.Recipient = text + "@example.com"
		harmless := i == 0 || text == "{{.Note}}" // which the letters of an address are
		if _, err := c.Send(t.Context(), m); (err == nil) != harmless {
			t.Errorf("%q was taken for a recipient", m.Recipient)
		}
	}
}

// tag is the beginning of anything that a reader of HTML takes for one.
var tag = regexp.MustCompile(`<[/!?]?[a-zA-Z0-9]*`)

// checkPage fails where the page has a tag that is not ours.
func checkPage(t *testing.T, page string) {
	t.Helper()
	ours := []string{"<!DOCTYPE", "html", "head", "meta", "title", "body", "p", "em", "strong", "h3", "ul", "li", "br", "span"}
	for _, found := range tag.FindAllString(page, -1) {
		if !slices.Contains(ours, found) && !slices.Contains(ours, strings.TrimLeft(found, "</")) {
			t.Errorf("a tag %s in\n%s", found, page)
		}
	}
}

func TestMail_settingsAreCheckedAtOnce(t *testing.T) {
	err := channel.MailSettings{Host: "a b", Port: 70000, TLS: "ssl", User: "u", From: "keyreeve", Default: []string{"x"}}.Validate()
	for _, want := range []string{`host "a b"`, "port 70000", `tls "ssl"`, "a user and a password", `sender "keyreeve"`, `recipient "x"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	far := channel.MailSettings{Host: "smtp.example.com", TLS: channel.NoTLS, From: "a@b.example", Default: []string{"c@d.example"}}
	if err := far.Validate(); err == nil || !strings.Contains(err.Error(), "on this machine") {
		t.Errorf("%v", err)
	}
	far.TLS = ""
	if err := far.Validate(); err != nil {
		t.Error(err)
	}
	far.Default = nil
	if err := far.Validate(); err == nil || !strings.Contains(err.Error(), "default recipient") {
		t.Errorf("%v", err)
	}
}

var _ notice.Channel = (*channel.MailChannel)(nil)
