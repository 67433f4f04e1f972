package report_test

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/securityhub/types"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/report"
)

// unreadAudit is of one account whose users could not be read: one unknown verdict is about the account itself.
func unreadAudit(source fact.Source) *finding.Audit {
	reading := map[fact.Source]string{fact.Report: "GetCredentialReport", fact.Live: "ListUsers"}[source]
	v := verdict(prod, "", nil, "exposed-key", "exposed-key", finding.Critical, finding.Unknown, fact.Time{},
		"the account's users could not be read", nil)
	v.UserARN = ""
	return &finding.Audit{
		Version: "1.2.3", AsOf: asOf, Ruleset: "default", Verdicts: each([]finding.Verdict{v}),
		Accounts: []finding.AccountResult{{
			Account: prod, Evidence: fact.Evidence{Source: source, ReadAt: fact.At(asOf.Add(-time.Minute))},
			Gaps: []fact.Gap{{Account: prod.ID, Reading: reading, Why: "access denied", Denied: true}},
			Ages: []finding.AgeBand{{From: 0, To: 30}, {From: 30}},
		}},
		Summary: []finding.RuleResult{{Rule: "exposed-key", Kind: "exposed-key", Severity: finding.Critical, Unknown: 1}},
	}
}

func TestEvidence_whatWasNotReadHasNoTimeAndNoZeros(t *testing.T) {
	for source, want := range map[fact.Source][]string{
		fact.Report: {"credential report not read"}, fact.Live: {"list of users not read"},
	} {
		a := unreadAudit(source)
		for _, f := range []report.Format{report.Text, report.HTML, report.Markdown, report.Summary} {
			out := render(t, f, a, report.Options{Width: 200})
			for _, bad := range []string{"report made", "every user read", "0 users", "0 keys", `data-label="Users">0<`, "under 30 days"} {
				if strings.Contains(out, bad) {
					t.Errorf("%s of an unread account (%s) says %q", f, source, bad)
				}
			}
			all := append([]string{"users: not read"}, want...)
			if f == report.HTML {
				all[0] = `data-label="Users">not read<`
			}
			if f == report.Summary {
				all = all[:1]
			}
			for _, w := range all {
				if !strings.Contains(out, w) {
					t.Errorf("%s of an unread account (%s) does not say %q:\n%s", f, source, w, out)
				}
			}
		}
		if out := render(t, report.Prometheus, a, options()); strings.Contains(out, "keyreeve_users{") || strings.Contains(out, "keyreeve_keys{") {
			t.Errorf("metrics count the users of an unread account (%s):\n%s", source, out)
		}
	}
	if out := render(t, report.CSV, unreadAudit(fact.Report), options()); strings.Contains(out, "05:59:00Z") {
		t.Errorf("csv takes the time of asking for the time of making:\n%s", out)
	}
}

func TestEvidence_aListCutShortIsNotCalledWhole(t *testing.T) {
	a := unreadAudit(fact.Live)
	a.Accounts[0].Users, a.Accounts[0].Keys = 12, 7
	out := render(t, report.Text, a, report.Options{Width: 200})
	for _, want := range []string{"12 users known, not all were read, 7 keys", "some users read live, not all of them", "where the users of 1 were not all read"} {
		if !strings.Contains(out, want) {
			t.Errorf("text does not say %q:\n%s", want, out)
		}
	}
}

