package collect_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
)

var (
	day1 = fact.At(time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC))
	day2 = fact.At(time.Date(2026, 2, 1, 10, 0, 0, 0, time.UTC))
	day3 = fact.At(time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC))
	used = fact.Use{At: fact.At(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)), Region: "eu-west-1", Service: "s3"}
	late = fact.Use{At: fact.At(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)), Service: "sts"}
	none = fact.Use{At: fact.Never()}
)

func slot(n int, active bool, made fact.Time, use fact.Use) fact.Key {
	return fact.Key{Slot: n, Active: active, Created: made, LastUsed: use}
}

func live(id string, active bool, made fact.Time) fact.Key {
	return fact.Key{ID: id, Active: active, Created: made}
}

func known(id string, n int, active bool, made fact.Time, use fact.Use) fact.Key {
	return fact.Key{ID: id, Slot: n, Active: active, Created: made, LastUsed: use}
}

func TestMatch_joinsBySecondOfCreationAndNeverBySlot(t *testing.T) {
	for name, c := range map[string]struct{ report, live, want []fact.Key }{
		"slot 1 is the younger key": {
			[]fact.Key{slot(1, true, day2, late), slot(2, true, day1, used)},
			[]fact.Key{live("AKIAOLD", true, day1), live("AKIANEW", true, day2)},
			[]fact.Key{known("AKIAOLD", 2, true, day1, used), known("AKIANEW", 1, true, day2, late)},
		},
		"deactivated since: the status is the live one, the last use stays": {
			[]fact.Key{slot(1, true, day1, used)},
			[]fact.Key{live("AKIA1", false, day1)},
			[]fact.Key{known("AKIA1", 1, false, day1, used)},
		},
		"deleted since": {
			[]fact.Key{slot(1, true, day1, used), slot(2, true, day2, late)},
			[]fact.Key{live("AKIA2", true, day2)},
			[]fact.Key{known("AKIA2", 2, true, day2, late)},
		},
		"all deleted since": {[]fact.Key{slot(1, true, day1, used)}, nil, nil},
		"made since: its last use is unknown, not never": {
			[]fact.Key{slot(1, true, day1, used)},
			[]fact.Key{live("AKIA1", true, day1), live("AKIA3", true, day3)},
			[]fact.Key{known("AKIA1", 1, true, day1, used), live("AKIA3", true, day3)},
		},
		"a third key that the report has no slot for": {
			[]fact.Key{slot(1, true, day1, used), slot(2, false, day2, none)},
			[]fact.Key{live("AKIA1", true, day1), live("AKIA2", false, day2), live("AKIA3", true, day3)},
			[]fact.Key{known("AKIA1", 1, true, day1, used), known("AKIA2", 2, false, day2, none), live("AKIA3", true, day3)},
		},
		"same second, told by status": {
			[]fact.Key{slot(1, true, day1, used), slot(2, false, day1, none)},
			[]fact.Key{live("AKIAOFF", false, day1), live("AKIAON", true, day1)},
			[]fact.Key{known("AKIAON", 1, true, day1, used), known("AKIAOFF", 2, false, day1, none)},
		},
		"same second and status: judged as the report has them, not named": {
			[]fact.Key{slot(1, true, day1, used), slot(2, true, day1, late)},
			[]fact.Key{live("AKIA1", true, day1), live("AKIA2", true, day1)},
			[]fact.Key{slot(1, true, day1, used), slot(2, true, day1, late)},
		},
		"same second and one deactivated since: nobody can say which, so the uses are unknown": {
			[]fact.Key{slot(1, true, day1, used), slot(2, true, day1, late)},
			[]fact.Key{live("AKIA1", true, day1), live("AKIA2", false, day1)},
			[]fact.Key{live("AKIA1", true, day1), live("AKIA2", false, day1)},
		},
		"same second and one deleted since": {
			[]fact.Key{slot(1, true, day1, used), slot(2, true, day1, late)},
			[]fact.Key{live("AKIA1", true, day1)},
			[]fact.Key{live("AKIA1", true, day1)},
		},
		"a slot of unknown creation is no key of any second": {
			[]fact.Key{slot(1, true, fact.Time{}, used)},
			[]fact.Key{live("AKIA1", true, day1)},
			[]fact.Key{live("AKIA1", true, day1)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := collect.Match(c.report, c.live)
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(fact.Time{})); diff != "" {
				t.Errorf("report %v\nlive %v\n(-want +got):\n%s", c.report, c.live, diff)
			}
		})
	}
}
