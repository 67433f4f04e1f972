package report

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/history"
)

// SVG is the format of a trend as a picture.
const SVG Format = "svg"

// TrendFormats are those of WriteTrend.
func TrendFormats() []Format { return []Format{Text, JSON, SVG} }

// WriteTrend writes how failing keys, their age and the time to fix went, a point a day, the oldest first. of says whose:
// "all accounts", "account 111122223333".
func WriteTrend(w io.Writer, f Format, points []history.Point, of string, o Options) error {
	if f == SVG {
		b := bufio.NewWriter(w)
		trendSVG(b, points, of)
		return b.Flush()
	}
	return writeRun(w, f, o,
		func(b *bufio.Writer) error { return trendJSON(b, points) },
		func(t *runText) { t.trend(points, of) })
}

type wirePoint struct {
	Day           string `json:"day"`
	Accounts      int    `json:"accounts"`
	Incomplete    int    `json:"incomplete_accounts"`
	Users         int    `json:"users"`
	Keys          int    `json:"keys"`
	ActiveKeys    int    `json:"active_keys"`
	Failing       int    `json:"failing"`
	FailingKeys   int    `json:"failing_keys"`
	MedianAgeDays *int   `json:"median_age_days"` // null: no active keys
	Opened        int    `json:"opened"`
	Closed        int    `json:"closed"`
	Fixed         int    `json:"fixed"`
	TimeToFix     *int64 `json:"time_to_fix_seconds"` // null: nothing was fixed that day
}

func toWirePoint(p *history.Point) wirePoint {
	out := wirePoint{
		Day: p.Day.Format(time.DateOnly), Accounts: p.Accounts, Incomplete: p.Incomplete, Users: p.Users, Keys: p.Keys, ActiveKeys: p.ActiveKeys,
		Failing: p.Failing, FailingKeys: p.FailingKeys, Opened: p.Opened, Closed: p.Closed, Fixed: len(p.Fixes),
	}
	if days, ok := p.MedianAge(); ok {
		out.MedianAgeDays = &days
	}
	if d, ok := p.TimeToFix(); ok {
		n := int64(d / time.Second)
		out.TimeToFix = &n
	}
	return out
}

func trendJSON(w *bufio.Writer, points []history.Point) error {
	out := make([]wirePoint, 0, len(points))
	for i := range points {
		out = append(out, toWirePoint(&points[i]))
	}
	d := newDocument(w)
	d.field("schema", trendSchema)
	d.field("points", out)
	return d.close()
}

// mostLines is how many lines the text of a trend has at most: then each stands for several days.
const mostLines = 31

// trend writes a line a day, or a line for the last of several days.
func (t *runText) trend(points []history.Point, of string) {
	n := len(points)
	last := points[n-1]
	if last.Accounts == 0 {
		t.put("Nothing was judged of " + clean(of) + " in the month before " + last.Day.Format(time.DateOnly) + ".\n")
		return
	}
	t.line(0, 2, piece{clean(of), strong}, piece{"by day (UTC)", normal})
	t.blank()
	step := (n + mostLines - 1) / mostLines
	most := 1
	for i := range points {
		most = max(most, points[i].FailingKeys)
	}
	room := max(0, min(24, t.width-70))
	t.put(t.style(faint, "day         accounts  active keys  failing  median age  opened  closed  time to fix") + "\n")
	blank := "" // the first of the days in a row on which nothing was judged
	for i := (n - 1) % step; i < n; i += step {
		group := points[max(0, i-step+1) : i+1]
		p := &points[i]
		var sum history.Point
		for k := range group {
			sum.Opened, sum.Closed, sum.Fixes = sum.Opened+group[k].Opened, sum.Closed+group[k].Closed, append(sum.Fixes, group[k].Fixes...)
		}
		age, fix := "-", "-"
		if days, ok := p.MedianAge(); ok {
			age = number(days) + "d"
		}
		if d, ok := sum.TimeToFix(); ok {
			fix = length(d)
		}
		day := p.Day.Format(time.DateOnly)
		if p.Accounts == 0 {
			if blank == "" {
				blank = day
			}
			if i+step < n && points[i+step].Accounts == 0 {
				continue
			}
			what := "nothing was judged in the month before"
			if blank != day {
				what = "to " + day + ": " + what
			}
			t.put(blank + "  " + t.style(faint, what) + "\n")
			blank = ""
			continue
		}
		t.put(day + "  " + rightText(number(p.Accounts), 8) + "  " + rightText(number(p.ActiveKeys), 11) + "  " +
			t.style(trendTone(p.FailingKeys), rightText(number(p.FailingKeys), 7)) + "  " + rightText(age, 10) + "  " + rightText(number(sum.Opened), 6) + "  " +
			rightText(number(sum.Closed), 6) + "  " + rightText(fix, 11))
		if bar := p.FailingKeys * room / most; room > 8 && bar > 0 {
			t.put("  " + t.style(bad, strings.Repeat("#", bar)))
		}
		t.put("\n")
	}
	if step > 1 {
		t.line(0, 2, piece{fmt.Sprintf("A line stands for the last of %d days, opened and closed for all of them; -o json has each.", step), faint})
	}
	if last.Incomplete > 0 {
		t.line(0, 2, piece{plural(last.Incomplete, "account") + " could not be read wholly; what was seen of them before counts on.", warn})
	}
}

