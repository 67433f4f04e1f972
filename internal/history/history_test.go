package history_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
)

var (
	day0 = time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC)
	acc  = fact.Account{ID: "111122223333", Partition: "aws"}
	made = fact.At(day0.AddDate(0, -6, 0))
)

func at(days int) time.Time { return day0.AddDate(0, 0, days) }

func verdict(user, rule string, status finding.Status) finding.Verdict {
	k := &fact.Key{Slot: 1, Active: true, Created: made}
	return finding.Verdict{
		ID: finding.Fingerprint(rule, acc.ID, user, k, 0), Rule: rule, Kind: "key-age", Status: status, Severity: finding.High,
		Account: acc, User: user, Key: k, Since: made.Add(90 * 24 * time.Hour), Message: "active key is old",
	}
}

func seen(days int, vs ...finding.Verdict) *history.Observation {
	return &history.Observation{
		Account: acc, At: at(days), UsersRead: true, Complete: true, Has: func(string) bool { return true },
		Terms: map[string]string{"key-age-90": "t1", "key-unused-45": "t1"}, Verdicts: vs,
	}
}

// life plays observations one after the other, as a store does.
type life struct {
	open map[string]history.Entry
	all  []history.Entry
	last time.Time
}

func (l *life) observe(o *history.Observation) history.Changes {
	var open []history.Entry
	for _, e := range l.open {
		open = append(open, e)
	}
	c := history.Compare(open, l.last, o)
	for _, e := range c.Opened {
		l.open[e.ID] = e
	}
	for _, e := range c.Changed {
		l.open[e.ID] = e
	}
	for _, id := range c.Unseen {
		e := l.open[id]
		e.SeenAt = l.last
		l.open[id] = e
	}
	for _, id := range c.Seen {
		e := l.open[id]
		e.SeenAt = time.Time{}
		l.open[id] = e
	}
	for _, e := range c.Closed {
		delete(l.open, e.ID)
		l.all = append(l.all, e)
	}
	l.last = o.At
	return c
}

func newLife() *life { return &life{open: map[string]history.Entry{}} }

func TestCompare_aVerdictOpensOnceAndClosesOnceItIsFixed(t *testing.T) {
	l := newLife()
	if c := l.observe(seen(0, verdict("ci", "key-age-90", finding.Fail))); len(c.Opened) != 1 || !c.Opened[0].OpenedAt.Equal(at(0)) {
		t.Fatalf("opened %+v", c)
	}
	if c := l.observe(seen(1, verdict("ci", "key-age-90", finding.Fail))); !c.Empty() {
		t.Errorf("the same again: %+v", c)
	}
	c := l.observe(seen(2))
	if len(c.Closed) != 1 || c.Closed[0].Why != history.Fixed || !c.Closed[0].ClosedAt.Equal(at(2)) || !c.Closed[0].SeenAt.Equal(at(1)) {
		t.Errorf("closed %+v", c.Closed)
	}
	if c := l.observe(seen(3, verdict("ci", "key-age-90", finding.Fail))); len(c.Opened) != 1 || !c.Opened[0].OpenedAt.Equal(at(3)) {
		t.Errorf("failing anew: %+v", c)
	}
}

func TestCompare_saysWhyAVerdictCloses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(o *history.Observation)
		want   history.Reason
	}{
		"fixed": {func(*history.Observation) {}, history.Fixed},
		"excepted": {func(o *history.Observation) {
			o.Verdicts = append(o.Verdicts, verdict("ci", "key-age-90", finding.Excepted))
		}, history.Excepted},
		"user gone":                  {func(o *history.Observation) { o.Has = func(string) bool { return false } }, history.UserGone},
		"rule gone":                  {func(o *history.Observation) { delete(o.Terms, "key-age-90") }, history.RuleChanged},
		"rule has other terms":       {func(o *history.Observation) { o.Terms["key-age-90"] = "t2" }, history.RuleChanged},
		"rule changed and user gone": {func(o *history.Observation) { o.Terms["key-age-90"] = "t2"; o.Has = func(string) bool { return false } }, history.UserGone},
		"rule means others": {func(o *history.Observation) {
			o.Outside = func(rule, user string) bool { return rule == "key-age-90" && user == "ci" }
		}, history.RuleChanged},
		"rule gone, users unread": {func(o *history.Observation) { delete(o.Terms, "key-age-90"); o.UsersRead = false }, history.RuleChanged},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLife()
			l.observe(seen(0, verdict("ci", "key-age-90", finding.Fail)))
			o := seen(1)
			c.change(o)
			got := l.observe(o)
			if len(got.Closed) != 1 || got.Closed[0].Why != c.want || len(got.Opened) != 0 {
				t.Errorf("%+v, want %s", got, c.want)
			}
		})
	}
}

