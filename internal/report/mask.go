package report

import (
	"iter"
	"maps"
	"slices"
	"strconv"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// Mask is fact.MaskKeys, for those who read this package.
func Mask(text string) string { return fact.MaskKeys(text) }

// maskAudit is a with key ids masked in every text, not only where an id is expected: a message, a note, even
// the name of a user or a file may hold one. Fingerprints stay; they are hashes that hold no key id.
func maskAudit(a *finding.Audit) *finding.Audit {
	out := *a
	out.Ruleset = Mask(a.Ruleset)
	out.Verdicts = maskSeq(a.Verdicts)
	out.Due = maskList(a.Due)
	out.Accounts = slices.Clone(a.Accounts)
	for i := range out.Accounts {
		maskAccount(&out.Accounts[i])
	}
	out.NotJudged = slices.Clone(a.NotJudged)
	for i := range out.NotJudged {
		out.NotJudged[i].Why = Mask(out.NotJudged[i].Why)
	}
	out.Exceptions = slices.Clone(a.Exceptions)
	for i := range out.Exceptions {
		out.Exceptions[i].Exception = maskException(out.Exceptions[i].Exception)
	}
	out.Notes = maskTexts(a.Notes)
	return &out
}

func maskAccount(r *finding.AccountResult) {
	r.Account.Name, r.Evidence.Path = Mask(r.Account.Name), Mask(r.Evidence.Path)
	r.Gaps = slices.Clone(r.Gaps)
	for i := range r.Gaps {
		g := &r.Gaps[i]
		g.Subject, g.Why = Mask(g.Subject), Mask(g.Why)
	}
}

// maskDiff is d with key ids masked as maskAudit does.
func maskDiff(d finding.Difference) finding.Difference {
	out := finding.Difference{New: maskList(d.New), Same: maskList(d.Same), Gone: slices.Clone(d.Gone)}
	for i := range out.Gone {
		out.Gone[i].Verdict = maskVerdict(&out.Gone[i].Verdict)
	}
	return out
}

func maskTexts(texts []string) []string {
	out := slices.Clone(texts)
	for i := range out {
		out[i] = Mask(out[i])
	}
	return out
}

func maskSeq(vs iter.Seq[*finding.Verdict]) iter.Seq[*finding.Verdict] {
	return func(yield func(*finding.Verdict) bool) {
		for v := range vs {
			masked := maskVerdict(v)
			if !yield(&masked) {
				return
			}
		}
	}
}

func maskList(vs []finding.Verdict) []finding.Verdict {
	out := slices.Clone(vs)
	for i := range out {
		out[i] = maskVerdict(&out[i])
	}
	return out
}

func maskVerdict(v *finding.Verdict) finding.Verdict {
	out := *v
	out.Message, out.User, out.UserARN, out.Account.Name = Mask(v.Message), Mask(v.User), Mask(v.UserARN), Mask(v.Account.Name)
	if v.Key != nil {
		key := *v.Key
		key.ID = fact.MaskID(key.ID)
		out.Key = &key
	}
	out.Facts = maps.Clone(v.Facts)
	for k, f := range out.Facts {
		out.Facts[k] = maskFact(f)
	}
	if v.Exception != nil {
		e := maskException(*v.Exception)
		out.Exception = &e
	}
	return out
}

// maskFact masks texts at any depth: facts read from JSON hold lists and objects of anything.
func maskFact(f any) any {
	switch f := f.(type) {
	case string:
		return Mask(f)
	case []string:
		return maskTexts(f)
	case []any:
		out := slices.Clone(f)
		for i := range out {
			out[i] = maskFact(out[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(f))
		for k, v := range f {
			out[Mask(k)] = maskFact(v)
		}
		return out
	default:
		return f
	}
}

func maskException(e finding.Exception) finding.Exception {
	e.Key, e.User, e.Reason, e.Owner, e.Origin = fact.MaskID(e.Key), Mask(e.User), Mask(e.Reason), Mask(e.Owner), Mask(e.Origin)
	if e.Tag != nil {
		// The console keeps a key's description in a tag whose name is the key's id.
		tags := make(map[string]string, len(e.Tag))
		for k, v := range e.Tag {
			tags[Mask(k)] = Mask(v)
		}
		e.Tag = tags
	}
	return e
}

// keyName names a key as exactly as the evidence allows: its id, else its slot in the report.
func keyName(k *fact.Key) string {
	switch {
	case k == nil:
		return ""
	case k.ID != "":
		return clean(k.ID)
	case k.Slot > 0:
		return "slot " + strconv.Itoa(k.Slot)
	default:
		return "key"
	}
}
