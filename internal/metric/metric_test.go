package metric_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/metric"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

var now = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)

// scene is a database and a process, in memory.
type scene struct {
	mu      sync.Mutex
	census  store.Census
	trouble error
	asked   int
	now     time.Time
	inside  func(ctx context.Context) // called while it counts; may be nil
	log     bytes.Buffer
}

func (s *scene) Census(ctx context.Context) (store.Census, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.inside != nil {
		s.inside(ctx)
	}
	return s.census, s.trouble
}

func newScene() *scene {
	ages := map[int]int{history.AgeStep(0): 1, history.AgeStep(44 * 24 * time.Hour): 2, history.AgeStep(400 * 24 * time.Hour): 3}
	return &scene{now: now, census: store.Census{
		Accounts: []store.AccountCount{
			{
				ID: "111122223333", JudgedAt: now, Source: fact.Report, MadeAt: fact.At(now.Add(-90 * time.Minute)), Complete: true, Users: 5, Keys: 8, ActiveKeys: 6,
				Ages: history.Bands(ages), Failing: map[finding.Severity]int{finding.High: 3, finding.Critical: 1},
			},
			{
				ID: "222233334444", JudgedAt: now, Source: fact.Live, MadeAt: fact.At(now.Add(-26 * time.Hour)), UnreadSince: now, Gaps: 2, Users: 1, Keys: 1, ActiveKeys: 1,
				Ages: history.Bands(map[int]int{0: 1}), Failing: map[finding.Severity]int{finding.High: 1},
			},
			{ID: "333344445555", JudgedAt: now, UnreadSince: now, Gaps: 1, Ages: history.Bands(nil)},
			{ID: "444455556666", JudgedAt: now, Source: fact.Report, MadeAt: fact.At(now.Add(-4 * time.Hour)), Complete: true, Ages: history.Bands(nil)},
		},
		Gone: 1,
		Rules: []store.RuleCount{
			{Rule: "key-age-90", Severity: finding.High, Open: 4}, {Rule: "root-access-key", Severity: finding.Critical, Open: 1},
		},
		Rotations: map[rotate.State]int{rotate.Proving: 2, rotate.Done: 40},
		Notices:   []store.NoticeCount{{Channel: "mail", GivenUp: 1}, {Channel: "team \"blue\"", Waiting: 3}},
	}}
}

func (s *scene) settings() metric.Settings {
	return metric.Settings{
		Store: s, Version: "1.2.3", Now: func() time.Time { return s.now }, Log: slog.New(slog.NewTextHandler(&s.log, nil)), Channels: []string{"mail", "pager"},
		Calls: func() awsiam.Counts {
			return awsiam.Counts{Calls: map[string]int{"iam:ListUsers": 12, "iam:GetCredentialReport": 4}, Throttled: map[string]int{"iam:ListUsers": 2}, Requests: 19}
		},
		Due: func() int { return 7 },
		Parts: func() map[string]metric.Part {
			return map[string]metric.Part{
				"collect": {OK: true, At: now.Add(-time.Minute), Since: now.Add(-time.Hour)}, "delivery": {At: now.Add(-time.Second), Since: now.Add(-2 * time.Second)},
			}
		},
	}
}

// scrape asks for the page and gives our own part of it.
func scrape(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	if kind := w.Header().Get("Content-Type"); w.Code != http.StatusOK || !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		t.Fatalf("HTTP %d, %s: %s", w.Code, kind, w.Body)
	}
	var out strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		if name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "); strings.HasPrefix(name, "keyreeve_") {
			out.WriteString(line)
		}
	}
	if !strings.Contains(w.Body.String(), "\ngo_goroutines ") {
		t.Error("the page says nothing of the process")
	}
	// What comes beside ours has to be in order too.
	if problems, err := promlint.New(bytes.NewReader(w.Body.Bytes())).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	return out.String()
}

