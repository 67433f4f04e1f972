package yamlfile

import (
	"slices"
	"strings"
	"testing"
)

func TestNames_keepsTheOrderOfTheFile(t *testing.T) {
	f := &File{Name: "x.yaml"}
	root := f.Parse([]byte("zeta: 1\nalpha: 2\nmid: 3\n"))
	var got []string
	for _, n := range f.Names(root, "a mapping") {
		got = append(got, n.Name+"="+n.Value.GetToken().Value)
	}
	if want := []string{"zeta=1", "alpha=2", "mid=3"}; !slices.Equal(got, want) || f.Err() != nil {
		t.Errorf("got %q, %v; want %q", got, f.Err(), want)
	}
}

func TestNames_refusesWhatIsNoMapping(t *testing.T) {
	f := &File{Name: "x.yaml"}
	root := f.Parse([]byte("a: [1]\nb:\nc: {1: x}\n"))
	for _, v := range root.Values {
		if got := f.Names(v.Value, "a mapping of names"); len(got) != 0 {
			t.Errorf("%s: %+v", v.Key, got)
		}
	}
	const want = "x.yaml:1:4: a list where a mapping of names is wanted\nx.yaml:3:5: \"1\" where a key is wanted"
	var got []string
	for line := range strings.SplitSeq(f.Err().Error(), "\n") {
		if strings.HasPrefix(line, "x.yaml") {
			got = append(got, line)
		}
	}
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

func TestParse_nothingIsAMistakeUnlessItMayBe(t *testing.T) {
	for _, text := range []string{"", "# a\n", "null\n"} {
		strict, lax := &File{Name: "x"}, &File{Name: "x", MayBeEmpty: true}
		if strict.Parse([]byte(text)) != nil || strict.Err() == nil {
			t.Errorf("%q: taken where something is wanted", text)
		}
		if lax.Parse([]byte(text)) != nil || lax.Err() != nil {
			t.Errorf("%q: %v", text, lax.Err())
		}
	}
}

func TestMistake_hidesAPrivateKeyAndKeepsTheColumn(t *testing.T) {
	f := &File{Name: "x.yaml"}
	root := f.Parse([]byte("a: [age-secret-key-1qqqqqqqq, b]\n"))
	items := f.Items(root.Values[0].Value, "a list")
	f.Wrong(items[1], "", "beside %q", items[0].GetToken().Value)
	const want = "x.yaml:1:31: beside \"************************\"\n  1 | a: [************************, b]\n    |                               ^"
	if got := f.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMistake_originIsFileAndLine(t *testing.T) {
	for want, m := range map[string]Mistake{"x:3": {File: "x", Line: 3, Column: 1}, "x": {File: "x"}} {
		if got := m.Origin(); got != want {
			t.Errorf("%+v: %q, want %q", m, got, want)
		}
	}
}

func TestDidYouMean_namesTheNearestElseAll(t *testing.T) {
	names := []string{"rotation", "exceptions"}
	for word, want := range map[string]string{"rotations": "did you mean rotation?", "xyz": "one of rotation, exceptions"} {
		if got := DidYouMean(word, names); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

func TestMistake_hidesWhatOthersMustNotRead(t *testing.T) {
	for line, want := range map[string]string{
		"url: https://hooks.slack.com/services/T0/B0/x1?y=2": "url: https://hooks.slack.com/*********************",
		`{password: hunter2, user: a}`:                       `{password: *******, user: a}`,
		`"password": "hunter2"`:                              `"password": "*******"`,
		"key: some-hmac-key":                                 "key: *************",
		"key: AKIAIOSFODNN7EXAMPLE":                          "key: AKIAIOSFODNN7EXAMPLE",
		"key: AKIA*":                                         "key: AKIA*",
		"{kms_key: alias/prod}":                              "{kms_key: alias/prod}",
		"password_file: smtp.password":                       "password_file: smtp.password",
		"see https://example.com":                            "see https://example.com",
		"urls: [https://a.example/é, http://b.example/bb]":   "urls: [https://a.example/*, http://b.example/***",
	} {
		f := &File{Name: "k.yaml"}
		f.lines = []string{line}
		got := f.MistakeAt(nil, "", line).Text
		if got != want {
			t.Errorf("%s\ngot  %s\nwant %s", line, got, want)
		}
	}
}
