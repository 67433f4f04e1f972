package report

import (
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// The published shapes. Field order is the order of the contract; new fields come after the old ones. Times
// are RFC 3339 in UTC, null where they are unknown or never were.

const (
	auditSchema = "keyreeve.audit/1"
	diffSchema  = "keyreeve.diff/1"
)

type wireTool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type wireAccount struct {
	ID         string            `json:"id"`
	Partition  string            `json:"partition"`
	Name       string            `json:"name"`
	Evidence   wireEvidence      `json:"evidence"`
	Users      int               `json:"users"`
	Keys       int               `json:"keys"`
	ActiveKeys int               `json:"active_keys"`
	Gaps       []wireGap         `json:"gaps"`
	OU         string            `json:"ou,omitempty"`
	Ages       []wireBand        `json:"ages,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	wireTally
}

type wireTally struct {
	Fail     int `json:"fail"`
	Unknown  int `json:"unknown"`
	Excepted int `json:"excepted"`
}

type wireUnit struct {
	Path       string `json:"path"`
	Accounts   int    `json:"accounts"`
	Incomplete int    `json:"incomplete_accounts"`
	Users      int    `json:"users"`
	Keys       int    `json:"keys"`
	ActiveKeys int    `json:"active_keys"`
	wireTally
}

type wireEvidence struct {
	Source      string  `json:"source"`
	Path        string  `json:"path"`
	GeneratedAt *string `json:"generated_at"`
	ReadAt      *string `json:"read_at"`
	Newest      *string `json:"newest"`
}

type wireGap struct {
	Reading string `json:"reading"`
	Subject string `json:"subject"`
	Why     string `json:"why"`
}

type wireBand struct {
	FromDays int  `json:"from_days"`
	ToDays   *int `json:"to_days"` // null: no upper end
	Keys     int  `json:"keys"`
}

type wireVerdict struct {
	ID        string              `json:"id"`
	Rule      string              `json:"rule"`
	Kind      string              `json:"kind"`
	Status    string              `json:"status"`
	Severity  string              `json:"severity"`
	Account   string              `json:"account"`
	User      string              `json:"user"`
	UserARN   string              `json:"user_arn"`
	Key       *wireKey            `json:"key"`
	Message   string              `json:"message"`
	Facts     map[string]any      `json:"facts"`
	Since     *string             `json:"since"`
	Remedy    finding.Remedy      `json:"remedy"`
	Controls  map[string][]string `json:"controls"`
	Exception *wireException      `json:"exception"`
	Title     string              `json:"title"`
	Due       *string             `json:"due"`
}

type wireKey struct {
	ID              string  `json:"id"`
	Slot            *int    `json:"slot"`
	Active          bool    `json:"active"`
	CreatedAt       *string `json:"created_at"`
	LastUsedAt      *string `json:"last_used_at"`
	LastUsedService string  `json:"last_used_service"`
	LastUsedRegion  string  `json:"last_used_region"`
	// NeverUsed tells the two reasons of a null last_used_at apart: true when AWS recorded no use, null
	// when the last use could not be read.
	NeverUsed *bool `json:"never_used"`
}

type wireException struct {
	Rule    string            `json:"rule"`
	Account string            `json:"account"`
	User    string            `json:"user"`
	Key     string            `json:"key"`
	Reason  string            `json:"reason"`
	Owner   string            `json:"owner"`
	Expires *string           `json:"expires"`
	Tag     map[string]string `json:"tag,omitempty"`
	Origin  string            `json:"origin,omitempty"`
}

type wireRule struct {
	Rule     string `json:"rule"`
	Fail     int    `json:"fail"`
	Pass     int    `json:"pass"`
	Unknown  int    `json:"unknown"`
	Excepted int    `json:"excepted"`
	Kind     string `json:"kind"`
	Title    string `json:"title"`
	Severity string `json:"severity"`
}

type wireNotJudged struct {
	Rule string `json:"rule"`
	Why  string `json:"why"`
}

type wireNotice struct {
	State string `json:"state"`
	wireException
}

type wireScoreboard struct {
	Framework string         `json:"framework"`
	Rows      []wireScoreRow `json:"rows"`
}

type wireScoreRow struct {
	Control  string   `json:"control"`
	Status   string   `json:"status"`
	Rules    []string `json:"rules"`
	Fail     int      `json:"fail"`
	Pass     int      `json:"pass"`
	Unknown  int      `json:"unknown"`
	Excepted int      `json:"excepted"`
}

func stamp(t fact.Time) *string {
	if !t.Known() {
		return nil
	}
	s := t.String()
	return &s
}

// stampText is stamp for formats without null: empty when there is no instant.
func stampText(t fact.Time) string {
	if !t.Known() {
		return ""
	}
	return t.String()
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func toWireAccount(r *finding.AccountResult) wireAccount {
	e := r.Evidence
	out := wireAccount{
		ID: r.Account.ID, Partition: r.Account.Partition, Name: r.Account.Name, OU: r.Account.OU,
		Evidence: wireEvidence{
			Source: string(e.Source), Path: e.Path, GeneratedAt: stamp(e.GeneratedAt), ReadAt: stamp(e.ReadAt),
			Newest: stamp(e.Newest),
		},
		Users: r.Users, Keys: r.Keys, ActiveKeys: r.ActiveKeys, Gaps: make([]wireGap, 0, len(r.Gaps)),
		Tags: r.Account.Tags, wireTally: wireTally(r.Counts),
	}
	for _, g := range r.Gaps {
		out.Gaps = append(out.Gaps, wireGap{g.Reading, g.Subject, g.Why})
	}
	for _, b := range r.Ages {
		band := wireBand{FromDays: b.From, Keys: b.Keys}
		if b.To > 0 {
			band.ToDays = &b.To
		}
		out.Ages = append(out.Ages, band)
	}
	return out
}

func toWireVerdict(v *finding.Verdict) wireVerdict {
	out := wireVerdict{
		ID: v.ID, Rule: v.Rule, Kind: v.Kind, Status: string(v.Status), Severity: string(v.Severity),
		Account: v.Account.ID, User: v.User, UserARN: v.UserARN, Key: toWireKey(v.Key), Message: v.Message,
		Facts: v.Facts, Since: stamp(v.Since), Remedy: v.Remedy, Controls: map[string][]string{},
		Title: v.Title, Due: stamp(v.Due),
	}
	if out.Facts == nil {
		out.Facts = map[string]any{}
	}
	for _, c := range v.Controls {
		out.Controls[c.Framework] = append(out.Controls[c.Framework], c.IDs...)
	}
	if v.Exception != nil {
		e := toWireException(v.Exception)
		out.Exception = &e
	}
	return out
}

func toWireKey(k *fact.Key) *wireKey {
	if k == nil {
		return nil
	}
	out := &wireKey{
		ID: k.ID, Active: k.Active, CreatedAt: stamp(k.Created), LastUsedAt: stamp(k.LastUsed.At),
		LastUsedService: k.LastUsed.Service, LastUsedRegion: k.LastUsed.Region,
	}
	if k.Slot > 0 {
		slot := k.Slot
		out.Slot = &slot
	}
	if !k.LastUsed.At.Unknown() {
		never := k.LastUsed.At.Never()
		out.NeverUsed = &never
	}
	return out
}

func toWireException(e *finding.Exception) wireException {
	return wireException{
		Rule: e.Rule, Account: e.Account, User: e.User, Key: e.Key, Reason: e.Reason, Owner: e.Owner,
		Expires: stamp(e.Expires), Tag: e.Tag, Origin: e.Origin,
	}
}

func toWireScoreboard(s *finding.Scoreboard) *wireScoreboard {
	if s == nil {
		return nil
	}
	out := &wireScoreboard{Framework: s.Framework, Rows: []wireScoreRow{}}
	for _, r := range s.Rows {
		rules := r.Rules
		if rules == nil {
			rules = []string{}
		}
		out.Rows = append(out.Rows, wireScoreRow{
			r.Control, string(r.Status()), rules, r.Fail, r.Pass, r.Unknown, r.Excepted,
		})
	}
	return out
}