func TestCompare_whatCouldNotBeJudgedStaysOpenAndKeepsWhenItWasSeen(t *testing.T) {
	for name, blind := range map[string]func(o *history.Observation){
		"users unread": func(o *history.Observation) { o.UsersRead = false },
		"verdict unknown": func(o *history.Observation) {
			o.Verdicts = []finding.Verdict{verdict("ci", "key-age-90", finding.Unknown)}
		},
		"keys of it unread": func(o *history.Observation) {
			v := verdict("ci", "key-age-90", finding.Unknown)
			v.Key, v.ID = nil, "of the user"
			o.Verdicts = []finding.Verdict{v}
		},
		"rule not judgeable": func(o *history.Observation) { o.Unjudged = []string{"key-age-90"} },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLife()
			v := verdict("ci", "key-age-90", finding.Fail)
			l.observe(seen(0, v))
			for day := 1; day <= 2; day++ {
				o := seen(day)
				blind(o)
				if c := l.observe(o); !c.Empty() || len(c.Unseen) != 2-day {
					t.Fatalf("day %d: %+v", day, c)
				}
			}
			if e := l.open[v.ID]; !e.SeenAt.Equal(at(0)) {
				t.Errorf("last seen %v, want %v", e.SeenAt, at(0))
			}
			o := seen(3)
			c := l.observe(o)
			if len(c.Closed) != 1 || !c.Closed[0].SeenAt.Equal(at(0)) {
				t.Errorf("fixed while unseen: %+v", c.Closed)
			}
		})
	}
}

// AWS gives out one report for four hours: what it says of a user whom nobody read again may be older than what was found since.
func TestCompare_evidenceThatIsOlderThanTheLastJudgementOpensAndClosesNothing(t *testing.T) {
	l := newLife()
	l.observe(seen(1, verdict("ci", "key-age-90", finding.Fail)))
	o := seen(2, verdict("ops", "key-age-90", finding.Fail))
	o.Of = func(user string) time.Time { return at(0) }
	o.Has = func(user string) bool { return user == "ops" }
	c := l.observe(o)
	if !c.Empty() || !cmp.Equal(c.Unseen, []string{verdict("ci", "key-age-90", finding.Fail).ID}) {
		t.Errorf("by a report of before: %+v", c)
	}
	o = seen(3, verdict("ops", "key-age-90", finding.Fail))
	o.Of = func(user string) time.Time {
		if user == "ops" { // read again
			return at(3)
		}
		return at(0)
	}
	if c := l.observe(o); len(c.Opened) != 1 || c.Opened[0].User != "ops" || len(c.Closed) != 0 {
		t.Errorf("one user read again: %+v", c)
	}
	o = seen(4, verdict("ops", "key-age-90", finding.Fail))
	o.Of = func(string) time.Time { return at(4).Add(-time.Minute) }
	if c := l.observe(o); len(c.Opened) != 0 || len(c.Closed) != 1 || c.Closed[0].User != "ci" || c.Closed[0].Why != history.Fixed {
		t.Errorf("by a newer report: %+v", c)
	}
	o = seen(5)
	o.Of, o.Terms = func(string) time.Time { return at(0) }, map[string]string{}
	if c := l.observe(o); len(c.Closed) != 1 || c.Closed[0].Why != history.RuleChanged {
		t.Errorf("a rule that is gone asks nothing of evidence: %+v", c)
	}
}

func TestCompare_seenAgainIsNoNewOpening(t *testing.T) {
	l := newLife()
	v := verdict("ci", "key-age-90", finding.Fail)
	l.observe(seen(0, v))
	o := seen(1)
	o.UsersRead = false
	l.observe(o)
	c := l.observe(seen(2, v))
	if !c.Empty() || !cmp.Equal(c.Seen, []string{v.ID}) {
		t.Errorf("%+v", c)
	}
}