func page(t *testing.T, s *scene, change ...func(*metric.Settings)) http.Handler {
	t.Helper()
	set := s.settings()
	for _, f := range change {
		f(&set)
	}
	h, err := metric.New(set)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func sums(s *metric.Settings) { s.Sums = true }

// families reads a page as Prometheus does.
func families(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	out, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return out
}

func labels(f *dto.MetricFamily) []string {
	var names []string
	for _, l := range f.GetMetric()[0].GetLabel() {
		names = append(names, l.GetName())
	}
	slices.Sort(names)
	return names
}

func TestPage_isTheGoldenOne(t *testing.T) {
	for name, change := range map[string]func(*metric.Settings){
		"accounts": func(*metric.Settings) {},
		"sums":     sums,
		"process":  func(s *metric.Settings) { s.Calls, s.Due, s.Parts, s.Channels = nil, nil, nil, nil },
	} {
		file := "testdata/" + name + ".prom"
		got := scrape(t, page(t, newScene(), change))
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-file +page):\n%s", file, diff)
		}
	}
}

func TestPage_hasEachFamilyAsItIsDocumented(t *testing.T) {
	for name, change := range map[string]func(*metric.Settings){"accounts": func(*metric.Settings) {}, "sums": sums} {
		got := families(t, scrape(t, page(t, newScene(), change)))
		for _, f := range metric.Families() {
			g := got[f.Name]
			if g == nil {
				t.Errorf("%s: no %s", name, f.Name)
				continue
			}
			want := f.AllLabels()
			if name == "sums" {
				want = slices.Clone(f.Labels)
			}
			slices.Sort(want)
			kind := map[bool]dto.MetricType{true: dto.MetricType_COUNTER, false: dto.MetricType_GAUGE}[f.Counter]
			if g.GetType() != kind || g.GetHelp() != f.Help || !slices.Equal(labels(g), want) {
				t.Errorf("%s: %s is %v with %v: %s", name, f.Name, g.GetType(), labels(g), g.GetHelp())
			}
			delete(got, f.Name)
		}
		if len(got) > 0 {
			t.Errorf("%s: not documented: %v", name, slices.Sorted(maps.Keys(got)))
		}
	}
}

// The same question to Prometheus has one answer with and without accounts.
func TestPage_sumsAreThoseOfTheAccounts(t *testing.T) {
	each, all := families(t, scrape(t, page(t, newScene()))), families(t, scrape(t, page(t, newScene(), sums)))
	for _, f := range metric.Families() {
		if !f.Account {
			continue
		}
		want := map[string]float64{}
		for _, m := range each[f.Name].GetMetric() {
			id, n := "", m.GetGauge().GetValue()
			for _, l := range m.GetLabel() {
				if l.GetName() != "account" {
					id += l.GetName() + "=" + l.GetValue() + ","
				}
			}
			if strings.HasSuffix(f.Name, "_age_seconds") {
				want[id] = max(want[id], n)
			} else {
				want[id] += n
			}
		}
		got := map[string]float64{}
		for _, m := range all[f.Name].GetMetric() {
			id := ""
			for _, l := range m.GetLabel() {
				id += l.GetName() + "=" + l.GetValue() + ","
			}
			got[id] = m.GetGauge().GetValue()
		}
		if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
			t.Errorf("%s (-of accounts +sum):\n%s", f.Name, diff)
		}
	}
}

func TestPage_callsThingsAsTheReportDoes(t *testing.T) {
	var b bytes.Buffer
	a := &finding.Audit{
		AsOf: now, Ruleset: "default",
		Accounts: []finding.AccountResult{{
			Account: fact.Account{ID: "111122223333"}, Evidence: fact.Evidence{Source: fact.Live, ReadAt: fact.At(now)}, Users: 1, Keys: 1, ActiveKeys: 1,
			Ages: history.Bands(map[int]int{0: 1}),
		}},
		Summary:  []finding.RuleResult{{Rule: "key-age-90", Severity: finding.High, Fail: 1}},
		Verdicts: func(func(*finding.Verdict) bool) {},
	}
	if err := report.Write(&b, report.Prometheus, a, report.Options{}); err != nil {
		t.Fatal(err)
	}
	told, ours := families(t, b.String()), families(t, scrape(t, page(t, newScene())))
	var both []string
	for name, f := range told {
		if g := ours[name]; g != nil {
			both = append(both, name)
			if g.GetType() != f.GetType() || !slices.Equal(labels(g), labels(f)) {
				t.Errorf("%s: %v with %v, in the report %v with %v", name, g.GetType(), labels(g), f.GetType(), labels(f))
			}
		}
	}
	slices.Sort(both)
	want := []string{"keyreeve_evidence_age_seconds", "keyreeve_failing", "keyreeve_gaps", "keyreeve_key_age_keys", "keyreeve_keys", "keyreeve_users", "keyreeve_verdicts"}
	if !slices.Equal(both, want) {
		t.Errorf("both have %v, want %v", both, want)
	}
}

