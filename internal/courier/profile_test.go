package courier

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/keyreeve/keyreeve/internal/fact"
)

var fresh = fact.Pair{KeyID: "AKIANEW", Secret: fact.NewSecret("new/secret+text=")}

// seeds are credentials files as people write them, and as they should not.
func seeds() []string {
	return []string{
		"",
		"\n",
		"[ci]",
		"[ci]\r\n",
		"[ci]\naws_access_key_id = A\naws_secret_access_key = B\n",
		"[ci]\naws_access_key_id=A\naws_secret_access_key=B",
		"[ci]\naws_secret_access_key = B\naws_session_token = T\naws_access_key_id = A\n",
		"# top\n[default]\naws_access_key_id = D\naws_secret_access_key = E\n\n[ci] # mine\nAWS_Access_Key_Id : A ; old\naws_secret_access_key: 'B'\nregion = x\n; end\n[z]\naws_access_key_id = Z\n",
		"[ci]\r\naws_access_key_id = A\r\naws_secret_access_key = B\r\n[x]\r\n",
		"\ufeff[ci]\naws_access_key_id = A\naws_secret_access_key = B\n",
		"[ci]\naws_access_key_id =\naws_secret_access_key = #B\n",
		"[ci]\ns3 =\n  max = 1\naws_access_key_id = A\naws_secret_access_key = B\n",
		"[ci]\naws_access_key_id = A\n aws_secret_access_key = B\n",
		"[ci]\naws_access_key_id = A\n  more\naws_secret_access_key = B\n",
		"[ci]\naws_secret_access_key = B\n",
		"[ci]\naws_access_key_id = A\n",
		"[ci]\nregion = x",
		"[ci]\nrole_arn = x\n",
		"[ci]\n[ci]\n", "[ ci ]\n", " [ci]\n", "[ci\n", "[profile ci]\nx = y\n", "[ci][x]\n",
		"aws_access_key_id = A\n[other]\n", "[x]\n[ci]\naws_access_key_id\naws_secret_access_key = B=C:D\n",
		"[ci]\naws_access_key_id = A\naws_access_key_id = B\n", "[ci]\rx", "[ci]\n\x00",
	}
}

// rest is the text without the credentials of the profile: what has to stay, byte for byte.
func (c credentialsText) rest() string {
	lines := slices.Clone(c.lines)
	for _, group := range [][]property{c.keyID, c.secret, c.tokens} {
		for _, p := range group {
			lines[p.line] = ""
		}
	}
	return strings.Join(lines, "")
}

// frames are the lines of the credentials around their values.
func (c credentialsText) frames() (out []string) {
	for _, p := range append(slices.Clone(c.keyID), c.secret...) {
		line := c.lines[p.line]
		out = append(out, line[:p.from]+"|"+line[p.to:])
	}
	return out
}

func sdkReads(t *testing.T, body []byte) (_ config.SharedConfig, err error) {
	defer func() {
		if v := recover(); v != nil { // the SDK's reader panics on a value that is one lone quotation mark
			err = errors.New("the SDK cannot read the file")
		}
	}()
	dir := t.TempDir()
	path := filepath.Join(dir, "credentials")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return config.LoadSharedConfigProfile(t.Context(), "ci", func(o *config.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{path}, []string{filepath.Join(dir, "none")}
	})
}

func check(t *testing.T, body string) (accepted bool) {
	t.Helper()
	old, err := parseCredentials([]byte(body), "ci")
	if err != nil || old.check() != nil {
		return false
	}
	out := old.with(fresh)
	now, err := parseCredentials(out, "ci")
	if err != nil {
		t.Fatalf("%q became %q: %v", body, out, err)
	}
	if p, ok := now.pair(); !ok || p != fresh {
		t.Errorf("%q became %q, which holds another pair", body, out)
	}
	switch {
	case old.header < 0:
		if !strings.HasPrefix(string(out), body) {
			t.Errorf("%q became %q", body, out)
		}
	case strings.TrimRight(now.rest(), "\r\n") != strings.TrimRight(old.rest(), "\r\n"):
		t.Errorf("%q became %q: the rest was %q and is %q", body, out, old.rest(), now.rest())
	case len(old.keyID)+len(old.secret) == 2 && (now.rest() != old.rest() || !slices.Equal(now.frames(), old.frames())):
		t.Errorf("%q became %q: the lines were %q and are %q", body, out, old.frames(), now.frames())
	case string(now.splice(old.section())) != body:
		t.Errorf("%q became %q, and %q again", body, out, now.splice(old.section()))
	}
	if strings.HasPrefix(body, bom) { // which the SDK does not know
		return true
	}
	got, err := sdkReads(t, out)
	if err != nil && strings.Contains(err.Error(), "failed to load") || err == nil &&
		(got.Credentials.AccessKeyID != fresh.KeyID || got.Credentials.SecretAccessKey != fresh.Secret.Reveal() || got.Credentials.SessionToken != "") {
		t.Errorf("%q became %q, where the SDK reads %q, %q, token %q: %v", body, out,
			got.Credentials.AccessKeyID, got.Credentials.SecretAccessKey, got.Credentials.SessionToken, err)
	}
	return true
}

func TestCredentialsText_keepsEveryOtherByteAndTheSDKReadsThePair(t *testing.T) {
	accepted := 0
	for _, body := range seeds() {
		if check(t, body) {
			accepted++
		}
	}
	if want := 18; accepted != want {
		t.Errorf("%d seeds accepted, want %d", accepted, want)
	}
}

func FuzzCredentialsText(f *testing.F) {
	for _, body := range seeds() {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) { check(t, body) })
}

func TestDocument_refusesWhatIsNotOneObject(t *testing.T) {
	for text, ok := range map[string]bool{
		`{}`: true, ` {"a":1} `: true, `{"a":1,"a":2}`: false, `{"\u0061":1,"a":2}`: false, `{"a":1}{}`: false, `{"a":1} x`: false,
		`[]`: false, `"x"`: false, `{"a"`: false, `{"a":1`: false, ``: false, `hunter2`: false,
	} {
		_, err := parseDocument(fact.NewSecret(text))
		if (err == nil) != ok || err != nil && text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzDocument(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"a":1}`, `{"AccessKeyId":"A","SecretAccessKey":"B"}`, ` { "x" : [ 1.0 , {"AccessKeyId":2} ] , "SecretAccessKey" : null } `,
		`{"a":1,"a":2}`, `{"a":1}{}`, `[]`, `"x"`, `{"a"`, `{"\u0041ccessKeyId":"A"}`, "{\"\\ud800\":1}",
	} {
		f.Add(text)
	}
	fields := Fields{}.withDefaults()
	f.Fuzz(func(t *testing.T, text string) {
		old, err := parseDocument(fact.NewSecret(text))
		if err != nil {
			return
		}
		out := old.with(fields, "", fresh)
		now, err := parseDocument(out)
		if err != nil {
			t.Fatalf("%q became %q: %v", text, out.Reveal(), err)
		}
		if p, ok := now.pair(fields); !ok || p != fresh {
			t.Errorf("%q became %q, which holds another pair", text, out.Reveal())
		}
		others := func(d document) (out []string) {
			for _, m := range d.members {
				if m.name != fields.KeyID && m.name != fields.Secret {
					out = append(out, m.name+"\x00"+string(m.raw))
				}
			}
			return out
		}
		if !slices.Equal(others(old), others(now)) {
			t.Errorf("%q became %q", text, out.Reveal())
		}
	})
}
