package keyreeve_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/cli"
	"github.com/keyreeve/keyreeve/internal/config"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/metric"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/web"
)

var update = flag.Bool("update", false, "write the generated files anew")

// exampleTime is when the examples are judged.
var exampleTime = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

const exampleReport = "examples/credential_report.csv"

// TestGenerated_filesAreWhatTheCodeSays keeps docs/ and examples/ true: `make generate` writes them, `make check` fails when
// they have drifted.
func TestGenerated_filesAreWhatTheCodeSays(t *testing.T) {
	files := map[string]string{
		"docs/rules.md":                      rulesPage(t),
		"docs/cli.md":                        cliPage(t),
		"docs/metrics.md":                    metricsPage(),
		"docs/schema/audit.schema.json":      string(report.AuditSchema()),
		"docs/schema/config.schema.json":     string(config.ConfigSchema()),
		"docs/schema/run.schema.json":        string(report.RunSchema()),
		"docs/schema/history.schema.json":    string(report.HistorySchema()),
		"docs/schema/rotation.schema.json":   string(report.RotationSchema()),
		"docs/schema/plan.schema.json":       string(plan.PlanSchema()),
		"docs/schema/journal.schema.json":    string(journal.ExportSchema()),
		"docs/schema/notice.schema.json":     string(notice.NoticeSchema()),
		"docs/schema/ruleset.schema.json":    string(rule.RulesetSchema()),
		"docs/schema/exceptions.schema.json": string(rule.ExceptionsSchema()),
		"docs/openapi.json":                  string(web.OpenAPI()),
		exampleReport:                        string(fakeaws.Demo(exampleTime).Accounts()[0].CredentialReport()),
	}
	for _, name := range []string{"organisation", "remediation", "rotation"} {
		files["docs/"+name+".md"] = story(t, "docs/stories/"+name+".md")
	}
	for _, e := range rule.Catalogue() {
		files["docs/rules/"+e.ID+".md"] = run(t, 0, "rules", "show", e.ID)
	}
	write(t, map[string]string{exampleReport: files[exampleReport]})
	asOf := exampleTime.Format(time.RFC3339)
	for name, format := range map[string]string{"audit.txt": "text", "audit.json": "json", "audit.html": "html", "audit.md": "markdown"} {
		files["examples/"+name] = run(t, 3, "audit", exampleReport, "--as-of", asOf, "--due-within", "14d", "--framework", "cis-5.0", "-o", format)
	}
	write(t, files)
	// The example files that are written by hand must do what they say.
	own := run(t, 3, "audit", exampleReport, "--as-of", asOf, "--ruleset", "examples/ruleset.yaml", "--exceptions", "examples/exceptions.yaml", "-o", "json")
	for _, want := range []string{`"rule": "key-age-60"`, `"rule": "no-keys-for-people"`, `"status": "excepted"`} {
		if !strings.Contains(own, want) {
			t.Errorf("the example ruleset and exceptions give no %s", want)
		}
	}
	for _, dir := range []string{"docs/rules", "docs/schema"} {
		found, err := filepath.Glob(dir + "/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if _, ok := files[filepath.ToSlash(f)]; !ok {
				t.Errorf("%s is no longer generated: delete it", f)
			}
		}
	}
}

// write compares each file with what it should hold, or writes it with -update.
func write(t *testing.T, files map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if *update {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(files[name]), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Errorf("%v: run make generate", err)
		} else if string(got) != files[name] {
			t.Errorf("%s has drifted from the code: run make generate and read the diff", name)
		}
	}
}

// run is the program in this process, on a quiet machine with a fixed clock.
func run(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	sys := cli.System{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }, Now: func() time.Time { return exampleTime }}
	if got := cli.Run(context.Background(), args, sys); got != code {
		t.Fatalf("keyreeve %s: exit %d, want %d\n%s", strings.Join(args, " "), got, code, errs.String())
	}
	return out.String()
}

func rulesPage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Rules\n\nGenerated from the code by `make generate`. `keyreeve rules show RULE` prints the pages below, with the names of a real\nverdict when it is given an audit.\n\n")
	b.WriteString("| rule | claim | severity | names elsewhere |\n|---|---|---|---|\n")
	for _, e := range rule.Catalogue() {
		var names []string
		for _, a := range e.Aliases {
			if !strings.HasPrefix(a.Scheme, "CIS") { // a dozen versions of it: on the rule's own page
				names = append(names, a.Scheme+" "+a.Name)
			}
		}
		fmt.Fprintf(&b, "| [`%s`](rules/%s.md) | %s | %s | %s |\n", e.ID, e.ID, e.Title, e.Severity, strings.Join(names, "; "))
	}
	b.WriteString("\n## Built-in rulesets\n\n| ruleset | rules |\n|---|---|\n")
	for _, name := range rule.BuiltinNames() {
		rs, err := rule.Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, r := range rs.Rules {
			ids = append(ids, fmt.Sprintf("`%s` (%s)", r.ID, r.Severity))
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, strings.Join(ids, ", "))
	}
	b.WriteString("\n## Frameworks for `--framework`\n\n")
	for _, f := range rule.Frameworks() {
		fmt.Fprintf(&b, "- `%s`: %s\n", f.Slug, f.Name)
	}
	return b.String()
}

func metricsPage() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nGenerated from the code by `make generate`. [serve.md](serve.md) tells how to read them, and [alerts.yaml](alerts.yaml) holds rules.\n\n")
	b.WriteString("| metric | type | labels | what it tells |\n|---|---|---|---|\n")
	for _, f := range metric.Families() {
		kind := "gauge"
		if f.Counter {
			kind = "counter"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, kind, strings.Join(f.AllLabels(), ", "), f.Help)
	}
	b.WriteString("\nBeside them stand those of Go and of the operating system (`go_`, `process_`). Calls to AWS, parts of the work and these are\n" +
		"those of one process: scrape each worker, which takes `serve --role worker --listen ADDRESS`. The rest is the same on all that share a database.\n")
	return b.String()
}

func cliPage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Command line\n\nGenerated from the code by `make generate`.\n")
	for _, c := range []string{"", "audit", "plan", "apply", "undo", "runs", "runs show", "runs export", "runs verify", "rotate", "rotate start", "rotate list", "rotate show", "rotate advance",
		"rotate confirm", "rotate approve", "rotate cancel", "rotate watch", "request", "requests", "requests approve", "requests deny", "notices", "notices list", "notices test", "serve", "serve token", "serve token add", "serve token list", "serve token revoke", "history", "trend", "diff", "rules", "rules show", "org", "org accounts", "org setup", "db", "db migrate", "db check", "db copy", "doctor", "iam-policy", "demo", "completion", "man", "version", "exit-codes"} {
		args := append(strings.Fields("help"), strings.Fields(c)...)
		fmt.Fprintf(&b, "\n## keyreeve %s\n\n```\n%s\n```\n", c, strings.TrimSpace(run(t, 0, args...)))
	}
	return strings.ReplaceAll(b.String(), "## keyreeve \n", "## keyreeve\n")
}
