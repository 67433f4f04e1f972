package credreport_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/internal/credreport"
)

var update = flag.Bool("update", false, "rewrite golden files")

// faulty is a report and what is wrong with it.
type faulty struct {
	name string
	data []byte
}

// faultyReports lists one report for each way to be wrong.
func faultyReports(tb testing.TB) []faulty {
	tb.Helper()
	plain := string(shape(tb))
	head, _, _ := strings.Cut(plain, "\n")
	with := func(pairs ...string) []byte {
		out := strings.NewReplacer(pairs...).Replace(plain)
		if out == plain {
			tb.Fatalf("%q is not in the shape", pairs[0])
		}
		return []byte(out)
	}
	utf16 := func(order string) []byte {
		b := []byte(order)
		for _, c := range []byte(plain) {
			b = append(b, c, 0)
		}
		return b
	}
	lastRow := plain[strings.LastIndexByte(plain, '\n')+1:]
	zip := gzipped(tb, []byte(plain))
	damaged := bytes.Clone(zip)
	damaged[len(damaged)-6] ^= 0xff
	reply := string(replyOf([]byte(plain), `, "GeneratedTime": "2026-11-21T13:00:00Z"`))
	return []faulty{
		{"empty", nil},
		{"empty but a BOM", []byte("\xef\xbb\xbf")},
		{"empty lines only", []byte("\n\r\n\n")},
		{"empty under gzip", gzipped(tb, nil)},
		{"HTML", []byte("<!DOCTYPE html>\n<html><body>Sign in</body></html>")},
		{"binary", []byte("\x7fELF\x02\x01\x01\x00\x00\x00")},
		{"zip", []byte("PK\x03\x04\x14\x00\x06\x00")},
		{"UTF-16 with BOM", utf16("\xff\xfe")},
		{"UTF-16 without BOM", utf16("")},
		{"other CSV", []byte("date,amount\n2026-01-01,3\n")},
		{"plain text", []byte("An error occurred (ReportNotPresent)\n")},
		{"bare base64", []byte("dXNlcixhcm4sdXNlcl9jcmVhdGlvbl90aW1l")},
		{"missing column", with("access_key_2_last_rotated", "key_2_last_rotated")},
		{"missing columns", []byte("user,arn,user_creation_time\n")},
		{"header cut", []byte(head[:len(head)/2])},
		{"duplicate column", with("password_last_used", "mfa_active")},
		{"unknown key slot", with("cert_1_active", "access_key_3_active")},
		{"too few fields", with(",us-east-1,ses", ",ses")},
		{"too many fields", with("kerstin.holm,", "kerstin,holm,")},
		{"no time", with("2026-02-11T09:15:32Z", "yesterday")},
		{"no such day", with("2026-02-11T09:15:32Z", "2026-02-29T09:15:32Z")},
		{"leap second", with("2026-02-11T09:15:32Z", "2026-06-30T23:59:60Z")},
		{"time without zone", with("2026-02-11T09:15:32Z", "2026-02-11T09:15:32")},
		{"zero time", with("2026-02-11T09:15:32Z", "0001-01-01T00:00:00Z")},
		{"empty time", with("2026-02-11T09:15:32Z", "")},
		{"no time in a column only checked", with("2018-04-02T11:20:00Z", "N/a")},
		{"no boolean", with(",not_supported,true,false", ",not_supported,true,maybe")},
		{"no boolean but a word", with(",not_supported,true,false", ",not_supported,true,N/A")},
		{"no boolean in a column only checked", with("us-east-1,ses,false,N/A,N/A,N/A,N/A,true", "us-east-1,ses,false,N/A,N/A,N/A,N/A,yes")},
		{"region with an escape code", with("us-east-1,ses", "us-\x1b[31m,ses")},
		{"empty user", with("kerstin.holm,arn", ",arn")},
		{"user with a space", with("kerstin.holm,arn", "kerstin holm,arn")},
		{"user too long", with("kerstin.holm,arn", strings.Repeat("kerstin.holm", 11)+",arn")},
		{"empty ARN", with("arn:aws:iam::444455556666:user/kerstin.holm", "")},
		{"malformed ARN", with("arn:aws:iam::444455556666:user/kerstin.holm", "user/kerstin.holm")},
		{"malformed ARN in the first row", with("arn:aws:iam::444455556666:root", "arn:aws:iam::44445555666:root")},
		{"ARN of another user", with("user/kerstin.holm", "user/kerstin.holmes")},
		{"ARN of a name's end", with("user/kerstin.holm", "user/x-kerstin.holm")},
		{"ARN without a path", with("user/kerstin.holm", "userkerstin.holm")},
		{"ARN with the path of the user before and more", with("user/automation/legacy-mailer", "user/automation/x/automation/legacy-mailer,x")},
		{"ARN of a role", with("user/kerstin.holm", "role/kerstin.holm")},
		{"ARN of root beside a user", with("user/kerstin.holm", "root")},
		{"ARN of a user beside root", with("444455556666:root", "444455556666:user/root")},
		{"ARN with a space", with("user/automation/legacy-mailer", "user/auto mation/legacy-mailer")},
		{"another account", with("444455556666:user/kerstin.holm", "444455556667:user/kerstin.holm")},
		{"another partition", with("aws:iam::444455556666:user/kerstin.holm", "aws-cn:iam::444455556666:user/kerstin.holm")},
		{"duplicate user", []byte(plain + "\n" + strings.ReplaceAll(lastRow, "okan@example.net", "build-runner"))},
		{"duplicate user, neighbours", []byte(plain + "\n" + lastRow)},
		{"duplicate user by case", []byte(plain + "\n" + strings.ReplaceAll(lastRow, "okan", "Okan"))},
		{"duplicate user by case, in order of bytes", []byte(head + "\n" + strings.ReplaceAll(lastRow, "okan", "Okan") + "\n" + lastRow)},
		{"duplicate root", []byte(plain + "\n" + strings.Split(plain, "\n")[1])},
		{"duplicate user, columns turned", turned(plain + "\n" + lastRow)},
		{"duplicate user after lines in quotes", []byte(strings.Replace(plain, "kerstin.holm,arn", "\n\nkerstin.holm,arn", 1) + "\n" + lastRow)},
		{"quote never closed", with("kerstin.holm,arn", `"kerstin.holm,arn`)},
		{"bare quote", with("kerstin.holm,arn", `kerstin"holm,arn`)},
		{"bare quote in a path", with("user/automation/build-runner", `user/auto"mation/build-runner`)},
		{"text after a closing quote", with("kerstin.holm,arn", `"kerstin"holm,arn`)},
		{"row over 1 MiB", []byte(plain + "\n" + strings.Repeat("a", 3<<20))},
		{"quote never closed for over 1 MiB", []byte(plain + "\n\"" + strings.Repeat("a\n", 3<<20))},
		{"cut in a name", []byte(plain[:strings.Index(plain, "okan@example.net")+4])},
		{"cut in a date", []byte(plain[:strings.Index(plain, "2025-01-20T10")+9])},
		{"cut after a comma", []byte(plain[:len(plain)-len("N/A")])},
		{"cut in the last value", []byte(plain[:len(plain)-1])},
		{"cut before the last comma", []byte(plain[:len(plain)-len(",N/A")])},
		{"cut in false", []byte(plain[:len(plain)-len("e,N/A")])},
		{"cut inside quotes", []byte(plain[:len(plain)-len("N/A")] + `"N/A`)},
		{"gzip cut short", zip[:len(zip)-20]},
		{"gzip header only", zip[:2]},
		{"gzip damaged", damaged},
		{"gzip of gzip", gzipped(tb, zip)},
		{"JSON without Content", []byte(`{"State": "STARTED", "Description": "No report exists."}`)},
		{"JSON with Content null", []byte(`{"Content": null}`)},
		{"JSON with Content empty", []byte(`{"Content": ""}`)},
		{"JSON cut before Content", []byte(`{"Generated`)},
		{"JSON cut inside Content", []byte(reply[:400])},
		{"JSON cut after Content", []byte(strings.TrimRight(reply, "}\n"))},
		{"JSON with text behind", []byte(reply + "x")},
		{"JSON with Content twice", []byte(strings.Replace(reply, ", ", `, "Content": "YQ==", `, 1))},
		{"JSON of another format", replyOf([]byte(plain), `, "ReportFormat": "text/tsv"`)},
		{"JSON with a wrong time", replyOf([]byte(plain), `, "GeneratedTime": "today"`)},
		{"JSON with a time in milliseconds", replyOf([]byte(plain), `, "GeneratedTime": 1795266000000`)},
		{"JSON with plain CSV", []byte("{\n\"Content\": \"user,arn\"}")},
		{"base64 broken", []byte(strings.Replace(reply, "dXNlcixhcm4s", "dXNlci*hcm4s", 1))},
		{"base64 of wrong length", []byte(strings.Replace(reply, "dXNlcixhcm4s", "dXNlcixhcm4", 1))},
		{"base64 padded in the middle", []byte(strings.Replace(reply, "dXNlcixhcm4s", "dXNlcixhcm4=", 1))},
		{"fault inside JSON", replyOf(with("2026-02-11T09:15:32Z", "yesterday"), "")},
		{"fault after lines in quotes", append(bytes.ReplaceAll([]byte(head), []byte("cert_2_last_rotated"), []byte("\"cert\n2\"")), "\na,b"...)},
	}
}

