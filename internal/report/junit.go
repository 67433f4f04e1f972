package report

import (
	"bufio"
	"encoding/xml"
	"strings"

	"github.com/keyreeve/keyreeve/internal/finding"
)

type junitSuite struct {
	XMLName  xml.Name `xml:"testsuite"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Skipped  int      `xml:"skipped,attr"`
	Time     string   `xml:"timestamp,attr"`
}

type junitCase struct {
	XMLName xml.Name      `xml:"testcase"`
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitOutcome `xml:"failure"`
	Error   *junitOutcome `xml:"error"`
	Skipped *junitOutcome `xml:"skipped"`
}

type junitOutcome struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes a test suite for each rule and a test case for each verdict: failing is a failure,
// unknown an error, excepted is skipped. What could not be read is a suite of its own whose cases are
// errors, so that a pipeline does not take an unread account for a clean one; rules that were not judged are
// skipped cases of another. Notes and exceptions that did nothing are the output of a last suite without cases.
func writeJUnit(w *bufio.Writer, a *finding.Audit, o Options) error {
	parts := junitParts(a, o)
	var all junitSuite
	for _, p := range parts {
		all.Tests += p.Tests
		all.Failures += p.Failures
		all.Errors += p.Errors
		all.Skipped += p.Skipped
	}
	j := &junit{w: w, enc: xml.NewEncoder(w)}
	j.enc.Indent("", "  ")
	j.text(xml.Header)
	all.XMLName.Local, all.Name, all.Time = "testsuites", product, instant(a.AsOf)
	j.open(all)
	for _, p := range parts {
		p.Time = instant(a.AsOf)
		j.open(p.junitSuite)
		p.write(j)
		j.shut("testsuite")
	}
	j.shut("testsuites")
	if j.err != nil {
		return j.err
	}
	if err := j.enc.Close(); err != nil {
		return err
	}
	return w.WriteByte('\n')
}

// junitPart is a suite with its counts, which come first in XML, and what writes its cases.
type junitPart struct {
	junitSuite
	write func(j *junit)
}

func junitParts(a *finding.Audit, o Options) []*junitPart {
	var parts []*junitPart
	if n := gapCount(a); n > 0 {
		parts = append(parts, &junitPart{junitSuite{Name: "evidence", Tests: n, Errors: n}, func(j *junit) { j.gaps(a) }})
	}
	if n := len(a.NotJudged); n > 0 {
		parts = append(parts, &junitPart{junitSuite{Name: notJudged, Tests: n, Skipped: n}, func(j *junit) { j.notJudged(a) }})
	}
	parts = append(parts, junitRules(a, o)...)
	if len(a.Notes)+len(a.Exceptions) > 0 {
		parts = append(parts, &junitPart{junitSuite{Name: "notes"}, func(j *junit) { j.notes(a) }})
	}
	return parts
}

// junitRules counts the cases of each rule, in the order of the summary.
func junitRules(a *finding.Audit, o Options) []*junitPart {
	var parts []*junitPart
	byRule := map[string]*junitPart{}
	part := func(rule string) *junitPart {
		p := byRule[rule]
		if p == nil {
			p = &junitPart{junitSuite{Name: rule}, func(j *junit) {
				for v := range a.Verdicts {
					if v.Rule == rule && o.shown(v.Status) {
						j.put(junitCaseOf(v))
					}
				}
			}}
			byRule[rule] = p
			parts = append(parts, p)
		}
		return p
	}
	for _, r := range a.Summary {
		part(r.Rule)
	}
	for v := range a.Verdicts {
		if !o.shown(v.Status) {
			continue
		}
		p := part(v.Rule)
		p.Tests++
		switch v.Status {
		case finding.Fail:
			p.Failures++
		case finding.Unknown:
			p.Errors++
		case finding.Excepted:
			p.Skipped++
		case finding.Pass:
		}
	}
	return parts
}

func junitCaseOf(v *finding.Verdict) junitCase {
	c := junitCase{Class: accountName(v.Account), Name: subjectName(v)}
	switch v.Status {
	case finding.Fail:
		c.Failure = &junitOutcome{clean(v.Message), string(v.Severity), remedyText(v.Remedy)}
	case finding.Unknown:
		c.Error = &junitOutcome{clean(v.Message), "unknown", ""}
	case finding.Excepted:
		if e := v.Exception; e != nil {
			c.Skipped = &junitOutcome{Message: clean("accepted by " + e.Owner + " until " + date(e.Expires) + ": " + e.Reason)}
		} else {
			c.Skipped = &junitOutcome{Message: clean(v.Message)}
		}
	case finding.Pass:
	}
	return c
}

// junit writes XML piece by piece and keeps the first error.
type junit struct {
	w   *bufio.Writer
	enc *xml.Encoder
	err error
}

func (j *junit) text(s string) {
	if j.err == nil {
		_, j.err = j.w.WriteString(s)
	}
}

func (j *junit) open(s junitSuite) {
	name := s.XMLName.Local
	if name == "" {
		name = "testsuite"
	}
	attr := func(k string, v string) xml.Attr { return xml.Attr{Name: xml.Name{Local: k}, Value: v} }
	j.token(xml.StartElement{Name: xml.Name{Local: name}, Attr: []xml.Attr{
		attr("name", clean(s.Name)), attr("tests", plain(s.Tests)), attr("failures", plain(s.Failures)),
		attr("errors", plain(s.Errors)), attr("skipped", plain(s.Skipped)), attr("timestamp", s.Time),
	}})
}

func (j *junit) shut(name string) { j.token(xml.EndElement{Name: xml.Name{Local: name}}) }

func (j *junit) token(t xml.Token) {
	if j.err == nil {
		j.err = j.enc.EncodeToken(t)
	}
}

func (j *junit) put(c junitCase) {
	if j.err == nil {
		j.err = j.enc.Encode(c)
	}
}

func (j *junit) gaps(a *finding.Audit) {
	for i := range a.Accounts {
		for _, g := range a.Accounts[i].Gaps {
			name := clean(g.Reading)
			if g.Subject != "" {
				name += " of " + clean(g.Subject)
			}
			j.put(junitCase{
				Class: accountName(a.Accounts[i].Account), Name: name, Error: &junitOutcome{clean(g.Why), notRead, ""},
			})
		}
	}
}

func (j *junit) notJudged(a *finding.Audit) {
	for _, n := range a.NotJudged {
		j.put(junitCase{Class: notJudged, Name: clean(n.Rule), Skipped: &junitOutcome{Message: whyText(n)}})
	}
}

func (j *junit) notes(a *finding.Audit) {
	var b strings.Builder
	for i := range a.Exceptions {
		b.WriteString(noticeText(&a.Exceptions[i]) + "\n")
	}
	for _, n := range a.Notes {
		b.WriteString(clean(n) + "\n")
	}
	j.token(xml.StartElement{Name: xml.Name{Local: "system-out"}})
	j.token(xml.CharData(b.String()))
	j.shut("system-out")
}
