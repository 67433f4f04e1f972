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
