package main

import (
	"errors"
	"fmt"
	"strings"
)

// board prints figures, and remembers which missed their aim.
type board struct{ missed []string }

func (b *board) heading(format string, args ...any) {
	fmt.Printf("\n== "+format+"\n", args...)
}

// tell prints a figure that has no aim.
func (b *board) tell(what, value string) { fmt.Printf("  %-66s %12s\n", what, value) }

// atMost prints a figure that must not be above its aim.
func (b *board) atMost(what string, got, aim float64, unit string) {
	b.weigh(what, got, got <= aim, fmt.Sprintf("at most %s", number(aim)), unit)
}

// atLeast prints a figure that must not be below its aim.
func (b *board) atLeast(what string, got, aim float64, unit string) {
	b.weigh(what, got, got >= aim, fmt.Sprintf("at least %s", number(aim)), unit)
}

func (b *board) weigh(what string, got float64, good bool, aim, unit string) {
	verdict := "reached"
	if !good {
		verdict = "MISSED"
		b.missed = append(b.missed, what)
	}
	fmt.Printf("  %-66s %12s   %-22s %s\n", what, strings.TrimSpace(number(got)+" "+unit), strings.TrimSpace(aim+" "+unit), verdict)
}

// number has two digits after the point, where it is no whole number.
func number(v float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.2f", v), ".00")
}

func (b *board) outcome() error {
	if len(b.missed) > 0 {
		return errors.New("missed: " + strings.Join(b.missed, "; "))
	}
	return nil
}
