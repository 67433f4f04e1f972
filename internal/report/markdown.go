package report

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// writeMarkdown writes a page for a pull request or a wiki: result, counts, one table of failing keys an
// account, then gaps and notes. Text from evidence is escaped, also against tags and links, and names of users
// stand in code, where no site looks for links and mentions.
func writeMarkdown(w *bufio.Writer, a *finding.Audit, o Options) error {
	m := markdown{w, a}
	var t tally
	m.put("# Access keys: %s rules, %s\n", md(a.Ruleset), minute(fact.At(a.AsOf)))
	for s := range sections(a, o) {
		t.count(s)
	}
	m.result(&t)
	m.put("\n| severity | rule | fail | unknown | excepted | pass |\n|---|---|--:|--:|--:|--:|\n")
	for _, r := range a.Summary {
		m.put("| %s | %s | %d | %d | %d | %d |\n", md(string(r.Severity)), md(r.Rule), r.Fail, r.Unknown, r.Excepted, r.Pass)
	}
	m.units()
	many, calm := len(a.Accounts) > listed, 0
	var closed []*shutGroup
	for s := range sections(a, o) {
		switch {
		case many && quiet(s):
			calm++
		case many && shut(s.result):
			closed = addShut(closed, s.result)
		default:
			m.account(s)
		}
	}
	m.shutOnes(closed)
	if calm > 0 {
		m.put("\nNothing fails in %s.\n", plural(calm, "other account"))
	}
	m.due()
	m.scoreboard()
	m.asides()
	return nil
}

type markdown struct {
	w     *bufio.Writer
	audit *finding.Audit
}

func (m markdown) put(format string, args ...any) { fmt.Fprintf(m.w, format, args...) }

func (m markdown) result(t *tally) {
	switch {
	case t.fails > 0:
		m.put("\n**FAIL**: %s on %s of %s.\n", plural(t.fails, "finding"), plural(t.keys, "key"), plural(t.users, "user"))
	case m.audit.Complete:
		m.put("\n**PASS**: nothing fails.\n")
	default:
		m.put("\nNothing fails in what was read.\n")
	}
	if !m.audit.Complete {
		m.put("\n> **INCOMPLETE**: some evidence is too old or was not read. What rests on it is unknown, not clean.\n")
	}
}

func (m markdown) units() {
	if len(m.audit.Units) == 0 {
		return
	}
	m.put("\n| %s |\n|---%s|\n", strings.Join(unitTitles[:], " | "), strings.Repeat("|--:", len(unitTitles)-1))
	for i := range m.audit.Units {
		r := unitRow(&m.audit.Units[i])
		r[0] = md(r[0])
		m.put("| %s |\n", strings.Join(r[:], " | "))
	}
}

func (m markdown) account(s *section) {
	r := s.result
	m.put("\n## %s\n\n%s. Evidence: %s.\n", md(accountName(r.Account)), countsText(r), md(evidenceText(r, m.audit.AsOf)))
	if len(r.Gaps) > 0 {
		m.put("\nNot read:\n\n")
		for _, g := range groupGaps(r.Gaps) {
			m.put("- %s: %s\n", g.what(fact.Account{}, md, mdName), md(g.why))
		}
	}
	m.table("Failing", s.failing)
	m.table("Passing", s.passing)
	m.bundles("Could not be judged: unknown, not clean", s.unknown)
	m.bundles("Accepted risks", s.excepted)
}

func (m markdown) shutOnes(groups []*shutGroup) {
	if len(groups) == 0 {
		return
	}
	m.put("\n## %s\n\n", shutTitle(groups))
	for _, g := range groups {
		m.put("- %s: %s\n  %s\n", md(g.reading), md(g.why), g.accountsText(md))
	}
	m.put("\nWhat the rules ask of them is unknown, not clean.\n")
}

