package report_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/report"
)

func TestText_aLongListOfAccountsTellsAtLengthOnlyWhereSomethingFails(t *testing.T) {
	a := fixture()
	for i := range 40 {
		a.Accounts = append(a.Accounts, finding.AccountResult{Account: fact.Account{ID: fmt.Sprintf("9999%08d", i), Name: "calm"}, Users: 1})
	}
	for _, f := range []report.Format{report.Text, report.Markdown} {
		var b strings.Builder
		if err := report.Write(&b, f, a, report.Options{}); err != nil {
			t.Fatal(err)
		}
		out := b.String()
		if strings.Contains(out, "999900000039") {
			t.Errorf("%s tells of each account in which nothing fails", f)
		}
		if !strings.Contains(out, "alice") || !strings.Contains(strings.ToLower(out), "nothing fails in 41 ") { // "quiet" is one of them
			t.Errorf("%s does not tell what fails and how many are calm:\n%s", f, out)
		}
	}
}

func TestText_accountsThatLetNobodyInAreToldOfTogether(t *testing.T) {
	a := fixture()
	a.Complete = false
	for i := range 300 {
		id := fmt.Sprintf("9999%08d", i)
		why := fmt.Sprintf(`assume role "arn:aws:iam::%s:role/audit" in account %s: access denied: sts:AssumeRole`, id, id)
		if i == 7 {
			why = "no connection"
		}
		a.Accounts = append(a.Accounts, finding.AccountResult{
			Account: fact.Account{ID: id, Name: "shut"}, Gaps: []fact.Gap{{Account: id, Reading: "AssumeRole", Why: why, Denied: true}},
		})
	}
	for _, f := range []report.Format{report.Text, report.Markdown, report.HTML} {
		out := render(t, f, a, report.Options{Width: 3000})
		for _, once := range []string{"access denied: sts:AssumeRole", "no connection", "and 287 more, all in -o summary"} {
			if n := strings.Count(strings.ReplaceAll(out, "&#58;", ":"), once); n != 1 {
				t.Errorf("%s says %d times %q", f, n, once)
			}
		}
		if f != report.HTML && !strings.Contains(out, "Nothing was read of 300 accounts") {
			t.Errorf("%s does not say how many there are:\n%.3000s", f, out)
		}
		if f != report.HTML && strings.Contains(out, "999900000299") {
			t.Errorf("%s tells of each", f)
		}
	}
	a.Accounts = a.Accounts[:8]
	if out := render(t, report.Text, a, report.Options{Width: 300}); !strings.Contains(out, "arn:aws:iam::999900000000:role/audit") {
		t.Errorf("a short list does not tell of each:\n%s", out)
	}
}