func trendTone(n int) tone {
	if n > 0 {
		return bad
	}
	return good
}

// Where the picture's panels lie, in its own units.
const (
	svgWidth  = 720
	svgPanel  = 110
	svgLeft   = 56
	svgRight  = 16
	svgHead   = 44
	svgGap    = 34
	svgFooter = 22
)

const svgStyle = `<style>
:root{color-scheme:light dark}
text{font:12px system-ui,sans-serif;fill:#57606a}
.title{font-size:16px;font-weight:600;fill:#1f2328}
.name{font-size:13px;font-weight:600;fill:#1f2328}
.page{fill:#fff}.grid{stroke:#d0d7de;stroke-width:1}
.area{fill:#0969da;opacity:.12}.line{fill:none;stroke:#0969da;stroke-width:2;stroke-linejoin:round}.dot{fill:#0969da}
@media (prefers-color-scheme:dark){text{fill:#9198a1}.title,.name{fill:#f0f6fc}.page{fill:#0d1117}.grid{stroke:#3d444d}.area,.dot{fill:#58a6ff}.line{stroke:#58a6ff}}
</style>
`

// trendSVG draws three panels below each other: keys that fail, the median age of active keys, the time to fix.
func trendSVG(w *bufio.Writer, points []history.Point, of string) {
	panels := []struct {
		title, unit string
		value       func(p *history.Point) (float64, bool)
	}{
		{"Keys that fail", "", func(p *history.Point) (float64, bool) { return float64(p.FailingKeys), p.Accounts > 0 }},
		{"Median age of active keys, days", "d", func(p *history.Point) (float64, bool) { d, ok := p.MedianAge(); return float64(d), ok }},
		{"Time to fix (median of the day), days", "d", func(p *history.Point) (float64, bool) {
			d, ok := p.TimeToFix()
			return d.Hours() / 24, ok
		}},
	}
	height := svgHead + len(panels)*(svgPanel+svgGap) + svgFooter
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n",
		svgWidth, height, svgWidth, height, html.EscapeString(clean("Trend of "+of)))
	fmt.Fprintf(w, "%s", svgStyle)
	fmt.Fprintf(w, `<rect class="page" width="%d" height="%d"/>`+"\n", svgWidth, height)
	fmt.Fprintf(w, `<text class="title" x="%d" y="26">Access keys of %s</text>`+"\n", svgRight, html.EscapeString(clean(of)))
	for i, p := range panels {
		top := svgHead + i*(svgPanel+svgGap) + svgGap - 12
		values := make([]float64, len(points))
		have := make([]bool, len(points))
		most := 0.0
		for k := range points {
			values[k], have[k] = p.value(&points[k])
			most = max(most, values[k])
		}
		svgPanelOf(w, p.title, p.unit, top, values, have, roundUp(most))
	}
	first, last := points[0].Day.Format(time.DateOnly), points[len(points)-1].Day.Format(time.DateOnly)
	fmt.Fprintf(w, `<text x="%d" y="%d">%s</text><text x="%d" y="%d" text-anchor="end">%s</text>`+"\n</svg>\n",
		svgLeft, height-8, first, svgWidth-svgRight, height-8, last)
}

func svgPanelOf(w *bufio.Writer, title, unit string, top int, values []float64, have []bool, most float64) {
	fmt.Fprintf(w, `<text class="name" x="%d" y="%d">%s</text>`+"\n", svgRight, top-14, html.EscapeString(title))
	bottom := top + svgPanel - 20
	for _, share := range []float64{0, 0.5, 1} {
		y := float64(bottom) - share*float64(bottom-top)
		fmt.Fprintf(w, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s%s</text>`+"\n",
			svgLeft, svgWidth-svgRight, y, y, svgLeft-6, y+4, strconv.FormatFloat(most*share, 'f', -1, 64), unit)
	}
	x := func(i int) float64 {
		if len(values) == 1 {
			return svgLeft
		}
		return svgLeft + float64(i)*float64(svgWidth-svgLeft-svgRight)/float64(len(values)-1)
	}
	y := func(v float64) float64 { return float64(bottom) - v/most*float64(bottom-top) }
	for i := 0; i < len(values); {
		if !have[i] {
			i++
			continue
		}
		var line strings.Builder
		from := i
		for ; i < len(values) && have[i]; i++ {
			fmt.Fprintf(&line, "%.1f,%.1f ", x(i), y(values[i]))
		}
		if i-from == 1 {
			fmt.Fprintf(w, `<circle class="dot" cx="%.1f" cy="%.1f" r="3"/>`+"\n", x(from), y(values[from]))
			continue
		}
		fmt.Fprintf(w, `<polygon class="area" points="%.1f,%d %s%.1f,%d"/><polyline class="line" points="%s"/>`+"\n",
			x(from), bottom, line.String(), x(i-1), bottom, strings.TrimSpace(line.String()))
	}
}

// roundUp is the next of 2, 4, 10, 20, 40, 100 and so on, for the end of a scale whose half is whole.
func roundUp(v float64) float64 {
	for scale := 1.0; ; scale *= 10 {
		for _, m := range []float64{2, 4, 10} {
			if v <= m*scale {
				return m * scale
			}
		}
	}
}
