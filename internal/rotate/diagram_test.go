package rotate_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/internal/rotate"
)

// compare tells what is told and not in the table, in the table and not told, or told twice.
func compare(t *testing.T, what string, told []rotate.Edge) {
	t.Helper()
	for _, e := range rotate.Edges() {
		if n := len(slices.DeleteFunc(slices.Clone(told), func(x rotate.Edge) bool { return x != e })); n != 1 {
			t.Errorf("%s tells %+v %d times, want once", what, e, n)
		}
	}
	for _, e := range told {
		if !slices.Contains(rotate.Edges(), e) {
			t.Errorf("%s tells %+v, which is not in the table", what, e)
		}
	}
}

// stateNamed is the state that a node of the diagram stands for.
func stateNamed(t *testing.T, node string) rotate.State {
	t.Helper()
	if node == "under_way" {
		return rotate.ToResume
	}
	s := rotate.State(strings.ReplaceAll(node, "_", "-"))
	if !s.Valid() {
		t.Errorf("%q is no state", node)
	}
	return s
}

// statesNamed reads a list of states as the note has it.
func statesNamed(t *testing.T, text string) []rotate.State {
	t.Helper()
	list := func(text string) []rotate.State {
		var out []rotate.State
		for name := range strings.SplitSeq(strings.ReplaceAll(text, " and ", ", "), ", ") {
			if out = append(out, rotate.State(name)); !rotate.State(name).Valid() {
				t.Errorf("%q is no state", name)
			}
		}
		return out
	}
	rest, every := strings.CutPrefix(text, "every state ")
	if !every {
		return list(text)
	}
	class, but, found := strings.Cut(rest, " but ")
	var except []rotate.State
	if found {
		except = list(but)
	}
	return slices.DeleteFunc(rotate.States(), func(s rotate.State) bool {
		switch class {
		case "under way":
			return s.Over() || s.Waiting() || slices.Contains(except, s)
		case "that is not over":
			return s.Over() || slices.Contains(except, s)
		default:
			t.Errorf("the note speaks of every state %q", class)
			return true
		}
	})
}

func TestDiagram_tellsEveryEdgeOnceAndNothingElse(t *testing.T) {
	var told []rotate.Edge
	note, inNote := regexp.MustCompile(`^(.+?), in (.+): (?:to (\S+)|it stays)\.$`), false
	arrow := regexp.MustCompile(`^(\S+) --> (\S+): (.+)$`)
	for line := range strings.Lines(rotate.Diagram()) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "note "):
			inNote = true
		case line == "end note":
			inNote = false
		case inNote:
			m := note.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("the note has a line %q", line)
			}
			for _, s := range statesNamed(t, m[2]) {
				to := rotate.State(m[3])
				if to == "" {
					to = s
				}
				told = append(told, rotate.Edge{From: s, On: rotate.EventName(m[1]), To: to})
			}
		case strings.Contains(line, " --> ") && !strings.Contains(line, "[*]"):
			m := arrow.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("an arrow without an event: %q", line)
			}
			on, resume := strings.CutSuffix(m[3], " (resume)")
			if to := stateNamed(t, m[2]); resume != (to == rotate.ToResume) {
				t.Errorf("%q: named resume: %v, leads back: %v", line, resume, to == rotate.ToResume)
			}
			told = append(told, rotate.Edge{From: stateNamed(t, m[1]), On: rotate.EventName(on), To: stateNamed(t, m[2])})
		}
	}
	compare(t, "the diagram", told)
}

func TestDiagram_beginsAndEndsWhereARotationDoes(t *testing.T) {
	out := rotate.Diagram()
	if !strings.HasPrefix(out, "stateDiagram-v2\n") || strings.Count(out, "[*] -->") != 1 || !strings.Contains(out, "[*] --> requested\n") {
		t.Errorf("no one beginning:\n%s", out)
	}
	for _, s := range rotate.States() {
		if ends := strings.Contains(out, " "+string(s)+" --> [*]\n"); ends != s.Over() {
			t.Errorf("%s: drawn as an end: %v, is over: %v", s, ends, s.Over())
		}
	}
	if n := strings.Count(out, "-->"); n > 30 {
		t.Errorf("%d arrows: nobody can read that:\n%s", n, out)
	}
	if again := rotate.Diagram(); again != out {
		t.Errorf("drawn again it differs:\n%s", again)
	}
}

func TestTableMarkdown_tellsEveryEdgeOnceAndNothingElse(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(rotate.TableMarkdown()), "\n")
	if len(lines) < 2 || lines[0] != "| from | event | to |" || lines[1] != "| --- | --- | --- |" {
		t.Fatalf("no heading: %q", lines)
	}
	var told []rotate.Edge
	for _, line := range lines[2:] {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 3 {
			t.Fatalf("a row of %d cells: %q", len(cells), line)
		}
		told = append(told, rotate.Edge{From: rotate.State(cells[0]), On: rotate.EventName(cells[1]), To: rotate.State(cells[2])})
	}
	compare(t, "the Markdown table", told)
}
