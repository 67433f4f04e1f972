package metric

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
)

// look is what there is to tell at one instant: a prometheus.Collector.
type look struct {
	*Settings
	descs  map[string]*prometheus.Desc
	census *store.Census // nil: it could not be read
	now    time.Time
}

// Describe says which families there may be.
func (l *look) Describe(to chan<- *prometheus.Desc) {
	for _, d := range l.descs {
		to <- d
	}
}

// Collect tells the numbers.
func (l *look) Collect(to chan<- prometheus.Metric) {
	l.tell(to, &buildInfo, 1, l.Version)
	l.tell(to, &up, bit(l.census != nil))
	if l.census != nil {
		l.accounts(to)
		l.overall(to)
	}
	l.process(to)
}

// tell writes one number; values are those of the labels.
func (l *look) tell(to chan<- prometheus.Metric, f *Family, n float64, values ...string) {
	m, err := prometheus.NewConstMetric(l.descs[f.Name], f.kind(), n, values...)
	if err != nil { // only a text that is no UTF-8
		m = prometheus.NewInvalidMetric(l.descs[f.Name], err)
	}
	to <- m
}

// accounts tells what there is an account each, or their sums.
func (l *look) accounts(to chan<- prometheus.Metric) {
	unread := 0
	total := sums{}
	for i := range l.census.Accounts {
		a := &l.census.Accounts[i]
		if !a.UnreadSince.IsZero() {
			unread++
		}
		l.account(a, func(f *Family, n float64, values ...string) {
			if l.Sums {
				total.add(f, n, values)
			} else {
				l.tell(to, f, n, append([]string{a.ID}, values...)...)
			}
		})
	}
	for _, s := range total {
		l.tell(to, s.family, s.n, s.values...)
	}
	l.tell(to, &accounts, float64(len(l.census.Accounts)-unread), "read")
	l.tell(to, &accounts, float64(unread), "unread")
	l.tell(to, &accounts, float64(l.census.Gone), "gone")
}

// account tells the numbers of one. It has not zero users and keys while they were never read: then it has no such numbers.
func (l *look) account(a *store.AccountCount, tell func(f *Family, n float64, values ...string)) {
	tell(&gaps, float64(a.Gaps))
	for _, s := range finding.Severities() {
		tell(&failing, float64(a.Failing[s]), string(s))
	}
	if a.Source == "" {
		return
	}
	tell(&users, float64(a.Users))
	tell(&keys, float64(a.ActiveKeys), "true")
	tell(&keys, float64(a.Keys-a.ActiveKeys), "false")
	for _, b := range a.Ages {
		end := "+Inf"
		if b.To > 0 {
			end = strconv.Itoa(b.To)
		}
		tell(&keyAges, float64(b.Keys), strconv.Itoa(b.From), end)
	}
	if a.MadeAt.Known() {
		tell(&evidenceAge, fact.At(l.now).Sub(a.MadeAt).Seconds(), string(a.Source))
	}
}

// sums are numbers of accounts together, by their family and labels.
type sums map[string]*sum

type sum struct {
	family *Family
	values []string
	n      float64
}

// add adds the number of an account; of ages it keeps the highest.
func (s sums) add(f *Family, n float64, values []string) {
	id := f.Name
	for _, v := range values {
		id += "\x00" + v
	}
	switch at := s[id]; {
	case at == nil:
		s[id] = &sum{f, values, n}
	case f.Name == evidenceAge.Name:
		at.n = max(at.n, n)
	default:
		at.n += n
	}
}

// overall tells what is counted over all accounts. States that do not occur are zero, so that an alert sees them go.
func (l *look) overall(to chan<- prometheus.Metric) {
	for _, r := range l.census.Rules {
		l.tell(to, &verdicts, float64(r.Open), r.Rule, string(r.Severity), string(finding.Fail))
	}
	for _, s := range rotate.States() {
		l.tell(to, &rotations, float64(l.census.Rotations[s]), string(s))
	}
	const waiting = "waiting"
	told := map[string]bool{}
	for _, n := range l.census.Notices {
		told[n.Channel] = true
		l.tell(to, &notices, float64(n.Waiting), n.Channel, waiting)
		l.tell(to, &notices, float64(n.GivenUp), n.Channel, string(notice.GivenUp))
	}
	for _, c := range l.Channels {
		if !told[c] {
			told[c] = true
			l.tell(to, &notices, 0, c, waiting)
			l.tell(to, &notices, 0, c, string(notice.GivenUp))
		}
	}
}

// process tells what the process knows by itself.
func (l *look) process(to chan<- prometheus.Metric) {
	if l.Calls != nil {
		c := l.Calls()
		for action, n := range c.Calls {
			l.tell(to, &awsCalls, float64(n), action)
			if _, ok := c.Throttled[action]; !ok {
				l.tell(to, &awsThrottled, 0, action)
			}
		}
		for action, n := range c.Throttled {
			l.tell(to, &awsThrottled, float64(n), action)
		}
		l.tell(to, &awsRequests, float64(c.Requests))
	}
	if l.Due != nil {
		l.tell(to, &due, float64(l.Due()))
	}
	if l.Parts != nil {
		for name, p := range l.Parts() {
			l.tell(to, &partOK, bit(p.OK), name)
			l.tell(to, &partTried, seconds(p.At), name)
			l.tell(to, &partSince, seconds(p.Since), name)
		}
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// seconds since 1970.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