func TestVerdict_withoutAUserIsAboutTheAccountInEveryFormat(t *testing.T) {
	a := unreadAudit(fact.Report)
	for f, want := range map[report.Format]string{
		report.Text: "the account: exposed-key", report.JUnit: `name="the account"`, report.Markdown: "- the account: exposed-key.",
		report.HTML: `class="name">the account<`, report.JSON: `"user": ""`, report.SARIF: `"the account: the account's users`,
	} {
		out := render(t, f, a, report.Options{})
		if !strings.Contains(out, want) {
			t.Errorf("%s lacks %q:\n%s", f, want, out)
		}
		if strings.Contains(out, `"user "`) || strings.Contains(out, "``") {
			t.Errorf("%s names an empty user:\n%s", f, out)
		}
	}
	var asff struct{ Findings []types.AwsSecurityFinding }
	parse(t, render(t, report.ASFF, a, report.Options{}), &asff)
	checkASFF(t, &asff.Findings[0])
	if r := asff.Findings[0].Resources[0]; *r.Type != "AwsAccount" || *r.Id != "AWS::::Account:"+prod.ID || r.Details != nil {
		t.Errorf("asff resource %s %q", *r.Type, *r.Id)
	}
	schema, err := os.ReadFile(filepath.Join("testdata", "schema", "ocsf_detection_finding.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ocsf []json.RawMessage
	parse(t, render(t, report.OCSF, a, report.Options{}), &ocsf)
	validate(t, compile(t, schema, ""), string(ocsf[0]))
	var one struct{ Resources []struct{ UID, Type string } }
	parse(t, string(ocsf[0]), &one)
	if r := one.Resources[0]; r.UID != prod.ID || r.Type != "AwsAccount" {
		t.Errorf("ocsf resource %+v", r)
	}
	if out := render(t, report.SARIF, a, report.Options{}); !strings.Contains(out, `"fullyQualifiedName": "AWS::::Account:`+prod.ID) ||
		!strings.Contains(out, `"uri": "aws-iam/`+prod.ID+`"`) {
		t.Errorf("sarif does not place it at the account:\n%s", out)
	}
}

func parse(t *testing.T, doc string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(doc), into); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
}

func TestSARIFAndJUnit_tellWhatStandsBesideTheVerdicts(t *testing.T) {
	a := fixture()
	a.Exceptions = append(a.Exceptions, finding.ExceptionNotice{
		State:     finding.Unreadable,
		Exception: finding.Exception{Rule: "*", Account: "*", User: "*", Tag: map[string]string{"team": "web"}, Reason: "r", Owner: "o"},
	})
	var sarif struct {
		Runs []struct {
			Invocations []struct {
				ToolExecutionNotifications []struct{ Message struct{ Text string } }
			}
		}
	}
	parse(t, render(t, report.SARIF, a, options()), &sarif)
	told := ""
	for _, n := range sarif.Runs[0].Invocations[0].ToolExecutionNotifications {
		told += n.Message.Text + "\n"
	}
	var junit struct {
		Suites []struct {
			Name  string `xml:"name,attr"`
			Out   string `xml:"system-out"`
			Cases []struct {
				Name    string `xml:"name,attr"`
				Skipped *struct {
					Message string `xml:"message,attr"`
				} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(render(t, report.JUnit, a, options())), &junit); err != nil {
		t.Fatal(err)
	}
	out, skipped := "", ""
	for _, s := range junit.Suites {
		out += s.Out
		if s.Name == "not judged" {
			skipped = s.Cases[0].Name + ": " + s.Cases[0].Skipped.Message
		}
	}
	if want := "exposed-key: a credential report does not list"; !strings.HasPrefix(skipped, want) || !strings.Contains(told, "not judged: "+want) {
		t.Errorf("the rule not judged is %q in junit, in sarif %s", skipped, told)
	}
	for _, want := range []string{"expired: key-age-90 for user alice", "unmatched: * for user gone-*", "needs live evidence (key ids, tags): * for user *", "tag team=web", a.Notes[0]} {
		if !strings.Contains(out, want) || !strings.Contains(told, want) {
			t.Errorf("%q is not told:\njunit %s\nsarif %s", want, out, told)
		}
	}
	if !strings.Contains(told, "not read: ListAccessKeys of ops") {
		t.Errorf("sarif does not tell the gaps: %s", told)
	}
	for _, f := range []report.Format{report.Text, report.Markdown, report.HTML} {
		if got := render(t, f, a, report.Options{Width: 200}); !strings.Contains(got, "needs live evidence (key ids, tags)") || strings.Contains(got, ">unreadable<") {
			t.Errorf("%s calls an exception unreadable", f)
		}
	}
}
