package report

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// bundle is one sentence with the subjects it holds for: an accepted risk, a reason why nothing can be said.
type bundle struct {
	text  string
	lines []*bundleLine
}

// bundleLine names subjects for each of which the sentence holds of each of the rules, and of no other.
type bundleLine struct {
	subjects []who
	rules    []ruleMark
}

// who is a user, or the account where user is empty, and one of its keys where key is not empty.
type who struct{ user, key string }

func (n who) text() string {
	if n.key == "" {
		return userName(n.user)
	}
	return userName(n.user) + " (" + n.key + ")"
}

// names writes at most limit subjects as show writes them, and says how many more there are.
func (l *bundleLine) names(limit int, show func(who) string) (names []string, more string) {
	for i, s := range l.subjects {
		if i == limit {
			return names, " and " + number(len(l.subjects)-limit) + " more, all in -o json"
		}
		names = append(names, show(s))
	}
	return names, ""
}

// bundler gathers verdicts by subject and sentence. The zero value is ready to use.
type bundler struct {
	at    map[bundleKey]*bundleEntry
	order []*bundleEntry
}

type bundleKey struct {
	text, user, key string
	created         fact.Time // tells apart keys that look alike when masked
}

type bundleEntry struct {
	bundleKey
	rules []ruleMark
}

func (b *bundler) add(v *finding.Verdict, text string) {
	key := bundleKey{text: text, user: v.User}
	if v.Key != nil {
		key.key, key.created = keyName(v.Key), v.Key.Created
	}
	e := b.at[key]
	if e == nil {
		if b.at == nil {
			b.at = map[bundleKey]*bundleEntry{}
		}
		e = &bundleEntry{bundleKey: key}
		b.at[key] = e
		b.order = append(b.order, e)
	}
	if mark := (ruleMark{clean(v.Rule), v.Severity}); !slices.Contains(e.rules, mark) {
		e.rules = append(e.rules, mark)
	}
}

// bundles joins subjects that share the sentence and exactly the same rules, in the order they came.
func (b *bundler) bundles() []*bundle {
	type place struct{ text, rules string }
	var out []*bundle
	byText := map[string]*bundle{}
	byRules := map[place]*bundleLine{}
	for _, e := range b.order {
		slices.SortStableFunc(e.rules, byWeight)
		one := byText[e.text]
		if one == nil {
			one = &bundle{text: e.text}
			byText[e.text] = one
			out = append(out, one)
		}
		names := make([]string, 0, len(e.rules))
		for _, r := range e.rules {
			names = append(names, r.name)
		}
		at := place{e.text, strings.Join(names, "\n")}
		line := byRules[at]
		if line == nil {
			line = &bundleLine{rules: e.rules}
			byRules[at] = line
			one.lines = append(one.lines, line)
		}
		line.subjects = append(line.subjects, who{e.user, e.key})
	}
	return out
}
