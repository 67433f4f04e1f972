package daemon_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/internal/daemon"
)

func schedule(t testing.TB, line, zone string, jitter time.Duration) *daemon.Schedule {
	t.Helper()
	s, err := daemon.ParseSchedule(line, zone, jitter)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UTC()
}

func TestSchedule_comesAtItsTimesInItsZone(t *testing.T) {
	for _, c := range []struct{ line, zone, at, last, next string }{
		{"0 6 * * *", "", "2026-11-22T06:00:00Z", "2026-11-22T06:00:00Z", "2026-11-23T06:00:00Z"},
		{"0 6 * * *", "", "2026-11-22T05:59:59Z", "2026-11-21T06:00:00Z", "2026-11-22T06:00:00Z"},
		{"0 6 * * *", "Europe/Berlin", "2026-07-01T12:00:00Z", "2026-07-01T04:00:00Z", "2026-07-02T04:00:00Z"},
		{"0 6 * * *", "Europe/Berlin", "2026-11-22T12:00:00Z", "2026-11-22T05:00:00Z", "2026-11-23T05:00:00Z"},
		{"30 2 * * *", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"}, // 02:30 does not come
		{"0 0 1 * *", "", "2026-11-22T06:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{"0 0 29 2 *", "", "2026-11-22T06:00:00Z", "2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"@every 6h", "", "2026-11-22T07:00:00Z", "2026-11-22T06:00:00Z", "2026-11-22T12:00:00Z"},
		{"*/15 * * * *", "", "2026-11-22T07:14:59Z", "2026-11-22T07:00:00Z", "2026-11-22T07:15:00Z"},
		{"@weekly", "", "2026-11-22T07:00:00Z", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"},
	} {
		s := schedule(t, c.line, c.zone, 0)
		at := instant(t, c.at)
		if last, next := s.Last(at), s.Next(at); !last.Equal(instant(t, c.last)) || !next.Equal(instant(t, c.next)) {
			t.Errorf("%s %s at %s: last %s, next %s; want %s, %s", c.line, c.zone, c.at, last, next, c.last, c.next)
		}
	}
}

func TestSchedule_refusesWhatMakesNoSense(t *testing.T) {
	for _, c := range []struct {
		line, zone string
		jitter     time.Duration
		says       string
	}{
		{"", "", 0, "no cron line"}, {"0 6 * *", "", 0, "no cron line"}, {"61 * * * *", "", 0, "no cron line"}, {"0 6 * * * *", "", 0, "no cron line"},
		{"0 0 30 2 *", "", 0, "never comes"}, {"0 6 * * *", "Mars/Olympus", 0, "unknown time zone"}, {"0 6 * * *", "Local", 0, "unknown time zone"},
		{"CRON_TZ=UTC 0 6 * * *", "", 0, "say it apart"}, {"0 * * * *", "", 31 * time.Minute, "at most 30m"}, {"0 * * * *", "", -time.Second, "too long"},
	} {
		if _, err := daemon.ParseSchedule(c.line, c.zone, c.jitter); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q %q %s: %v, want %q", c.line, c.zone, c.jitter, err, c.says)
		}
	}
}

// However often it is asked, and whatever happened before: an account that was read when it was due is due again exactly at
// the schedule's next time with its offset.
func TestSchedule_anAccountIsDueOnceForEachTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SampledFrom([]string{"0 6 * * *", "*/30 * * * *", "0 0 1 * *", "@every 6h", "15 9-17 * * 1-5"}).Draw(t, "line")
		jitter := time.Duration(rapid.IntRange(0, 15).Draw(t, "jitter")) * time.Minute
		s, err := daemon.ParseSchedule(line, "Europe/Berlin", jitter)
		if err != nil {
			t.Fatal(err)
		}
		account := fmt.Sprintf("%012d", rapid.IntRange(0, 999).Draw(t, "account"))
		offset := s.Offset(account)
		if offset < 0 || jitter > 0 && offset >= jitter || jitter == 0 && offset != 0 {
			t.Fatalf("offset %s of %s", offset, jitter)
		}
		now := time.Date(2026, 3, 27, 0, 0, 0, 0, time.UTC)
		var judged time.Time
		for range 200 {
			now = now.Add(time.Duration(rapid.IntRange(1, 7200).Draw(t, "step")) * time.Second)
			due := s.Due(account, judged, now)
			want := judged.IsZero() || judged.Before(s.Last(now.Add(-offset)).Add(offset))
			if due.IsZero() == want || due.After(now) {
				t.Fatalf("at %s, judged %s, offset %s: due %s", now, judged, offset, due)
			}
			if !due.IsZero() && rapid.Bool().Draw(t, "read") {
				judged = now
				if again := s.Due(account, judged, now); !again.IsZero() {
					t.Fatalf("at %s it was just read, and is due for %s", now, again)
				}
			}
		}
	})
}

func TestSchedule_spreadsAccounts(t *testing.T) {
	s := schedule(t, "0 6 * * *", "", time.Hour)
	quarters := map[int]int{}
	for i := range 4000 {
		quarters[int(s.Offset(fmt.Sprintf("%012d", i))/(15*time.Minute))]++
	}
	for q := range 4 {
		if quarters[q] < 800 || quarters[q] > 1200 {
			t.Errorf("%v: not spread", quarters)
		}
	}
}
