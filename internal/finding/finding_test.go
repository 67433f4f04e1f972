package finding_test

import (
	"slices"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

var made = fact.At(time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC))

func TestFingerprint_isTheSameFromReportAndLiveEvidence(t *testing.T) {
	report := &fact.Key{Slot: 2, Active: true, Created: made}
	live := &fact.Key{ID: "AKIA1", Active: false, Created: made, LastUsed: fact.Use{At: made}}
	if a, b := finding.Fingerprint("key-age-90", "1", "ana", report, 0), finding.Fingerprint("key-age-90", "1", "ana", live, 0); a != b {
		t.Errorf("report %s, live %s", a, b)
	}
}

func TestFingerprint_tellsApartWhateverDiffers(t *testing.T) {
	key := &fact.Key{Created: made}
	later := &fact.Key{Created: made.Add(time.Second)}
	seen := map[string]string{}
	for name, id := range map[string]string{
		"base":       finding.Fingerprint("key-age-90", "111122223333", "ana", key, 0),
		"rule":       finding.Fingerprint("key-age-45", "111122223333", "ana", key, 0),
		"account":    finding.Fingerprint("key-age-90", "111122223334", "ana", key, 0),
		"user":       finding.Fingerprint("key-age-90", "111122223333", "bob", key, 0),
		"creation":   finding.Fingerprint("key-age-90", "111122223333", "ana", later, 0),
		"nth":        finding.Fingerprint("key-age-90", "111122223333", "ana", key, 1),
		"the user":   finding.Fingerprint("key-age-90", "111122223333", "ana", nil, 0),
		"no date":    finding.Fingerprint("key-age-90", "111122223333", "ana", &fact.Key{}, 0),
		"boundaries": finding.Fingerprint("key-age-90", "11112222333", "3ana", key, 0),
		"quotes":     finding.Fingerprint("key-age-90", `111122223333""`, "ana", key, 0),
	} {
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s share the fingerprint %s", name, other, id)
		}
		seen[id] = name
	}
}

// The golden value: verdicts stored by one version must be found again by the next.
func TestFingerprint_neverChanges(t *testing.T) {
	got := finding.Fingerprint("key-age-90", "111122223333", "ana", &fact.Key{Created: made}, 0)
	if want := "12b9bfd8bc2ccc48f11312c7"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCompare_ordersByAccountUserCreationRule(t *testing.T) {
	v := func(account, user string, key *fact.Key, rule string) *finding.Verdict {
		return &finding.Verdict{Account: fact.Account{ID: account}, User: user, Key: key, Rule: rule}
	}
	old, young := &fact.Key{Created: made}, &fact.Key{Created: made.Add(time.Hour)}
	want := []*finding.Verdict{
		v("1", "ana", nil, "multiple-active-keys"), v("1", "ana", &fact.Key{}, "key-age-30"), v("1", "ana", old, "key-age-30"),
		v("1", "ana", old, "key-age-90"), v("1", "ana", young, "key-age-30"), v("1", "bob", nil, "a"), v("2", "ana", nil, "a"),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, finding.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSeverity_ranksEveryOneAndNothingElse(t *testing.T) {
	for i, s := range finding.Severities() {
		if s.Rank() != i+1 || !s.Valid() {
			t.Errorf("%s: rank %d, valid %v", s, s.Rank(), s.Valid())
		}
	}
	if s := finding.Severity("urgent"); s.Valid() || s.Rank() != 0 {
		t.Errorf("%s is valid", s)
	}
}

func TestRuleResult_countsEveryStatus(t *testing.T) {
	var r finding.RuleResult
	for i, s := range finding.Statuses() {
		r.Add(s, i+1)
	}
	if r.Fail+r.Pass+r.Unknown+r.Excepted != 1+2+3+4 {
		t.Errorf("a status was not counted: %+v", r)
	}
}

func TestDiff_tellsNewGoneAndSame(t *testing.T) {
	v := func(id string, s finding.Status) finding.Verdict { return finding.Verdict{ID: id, User: id, Status: s} }
	before := []finding.Verdict{v("same", finding.Fail), v("fixed", finding.Fail), v("excused", finding.Fail), v("unread", finding.Fail), v("passed", finding.Pass)}
	after := []finding.Verdict{v("unread", finding.Unknown), v("same", finding.Fail), v("excused", finding.Excepted), v("passed", finding.Fail), v("new", finding.Fail)}
	d := finding.Diff(before, after)
	ids := func(vs []finding.Verdict) (out []string) {
		for _, x := range vs {
			out = append(out, x.ID)
		}
		return out
	}
	if got := ids(d.New); !slices.Equal(got, []string{"new", "passed"}) {
		t.Errorf("new: %v", got)
	}
	if got := ids(d.Same); !slices.Equal(got, []string{"same"}) {
		t.Errorf("same: %v", got)
	}
	var gone []string
	for _, g := range d.Gone {
		gone = append(gone, g.Verdict.ID+" "+string(g.Now))
	}
	// What could not be read, or was accepted, is not fixed: its status of now is told.
	if !slices.Equal(gone, []string{"excused excepted", "fixed ", "unread unknown"}) {
		t.Errorf("gone: %q", gone)
	}
}

func TestScoreRow_nobodyJudgedIsUnknown(t *testing.T) {
	for _, c := range []struct {
		row  finding.ScoreRow
		want finding.Status
	}{
		{finding.ScoreRow{}, finding.Unknown},
		{finding.ScoreRow{Pass: 9}, finding.Pass},
		{finding.ScoreRow{Pass: 9, Excepted: 1}, finding.Excepted},
		{finding.ScoreRow{Pass: 9, Excepted: 1, Unknown: 1}, finding.Unknown},
		{finding.ScoreRow{Pass: 9, Excepted: 1, Unknown: 1, Fail: 1}, finding.Fail},
	} {
		if got := c.row.Status(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.row, got, c.want)
		}
	}
}
