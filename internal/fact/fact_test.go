package fact_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestSecret_neverPrintsItsText(t *testing.T) {
	const text = "wJalrXUtnFEMI/K7MDENG"
	s := fact.NewSecret(text)
	holder := struct {
		S fact.Secret
		P *fact.Secret
	}{s, &s}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("made", "secret", s, "holder", holder)
	js, err := json.Marshal(map[string]any{"secret": s, "pointer": &s, "holder": holder})
	if err != nil {
		t.Fatal(err)
	}
	outs := []string{log.String(), string(js), fmt.Sprint(s, &s, holder), fmt.Errorf("put %v", s).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		outs = append(outs, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s), fmt.Sprintf(verb, holder))
	}
	for _, out := range outs {
		if strings.Contains(out, text) || strings.Contains(out, fmt.Sprintf("%x", text)) {
			t.Errorf("a secret was printed: %s", out)
		}
	}
	if s.Reveal() != text {
		t.Errorf("Reveal() = %q, want %q", s.Reveal(), text)
	}
}

func TestTime_zeroValueIsUnknownAndNeverIsNot(t *testing.T) {
	var zero fact.Time
	if !zero.Unknown() || zero.Known() || zero.Never() || zero.String() != "unknown" {
		t.Errorf("zero Time: %v", zero)
	}
	if n := fact.Never(); !n.Never() || n.Known() || n.Unknown() || n.String() != "never" {
		t.Errorf("Never: %v", n)
	}
	if got := fact.At(time.Time{}); !got.Unknown() {
		t.Errorf("At(zero time.Time) = %v, want unknown", got)
	}
}

func TestTime_subIsExactAndSaturates(t *testing.T) {
	base := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for _, d := range []time.Duration{0, 1, time.Second - 1, time.Second, 90*24*time.Hour + 1, -time.Nanosecond, -36 * time.Hour} {
		if got := fact.At(base.Add(d)).Sub(fact.At(base)); got != d {
			t.Errorf("(base+%v)-base = %v", d, got)
		}
		if got, want := fact.At(base.Add(500)).Add(d).Time(), base.Add(500).Add(d); !got.Equal(want) {
			t.Errorf("base+%v = %v, want %v", d, got, want)
		}
	}
	far, near := fact.At(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)), fact.AtUnix(-62135596800+1, 0)
	if got := far.Sub(near); got != math.MaxInt64 {
		t.Errorf("9999-0001 = %v, want saturation", got)
	}
	if got := near.Sub(far); got != math.MinInt64 {
		t.Errorf("0001-9999 = %v, want saturation", got)
	}
}

func TestTime_comparesUnknownBeforeNeverBeforeInstants(t *testing.T) {
	order := []fact.Time{{}, fact.Never(), fact.AtUnix(1, 0), fact.AtUnix(1, 1), fact.AtUnix(2, 0)}
	for i, a := range order {
		for j, b := range order {
			got, want := a.Compare(b), i-j
			if (got < 0) != (want < 0) || (got > 0) != (want > 0) {
				t.Errorf("%v.Compare(%v) = %d", a, b, got)
			}
		}
	}
}

func TestUser_hasKeysIsUnknownUntilTheKeysWereRead(t *testing.T) {
	for _, c := range []struct {
		u    fact.User
		want fact.Answer
	}{
		{fact.User{}, fact.Unknown},
		{fact.User{KeysRead: true}, fact.No},
		{fact.User{KeysRead: true, Keys: []fact.Key{{}}}, fact.Yes},
		{fact.User{KeysPresent: fact.Yes}, fact.Yes},
	} {
		if got := c.u.HasKeys(); got != c.want {
			t.Errorf("%+v: HasKeys() = %v, want %v", c.u, got, c.want)
		}
	}
}

func TestIsAccountID_isTwelveASCIIDigits(t *testing.T) {
	for text, want := range map[string]bool{
		"111122223333": true, "000000000000": true,
		"": false, "11112222333": false, "1111222233334": false, "11112222333a": false, " 11112222333": false, "-11112222333": false,
		"1111\u0662\u0662\u0662\u0662": false, // twelve bytes, of digits that are none of ASCII
	} {
		if got := fact.IsAccountID(text); got != want {
			t.Errorf("IsAccountID(%q) = %v", text, got)
		}
	}
}
