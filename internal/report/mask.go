package report

import (
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// maskAudit is a with key ids masked in every text, not only where an id is expected: messages, gaps and
// notes may name keys too. Fingerprints stay; they are hashes that hold no key id.
func maskAudit(a *finding.Audit) *finding.Audit {
	m := newMasker()
	out := *a
	out.Verdicts = m.seq(a.Verdicts)
	out.Due = m.list(a.Due)
	out.Accounts = slices.Clone(a.Accounts)
	for i := range out.Accounts {
		out.Accounts[i].Gaps = slices.Clone(out.Accounts[i].Gaps)
		for j := range out.Accounts[i].Gaps {
			g := &out.Accounts[i].Gaps[j]
			g.Subject, g.Why = m.text(g.Subject), m.text(g.Why)
		}
	}
	out.NotJudged = slices.Clone(a.NotJudged)
	for i := range out.NotJudged {
		out.NotJudged[i].Why = m.text(out.NotJudged[i].Why)
	}
	out.Exceptions = slices.Clone(a.Exceptions)
	for i := range out.Exceptions {
		out.Exceptions[i].Exception = m.exception(out.Exceptions[i].Exception)
	}
	out.Notes = slices.Clone(a.Notes)
	for i := range out.Notes {
		out.Notes[i] = m.text(out.Notes[i])
	}
	return &out
}

// maskDiff is d with key ids masked as maskAudit does.
func maskDiff(d finding.Difference) finding.Difference {
	m := newMasker()
	out := finding.Difference{New: m.list(d.New), Same: m.list(d.Same), Gone: slices.Clone(d.Gone)}
	for i := range out.Gone {
		out.Gone[i].Verdict = m.verdict(&out.Gone[i].Verdict)
	}
	return out
}

type masker struct{ id *regexp.Regexp }

func newMasker() masker { return masker{regexp.MustCompile(`\b(A[KS]IA)[A-Z0-9]{8,}([A-Z0-9]{4})\b`)} }

func (m masker) text(s string) string { return m.id.ReplaceAllString(s, "$1****$2") }

func (m masker) seq(vs iter.Seq[*finding.Verdict]) iter.Seq[*finding.Verdict] {
	return func(yield func(*finding.Verdict) bool) {
		for v := range vs {
			masked := m.verdict(v)
			if !yield(&masked) {
				return
			}
		}
	}
}

func (m masker) list(vs []finding.Verdict) []finding.Verdict {
	out := slices.Clone(vs)
	for i := range out {
		out[i] = m.verdict(&out[i])
	}
	return out
}

func (m masker) verdict(v *finding.Verdict) finding.Verdict {
	out := *v
	out.Message = m.text(v.Message)
	if v.Key != nil {
		key := *v.Key
		key.ID = maskID(key.ID)
		out.Key = &key
	}
	out.Facts = maps.Clone(v.Facts)
	for k, f := range out.Facts {
		switch f := f.(type) {
		case string:
			out.Facts[k] = m.text(f)
		case []string:
			texts := slices.Clone(f)
			for i := range texts {
				texts[i] = m.text(texts[i])
			}
			out.Facts[k] = texts
		}
	}
	if v.Exception != nil {
		e := m.exception(*v.Exception)
		out.Exception = &e
	}
	return out
}

func (m masker) exception(e finding.Exception) finding.Exception {
	e.Key, e.Reason = maskID(e.Key), m.text(e.Reason)
	if e.Tag != nil {
		// The console keeps a key's description in a tag whose name is the key's id.
		tags := make(map[string]string, len(e.Tag))
		for k, v := range e.Tag {
			tags[m.text(k)] = m.text(v)
		}
		e.Tag = tags
	}
	return e
}

// maskID keeps four characters at each end. An id too short to hide anything that way is hidden whole.
func maskID(id string) string {
	switch {
	case id == "" || id == "*":
		return id
	case len(id) < 12:
		return "****"
	default:
		return id[:4] + "****" + id[len(id)-4:]
	}
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
