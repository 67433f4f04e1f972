package credreport

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// source gives the CSV of a report, unpacked from whatever it came in.
type source struct {
	io.Reader
	reply *reply // the JSON it came in; nil for a CSV
}

const (
	gzipMagic = "\x1f\x8b"
	bom       = "\xef\xbb\xbf"
	peekSize  = 512
)

// open finds out what r is by its first bytes: gzip, then JSON or CSV.
func open(r io.Reader, name string) (*source, error) {
	br := bufio.NewReader(r)
	start, err := peek(br, name)
	if err == nil && strings.HasPrefix(start, gzipMagic) {
		br = bufio.NewReader(&gunzip{packed: br, name: name})
		start, err = peek(br, name)
	}
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(strings.TrimLeft(start, " \t\r\n"), "{") {
		return &source{Reader: br}, sniff(start, name)
	}
	reply, err := openReply(br, name)
	if err != nil {
		return nil, err
	}
	br = bufio.NewReader(reply.content())
	if _, err := peek(br, name); err != nil {
		return nil, err
	}
	return &source{Reader: br, reply: reply}, nil
}

// peek returns the first bytes of br, after the byte order mark, without taking them.
func peek(br *bufio.Reader, name string) (string, error) {
	start, err := br.Peek(peekSize)
	if err != nil && err != io.EOF {
		return "", sourceError(err, name)
	}
	if bytes.HasPrefix(start, []byte(bom)) {
		start = start[len(bom):]
		_, _ = br.Discard(len(bom)) // just peeked at
	}
	return string(start), nil
}

// generatedAt is when AWS made the report, if what it came in says so. All of the CSV must have been read.
func (s *source) generatedAt() (fact.Time, error) {
	if s.reply == nil {
		return fact.Time{}, nil
	}
	return s.reply.finish()
}

// sourceError is err as Read returns it: faults of the file and the end of a context are as they should be,
// an error of the reader is wrapped.
func sourceError(err error, name string) error {
	var flt *Error
	if errors.As(err, &flt) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("read credential report %q: %w", name, err)
}

// sniff refuses what is clearly no CSV, so that the message can say what it is.
func sniff(start, name string) error {
	line, _, _ := strings.Cut(start, "\n")
	e := &Error{File: name, Line: 1, Column: 1, Text: shorten(line)}
	text := strings.TrimLeft(start, " \t\r\n")
	control := func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' }
	switch {
	case strings.HasPrefix(start, "\xff\xfe"), strings.HasPrefix(start, "\xfe\xff"),
		len(start) > 1 && (start[0] == 0) != (start[1] == 0):
		e.Problem = "the file is UTF-16 text, not UTF-8"
		e.Hint = "PowerShell's > writes UTF-16: save it with | Out-File -Encoding utf8"
	case strings.HasPrefix(text, "<"):
		e.Problem = "the file is an HTML or XML page, not a credential report"
		e.Hint = hintRegenerate
	case strings.HasPrefix(start, "PK\x03\x04"):
		e.Problem = "the file is a zip archive or a spreadsheet, not a credential report"
		e.Hint = "unpack it, or export it as CSV"
	case strings.IndexFunc(line, control) >= 0:
		e.Problem = "the file is binary, not a credential report"
		e.Hint = hintRegenerate
	default:
		return nil
	}
	return e
}

// gunzip unpacks and words the faults of the gzip stream.
type gunzip struct {
	packed io.Reader
	name   string
	gz     *gzip.Reader // nil before the first Read
}

func (g *gunzip) Read(p []byte) (int, error) {
	var err error
	if g.gz == nil {
		if g.gz, err = gzip.NewReader(g.packed); err != nil {
			return 0, g.fault(err)
		}
	}
	n, err := g.gz.Read(p)
	return n, g.fault(err)
}

func (g *gunzip) fault(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{File: g.name, Problem: "the gzip stream is cut short", Hint: "copy the file again"}
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return &Error{File: g.name, Problem: "the gzip stream is damaged", Hint: "copy the file again"}
	default:
		return err
	}
}
