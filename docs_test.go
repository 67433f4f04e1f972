package keyreeve_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/internal/metric"
)

// The unit for systemd starts a command that there is, with flags that it knows.
func TestUnit_startsWhatThereIs(t *testing.T) {
	unit, err := os.ReadFile("docs/keyreeve.service")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/keyreeve (\S+) (.*)$`).FindSubmatch(unit)
	if m == nil {
		t.Fatal("it starts nothing")
	}
	help := run(t, 0, "help", string(m[1]))
	flags := regexp.MustCompile(`--[a-z-]+`).FindAllString(string(m[2]), -1)
	for _, flag := range flags {
		if !strings.Contains(help, flag+" ") {
			t.Errorf("keyreeve %s has no %s", m[1], flag)
		}
	}
	if len(flags) == 0 {
		t.Error("it starts without flags: the test looks in the wrong place")
	}
}

// Exit 2 is also a database that is not up yet: the unit goes on trying.
func TestUnit_neverGivesUp(t *testing.T) {
	unit, err := os.ReadFile("docs/keyreeve.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nRestart=on-failure\n", "\nRestartSec=", "\nStartLimitIntervalSec=0\n"} {
		if !strings.Contains(string(unit), want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(string(unit), "RestartPrevent") {
		t.Error("it stays down after some exit codes")
	}
}

// A rule about a metric that is not there never fires.
func TestAlerts_nameMetricsAndLabelsThatThereAre(t *testing.T) {
	labels := map[string][]string{}
	for _, f := range metric.Families() {
		labels[f.Name] = f.AllLabels()
	}
	for _, file := range []string{"docs/alerts.yaml", "docs/serve.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`\b(keyreeve_[a-z_]+[a-z])\b(\{[^}]*\})?`).FindAllStringSubmatch(string(text), -1)
		if len(found) < 5 {
			t.Errorf("%s names %d metrics", file, len(found))
		}
		for _, m := range found {
			known, ok := labels[m[1]]
			if !ok {
				t.Errorf("%s: there is no %s", file, m[1])
			}
			for _, l := range regexp.MustCompile(`([a-z_]+)(=|!=|=~|!~)"`).FindAllStringSubmatch(m[2], -1) {
				if !strings.Contains(" "+strings.Join(known, " ")+" ", " "+l[1]+" ") {
					t.Errorf("%s: %s has no label %s", file, m[1], l[1])
				}
			}
		}
	}
}
