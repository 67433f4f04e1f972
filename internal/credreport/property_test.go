package credreport_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/internal/credreport"
	"github.com/keyreeve/keyreeve/internal/fact"
)

// plainly reads a sound report the plain way: encoding/csv, one goroutine, time.Parse.
func plainly(data []byte) (reading, error) {
	rows, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))).ReadAll()
	if err != nil {
		return reading{}, err
	}
	var out reading
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	for _, row := range rows[1:] {
		cell := func(name string) string {
			if i, ok := column[name]; ok {
				return row[i]
			}
			return ""
		}
		u, dates := plainUser(cell)
		for _, name := range []string{"password_last_changed", "cert_1_last_rotated", "cert_2_last_rotated"} {
			dates = append(dates, plainTime(cell(name), ""))
		}
		for _, d := range dates {
			if d.Known() && d.Compare(out.Report.Newest) > 0 {
				out.Report.Newest = d
			}
		}
		part := strings.Split(u.ARN, ":")
		out.Report.Account = fact.Account{ID: part[4], Partition: part[1]}
		out.Users = append(out.Users, u)
		out.Report.HasRoot = out.Report.HasRoot || u.Root
		if !u.Root {
			out.Report.Users++
		}
		out.Report.Keys += len(u.Keys)
		out.Report.ActiveKeys += u.ActiveKeys()
	}
	return out, nil
}

func plainUser(cell func(string) string) (fact.User, []fact.Time) {
	u := fact.User{Name: cell("user"), ARN: cell("arn"), KeysRead: true}
	_, path, _ := strings.Cut(u.ARN, ":user")
	u.Path = strings.TrimSuffix(path, u.Name)
	u.Root = u.Name == fact.RootName
	u.Created = plainTime(cell("user_creation_time"), "")
	u.Password = plainFlag(cell("password_enabled"))
	u.PasswordLastUsed = plainTime(cell("password_last_used"), "no_information")
	u.MFA = plainFlag(cell("mfa_active"))
	dates := []fact.Time{u.Created, u.PasswordLastUsed}
	for slot := 1; slot <= 2; slot++ {
		prefix := fmt.Sprintf("access_key_%d_", slot)
		active := plainFlag(cell(prefix+"active")) == fact.Yes
		created, used := plainTime(cell(prefix+"last_rotated"), ""), plainTime(cell(prefix+"last_used_date"), "N/A")
		dates = append(dates, created, used)
		if !active && !created.Known() && !used.Known() && cell(prefix+"last_rotated") != "no_information" {
			continue
		}
		text := func(name string) string {
			if s := cell(prefix + name); !slices.Contains(words(), s) {
				return s
			}
			return ""
		}
		u.Keys = append(u.Keys, fact.Key{
			Slot: slot, Active: active, Created: created,
			LastUsed: fact.Use{At: used, Region: text("last_used_region"), Service: text("last_used_service")},
		})
	}
	return u, dates
}

func words() []string { return []string{"N/A", "no_information", "not_supported"} }

func plainFlag(text string) fact.Answer {
	b, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		return fact.Unknown
	}
	return fact.YesNo(b)
}

// plainTime reads a time; the text never says that it did not happen.
func plainTime(text, never string) fact.Time {
	t, err := time.Parse(time.RFC3339, text)
	switch {
	case err == nil:
		return fact.AtUnix(t.Unix(), int32(t.Nanosecond()))
	case text != "" && text == never:
		return fact.Never()
	default:
		return fact.Time{}
	}
}

func TestRead_agreesWithEncodingCSV(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := []byte(drawReport(t))
		want, err := plainly(data)
		if err != nil {
			t.Fatalf("the generator made no CSV: %v\n%s", err, data)
		}
		size := rapid.SampledFrom([]int{1, 7, 100, 1000, 1 << 18}).Draw(t, "chunk size")
		workers := rapid.IntRange(1, 4).Draw(t, "workers")
		got, err := readAll(t, data, size, workers)
		if err != nil {
			t.Fatalf("Read: %v\n%s", err, data)
		}
		if diff := gocmp.Diff(want, got, compareTimes); diff != "" {
			t.Fatalf("chunks of %d, %d workers: %s\n%s", size, workers, diff, data)
		}
	})
}

