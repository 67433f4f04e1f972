package report

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"iter"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

//go:embed page/page.tmpl
var pageTemplate string

//go:embed page/page.css
var pageStyle string

//go:embed page/page.js
var pageScript string

// htmlPage is what the template sees. Every string in it is text: html/template escapes it where it stands.
type htmlPage struct {
	Style   template.CSS
	Script  template.JS
	Audit   *finding.Audit
	AsOf    string
	Title   string
	Verdict string // FAIL, PASS or what can be said instead
	Class   string
	Line    string
	Tiles   []htmlTile
	Weights []htmlWeight
	Chart   *htmlChart
	Rules   []finding.RuleResult
	Rows    iter.Seq[htmlRow]
	Many    bool // more than one account
	Folded  bool // their table is opened by whoever wants it: it is long
	// Accounts has texts where the audit has counts: an unread account has no zeros.
	Accounts   []htmlAccount
	Units      [][len(unitTitles)]string
	UnitTitles []string
	Gaps       []string
	GapCount   int
	Caveat     string // of the scoreboard
	Due        []htmlDue
}

type htmlTile struct {
	Count string
	Label string
	Class string
}

type htmlWeight struct {
	Severity finding.Severity
	Count    int
}

type htmlRow struct {
	V        *finding.Verdict
	Weight   int // for sorting: what fails by severity, then what is unknown, excepted, passing
	Account  string
	Name     string // of the account
	User     string
	Key      string
	Active   string
	Age      string
	AgeHours int64
	Used     string
	UsedUnix int64
	Since    string
	Message  string
	Remedy   string
	Controls string
	Accepted string
}

type htmlAccount struct {
	Name, Users, Keys, Active, Fail, Gaps, Evidence string
}

type htmlDue struct{ When, Severity, Rule, Account, Who string }

// writeHTML writes one page that needs no network and no script to be read: style, script and chart are
// inside. With script its table of findings can be sorted and filtered. It fits a phone, paper and the dark.
func writeHTML(w *bufio.Writer, a *finding.Audit, o Options) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"clean": clean, "date": date, "minute": minute, "number": number, "plural": plural,
		"counts": countText, "score": rowStatus, "state": stateText, "why": whyLines,
		"scope": func(e finding.Exception) string { return exceptionScope(&e, asIs, asIs) },
	}).Parse(pageTemplate)
	if err != nil {
		return err
	}
	return t.Execute(w, toHTML(a, o))
}

func toHTML(a *finding.Audit, o Options) *htmlPage {
	var t tally
	for s := range sections(a, Options{}) {
		t.count(s)
	}
	p := &htmlPage{
		Style: template.CSS(pageStyle), Script: template.JS(pageScript), //nolint:gosec // G203: our own embedded files
		Audit: a, AsOf: minute(fact.At(a.AsOf)), Rules: a.Summary, Many: len(a.Accounts) > 1, Folded: len(a.Accounts) > listed, Chart: ageChart(a),
		Rows: htmlRows(a, o), Title: htmlTitle(a), Caveat: scoreCaveat, GapCount: gapCount(a),
	}
	p.Verdict, p.Class, p.Line = htmlOutcome(a, &t)
	for _, s := range severitiesDown() {
		p.Weights = append(p.Weights, htmlWeight{s, t.bySeverity[s]})
	}
	total := a.Totals()
	active, unread := 0, 0
	var closed []*shutGroup
	for i := range a.Accounts {
		r := &a.Accounts[i]
		active += r.ActiveKeys
		if usersUnread(r) {
			unread++
		}
		p.Accounts = append(p.Accounts, toHTMLAccount(r, a))
		if len(a.Accounts) > listed && shut(r) {
			closed = addShut(closed, r)
			continue
		}
		for _, g := range groupGaps(r.Gaps) {
			p.Gaps = append(p.Gaps, g.what(r.Account, asIs, asIs)+": "+g.why)
		}
	}
	for _, g := range closed {
		p.Gaps = append(p.Gaps, g.reading+" of "+plural(len(g.names), "account")+": "+g.why+": "+g.accountsText(asIs))
	}
	for i := range a.Units {
		p.Units = append(p.Units, unitRow(&a.Units[i]))
	}
	p.UnitTitles = unitTitles[:]
	activeTile := htmlTile{number(active), "active keys", ""}
	switch {
	case unread > 0 && active == 0:
		activeTile = htmlTile{"?", "active keys: " + notRead, "warn"}
	case unread > 0:
		activeTile = htmlTile{number(active), "active keys in what was read", "warn"}
	}
	p.Tiles = []htmlTile{
		{number(t.fails), "findings", alarm(t.fails, "bad")}, {number(t.keys), "keys with findings", alarm(t.keys, "bad")},
		{number(t.users), "users with findings", alarm(t.users, "bad")}, activeTile,
		{number(total.Unknown), "unknown", alarm(total.Unknown, "warn")}, {number(total.Excepted), "excepted", ""},
	}
	for i := range a.Due {
		v := &a.Due[i]
		p.Due = append(p.Due, htmlDue{
			minute(v.Due), string(v.Severity), clean(v.Rule), accountName(v.Account),
			strings.TrimSpace(userName(v.User) + " " + keyName(v.Key)),
		})
	}
	return p
}

