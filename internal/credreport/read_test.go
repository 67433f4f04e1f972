package credreport_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/internal/credreport"
	"github.com/keyreeve/keyreeve/internal/credreport/synth"
	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reading is all that a Read gave, in the order of the file.
type reading struct {
	Report credreport.Report
	Users  []fact.User
}

// tester is a test, of package testing or rapid.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
}

// readAll reads data in chunks of size bytes on workers goroutines.
func readAll(tb tester, data []byte, size, workers int) (reading, error) {
	tb.Helper()
	var mu sync.Mutex
	var batches []credreport.Batch
	opt := credreport.Options{Name: "report.csv", Workers: workers}
	rep, err := credreport.ReadChunks(context.Background(), bytes.NewReader(data), opt, size, func(b credreport.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		batches = append(batches, b)
		return nil
	})
	if err != nil {
		return reading{Report: rep}, err
	}
	slices.SortFunc(batches, func(a, b credreport.Batch) int { return cmp.Compare(a.Seq, b.Seq) })
	got := reading{Report: rep}
	for i, b := range batches {
		if b.Seq != i || !gocmp.Equal(b.Account, rep.Account) {
			tb.Errorf("batch %d: Seq %d, account %+v, report's %+v", i, b.Seq, b.Account, rep.Account)
		}
		got.Users = append(got.Users, b.Users...)
	}
	return got, nil
}

func mustRead(tb testing.TB, data []byte) reading {
	tb.Helper()
	got, err := readAll(tb, data, 1<<18, 2)
	if err != nil {
		tb.Fatalf("Read: %v\nof %.300q", err, data)
	}
	return got
}

func shape(tb testing.TB) []byte {
	tb.Helper()
	data, err := os.ReadFile("testdata/shape.csv")
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func at(tb testing.TB, text string) fact.Time {
	tb.Helper()
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		tb.Fatal(err)
	}
	return fact.At(t)
}

var compareTimes = gocmp.AllowUnexported(fact.Time{})

func TestRead_tellsWhatTheReportSays(t *testing.T) {
	got := mustRead(t, shape(t))
	const arn = "arn:aws:iam::444455556666:"
	at := func(text string) fact.Time { return at(t, text) }
	want := reading{
		Report: credreport.Report{
			Account: fact.Account{ID: "444455556666", Partition: "aws"},
			Newest:  at("2026-11-21T12:30:00Z"), // not 2026-12-11, a planned rotation
			Users:   4, Keys: 5, ActiveKeys: 4, HasRoot: true,
		},
		Users: []fact.User{
			{
				Name: fact.RootName, ARN: arn + "root", Root: true, Created: at("2019-05-14T07:31:09Z"),
				Password: fact.Yes, PasswordLastUsed: at("2026-07-02T05:44:51Z"), MFA: fact.Yes, KeysRead: true,
			},
			{
				Name: "build-runner", ARN: arn + "user/automation/build-runner", Path: "/automation/",
				Created: at("2022-08-17T13:40:26Z"), Password: fact.No, MFA: fact.No, KeysRead: true,
				Keys: []fact.Key{
					{Slot: 1, Active: true, Created: at("2026-10-01T08:00:00Z"), LastUsed: fact.Use{At: at("2026-11-20T23:15:00Z"), Service: "s3"}},
					{Slot: 2, Active: true, Created: at("2022-08-17T13:44:02Z"), LastUsed: fact.Use{At: at("2026-09-30T22:45:00Z"), Region: "eu-central-1", Service: "ecr"}},
				},
			},
			{
				Name: "kerstin.holm", ARN: arn + "user/kerstin.holm", Path: "/",
				Created: at("2026-02-11T09:15:30Z"), Password: fact.Yes, PasswordLastUsed: at("2026-11-18T07:58:12Z"), MFA: fact.Yes, KeysRead: true,
				Keys: []fact.Key{{Slot: 1, Active: true, Created: at("2026-02-11T09:15:32Z"), LastUsed: fact.Use{At: fact.Never()}}},
			},
			{
				Name: "legacy-mailer", ARN: arn + "user/automation/legacy-mailer", Path: "/automation/",
				Created: at("2018-03-01T00:00:00Z"), Password: fact.No, MFA: fact.No, KeysRead: true,
				Keys: []fact.Key{{Slot: 1, Created: at("2018-03-01T00:02:17Z"), LastUsed: fact.Use{At: at("2021-06-06T18:00:00Z"), Region: "us-east-1", Service: "ses"}}},
			},
			{
				Name: "okan@example.net", ARN: arn + "user/okan@example.net", Path: "/",
				Created: at("2024-09-23T16:05:44Z"), Password: fact.Yes, PasswordLastUsed: fact.Never(), MFA: fact.No, KeysRead: true,
				Keys: []fact.Key{{Slot: 2, Active: true, Created: at("2025-01-20T10:10:10Z"), LastUsed: fact.Use{At: at("2026-11-21T12:30:00Z"), Region: "ap-southeast-1", Service: "dynamodb"}}},
			},
		},
	}
	if diff := gocmp.Diff(want, got, compareTimes); diff != "" {
		t.Error(diff)
	}
}

