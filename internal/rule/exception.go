package rule

import (
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

// Exceptions are the accepted risks of a run. They remember which of them were of use, safely from several
// goroutines, so one value serves one run. Nil holds none.
type Exceptions struct {
	list []*exception
}

type exception struct {
	finding.Exception
	expired bool
	rules   []string          // ids that Rule means: itself, and what it is an alias of
	where   *yamlfile.Mistake // its place, for Check

	// matched: it covered a failure. Of a failure that rule, account and user match, seen: key id and tags were
	// read, and they differ; blind: they were not read. Both are set where a report was judged first and the
	// users that fail were then read live.
	matched, seen, blind atomic.Bool
}

// ParseExceptions reads a file with the one key exceptions. asOf, the instant that is judged at, decides which have
// expired; none may reach more than a year ahead of it and of today. The error lists every mistake with its place.
func ParseExceptions(name string, data []byte, asOf, today time.Time) (*Exceptions, error) {
	s := newSource(name)
	root := s.Parse(data)
	if root == nil {
		return nil, s.Err()
	}
	e := &Exceptions{}
	if list := s.Fields(root, "an exceptions file", []string{"exceptions"})["exceptions"].Value; list != nil {
		e = s.exceptions(list, asOf, today)
	} else if s.Mistakes() == 0 {
		s.Wrong(root, "begin with a line exceptions:", "no exceptions in it")
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	return e, nil
}

// ReadExceptions reads the section exceptions of a file that holds other sections too, such as the settings file; list is
// its value. Mistakes are noted in f; what is returned is of use only where there are none.
func ReadExceptions(f *yamlfile.File, list yamlfile.Node, asOf, today time.Time) *Exceptions {
	return (&source{f}).exceptions(list, asOf, today)
}

func (s *source) exceptions(list ast.Node, asOf, today time.Time) *Exceptions {
	e := &Exceptions{}
	for _, item := range s.Items(list, "a list of exceptions") {
		if x := s.exception(item, asOf, today); x != nil {
			e.list = append(e.list, x)
		}
	}
	return e
}

func exceptionKeys() []string {
	return []string{"rule", "account", "user", "key", "tag", "reason", "owner", "expires"}
}

// exception reads one entry. Its mistakes are noted, never guessed around.
func (s *source) exception(n ast.Node, asOf, today time.Time) *exception {
	f := s.Fields(n, "an exception", exceptionKeys())
	if f == nil {
		return nil
	}
	x := &exception{where: s.MistakeAt(yamlfile.PlaceOf(n), "", "")}
	x.Account, x.User = "*", "*" // a user that is left out stands beside a key
	x.Origin = x.where.Origin()
	for _, name := range []string{"rule", "reason", "owner", "expires"} {
		if _, ok := f[name]; !ok {
			s.Note(s.MistakeAt(yamlfile.PlaceOf(n), hintFor(name), "exception without "+name))
		}
	}
	_, user := f["user"]
	if _, key := f["key"]; !user && !key {
		// A forgotten line must not accept the risk of everybody.
		s.Note(s.MistakeAt(yamlfile.PlaceOf(n), hintFor("user"), "exception without user or key"))
	}
	if v, ok := f["rule"]; ok {
		x.where = s.MistakeAt(v.Value.GetToken(), "", "")
		x.Rule, x.rules = s.exceptedRules(v.Value)
	}
	if v, ok := f["account"]; ok {
		x.Account = s.account(v.Value)
	}
	if v, ok := f["user"]; ok {
		x.User = s.Text(v.Value, "user")
	}
	if v, ok := f["key"]; ok {
		x.Key = s.keyID(v.Value)
	}
	if v, ok := f["tag"]; ok {
		x.Tag = s.Pairs(v.Value, "tag")
	}
	if v, ok := f["reason"]; ok {
		x.Reason = s.Text(v.Value, "reason")
	}
	if v, ok := f["owner"]; ok {
		x.Owner = s.Text(v.Value, "owner")
	}
	if v, ok := f["expires"]; ok {
		latest := asOf
		if today.After(asOf) {
			latest = today
		}
		x.Expires = s.expiry(v.Value, latest)
		x.expired = x.Expires.Known() && !x.Expires.Time().After(asOf)
	}
	return x
}

func hintFor(name string) string {
	switch name {
	case "rule":
		return `say which rule it is about, such as key-age-90, or "*" for every rule`
	case "user":
		return `say whom it is about: a user, the id of a key, or user: "*" for everybody`
	case "reason":
		return "say why the risk is accepted"
	case "owner":
		return "say who accepts it, such as a mail address"
	default:
		return "say until when, at most one year ahead: expires: 2027-03-31"
	}
}

func (s *source) exceptedRules(n ast.Node) (string, []string) {
	name := s.Text(n, "rule")
	if name == "" || name == "*" {
		return name, nil
	}
	ids, err := Resolve(name)
	if err != nil && strings.Contains(name, "*") {
		s.Wrong(n, `name one rule, or "*" for every rule`, "rule %q is a glob", name)
	}
	if choices := byNumber(name); len(choices) > 0 {
		s.Wrong(n, choicesHint(choices), "rule %q is a number without its version", name)
	}
	return name, append(ids, name) // a rule of the user's ruleset may have the name; Check looks
}

func (s *source) account(n ast.Node) string {
	id := s.Digits(n, "account")
	if id != "" && id != "*" && !fact.IsAccountID(id) {
		s.Wrong(n, `write twelve digits in quotes, or "*"`, "account %q is not an account id", id)
	}
	return id
}

func (s *source) keyID(n ast.Node) string {
	id := s.Text(n, "key")
	if strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	}) {
		s.Wrong(n, "write the whole id, such as AKIAIOSFODNN7EXAMPLE; leave key out for every key", "key %q is not an access key id", id)
	}
	return id
}

