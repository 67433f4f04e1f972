package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

// bodyVersion is that of the JSON in the column body. A program that reads another one refuses: a field that it does
// not know may be one that it must not lose.
const bodyVersion = 1

// body is what a rotation's row holds as JSON: everything that has no column of its own. Instants are texts as
// journal.Stamp writes them, empty for none; durations are those of Go, such as 168h0m0s.
type body struct {
	Version       int          `json:"version"`
	Resume        rotate.State `json:"resume"`
	Why           string       `json:"why"`
	Intent        rotate.Act   `json:"intent"`
	IntentAt      string       `json:"intent_at"`
	Partition     string       `json:"partition"`
	ARN           string       `json:"arn"`
	Caller        string       `json:"caller"`
	Reason        string       `json:"reason"`
	Plan          string       `json:"plan"`
	Terms         bodyTerms    `json:"terms"`
	Old           bodyKey      `json:"old_key"`
	New           *bodyKey     `json:"new_key"` // null until it is made
	Others        []bodyKey    `json:"other_keys"`
	Before        []string     `json:"keys_before"`
	Targets       []bodyTarget `json:"targets"`
	EnteredAt     string       `json:"entered_at"`
	Tries         int          `json:"tries"`
	Answers       int          `json:"answers"`
	Digest        string       `json:"digest"`
	ProbedAt      string       `json:"probed_at"`
	ProvenBy      string       `json:"proven_by"`
	ConfirmedBy   string       `json:"confirmed_by"`
	ApprovedBy    string       `json:"approved_by"`
	DeactivatedAt string       `json:"deactivated_at"`
	DueAt         string       `json:"due_at"`
	Gap           string       `json:"longest_gap"`
}

type bodyTerms struct {
	Mode     rotate.Mode `json:"mode"`
	Settling string      `json:"settling"`
	Quiet    string      `json:"quiet"`
	Delivery string      `json:"delivery"`
	Probe    string      `json:"probe"`
	Proof    string      `json:"proof"`
	Unproven bool        `json:"unproven"`
}

type bodyKey struct {
	ID       string `json:"id"`
	Active   bool   `json:"active"`
	Created  string `json:"created_at"`
	LastUsed string `json:"last_used_at"` // empty: never
}

type bodyTarget struct {
	Name    string             `json:"name"`
	Kind    string             `json:"kind"`
	Where   string             `json:"where"`
	State   rotate.TargetState `json:"state"`
	Receipt []byte             `json:"receipt"` // in base64; null: none
	Why     string             `json:"why"`
	Tries   int                `json:"tries"`
}

// encode gives the body of the rotation.
func encode(r *rotate.Rotation) (string, error) {
	t := &r.Terms
	b := body{
		Version: bodyVersion, Resume: r.Resume, Why: clean(r.Why), Intent: r.Intent, IntentAt: stamp(r.IntentAt), Partition: r.Partition, ARN: r.ARN,
		Caller: r.Caller, Reason: clean(r.Reason), Plan: r.Plan,
		Terms: bodyTerms{
			t.Mode, t.Settling.String(), t.Quiet.String(), t.Delivery.String(), t.Probe.String(), t.Proof.String(), t.Unproven,
		},
		Old: encodeKey(&r.Old), Before: r.Before, EnteredAt: stamp(r.EnteredAt), Tries: r.Tries, Answers: r.Answers, Digest: r.Digest,
		ProbedAt: stamp(r.ProbedAt), ProvenBy: r.ProvenBy, ConfirmedBy: r.ConfirmedBy, ApprovedBy: r.ApprovedBy,
		DeactivatedAt: stamp(r.DeactivatedAt), DueAt: stamp(r.DueAt), Gap: r.Gap.String(),
	}
	if r.New != (rotate.KeyRecord{}) {
		k := encodeKey(&r.New)
		b.New = &k
	}
	for i := range r.Others {
		b.Others = append(b.Others, encodeKey(&r.Others[i]))
	}
	for i := range r.Targets {
		t := &r.Targets[i]
		b.Targets = append(b.Targets, bodyTarget{t.Name, t.Kind, t.Where, t.State, t.Receipt, clean(t.Why), t.Tries})
	}
	text, err := json.Marshal(&b)
	return string(text), err
}

func encodeKey(k *rotate.KeyRecord) bodyKey {
	return bodyKey{k.ID, k.Active, stamp(k.Created), stamp(k.LastUsed)}
}

// decode fills in what the body holds. Unknown fields and other versions are errors.
func decode(text string, r *rotate.Rotation) error {
	var b body
	if err := journal.DecodeStrict([]byte(text), &b); err != nil {
		return err
	}
	if b.Version != bodyVersion {
		return fmt.Errorf("its body has the version %d, this program reads %d", b.Version, bodyVersion)
	}
	var rd reading
	r.Resume, r.Why, r.Intent, r.IntentAt = b.Resume, b.Why, b.Intent, rd.at(b.IntentAt)
	r.Partition, r.ARN, r.Caller, r.Reason, r.Plan = b.Partition, b.ARN, b.Caller, b.Reason, b.Plan
	r.Terms = rotate.Terms{
		Mode: b.Terms.Mode, Settling: rd.span(b.Terms.Settling), Quiet: rd.span(b.Terms.Quiet), Delivery: rd.span(b.Terms.Delivery),
		Probe: rd.span(b.Terms.Probe), Proof: rd.span(b.Terms.Proof), Unproven: b.Terms.Unproven,
	}
	r.Old, r.Before = rd.key(&b.Old), b.Before
	if b.New != nil {
		r.New = rd.key(b.New)
	}
	for i := range b.Others {
		r.Others = append(r.Others, rd.key(&b.Others[i]))
	}
	for _, t := range b.Targets {
		r.Targets = append(r.Targets, rotate.Target{
			Name: t.Name, Kind: t.Kind, Where: t.Where, State: t.State, Receipt: t.Receipt, Why: t.Why, Tries: t.Tries,
		})
	}
	r.Digest = b.Digest
	r.EnteredAt, r.Tries, r.Answers, r.ProbedAt = rd.at(b.EnteredAt), b.Tries, b.Answers, rd.at(b.ProbedAt)
	r.ProvenBy, r.ConfirmedBy, r.ApprovedBy = b.ProvenBy, b.ConfirmedBy, b.ApprovedBy
	r.DeactivatedAt, r.DueAt, r.Gap = rd.at(b.DeactivatedAt), rd.at(b.DueAt), rd.span(b.Gap)
	return rd.err
}

// reading keeps the first error.
type reading struct{ err error }

func (r *reading) at(text string) time.Time {
	t, err := instant(text)
	if err != nil && r.err == nil {
		r.err = err
	}
	return t
}

func (r *reading) span(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if (err != nil || d.String() != text) && r.err == nil {
		r.err = fmt.Errorf("%q is no duration as the ledger writes it", text)
	}
	return d
}

func (r *reading) key(k *bodyKey) rotate.KeyRecord {
	return rotate.KeyRecord{ID: k.ID, Active: k.Active, Created: r.at(k.Created), LastUsed: r.at(k.LastUsed)}
}

// stamp is empty for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return journal.Stamp(t)
}

// clean replaces what no database holds: errors of others end up in these texts.
func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
