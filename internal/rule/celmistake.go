package rule

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

// celMistake notes an error of CEL in text, the expression at n, where it stands in the YAML file: to the column in a block
// scalar and in an expression on one line, else where n begins.
func (s *source) celMistake(n ast.Node, what, text string, e *cel.Error) {
	message, _, _ := strings.Cut(e.Message, "\n")
	line, column := e.Location.Line(), e.Location.Column() // CEL counts lines from 1 and columns, in characters, from 0
	offset := celOffset(text, line, column)
	m := s.MistakeAt(s.celPlace(n, text, offset), celHint(message, text[offset:]),
		fmt.Sprintf("%s: %s (CEL %d:%d)", what, message, line, column+1))
	s.Note(m)
}

// celOffset is the byte of text that stands at a line, counted from 1, and a column in characters, counted from 0.
func celOffset(text string, line, column int) int {
	offset := 0
	for ; line > 1; line-- {
		end := strings.IndexByte(text[offset:], '\n')
		if end < 0 {
			return len(text)
		}
		offset += end + 1
	}
	for ; column > 0 && offset < len(text); column-- {
		_, width := utf8.DecodeRuneInString(text[offset:])
		offset += width
	}
	return offset
}

// celPlace is where in the file byte offset of text stands; text is the value of n without blanks around it.
func (s *source) celPlace(n ast.Node, text string, offset int) *token.Token {
	t := n.GetToken()
	if t.Position == nil || t.Position.Line < 1 || t.Position.Line > len(s.Lines()) {
		return t
	}
	switch n.(type) {
	case *ast.LiteralNode:
		return s.blockPlace(t, text, offset)
	case *ast.StringNode:
		line := s.Lines()[t.Position.Line-1]
		begin := celOffset(line, 1, t.Position.Column-1)
		if at := strings.Index(line[begin:], text); at >= 0 {
			return placed(t.Position.Line, line[:begin+at]+text[:offset])
		}
	}
	return t
}

// blockPlace follows text through the lines below the head of a block scalar. Literal and folded blocks change only what is
// between the lines, so each line stands in text as it is but for its indentation.
func (s *source) blockPlace(head *token.Token, text string, offset int) *token.Token {
	found := 0 // bytes of text that stand in the lines so far
	for i := head.Position.Line; i < len(s.Lines()); i++ {
		part := strings.TrimSpace(s.Lines()[i])
		if part == "" {
			continue
		}
		at := strings.Index(text[found:], part)
		if at < 0 {
			break
		}
		start := found + at
		found = start + len(part)
		if offset <= found {
			indent, _, _ := strings.Cut(s.Lines()[i], part)
			return placed(i+1, indent+text[start:max(start, offset)])
		}
	}
	return head
}

// placed is a token in a line, after the text before.
func placed(line int, before string) *token.Token {
	return &token.Token{Position: &token.Position{Line: line, Column: utf8.RuneCountInString(before) + 1}}
}

// celHint helps with the mistakes that are made most: a field or variable that does not exist, and durations. rest is the
// expression from the place of the mistake on.
func celHint(message, rest string) string {
	for _, prefix := range []string{"undefined field '", "undeclared reference to '"} {
		if name, ok := strings.CutPrefix(message, prefix); ok {
			name, _, _ = strings.Cut(name, "'")
			return nameHint(name)
		}
	}
	switch {
	case message == "invalid duration argument":
		return durationHint(rest)
	case message == "invalid timestamp argument":
		return `write RFC 3339, such as timestamp("2026-01-31T00:00:00Z")`
	case message == "invalid matches argument":
		return "the pattern is no regular expression of RE2"
	case comparesDuration(message):
		return `compare it with a duration: duration("2160h") is 90 days`
	default:
		return ""
	}
}

// nameHint lists the facts whose names resemble name, else all of them.
func nameHint(name string) string {
	var known, near []string
	for _, t := range celTypes() {
		for _, f := range t.fields {
			full := t.name + "." + f.name
			known = append(known, full)
			if len(yamlfile.Nearest(name, []string{f.name})) > 0 {
				near = append(near, full)
			}
		}
	}
	if len(near) > 0 {
		return "did you mean " + yamlfile.OrList(near) + "?"
	}
	return "there are now, " + strings.Join(known, ", ")
}

// durationHint turns a duration as the rest of a ruleset writes it, 90d, into one of CEL, which has no days.
func durationHint(rest string) string {
	if at := strings.IndexAny(rest, `"'`); at >= 0 {
		text, _, closed := strings.Cut(rest[at+1:], rest[at:at+1])
		if d, err := ParseDuration(text); err == nil && closed {
			return fmt.Sprintf("CEL has no days: write duration(%q)", celDuration(d))
		}
	}
	return `units are h, m and s: duration("2160h") is 90 days`
}

func celDuration(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	default:
		return fmt.Sprintf("%ds", d/time.Second)
	}
}

// comparesDuration tells whether CEL refused to compare a duration with a number or a text.
func comparesDuration(message string) bool {
	rest, ok := strings.CutPrefix(message, "found no matching overload for '_")
	if !ok {
		return false
	}
	operator, types, _ := strings.Cut(rest, "_' applied to ")
	if !slices.Contains([]string{">", ">=", "<", "<=", "==", "!="}, operator) {
		return false
	}
	left, right, _ := strings.Cut(strings.Trim(types, "'()"), ", ")
	plain := func(t string) bool { return slices.Contains([]string{"int", "uint", "double", "string"}, t) }
	return left == "duration" && plain(right) || plain(left) && right == "duration"
}
