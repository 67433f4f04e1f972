package credreport

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error is a fault of the file. Under gzip, and inside the JSON reply, Line and Column are those of the
// CSV that was unpacked from it, except for faults of the JSON itself.
type Error struct {
	File    string
	Line    int    // from 1; 0 when the fault has no place
	Column  int    // in bytes from 1; 0 when only the line is known
	Text    string // the offending text, shortened; quoted when printed, "" prints nothing
	Problem string
	Hint    string // the next move, for a line of its own; may be empty
}

// Error is one line without the hint: `report.csv:3:57: mfa_active is neither true nor false: "maybe"`.
func (e *Error) Error() string {
	var b strings.Builder
	switch e.File {
	case "":
		b.WriteString("credential report")
	case "-":
		b.WriteString("standard input")
	default:
		b.WriteString(e.File)
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	b.WriteString(": " + e.Problem)
	if e.Text != "" {
		b.WriteString(": " + strconv.Quote(e.Text))
	}
	return b.String()
}

const (
	hintRegenerate = "make the report anew: aws iam generate-credential-report, then get-credential-report"
	hintCut        = "the file ends here: if it was cut, get the report again"
)

// maxText is how many bytes of offending text an Error shows.
const maxText = 60

// shorten copies text and cuts it to maxText bytes, at a rune where there are any.
func shorten(text string) string {
	if len(text) <= maxText {
		return strings.Clone(text)
	}
	cut := maxText
	for cut > maxText-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// fault is a fault at an offset of a chunk's text. Line and column are counted only when it is reported.
type fault struct {
	at      int
	text    string
	problem string
	hint    string
}

// error is the fault with its place in the file.
func (ck chunk) error(f *fault, file string) *Error {
	before := ck.text[:f.at]
	column := f.at - strings.LastIndexByte(before, '\n')
	line := ck.line + strings.Count(before, "\n")
	return &Error{File: file, Line: line, Column: column, Text: shorten(f.text), Problem: f.problem, Hint: f.hint}
}

func errEmpty(file string) *Error {
	return &Error{File: file, Problem: "the file is empty", Hint: hintRegenerate}
}
