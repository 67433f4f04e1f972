package cli_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/keyreeve/keyreeve/internal/cli"
	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// scraped is a page as Prometheus reads it.
type scraped map[string]*dto.MetricFamily

func scrape(t *testing.T, url string) scraped {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: HTTP %d, %v", url, res.StatusCode, err)
	}
	if problems, err := promlint.New(bytes.NewReader(text)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	page, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// sum adds the numbers of a family that have these labels, names and values in turn; n is how many there are.
func (s scraped) sum(family string, labels ...string) (total float64, n int) {
	for _, m := range s[family].GetMetric() {
		held := map[string]string{}
		for _, l := range m.GetLabel() {
			held[l.GetName()] = l.GetValue()
		}
		ours := true
		for i := 0; i+1 < len(labels); i += 2 {
			ours = ours && held[labels[i]] == labels[i+1]
		}
		if ours {
			n++
			total += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return total, n
}

func TestMetrics_areWhatTheDatabaseHolds(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		b := recorded(t, url)
		accounts, err := b.db.Accounts(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		open, err := b.db.History(t.Context(), store.HistoryFilter{Open: true})
		if err != nil {
			t.Fatal(err)
		}
		users, keys, active, byRule := 0, 0, 0, map[string]int{}
		for i := range accounts {
			users, keys, active = users+accounts[i].Users, keys+accounts[i].Keys, active+accounts[i].ActiveKeys
		}
		for i := range open {
			byRule[open[i].Rule]++
		}
		var health daemon.Health
		health.Note(daemon.Collect, nil, storyTime)
		health.Note(daemon.Delivery, errors.New("no answer"), storyTime)
		for _, sums := range []bool{false, true} {
			page, err := cli.Metrics(t.Context(), b.p.system(io.Discard, io.Discard), b.db, &health, func() int { return 3 }, sums)
			if err != nil {
				t.Fatal(err)
			}
			h, err := cli.API(b.p.system(io.Discard, io.Discard), b.db, nil, page)
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(h)
			t.Cleanup(server.Close)
			b.p.now = storyTime.Add(time.Minute)
			got := scrape(t, server.URL+"/metrics")
			series := map[bool]int{false: len(accounts), true: 1}[sums]
			for _, c := range []struct {
				want   float64
				series int
				family string
				labels []string
			}{
				{1, 1, "keyreeve_up", nil},
				{1, 1, "keyreeve_build_info", []string{"version", "1.2.3"}},
				{float64(len(accounts)), 1, "keyreeve_accounts", []string{"state", "read"}},
				{0, 1, "keyreeve_accounts", []string{"state", "gone"}},
				{float64(users), series, "keyreeve_users", nil},
				{float64(active), series, "keyreeve_keys", []string{"active", "true"}},
				{float64(keys), 2 * series, "keyreeve_keys", nil},
				{float64(active), 6 * series, "keyreeve_key_age_keys", nil},
				{float64(60 * series), series, "keyreeve_evidence_age_seconds", []string{"source", "report"}},
				{float64(len(open)), 4 * series, "keyreeve_failing", nil},
				{float64(len(open)), len(byRule), "keyreeve_verdicts", []string{"status", "fail"}},
				{float64(byRule["key-age-90"]), 1, "keyreeve_verdicts", []string{"rule", "key-age-90"}},
				{9, 1, "keyreeve_rotations", []string{"state", "requested"}},
				{0, 2, "keyreeve_notices", []string{"channel", "team"}},
				{1, 1, "keyreeve_aws_calls_total", []string{"action", "sts:GetCallerIdentity"}},
				{1, 1, "keyreeve_aws_requests_total", nil},
				{3, 1, "keyreeve_accounts_due", nil},
				{1, 1, "keyreeve_part_ok", []string{"part", daemon.Collect}},
				{0, 1, "keyreeve_part_ok", []string{"part", daemon.Delivery}},
				{float64(storyTime.Unix()), 1, "keyreeve_part_tried_timestamp_seconds", []string{"part", daemon.Delivery}},
			} {
				if total, n := got.sum(c.family, c.labels...); total != c.want || n != c.series {
					t.Errorf("sums %t: %s %v is %v in %d series, want %v in %d", sums, c.family, c.labels, total, n, c.want, c.series)
				}
			}
		}
		if len(byRule) < 5 || users == 0 || active == 0 {
			t.Errorf("the story is thin: %v, %d users, %d keys", byRule, users, active)
		}
	})
}

func TestMetrics_sayThatTheDatabaseIsAway(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		b := recorded(t, url)
		page, err := cli.Metrics(t.Context(), b.p.system(io.Discard, io.Discard), b.db, nil, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(page)
		t.Cleanup(server.Close)
		if up, _ := scrape(t, server.URL).sum("keyreeve_up"); up != 1 {
			t.Errorf("keyreeve_up is %v while it is there", up)
		}
		if err := b.db.Close(); err != nil {
			t.Fatal(err)
		}
		b.p.now = b.p.now.Add(time.Minute)
		got := scrape(t, server.URL)
		if up, n := got.sum("keyreeve_up"); up != 0 || n != 1 || got["keyreeve_users"] != nil || got["keyreeve_aws_calls_total"] == nil {
			t.Errorf("keyreeve_up is %v in %d series; %v and %v", up, n, got["keyreeve_users"], got["keyreeve_aws_calls_total"])
		}
	})
}

// A server that is stopped and started again, under a process that goes on.
func TestMetrics_comeBackWithTheServer(t *testing.T) {
	server := postgres.Start(t)
	b := recorded(t, server.URL(t))
	page, err := cli.Metrics(t.Context(), b.p.system(io.Discard, io.Discard), b.db, nil, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(page)
	t.Cleanup(web.Close)
	for _, is := range []struct {
		change func() error
		up     float64
	}{{func() error { return nil }, 1}, {func() error { return server.Down("immediate") }, 0}, {server.Up, 1}} {
		if err := is.change(); err != nil {
			t.Fatal(err)
		}
		b.p.now = b.p.now.Add(time.Minute)
		if up, _ := scrape(t, web.URL).sum("keyreeve_up"); up != is.up {
			t.Errorf("keyreeve_up is %v, want %v", up, is.up)
		}
	}
}
