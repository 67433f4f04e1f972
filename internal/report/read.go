package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// ErrNotAudit says that something read is not a JSON audit of ours.
var ErrNotAudit = errors.New("not an audit that keyreeve wrote with -o json")

const readHint = "\nhint: write one with keyreeve audit -o json=FILE"

type wireAudit struct {
	Schema     string          `json:"schema"`
	Tool       wireTool        `json:"tool"`
	AsOf       *string         `json:"as_of"`
	Ruleset    string          `json:"ruleset"`
	Complete   *bool           `json:"complete"`
	Accounts   []wireAccount   `json:"accounts"`
	Verdicts   *[]wireVerdict  `json:"verdicts"`
	Summary    []wireRule      `json:"summary"`
	Due        []wireVerdict   `json:"due"`
	NotJudged  []wireNotJudged `json:"not_judged"`
	Exceptions []wireNotice    `json:"exceptions"`
	Scoreboard *wireScoreboard `json:"scoreboard"`
	Notes      []string        `json:"notes"`
	Units      []wireUnit      `json:"organizational_units"`
}

// ReadAudit reads what -o json wrote, and returns the audit with its verdicts also as a slice. Fields that
// it does not know are passed over, for the format grows. Anything else is an error with a hint (ErrNotAudit
// where it is no audit at all): another schema, a document cut short or followed by more, a missing field
// that a comparison rests on, a status, severity or time that is none, the same verdict twice.
func ReadAudit(r io.Reader) (*finding.Audit, []finding.Verdict, error) {
	dec := json.NewDecoder(r)
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil, fmt.Errorf("%w: it is empty%s", ErrNotAudit, readHint)
		}
		return nil, nil, fmt.Errorf("%w: %w%s", ErrNotAudit, err, readHint)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("%w: more follows the first JSON value%s", ErrNotAudit, readHint)
	}
	if err := checkSchema(raw); err != nil {
		return nil, nil, err
	}
	var in wireAudit
	body := json.NewDecoder(bytes.NewReader(raw))
	body.UseNumber()
	if err := body.Decode(&in); err != nil {
		return nil, nil, fmt.Errorf("%w: %w%s", ErrNotAudit, err, readHint)
	}
	a, vs, err := in.audit()
	if err != nil {
		return nil, nil, fmt.Errorf("damaged audit: %w%s", err, readHint)
	}
	return a, vs, nil
}

func checkSchema(raw []byte) error {
	var head struct {
		Schema *string `json:"schema"`
	}
	if err := json.Unmarshal(raw, &head); err != nil || head.Schema == nil {
		return fmt.Errorf("%w: it names no schema%s", ErrNotAudit, readHint)
	}
	switch {
	case *head.Schema == auditSchema:
		return nil
	case strings.HasPrefix(*head.Schema, "keyreeve.audit/"):
		return fmt.Errorf("audit has schema %q, this program reads %q\nhint: read it with the version that wrote it, or audit again",
			*head.Schema, auditSchema)
	default:
		return fmt.Errorf("%w: its schema is %q, not %q%s", ErrNotAudit, *head.Schema, auditSchema, readHint)
	}
}

func (in *wireAudit) audit() (*finding.Audit, []finding.Verdict, error) {
	switch {
	case in.Verdicts == nil:
		return nil, nil, errors.New(`"verdicts" is missing`)
	case in.Complete == nil:
		return nil, nil, errors.New(`"complete" is missing`)
	case in.AsOf == nil:
		return nil, nil, errors.New(`"as_of" is missing`)
	}
	p := parser{accounts: map[string]fact.Account{}}
	a := &finding.Audit{Version: in.Tool.Version, Ruleset: in.Ruleset, Complete: *in.Complete, Notes: in.Notes}
	for _, u := range in.Units {
		a.Units = append(a.Units, finding.UnitResult{
			Path: u.Path, Accounts: u.Accounts, Incomplete: u.Incomplete, Users: u.Users, Keys: u.Keys, ActiveKeys: u.ActiveKeys,
			Counts: finding.Counts(u.wireTally),
		})
	}
	a.AsOf = p.time("as_of", in.AsOf).Time()
	for i := range in.Accounts {
		acc := p.account(&in.Accounts[i])
		a.Accounts = append(a.Accounts, acc)
		p.accounts[acc.Account.ID] = acc.Account
	}
	vs := p.verdicts("verdicts", *in.Verdicts)
	a.Verdicts = func(yield func(*finding.Verdict) bool) {
		for i := range vs {
			if !yield(&vs[i]) {
				return
			}
		}
	}
	a.Due = p.verdicts("due", in.Due)
	for _, r := range in.Summary {
		a.Summary = append(a.Summary, finding.RuleResult{
			Rule: r.Rule, Kind: r.Kind, Title: r.Title, Severity: finding.Severity(r.Severity),
			Fail: r.Fail, Pass: r.Pass, Unknown: r.Unknown, Excepted: r.Excepted,
		})
	}
	for _, n := range in.NotJudged {
		a.NotJudged = append(a.NotJudged, finding.NotJudged(n))
	}
	for i := range in.Exceptions {
		n := &in.Exceptions[i]
		a.Exceptions = append(a.Exceptions, finding.ExceptionNotice{
			Exception: p.exception(&n.wireException), State: finding.ExceptionState(n.State),
		})
	}
	a.Scoreboard = in.Scoreboard.scoreboard()
	return a, vs, p.err
}