func TestCompare_noticesWhatChangesWhileOpen(t *testing.T) {
	l := newLife()
	v := verdict("ci", "key-age-90", finding.Fail)
	l.observe(seen(0, v))
	known := v
	key := *v.Key
	key.ID = "AKIAEXAMPLE"
	known.Key = &key
	c := l.observe(seen(1, known))
	if len(c.Changed) != 1 || c.Changed[0].KeyID != "AKIAEXAMPLE" || !c.Changed[0].OpenedAt.Equal(at(0)) {
		t.Errorf("the key id: %+v", c)
	}
	if c := l.observe(seen(2, v)); !c.Empty() {
		t.Errorf("a report without ids forgets the id: %+v", c)
	}
	o := seen(3, known)
	o.Terms["key-age-90"] = "t2"
	if c := l.observe(o); len(c.Changed) != 1 || c.Changed[0].Terms != "t2" {
		t.Errorf("other terms and failing still: %+v", c)
	}
	o = seen(3, known)
	o.At, o.Terms["key-age-90"] = o.At.Add(time.Hour), "t2"
	o.Tags = func(user string) map[string]string { return map[string]string{"owner": user} }
	if c := l.observe(o); len(c.Changed) != 1 || c.Changed[0].Tags["owner"] != "ci" {
		t.Errorf("tags that were read: %+v", c)
	}
	o.At, o.Tags = o.At.Add(time.Hour), func(string) map[string]string { return nil }
	if c := l.observe(o); !c.Empty() {
		t.Errorf("tags that were not read forget those that were: %+v", c)
	}
	known.Severity = finding.Critical
	if c := l.observe(&history.Observation{Account: acc, At: at(4), UsersRead: true, Has: o.Has, Terms: o.Terms, Verdicts: []finding.Verdict{known}}); len(c.Changed) != 1 || c.Changed[0].Severity != finding.Critical {
		t.Errorf("the severity: %+v", c)
	}
}

func TestCompare_rootIsNeverGone(t *testing.T) {
	l := newLife()
	l.observe(seen(0, verdict(fact.RootName, "key-age-90", finding.Fail)))
	o := seen(1)
	o.Has = func(string) bool { return false }
	if c := l.observe(o); len(c.Closed) != 1 || c.Closed[0].Why != history.Fixed {
		t.Errorf("%+v", c)
	}
}

func TestLeave_closesEverything(t *testing.T) {
	l := newLife()
	l.observe(seen(0, verdict("a", "key-age-90", finding.Fail), verdict("b", "key-age-90", finding.Fail)))
	var open []history.Entry
	for _, e := range l.open {
		open = append(open, e)
	}
	c := history.Leave(open, acc, at(0), at(5))
	if len(c.Closed) != 2 || c.Closed[0].Why != history.AccountGone || !c.Closed[1].ClosedAt.Equal(at(5)) || !c.Closed[0].SeenAt.Equal(at(0)) {
		t.Errorf("%+v", c)
	}
}

// Of any sequence of observations: an entry opens only when it fails and is not open, is open exactly while it fails or
// cannot be judged, and comparing the same observation again changes nothing.
func TestCompare_openIsWhatFailsOrCannotBeJudged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife()
		want := map[string]bool{}
		for d := range rapid.IntRange(1, 8).Draw(t, "days") {
			o := seen(d)
			o.UsersRead = rapid.Bool().Draw(t, "read")
			for _, user := range []string{"a", "b"} {
				for _, rule := range []string{"key-age-90", "key-unused-45"} {
					status := rapid.SampledFrom([]finding.Status{finding.Fail, finding.Pass, finding.Unknown, finding.Excepted}).Draw(t, fmt.Sprint(user, rule))
					v := verdict(user, rule, status)
					if status != finding.Pass {
						o.Verdicts = append(o.Verdicts, v)
					}
					switch {
					case status == finding.Fail:
						want[v.ID] = true
					case status == finding.Excepted, status == finding.Pass && o.UsersRead:
						delete(want, v.ID)
					}
				}
			}
			l.observe(o)
			got := map[string]bool{}
			for id := range l.open {
				got[id] = true
			}
			if !cmp.Equal(got, want) {
				t.Fatalf("day %d: open %v, want %v", d, got, want)
			}
			if c := l.observe(o); !c.Empty() || len(c.Seen)+len(c.Unseen) > 0 {
				t.Fatalf("day %d, the same again: %+v", d, c)
			}
		}
	})
}