// drawReport is a sound report: in half of the draws with columns as AWS writes them, else with columns in
// any order, without optional ones and with unknown ones; values quoted or not; any line ends.
func drawReport(t *rapid.T) string {
	header := drawHeader(t)
	eol := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "line end")
	quoting := rapid.IntRange(0, 3).Draw(t, "quoting") // 0: where needed
	account := rapid.StringMatching(`[0-9]{12}`).Draw(t, "account")
	partition := rapid.SampledFrom([]string{"aws", "aws-cn", "aws-us-gov", "aws-iso-b"}).Draw(t, "partition")
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Za-z0-9+=,.@_-]{1,12}`), 0, 12, strings.ToLower).Draw(t, "names")
	if rapid.Bool().Draw(t, "sorted") {
		slices.SortFunc(names, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	}
	if rapid.Bool().Draw(t, "root") {
		names = slices.Insert(names, 0, fact.RootName)
	}
	var b strings.Builder
	write := func(cells []string) {
		for i, c := range cells {
			if i > 0 {
				b.WriteByte(',')
			}
			if strings.ContainsAny(c, ",\"\n") || quoting > 0 && rapid.IntRange(0, 3).Draw(t, "quoted") < quoting {
				c = `"` + strings.ReplaceAll(c, `"`, `""`) + `"`
			}
			b.WriteString(c)
		}
	}
	write(header)
	for _, name := range names {
		b.WriteString(eol)
		if rapid.IntRange(0, 9).Draw(t, "blank line") == 0 {
			b.WriteString(eol)
		}
		path := rapid.SampledFrom([]string{"/", "/", "/a/", "/team/x,y/", "/!#/~/", "/user/"}).Draw(t, "path")
		arn := "arn:" + partition + ":iam::" + account + ":user" + path + name
		if name == fact.RootName {
			arn = "arn:" + partition + ":iam::" + account + ":root"
		}
		cells := make([]string, len(header))
		for i, column := range header {
			switch column {
			case "user":
				cells[i] = name
			case "arn":
				cells[i] = arn
			default:
				cells[i] = drawValue(t, column)
			}
		}
		write(cells)
	}
	if rapid.Bool().Draw(t, "final line end") {
		b.WriteString(eol)
	}
	return rapid.SampledFrom([]string{"", "\xef\xbb\xbf"}).Draw(t, "mark") + b.String()
}

// shapeHeader is the header as AWS writes it.
func shapeHeader() string {
	data, err := os.ReadFile("testdata/shape.csv")
	if err != nil {
		panic(err)
	}
	return string(data)
}

func drawHeader(t *rapid.T) []string {
	line, _, _ := strings.Cut(shapeHeader(), "\n")
	header := strings.Split(line, ",")
	for range rapid.IntRange(0, 2).Draw(t, "unknown columns") {
		header = append(header, fmt.Sprintf("x%d", len(header)))
	}
	if rapid.Bool().Draw(t, "as AWS") {
		return header
	}
	needed := regexp.MustCompile(`^(user|arn|user_creation_time|password_enabled|access_key_._(active|last_rotated|last_used_date))$`)
	header = slices.DeleteFunc(header, func(name string) bool {
		return !needed.MatchString(name) && rapid.IntRange(0, 3).Draw(t, "left out") == 0
	})
	return rapid.Permutation(header).Draw(t, "order")
}

// drawValue is a lawful value of a column.
func drawValue(t *rapid.T, column string) string {
	flags := []string{"true", "false", "false", "TRUE", "False"}
	switch {
	case strings.HasPrefix(column, "access_key") && strings.HasSuffix(column, "_active"):
		return rapid.SampledFrom(flags).Draw(t, column)
	case strings.HasSuffix(column, "_active"), column == "password_enabled":
		return rapid.SampledFrom(append(flags, words()...)).Draw(t, column)
	case strings.HasPrefix(column, "x"):
		return rapid.SampledFrom([]string{"", "abc", "a b", "a,b", "say \"no\"", "two\nlines", "caf\u00e9", "\r", "a\rb"}).Draw(t, column)
	case strings.HasSuffix(column, "_region"), strings.HasSuffix(column, "_service"):
		return rapid.SampledFrom(append(words(), "us-east-1", "s3", "", "a_b.c", "N/A/x", "x,y")).Draw(t, column)
	}
	if rapid.IntRange(0, 2).Draw(t, "word") == 0 {
		return rapid.SampledFrom(append(words(), "N/A", "N/A")).Draw(t, column)
	}
	return drawTime(t)
}

