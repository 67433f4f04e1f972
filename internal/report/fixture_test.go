package report_test

import (
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

var (
	asOf  = time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)
	prod  = fact.Account{ID: "111122223333", Partition: "aws", Name: "example-prod", OU: "Root/Workloads/Prod"}
	china = fact.Account{ID: "444455556666", Partition: "aws-cn"}
	quiet = fact.Account{ID: "777788889999", Partition: "aws-us-gov", Name: "quiet"}
)

// hostile is what a forged report may call a user: an escape sequence, a tag, a formula, a table cell.
const hostile = "=<script>alert(1)</script>|`x`\x1b[2J\u009b31m\u202e\"@all"

func daysAgo(d float64) fact.Time {
	return fact.At(asOf.Add(-time.Duration(d * 24 * float64(time.Hour))).Truncate(time.Second))
}

func arn(a fact.Account, user string) string {
	if user == fact.RootName {
		return "arn:" + a.Partition + ":iam::" + a.ID + ":root"
	}
	return "arn:" + a.Partition + ":iam::" + a.ID + ":user/" + user
}

// verdict fills in what follows from the rest.
func verdict(a fact.Account, user string, key *fact.Key, rule, kind string, sev finding.Severity, st finding.Status,
	since fact.Time, message string, facts map[string]any,
) finding.Verdict {
	remedy := map[string]finding.Remedy{
		"key-age": "rotate", "key-unused": "deactivate", "key-never-used": "deactivate", "inactive-key": "delete",
		"multiple-active-keys": "keep-one", "root-access-key": "guide", "exposed-key": "guide",
		"key-created-with-user": "deactivate",
	}[kind]
	v := finding.Verdict{
		Rule: rule, Kind: kind, Title: titles()[rule], Status: st, Severity: sev, Account: a, User: user,
		UserARN: arn(a, user), Key: key, Message: message, Facts: facts, Remedy: remedy,
		ID: finding.Fingerprint(rule, a.ID, user, key, 0),
	}
	if st == finding.Fail || st == finding.Excepted {
		v.Since = since
	}
	if kind == "key-age" {
		v.Controls = []finding.Control{
			{Framework: "CIS AWS Foundations 5.0", IDs: []string{"1.13"}},
			{Framework: "PCI DSS 4.0.1", IDs: []string{"8.3.10.1", "8.6.3"}},
		}
	}
	return v
}

func titles() map[string]string {
	return map[string]string{
		"root-access-key": "The root user has no access keys", "exposed-key": "No access key is known to be exposed",
		"key-age-30": "Active keys are at most 30 days old", "key-age-45": "Active keys are at most 45 days old",
		"key-age-90": "Active keys are at most 90 days old", "multiple-active-keys": "A user has at most one active key",
		"key-unused-45": "Active keys are used within 45 days", "key-unused-90": "Active keys are used within 90 days",
		"key-never-used":        "Keys that were never used do not stay active",
		"key-created-with-user": "No key is made together with its user", "inactive-key": "Inactive keys are deleted",
	}
}

