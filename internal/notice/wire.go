package notice

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// Schema names the shape of a message in JSON. It grows only by new fields.
const Schema = "keyreeve.notice/1"

//go:embed schema/notice.schema.json
var schemaText string

// NoticeSchema is the JSON Schema (draft 2020-12) of a message in JSON.
func NoticeSchema() []byte { return []byte(schemaText) }

type wireMessage struct {
	Schema    string     `json:"schema"`
	ID        string     `json:"id"`
	Channel   string     `json:"channel"`
	Recipient string     `json:"recipient"`
	Thread    string     `json:"thread"`
	At        time.Time  `json:"at"`
	Test      bool       `json:"test"`
	Subject   string     `json:"subject"`
	Text      string     `json:"text"`
	Markdown  string     `json:"markdown"`
	Items     []wireItem `json:"items"`
	More      int        `json:"more"`
}

type wireItem struct {
	ID        string         `json:"id"`
	Kind      Kind           `json:"kind"`
	At        time.Time      `json:"at"`
	Why       Reason         `json:"why"`
	Account   wireAccount    `json:"account"`
	Owner     string         `json:"owner"`
	Note      string         `json:"note"`
	Text      string         `json:"text"`
	Verdict   *wireVerdict   `json:"verdict"`
	Rotation  *wireRotation  `json:"rotation"`
	Gap       *wireGap       `json:"gap"`
	Exception *wireException `json:"exception"`
}

type wireAccount struct {
	ID        string `json:"id"`
	Partition string `json:"partition"`
	Name      string `json:"name"`
	OU        string `json:"ou"`
}

// wireVerdict has the names of a verdict in keyreeve.audit/1. What a history does not keep of one is left out, for it is not known.
type wireVerdict struct {
	ID        string              `json:"id"`
	Rule      string              `json:"rule"`
	Kind      string              `json:"kind"`
	Title     string              `json:"title"`
	Status    finding.Status      `json:"status"`
	Severity  finding.Severity    `json:"severity"`
	User      string              `json:"user"`
	UserARN   string              `json:"user_arn,omitempty"`
	Key       *wireKey            `json:"key"`
	Message   string              `json:"message"`
	Facts     map[string]any      `json:"facts,omitempty"`
	Since     *time.Time          `json:"since"`
	Due       *time.Time          `json:"due"`
	Remedy    finding.Remedy      `json:"remedy"`
	Controls  map[string][]string `json:"controls,omitempty"`
	Exception *wireException      `json:"exception"`
}

type wireKey struct {
	ID              string     `json:"id"`
	Slot            *int       `json:"slot,omitempty"`
	Active          bool       `json:"active"`
	CreatedAt       *time.Time `json:"created_at"`
	LastUsedAt      *time.Time `json:"last_used_at,omitempty"`
	LastUsedService string     `json:"last_used_service,omitempty"`
	LastUsedRegion  string     `json:"last_used_region,omitempty"`
	NeverUsed       *bool      `json:"never_used,omitempty"` // nil: the last use is not known
}

type wireRotation struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Why   string `json:"why"`
	User  string `json:"user"`
	KeyID string `json:"key_id"`
}

type wireGap struct {
	Reading string `json:"reading"`
	Subject string `json:"subject"`
	Why     string `json:"why"`
}

type wireException struct {
	Rule    string     `json:"rule"`
	Account string     `json:"account"`
	User    string     `json:"user"`
	Key     string     `json:"key"`
	Reason  string     `json:"reason"`
	Owner   string     `json:"owner"`
	Expires *time.Time `json:"expires"`
	Origin  string     `json:"origin"`
}