// replyOf is the JSON that the AWS CLI prints for a report.
func replyOf(content []byte, rest string) []byte {
	return []byte("{\n    \"Content\": \"" + base64.StdEncoding.EncodeToString(content) + "\"" + rest + "\n}\n")
}

func gzipped(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestRead_anyLawfulShapeSaysTheSame(t *testing.T) {
	plain := shape(t)
	want := mustRead(t, plain)
	replace := func(pairs ...string) []byte { return []byte(strings.NewReplacer(pairs...).Replace(string(plain))) }
	quoted := func() []byte {
		lines := strings.Split(string(plain), "\n")
		for i, line := range lines {
			lines[i] = `"` + strings.ReplaceAll(line, ",", `","`) + `"`
		}
		return []byte(strings.Join(lines, "\n"))
	}
	appended := func(header, value string) []byte {
		lines := strings.Split(string(plain), "\n")
		for i := range lines {
			if i == 0 {
				lines[i] += "," + header
			} else {
				lines[i] += "," + value
			}
		}
		return []byte(strings.Join(lines, "\n"))
	}
	later := `, "GeneratedTime": "2026-11-21T13:00:00+00:00", "ReportFormat": "text/csv"`
	for name, data := range map[string][]byte{
		"CRLF":               replace("\n", "\r\n"),
		"final newline":      append(slices.Clone(plain), '\n'),
		"final CRLF":         append(replace("\n", "\r\n"), "\r\n"...),
		"final CR":           append(slices.Clone(plain), '\r'),
		"blank lines":        append(replace("\n", "\n\n\r\n"), "\n\n"...),
		"blank lines first":  append([]byte("\n\r\n"), plain...),
		"byte order mark":    append([]byte("\xef\xbb\xbf"), plain...),
		"all quoted":         quoted(),
		"quoted CRLF":        bytes.ReplaceAll(quoted(), []byte("\n"), []byte("\r\n")),
		"upper case":         replace("true", "TRUE", "false", "False"),
		"+00:00":             replace("Z,", "+00:00,"),
		"offsets":            replace("2022-08-17T13:44:02Z", "2022-08-17T19:14:02+05:30"),
		"no fraction":        replace("2022-08-17T13:44:02Z", "2022-08-17T13:44:02.000Z"),
		"23rd column":        appended("additional_credentials_info", ""),
		"unknown columns":    appended("x,y", `some text,"with a ""quote"", a comma and a`+"\n"+`line"`),
		"columns turned":     turned(string(plain)),
		"gzip":               gzipped(t, plain),
		"gzip of two":        append(gzipped(t, plain[:700]), gzipped(t, plain[700:])...),
		"not_supported uses": replace("N/A,s3", "not_supported,s3"),
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 64, 1 << 18} {
				got, err := readAll(t, data, size, 2)
				if err != nil {
					t.Fatalf("chunks of %d: %v", size, err)
				}
				if diff := gocmp.Diff(want, got, compareTimes); diff != "" {
					t.Fatalf("chunks of %d:\n%s", size, diff)
				}
			}
		})
	}
	want.Report.GeneratedAt = at(t, "2026-11-21T13:00:00Z")
	escaped := bytes.ReplaceAll(replyOf(plain, later), []byte("="), []byte(`\u003D`))
	for name, data := range map[string][]byte{
		"JSON":                  replyOf(plain, later),
		"JSON, time first":      []byte(`{"GeneratedTime": 1795266000.0, "Content":"` + base64.StdEncoding.EncodeToString(plain) + `"}`),
		"JSON with BOM":         append([]byte("\xef\xbb\xbf"), replyOf(plain, later)...),
		"JSON with more inside": replyOf(plain, `, "ResponseMetadata": {"Content": "no, ] \" }", "x": [1, {"Content": 2}]}`+later),
		"JSON, escapes":         escaped,
		"JSON of CSV with BOM":  replyOf(append([]byte("\xef\xbb\xbf"), plain...), later),
		"gzip of JSON":          gzipped(t, replyOf(plain, later)),
	} {
		t.Run(name, func(t *testing.T) {
			if diff := gocmp.Diff(want, mustRead(t, data), compareTimes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// turned is a CSV without quotes with its columns in reverse order.
func turned(plain string) []byte {
	lines := strings.Split(plain, "\n")
	for i, line := range lines {
		cells := strings.Split(line, ",")
		slices.Reverse(cells)
		lines[i] = strings.Join(cells, ",")
	}
	return []byte(strings.Join(lines, "\n"))
}

func TestRead_headerAloneIsAnAccountWithoutUsers(t *testing.T) {
	head, _, _ := strings.Cut(string(shape(t)), "\n")
	for _, data := range []string{head, head + "\n", head + "\r\n\r\n"} {
		got := mustRead(t, []byte(data))
		if diff := gocmp.Diff(reading{}, got, compareTimes); diff != "" {
			t.Errorf("%.20q: %s", data, diff)
		}
	}
	got := mustRead(t, replyOf([]byte(head), `, "GeneratedTime": null`))
	if diff := gocmp.Diff(reading{}, got, compareTimes); diff != "" {
		t.Error(diff)
	}
}

func TestRead_trailingColumnsMayBeMissing(t *testing.T) {
	want := mustRead(t, shape(t))
	lines := strings.Split(string(shape(t)), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Split(line, ",")[:18], ",")
	}
	got := mustRead(t, []byte(strings.Join(lines, "\n")))
	if diff := gocmp.Diff(want, got, compareTimes); diff != "" {
		t.Error(diff)
	}
}

func TestRead_errorOfEachComesBackAsItIs(t *testing.T) {
	boom := errors.New("boom")
	data := synthetic(t, 2000, false)
	_, err := credreport.ReadChunks(context.Background(), bytes.NewReader(data), credreport.Options{}, 2000,
		func(b credreport.Batch) error {
			if b.Seq == 3 {
				return boom
			}
			return nil
		})
	if err != boom { //nolint:errorlint // the very error is promised
		t.Errorf("Read = %v, want boom itself", err)
	}
}

func TestRead_errorOfTheReaderIsWrapped(t *testing.T) {
	boom := errors.New("boom")
	data := synthetic(t, 20, false)
	for _, after := range []int{0, 100, 2000, len(data)} {
		r := io.MultiReader(bytes.NewReader(data[:after]), iotest.ErrReader(boom))
		_, err := credreport.ReadChunks(context.Background(), r, credreport.Options{Name: "r.csv"}, 500,
			func(credreport.Batch) error { return nil })
		if !errors.Is(err, boom) || !strings.Contains(err.Error(), "r.csv") {
			t.Errorf("error after %d bytes: Read = %v, want boom of r.csv", after, err)
		}
	}
}

func TestRead_stopsWhenTheContextEnds(t *testing.T) {
	data := synthetic(t, 5000, false)
	for _, seq := range []int{0, 5} {
		ctx, cancel := context.WithCancel(context.Background())
		calls := 0
		_, err := credreport.ReadChunks(ctx, bytes.NewReader(data), credreport.Options{Workers: 1}, 1000, func(b credreport.Batch) error {
			calls++
			if b.Seq == seq {
				cancel()
			}
			return nil
		})
		cancel()
		if !errors.Is(err, context.Canceled) || calls != seq+1 {
			t.Errorf("cancelled in batch %d: Read = %v after %d calls", seq, err, calls)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := credreport.Read(ctx, bytes.NewReader(data), credreport.Options{}, func(credreport.Batch) error {
		t.Error("each was called")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: Read = %v", err)
	}
}

func TestRead_batchesStayValidUnlessReleased(t *testing.T) {
	data := synthetic(t, 3000, false)
	want, err := readAll(t, data, 1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var kept []credreport.Batch
	_, err = credreport.ReadChunks(context.Background(), bytes.NewReader(data), credreport.Options{Workers: 3}, 1000, func(b credreport.Batch) error {
		if b.Seq%2 == 0 {
			b.Release()
			b.Release()
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]fact.User{}
	for _, u := range want.Users {
		byName[u.Name] = u
	}
	for _, b := range kept {
		for _, u := range b.Users {
			if diff := gocmp.Diff(byName[u.Name], u, compareTimes); diff != "" {
				t.Fatalf("batch %d: %s", b.Seq, diff)
			}
		}
	}
}

func TestRead_allocatesNothingPerRow(t *testing.T) {
	data := synthetic(t, 20_000, false)
	allocs := testing.AllocsPerRun(5, func() {
		_, err := credreport.Read(context.Background(), bytes.NewReader(data), credreport.Options{Workers: 1},
			func(b credreport.Batch) error { b.Release(); return nil })
		if err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 1000 {
		t.Errorf("%v allocations for 20,000 rows", allocs)
	}
}

func TestRead_aSmallReportTakesLittleMemory(t *testing.T) {
	var report bytes.Buffer
	if err := synth.Write(&report, synth.Options{Users: 10, Seed: 1, AsOf: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), Account: "111122223333"}); err != nil {
		t.Fatal(err)
	}
	const times = 50
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		users := 0
		_, err := credreport.Read(t.Context(), bytes.NewReader(report.Bytes()), credreport.Options{Workers: 8}, func(b credreport.Batch) error {
			users += len(b.Users) // nobody calls it at the same time: there is one worker
			return nil
		})
		if err != nil || users < 10 {
			t.Fatalf("%d users, %v", users, err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / times; n > 64<<10 {
		t.Errorf("%d bytes for a report of %d", n, report.Len())
	}
}