func fixtureVerdicts() []finding.Verdict {
	alice := &fact.Key{Slot: 1, Active: true, Created: daysAgo(203.3), LastUsed: fact.Use{At: daysAgo(0.1), Service: "s3", Region: "us-east-1"}}
	alice2 := &fact.Key{Slot: 2, Active: true, Created: daysAgo(12), LastUsed: fact.Use{At: fact.Never()}}
	ci := &fact.Key{Slot: 1, Active: true, Created: daysAgo(1204), LastUsed: fact.Use{At: daysAgo(700), Service: "sts", Region: "N/A"}}
	vendor := &fact.Key{Slot: 2, Active: true, Created: daysAgo(120), LastUsed: fact.Use{At: daysAgo(3), Service: "dynamodb", Region: "ap-southeast-2"}}
	evil := &fact.Key{Slot: 1, Active: true, Created: daysAgo(50), LastUsed: fact.Use{At: fact.Never()}}
	odd := &fact.Key{Slot: 1, Active: true, LastUsed: fact.Use{At: daysAgo(1), Service: "ec2", Region: "us-west-2"}}
	fresh := &fact.Key{Slot: 1, Active: true, Created: daysAgo(0.2), LastUsed: fact.Use{At: daysAgo(0.01), Service: "iam", Region: "us-east-1"}}
	live := &fact.Key{ID: "AKIAFAKECHINA0000017", Active: true, Created: daysAgo(95), LastUsed: fact.Use{At: daysAgo(2.5), Service: "s3", Region: "cn-north-1"}}
	off := &fact.Key{ID: "AKIAFAKECHINA0000025", Created: daysAgo(400), LastUsed: fact.Use{}}
	age := func(days int, limit int) map[string]any { return map[string]any{"age_days": days, "limit_days": limit} }
	none := fact.Time{}
	vs := []finding.Verdict{
		verdict(prod, fact.RootName, nil, "root-access-key", "root-access-key", finding.Critical, finding.Fail, daysAgo(900),
			"root has 1 access key", map[string]any{"keys": 1}),
		verdict(prod, "alice", nil, "multiple-active-keys", "multiple-active-keys", finding.Medium, finding.Fail, daysAgo(12),
			"2 active keys, the limit is 1", map[string]any{"active_keys": 2, "limit": 1}),
		verdict(prod, "alice", alice, "key-age-30", "key-age", finding.Low, finding.Fail, daysAgo(173.3), "active key is 203 days old, the limit is 30 days", age(203, 30)),
		verdict(prod, "alice", alice, "key-age-45", "key-age", finding.Low, finding.Fail, daysAgo(158.3), "active key is 203 days old, the limit is 45 days", age(203, 45)),
		verdict(prod, "alice", alice, "key-age-90", "key-age", finding.High, finding.Fail, daysAgo(113.3), "active key is 203 days old, the limit is 90 days", age(203, 90)),
		verdict(prod, "alice", alice2, "key-never-used", "key-never-used", finding.Medium, finding.Fail, daysAgo(5), "active key was never used in 12 days", map[string]any{"age_days": 12, "grace_days": 7}),
		verdict(prod, "alice", alice2, "key-age-90", "key-age", finding.High, finding.Pass, none, "active key is 12 days old, within the limit of 90 days", age(12, 90)),
		verdict(prod, "ci-deploy", ci, "key-age-30", "key-age", finding.Low, finding.Fail, daysAgo(1174), "active key is 1204 days old, the limit is 30 days", age(1204, 30)),
		verdict(prod, "ci-deploy", ci, "key-age-45", "key-age", finding.Low, finding.Fail, daysAgo(1159), "active key is 1204 days old, the limit is 45 days", age(1204, 45)),
		verdict(prod, "ci-deploy", ci, "key-age-90", "key-age", finding.High, finding.Fail, daysAgo(1114), "active key is 1204 days old, the limit is 90 days", age(1204, 90)),
		verdict(prod, "ci-deploy", ci, "key-created-with-user", "key-created-with-user", finding.Medium, finding.Fail, daysAgo(1204), "active key was made 12 s after its user, the window is 60 s", map[string]any{"gap_seconds": 12, "window_seconds": 60}),
		verdict(prod, "ci-deploy", ci, "key-unused-45", "key-unused", finding.Medium, finding.Fail, daysAgo(655), "active key was last used 700 days ago, the limit is 45 days", map[string]any{"idle_days": 700, "limit_days": 45, "ever_used": true}),
		verdict(prod, "ci-deploy", ci, "key-unused-90", "key-unused", finding.Medium, finding.Fail, daysAgo(610), "active key was last used 700 days ago, the limit is 90 days", map[string]any{"idle_days": 700, "limit_days": 90, "ever_used": true}),
		verdict(prod, "vendor, ltd", vendor, "key-age-90", "key-age", finding.High, finding.Excepted, daysAgo(30), "active key is 120 days old, the limit is 90 days", age(120, 90)),
		verdict(prod, hostile, evil, "key-age-30", "key-age", finding.Low, finding.Fail, daysAgo(20), "active key is 50 days old, the limit is 30 days", age(50, 30)),
		verdict(prod, "odd", odd, "key-age-90", "key-age", finding.High, finding.Unknown, none, "age of the active key is unknown: the key's creation time is not stated", nil),
		verdict(prod, "zoe", fresh, "key-age-90", "key-age", finding.High, finding.Pass, none, "active key is 0 days old, within the limit of 90 days", age(0, 90)),
		verdict(china, "deploy", nil, "exposed-key", "exposed-key", finding.Critical, finding.Fail, none, "policy AWSCompromisedKeyQuarantineV3 is attached", map[string]any{"policies": "AWSCompromisedKeyQuarantineV3"}),
		verdict(china, "deploy", live, "key-age-90", "key-age", finding.High, finding.Fail, daysAgo(5), "active key is 95 days old, the limit is 90 days", age(95, 90)),
		verdict(china, "deploy", off, "inactive-key", "inactive-key", finding.Low, finding.Fail, daysAgo(310), "inactive key is 400 days old, the limit is 90 days", age(400, 90)),
		verdict(china, "ops", nil, "multiple-active-keys", "multiple-active-keys", finding.Medium, finding.Unknown, none, "number of active keys is unknown: the access keys could not be read", nil),
	}
	for i := range vs {
		if vs[i].Status == finding.Excepted {
			vs[i].Exception = &finding.Exception{
				Rule: "key-age-90", Account: "*", User: "vendor*", Key: "AKIAFAKEVENDOR000033", Reason: "vendor cannot rotate before the March release",
				Owner: "payments@example.com", Expires: fact.At(time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC)), Origin: "exceptions.yaml:2",
			}
		}
	}
	slices.SortFunc(vs, func(a, b finding.Verdict) int { return finding.Compare(&a, &b) })
	return vs
}

