// Package yamlfile reads the YAML files that people write for keyreeve: rulesets, exceptions, settings.
//
// It knows mappings with known keys, lists, texts, numbers and truth values, and where each stands. It reads them
// strictly: one document in UTF-8, no key that nobody asked for, no key twice, no anchors, merge keys or type tags.
//
// It refuses to guess. Its promise: every mistake of a file is told at once, each with file, line and column, the
// source line and a hint, and no message shows a private key, a password or the path of an address.
package yamlfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Node is a place in a file with what stands there.
type Node = ast.Node

// File is a YAML file that is being read strictly. It gathers every mistake with its place, so that a person
// corrects a file once.
type File struct {
	Name       string // as the person typed it; mistakes begin with it
	MayBeEmpty bool   // nothing but comments is no mistake

	lines    []string
	mistakes []*Mistake
}

// Mistake is one thing wrong in a file.
type Mistake struct {
	File         string
	Line, Column int    // from 1; line 0 is the file as a whole
	Text         string // what is wrong
	Quote        string // the line it stands in
	Hint         string // the next move; empty when there is none
}

func (m *Mistake) Error() string {
	var b strings.Builder
	if m.Line == 0 {
		fmt.Fprintf(&b, "%s: %s", m.File, m.Text)
	} else {
		number := strconv.Itoa(m.Line)
		fmt.Fprintf(&b, "%s:%d:%d: %s\n", m.File, m.Line, m.Column, m.Text)
		fmt.Fprintf(&b, "  %s | %s\n", number, m.Quote)
		fmt.Fprintf(&b, "  %s | %s^", strings.Repeat(" ", len(number)), strings.Repeat(" ", m.Column-1))
	}
	if m.Hint != "" {
		b.WriteString("\n  hint: " + m.Hint)
	}
	return b.String()
}

// Origin writes the place of a mistake as file:line.
func (m *Mistake) Origin() string {
	if m.Line == 0 {
		return m.File
	}
	return m.File + ":" + strconv.Itoa(m.Line)
}

// Note adds a mistake.
func (f *File) Note(m *Mistake) { f.mistakes = append(f.mistakes, m) }

// Mistakes counts those noted so far.
func (f *File) Mistakes() int { return len(f.mistakes) }

// Lines are those of the file that was parsed, without their ends.
func (f *File) Lines() []string { return f.lines }

