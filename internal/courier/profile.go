package courier

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// The settings of a profile that hold a pair.
const (
	settingKeyID  = "aws_access_key_id"
	settingSecret = "aws_secret_access_key" //nolint:gosec // the name of a setting
)

// tokenSettings belong to a pair that ends, and make a lasting one unusable.
func tokenSettings() []string { return []string{"aws_session_token", "aws_security_token"} }

// sourceSettings say that a profile gets its credentials elsewhere.
func sourceSettings() []string {
	return []string{
		"credential_process", "credential_source", "login_session", "role_arn", "source_profile", "sso_session",
		"sso_start_url", "web_identity_token_file",
	}
}

// credentialsText is a credentials file around one profile. The SDKs read such files by rules that differ in
// the corners: AWS's CLI and Python's by those of configparser, Go's by its own. What they might read
// differently is refused where it touches the profile.
type credentialsText struct {
	lines  []string // with their ends
	name   string
	header int // line of the profile; -1: there is none
	stop   int // line behind the profile
	eol    string

	keyID, secret []property // at most one each, or parse refuses
	tokens        []property
	elsewhere     string // the first setting that names another source of credentials
}

// property is one setting: line[:from] + value + line[to:].
type property struct {
	line, from, to int
	value          string
}

// parseCredentials finds the profile in the text of a file. Its errors quote no values.
func parseCredentials(body []byte, name string) (credentialsText, error) {
	text := string(body)
	if strings.ContainsRune(text, 0) || strings.Contains(strings.ReplaceAll(text, "\r\n", "\n"), "\r") {
		return credentialsText{}, errors.New("it holds a NUL or a carriage return within a line")
	}
	c := credentialsText{lines: slices.Collect(strings.Lines(text)), name: name, header: -1, eol: "\n"}
	if strings.Contains(text, "\r\n") {
		c.eol = "\r\n"
	}
	inside := false
	for i, line := range c.lines {
		if i == 0 {
			line = strings.TrimPrefix(line, bom)
		}
		section, isHeader, err := headerOf(line, name)
		switch {
		case err != nil:
			return credentialsText{}, fmt.Errorf("line %d: %w", i+1, err)
		case !isHeader:
			continue
		case inside:
			c.stop, inside = i, false
		}
		if section == name {
			if c.header >= 0 {
				return credentialsText{}, fmt.Errorf("lines %d and %d: the profile %q is there twice", c.header+1, i+1, name)
			}
			c.header, c.eol, inside = i, endOf(line, c.eol), true
		}
	}
	if inside {
		c.stop = len(c.lines)
	}
	return c, c.read()
}

const bom = "\ufeff"

// headerOf reads [name], perhaps with a comment behind it.
func headerOf(line, profile string) (name string, ok bool, err error) {
	trimmed := strings.TrimSpace(line)
	if !strings.HasPrefix(trimmed, "[") {
		return "", false, nil
	}
	inner, _, _ := strings.Cut(trimmed, "#")
	inner, _, _ = strings.Cut(inner, ";")
	inner, closed := strings.CutSuffix(strings.TrimSpace(inner), "]")
	inner = strings.TrimPrefix(inner, "[")
	if !closed || strings.ContainsAny(inner, "[]") || !strings.HasPrefix(line, "[") {
		return "", false, errors.New("it is not clear whether a profile begins here")
	}
	if name = strings.TrimSpace(inner); name == profile && inner != name {
		return "", false, fmt.Errorf("blanks around the name of profile %q are not read alike everywhere", profile)
	}
	return name, true, nil
}

func endOf(line, otherwise string) string {
	switch {
	case strings.HasSuffix(line, "\r\n"):
		return "\r\n"
	case strings.HasSuffix(line, "\n"):
		return "\n"
	}
	return otherwise
}

// read finds the settings of the profile.
func (c *credentialsText) read() error {
	if c.header < 0 {
		return nil
	}
	last := "" // the setting that an indented line would go on with
	for i := c.header + 1; i < c.stop; i++ {
		line := strings.TrimRight(c.lines[i], "\r\n")
		start := strings.TrimSpace(line)
		if start == "" || start[0] == '#' || start[0] == ';' {
			continue
		}
		name, p, ok := propertyOf(line)
		if line[0] != start[0] { // indented
			if last == "" || ours(last) || ours(name) {
				return fmt.Errorf("line %d: an indented line next to the credentials is not read alike everywhere", i+1)
			}
			continue
		}
		if !ok { // no setting; an indented line after it goes on with the one before, for some
			continue
		}
		last, p.line = name, i
		c.note(name, p)
	}
	if len(c.keyID) > 1 || len(c.secret) > 1 {
		return fmt.Errorf("the profile %q holds two key ids or two secrets", c.name)
	}
	return nil
}

