package rule

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// source is a YAML file that is being read strictly. It gathers every mistake with its place, so that a person
// corrects a file once.
type source struct {
	name       string
	mayBeEmpty bool // nothing but comments is no mistake
	lines      []string
	mistakes   []*mistake
}

// mistake is one thing wrong in a file. Line and column count from 1; line 0 is the file as a whole.
type mistake struct {
	file         string
	line, column int
	text         string // what is wrong
	quote        string // the line it stands in
	hint         string // the next move; empty when there is none
}

func (m *mistake) Error() string {
	var b strings.Builder
	if m.line == 0 {
		fmt.Fprintf(&b, "%s: %s", m.file, m.text)
	} else {
		number := strconv.Itoa(m.line)
		fmt.Fprintf(&b, "%s:%d:%d: %s\n", m.file, m.line, m.column, m.text)
		fmt.Fprintf(&b, "  %s | %s\n", number, m.quote)
		fmt.Fprintf(&b, "  %s | %s^", strings.Repeat(" ", len(number)), strings.Repeat(" ", m.column-1))
	}
	if m.hint != "" {
		b.WriteString("\n  hint: " + m.hint)
	}
	return b.String()
}

// err is every mistake in the order of the file, or nil.
func (s *source) err() error {
	if len(s.mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(s.mistakes, func(a, b *mistake) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	var errs []error
	for _, m := range s.mistakes {
		errs = append(errs, m)
	}
	return errors.Join(errs...)
}

// wrong notes a mistake at n.
func (s *source) wrong(n ast.Node, hint, format string, args ...any) {
	s.mistakes = append(s.mistakes, s.mistakeAt(n.GetToken(), hint, fmt.Sprintf(format, args...)))
}

func (s *source) mistakeAt(t *token.Token, hint, text string) *mistake {
	m := &mistake{file: s.name, text: text, hint: hint}
	if t != nil && t.Position != nil && t.Position.Line >= 1 && t.Position.Line <= len(s.lines) {
		m.line, m.column = t.Position.Line, max(1, t.Position.Column)
		m.quote = printable(s.lines[m.line-1])
	}
	return m
}

// parse reads the one document of data, which must be a mapping; nil where it is none, with the reason noted, or where
// there is nothing and that may be.
func (s *source) parse(data []byte) *ast.MappingNode {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	s.lines = strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		s.mistakes = append(s.mistakes, s.mistakeAt(nil, "write YAML in UTF-8", "is not text"))
		return nil
	}
	file, err := parser.ParseBytes([]byte(strings.Join(s.lines, "\n")), 0)
	if err != nil {
		s.mistakes = append(s.mistakes, s.syntax(err))
		return nil
	}
	var docs []ast.Node
	for _, d := range file.Docs {
		_, null := d.Body.(*ast.NullNode)
		if d.Body != nil && (!null || !s.mayBeEmpty) {
			docs = append(docs, d.Body)
		}
	}
	switch len(docs) {
	case 0:
		if !s.mayBeEmpty {
			s.mistakes = append(s.mistakes, s.mistakeAt(nil, "", "is empty"))
		}
		return nil
	case 1:
	default:
		s.wrong(docs[1], "keep one document, without a line of ---", "a second document")
		return nil
	}
	m, ok := docs[0].(*ast.MappingNode)
	if !ok {
		s.wrong(docs[0], "", "%s where a mapping of keys and values is wanted", kindOf(docs[0]))
		return nil
	}
	return m
}

func (s *source) syntax(err error) *mistake {
	var e yaml.Error
	if errors.As(err, &e) {
		return s.mistakeAt(e.GetToken(), "", "not YAML: "+e.GetMessage())
	}
	return s.mistakeAt(nil, "", "not YAML: "+err.Error())
}

// field is a key of a mapping with its value.
type field struct {
	key, value ast.Node
}

// fields reads a mapping whose keys are among known, and notes every other key.
func (s *source) fields(n ast.Node, what string, known []string) map[string]field {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		s.wrong(n, "it has the keys "+strings.Join(known, ", "), "%s where %s is wanted", kindOf(n), what)
		return nil
	}
	out := make(map[string]field, len(m.Values))
	for _, v := range m.Values {
		name, ok := s.keyName(v)
		if !ok {
			continue
		}
		if !slices.Contains(known, name) {
			s.wrong(v.Key, didYouMean(name, known), "unknown key %q in %s", name, what)
			continue
		}
		out[name] = field{v.Key, v.Value}
	}
	return out
}