// expiry reads a date, which ends as it begins (00:00 UTC), or an RFC 3339 instant.
func (s *source) expiry(n ast.Node, now time.Time) fact.Time {
	text := s.Text(n, "expires")
	if text == "" {
		return fact.Time{}
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		t, err = time.Parse(time.RFC3339, text)
	}
	if err != nil {
		s.Wrong(n, "write a date such as 2027-03-31, or RFC 3339", "expires %q is not a date", text)
		return fact.Time{}
	}
	if latest := now.AddDate(1, 0, 0); t.After(latest) {
		s.Wrong(n, "the latest date allowed is "+latest.UTC().Format(time.DateOnly), "expires %s is more than one year ahead", text)
	}
	return fact.At(t.UTC())
}

// Check makes sure that every exception names a rule that exists, in the catalogue or in rs. The error lists
// every one that does not, with its place.
func (e *Exceptions) Check(rs *Ruleset) error {
	if e == nil {
		return nil
	}
	known := catalogueIDs()
	for i := range rs.Rules {
		if !slices.Contains(known, rs.Rules[i].ID) {
			known = append(known, rs.Rules[i].ID)
		}
	}
	s := newSource("")
	for _, x := range e.list {
		if x.Rule == "*" || slices.ContainsFunc(x.rules, func(id string) bool { return slices.Contains(known, id) }) {
			continue
		}
		m := *x.where
		m.Text, m.Hint = "unknown rule "+strconv.Quote(x.Rule), yamlfile.DidYouMean(x.Rule, known)
		s.Note(&m)
	}
	return s.Err()
}

// Fresh is a copy of e that has covered nothing yet, for a judging whose outcome is thrown away.
func (e *Exceptions) Fresh() *Exceptions {
	if e == nil {
		return nil
	}
	out := &Exceptions{}
	for _, x := range e.list {
		out.list = append(out.list, &exception{Exception: x.Exception, expired: x.expired, rules: x.rules, where: x.where})
	}
	return out
}

// MergeExceptions joins lists, such as the section of the config file and a file of its own; nil ones are empty.
func MergeExceptions(lists ...*Exceptions) *Exceptions {
	out := &Exceptions{}
	for _, l := range lists {
		if l != nil {
			out.list = append(out.list, l.list...)
		}
	}
	return out
}

