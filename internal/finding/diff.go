package finding

import "slices"

// Difference is what changed from one audit to a later one.
type Difference struct {
	New  []Verdict // fails now and did not before
	Gone []Gone    // failed before and does not now
	Same []Verdict // fails in both, as it is now
}

// Gone is a failing verdict of the earlier audit that the later one does not fail.
type Gone struct {
	Verdict Verdict // as it was
	Now     Status  // its status now; empty when the later audit does not have it
}

// Diff compares two audits by fingerprint. Only failing verdicts count as new or still failing; one that
// is unknown or excepted now is gone from the failing ones, and its new status is told: it is not fixed.
func Diff(before, after []Verdict) Difference {
	was, is := index(before), index(after)
	var d Difference
	for _, v := range after {
		if v.Status != Fail {
			continue
		}
		if old, ok := was[v.ID]; ok && old.Status == Fail {
			d.Same = append(d.Same, v)
		} else {
			d.New = append(d.New, v)
		}
	}
	for _, v := range before {
		if v.Status != Fail {
			continue
		}
		if now, ok := is[v.ID]; !ok || now.Status != Fail {
			g := Gone{Verdict: v}
			if ok {
				g.Now = now.Status
			}
			d.Gone = append(d.Gone, g)
		}
	}
	byOrder := func(a, b Verdict) int { return Compare(&a, &b) }
	slices.SortStableFunc(d.New, byOrder)
	slices.SortStableFunc(d.Same, byOrder)
	slices.SortStableFunc(d.Gone, func(a, b Gone) int { return Compare(&a.Verdict, &b.Verdict) })
	return d
}

func index(vs []Verdict) map[string]*Verdict {
	m := make(map[string]*Verdict, len(vs))
	for i := range vs {
		m[vs[i].ID] = &vs[i]
	}
	return m
}