// Every fault, as it is printed: testdata/errors.golden. Run with -update to rewrite it, and review the
// difference.
func TestRead_saysWhatIsWrongAndWhere(t *testing.T) {
	var got strings.Builder
	for _, f := range faultyReports(t) {
		got.WriteString("# " + f.name + "\n" + faultOf(t, f.data) + "\n")
	}
	const file = "testdata/errors.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		gotLines, wantLines := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
		for i := range min(len(gotLines), len(wantLines)) {
			if gotLines[i] != wantLines[i] {
				t.Errorf("%s:%d:\n got %s\nwant %s", file, i+1, gotLines[i], wantLines[i])
			}
		}
		t.Errorf("%d lines, want %d", len(gotLines), len(wantLines))
	}
}

// faultOf is the error of reading data, with its hint, after checking that it is the same for any size of
// chunks and any number of workers.
func faultOf(t *testing.T, data []byte) string {
	t.Helper()
	var first string
	for _, size := range []int{1 << 18, 1, 50, 1000} {
		for _, workers := range []int{1, 4} {
			got, err := readAll(t, data, size, workers)
			var fault *credreport.Error
			if !errors.As(err, &fault) {
				t.Fatalf("Read of %.60q = %v, want an *Error", data, err)
			}
			if got.Report.Users != 0 || got.Report.Account.ID != "" {
				t.Errorf("a report beside the error: %+v", got.Report)
			}
			text := err.Error()
			if fault.Hint != "" {
				text += "\nhint: " + fault.Hint
			}
			if first == "" {
				first = text
			}
			if text != first {
				t.Errorf("chunks of %d, %d workers:\n%s\nwant\n%s", size, workers, text, first)
			}
		}
	}
	return first
}

