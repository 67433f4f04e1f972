package report

import (
	"bufio"
	"strings"
	"unicode/utf8"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/finding"
)

// tone is how a piece of text is meant; only page knows what that looks like.
type tone uint8

const (
	normal tone = iota
	faint
	strong
	good
	bad
	warn
	critical
	high
	medium
	low
)

// piece is text of one tone. Its spaces are places to break a line.
type piece struct {
	text string
	tone tone
}

// page lays text out within width columns. Colour and any character beyond ASCII that is ours come only
// with color.
type page struct {
	w     *bufio.Writer
	width int
	color bool
}

func (p *page) put(s string) { _, _ = p.w.WriteString(s) } // the writer keeps the error

func (p *page) blank() { p.put("\n") }

func (p *page) style(t tone, s string) string {
	if !p.color || s == "" || t == normal {
		return s
	}
	st := lipgloss.NewStyle()
	switch t {
	case faint:
		st = st.Faint(true)
	case strong:
		st = st.Bold(true)
	case good:
		st = st.Bold(true).Foreground(lipgloss.Green)
	case bad:
		st = st.Bold(true).Foreground(lipgloss.Red)
	case warn:
		st = st.Bold(true).Foreground(lipgloss.Yellow)
	case critical:
		st = st.Bold(true).Foreground(lipgloss.BrightWhite).Background(lipgloss.Red)
	case high:
		st = st.Foreground(lipgloss.Red)
	case medium:
		st = st.Foreground(lipgloss.Yellow)
	case low:
		st = st.Foreground(lipgloss.Cyan)
	case normal:
	}
	return st.Render(s)
}

// line writes pieces with a space between them, after indent columns; where the width ends it goes on in
// the next line at hang columns.
func (p *page) line(indent, hang int, pieces ...piece) {
	p.put(strings.Repeat(" ", indent))
	p.flow(indent, hang, pieces...)
}

// flow is line for a line that already stands at column col.
func (p *page) flow(col, hang int, pieces ...piece) {
	hang = min(hang, p.width-24) // room for a rule name, whatever stands before
	start := col
	for _, pc := range pieces {
		var run []string // words of one tone on one line, styled together
		runWidth := 0
		emit := func() {
			if len(run) > 0 {
				p.put(p.style(pc.tone, strings.Join(run, " ")))
				col += runWidth
				run, runWidth = nil, 0
			}
		}
		wrap := func() {
			emit()
			p.put("\n" + strings.Repeat(" ", hang))
			col, start = hang, hang
		}
		for _, word := range strings.Fields(pc.text) {
			for _, part := range chop(word, p.width-hang) {
				n := lipgloss.Width(part)
				gap := 0
				if col+runWidth > start {
					gap = 1
				}
				if gap == 1 && col+runWidth+gap+n > p.width || col+n > p.width && col > hang {
					wrap()
					gap = 0
				}
				if len(run) == 0 && gap == 1 {
					p.put(" ")
					col++
					gap = 0
				}
				run = append(run, part)
				runWidth += gap + n
			}
		}
		emit()
	}
	p.put("\n")
}

// chop cuts a word into parts of at most width columns.
func chop(word string, width int) []string {
	if lipgloss.Width(word) <= width {
		return []string{word}
	}
	var parts []string
	from, col := 0, 0
	for i, r := range word {
		n := lipgloss.Width(string(r))
		if col+n > width && i > from {
			parts = append(parts, word[from:i])
			from, col = i, 0
		}
		col += n
	}
	return append(parts, word[from:])
}

// heading writes a title with a rule to the end of the line.
func (p *page) heading(t tone, title string) {
	dash := "-"
	if p.color {
		dash = "─"
	}
	if lipgloss.Width(title)+4 > p.width {
		p.line(0, 0, piece{title, t})
		return
	}
	n := p.width - lipgloss.Width(title) - 1
	p.put(p.style(t, title) + " " + p.style(faint, strings.Repeat(dash, n)) + "\n")
}

// cellText pads s to n columns, or cuts it with a mark.
func cellText(s string, n int) string {
	w := lipgloss.Width(s)
	if w <= n {
		return s + strings.Repeat(" ", n-w)
	}
	var b strings.Builder
	col := 0
	for _, r := range s {
		rw := lipgloss.Width(string(r))
		if col+rw > n-2 {
			break
		}
		b.WriteRune(r)
		col += rw
	}
	return b.String() + ".." + strings.Repeat(" ", max(0, n-2-col))
}

func rightText(s string, n int) string {
	return strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s))) + s
}

func severityTone(s finding.Severity) tone {
	switch s {
	case finding.Critical:
		return critical
	case finding.High:
		return high
	case finding.Medium:
		return medium
	case finding.Low:
		return low
	default:
		return normal
	}
}

// severityMark is the severity in four columns.
func severityMark(s finding.Severity) string {
	switch s {
	case finding.Critical:
		return "CRIT"
	case finding.High:
		return "HIGH"
	case finding.Medium:
		return "MED "
	case finding.Low:
		return "low "
	default:
		return "    "
	}
}
