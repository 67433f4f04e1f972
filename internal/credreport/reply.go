package credreport

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// reply reads the JSON that `aws iam get-credential-report` prints. The text of Content streams through; all
// the rest, the frame, is kept and judged by encoding/json at the end.
type reply struct {
	br   *bufio.Reader
	name string
	line int // of the next byte
	col  int

	frame  []byte // the JSON so far, with nothing inside the quotes of Content
	depth  int
	key    string // of the member of the outer object at hand
	value  bool   // its colon is behind us
	padded bool   // the padding of Content has begun
	closed bool   // Content has ended
}

// maxFrame bounds what may surround Content.
const maxFrame = 1 << 20

const hintReply = "give the reply of aws iam get-credential-report, or the CSV inside it"

// openReply reads as far as the text of Content.
func openReply(br *bufio.Reader, name string) (*reply, error) {
	r := &reply{br: br, name: name, line: 1, col: 1}
	found, err := r.seek()
	if err != nil || found {
		return r, err
	}
	if err := json.Unmarshal(r.frame, &struct{}{}); err != nil {
		return nil, r.notJSON(err)
	}
	return nil, r.faultOfAll("", "the JSON has no Content", hintReply)
}

// finish reads what follows Content and returns when the report was made; unknown if the reply does not say.
func (r *reply) finish() (fact.Time, error) {
	again, err := r.seek()
	if err != nil {
		return fact.Time{}, err
	}
	if again {
		return fact.Time{}, r.fault("", "the JSON has Content twice", hintReply)
	}
	var v struct {
		GeneratedTime json.RawMessage
		ReportFormat  *string
	}
	if err := json.Unmarshal(r.frame, &v); err != nil {
		return fact.Time{}, r.notJSON(err)
	}
	if v.ReportFormat != nil && *v.ReportFormat != "text/csv" {
		return fact.Time{}, r.faultOfAll(*v.ReportFormat, "ReportFormat is not text/csv", "")
	}
	at, ok := generatedTime(v.GeneratedTime)
	if !ok {
		return fact.Time{}, r.faultOfAll(string(v.GeneratedTime), "GeneratedTime is not a time", "")
	}
	return at, nil
}

// generatedTime reads RFC 3339 or the number of seconds since 1970, as older AWS CLIs print it.
func generatedTime(raw json.RawMessage) (fact.Time, bool) {
	var text string
	if raw == nil || string(raw) == "null" {
		return fact.Time{}, true
	}
	if json.Unmarshal(raw, &text) == nil {
		st, ok := parseStamp(text)
		return st.past(), ok && st.word == wordDate
	}
	const far = 1e11 // the year 5138; beyond it are milliseconds
	sec, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || sec < 0 || sec > far {
		return fact.Time{}, false
	}
	return fact.At(time.UnixMicro(int64(math.Round(sec * 1e6)))), true
}

// seek reads until after the opening quote of Content, false at the end of the file.
func (r *reply) seek() (bool, error) {
	for {
		c, err := r.next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, sourceError(err, r.name)
		}
		switch c {
		case '{', '[':
			r.depth++
		case '}', ']':
			r.depth--
		case ':':
			r.value = r.depth == 1
		case ',':
			r.value = r.value && r.depth != 1
		case '"':
			if r.value && r.depth == 1 && r.key == "Content" {
				r.value = false
				return true, nil
			}
			if err := r.text(); err != nil {
				return false, err
			}
		}
	}
}

// text reads the rest of a string other than Content's. At the depth of 1, one that is no value is a key.
func (r *reply) text() error {
	start, escaped := len(r.frame), false
	for {
		c, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil // encoding/json will say so
		case err != nil:
			return sourceError(err, r.name)
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			if r.depth == 1 && !r.value {
				r.key = string(r.frame[start : len(r.frame)-1])
			}
			return nil
		}
	}
}

// next takes a byte of the frame.
func (r *reply) next() (byte, error) {
	c, err := r.take()
	if err != nil {
		return 0, err
	}
	r.frame = append(r.frame, c)
	if len(r.frame) > maxFrame {
		return 0, r.fault("", "the JSON is no reply of get-credential-report: over 1 MiB besides Content", hintReply)
	}
	return c, nil
}

