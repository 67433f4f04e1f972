package report_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/keyreeve/keyreeve/internal/report"
)

// browser gives a context of a headless browser. Without one the test is skipped, unless KEYREEVE_REQUIRE
// names "browser", as it does in CI.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if strings.Contains(os.Getenv("KEYREEVE_REQUIRE"), "browser") {
			t.Fatal("no chromium found, and KEYREEVE_REQUIRE asks for a browser; Debian: apt-get install chromium")
		}
		t.Skip("no chromium found; Debian: apt-get install chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("disable-background-networking", true), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 1600))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	ctx, stopTab := chromedp.NewContext(ctx)
	t.Cleanup(stopTab)
	ctx, stopTime := context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(stopTime)
	return ctx
}

func do[T any](ctx context.Context, t *testing.T, a chromedp.Action[T]) T {
	t.Helper()
	out, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// shownColumn reads the texts of one column of the rows that the filter leaves.
const shownColumn = `Array.from(document.querySelectorAll("#verdicts tbody tr"))
	.filter(r => !r.hidden && r.getClientRects().length > 0)
	.map(r => r.querySelector("[data-label='" + %s + "']").textContent.trim())`

func TestHTML_filtersAndSortsInABrowser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(render(t, report.HTML, fixture(), options())), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	column := func(name string) []string {
		t.Helper()
		return do(ctx, t, chromedp.Evaluate[[]string](strings.Replace(shownColumn, "%s", `"`+name+`"`, 1)))
	}
	sortBy := func(name string) {
		t.Helper()
		do(ctx, t, chromedp.Evaluate[chromedp.Void](`Array.from(document.querySelectorAll("#verdicts th button"))
			.find(b => b.textContent === "`+name+`").click()`))
	}
	counted := func(want string) {
		t.Helper()
		do(ctx, t, chromedp.Poll[bool](`document.getElementById("f-count").textContent === "`+want+`"`))
	}
	do(ctx, t, chromedp.Navigate((&url.URL{Scheme: "file", Path: path}).String()))
	do(ctx, t, chromedp.WaitVisible("#f-text"))
	atFirst := column("Severity")
	do(ctx, t, chromedp.SendKeys("#f-text", "CI-deploy unused"))
	counted("2 of 21 rows")
	filtered := column("Finding")
	do(ctx, t, chromedp.Evaluate[string](`document.getElementById("f-text").value = ""`))
	do(ctx, t, chromedp.SetValue("#f-severity", "low"))
	do(ctx, t, chromedp.Evaluate[bool](`document.querySelector(".filters").dispatchEvent(new Event("input", {bubbles: true}))`))
	sortBy("Age")
	byAge := column("Age")
	sortBy("User")
	byUser := column("User")
	do(ctx, t, chromedp.Click(`#rules a[data-pick="multiple-active-keys"]`))
	counted("2 of 21 rows")
	picked := column("User")
	do(ctx, t, chromedp.Click(`.filters button[type=reset]`))
	counted("21 rows")
	afterReset := column("User")

	check := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	check("severities at first", strings.Join(atFirst[:5], " "), "critical critical high high high")
	if len(filtered) != 2 || !strings.HasPrefix(filtered[0], "key-unused-") || !strings.HasPrefix(filtered[1], "key-unused-") {
		t.Errorf("filtered findings: %q", filtered)
	}
	check("low findings by age, oldest first", strings.Join(byAge, " "), "1204d 1204d 400d 203d 203d 50d")
	if !strings.HasPrefix(byUser[0], "=<script>") {
		t.Errorf("first user by name is %q, want the hostile one", byUser[0])
	}
	check("other users by name", strings.Join(byUser[1:], " "), "alice alice ci-deploy ci-deploy deploy")
	check("users after a click on a rule", strings.Join(picked, " "), "alice ops")
	if len(afterReset) != 21 {
		t.Errorf("%d rows after Clear, want 21", len(afterReset))
	}
}