func (m markdown) table(title string, hs []*holder) {
	if len(hs) == 0 {
		return
	}
	m.put("\n**%s**\n\n| severity | user | key | age | last used | since | rules |\n|---|---|---|--:|---|---|---|\n", title)
	for _, h := range hs {
		for _, s := range h.subjects {
			key, age, used := "", "", ""
			if s.key != nil {
				key, age, used = keyName(s.key), ageText(s.key.Created, m.audit.AsOf), lastUse(s.key.LastUsed, m.audit.AsOf)
			}
			rules := ruleList(s.rules)
			m.put("| %s | %s | %s | %s | %s | %s | %s |\n",
				s.worst, mdUser(h.user), md(key), md(age), md(used), date(s.since), md(rules))
		}
	}
}

func (m markdown) bundles(title string, bs []*bundle) {
	if len(bs) == 0 {
		return
	}
	m.put("\n**%s**\n\n", title)
	for _, b := range bs {
		for _, l := range b.lines {
			names, _ := l.names(len(l.subjects), mdWho)
			m.put("- %s: %s. %s\n", strings.Join(names, ", "), md(ruleList(l.rules)), md(b.text))
		}
	}
}

func (m markdown) due() {
	if len(m.audit.Due) == 0 {
		return
	}
	m.put("\n## Due soon\n\n| when | severity | rule | account | user | key |\n|---|---|---|---|---|---|\n")
	for i := range m.audit.Due {
		v := &m.audit.Due[i]
		m.put("| %s | %s | %s | %s | %s | %s |\n", minute(v.Due), v.Severity, md(v.Rule), md(v.Account.ID),
			mdUser(v.User), md(keyName(v.Key)))
	}
}

func (m markdown) scoreboard() {
	s := m.audit.Scoreboard
	if s == nil {
		return
	}
	m.put("\n## %s\n\n| control | status | rules | fail | unknown | excepted | pass |\n|---|---|---|--:|--:|--:|--:|\n", md(s.Framework))
	for _, r := range s.Rows {
		m.put("| %s | %s | %s | %d | %d | %d | %d |\n", md(r.Control), rowStatus(r), md(strings.Join(r.Rules, ", ")),
			r.Fail, r.Unknown, r.Excepted, r.Pass)
	}
	m.put("\n%s\n", scoreCaveat)
}

func (m markdown) asides() {
	a := m.audit
	if len(a.Exceptions) > 0 {
		m.put("\n## Exceptions that did nothing\n\n")
		for i := range a.Exceptions {
			e := &a.Exceptions[i].Exception
			m.put("- **%s**: %s; %s\n", md(stateText(a.Exceptions[i].State)), exceptionScope(e, md, mdName), md(exceptionTail(e)))
		}
	}
	if len(a.NotJudged) > 0 {
		m.put("\n## Not judged\n\n")
		for _, n := range a.NotJudged {
			m.put("- %s: %s\n", md(n.Rule), md(whyText(n)))
		}
	}
	if len(a.Notes) > 0 {
		m.put("\n## Notes\n\n")
		for _, n := range a.Notes {
			m.put("- %s\n", md(n))
		}
	}
}

// mdName writes a name in code. One that could end the code span or a table cell is escaped in a code tag.
func mdName(s string) string {
	s = clean(s)
	if s == "" || strings.TrimSpace(s) != s || strings.ContainsAny(s, "`|\\") {
		return "<code>" + md(s) + "</code>"
	}
	return "`" + s + "`"
}

// mdUser writes the name of a user in code, the account in words.
func mdUser(user string) string {
	if user == "" {
		return theAccount
	}
	return mdName(user)
}

func mdWho(s who) string {
	if s.key == "" {
		return mdUser(s.user)
	}
	return mdUser(s.user) + " (" + md(s.key) + ")"
}

// md makes text from evidence plain text in Markdown, in a table cell too.
func md(s string) string {
	return strings.NewReplacer(
		`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`, "~", `\~`, "#", `\#`, "!", `\!`,
		"$", `\$`, "&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "&#64;", "://", "&#58;//",
		// Sites make a link of www. and any host.
		"ww.", "ww&#46;", "wW.", "wW&#46;", "Ww.", "Ww&#46;", "WW.", "WW&#46;",
	).Replace(clean(s))
}
