package report_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/securityhub/types"
	sarif "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/report"
)

func TestCSV_noCellIsAFormulaAndEveryRowIsWhole(t *testing.T) {
	rows, err := csv.NewReader(strings.NewReader(render(t, report.CSV, fixture(), options()))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if want := len(fixtureVerdicts()) + 1; len(rows) != want {
		t.Errorf("%d rows, want %d", len(rows), want)
	}
	found := false
	for i, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Errorf("row %d has the cell %q", i, cell)
			}
			found = found || strings.HasPrefix(cell, "'=<script>")
		}
	}
	if !found {
		t.Error("the hostile user is not there with its apostrophe")
	}
}

func TestSARIF_validatesAgainstThePublishedSchema(t *testing.T) {
	schema, err := os.ReadFile(filepath.Join("testdata", "schema", "sarif-schema-2.1.0.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := compile(t, schema, "")
	for _, a := range []*finding.Audit{fixture(), emptyAudit()} {
		doc := render(t, report.SARIF, a, options())
		validate(t, s, doc)
		r, err := sarif.FromString(doc)
		if err != nil {
			t.Fatal(err)
		}
		// The library writes these two optional fields even when empty, which its own schema forbids.
		lang := "en"
		for _, run := range r.Runs {
			run.Language, run.Tool.Driver.Language, run.NewlineSequences = lang, lang, []string{"\n"}
		}
		if err := r.Validate(); err != nil {
			t.Errorf("another reader of SARIF: %v", err)
		}
	}
}

func TestSARIF_neverListsAPassAndSuppressesTheExcepted(t *testing.T) {
	var doc struct {
		Runs []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID              string
				RuleIndex           int
				Kind, Level         string
				Suppressions        []struct{ Justification string }
				PartialFingerprints map[string]string
				Locations           []struct {
					PhysicalLocation struct{ ArtifactLocation struct{ URI string } }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(render(t, report.SARIF, fixture(), options())), &doc); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	suppressed := 0
	for _, r := range doc.Runs[0].Results {
		kinds[r.Kind+" "+r.Level]++
		suppressed += len(r.Suppressions)
		if got := doc.Runs[0].Tool.Driver.Rules[r.RuleIndex].ID; got != r.RuleID {
			t.Errorf("rule index of %s names %s", r.RuleID, got)
		}
		if len(r.PartialFingerprints) != 1 || len(r.Locations) != 1 || r.Locations[0].PhysicalLocation.ArtifactLocation.URI == "" {
			t.Errorf("%s lacks a fingerprint or a location: %+v", r.RuleID, r)
		}
	}
	if kinds["open none"] != 2 || kinds["pass none"] != 0 || suppressed != 1 {
		t.Errorf("kinds %v, %d suppressed; want 2 open, no pass, 1 suppressed", kinds, suppressed)
	}
	if uri := doc.Runs[0].Results[0].Locations[0].PhysicalLocation.ArtifactLocation.URI; uri != "reports/prod%202026.csv" {
		t.Errorf("location of a report file is %q", uri)
	}
}

func TestOCSF_everyFindingValidatesAgainstThePublishedSchema(t *testing.T) {
	schema, err := os.ReadFile(filepath.Join("testdata", "schema", "ocsf_detection_finding.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := compile(t, schema, "")
	for _, a := range []*finding.Audit{fixture(), emptyAudit()} {
		var findings []json.RawMessage
		if err := json.Unmarshal([]byte(render(t, report.OCSF, a, options())), &findings); err != nil {
			t.Fatal(err)
		}
		n := 0
		for range a.Verdicts {
			n++
		}
		if len(findings) != n {
			t.Errorf("%d findings, want %d", len(findings), n)
		}
		for _, f := range findings {
			validate(t, s, string(f))
		}
	}
}

func TestASFF_isWhatSecurityHubTakes(t *testing.T) {
	var doc struct{ Findings []map[string]any }
	if err := json.Unmarshal([]byte(render(t, report.ASFF, fixture(), options())), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Findings) != len(fixtureVerdicts()) {
		t.Errorf("%d findings, want %d", len(doc.Findings), len(fixtureVerdicts()))
	}
	ids := map[string]bool{}
	for _, raw := range doc.Findings {
		b, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		var f types.AwsSecurityFinding
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&f); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		checkASFF(t, &f)
		if ids[*f.Id] {
			t.Errorf("id %q twice", *f.Id)
		}
		ids[*f.Id] = true
	}
}

func checkASFF(t *testing.T, f *types.AwsSecurityFinding) {
	t.Helper()
	for name, c := range map[string]struct {
		s   *string
		max int
	}{
		"SchemaVersion": {f.SchemaVersion, 10}, "Id": {f.Id, 512}, "ProductArn": {f.ProductArn, 2048}, "GeneratorId": {f.GeneratorId, 512},
		"AwsAccountId": {f.AwsAccountId, 12}, "CreatedAt": {f.CreatedAt, 35}, "UpdatedAt": {f.UpdatedAt, 35}, "Title": {f.Title, 256}, "Description": {f.Description, 1024},
	} {
		if c.s == nil || *c.s == "" || utf8.RuneCountInString(*c.s) > c.max {
			t.Errorf("%s is missing, empty or longer than %d: %v", name, c.max, c.s)
		}
	}
	arn := regexp.MustCompile(`^arn:(aws|aws-cn|aws-us-gov):securityhub:[a-z]+-[a-z-]+-\d:(\d{12}):product/(\d{12})/default$`)
	if m := arn.FindStringSubmatch(*f.ProductArn); m == nil || m[2] != *f.AwsAccountId || m[3] != *f.AwsAccountId {
		t.Errorf("product ARN %q of account %s", *f.ProductArn, *f.AwsAccountId)
	}
	known := func(v any, values any) {
		list := reflect.ValueOf(values)
		for i := range list.Len() {
			if reflect.DeepEqual(list.Index(i).Interface(), v) {
				return
			}
		}
		t.Errorf("%T %q is none that Security Hub knows", v, v)
	}
	known(f.Severity.Label, f.Severity.Label.Values())
	known(f.Compliance.Status, f.Compliance.Status.Values())
	known(f.Workflow.Status, f.Workflow.Status.Values())
	known(f.RecordState, f.RecordState.Values())
	if len(f.Compliance.RelatedRequirements) > 32 || len(f.Types) == 0 || len(f.Resources) == 0 || len(f.Resources) > 32 {
		t.Errorf("%d requirements, %d types, %d resources", len(f.Compliance.RelatedRequirements), len(f.Types), len(f.Resources))
	}
	for _, r := range f.Resources {
		if r.Id == nil || *r.Id == "" || r.Type == nil {
			t.Errorf("resource without id or type: %+v", r)
		}
		known(r.Partition, r.Partition.Values())
	}
}

func TestASFF_cutsLongTextsAndRefusesAnUnknownAccount(t *testing.T) {
	vs := fixtureVerdicts()[:1]
	vs[0].Message, vs[0].Title = strings.Repeat("é", 3000), strings.Repeat("t", 3000)
	vs[0].Controls = []finding.Control{{Framework: "F", IDs: make([]string, 50)}}
	a := emptyAudit()
	a.Verdicts = each(vs)
	var doc struct{ Findings []types.AwsSecurityFinding }
	if err := json.Unmarshal([]byte(render(t, report.ASFF, a, options())), &doc); err != nil {
		t.Fatal(err)
	}
	checkASFF(t, &doc.Findings[0])
	vs[0].Account = fact.Account{}
	if err := report.Write(io.Discard, report.ASFF, a, options()); err == nil {
		t.Error("a finding without an account was written")
	}
}

func TestJUnit_countsAgreeWithTheCases(t *testing.T) {
	type suite struct {
		Name     string `xml:"name,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Cases    []struct {
			Failure *struct{} `xml:"failure"`
			Error   *struct{} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	}
	for _, all := range []bool{false, true} {
		var doc struct {
			suite
			Suites []suite `xml:"testsuite"`
		}
		out := render(t, report.JUnit, fixture(), report.Options{All: all})
		if err := xml.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatal(err)
		}
		sum := suite{}
		for _, s := range doc.Suites {
			got := suite{Name: s.Name, Tests: len(s.Cases)}
			for _, c := range s.Cases {
				switch {
				case c.Failure != nil:
					got.Failures++
				case c.Error != nil:
					got.Errors++
				case c.Skipped != nil:
					got.Skipped++
				}
			}
			if got.Tests != s.Tests || got.Failures != s.Failures || got.Errors != s.Errors || got.Skipped != s.Skipped {
				t.Errorf("suite %s counts %+v, its cases are %+v", s.Name, s, got)
			}
			sum.Tests, sum.Failures, sum.Errors, sum.Skipped = sum.Tests+s.Tests, sum.Failures+s.Failures, sum.Errors+s.Errors, sum.Skipped+s.Skipped
		}
		if sum.Tests != doc.Tests || sum.Failures != 16 || sum.Errors != 4 || sum.Skipped != 2 || doc.Failures != 16 {
			t.Errorf("all=%v: suites sum to %+v, the document says %+v; want 16 failures, 4 errors, 2 skipped", all, sum, doc.suite)
		}
	}
}

func TestPrometheus_parsesAndCounts(t *testing.T) {
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(render(t, report.Prometheus, fixture(), options())))
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string, labels map[string]string) float64 {
		t.Helper()
		for _, m := range families[name].GetMetric() {
			n := 0
			for _, l := range m.GetLabel() {
				if labels[l.GetName()] == l.GetValue() {
					n++
				}
			}
			if n == len(labels) {
				return m.GetGauge().GetValue()
			}
		}
		t.Fatalf("no %s%v", name, labels)
		return 0
	}
	for _, c := range []struct {
		name   string
		labels map[string]string
		want   float64
	}{
		{"keyreeve_audit_timestamp_seconds", nil, float64(asOf.Unix())},
		{"keyreeve_audit_complete", nil, 0},
		{"keyreeve_keys", map[string]string{"account": prod.ID, "active": "true"}, 15},
		{"keyreeve_keys", map[string]string{"account": prod.ID, "active": "false"}, 3},
		{"keyreeve_verdicts", map[string]string{"rule": "key-age-90", "status": "fail", "severity": "high"}, 3},
		{"keyreeve_evidence_age_seconds", map[string]string{"account": china.ID, "source": "live"}, 90},
		{"keyreeve_key_age_keys", map[string]string{"account": prod.ID, "from_days": "365", "to_days": "+Inf"}, 2},
		{"keyreeve_failing", map[string]string{"account": prod.ID, "severity": "critical"}, 1},
		{"keyreeve_failing", map[string]string{"account": quiet.ID, "severity": "low"}, 0},
	} {
		if got := value(c.name, c.labels); got != c.want {
			t.Errorf("%s%v = %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	if strings.Contains(render(t, report.Prometheus, fixture(), options()), "alice") {
		t.Error("metrics name a user")
	}
}

func TestMarkdown_aHostileNameStaysText(t *testing.T) {
	out := render(t, report.Markdown, fixture(), options())
	outside := regexp.MustCompile("`[^`\n]*`").ReplaceAllString(strings.ReplaceAll(out, "\\`", ""), "CODE")
	for _, bad := range []string{"<script", "`", "@all", "<root_account>"} {
		if strings.Contains(outside, bad) {
			t.Errorf("markdown holds %q outside of code", bad)
		}
	}
	columns := 0
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if columns != 0 && n != columns {
			t.Errorf("a table row has %d bars, its head %d: %s", n, columns, line)
		}
		columns = n
	}
}

func TestHTML_aHostileNameStaysTextAndNothingIsFetched(t *testing.T) {
	out := render(t, report.HTML, fixture(), options())
	if strings.Contains(out, "<script>alert") {
		t.Error("the hostile name opened a tag")
	}
	if strings.Contains(out, "ZgotmplZ") {
		t.Error("the template refused a value")
	}
	for _, bad := range []string{"src=", "<link", "http://", "https://", "@import", "url("} {
		if strings.Contains(out, bad) {
			t.Errorf("the page holds %q: it must need no network", bad)
		}
	}
}

func TestDiff_tellsNewGoneAndStillFailingWithTheReason(t *testing.T) {
	before, after := fixture(), fixture()
	old := fixtureVerdicts()
	now := slices.Clone(old)
	now = slices.DeleteFunc(now, func(v finding.Verdict) bool { return v.Rule == "exposed-key" })
	for i := range now {
		if v := &now[i]; v.User == "alice" && v.Rule == "key-age-45" {
			v.Status = finding.Unknown
		}
		if v := &now[i]; v.User == "odd" {
			v.Status = finding.Fail
		}
	}
	after.Verdicts, after.AsOf = each(now), asOf.AddDate(0, 0, 1)
	d := finding.Diff(old, now)
	for _, f := range report.DiffFormats() {
		var b bytes.Buffer
		if err := report.WriteDiff(&b, f, d, before, after, report.Options{Width: 80}); err != nil {
			t.Fatal(err)
		}
		golden(t, "diff."+string(f), b.String())
		if !strings.Contains(b.String(), "unknown now: not fixed, not read") {
			t.Errorf("%s takes an unknown verdict for a fixed one:\n%s", f, b.String())
		}
		boom := errors.New("disk full")
		if err := report.WriteDiff(&shortWriter{10, boom}, f, d, before, after, report.Options{}); !errors.Is(err, boom) {
			t.Errorf("%s: %v, want %v", f, err, boom)
		}
		b.Reset()
		if err := report.WriteDiff(&b, f, d, before, after, report.Options{MaskKeys: true}); err != nil || strings.Contains(b.String(), "AKIAFAKECHINA0000017") {
			t.Errorf("%s: masked difference shows a key id, or %v", f, err)
		}
	}
	for want, change := range map[string]func(*finding.Audit){
		"no longer failing: it passes, or the": func(a *finding.Audit) { a.Accounts[1].Gaps, a.NotJudged = nil, nil },
		"not all was read":                     func(a *finding.Audit) { a.NotJudged = nil },
		"its rule was not judged for every":    func(*finding.Audit) {},
		"its account is not in the later":      func(a *finding.Audit) { a.Accounts = a.Accounts[:1] },
		"its rule was not judged in the later": func(a *finding.Audit) { a.Summary = a.Summary[:1] },
	} {
		later := fixture()
		change(later)
		var b bytes.Buffer
		gone := finding.Difference{Gone: []finding.Gone{{Verdict: old[len(old)-4]}}}
		if gone.Gone[0].Verdict.Rule != "exposed-key" {
			t.Fatalf("the fixture moved: %s", gone.Gone[0].Verdict.Rule)
		}
		if err := report.WriteDiff(&b, report.Text, gone, before, later, report.Options{Width: 200}); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("gone is not explained by %q (%v):\n%s", want, err, b.String())
		}
	}
	if err := report.WriteDiff(io.Discard, report.CSV, d, before, after, report.Options{}); err == nil {
		t.Error("a difference as csv was not refused")
	}
}

func TestFinding_keepsItsIDAndLeavesAloneWhatUsersWrite(t *testing.T) {
	var failing *finding.Verdict
	for v := range fixture().Verdicts {
		if v.Status == finding.Fail && v.Key != nil && failing == nil {
			failing = v
		}
	}
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	own := failing.Account.ID
	ids := map[string]bool{}
	for _, c := range []struct {
		closed              notice.Reason
		account             string
		record, status, own string
	}{
		{"", own, "ACTIVE", "FAILED", "fail"}, {notice.Fixed, own, "ARCHIVED", "PASSED", "pass"}, {notice.Excepted, own, "ARCHIVED", "FAILED", "excepted"},
		{notice.UserGone, own, "ARCHIVED", "NOT_AVAILABLE", "fail"}, {notice.RuleChanged, own, "ARCHIVED", "NOT_AVAILABLE", "fail"},
		{"", "999988887777", "ACTIVE", "FAILED", "fail"},
	} {
		v := *failing
		v.Status = finding.Pass // whatever the record of verdicts says of a closed one
		text, err := report.Finding(&v, report.Import{Account: c.account, Region: "eu-west-1", At: at, Closed: c.closed})
		if err != nil {
			t.Fatal(err)
		}
		var f types.AwsSecurityFinding
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		ids[*f.Id] = true
		wantARN := "arn:" + failing.Account.Partition + ":securityhub:eu-west-1:" + c.account + ":product/" + c.account + "/default"
		switch {
		case string(f.RecordState) != c.record, string(f.Compliance.Status) != c.status, f.ProductFields["keyreeve/status"] != c.own, f.ProductFields["keyreeve/closed"] != string(c.closed):
			t.Errorf("%q: %s", c.closed, text)
		case f.Workflow != nil || f.Note != nil || strings.Contains(string(text), "Workflow"):
			t.Errorf("%q: it writes what users write: %s", c.closed, text)
		case *f.AwsAccountId != c.account || *f.ProductArn != wantARN || f.ProductFields["keyreeve/account"] != own || *f.UpdatedAt != "2026-11-22T12:00:00Z":
			t.Errorf("%q: %s", c.closed, text)
		case f.FindingProviderFields == nil || string(f.FindingProviderFields.Severity.Label) != strings.ToUpper(string(failing.Severity)):
			t.Errorf("%q: an import anew could not change the severity: %s", c.closed, text)
		}
	}
	if len(ids) != 1 {
		t.Errorf("ids %v", ids)
	}
	lost := *failing
	lost.Account = fact.Account{}
	if _, err := report.Finding(&lost, report.Import{Account: own, At: at}); err == nil {
		t.Error("a verdict without an account became a finding")
	}
}
