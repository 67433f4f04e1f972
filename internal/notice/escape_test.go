package notice_test

import (
	"bytes"
	"encoding/json"
	"html"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// hostile are names that try to be more than text.
func hostile() []string {
	return []string{
		"*bold* _it_ `code` ~~gone~~", "[click](https://evil.test)", "![x](https://evil.test/x.png)", "<!channel> <@U123> <https://evil.test|ok>",
		"<script>alert(1)</script>", "<b>x</b>&amp;&lt;", "a\r\nBcc: all@evil.test", "line\nbreak", "# heading", "- item", "1. item", "| a | b |",
		"www.evil.test https://evil.test ana@evil.test @channel @everyone", "\x1b[31mred\x07", "\u202egnp.exe", "\u2028x\u2029", "a\x00b\xffc",
		"\\", "**", "&#60;b&#62;", "{{.Secret}}", "=cmd|' /C calc'!A0", ":smile:", "$$x$$", strings.Repeat("long", 1000),
	}
}

// planted is a message with text wherever an account or a person may write something.
func planted(t testing.TB, text string) notice.Message {
	v := verdict(prod, text, "key-age-90", finding.High)
	v.Account.Name, v.Account.OU, v.Rule, v.Message, v.UserARN, v.Key.ID = text, text, text, text, text, text
	wait := notice.Change{Kind: notice.Waits, At: now, Account: v.Account, Rotation: &notice.Rotation{ID: "r" + text, State: "held", Why: text, User: text, KeyID: text}}
	gap := notice.Change{Kind: notice.Unreadable, At: now, Account: v.Account, Gap: &fact.Gap{Reading: text, Why: text}}
	end := notice.Change{Kind: notice.Expiring, At: now, Account: v.Account, Exception: &finding.Exception{
		Rule: text, User: text, Key: text, Reason: text, Owner: text, Origin: text, Expires: fact.At(now),
	}}
	excepted := *v
	excepted.Exception = end.Exception
	changes := []notice.Change{
		opened(v, now, map[string]string{"owner": text, text: text}), wait, gap, end,
		{Kind: notice.Closed, At: now, Why: notice.Excepted, Account: v.Account, Verdict: &excepted},
	}
	r := routing(notice.Terms{Name: "a", Digest: true, FullKeys: true, Length: 1 << 20})
	parcels, err := r.Parcels(changes)
	if err != nil {
		t.Fatal(err)
	}
	return r.Compose(parcels, now)[0].Message
}

// marks are the tags that our own Markdown makes.
var marks = regexp.MustCompile(`</?(p|ul|li|strong)>`)

// checkForms fails where text got more than text into a form of the message.
func checkForms(t *testing.T, m notice.Message) {
	t.Helper()
	plainText := m.Text()
	for _, s := range append(strings.Split(plainText, "\n"), m.Subject) {
		for _, r := range s {
			if r != ' ' && !unicode.IsPrint(r) {
				t.Fatalf("%q holds %U", s, r)
			}
		}
	}
	if strings.ContainsAny(m.Subject, "\r\n") || !utf8.ValidString(plainText) {
		t.Fatalf("subject %q", m.Subject)
	}
	var lines int
	for _, s := range m.Sections() {
		lines += 2
		for _, l := range s.Lines {
			lines++
			if l.Next != "" {
				lines++
			}
		}
	}
	if got := strings.Count(plainText, "\n"); got != lines+1 {
		t.Fatalf("%d lines, want %d:\n%s", got, lines+1, plainText)
	}
	var out bytes.Buffer
	if err := goldmark.New(goldmark.WithExtensions(extension.GFM)).Convert([]byte(m.Markdown()), &out); err != nil {
		t.Fatal(err)
	}
	read := marks.ReplaceAllString(out.String(), "")
	if strings.ContainsAny(read, "<>") {
		t.Fatalf("the Markdown made a tag:\n%s\n%s", m.Markdown(), out.String())
	}
	// What a reader of the Markdown sees is the plain text.
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	want := strings.NewReplacer("\n- ", "\n").Replace(plainText)
	if squeeze(html.UnescapeString(read)) != squeeze(want) {
		t.Fatalf("the Markdown reads as\n%s\nthe text as\n%s", html.UnescapeString(read), want)
	}
	body, err := m.Encode()
	if err != nil || !json.Valid(body) {
		t.Fatalf("%v: %s", err, body)
	}
}

func TestMessage_hostileTextIsTextInEveryForm(t *testing.T) {
	for _, text := range hostile() {
		checkForms(t, planted(t, text))
	}
}

func FuzzMessage(f *testing.F) {
	for _, text := range hostile() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkForms(t, planted(t, text)) })
}
