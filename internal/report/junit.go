package report

import (
	"bufio"
	"encoding/xml"

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
// errors, so that a pipeline does not take an unread account for a clean one.
func writeJUnit(w *bufio.Writer, a *finding.Audit, o Options) error {
	suites := junitSuites(a, o)
	var all junitSuite
	for _, s := range suites {
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Errors += s.Errors
		all.Skipped += s.Skipped
	}
	j := junit{w: w, enc: xml.NewEncoder(w)}
	j.enc.Indent("", "  ")
	j.text(xml.Header)
	all.XMLName.Local, all.Name, all.Time = "testsuites", product, instant(a.AsOf)
	j.open(all)
	for _, s := range suites {
		j.open(*s)
		if s.Name == evidenceSuite {
			j.gaps(a)
		} else {
			for v := range a.Verdicts {
				if v.Rule == s.Name && o.shown(v.Status) {
					j.put(junitCaseOf(v))
				}
			}
		}
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

const evidenceSuite = "evidence"

// junitSuites counts the cases of each suite, in the order of the summary, for the counts come first.
func junitSuites(a *finding.Audit, o Options) []*junitSuite {
	var suites []*junitSuite
	byRule := map[string]*junitSuite{}
	suite := func(name string) *junitSuite {
		s := byRule[name]
		if s == nil {
			s = &junitSuite{Name: name, Time: instant(a.AsOf)}
			byRule[name] = s
			suites = append(suites, s)
		}
		return s
	}
	for i := range a.Accounts {
		n := len(a.Accounts[i].Gaps)
		if n > 0 {
			s := suite(evidenceSuite)
			s.Tests, s.Errors = s.Tests+n, s.Errors+n
		}
	}
	for _, r := range a.Summary {
		suite(r.Rule)
	}
	for v := range a.Verdicts {
		if !o.shown(v.Status) {
			continue
		}
		s := suite(v.Rule)
		s.Tests++
		switch v.Status {
		case finding.Fail:
			s.Failures++
		case finding.Unknown:
			s.Errors++
		case finding.Excepted:
			s.Skipped++
		case finding.Pass:
		}
	}
	return suites
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
				Class: accountName(a.Accounts[i].Account), Name: name, Error: &junitOutcome{clean(g.Why), "not read", ""},
			})
		}
	}
}