// All lists the exceptions in the order of their files.
func (e *Exceptions) All() []finding.Exception {
	if e == nil {
		return nil
	}
	var out []finding.Exception
	for _, x := range e.list {
		out = append(out, x.Exception)
	}
	return out
}

// cover returns the first exception in force that covers a failure of r, or nil. k is nil for a failure of the
// user. Every exception that matches is remembered as matched.
func (e *Exceptions) cover(r *Rule, a *fact.Account, u *fact.User, k *fact.Key) *finding.Exception {
	if e == nil || len(e.list) == 0 {
		return nil
	}
	var first *finding.Exception
	for _, x := range e.list {
		if x.expired || !x.about(r, a, u) || !x.fits(u, k) {
			continue
		}
		mark(&x.matched)
		if first == nil {
			first = &x.Exception
		}
	}
	return first
}

// Covers gives an exception in force that covers one of the rules, by id, for the key of u, or nil: for whoever is about
// to touch the key without having judged it just now.
func (e *Exceptions) Covers(rules []string, a *fact.Account, u *fact.User, k *fact.Key) *finding.Exception {
	for _, id := range rules {
		if x := e.cover(&Rule{ID: id}, a, u, k); x != nil {
			return x
		}
	}
	return nil
}

// about tells whether rule, account and user match, which every kind of evidence knows.
func (x *exception) about(r *Rule, a *fact.Account, u *fact.User) bool {
	return (x.Rule == "*" || slices.Contains(x.rules, r.ID)) &&
		(x.Account == "*" || x.Account == a.ID) &&
		matchesUser(x.User, u.Name, u.ARN)
}

// fits tells whether key and tag match, and notes where they could not be compared. An exception for one key
// never covers a failure of the user.
func (x *exception) fits(u *fact.User, k *fact.Key) bool {
	if x.Key != "" && k == nil {
		return false
	}
	unread := x.Key != "" && k.ID == "" || len(x.Tag) > 0 && !u.TagsRead
	differs := x.Key != "" && k.ID != "" && k.ID != x.Key || len(x.Tag) > 0 && u.TagsRead && !matchesTags(x.Tag, u.Tags)
	switch {
	case differs:
		mark(&x.seen)
		return false
	case unread:
		mark(&x.blind)
		return false
	default:
		return true
	}
}

// mark sets b without writing to memory that other cores read when it is set already.
func mark(b *atomic.Bool) {
	if !b.Load() {
		b.Store(true)
	}
}

// Notices tells which exceptions did nothing in the run, in the order of their files: expired, unreadable where
// the evidence lacks what they are about, else unmatched. sources are those of the audited accounts.
func (e *Exceptions) Notices(sources []fact.Source) []finding.ExceptionNotice {
	if e == nil {
		return nil
	}
	var out []finding.ExceptionNotice
	for _, x := range e.list {
		state := finding.Unmatched
		switch {
		case x.expired:
			state = finding.Expired
		case x.matched.Load():
			continue
		case x.blind.Load() && !x.seen.Load(), x.unanswerable(sources):
			state = finding.Unreadable
		}
		out = append(out, finding.ExceptionNotice{Exception: x.Exception, State: state})
	}
	return out
}

// unanswerable tells whether none of the sources can say if x matches: it asks for tags, which live evidence alone
// has, or every rule that it names needs more than a report on disk.
func (x *exception) unanswerable(sources []fact.Source) bool {
	if len(sources) == 0 {
		return false
	}
	if len(x.Tag) > 0 && !slices.Contains(sources, fact.Live) {
		return true
	}
	onDisk := !slices.ContainsFunc(sources, func(s fact.Source) bool { return s != fact.ReportFile })
	return onDisk && (x.Key != "" || x.needsLive())
}

func (x *exception) needsLive() bool {
	live := false
	for _, id := range x.rules {
		c, ok := entry(id)
		if !ok {
			continue
		}
		kind, _ := FindKind(c.kind)
		if !kind.NeedsLive {
			return false
		}
		live = true
	}
	return live
}
