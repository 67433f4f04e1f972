package report

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

func plain(n int) string { return strconv.Itoa(n) }

// writePrometheus writes gauges for the textfile collector. Only counts and ages leave in it: no user, no
// key. keyreeve_evidence_age_seconds is missing for evidence that does not state its age, a negative value
// means evidence made after the moment judged. keyreeve_users, keyreeve_keys and keyreeve_key_age_keys are missing for an account
// whose users were not read at all: it has not zero of them.
func writePrometheus(w *bufio.Writer, a *finding.Audit, _ Options) error {
	m := metrics{w}
	m.head("keyreeve_audit_timestamp_seconds", "The moment the last audit judged, in seconds since 1970.")
	m.value("keyreeve_audit_timestamp_seconds", float64(a.AsOf.UnixNano())/float64(time.Second))
	m.head("keyreeve_audit_complete", "1 when all evidence was read and is young enough, else 0.")
	m.value("keyreeve_audit_complete", bit(a.Complete))
	m.head("keyreeve_audit_info", "Always 1; the labels say what judged.")
	m.value("keyreeve_audit_info", 1, "ruleset", a.Ruleset, "version", a.Version)
	m.accounts(a)
	m.head("keyreeve_verdicts", "Verdicts by rule and status over all accounts.")
	for _, r := range a.Summary {
		for _, s := range finding.Statuses() {
			m.value("keyreeve_verdicts", float64(countOf(r, s)), "rule", r.Rule, "severity", string(r.Severity), "status", string(s))
		}
	}
	m.failing(a)
	m.units(a)
	return nil
}

func countOf(r finding.RuleResult, s finding.Status) int {
	switch s {
	case finding.Fail:
		return r.Fail
	case finding.Pass:
		return r.Pass
	case finding.Unknown:
		return r.Unknown
	case finding.Excepted:
		return r.Excepted
	default:
		return 0
	}
}

// accountLabel tells accounts apart; evidence that names none, such as a report without users, goes by its
// path, for a sample must not come twice.
func accountLabel(r *finding.AccountResult) string {
	if r.Account.ID == "" {
		return r.Evidence.Path
	}
	return r.Account.ID
}

type metrics struct{ w *bufio.Writer }

func (m metrics) head(name, help string) {
	fmt.Fprintf(m.w, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
}

// value writes one sample; labels are names and values in turn.
func (m metrics) value(name string, v float64, labels ...string) {
	var b strings.Builder
	for i := 0; i+1 < len(labels); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(clean(labels[i+1]))
		fmt.Fprintf(&b, `%s="%s"`, labels[i], escaped)
	}
	set := b.String()
	if set != "" {
		set = "{" + set + "}"
	}
	fmt.Fprintf(m.w, "%s%s %s\n", name, set, strconv.FormatFloat(v, 'f', -1, 64))
}

func (m metrics) accounts(a *finding.Audit) {
	m.head("keyreeve_users", "IAM users by account, root not counted.")
	for i := range a.Accounts {
		if r := &a.Accounts[i]; !nothingRead(r) {
			m.value("keyreeve_users", float64(r.Users), "account", accountLabel(r))
		}
	}
	m.head("keyreeve_keys", "Access keys by account, root's counted.")
	for i := range a.Accounts {
		r := &a.Accounts[i]
		if nothingRead(r) {
			continue
		}
		m.value("keyreeve_keys", float64(r.ActiveKeys), "account", accountLabel(r), "active", "true")
		m.value("keyreeve_keys", float64(r.Keys-r.ActiveKeys), "account", accountLabel(r), "active", "false")
	}
	m.head("keyreeve_key_age_keys", "Active keys by age: at least from_days, below to_days.")
	for i := range a.Accounts {
		if nothingRead(&a.Accounts[i]) {
			continue
		}
		for _, b := range a.Accounts[i].Ages {
			to := "+Inf"
			if b.To > 0 {
				to = plain(b.To)
			}
			m.value("keyreeve_key_age_keys", float64(b.Keys),
				"account", accountLabel(&a.Accounts[i]), "from_days", plain(b.From), "to_days", to)
		}
	}
	m.head("keyreeve_evidence_age_seconds", "Age of the evidence at the moment judged.")
	for i := range a.Accounts {
		r := &a.Accounts[i]
		if made := madeAt(r.Evidence); made.Known() {
			age := fact.At(a.AsOf).Sub(made)
			m.value("keyreeve_evidence_age_seconds", age.Seconds(),
				"account", accountLabel(r), "source", string(r.Evidence.Source))
		}
	}
	m.head("keyreeve_gaps", "Readings that did not succeed, by account.")
	for i := range a.Accounts {
		m.value("keyreeve_gaps", float64(len(a.Accounts[i].Gaps)), "account", accountLabel(&a.Accounts[i]))
	}
}

// failing counts failing verdicts by account and severity, with zeros, so that an alert sees them go.
func (m metrics) failing(a *finding.Audit) {
	counts := map[string]map[finding.Severity]int{}
	for v := range a.Verdicts {
		if v.Status == finding.Fail {
			if counts[v.Account.ID] == nil {
				counts[v.Account.ID] = map[finding.Severity]int{}
			}
			counts[v.Account.ID][v.Severity]++
		}
	}
	m.head("keyreeve_failing", "Failing verdicts by account and severity.")
	for i := range a.Accounts {
		id := a.Accounts[i].Account.ID
		for _, s := range severitiesDown() {
			m.value("keyreeve_failing", float64(counts[id][s]), "account", accountLabel(&a.Accounts[i]), "severity", string(s))
		}
	}
}

// units counts by organisational unit, those below included.
func (m metrics) units(a *finding.Audit) {
	if len(a.Units) == 0 {
		return
	}
	m.head("keyreeve_unit_failing", "Failing verdicts by organisational unit, those below included.")
	for _, u := range a.Units {
		m.value("keyreeve_unit_failing", float64(u.Counts.Fail), "ou", u.Path)
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
