package report

import (
	"maps"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/finding"
)

// What stands beside the verdicts, in the words that all formats for people share.

const (
	notJudged = "not judged"
	// scoreCaveat stands under every scoreboard: a control that passes here may still fail for a password.
	scoreCaveat = "This rests on access keys only: a control that also asks for passwords or more is covered in that part only."
)

// rowStatus is the outcome of a control for people. The status of a control nobody was judged for is unknown,
// which would read as if something had been looked at.
func rowStatus(r finding.ScoreRow) string {
	if r.Fail+r.Pass+r.Unknown+r.Excepted == 0 {
		return notJudged
	}
	return string(r.Status())
}

// countText names the counts that are not zero.
func countText(fail, unknown, excepted, pass int) string {
	var parts []string
	for _, c := range []struct {
		n    int
		word string
	}{{fail, "fail"}, {unknown, "unknown"}, {excepted, "excepted"}, {pass, "pass"}} {
		if c.n > 0 {
			parts = append(parts, number(c.n)+" "+c.word)
		}
	}
	if len(parts) == 0 {
		return notJudged
	}
	return strings.Join(parts, ", ")
}

// stateText says to people why an exception did nothing.
func stateText(s finding.ExceptionState) string {
	if s == finding.Unreadable {
		return "needs live evidence (key ids, tags)"
	}
	return clean(string(s))
}

// exceptionScope says what an exception is about. The pattern of users is written as name writes it, the rest
// as text does.
func exceptionScope(e *finding.Exception, text, name func(string) string) string {
	out := text(clean(e.Rule)) + " for user " + name(clean(e.User)) + " in account " + text(clean(e.Account))
	if e.Key != "" {
		out += ", key " + text(clean(e.Key))
	}
	for _, tag := range slices.Sorted(maps.Keys(e.Tag)) {
		out += ", tag " + text(clean(tag+"="+e.Tag[tag]))
	}
	return out
}

// exceptionTail says who answers for an exception, until when, why, and where it stands.
func exceptionTail(e *finding.Exception) string {
	out := "owner " + clean(e.Owner) + ", expires " + date(e.Expires) + ": " + clean(e.Reason)
	if e.Origin != "" {
		out += " (" + clean(e.Origin) + ")"
	}
	return out
}

// noticeText is an exception that did nothing, in a sentence.
func noticeText(n *finding.ExceptionNotice) string {
	return "exception that did nothing, " + stateText(n.State) + ": " + exceptionScope(&n.Exception, asIs, asIs) + "; " +
		exceptionTail(&n.Exception)
}

// whyLines are the reasons why a rule was not judged, a line each, at least one.
func whyLines(n finding.NotJudged) []string {
	lines := strings.Split(strings.TrimRight(n.Why, "\n"), "\n")
	for i := range lines {
		lines[i] = clean(strings.TrimSpace(lines[i]))
	}
	return lines
}

// whyText is whyLines in one line.
func whyText(n finding.NotJudged) string { return strings.Join(whyLines(n), "; ") }
