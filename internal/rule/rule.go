package rule

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// Rule is an instance of a kind: an id, thresholds, a severity, and where it holds.
type Rule struct {
	ID       string
	Kind     Kind
	Severity finding.Severity
	Params   Params
	Scope    *Scope // nil: everywhere
	Title    string // a short claim for headings, such as "Active keys are at most 90 days old"
	Aliases  []Alias
	Controls []finding.Control // those that verdicts carry; Catalogue has all
}

// Terms is a digest of what the rule asks and of whom: rules that differ in it may judge the same key differently. Its id,
// its severity and its words are no part of it.
func (r *Rule) Terms() string {
	var scope any
	if r.Scope != nil {
		scope = *r.Scope
	}
	text, err := json.Marshal([]any{r.Kind.Name, r.Kind.Subject, r.Params, r.Kind.Terms, scope})
	if err != nil { // all of it is plain values
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// Ruleset is a named list of rules.
type Ruleset struct {
	Name  string // built-in name, or the path of a file
	Title string
	Rules []Rule
}

// Judge applies a ruleset at one instant. It is safe for concurrent use.
type Judge struct {
	rules      []Rule
	exceptions *Exceptions
	now        fact.Time
	dockets    [3]docket
}

// docket lists, for one source of evidence, the checks of the rules that it can answer, by Kind.Subject.
type docket struct {
	from             fact.Source
	root, users      []check
	keys             []check // about keys of any status: for those that could not be read
	active, inactive []check // those of keys that judge a key of that status
	scoped           bool    // some rule has a scope
}

// check is what judging needs of a rule, close together.
type check struct {
	judge judge
	scope *Scope
	rule  int // its place in Rules
}

// NewJudge prepares rs for judging as of now. exceptions may be nil.
func NewJudge(rs *Ruleset, exceptions *Exceptions, now fact.Time) *Judge {
	j := &Judge{rules: rs.Rules, exceptions: exceptions, now: now}
	for n, from := range []fact.Source{fact.ReportFile, fact.Report, fact.Live} {
		d := docket{from: from}
		for i := range j.rules {
			r := &j.rules[i]
			if unanswerable(r, from) != "" {
				continue
			}
			c := check{judge: r.Kind.Prepare(&r.Params, now), scope: r.Scope, rule: i}
			d.scoped = d.scoped || r.Scope != nil
			switch r.Kind.Subject {
			case ForRoot:
				d.root = append(d.root, c)
			case ForKey:
				d.keys = append(d.keys, c)
				if r.Kind.Keys.holds(true) {
					d.active = append(d.active, c)
				}
				if r.Kind.Keys.holds(false) {
					d.inactive = append(d.inactive, c)
				}
			case ForUser:
				d.users = append(d.users, c)
			}
		}
		j.dockets[n] = d
	}
	return j
}

// of are the checks for a key of that status.
func (d *docket) of(active bool) []check {
	if active {
		return d.active
	}
	return d.inactive
}

// docket of a source; empty for one that does not exist.
func (j *Judge) docket(from fact.Source) *docket {
	for n := range j.dockets {
		if j.dockets[n].from == from {
			return &j.dockets[n]
		}
	}
	return &docket{}
}

// Judgement is a rule's outcome for one subject, not yet put in words: most pass and are only counted.
type Judgement struct {
	Rule      int // index into Rules
	Key       int // index into the user's keys; -1: about the user
	Outcome   Outcome
	Exception *finding.Exception // the accepted risk that covers a failure; nil if none does
}

// Status of the verdict that the judgement makes.
func (g *Judgement) Status() finding.Status {
	if g.Exception != nil {
		return finding.Excepted
	}
	return g.Outcome.Result.Status()
}

// Rules are the rules that the judge applies, in the ruleset's order.
func (j *Judge) Rules() []Rule { return j.rules }

// Now is the instant it judges at.
func (j *Judge) Now() fact.Time { return j.now }

// User judges u by every rule that the evidence can answer and appends what applies to out: first about the user, then
// key by key.
func (j *Judge) User(a *fact.Account, from fact.Source, u *fact.User, out []Judgement) []Judgement {
	j.each(a, from, u, func(rule, key int, o Outcome) {
		if o.Result == Inapplicable {
			return
		}
		g := Judgement{Rule: rule, Key: key, Outcome: o}
		if o.Result == Fails && j.exceptions != nil {
			var k *fact.Key
			if key >= 0 {
				k = &u.Keys[key]
			}
			g.Exception = j.exceptions.cover(&j.rules[rule], a, u, k)
		}
		out = append(out, g)
	})
	return out
}

// Counts are how often each result came out for one rule, by Result.
type Counts [Undecided + 1]int

// Count judges users like User and adds the results to counts, which has a place for each of Rules: for those who only
// count. Exceptions do not count here: ask Excepting first.
func (j *Judge) Count(a *fact.Account, from fact.Source, users []fact.User, counts []Counts) {
	d := j.docket(from)
	for i := range users {
		u := &users[i]
		if d.scoped || u.Root || !u.KeysRead {
			j.each(a, from, u, func(rule, _ int, o Outcome) { counts[rule][o.Result]++ })
			continue
		}
		// The same for most users, without a call for each outcome: a report may have a million of them.
		for n := range d.users {
			c := &d.users[n]
			result, _ := c.judge(u, nil)
			counts[c.rule][result]++
		}
		for k := range u.Keys {
			checks := d.of(u.Keys[k].Active)
			for n := range checks {
				c := &checks[n]
				result, _ := c.judge(u, &u.Keys[k])
				counts[c.rule][result]++
			}
		}
	}
}

// Excepting tells whether the judge has exceptions, which count failures as excepted.
func (j *Judge) Excepting() bool { return j.exceptions != nil && len(j.exceptions.list) > 0 }

// each gives the outcome of every rule that the evidence can answer for u, and for each of its keys; key is -1 for an
// outcome about the user.
func (j *Judge) each(a *fact.Account, from fact.Source, u *fact.User, found func(rule, key int, o Outcome)) {
	d := j.docket(from)
	if u.Root {
		j.eachRule(d.root, a, u, -1, found)
		return
	}
	j.eachRule(d.users, a, u, -1, found)
	if !u.KeysRead {
		j.eachUnread(d.keys, a, u, found)
	}
	for k := range u.Keys {
		j.eachRule(d.of(u.Keys[k].Active), a, u, k, found)
	}
}

// eachRule gives the outcomes of some rules for the user, or for one of its keys.
func (j *Judge) eachRule(checks []check, a *fact.Account, u *fact.User, key int, found func(rule, key int, o Outcome)) {
	var k *fact.Key
	if key >= 0 {
		k = &u.Keys[key]
	}
	for _, c := range checks {
		held := fact.Yes
		if c.scope != nil {
			held = c.scope.Holds(a, u)
		}
		if held == fact.No {
			continue
		}
		r := &j.rules[c.rule]
		result, missing := c.judge(u, k)
		o := r.Kind.outcome(&r.Params, u, k, result, missing)
		if held == fact.Unknown && o.Result == Fails {
			o = undecided(MissingTags) // whether the rule is meant for the user cannot be said
		}
		found(c.rule, key, o)
	}
}

// eachUnread gives one outcome for each rule about keys when these could not be read.
func (j *Judge) eachUnread(checks []check, a *fact.Account, u *fact.User, found func(rule, key int, o Outcome)) {
	for _, c := range checks {
		if c.scope == nil || c.scope.Holds(a, u) != fact.No {
			found(c.rule, -1, undecided(MissingKeys))
		}
	}
}

// UsersUnread is what can be said of an account whose list of users could not be read: one undecided
// judgement for each rule about users or keys, so that no count of failures passes for a clean account.
func (j *Judge) UsersUnread(from fact.Source, out []Judgement) []Judgement {
	d := j.docket(from)
	for _, checks := range [][]check{d.users, d.keys} {
		for _, c := range checks {
			out = append(out, Judgement{Rule: c.rule, Key: -1, Outcome: undecided(MissingUsers)})
		}
	}
	return out
}

// NotJudged lists the rules that evidence from this source cannot answer.
func (j *Judge) NotJudged(from fact.Source) []finding.NotJudged {
	var out []finding.NotJudged
	for i := range j.rules {
		if why := unanswerable(&j.rules[i], from); why != "" {
			out = append(out, finding.NotJudged{Rule: j.rules[i].ID, Why: why})
		}
	}
	return out
}

func unanswerable(r *Rule, from fact.Source) string {
	switch {
	case r.Kind.NeedsLive && from == fact.ReportFile:
		return "a report on disk cannot answer it; live evidence can"
	case r.Scope.needsTags() && from != fact.Live:
		return "its scope names tags, which only --evidence live reads"
	default:
		return ""
	}
}

// Verdict puts a judgement in words.
func (j *Judge) Verdict(a *fact.Account, u *fact.User, g *Judgement) finding.Verdict {
	r := &j.rules[g.Rule]
	v := finding.Verdict{
		Rule: r.ID, Kind: r.Kind.Name, Title: r.Title, Status: g.Status(), Severity: r.Severity,
		Account: *a, User: u.Name, UserARN: u.ARN, Controls: r.Controls, Exception: g.Exception,
	}
	nth := 0
	if g.Key >= 0 {
		v.Key = &u.Keys[g.Key]
		nth = sameSecond(u, g.Key)
	}
	v.ID = finding.Fingerprint(r.ID, a.ID, u.Name, v.Key, nth)
	v.Message, v.Facts = r.explain(u, v.Key, g.Outcome, j.now)
	switch g.Outcome.Result {
	case Fails:
		v.Since = g.Outcome.At
		v.Remedy = r.Kind.Remedy(&r.Params, u, v.Key)
	case Passes:
		v.Due = g.Outcome.At
	case Inapplicable, Undecided:
	}
	return v
}

func (r *Rule) explain(u *fact.User, k *fact.Key, o Outcome, now fact.Time) (string, map[string]any) {
	switch {
	case o.Missing == MissingUsers:
		return "nothing can be said: " + o.Missing.String(), nil
	case o.Missing == MissingKeys && r.Kind.Subject == ForKey:
		return "the user's keys could not be judged: " + o.Missing.String(), nil
	case o.Missing == MissingTags:
		return "whether the rule is meant for this user is unknown: " + o.Missing.String(), nil
	default:
		return r.Kind.Explain(&r.Params, u, k, now, o)
	}
}

// sameSecond counts the keys before u.Keys[i] that were made in the same second.
func sameSecond(u *fact.User, i int) int {
	n := 0
	for _, k := range u.Keys[:i] {
		if k.Created.Known() == u.Keys[i].Created.Known() && k.Created.Unix() == u.Keys[i].Created.Unix() {
			n++
		}
	}
	return n
}
