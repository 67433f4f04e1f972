package rotate

import (
	"fmt"
	"slices"
	"strings"
)

// crowd is from how many states on an edge that leads to the same place is told in the note instead of drawn.
const crowd = 4

// Diagram draws Edges as a Mermaid stateDiagram-v2, always the same for the same table. What happens in many states alike
// is told in one note instead of arrows; an edge to ToResume is an arrow back to the states under way, named resume.
func Diagram() string {
	arrows, shared := drawn()
	inside := func(e Edge) bool { return underWay(e.From) && underWay(e.To) }
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    state \"under way\" as " + resumeBox + " {\n")
	for _, s := range States() {
		if underWay(s) {
			b.WriteString("        " + declared(s) + "\n")
		}
	}
	for _, e := range arrows {
		if inside(e) {
			b.WriteString("        " + arrow(e) + "\n")
		}
	}
	b.WriteString("    }\n    [*] --> " + node(Requested) + "\n")
	for _, s := range States() {
		if !underWay(s) {
			b.WriteString("    " + declared(s) + "\n")
		}
	}
	for _, e := range arrows {
		if !inside(e) {
			b.WriteString("    " + arrow(e) + "\n")
		}
	}
	for _, s := range States() {
		if s.Over() {
			b.WriteString("    " + node(s) + " --> [*]\n")
		}
	}
	b.WriteString("    note right of " + node(Gone) + "\n")
	for _, g := range shared {
		fmt.Fprintf(&b, "        %s, in %s: %s.\n", g.on, among(g.from), g.leads())
	}
	b.WriteString("    end note\n")
	return b.String()
}

// TableMarkdown writes every edge as a row of a Markdown table, in the order of States, then of EventNames.
func TableMarkdown() string {
	var b strings.Builder
	b.WriteString("| from | event | to |\n| --- | --- | --- |\n")
	for _, s := range States() {
		for _, on := range EventNames() {
			if e, ok := Next(s, on); ok {
				fmt.Fprintf(&b, "| %s | %s | %s |\n", e.From, e.On, e.To)
			}
		}
	}
	return b.String()
}

// resumeBox is the name of the box around the states under way, where a waiting one goes back to.
const resumeBox = "under_way"

// sharedEdge is what an event does in many states alike.
type sharedEdge struct {
	on   EventName
	to   State // empty: the state stays
	from []State
}

func (g *sharedEdge) leads() string {
	if g.to == "" {
		return "it stays"
	}
	return "to " + string(g.to)
}

// drawn divides Edges into those that are arrows, and those that the note tells.
func drawn() (arrows []Edge, shared []sharedEdge) {
	for _, on := range EventNames() {
		var groups []sharedEdge
		for _, e := range Edges() {
			if e.On != on {
				continue
			}
			to := e.To
			if to == e.From {
				to = ""
			}
			i := slices.IndexFunc(groups, func(g sharedEdge) bool { return g.to == to })
			if i < 0 {
				i, groups = len(groups), append(groups, sharedEdge{on: on, to: to})
			}
			groups[i].from = append(groups[i].from, e.From)
		}
		for _, g := range groups {
			if len(g.from) >= crowd {
				shared = append(shared, g)
			}
		}
	}
	for _, e := range Edges() {
		told := slices.ContainsFunc(shared, func(g sharedEdge) bool {
			return g.on == e.On && (g.to == e.To || g.to == "" && e.To == e.From) && slices.Contains(g.from, e.From)
		})
		if !told {
			arrows = append(arrows, e)
		}
	}
	return arrows, shared
}

// among names a set of states: by what they have in common where at most three are missing, else one by one.
func among(states []State) string {
	for _, class := range []struct {
		name string
		has  func(State) bool
	}{
		{"every state under way", underWay},
		{"every state that is not over", func(s State) bool { return !s.Over() }},
	} {
		stranger := func(s State) bool { return !class.has(s) }
		if slices.ContainsFunc(states, stranger) {
			continue
		}
		missing := slices.DeleteFunc(States(), func(s State) bool { return stranger(s) || slices.Contains(states, s) })
		switch {
		case len(missing) == 0:
			return class.name
		case len(missing) <= 3:
			return class.name + " but " + names(missing)
		}
	}
	return names(states)
}

// names is a list for people: a, b and c. None is not asked for.
func names(states []State) string {
	text := string(states[0])
	for i, s := range states[1:] {
		sep := ", "
		if i == len(states)-2 {
			sep = " and "
		}
		text += sep + string(s)
	}
	return text
}

// underWay tells whether a state goes on by itself: it is neither over nor waiting.
func underWay(s State) bool { return s.Valid() && !s.Over() && !s.Waiting() }

func arrow(e Edge) string {
	if e.To == ToResume {
		return fmt.Sprintf("%s --> %s: %s (resume)", node(e.From), resumeBox, e.On)
	}
	return fmt.Sprintf("%s --> %s: %s", node(e.From), node(e.To), e.On)
}

// node is a state's name as Mermaid takes it: without dashes.
func node(s State) string { return strings.ReplaceAll(string(s), "-", "_") }

func declared(s State) string {
	if node(s) == string(s) {
		return node(s)
	}
	return fmt.Sprintf("state %q as %s", string(s), node(s))
}
