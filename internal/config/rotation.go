package config

import (
	"fmt"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

func rotationKeys() []string { return append(termKeys(), "targets", "users") }

// termKeys may stand in the section, for everybody, and in an entry of users.
func termKeys() []string { return []string{"mode", "settling", "quiet", "limits", "unproven"} }

func (r *reader) rotation(n yamlfile.Node) {
	r.terms = rotate.Terms{}.WithDefaults()
	if _, null := n.(*ast.NullNode); null {
		return
	}
	f := r.Fields(n, "the section rotation", rotationKeys())
	r.terms = r.readTerms(f, r.terms)
	if v, ok := f["targets"]; ok {
		for _, t := range r.Names(v.Value, "a mapping of names to targets") {
			r.target(t)
		}
	}
	if v, ok := f["users"]; ok {
		for _, item := range r.Items(v.Value, "a list of users") {
			r.entry(item)
		}
	}
	if r.Mistakes() == 0 { // else what is unused may be misspelt, and is told already
		r.unused()
	}
}

// leastTimes are, for rotations, below what AWS lets us see: it records the first use of each quarter of an hour and shows
// it minutes later, so less than an hour of silence is none. For notices they are what a person can act in.
func leastTimes() map[string]time.Duration {
	return map[string]time.Duration{
		"settling": time.Hour, "quiet": rule.Day,
		"delivery": time.Minute, "probe": time.Minute, "proof": time.Hour,
		"before": time.Hour, "overdue": rule.Day, "exceptions": rule.Day, "give_up": time.Hour,
	}
}

// readTerms is base, changed by what f says.
func (r *reader) readTerms(f map[string]yamlfile.Field, base rotate.Terms) rotate.Terms {
	t := base
	if v, ok := f["mode"]; ok {
		t.Mode = r.mode(v.Value)
	}
	if v, ok := f["settling"]; ok {
		t.Settling = r.duration(v.Value, "settling")
	}
	if v, ok := f["quiet"]; ok {
		t.Quiet = r.duration(v.Value, "quiet")
	}
	if v, ok := f["unproven"]; ok {
		t.Unproven = r.Truth(v.Value, "unproven")
	}
	if v, ok := f["limits"]; ok {
		limits := r.Fields(v.Value, "limits", []string{"delivery", "probe", "proof"})
		for name, to := range map[string]*time.Duration{"delivery": &t.Delivery, "probe": &t.Probe, "proof": &t.Proof} {
			if v, ok := limits[name]; ok {
				*to = r.duration(v.Value, name)
			}
		}
	}
	return t
}

func (r *reader) mode(n yamlfile.Node) rotate.Mode {
	text := r.Text(n, "mode")
	var names []string
	for _, m := range rotate.Modes() {
		if string(m) == text {
			return m
		}
		names = append(names, string(m))
	}
	if text != "" {
		r.Wrong(n, yamlfile.DidYouMean(text, names), "unknown mode %q", text)
	}
	return ""
}

func (r *reader) duration(n yamlfile.Node, what string) time.Duration {
	if _, ok := n.(*ast.IntegerNode); ok {
		r.Wrong(n, "write it with its unit, such as 7d or 36h", "%s: a number without a unit", what)
		return 0
	}
	text := r.Text(n, what)
	if text == "" {
		return 0
	}
	d, err := rule.ParseDuration(text)
	least := leastTimes()[what]
	switch {
	case err != nil:
		r.Wrong(n, "units are d, h, m and s, the largest first", "%s: %v", what, err)
	case d < least:
		r.Wrong(n, "leave it out for the default", "%s: %s is shorter than %s", what, text, lengthOf(least))
	}
	return d
}

func lengthOf(d time.Duration) string {
	if d%rule.Day == 0 {
		return fmt.Sprintf("%dd", d/rule.Day)
	}
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}
