package keyreeve_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/keyreeve/keyreeve/"

// floors is the architecture: a package imports only from floors below its own; packages on one floor are
// strangers. ARCHITECTURE.md draws the same list.
var floors = [][]string{
	{"internal/fact"},
	{"internal/credreport", "internal/finding", "internal/journal", "internal/seal", "internal/spool", "internal/wire", "internal/yamlfile"},
	{"internal/rule", "internal/plan", "internal/history", "internal/credreport/synth"},
	{"internal/collect", "internal/apply", "internal/rotate", "internal/notice"},
	{
		"internal/audit", "internal/report", "internal/awsiam", "internal/store", "internal/courier", "internal/channel",
		"internal/notice/noticetest", "internal/fakeaws", "internal/role",
	},
	{"internal/config", "internal/web", "internal/metric", "internal/daemon", "internal/fakeaws/sim"},
	{
		"internal/fleet", "internal/fakeaws/moto", "internal/fakeaws/truth", "internal/store/storetest", "internal/store/storetest/postgres",
		"internal/fakeaws/sdk", "internal/web/webtest",
	},
	{"internal/cli"},
	{"cmd/keyreeve"},
}

// groundOnly packages import nothing but the standard library and the floors below.
var groundOnly = []string{
	"internal/fact", "internal/credreport", "internal/finding", "internal/journal", "internal/plan", "internal/apply", "internal/rotate", "internal/notice",
	"internal/fakeaws", "internal/role", "cmd/keyreeve",
}

// reserved modules have one home each, or two, with what is below it.
var reserved = map[string][]string{
	"github.com/aws/":       {"internal/awsiam", "internal/fakeaws/sdk"},
	"github.com/slack-go":   {"internal/channel"},
	"github.com/wneessen":   {"internal/channel"},
	"database/sql":          {"internal/store"},
	"modernc.org/":          {"internal/store"},
	"github.com/pressly/":   {"internal/store"},
	"github.com/gofrs/":     {"internal/store"},
	"github.com/jackc":      {"internal/store", "internal/fleet"},
	"github.com/riverqueue": {"internal/fleet"},
	"cel.dev/":              {"internal/rule"},
	"github.com/prometheus": {"internal/metric"},
}

func TestLayers_importsGoDownOnly(t *testing.T) {
	floor := map[string]int{}
	for i, packages := range floors {
		for _, p := range packages {
			floor[p] = i
		}
	}
	seen := map[string]bool{}
	for file, imports := range sources(t) {
		p := filepath.ToSlash(filepath.Dir(file))
		seen[p] = true
		own, listed := floor[p]
		if !listed {
			t.Errorf("%s: package %s stands on no floor: give it one in layers_test.go and ARCHITECTURE.md", file, p)
			continue
		}
		for _, imp := range imports {
			inside, ours := strings.CutPrefix(imp, module)
			if below, ok := floor[inside]; ours && (!ok || below >= own) {
				t.Errorf("%s: %s (floor %d) imports %s (floor %d)", file, p, own, inside, below)
			}
			if !ours && slices.Contains(groundOnly, p) && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
				t.Errorf("%s: %s is ground: it imports the standard library only, not %s", file, p, imp)
			}
			for prefix, homes := range reserved {
				home := slices.ContainsFunc(homes, func(h string) bool { return strings.HasPrefix(p+"/", h+"/") })
				if strings.HasPrefix(imp, prefix) && !home {
					t.Errorf("%s: %s is for %s alone", file, imp, strings.Join(homes, " and "))
				}
			}
		}
	}
	for p := range floor {
		if !seen[p] {
			t.Errorf("layers_test.go lists %s, which has no Go file", p)
		}
	}
}

// The pure packages take the time as an argument; nothing below the command line reads the clock.
func TestLayers_pureCodeReadsNoClock(t *testing.T) {
	for file := range sources(t) {
		p := filepath.ToSlash(filepath.Dir(file))
		if p == "internal/cli" || strings.HasPrefix(p, "internal/fakeaws") || p == "cmd/keyreeve" {
			continue
		}
		if readsClock(t, file) {
			t.Errorf("%s reads the clock: take now as an argument", file)
		}
	}
}

// sources maps each Go file that is no test to what it imports.
func sources(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, root := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			var imports []string
			for _, i := range f.Imports {
				name, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					return err
				}
				imports = append(imports, name)
			}
			out[path] = imports
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) < 10 {
		t.Fatalf("found only %d source files: the test looks in the wrong place", len(out))
	}
	return out
}

// readsClock tells whether the file mentions time.Now, Since or Until.
func readsClock(t *testing.T, file string) bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains([]string{"Now", "Since", "Until"}, s.Sel.Name) {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				found = true
			}
		}
		return !found
	})
	return found
}