// fixture is an audit that has one of everything.
func fixture() *finding.Audit {
	vs := fixtureVerdicts()
	a := &finding.Audit{
		Version: "1.2.3", AsOf: asOf, Ruleset: "default", Complete: false, Verdicts: each(vs),
		Accounts: []finding.AccountResult{
			{
				Account:  prod,
				Evidence: fact.Evidence{Source: fact.ReportFile, Path: "reports/prod 2026.csv", Newest: daysAgo(0.12)},
				Users:    12, Keys: 18, ActiveKeys: 15,
				Ages: []finding.AgeBand{{From: 0, To: 30, Keys: 5}, {From: 30, To: 45, Keys: 1}, {From: 45, To: 90, Keys: 3}, {From: 90, To: 365, Keys: 4}, {From: 365, Keys: 2}},
			},
			{
				Account: china, Evidence: fact.Evidence{Source: fact.Live, ReadAt: fact.At(asOf.Add(-90 * time.Second))},
				Users: 3, Keys: 4, ActiveKeys: 2,
				Ages: []finding.AgeBand{{From: 0, To: 30}, {From: 30, To: 45}, {From: 45, To: 90, Keys: 1}, {From: 90, To: 365, Keys: 1}, {From: 365}},
				Gaps: []fact.Gap{
					{Account: china.ID, Reading: "ListAccessKeys", Subject: "ops", Why: "access denied: iam:ListAccessKeys is missing; keyreeve iam-policy --for audit prints the policy"},
					{Account: china.ID, Reading: "GetAccessKeyLastUsed", Subject: "AKIAFAKECHINA0000025", Why: "throttled\x1b]0;owned\x07 nine times"},
				},
			},
			{
				Account:  quiet,
				Evidence: fact.Evidence{Source: fact.Report, GeneratedAt: fact.At(asOf.Add(-170 * time.Minute)), ReadAt: fact.At(asOf.Add(-time.Minute))},
				Users:    1, Keys: 0,
			},
		},
		Units: []finding.UnitResult{
			{Path: "Root", Accounts: 1, Users: 12, Keys: 18, ActiveKeys: 15, Counts: finding.Counts{Fail: 14, Unknown: 2, Excepted: 1}},
			{Path: "Root/Sand | <b>box</b>\x1b[31m", Accounts: 1234, Incomplete: 5, Users: 56789, Keys: 70000, ActiveKeys: 65432},
		},
		NotJudged: []finding.NotJudged{{Rule: "exposed-key", Why: "a credential report does not list attached policies; live evidence does"}},
		Exceptions: []finding.ExceptionNotice{
			{State: finding.Expired, Exception: finding.Exception{Rule: "key-age-90", Account: prod.ID, User: "alice", Reason: "migration", Owner: "web@example.com", Expires: daysAgo(2), Origin: "exceptions.yaml:9"}},
			{State: finding.Unmatched, Exception: finding.Exception{Rule: "*", Account: "*", User: "gone-*", Key: "AKIAFAKEGONE00000041", Tag: map[string]string{"owner": "payments"}, Reason: "left", Owner: "it@example.com", Expires: daysAgo(-100)}},
		},
		Scoreboard: &finding.Scoreboard{Framework: "CIS AWS Foundations 5.0", Rows: []finding.ScoreRow{
			{Control: "1.3", Rules: []string{"root-access-key"}, Fail: 1, Pass: 1}, {Control: "1.11", Rules: []string{"key-unused-45"}, Fail: 1, Pass: 13},
			{Control: "1.12", Rules: []string{"multiple-active-keys"}, Unknown: 1, Pass: 14}, {Control: "1.14"},
			{Control: "1.15", Rules: []string{"inactive-key"}, Excepted: 1, Pass: 3}, {Control: "1.16", Rules: []string{"key-never-used"}, Pass: 16},
		}},
		Notes: []string{"the report reports/prod 2026.csv does not say when it was made: keys made since are not in it"},
	}
	due := verdict(prod, "zoe", &fact.Key{Slot: 1, Active: true, Created: daysAgo(0.2), LastUsed: fact.Use{At: daysAgo(0.01), Service: "iam", Region: "us-east-1"}},
		"key-age-30", "key-age", finding.Low, finding.Pass, fact.Time{}, "active key is 0 days old, within the limit of 30 days", map[string]any{"age_days": 0, "limit_days": 30})
	due.Due = daysAgo(-29.8)
	a.Due = []finding.Verdict{due}
	a.Summary = summarize(vs)
	for i := range a.Accounts {
		r := &a.Accounts[i]
		for _, v := range vs {
			if v.Account.ID != r.Account.ID {
				continue
			}
			switch v.Status {
			case finding.Fail:
				r.Counts.Fail++
			case finding.Unknown:
				r.Counts.Unknown++
			case finding.Excepted:
				r.Counts.Excepted++
			case finding.Pass:
			}
		}
	}
	return a
}