// Err is every mistake in the order of the file, or nil.
func (f *File) Err() error {
	if len(f.mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(f.mistakes, func(a, b *Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var errs []error
	for _, m := range f.mistakes {
		errs = append(errs, m)
	}
	return errors.Join(errs...)
}

// Wrong notes a mistake at n.
func (f *File) Wrong(n ast.Node, hint, format string, args ...any) {
	f.Note(f.MistakeAt(n.GetToken(), hint, fmt.Sprintf(format, args...)))
}

// MistakeAt words a mistake at t without noting it; t nil is the file as a whole.
func (f *File) MistakeAt(t *token.Token, hint, text string) *Mistake {
	m := &Mistake{File: f.Name, Text: conceal(text), Hint: hint}
	if t != nil && t.Position != nil && t.Position.Line >= 1 && t.Position.Line <= len(f.lines) {
		m.Line, m.Column = t.Position.Line, max(1, t.Position.Column)
		m.Quote = conceal(printable(f.lines[m.Line-1]))
	}
	return m
}

// Parse reads the one document of data, which must be a mapping; nil where it is none, with the reason noted, or where
// there is nothing and that may be.
func (f *File) Parse(data []byte) *ast.MappingNode {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	f.lines = strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		f.Note(f.MistakeAt(nil, "write YAML in UTF-8", "is not text"))
		return nil
	}
	file, err := parser.ParseBytes([]byte(strings.Join(f.lines, "\n")), 0)
	if err != nil {
		f.Note(f.syntax(err))
		return nil
	}
	var docs []ast.Node
	for _, d := range file.Docs {
		_, null := d.Body.(*ast.NullNode)
		if d.Body != nil && (!null || !f.MayBeEmpty) {
			docs = append(docs, d.Body)
		}
	}
	switch len(docs) {
	case 0:
		if !f.MayBeEmpty {
			f.Note(f.MistakeAt(nil, "", "is empty"))
		}
		return nil
	case 1:
	default:
		f.Note(f.MistakeAt(PlaceOf(docs[1]), "keep one document, without a line of ---", "a second document"))
		return nil
	}
	m, ok := docs[0].(*ast.MappingNode)
	if !ok {
		f.Wrong(docs[0], "", "%s where a mapping of keys and values is wanted", KindOf(docs[0]))
		return nil
	}
	return m
}

func (f *File) syntax(err error) *Mistake {
	var e yaml.Error
	if errors.As(err, &e) {
		return f.MistakeAt(e.GetToken(), "", "not YAML: "+e.GetMessage())
	}
	return f.MistakeAt(nil, "", "not YAML: "+err.Error())
}

// Field is a key of a mapping with its value.
type Field struct {
	Key, Value Node
}

// Fields reads a mapping whose keys are among known, and notes every other key.
func (f *File) Fields(n ast.Node, what string, known []string) map[string]Field {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		f.Wrong(n, "it has the keys "+strings.Join(known, ", "), "%s where %s is wanted", KindOf(n), what)
		return nil
	}
	out := make(map[string]Field, len(m.Values))
	for _, v := range m.Values {
		name, ok := f.keyName(v)
		if !ok {
			continue
		}
		if !slices.Contains(known, name) {
			f.Wrong(v.Key, DidYouMean(name, known), "unknown key %q in %s", name, what)
			continue
		}
		out[name] = Field{v.Key, v.Value}
	}
	return out
}

func (f *File) keyName(v *ast.MappingValueNode) (string, bool) {
	key, ok := v.Key.(*ast.StringNode)
	if !ok {
		f.Wrong(v.Key, "write a plain name", "%s where a key is wanted", KindOf(v.Key))
		return "", false
	}
	return key.Value, true
}

// Named is an entry of a mapping whose keys are names that the file gives.
type Named struct {
	Name string
	Field
}

// Names reads a mapping whose keys are free, in the order of the file; an absent value (null) is an empty one.
func (f *File) Names(n Node, what string) []Named {
	if _, null := n.(*ast.NullNode); null {
		return nil
	}
	m, ok := n.(*ast.MappingNode)
	if !ok {
		f.Wrong(n, "write name: and what belongs to it", "%s where %s is wanted", KindOf(n), what)
		return nil
	}
	var out []Named
	for _, v := range m.Values {
		if name, ok := f.keyName(v); ok {
			out = append(out, Named{name, Field{v.Key, v.Value}})
		}
	}
	return out
}

// Items reads a list; an absent value (null) is an empty one.
func (f *File) Items(n ast.Node, what string) []ast.Node {
	switch l := n.(type) {
	case *ast.SequenceNode:
		return l.Values
	case *ast.NullNode:
		return nil
	default:
		f.Wrong(n, "begin each entry with a dash", "%s where %s is wanted", KindOf(n), what)
		return nil
	}
}

// Text reads a string that is not blank.
func (f *File) Text(n ast.Node, what string) string {
	var text string
	switch v := n.(type) {
	case *ast.StringNode:
		text = v.Value
	case *ast.LiteralNode:
		text = v.Value.Value
	case *ast.NullNode:
	default:
		f.Wrong(n, "put it in quotes if it is meant as text", "%s: %s where text is wanted", what, KindOf(n))
		return ""
	}
	if strings.TrimSpace(text) == "" {
		f.Wrong(n, "", "%s is blank", what)
		return ""
	}
	return strings.TrimSpace(text)
}

// Digits reads a string of digits that may stand without quotes, as account ids often do; it keeps leading zeros.
func (f *File) Digits(n ast.Node, what string) string {
	if i, ok := n.(*ast.IntegerNode); ok {
		return i.Token.Value
	}
	return f.Text(n, what)
}

// Texts reads a list of strings that are not blank.
func (f *File) Texts(n ast.Node, what string, read func(ast.Node, string) string) []string {
	var out []string
	for _, item := range f.Items(n, what+" as a list") {
		if text := read(item, what); text != "" {
			out = append(out, text)
		}
	}
	return out
}

// Pairs reads a mapping of strings to strings.
func (f *File) Pairs(n ast.Node, what string) map[string]string {
	m, ok := n.(*ast.MappingNode)
	if !ok || len(m.Values) == 0 {
		kind := KindOf(n)
		if ok {
			kind = "an empty mapping"
		}
		f.Wrong(n, "write {key: value}", "%s: %s where a mapping of names to values is wanted", what, kind)
		return nil
	}
	out := make(map[string]string, len(m.Values))
	for _, v := range m.Values {
		if name, ok := f.keyName(v); ok {
			out[name] = f.Text(v.Value, what+" "+name)
		}
	}
	return out
}

// Truth reads true or false.
func (f *File) Truth(n ast.Node, what string) bool {
	b, ok := n.(*ast.BoolNode)
	if !ok {
		f.Wrong(n, "write true or false", "%s: %s where true or false is wanted", what, KindOf(n))
		return false
	}
	return b.Value
}

// Count reads a whole number from 0 to 1000.
func (f *File) Count(n ast.Node, what string) int {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		f.Wrong(n, "write a number such as 1", "%s: %s where a whole number is wanted", what, KindOf(n))
		return 0
	}
	v, ok := i.Value.(uint64)
	if !ok || v > 1000 {
		f.Wrong(n, "", "%s: %s is not within 0 and 1000", what, i.Token.Value)
		return 0
	}
	return int(v)
}

// KindOf names what stands at n in the words of a person who writes YAML.
func KindOf(n ast.Node) string {
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

// PlaceOf is where a person looks for n: its first key where it is a mapping.
func PlaceOf(n ast.Node) *token.Token {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken()
	}
	return n.GetToken()
}

// conceal hides what a person may have put where only its public half or its place belongs: an age identity, the path of
// an address (whoever knows that of a webhook can write to it), a password, a key that is no access key id. No message
// shows it. As long as before, so that columns stay.
func conceal(text string) string {
	for _, p := range []*regexp.Regexp{privateKey, addressPath, literalSecret} {
		text = p.ReplaceAllStringFunc(text, func(found string) string {
			at := p.FindStringSubmatchIndex(found)
			if len(at) < 4 || at[2] < 0 || accessKeyID.MatchString(found[at[2]:at[3]]) {
				return found
			}
			return found[:at[2]] + strings.Repeat("*", utf8.RuneCountInString(found[at[2]:at[3]])) + found[at[3]:]
		})
	}
	return text
}

var (
	privateKey    = regexp.MustCompile(`(?i)(AGE-SECRET-KEY-[0-9A-Z-]*)`)
	addressPath   = regexp.MustCompile(`(?i)https?://[^/\s"'\\]+/([^\s"',}\\]+)`)
	literalSecret = regexp.MustCompile(`(?i)\b(?:password|key)["']?\s*:\s*["']?([^\s"',{}\[\]]+)`)
	accessKeyID   = regexp.MustCompile(`^(A[KS]IA[A-Z0-9*?]*|\*)$`)
)