// Encode is m in JSON (keyreeve.notice/1), as webhooks send it and the outbox keeps it. An error where an instant of the
// evidence has no form in JSON, such as one after the year 9999.
func (m *Message) Encode() ([]byte, error) {
	w := wireMessage{
		Schema: Schema, ID: m.ID, Channel: m.Channel, Recipient: m.Recipient, Thread: m.Thread, At: m.At.UTC(), Test: m.Test,
		Subject: m.Subject, Text: m.Text(), Markdown: m.Markdown(), Items: []wireItem{}, More: m.More,
	}
	for i := range m.Items {
		w.Items = append(w.Items, m.Items[i].wire())
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(w); err != nil {
		return nil, fmt.Errorf("write notice %q: %w", m.ID, err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func (it *Item) wire() wireItem {
	l := it.line()
	out := wireItem{
		ID: it.ID, Kind: it.Kind, At: it.At.UTC(), Why: it.Why, Owner: it.Owner, Note: it.Note, Text: l.Label + ": " + l.Text,
		Account: wireAccount{it.Account.ID, it.Account.Partition, it.Account.Name, it.Account.OU},
	}
	if it.Verdict != nil {
		out.Verdict = wireOf(it.Verdict)
	}
	if it.Rotation != nil {
		r := wireRotation(*it.Rotation)
		out.Rotation = &r
	}
	if g := it.Gap; g != nil {
		out.Gap = &wireGap{g.Reading, g.Subject, g.Why}
	}
	out.Exception = wireExceptionOf(it.Exception)
	return out
}

func wireOf(v *finding.Verdict) *wireVerdict {
	out := &wireVerdict{
		ID: v.ID, Rule: v.Rule, Kind: v.Kind, Title: v.Title, Status: v.Status, Severity: v.Severity, User: v.User, UserARN: v.UserARN,
		Message: v.Message, Facts: v.Facts, Since: stamp(v.Since), Due: stamp(v.Due), Remedy: v.Remedy, Controls: map[string][]string{},
		Exception: wireExceptionOf(v.Exception),
	}
	for _, c := range v.Controls {
		out.Controls[c.Framework] = append(out.Controls[c.Framework], c.IDs...)
	}
	if k := v.Key; k != nil {
		out.Key = &wireKey{
			ID: k.ID, Active: k.Active, CreatedAt: stamp(k.Created), LastUsedAt: stamp(k.LastUsed.At),
			LastUsedService: k.LastUsed.Service, LastUsedRegion: k.LastUsed.Region,
		}
		if k.Slot > 0 {
			out.Key.Slot = &k.Slot
		}
		if !k.LastUsed.At.Unknown() {
			never := k.LastUsed.At.Never()
			out.Key.NeverUsed = &never
		}
	}
	return out
}

func wireExceptionOf(e *finding.Exception) *wireException {
	if e == nil {
		return nil
	}
	return &wireException{e.Rule, e.Account, e.User, e.Key, e.Reason, e.Owner, stamp(e.Expires), e.Origin}
}

func stamp(t fact.Time) *time.Time {
	if !t.Known() {
		return nil
	}
	at := t.Time()
	return &at
}

// Decode reads what Encode wrote. Fields that are not known here are passed over: a newer version may have written them.
func Decode(body []byte) (Message, error) {
	var w wireMessage
	if err := json.Unmarshal(body, &w); err != nil {
		return Message{}, fmt.Errorf("read a notice: %w", err)
	}
	if w.Schema != Schema {
		return Message{}, fmt.Errorf("read a notice: its schema is %q, not %s", w.Schema, Schema)
	}
	m := Message{
		ID: w.ID, Channel: w.Channel, Recipient: w.Recipient, Thread: w.Thread, At: w.At, Test: w.Test, Subject: w.Subject, More: w.More,
	}
	for i := range w.Items {
		it, err := w.Items[i].item()
		if err != nil {
			return Message{}, fmt.Errorf("read notice %q: %w", w.ID, err)
		}
		m.Items = append(m.Items, it)
	}
	if m.ID == "" || m.Channel == "" {
		return Message{}, errors.New("read a notice: it lacks its id or its channel")
	}
	return m, nil
}

func (w *wireItem) item() (Item, error) {
	it := Item{ID: w.ID, Owner: w.Owner, Note: w.Note}
	it.Kind, it.At, it.Why = w.Kind, w.At, w.Why
	it.Account = fact.Account{ID: w.Account.ID, Partition: w.Account.Partition, Name: w.Account.Name, OU: w.Account.OU}
	if w.Verdict != nil {
		it.Verdict = w.Verdict.verdict(it.Account)
	}
	if w.Rotation != nil {
		r := Rotation(*w.Rotation)
		it.Rotation = &r
	}
	if g := w.Gap; g != nil {
		it.Gap = &fact.Gap{Account: it.Account.ID, Reading: g.Reading, Subject: g.Subject, Why: g.Why}
	}
	it.Exception = w.Exception.exception()
	return it, it.Validate()
}

func (w *wireVerdict) verdict(a fact.Account) *finding.Verdict {
	v := &finding.Verdict{
		ID: w.ID, Rule: w.Rule, Kind: w.Kind, Title: w.Title, Status: w.Status, Severity: w.Severity, Account: a, User: w.User,
		UserARN: w.UserARN, Message: w.Message, Facts: w.Facts, Since: instant(w.Since), Due: instant(w.Due), Remedy: w.Remedy,
		Exception: w.Exception.exception(),
	}
	for _, name := range slices.Sorted(maps.Keys(w.Controls)) {
		v.Controls = append(v.Controls, finding.Control{Framework: name, IDs: w.Controls[name]})
	}
	if k := w.Key; k != nil {
		v.Key = &fact.Key{
			ID: k.ID, Active: k.Active, Created: instant(k.CreatedAt),
			LastUsed: fact.Use{At: instant(k.LastUsedAt), Service: k.LastUsedService, Region: k.LastUsedRegion},
		}
		if k.Slot != nil {
			v.Key.Slot = *k.Slot
		}
		if k.NeverUsed != nil && *k.NeverUsed {
			v.Key.LastUsed.At = fact.Never()
		}
	}
	return v
}

func (w *wireException) exception() *finding.Exception {
	if w == nil {
		return nil
	}
	return &finding.Exception{
		Rule: w.Rule, Account: w.Account, User: w.User, Key: w.Key, Reason: w.Reason, Owner: w.Owner, Expires: instant(w.Expires), Origin: w.Origin,
	}
}

func instant(t *time.Time) fact.Time {
	if t == nil {
		return fact.Time{}
	}
	return fact.At(*t)
}