func TestPage_saysWhenTheDatabaseIsAwayAndTellsTheRest(t *testing.T) {
	s := newScene()
	s.trouble = errors.New("dial db-7: refused")
	h := page(t, s)
	got := scrape(t, h)
	for _, line := range []string{"keyreeve_up 0\n", "keyreeve_accounts_due 7\n", "keyreeve_part_ok{part=\"delivery\"} 0\n", "keyreeve_aws_requests_total 19\n", "keyreeve_build_info{version=\"1.2.3\"} 1\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("no %s in\n%s", line, got)
		}
	}
	for _, name := range []string{"keyreeve_accounts{", "keyreeve_users", "keyreeve_verdicts", "keyreeve_rotations", "keyreeve_notices", "db-7"} {
		if strings.Contains(got, name) {
			t.Errorf("it tells %s:\n%s", name, got)
		}
	}
	if !strings.Contains(s.log.String(), "db-7") {
		t.Error("the log does not say why")
	}
	// It is not asked again at once, and then it is.
	s.trouble = nil
	scrape(t, h)
	if s.asked != 1 {
		t.Errorf("asked %d times within one instant, want once", s.asked)
	}
	s.now = now.Add(15 * time.Second)
	if got := scrape(t, h); !strings.Contains(got, "keyreeve_up 1\n") || !strings.Contains(got, "keyreeve_users{") {
		t.Errorf("when it is back:\n%s", got)
	}
}

func TestPage_countsOnceHoweverManyAsk(t *testing.T) {
	s := newScene()
	entered, goOn := make(chan bool), make(chan bool)
	s.inside = func(context.Context) { entered <- true; <-goOn }
	h := page(t, s, func(x *metric.Settings) { x.Fresh = time.Minute })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { scrape(t, h) })
	}
	<-entered
	goOn <- true
	wg.Wait()
	for after, want := range map[time.Duration]int{0: 1, time.Minute - 1: 1} {
		s.now = now.Add(after)
		if scrape(t, h); s.asked != want {
			t.Errorf("asked %d times until %s later, want %d", s.asked, after, want)
		}
	}
	s.inside = nil
	s.now = now.Add(time.Minute)
	if scrape(t, h); s.asked != 2 {
		t.Errorf("asked %d times after a minute, want twice", s.asked)
	}
	s.now = now.Add(-time.Hour) // a clock that was set back
	if scrape(t, h); s.asked != 3 {
		t.Errorf("asked %d times after the clock was set back, want three times", s.asked)
	}
}

// Who goes away does not spoil the count for the others.
func TestPage_countsOnWhenWhoAskedGoesAway(t *testing.T) {
	s := newScene()
	gone, leave := context.WithCancel(t.Context())
	s.inside = func(ctx context.Context) {
		leave()
		if end, ok := ctx.Deadline(); ctx.Err() != nil || !ok || end.IsZero() {
			t.Errorf("it counts with %v, and a deadline: %t", ctx.Err(), ok)
		}
	}
	h := page(t, s)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(gone, http.MethodGet, "/metrics", http.NoBody))
	if got := scrape(t, h); !strings.Contains(got, "keyreeve_up 1\n") || s.asked != 1 {
		t.Errorf("asked %d times:\n%s", s.asked, got)
	}
}

func TestNew_namesEverythingThatIsMissing(t *testing.T) {
	_, err := metric.New(metric.Settings{Fresh: -time.Second})
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, want := range []string{"store", "clock", "negative"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nhas no %s", err, want)
		}
	}
}

// BenchmarkPage is of 10,000 accounts.
func BenchmarkPage(b *testing.B) {
	for name, sums := range map[string]bool{"accounts": false, "sums": true} {
		s := newScene()
		one := s.census.Accounts[0]
		s.census.Accounts = nil
		for i := range 10_000 {
			one.ID = fmt.Sprintf("%012d", i)
			s.census.Accounts = append(s.census.Accounts, one)
		}
		set := s.settings()
		set.Sums = sums
		h, err := metric.New(set)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
			}
		})
	}
}