func toHTMLAccount(r *finding.AccountResult, a *finding.Audit) htmlAccount {
	out := htmlAccount{
		accountName(r.Account), number(r.Users), number(r.Keys), number(r.ActiveKeys), number(r.Counts.Fail), number(len(r.Gaps)), evidenceText(r, a.AsOf),
	}
	switch {
	case nothingRead(r):
		out.Users, out.Keys, out.Active, out.Fail = notRead, notRead, notRead, notRead
	case usersUnread(r):
		out.Users += " known, not all read"
	}
	return out
}

func alarm(n int, class string) string {
	if n == 0 {
		return ""
	}
	return class
}

func htmlTitle(a *finding.Audit) string {
	if len(a.Accounts) == 1 {
		return accountName(a.Accounts[0].Account)
	}
	return plural(len(a.Accounts), "account")
}

func htmlOutcome(a *finding.Audit, t *tally) (word, class, line string) {
	switch {
	case t.fails > 0:
		return "FAIL", "bad", fmt.Sprintf("%s on %s of %s.",
			plural(t.fails, "finding"), plural(t.keys, "key"), plural(t.users, "user"))
	case !a.Complete:
		return "INCOMPLETE", "warn", "Nothing fails in what was read, and not everything was read."
	default:
		return "PASS", "good", "Nothing fails."
	}
}

func htmlRows(a *finding.Audit, o Options) iter.Seq[htmlRow] {
	return func(yield func(htmlRow) bool) {
		for v := range a.Verdicts {
			if o.shown(v.Status) && !yield(toHTMLRow(v, a)) {
				return
			}
		}
	}
}

func toHTMLRow(v *finding.Verdict, a *finding.Audit) htmlRow {
	r := htmlRow{
		V: v, Weight: htmlWeightOf(v), Account: clean(v.Account.ID), Name: clean(v.Account.Name), User: userName(v.User),
		Since: date(v.Since), Message: clean(v.Message), Remedy: remedyText(v.Remedy),
		Controls: clean(controlText(v.Controls)), AgeHours: -1, UsedUnix: -1,
	}
	if k := v.Key; k != nil {
		r.Key, r.Age, r.Used = keyName(k), ageText(k.Created, a.AsOf), lastUse(k.LastUsed, a.AsOf)
		r.Active = "active"
		if !k.Active {
			r.Active = "inactive"
		}
		if k.Created.Known() {
			r.AgeHours = int64(fact.At(a.AsOf).Sub(k.Created).Hours())
		}
		if k.LastUsed.At.Known() {
			r.UsedUnix = k.LastUsed.At.Unix()
		} else if k.LastUsed.At.Never() {
			r.UsedUnix = 0
		}
	}
	if v.Exception != nil {
		r.Accepted = exceptionText(v)
	}
	return r
}

func htmlWeightOf(v *finding.Verdict) int {
	switch v.Status {
	case finding.Fail:
		return 30 + v.Severity.Rank()
	case finding.Unknown:
		return 20 + v.Severity.Rank()
	case finding.Excepted:
		return 10 + v.Severity.Rank()
	default:
		return v.Severity.Rank()
	}
}

// htmlChart is a bar chart in user units of its SVG.
type htmlChart struct {
	Height int
	Total  int
	Bars   []htmlBar
}

type htmlBar struct {
	Y, TextY, Width, CountX int
	Label                   string
	Keys, Step              int // Step colours the bar: 0 youngest to 4 oldest
}

const (
	chartLeft = 160
	chartRoom = 410
	chartRow  = 34
)

// ageChart adds the bands of all accounts that were read; nil when none states any.
func ageChart(a *finding.Audit) *htmlChart {
	var bands []finding.AgeBand
	for i := range a.Accounts {
		if nothingRead(&a.Accounts[i]) {
			continue
		}
		for _, b := range a.Accounts[i].Ages {
			found := false
			for j := range bands {
				if bands[j].From == b.From && bands[j].To == b.To {
					bands[j].Keys += b.Keys
					found = true
				}
			}
			if !found {
				bands = append(bands, b)
			}
		}
	}
	if len(bands) == 0 {
		return nil
	}
	most := 1
	c := &htmlChart{Height: len(bands)*chartRow + 6}
	for _, b := range bands {
		most = max(most, b.Keys)
		c.Total += b.Keys
	}
	for i, b := range bands {
		label := fmt.Sprintf("%d to %d days", b.From, b.To)
		if b.To == 0 {
			label = fmt.Sprintf("%d days or more", b.From)
		} else if b.From == 0 {
			label = fmt.Sprintf("under %d days", b.To)
		}
		width := b.Keys * chartRoom / most
		if b.Keys > 0 {
			width = max(width, 2)
		}
		c.Bars = append(c.Bars, htmlBar{
			Y: i*chartRow + 4, TextY: i*chartRow + 22, Width: width, CountX: chartLeft + width + 8, Label: label,
			Keys: b.Keys, Step: min(4, i*5/len(bands)),
		})
	}
	return c
}
