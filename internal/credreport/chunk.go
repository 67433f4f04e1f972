package credreport

import (
	"bytes"
	"context"
	"io"
	"strings"
)

// chunk is a run of whole rows.
type chunk struct {
	seq     int
	text    string
	line    int    // of its first byte, from 1
	lines   int    // newlines in it
	last    bool   // the file ends with it
	tooLong bool   // it ends inside a row of more than maxRow
	arena   *arena // that text is a view of
	home    *home  // what every row must agree with
}

// from is the chunk without its first n bytes, which end a line.
func (ck chunk) from(n int) chunk {
	lines := strings.Count(ck.text[:n], "\n")
	ck.text, ck.line, ck.lines = ck.text[n:], ck.line+lines, ck.lines-lines
	return ck
}

// maxRow is the longest row accepted. Rows of IAM stay below 2 KiB; without a bound, a quote that is never
// closed would draw the whole file into memory.
const maxRow = 1 << 20

// cutter cuts a stream into chunks.
type cutter struct {
	r     io.Reader
	size  int           // of a chunk
	spare <-chan *arena // to read into, rather than new ones
	tail  []byte        // read and not yet given out: the start of a row
	line  int           // where the tail begins
	end   error         // what ended the stream; io.EOF is the good end
}

// next returns the next chunk, false at the end of the stream. When the stream breaks, the whole rows
// before the break come first, then the error.
func (c *cutter) next(ctx context.Context) (chunk, bool, error) {
	a := c.lend()
	n := copy(a.text, c.tail)
	for {
		n += c.fill(ctx, a.text[n:])
		switch end := lastRowEnd(a.text[:n]); {
		case c.end == io.EOF: //nolint:errorlint // a wrapped EOF is a broken stream, not its end
			ck := c.cut(a, n, n)
			ck.last = true
			return ck, n > 0, nil
		case end > 0:
			return c.cut(a, end, n), true, nil
		case c.end != nil:
			return chunk{}, false, c.end
		case n > maxRow:
			ck := c.cut(a, n, n)
			ck.last, ck.tooLong = true, true
			c.end = io.EOF
			return ck, true, nil
		}
		a.text = append(a.text, make([]byte, len(a.text))...)
	}
}

// lend gives an arena whose text has room for the tail and as much again.
func (c *cutter) lend() *arena {
	size := max(c.size, 2*len(c.tail))
	select {
	case a := <-c.spare:
		if len(a.text) >= size {
			return a
		}
	default:
	}
	return &arena{text: make([]byte, size)}
}

// cut makes a chunk of the first end bytes of a and keeps the rest of the n bytes for the next.
func (c *cutter) cut(a *arena, end, n int) chunk {
	c.tail = append(c.tail[:0], a.text[end:n]...)
	ck := chunk{text: a.view(end), line: c.line, arena: a}
	ck.lines = strings.Count(ck.text, "\n")
	c.line += ck.lines
	return ck
}

// fill reads until buf is full or the stream ends.
func (c *cutter) fill(ctx context.Context, buf []byte) int {
	n, idle := 0, 0
	for n < len(buf) && c.end == nil {
		if c.end = ctx.Err(); c.end != nil {
			break
		}
		var k int
		k, c.end = c.r.Read(buf[n:])
		n += k
		if k > 0 {
			idle = 0
		} else if idle++; idle == 100 && c.end == nil {
			c.end = io.ErrNoProgress
		}
	}
	return n
}

// lastRowEnd is the offset after the last newline of buf that ends a row: one with an even number of
// quotes before it. buf starts at a row. 0 when there is none.
//
// A stray quote in a row deceives the count. Then the chunk merely ends elsewhere, and the parser, which
// starts at that row's true beginning or before, refuses the row.
func lastRowEnd(buf []byte) int {
	end, at := 0, 0
	for quoted := false; ; quoted = !quoted {
		quote := bytes.IndexByte(buf[at:], '"')
		span := buf[at:]
		if quote >= 0 {
			span = span[:quote]
		}
		if !quoted {
			if nl := bytes.LastIndexByte(span, '\n'); nl >= 0 {
				end = at + nl + 1
			}
		}
		if quote < 0 {
			return end
		}
		at += quote + 1
	}
}

// skipBlankLines is the offset of the first line at or after i that is not empty. Empty lines hold no
// evidence and are passed over, as encoding/csv does.
func skipBlankLines(s string, i int) int {
	for i < len(s) {
		switch {
		case s[i] == '\n':
			i++
		case s[i] == '\r' && i+1 == len(s):
			i++
		case s[i] == '\r' && s[i+1] == '\n':
			i += 2
		default:
			return i
		}
	}
	return i
}