func (c *credentialsText) note(name string, p property) {
	switch {
	case name == settingKeyID:
		c.keyID = append(c.keyID, p)
	case name == settingSecret:
		c.secret = append(c.secret, p)
	case slices.Contains(tokenSettings(), name):
		c.tokens = append(c.tokens, p)
	case slices.Contains(sourceSettings(), name) && c.elsewhere == "":
		c.elsewhere = name
	}
}

func ours(name string) bool {
	return name == settingKeyID || name == settingSecret || slices.Contains(tokenSettings(), name)
}

// propertyOf reads name = value or name: value, perhaps with a comment behind it.
func propertyOf(line string) (name string, p property, ok bool) {
	end := len(line)
	for _, comment := range []string{" #", " ;", "\t#", "\t;"} {
		if i := strings.Index(line[:end], comment); i >= 0 {
			end = i
		}
	}
	at := strings.IndexAny(line[:end], "=:")
	if at < 0 {
		return strings.ToLower(strings.TrimSpace(line[:end])), property{}, false
	}
	p.value = strings.TrimSpace(line[at+1 : end])
	p.from = at + 1
	if p.value != "" {
		p.from += strings.Index(line[at+1:end], p.value)
	}
	p.to = p.from + len(p.value)
	for _, quote := range []string{`'`, `"`} {
		if len(p.value) > 1 && strings.HasPrefix(p.value, quote) && strings.HasSuffix(p.value, quote) {
			p.value = p.value[1 : len(p.value)-1]
			break
		}
	}
	return strings.ToLower(strings.TrimSpace(line[:at])), p, true
}

// pair is what the profile holds; half a pair, and one with a session token, is none.
func (c credentialsText) pair() (fact.Pair, bool) {
	if len(c.keyID) != 1 || len(c.secret) != 1 || len(c.tokens) > 0 {
		return fact.Pair{}, false
	}
	return fact.Pair{KeyID: c.keyID[0].value, Secret: fact.NewSecret(c.secret[0].value)}, true
}

// values are the credentials of the profile as they stand there, with a session token too.
func (c credentialsText) values() (out []string) {
	for _, group := range [][]property{c.keyID, c.secret, c.tokens} {
		for _, p := range group {
			out = append(out, p.value)
		}
		out = append(out, "")
	}
	return out
}

// section is the text of the profile, from its header to the next one.
func (c credentialsText) section() string {
	if c.header < 0 {
		return ""
	}
	return strings.Join(c.lines[c.header:c.stop], "")
}

// check refuses a profile that gets its credentials elsewhere: with a pair in it, it would mean something else.
func (c credentialsText) check() error {
	if c.elsewhere != "" && len(c.keyID)+len(c.secret) == 0 {
		return fmt.Errorf("the profile %q gets its credentials by %s and holds none", c.name, c.elsewhere)
	}
	return nil
}

// with is the text with the pair in the profile, which is added at the end if there is none.
func (c credentialsText) with(p fact.Pair) []byte {
	lines := slices.Clone(c.lines)
	id, secret := settingKeyID+" = "+p.KeyID+c.eol, settingSecret+" = "+p.Secret.Reveal()+c.eol
	if c.header < 0 {
		if n := len(lines); n > 0 {
			lines[n-1] = c.ended(lines[n-1])
			lines = append(lines, c.eol)
		}
		return []byte(strings.Join(append(lines, "["+c.name+"]"+c.eol, id, secret), ""))
	}
	for _, t := range c.tokens {
		lines[t.line] = ""
	}
	set := func(at []property, text string) {
		for _, x := range at {
			lines[x.line] = lines[x.line][:x.from] + text + lines[x.line][x.to:]
		}
	}
	set(c.keyID, p.KeyID)
	set(c.secret, p.Secret.Reveal())
	switch { // what is missing goes behind the other one, or behind the header
	case len(c.keyID) == 0 && len(c.secret) == 0:
		lines[c.header] = c.ended(lines[c.header]) + id + secret
	case len(c.keyID) == 0:
		lines[c.secret[0].line] = c.ended(lines[c.secret[0].line]) + id
	case len(c.secret) == 0:
		lines[c.keyID[0].line] = c.ended(lines[c.keyID[0].line]) + secret
	}
	return []byte(strings.Join(lines, ""))
}

func (c credentialsText) ended(line string) string {
	if strings.HasSuffix(line, "\n") {
		return line
	}
	return line + c.eol
}

// splice is the text with another section in the place of the profile.
func (c credentialsText) splice(section string) []byte {
	return []byte(strings.Join(c.lines[:c.header], "") + section + strings.Join(c.lines[c.stop:], ""))
}

// back is the text with the credentials of an older section in the profile, for a file in which other lines have
// been changed since.
func (c credentialsText) back(old credentialsText) []byte {
	lines := slices.Clone(c.lines)
	var text string
	for _, group := range [][]property{old.keyID, old.secret, old.tokens} {
		for _, p := range group {
			text += old.ended(old.lines[p.line])
		}
	}
	for _, p := range append(slices.Clone(c.keyID), c.secret...) {
		lines[p.line], text = text, ""
	}
	return []byte(strings.Join(lines, ""))
}
