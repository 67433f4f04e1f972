package report_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/report"
)

func pastEntries() []history.Entry {
	e := history.Entry{
		ID: "0123456789abcdef", OpenedAt: asOf.AddDate(0, 0, -40), Account: prod.ID, User: "alice", Rule: "key-age-90", Kind: "key-age", Title: "Active keys are at most 90 days old",
		Severity: finding.High, Remedy: finding.Rotate, Message: "active key is 91 days old", KeyID: "AKIAFAKEPROD00000001", KeyCreated: daysAgo(131), Since: daysAgo(41), Terms: "t",
		Tags: map[string]string{"owner": "team-a", "AKIAFAKEPROD00000001": "for the build"},
	}
	unseen := e
	unseen.User, unseen.SeenAt, unseen.KeyID, unseen.Tags = "nasty\x1b[31m|<b>", asOf.AddDate(0, 0, -3), "", nil
	var out = []history.Entry{e, unseen}
	for _, why := range history.Reasons() {
		c := e
		c.Severity, c.SeenAt, c.ClosedAt, c.Why, c.Rule = finding.Low, asOf.AddDate(0, 0, -2), asOf.AddDate(0, 0, -1), why, "multiple-active-keys"
		c.KeyID, c.KeyCreated, c.User = "", fact.Time{}, fact.RootName
		out = append(out, c)
	}
	return out
}

// points are n days in which fewer and fewer keys fail; on the third nothing was judged.
func points(n int) []history.Point {
	out := make([]history.Point, n)
	for i := range out {
		out[i] = history.Point{
			Day: asOf.Truncate(24*time.Hour).AddDate(0, 0, i-n+1), Accounts: 1200, Incomplete: 2, Users: 30000, Keys: 41000, ActiveKeys: 38000 - i,
			FailingKeys: 900 - 800*i/n + int(40*math.Sin(float64(i))), Failing: 2000 - i, Ages: map[int]int{20: 10, 60 + i/2: 15}, Opened: i % 3, Closed: i % 5,
		}
		if i%2 == 0 {
			out[i].Fixes = []time.Duration{time.Duration(10+i%7) * 24 * time.Hour}
		}
	}
	if n > 3 {
		out[2] = history.Point{Day: out[2].Day}
	}
	return out
}

func TestGolden_historyAndTrends(t *testing.T) {
	for name, write := range map[string]func(b *bytes.Buffer) error{
		"history.80.text": func(b *bytes.Buffer) error {
			return report.WriteHistory(b, report.Text, pastEntries(), true, asOf, report.Options{Width: 80})
		},
		"history.120.text": func(b *bytes.Buffer) error {
			return report.WriteHistory(b, report.Text, pastEntries(), false, asOf, report.Options{Width: 120})
		},
		"history.mask.json": func(b *bytes.Buffer) error {
			return report.WriteHistory(b, report.JSON, pastEntries(), true, asOf, report.Options{MaskKeys: true})
		},
		"trend.30.text": func(b *bytes.Buffer) error {
			return report.WriteTrend(b, report.Text, points(30), "all accounts", report.Options{Width: 110})
		},
		"trend.365.text": func(b *bytes.Buffer) error {
			return report.WriteTrend(b, report.Text, points(365), "all accounts", report.Options{Width: 80})
		},
		"trend.json": func(b *bytes.Buffer) error {
			return report.WriteTrend(b, report.JSON, points(4), "all accounts", report.Options{})
		},
		"trend.90.svg": func(b *bytes.Buffer) error {
			return report.WriteTrend(b, report.SVG, points(90), `the accounts of Root/<b>"&`, report.Options{})
		},
		"trend.1.svg": func(b *bytes.Buffer) error {
			return report.WriteTrend(b, report.SVG, points(1), "account 111122223333", report.Options{})
		},
		"trend.none.text": func(b *bytes.Buffer) error {
			return report.WriteTrend(b, report.Text, []history.Point{{Day: asOf}}, "all accounts", report.Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.String())
			if strings.ContainsAny(b.String(), "\x1b\x07") {
				t.Error("it holds control characters")
			}
		})
	}
}

func TestTrend_theTextFitsAndKeepsTheLastDay(t *testing.T) {
	for _, n := range []int{1, 2, 30, 31, 32, 33, 100, 365, 1000} {
		var b bytes.Buffer
		if err := report.WriteTrend(&b, report.Text, points(n), "all accounts", report.Options{Width: 80}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(b.String(), "\n20")
		if lines > 31 || !strings.Contains(b.String(), "\n"+asOf.Format(time.DateOnly)) {
			t.Errorf("%d days: %d lines\n%s", n, lines, b.String())
		}
	}
}

func TestTrend_aSilentMonthIsOneLine(t *testing.T) {
	days := points(30)
	for i := range 29 {
		if i != 10 {
			days[i] = history.Point{Day: days[i].Day}
		}
	}
	var b bytes.Buffer
	if err := report.WriteTrend(&b, report.Text, days, "all accounts", report.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n2026-10-24  to 2026-11-02: nothing was judged", "\n2026-11-03     1,200", "\n2026-11-04  to 2026-11-21: nothing was judged", "\n2026-11-22     1,200"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, &b)
		}
	}
}
