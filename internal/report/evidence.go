package report

import (
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

const notRead = "not read"

// usersUnread tells that the users of an account were not, or not all, read: what the account counts is then
// only what was known otherwise.
func usersUnread(r *finding.AccountResult) bool {
	return slices.ContainsFunc(r.Gaps, func(g fact.Gap) bool {
		switch g.Reading {
		case "GetCredentialReport", "ListUsers", "AssumeRole", "GetCallerIdentity":
			return g.Subject == ""
		default:
			return false
		}
	})
}

// nothingRead tells that no user of the account was read at all: its zeros are no counts.
func nothingRead(r *finding.AccountResult) bool { return r.Users == 0 && usersUnread(r) }

// madeAt is the moment the evidence speaks of. A report that was asked for and did not come speaks of none,
// though it is known when it was asked for.
func madeAt(e fact.Evidence) fact.Time {
	if e.Source == fact.Report {
		return e.GeneratedAt
	}
	return e.MadeAt()
}

// countsText counts an account's users and keys, or says that they were not read.
func countsText(r *finding.AccountResult) string {
	keys := plural(r.Keys, "key") + " (" + number(r.ActiveKeys) + " active)"
	switch {
	case nothingRead(r) && r.Keys == 0:
		return "users: " + notRead + ", keys: " + notRead
	case nothingRead(r):
		return "users: " + notRead + ", " + keys + " known"
	case usersUnread(r):
		return plural(r.Users, "user") + " known, not all were read, " + keys + " known"
	default:
		return plural(r.Users, "user") + ", " + keys
	}
}

// countsOf adds up the accounts of an audit, for the sentence that ends a report.
func countsOf(a *finding.Audit) string {
	sum, unread := finding.AccountResult{}, 0
	for i := range a.Accounts {
		r := &a.Accounts[i]
		sum.Users, sum.Keys, sum.ActiveKeys = sum.Users+r.Users, sum.Keys+r.Keys, sum.ActiveKeys+r.ActiveKeys
		if usersUnread(r) {
			unread++
		}
	}
	in := " in " + plural(len(a.Accounts), "account")
	switch {
	case unread == 0:
		return countsText(&sum) + in
	case unread == len(a.Accounts) && sum.Users == 0:
		return "no users" + in
	default:
		return countsText(&sum) + in + ", where the users of " + number(unread) + " were not all read"
	}
}

// evidenceText says what an account's verdicts rest on and how old that is.
func evidenceText(r *finding.AccountResult, asOf time.Time) string {
	e := r.Evidence
	made, unread := madeAt(e), usersUnread(r)
	var b strings.Builder
	switch e.Source {
	case fact.Live:
		return liveText(r, asOf)
	case fact.ReportFile:
		b.WriteString("credential report " + sourceName(e.Path))
	case fact.Report:
		b.WriteString("credential report")
		if unread || made.Unknown() {
			b.WriteString(" " + notRead)
			if e.ReadAt.Known() {
				b.WriteString(", asked for at " + minute(e.ReadAt))
			}
			if made.Known() {
				b.WriteString("; the one that came was made " + minute(made))
			}
			return b.String()
		}
	default:
		b.WriteString(clean(string(e.Source)))
	}
	switch {
	case made.Known():
		b.WriteString(" made " + minute(made) + ", " + beforeOrAfter(made, asOf))
	case e.Newest.Known():
		b.WriteString(", which does not say when it was made; its latest date is " +
			minute(e.Newest) + ", " + beforeOrAfter(e.Newest, asOf))
	default:
		b.WriteString(", which does not say when it was made")
	}
	if e.Source == fact.Report {
		b.WriteString("; AWS makes a new one at most every four hours")
	}
	return b.String()
}

func liveText(r *finding.AccountResult, asOf time.Time) string {
	text := "every user read live"
	switch {
	case nothingRead(r):
		text = "list of users " + notRead + ", asked for live"
	case usersUnread(r):
		text = "some users read live, not all of them"
	}
	made := madeAt(r.Evidence)
	if !made.Known() {
		return text + ", at a time that is not stated"
	}
	return text + " at " + minute(made) + ", " + beforeOrAfter(made, asOf)
}

func sourceName(path string) string {
	if path == "-" || path == "" {
		return "on standard input"
	}
	return clean(path)
}

func beforeOrAfter(t fact.Time, asOf time.Time) string {
	d := fact.At(asOf).Sub(t)
	if d < 0 {
		return span(-d) + " AFTER the moment judged"
	}
	return span(d) + " before"
}
