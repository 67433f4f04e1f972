package notice_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

var (
	prod = fact.Account{ID: "111122223333", Partition: "aws", Name: "prod", OU: "Root/Workloads/Prod"}
	test = fact.Account{ID: "444455556666", Partition: "aws", Name: "test", OU: "Root/Workloads/Test"}
)

// verdict is a failing one about a key of the user.
func verdict(a fact.Account, user, rule string, s finding.Severity) *finding.Verdict {
	key := &fact.Key{ID: "AKIAIOSFODNN7EXAMPLE", Active: true, Created: fact.At(now.Add(-91 * day)), LastUsed: fact.Use{At: fact.Never()}}
	return &finding.Verdict{
		ID: finding.Fingerprint(rule, a.ID, user, key, 0), Rule: rule, Kind: "key-age", Title: "Access keys are rotated within 90 days",
		Status: finding.Fail, Severity: s, Account: a, User: user, UserARN: "arn:aws:iam::" + a.ID + ":user/" + user, Key: key,
		Message: "the key is 91 days old, the limit is 90", Facts: map[string]any{"age_days": 91.0, "key": "AKIAIOSFODNN7EXAMPLE"},
		Since: fact.At(now.Add(-day)), Remedy: finding.Rotate,
		Controls: []finding.Control{{Framework: "CIS AWS Foundations 5.0", IDs: []string{"1.13"}}},
	}
}

func opened(v *finding.Verdict, at time.Time, tags map[string]string) notice.Change {
	return notice.Change{Kind: notice.Opened, At: at, Account: v.Account, Verdict: v, Tags: tags}
}

func closed(v *finding.Verdict, at time.Time, why notice.Reason) notice.Change {
	v.Status = finding.Pass
	return notice.Change{Kind: notice.Closed, At: at, Why: why, Account: v.Account, Verdict: v}
}

// cycle has a change of every kind.
func cycle() []notice.Change {
	excepted := verdict(test, "vendor", "key-age-90", finding.High)
	exception := &finding.Exception{
		Rule: "key-age-90", Account: "444455556666", User: "vendor", Reason: "the vendor cannot rotate", Owner: "sec@example.com",
		Expires: fact.At(now.Add(10 * day)), Origin: "keyreeve.yaml:3",
	}
	excepted.Exception = exception
	due := verdict(test, "etl", "key-age-90", finding.High)
	due.Status, due.Due, due.Since, due.Message = finding.Pass, fact.At(now.Add(3*day)), fact.Time{}, "the key is 87 days old, the limit is 90"
	root := verdict(prod, fact.RootName, "root-access-key", finding.Critical)
	root.Key, root.Remedy, root.Message = nil, finding.Guide, "root has 1 access key, 1 active"
	return []notice.Change{
		opened(verdict(prod, "ci-deploy", "key-age-90", finding.High), now, map[string]string{
			"team": "payments", "AKIAIOSFODNN7EXAMPLE": "build server", "secret-plan": "not told",
		}),
		opened(root, now, nil),
		closed(verdict(prod, "old", "key-unused-45", finding.Medium), now, notice.Fixed),
		closed(excepted, now, notice.Excepted),
		{Kind: notice.DueSoon, At: now, Account: test, Verdict: due},
		{Kind: notice.Overdue, At: now, Account: prod, Verdict: verdict(prod, "late", "key-age-90", finding.High)},
		{Kind: notice.Waits, At: now.Add(-time.Hour), Account: prod, Rotation: &notice.Rotation{
			ID: "20261122T110000Z-ab12", State: "held", Why: "nobody used the new key for 14 days", User: "robot", KeyID: "AKIAI44QH8DHBEXAMPLE",
		}},
		{Kind: notice.Unreadable, At: now.Add(-2 * time.Hour), Account: test, Gap: &fact.Gap{
			Account: test.ID, Reading: "AssumeRole", Why: "access denied: sts:AssumeRole", Denied: true,
		}},
		{Kind: notice.Expiring, At: now.Add(10 * day), Account: fact.Account{ID: "444455556666"}, Exception: exception},
	}
}

// everything goes to every channel of these terms.
func routing(terms ...notice.Terms) *notice.Routing {
	r := &notice.Routing{Channels: terms}
	for _, t := range terms {
		r.Routes = append(r.Routes, notice.Route{To: []string{t.Name}})
	}
	return r
}

func compose(t *testing.T, r *notice.Routing, changes []notice.Change) []notice.Composed {
	t.Helper()
	parcels, err := r.Parcels(changes)
	if err != nil {
		t.Fatal(err)
	}
	return r.Compose(parcels, now)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}
