package metric

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Family is a metric of the page.
type Family struct {
	Name    string
	Help    string
	Counter bool     // it only grows while the process lives; else it is a gauge
	Account bool     // there is one for each account, by the label account, unless Settings.Sums
	Labels  []string // its other labels
}

// The families. Those that the report of an audit has too are called as there.
var (
	up        = Family{Name: "keyreeve_up", Help: "1 when the database could be read, else 0: then what comes from it is missing."}
	buildInfo = Family{Name: "keyreeve_build_info", Help: "Always 1; the label says which version runs.", Labels: []string{"version"}}

	accounts    = Family{Name: "keyreeve_accounts", Help: "Accounts by state: read, unread (their numbers are those of before), gone.", Labels: []string{"state"}}
	users       = Family{Name: "keyreeve_users", Help: "IAM users by account, root not counted.", Account: true}
	keys        = Family{Name: "keyreeve_keys", Help: "Access keys by account, root's counted.", Account: true, Labels: []string{"active"}}
	keyAges     = Family{Name: "keyreeve_key_age_keys", Help: "Active keys by age: at least from_days, below to_days.", Account: true, Labels: []string{"from_days", "to_days"}}
	evidenceAge = Family{Name: "keyreeve_evidence_age_seconds", Help: "Age of the evidence that an account's numbers rest on.", Account: true, Labels: []string{"source"}}
	gaps        = Family{Name: "keyreeve_gaps", Help: "Readings that did not succeed, by account.", Account: true}
	failing     = Family{Name: "keyreeve_failing", Help: "Failing verdicts by account and severity.", Account: true, Labels: []string{"severity"}}
	verdicts    = Family{Name: "keyreeve_verdicts", Help: "Verdicts by rule and status over all accounts; those that are open have the status fail.", Labels: []string{"rule", "severity", "status"}}

	rotations = Family{Name: "keyreeve_rotations", Help: "Rotations by state.", Labels: []string{"state"}}
	notices   = Family{Name: "keyreeve_notices", Help: "Messages by channel: waiting to be delivered, given up and still kept.", Labels: []string{"channel", "state"}}

	awsCalls     = Family{Name: "keyreeve_aws_calls_total", Help: "Operations that this process asked of AWS, a retried one counted once.", Counter: true, Labels: []string{"action"}}
	awsRequests  = Family{Name: "keyreeve_aws_requests_total", Help: "HTTP requests that this process sent to AWS, retries included.", Counter: true}
	awsThrottled = Family{Name: "keyreeve_aws_throttled_requests_total", Help: "HTTP requests of this process that AWS put off.", Counter: true, Labels: []string{"action"}}
	due          = Family{Name: "keyreeve_accounts_due", Help: "Accounts that are due and not yet read."}
	partOK       = Family{Name: "keyreeve_part_ok", Help: "1 when the last try of a part of the work went well, else 0.", Labels: []string{"part"}}
	partTried    = Family{Name: "keyreeve_part_tried_timestamp_seconds", Help: "When a part of the work was last tried, or found to have nothing to do, in seconds since 1970.", Labels: []string{"part"}}
	partSince    = Family{Name: "keyreeve_part_since_timestamp_seconds", Help: "Since when a part of the work goes well, or does not, in seconds since 1970.", Labels: []string{"part"}}
)

// Families lists every metric of keyreeve's own, in the order of the documentation. Those of Go and of the operating system (go_,
// process_) come beside them.
func Families() []Family {
	return []Family{
		up, buildInfo, accounts, users, keys, keyAges, evidenceAge, gaps, failing, verdicts, rotations, notices,
		awsCalls, awsRequests, awsThrottled, due, partOK, partTried, partSince,
	}
}

// AllLabels are the labels, that of the account first.
func (f *Family) AllLabels() []string {
	if f.Account {
		return append([]string{accountLabel}, f.Labels...)
	}
	return slices.Clone(f.Labels)
}

const accountLabel = "account"

// descriptions are the families by name as the client library wants them, with the label account or, for sums, without.
func descriptions(sums bool) map[string]*prometheus.Desc {
	out := map[string]*prometheus.Desc{}
	for _, f := range Families() {
		labels := f.AllLabels()
		if sums {
			labels = f.Labels
		}
		out[f.Name] = prometheus.NewDesc(f.Name, f.Help, labels, nil)
	}
	return out
}

func (f *Family) kind() prometheus.ValueType {
	if f.Counter {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}
