package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func render(t *testing.T, f report.Format, a *finding.Audit, o report.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, f, a, o); err != nil {
		t.Fatalf("Write(%s): %v", f, err)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-golden +now); review, then -update:\n%s", path, diff)
	}
}

func options() report.Options {
	return report.Options{Width: 80, All: true, DueWithin: 30 * 24 * time.Hour}
}

func TestWrite_everyFormatMatchesItsGoldenFile(t *testing.T) {
	for _, f := range report.Formats() {
		t.Run(string(f), func(t *testing.T) {
			golden(t, "full."+string(f), render(t, f, fixture(), options()))
			golden(t, "empty."+string(f), render(t, f, emptyAudit(), report.Options{}))
		})
	}
}

func TestWrite_isDeterministic(t *testing.T) {
	for _, f := range report.Formats() {
		first := render(t, f, fixture(), options())
		for range 3 {
			if again := render(t, f, fixture(), options()); again != first {
				t.Errorf("%s: two runs over the same audit differ", f)
			}
		}
	}
}

func TestWrite_returnsEveryErrorOfTheWriter(t *testing.T) {
	boom := errors.New("disk full")
	for _, f := range report.Formats() {
		whole := len(render(t, f, fixture(), options()))
		for _, room := range []int{0, whole / 2, whole - 1} {
			err := report.Write(&shortWriter{room, boom}, f, fixture(), options())
			if !errors.Is(err, boom) {
				t.Errorf("%s into a writer with room for %d of %d bytes: %v, want %v", f, room, whole, err, boom)
			}
		}
	}
}

type shortWriter struct {
	room int
	err  error
}

func (w *shortWriter) Write(p []byte) (int, error) {
	if len(p) > w.room {
		n := w.room
		w.room = 0
		return n, w.err
	}
	w.room -= len(p)
	return len(p), nil
}

func TestWrite_refusesAnUnknownFormat(t *testing.T) {
	if err := report.Write(&bytes.Buffer{}, "yaml", fixture(), report.Options{}); err == nil || !strings.Contains(err.Error(), `"yaml"`) {
		t.Errorf("Write(yaml) = %v, want an error that quotes it", err)
	}
	if report.Format("yaml").Valid() {
		t.Error("yaml is valid")
	}
}

func TestWrite_noFormatLetsControlCharactersThrough(t *testing.T) {
	for _, f := range report.Formats() {
		for _, r := range render(t, f, fixture(), options()) {
			if r != '\n' && (r < 0x20 || r >= 0x7f && r < 0xa0) {
				t.Errorf("%s holds control character %U", f, r)
				break
			}
		}
	}
	if out := render(t, report.Text, fixture(), report.Options{}); strings.ContainsRune(out, '\u202e') {
		t.Error("text holds a direction override")
	}
}

func TestWrite_masksKeyIDsInEveryFormat(t *testing.T) {
	o := options()
	o.MaskKeys = true
	for _, f := range report.Formats() {
		out := render(t, f, fixture(), o)
		for _, id := range []string{"AKIAFAKECHINA0000017", "AKIAFAKECHINA0000025", "AKIAFAKEVENDOR000033", "AKIAFAKEGONE00000041"} {
			if strings.Contains(out, id) {
				t.Errorf("%s shows key id %s in full", f, id)
			}
		}
	}
	if out := render(t, report.JSON, fixture(), o); !strings.Contains(out, `"AKIA****0017"`) {
		t.Error("json does not show the masked id AKIA****0017")
	}
	if out := render(t, report.JSON, fixture(), options()); !strings.Contains(out, `"AKIAFAKECHINA0000017"`) {
		t.Error("masking changed the audit itself, or ids are masked unasked")
	}
}

func TestWrite_leavesPassingVerdictsOutUnlessAsked(t *testing.T) {
	count := func(o report.Options) (n int) {
		for line := range strings.Lines(render(t, report.NDJSON, fixture(), o)) {
			var v struct{ Status string }
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatal(err)
			}
			if v.Status == "pass" {
				n++
			}
		}
		return n
	}
	if n := count(report.Options{}); n != 0 {
		t.Errorf("%d passing verdicts without All", n)
	}
	if n := count(report.Options{All: true}); n != 2 {
		t.Errorf("%d passing verdicts with All, want 2", n)
	}
}
