package rule

import (
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

// docket lists, for one source of evidence, the places of the rules that it can answer.
type docket struct {
	from        fact.Source
	root, users []int
}

// NewJudge prepares rs for judging as of now. exceptions may be nil.
func NewJudge(rs *Ruleset, exceptions *Exceptions, now fact.Time) *Judge {
	j := &Judge{rules: rs.Rules, exceptions: exceptions, now: now}
	for n, from := range []fact.Source{fact.ReportFile, fact.Report, fact.Live} {
		d := docket{from: from}
		for i := range j.rules {
			switch {
			case unanswerable(&j.rules[i], from) != "":
			case j.rules[i].Kind.Subject == ForRoot:
				d.root = append(d.root, i)
			default:
				d.users = append(d.users, i)
			}
		}
		j.dockets[n] = d
	}
	return j
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

// User judges u by every rule that the evidence can answer and appends what applies to out.
func (j *Judge) User(a *fact.Account, from fact.Source, u *fact.User, out []Judgement) []Judgement {
	d := j.docket(from)
	rules := d.users
	if u.Root {
		rules = d.root
	}
	for _, i := range rules {
		r := &j.rules[i]
		held := fact.Yes
		if r.Scope != nil {
			if held = r.Scope.holds(a, u); held == fact.No {
				continue
			}
		}
		switch {
		case r.Kind.Subject != ForKey:
			out = j.append(out, i, a, u, -1, r.judge(u, nil, held, j.now))
		case !u.KeysRead:
			out = j.append(out, i, a, u, -1, undecided(MissingKeys))
		default:
			for k := range u.Keys {
				out = j.append(out, i, a, u, k, r.judge(u, &u.Keys[k], held, j.now))
			}
		}
	}
	return out
}

// UsersUnread is what can be said of an account whose list of users could not be read: one undecided
// judgement for each rule about users or keys, so that no count of failures passes for a clean account.
func (j *Judge) UsersUnread(from fact.Source, out []Judgement) []Judgement {
	for i := range j.rules {
		if r := &j.rules[i]; r.Kind.Subject != ForRoot && unanswerable(r, from) == "" {
			out = append(out, Judgement{Rule: i, Key: -1, Outcome: undecided(MissingUsers)})
		}
	}
	return out
}

// judge asks the kind. Where it cannot be said whether the rule holds for the user, a failure is undecided.
func (r *Rule) judge(u *fact.User, k *fact.Key, held fact.Answer, now fact.Time) Outcome {
	o := r.Kind.Judge(&r.Params, u, k, now)
	if held == fact.Unknown && o.Result == Fails {
		return undecided(MissingTags)
	}
	return o
}

func (j *Judge) append(out []Judgement, rule int, a *fact.Account, u *fact.User, key int, o Outcome) []Judgement {
	if o.Result == Inapplicable {
		return out
	}
	g := Judgement{Rule: rule, Key: key, Outcome: o}
	if o.Result == Fails && j.exceptions != nil {
		var k *fact.Key
		if key >= 0 {
			k = &u.Keys[key]
		}
		g.Exception = j.exceptions.cover(&j.rules[rule], a, u, k)
	}
	return append(out, g)
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
		v.Remedy = string(r.Kind.Remedy(&r.Params, u, v.Key))
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
