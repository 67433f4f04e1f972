package report_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/report"
)

func TestGolden_notices(t *testing.T) {
	at := func(minutes int) time.Time { return asOf.Add(time.Duration(minutes) * time.Minute) }
	list := []notice.Record{
		{ID: "0123456789abcdef01234567", Channel: "team \x1b[31mred", AddedAt: at(-5), NextTry: at(-5)},
		{ID: "1123456789abcdef01234567", Channel: "mail", Subject: "opened HIGH key-age-90: alice \x1b[31mAKIAFAKEPROD00000001", AddedAt: at(-65), NextTry: at(7), Attempts: []notice.Attempt{
			{At: at(-60), State: notice.Failed, Why: "connection refused"}, {At: at(-50), State: notice.Failed, Why: "HTTP 503"},
		}},
		{ID: "2123456789abcdef01234567", Channel: "hub", Subject: "12 changes in 3 accounts", AddedAt: at(-90), State: notice.Sent, Attempts: []notice.Attempt{{At: at(-89), State: notice.Sent, Answer: "message 7"}}},
		{ID: "3123456789abcdef01234567", Channel: "hub", AddedAt: at(-9000), State: notice.GivenUp, Attempts: []notice.Attempt{{At: at(-4000), State: notice.GivenUp, Why: "refused"}}},
	}
	for name, c := range map[string]struct {
		format report.Format
		list   []notice.Record
		mask   bool
	}{"notices.text": {report.Text, list, true}, "notices.json": {report.JSON, list, false}, "notices.none.text": {report.Text, nil, false}} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := report.WriteNotices(&b, c.format, c.list, 1200, report.Options{Width: 100, MaskKeys: c.mask}); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.String())
		})
	}
}