func TestRead_reportsTheFirstFaultInTheFile(t *testing.T) {
	rows := strings.Split(string(synthetic(t, 400, false)), "\n")
	brokenAt := func(lines ...int) []byte {
		out := append([]string(nil), rows...)
		for _, n := range lines {
			out[n-1] = strings.Replace(out[n-1], "Z,", "?,", 1)
		}
		return []byte(strings.Join(out, "\n"))
	}
	for _, lines := range [][]int{{20, 30, 300, 301}, {399, 2}, {150, 149, 390}} {
		text := faultOf(t, brokenAt(lines...))
		first := lines[0]
		for _, n := range lines {
			first = min(first, n)
		}
		if want := "report.csv:" + strconv.Itoa(first) + ":"; !strings.HasPrefix(text, want) {
			t.Errorf("faults on lines %v: %s", lines, text)
		}
	}
	double := append([]string(nil), rows...)
	double[99] = double[49] // line 100 repeats line 50
	double[120] = "x"
	if text := faultOf(t, []byte(strings.Join(double, "\n"))); !strings.HasPrefix(text, "report.csv:100:1: the user is listed twice, first on line 50") {
		t.Errorf("duplicate before another fault: %s", text)
	}
	double[70] = "x"
	if text := faultOf(t, []byte(strings.Join(double, "\n"))); !strings.HasPrefix(text, "report.csv:71:") {
		t.Errorf("duplicate after another fault: %s", text)
	}
}

func TestError_namesTheFileInWords(t *testing.T) {
	for file, want := range map[string]string{
		"":      "credential report: the file is empty",
		"-":     "standard input: the file is empty",
		"a.csv": "a.csv: the file is empty",
	} {
		e := &credreport.Error{File: file, Problem: "the file is empty"}
		if e.Error() != want {
			t.Errorf("File %q: %q, want %q", file, e.Error(), want)
		}
	}
}