func summarize(vs []finding.Verdict) []finding.RuleResult {
	var rows []finding.RuleResult
	for _, rule := range []string{
		"root-access-key", "exposed-key", "key-age-30", "key-age-45", "key-age-90", "key-created-with-user",
		"multiple-active-keys", "key-unused-45", "key-unused-90", "key-never-used", "inactive-key",
	} {
		row := finding.RuleResult{Rule: rule, Title: titles()[rule], Severity: finding.Medium, Kind: rule}
		for _, v := range vs {
			if v.Rule == rule {
				row.Severity, row.Kind = v.Severity, v.Kind
				row.Add(v.Status, 1)
			}
		}
		rows = append(rows, row)
	}
	rows[4].Pass += 10
	return rows
}

// emptyAudit read everything and found nothing.
func emptyAudit() *finding.Audit {
	return &finding.Audit{
		Version: "1.2.3", AsOf: asOf, Ruleset: "default", Complete: true, Verdicts: each(nil),
		Accounts: []finding.AccountResult{{
			Account:  quiet,
			Evidence: fact.Evidence{Source: fact.Report, GeneratedAt: fact.At(asOf.Add(-170 * time.Minute)), ReadAt: fact.At(asOf.Add(-time.Minute))},
			Users:    4, Keys: 3, ActiveKeys: 2,
		}},
		Summary: []finding.RuleResult{{Rule: "key-age-90", Kind: "key-age", Title: titles()["key-age-90"], Severity: finding.High, Pass: 2}},
	}
}

func each(vs []finding.Verdict) func(func(*finding.Verdict) bool) {
	return func(yield func(*finding.Verdict) bool) {
		for i := range vs {
			if !yield(&vs[i]) {
				return
			}
		}
	}
}