// drawTime is a time from 1970 on in any shape of RFC 3339.
func drawTime(t *rapid.T) string {
	zone := time.FixedZone("", 60*rapid.SampledFrom([]int{0, 0, 0, 330, -720, 840}).Draw(t, "zone"))
	sec := rapid.Int64Range(0, 253402214400).Draw(t, "second")
	nsec := rapid.SampledFrom([]int64{0, 0, 0, 1, 250_000_000}).Draw(t, "nanosecond")
	layout := rapid.SampledFrom([]string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999-07:00"}).Draw(t, "layout")
	return time.Unix(sec, nsec).In(zone).Format(layout)
}

func TestQuickDate_readsWhatPackageTimeReads(t *testing.T) {
	check := func(t *rapid.T, text string) {
		want, err := time.Parse(time.RFC3339, text)
		sec, size := credreport.QuickDate(text)
		switch {
		case size > 0 && err != nil:
			t.Fatalf("QuickDate(%q) = %d, time.Parse: %v", text, sec, err)
		case size > 0 && sec != want.Unix():
			t.Fatalf("QuickDate(%q) = %d, want %d", text, sec, want.Unix())
		case size == 0 && err == nil && want.Unix() >= 0 && want.Year() >= 1970:
			t.Fatalf("QuickDate(%q) gave up", text)
		}
	}
	digits := rapid.StringMatching(`(19[67]|20[0-9]|21[0-9])[0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](Z|\+00:00)`)
	rapid.Check(t, func(t *rapid.T) { check(t, digits.Draw(t, "time")) })
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(digits.Draw(t, "time"))
		text[rapid.IntRange(0, len(text)-1).Draw(t, "place")] = rapid.Byte().Draw(t, "byte")
		want, err := time.Parse(time.RFC3339, string(text))
		if sec, size := credreport.QuickDate(string(text)); size == len(text) && (err != nil || sec != want.Unix()) {
			t.Fatalf("QuickDate(%q) = %d, time.Parse = %v, %v", text, sec, want, err)
		}
	})
}

func TestQuickDate_knowsEveryDay(t *testing.T) {
	for day := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2410; day = day.Add(24 * time.Hour) {
		text := day.Add(45296 * time.Second).Format(time.RFC3339)
		if sec, size := credreport.QuickDate(text); size != 20 || sec != day.Unix()+45296 {
			t.Fatalf("QuickDate(%q) = %d, %d", text, sec, size)
		}
	}
	for _, text := range []string{
		"2026-00-10T00:00:00Z", "2026-13-10T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-32T00:00:00Z", "2026-01-00T00:00:00Z",
		"2100-02-29T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "2026-01-01 00:00:00Z",
		"1969-12-31T23:59:59Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00+01:00",
	} {
		if sec, size := credreport.QuickDate(text); size != 0 {
			t.Errorf("QuickDate(%q) = %d, %d", text, sec, size)
		}
	}
}

func FuzzReport(f *testing.F) {
	if seeds, err := filepath.Glob("testdata/fuzz/FuzzReport/*"); err != nil || len(seeds) == 0 {
		f.Fatal("no seeds in testdata/fuzz/FuzzReport", err)
	}
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds in testdata", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, bad := range faultyReports(f) {
		if len(bad.data) < 1<<16 {
			f.Add(bad.data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readAll(t, data, 1<<18, 1)
		other, otherErr := readAll(t, data, 40, 2)
		if fmt.Sprint(err) != fmt.Sprint(otherErr) || !gocmp.Equal(got, other, compareTimes) {
			t.Fatalf("chunks of 40: %v %+v\nwhole: %v %+v", otherErr, other, err, got)
		}
		var fault *credreport.Error
		switch {
		case errors.As(err, &fault):
			return
		case err != nil:
			t.Fatalf("Read = %v, want an *Error", err)
		case got.Report.GeneratedAt.Known() || bytes.HasPrefix(data, []byte("\x1f\x8b")) || bytes.IndexByte(data, '{') == 0:
			return // not a CSV: the one inside is read as any other
		}
		if want, err := plainly(data); err == nil {
			if diff := gocmp.Diff(want, got, compareTimes); diff != "" {
				t.Fatal(diff)
			}
		} else if bytes.IndexByte(bytes.TrimLeft(data, "\xef\xbb\xbf \t\r\n"), '{') != 0 {
			t.Fatalf("encoding/csv refuses what Read accepts: %v", err)
		}
	})
}
