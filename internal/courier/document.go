package courier

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Fields name the members of a JSON object that hold the pair. The zero value is usable.
type Fields struct {
	KeyID  string // empty: AccessKeyId
	Secret string // empty: SecretAccessKey
	User   string // the member for the user's name, written where Settings name a user; empty: UserName
}

func (f Fields) withDefaults() Fields {
	if f.KeyID == "" {
		f.KeyID = "AccessKeyId"
	}
	if f.Secret == "" {
		f.Secret = "SecretAccessKey"
	}
	if f.User == "" {
		f.User = "UserName"
	}
	return f
}

func (f Fields) validate() error {
	f = f.withDefaults()
	if strings.EqualFold(f.KeyID, f.Secret) || strings.EqualFold(f.KeyID, f.User) || strings.EqualFold(f.Secret, f.User) {
		return errors.New("the fields for key id, secret and user must have three names")
	}
	return nil
}

// document is a JSON object whose members keep their order and their text.
type document struct {
	text    fact.Secret // as it was read
	members []member
}

type member struct {
	name string
	raw  json.RawMessage
}

// parseDocument reads one JSON object without doubled names. Its errors quote nothing.
func parseDocument(text fact.Secret) (document, error) {
	d := json.NewDecoder(strings.NewReader(text.Reveal()))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return document{}, errors.New("it is no JSON object")
	}
	out := document{text: text}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return document{}, errors.New("it is no whole JSON object")
		}
		if seen[name] {
			return document{}, fmt.Errorf("the member %q is there twice", name)
		}
		seen[name] = true
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return document{}, errors.New("it is no whole JSON object")
		}
		out.members = append(out.members, member{name, raw})
	}
	if _, err := d.Token(); err != nil {
		return document{}, errors.New("it is no whole JSON object")
	}
	if d.More() {
		return document{}, errors.New("something stands behind the JSON object")
	}
	return out, nil
}

// pair is the pair of the document; false when it holds none.
func (d document) pair(f Fields) (fact.Pair, bool) {
	id, okID := d.member(f.KeyID)
	secret, okSecret := d.member(f.Secret)
	return fact.Pair{KeyID: id, Secret: fact.NewSecret(secret)}, okID && okSecret
}

func (d document) member(name string) (text string, ok bool) {
	for _, m := range d.members {
		if m.name == name {
			return text, bytes.HasPrefix(m.raw, []byte(`"`)) && json.Unmarshal(m.raw, &text) == nil
		}
	}
	return "", false
}

// check refuses a document whose members are nearly those of f: its consumer would go on reading the old ones.
func (d document) check(f Fields) error {
	for _, m := range d.members {
		for _, name := range []string{f.KeyID, f.Secret} {
			if m.name != name && strings.EqualFold(m.name, name) {
				return fmt.Errorf("it holds %q, and the settings name %q: set the names of the fields", m.name, name)
			}
		}
	}
	return nil
}

// with is the text of the document with the pair in it. Everything else keeps its place and its text.
func (d document) with(f Fields, user string, p fact.Pair) fact.Secret {
	members := append([]member(nil), d.members...)
	set := func(name, text string) {
		raw := encodeText(text)
		for i := range members {
			if members[i].name == name {
				members[i].raw = raw
				return
			}
		}
		members = append(members, member{name, raw})
	}
	set(f.KeyID, p.KeyID)
	set(f.Secret, p.Secret.Reveal())
	if user != "" {
		set(f.User, user)
	}
	var out bytes.Buffer
	for i, m := range members {
		out.WriteString([]string{"{", ","}[min(i, 1)])
		out.Write(encodeText(m.name))
		out.WriteByte(':')
		out.Write(m.raw)
	}
	out.WriteByte('}')
	return fact.NewSecret(out.String())
}

func encodeText(text string) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic(err) // a string
	}
	return bytes.TrimSpace(out.Bytes())
}

// digestOf is the hash of the pair in a text, empty when it holds none.
func digestOf(text fact.Secret, f Fields) string {
	d, err := parseDocument(text)
	if err != nil {
		return ""
	}
	p, ok := d.pair(f)
	if !ok {
		return ""
	}
	return pairOf(p)
}

// shows tells whether text holds the secret as it is, or in one of the ways that programs write it.
func shows(text string, s fact.Secret) bool {
	secret := s.Reveal()
	for _, form := range []string{
		secret, strings.ReplaceAll(secret, "/", `\/`), url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret)),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawStdEncoding.EncodeToString([]byte(secret)),
		base64.URLEncoding.EncodeToString([]byte(secret)),
	} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}