// take takes a byte and counts the place.
func (r *reply) take() (byte, error) {
	c, err := r.br.ReadByte()
	if err != nil {
		return 0, err
	}
	r.col++
	if c == '\n' {
		r.line, r.col = r.line+1, 1
	}
	return c, nil
}

// content is the CSV inside Content.
func (r *reply) content() io.Reader {
	return &contentReader{r: r, decoded: base64.NewDecoder(base64.StdEncoding, (*encoded)(r))}
}

// contentReader words the faults of base64 that only the decoder sees: a bad length or padding.
type contentReader struct {
	r       *reply
	decoded io.Reader
}

func (c *contentReader) Read(p []byte) (int, error) {
	n, err := c.decoded.Read(p)
	var corrupt base64.CorruptInputError
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &corrupt) {
		err = c.r.faultOfAll("", "Content is cut short or not base64", hintReply)
	}
	return n, err
}

// encoded reads the text of Content up to its closing quote, as base64.
type encoded reply

func (e *encoded) Read(p []byte) (int, error) {
	r := (*reply)(e)
	if r.closed || len(p) == 0 {
		return 0, io.EOF
	}
	if _, err := r.br.Peek(1); errors.Is(err, io.EOF) {
		return 0, r.fault("", "the file ends inside Content", hintCut)
	} else if err != nil {
		return 0, err
	}
	ready, _ := r.br.Peek(min(r.br.Buffered(), len(p)))
	n := 0
	for n < len(ready) && r.base64(ready[n]) {
		n++
	}
	copy(p, ready[:n])
	_, _ = r.br.Discard(n) // just peeked at
	r.col += n
	if n > 0 {
		return n, nil
	}
	return r.special(p)
}

// special reads what is not plain base64 inside Content: its end, or an escape of JSON.
func (r *reply) special(p []byte) (int, error) {
	c, err := r.take()
	if err == nil && c == '"' {
		r.closed = true
		r.frame = append(r.frame, c)
		return 0, io.EOF
	}
	bad := c
	if err == nil && c == '\\' {
		if c, err = r.escape(); err == nil && (c == '\n' || c == '\r') {
			return 0, nil
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return 0, r.fault("", "the file ends inside Content", hintCut)
	case err != nil:
		return 0, err
	case !r.base64(c):
		r.col--
		return 0, r.fault(string(rune(bad)), "Content is not base64", hintReply)
	}
	p[0] = c
	return 1, nil
}

// escape reads the rest of an escape sequence; 0 when it is none that base64 can need.
func (r *reply) escape() (byte, error) {
	c, err := r.take()
	if err != nil {
		return 0, err
	}
	switch c {
	case '/':
		return c, nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 'u':
		hex := make([]byte, 0, 4)
		for range 4 {
			if c, err = r.take(); err != nil {
				return 0, err
			}
			hex = append(hex, c)
		}
		code, err := strconv.ParseUint(string(hex), 16, 8)
		if err != nil {
			return 0, nil //nolint:nilerr // no byte of base64: the decoder refuses a zero with its place
		}
		return byte(code), nil
	default:
		return 0, nil
	}
}

// base64 tells whether c may come next: after the padding, only more padding.
func (r *reply) base64(c byte) bool {
	if c == '=' {
		r.padded = true
		return true
	}
	return !r.padded && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/')
}

func (r *reply) notJSON(err error) *Error {
	return r.faultOfAll("", fmt.Sprintf("the file begins like JSON and is none: %v", err), hintReply)
}

// fault is a fault at the byte to be read next.
func (r *reply) fault(text, problem, hint string) *Error {
	return &Error{File: r.name, Line: r.line, Column: r.col, Text: shorten(text), Problem: problem, Hint: hint}
}

// faultOfAll is a fault without a place.
func (r *reply) faultOfAll(text, problem, hint string) *Error {
	return &Error{File: r.name, Text: shorten(text), Problem: problem, Hint: hint}
}
