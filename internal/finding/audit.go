package finding

import (
	"iter"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Audit is the outcome of one run.
type Audit struct {
	Version  string // of the program that judged
	AsOf     time.Time
	Ruleset  string
	Complete bool // false: some evidence could not be read, or is older than allowed
	Accounts []AccountResult
	Units    []UnitResult // by path; empty where no account's unit was read
	// Verdicts in the order of Compare. It can be walked any number of times; passing verdicts are part
	// of it only when they were asked for.
	Verdicts   iter.Seq[*Verdict]
	Summary    []RuleResult      // one row a rule judged, in the ruleset's order
	Due        []Verdict         // passing now, failing within the asked time, soonest first
	NotJudged  []NotJudged       // rules that this evidence cannot answer
	Exceptions []ExceptionNotice // expired and unmatched ones
	Scoreboard *Scoreboard       // nil unless a framework was asked for
	Notes      []string          // what a reader should know before trusting the rest, a sentence each
}

// AccountResult is one account's evidence and what it holds.
type AccountResult struct {
	Account    fact.Account
	Evidence   fact.Evidence
	Users      int // root not counted
	Keys       int // root's counted
	ActiveKeys int
	Ages       []AgeBand // active keys by age, youngest band first
	Gaps       []fact.Gap
	Counts     Counts
}

// UnitResult sums the accounts of an organisational unit, those of the units below it included.
type UnitResult struct {
	Path       string // such as Root/Workloads/Prod
	Accounts   int
	Incomplete int // of them, those with gaps
	Users      int // roots not counted
	Keys       int
	ActiveKeys int
	Counts     Counts
}

// Counts are numbers of verdicts, passing ones left out.
type Counts struct {
	Fail, Unknown, Excepted int
}

// Add adds o to c.
func (c *Counts) Add(o Counts) {
	c.Fail, c.Unknown, c.Excepted = c.Fail+o.Fail, c.Unknown+o.Unknown, c.Excepted+o.Excepted
}

// AgeBand counts active keys whose age in days is at least From and below To.
type AgeBand struct {
	From, To int // days; To 0 means no upper end
	Keys     int
}

// RuleResult counts the verdicts of one rule.
type RuleResult struct {
	Rule     string
	Kind     string
	Title    string
	Severity Severity
	Fail     int
	Pass     int
	Unknown  int
	Excepted int
}

// Add counts n more verdicts of status s.
func (r *RuleResult) Add(s Status, n int) {
	switch s {
	case Fail:
		r.Fail += n
	case Pass:
		r.Pass += n
	case Unknown:
		r.Unknown += n
	case Excepted:
		r.Excepted += n
	}
}

// NotJudged says which rule was left out and why.
type NotJudged struct {
	Rule string
	Why  string
}

// ExceptionNotice tells about an exception that did nothing in this run.
type ExceptionNotice struct {
	Exception Exception
	State     ExceptionState
}

// ExceptionState says why an exception did nothing.
type ExceptionState string

const (
	Expired    ExceptionState = "expired"    // its time is over: what it covered fails again
	Unmatched  ExceptionState = "unmatched"  // nothing that fails matches it
	Unreadable ExceptionState = "unreadable" // it needs tags or key ids that this evidence does not hold
)

// Scoreboard shows the controls of one framework.
type Scoreboard struct {
	Framework string
	Rows      []ScoreRow
}

// ScoreRow is one control of a framework: it holds when no rule that serves it fails or is unknown.
type ScoreRow struct {
	Control  string
	Rules    []string // ids of the rules judged for it
	Fail     int
	Pass     int
	Unknown  int
	Excepted int
}

// Status is the row's outcome: fail before unknown before excepted before pass. A control nobody was
// judged for is unknown.
func (r ScoreRow) Status() Status {
	switch {
	case r.Fail > 0:
		return Fail
	case r.Unknown > 0:
		return Unknown
	case r.Excepted > 0:
		return Excepted
	case r.Pass > 0:
		return Pass
	default:
		return Unknown
	}
}

// Worst is the highest severity among failing verdicts; empty when nothing fails.
func (a *Audit) Worst() Severity {
	var worst Severity
	for _, r := range a.Summary {
		if r.Fail > 0 && r.Severity.Rank() > worst.Rank() {
			worst = r.Severity
		}
	}
	return worst
}

// Totals sums the summary's rows.
func (a *Audit) Totals() RuleResult {
	var t RuleResult
	for _, r := range a.Summary {
		t.Fail += r.Fail
		t.Pass += r.Pass
		t.Unknown += r.Unknown
		t.Excepted += r.Excepted
	}
	return t
}