// parser turns wire shapes into domain values and keeps the first mistake.
type parser struct {
	accounts map[string]fact.Account
	err      error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *parser) time(field string, s *string) fact.Time {
	if s == nil {
		return fact.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, *s)
	if err != nil {
		p.fail("%s %q is no RFC 3339 time", field, *s)
		return fact.Time{}
	}
	return fact.At(t)
}

func (p *parser) account(in *wireAccount) finding.AccountResult {
	e := in.Evidence
	out := finding.AccountResult{
		Account: fact.Account{ID: in.ID, Partition: in.Partition, Name: in.Name, OU: in.OU, Tags: in.Tags}, Counts: finding.Counts(in.wireTally),
		Evidence: fact.Evidence{
			Source: fact.Source(e.Source), Path: e.Path, GeneratedAt: p.time("generated_at", e.GeneratedAt),
			ReadAt: p.time("read_at", e.ReadAt), Newest: p.time("newest", e.Newest),
		},
		Users: in.Users, Keys: in.Keys, ActiveKeys: in.ActiveKeys,
	}
	for _, b := range in.Ages {
		band := finding.AgeBand{From: b.FromDays, Keys: b.Keys}
		if b.ToDays != nil {
			band.To = *b.ToDays
		}
		out.Ages = append(out.Ages, band)
	}
	for _, g := range in.Gaps {
		out.Gaps = append(out.Gaps, fact.Gap{Account: in.ID, Reading: g.Reading, Subject: g.Subject, Why: g.Why})
	}
	return out
}

func (p *parser) verdicts(field string, in []wireVerdict) []finding.Verdict {
	out := make([]finding.Verdict, 0, len(in))
	seen := make(map[string]bool, len(in))
	for i := range in {
		v := p.verdict(&in[i])
		switch {
		case v.ID == "":
			p.fail("%s[%d] has no id", field, i)
		case seen[v.ID]:
			p.fail("%s[%d] repeats id %q", field, i, v.ID)
		case !slices.Contains(finding.Statuses(), v.Status):
			p.fail("%s[%d] has status %q", field, i, v.Status)
		case !v.Severity.Valid():
			p.fail("%s[%d] has severity %q", field, i, v.Severity)
		}
		seen[v.ID] = true
		out = append(out, v)
	}
	return out
}

func (p *parser) verdict(in *wireVerdict) finding.Verdict {
	acc, ok := p.accounts[in.Account]
	if !ok {
		acc = fact.Account{ID: in.Account}
	}
	v := finding.Verdict{
		ID: in.ID, Rule: in.Rule, Kind: in.Kind, Title: in.Title, Status: finding.Status(in.Status),
		Severity: finding.Severity(in.Severity), Account: acc, User: in.User, UserARN: in.UserARN,
		Key: p.key(in.Key), Message: in.Message, Since: p.time("since", in.Since), Due: p.time("due", in.Due),
		Remedy: in.Remedy,
	}
	if len(in.Facts) > 0 {
		v.Facts = make(map[string]any, len(in.Facts))
		for name, f := range in.Facts {
			v.Facts[name] = plainFact(f)
		}
	}
	for name, ids := range in.Controls {
		v.Controls = append(v.Controls, finding.Control{Framework: name, IDs: ids})
	}
	slices.SortFunc(v.Controls, func(a, b finding.Control) int { return strings.Compare(a.Framework, b.Framework) })
	if in.Exception != nil {
		e := p.exception(in.Exception)
		v.Exception = &e
	}
	return v
}

// plainFact turns a JSON number back into the int that rules put in, where it is one.
func plainFact(f any) any {
	n, ok := f.(json.Number)
	if !ok {
		return f
	}
	if i, err := n.Int64(); err == nil && i >= math.MinInt && i <= math.MaxInt {
		return int(i)
	}
	if x, err := n.Float64(); err == nil {
		return x
	}
	return n.String()
}

func (p *parser) key(in *wireKey) *fact.Key {
	if in == nil {
		return nil
	}
	k := &fact.Key{ID: in.ID, Active: in.Active, Created: p.time("created_at", in.CreatedAt)}
	if in.Slot != nil {
		k.Slot = *in.Slot
	}
	k.LastUsed = fact.Use{
		At: p.time("last_used_at", in.LastUsedAt), Service: in.LastUsedService, Region: in.LastUsedRegion,
	}
	if in.LastUsedAt == nil && in.NeverUsed != nil && *in.NeverUsed {
		k.LastUsed.At = fact.Never()
	}
	return k
}

func (p *parser) exception(in *wireException) finding.Exception {
	return finding.Exception{
		Rule: in.Rule, Account: in.Account, User: in.User, Key: in.Key, Tag: in.Tag, Reason: in.Reason,
		Owner: in.Owner, Expires: p.time("expires", in.Expires), Origin: in.Origin,
	}
}

func (in *wireScoreboard) scoreboard() *finding.Scoreboard {
	if in == nil {
		return nil
	}
	out := &finding.Scoreboard{Framework: in.Framework}
	for _, r := range in.Rows {
		out.Rows = append(out.Rows, finding.ScoreRow{
			Control: r.Control, Rules: r.Rules, Fail: r.Fail, Pass: r.Pass, Unknown: r.Unknown, Excepted: r.Excepted,
		})
	}
	return out
}