func (s *source) keyName(v *ast.MappingValueNode) (string, bool) {
	key, ok := v.Key.(*ast.StringNode)
	if !ok {
		s.wrong(v.Key, "write a plain name", "%s where a key is wanted", kindOf(v.Key))
		return "", false
	}
	return key.Value, true
}

// items reads a list; an absent value (null) is an empty one.
func (s *source) items(n ast.Node, what string) []ast.Node {
	switch l := n.(type) {
	case *ast.SequenceNode:
		return l.Values
	case *ast.NullNode:
		return nil
	default:
		s.wrong(n, "begin each entry with a dash", "%s where %s is wanted", kindOf(n), what)
		return nil
	}
}

// text reads a string that is not blank.
func (s *source) text(n ast.Node, what string) string {
	var text string
	switch v := n.(type) {
	case *ast.StringNode:
		text = v.Value
	case *ast.LiteralNode:
		text = v.Value.Value
	case *ast.NullNode:
	default:
		s.wrong(n, "put it in quotes if it is meant as text", "%s: %s where text is wanted", what, kindOf(n))
		return ""
	}
	if strings.TrimSpace(text) == "" {
		s.wrong(n, "", "%s is blank", what)
		return ""
	}
	return strings.TrimSpace(text)
}

// digits reads a string of digits that may stand without quotes, as account ids often do; it keeps leading zeros.
func (s *source) digits(n ast.Node, what string) string {
	if i, ok := n.(*ast.IntegerNode); ok {
		return i.Token.Value
	}
	return s.text(n, what)
}

// texts reads a list of strings that are not blank.
func (s *source) texts(n ast.Node, what string, read func(ast.Node, string) string) []string {
	var out []string
	for _, item := range s.items(n, what+" as a list") {
		if text := read(item, what); text != "" {
			out = append(out, text)
		}
	}
	return out
}

// pairs reads a mapping of strings to strings.
func (s *source) pairs(n ast.Node, what string) map[string]string {
	m, ok := n.(*ast.MappingNode)
	if !ok || len(m.Values) == 0 {
		s.wrong(n, "write {key: value}", "%s: %s where a mapping of names to values is wanted", what, kindOf(n))
		return nil
	}
	out := make(map[string]string, len(m.Values))
	for _, v := range m.Values {
		if name, ok := s.keyName(v); ok {
			out[name] = s.text(v.Value, what+" "+name)
		}
	}
	return out
}

// truth reads true or false.
func (s *source) truth(n ast.Node, what string) bool {
	b, ok := n.(*ast.BoolNode)
	if !ok {
		s.wrong(n, "write true or false", "%s: %s where true or false is wanted", what, kindOf(n))
		return false
	}
	return b.Value
}

// count reads a whole number from 0 to 1000.
func (s *source) count(n ast.Node, what string) int {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		s.wrong(n, "write a number such as 1", "%s: %s where a whole number is wanted", what, kindOf(n))
		return 0
	}
	v, ok := i.Value.(uint64)
	if !ok || v > 1000 {
		s.wrong(n, "", "%s: %s is not within 0 and 1000", what, i.Token.Value)
		return 0
	}
	return int(v)
}

// kindOf names what stands at n in the words of a person who writes YAML.
func kindOf(n ast.Node) string {
	switch v := n.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return strconv.Quote(n.GetToken().Value)
	case *ast.StringNode:
		return strconv.Quote(v.Value)
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "an anchor, alias or merge key, which are not read here,"
	case *ast.TagNode:
		return "a YAML type tag, which is not read here,"
	default:
		return "something else"
	}
}

// printable replaces what could move a terminal's cursor; one character for one, so that columns stay.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 {
			return ' '
		}
		return r
	}, line)
}

// placeOf is where a person looks for n: its first key where it is a mapping.
func placeOf(n ast.Node) *token.Token {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken()
	}
	return n.GetToken()
}

// originOf writes the place of a mistake as file:line.
func originOf(m *mistake) string {
	if m.line == 0 {
		return m.file
	}
	return m.file + ":" + strconv.Itoa(m.line)
}

func quote(s string) string { return strconv.Quote(s) }
