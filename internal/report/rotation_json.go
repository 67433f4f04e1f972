package report

import (
	"bufio"
	_ "embed"
	"time"

	"github.com/keyreeve/keyreeve/internal/rotate"
)

const (
	rotationSchema  = "keyreeve.rotation/1"
	rotationsSchema = "keyreeve.rotations/1"
)

//go:embed schema/rotation.schema.json
var rotationSchemaText string

// RotationSchema is the JSON Schema (draft 2020-12) of a rotation in JSON. Its $defs/rotations is the schema of the list
// of rotations.
func RotationSchema() []byte { return []byte(rotationSchemaText) }

// wireRotation is what a rotation has in the list too.
type wireRotation struct {
	Rotation  string   `json:"rotation"`
	Version   int64    `json:"version"`
	State     string   `json:"state"`
	Resume    string   `json:"resume"` // of a waiting state; else empty
	Why       string   `json:"why"`
	Commands  []string `json:"commands"` // that a person may give now
	Account   string   `json:"account"`
	User      string   `json:"user"`
	UserID    string   `json:"user_id"`
	OldKeyID  string   `json:"old_key_id"` // empty: none is replaced
	NewKeyID  string   `json:"new_key_id"` // empty until it is made
	StartedAt string   `json:"started_at"`
	ChangedAt *string  `json:"changed_at"`
	EnteredAt *string  `json:"entered_at"`
	NextAt    *string  `json:"next_at"` // null: at once, or never where it is over
	DueAt     *string  `json:"due_at"`
}

type wireRotationDoc struct {
	Schema string `json:"schema"`
	wireRotation
	Intent        string              `json:"intent"` // empty: nothing is under way
	IntentAt      *string             `json:"intent_at"`
	Partition     string              `json:"partition"`
	ARN           string              `json:"arn"`
	Caller        string              `json:"caller"`
	Reason        string              `json:"reason"`
	Plan          string              `json:"plan"`
	Terms         wireTerms           `json:"terms"`
	Old           *wireRotationKey    `json:"old"` // null: the new key replaces none
	New           *wireRotationKey    `json:"new"` // null until it is made
	Others        []*wireRotationKey  `json:"others"`
	Before        []string            `json:"before"`
	Sealed        bool                `json:"sealed"`
	Targets       []wireTarget        `json:"targets"`
	Tries         int                 `json:"tries"`
	Answers       int                 `json:"answers"`
	ProbedAt      *string             `json:"probed_at"`
	ProvenBy      string              `json:"proven_by"`
	ConfirmedBy   string              `json:"confirmed_by"`
	ApprovedBy    string              `json:"approved_by"`
	DeactivatedAt *string             `json:"deactivated_at"`
	GapSeconds    int64               `json:"gap_seconds"`
	Events        []wireRotationEvent `json:"events"`
}

type wireTerms struct {
	Mode     string `json:"mode"`
	Settling int64  `json:"settling_seconds"`
	Quiet    int64  `json:"quiet_seconds"`
	Delivery int64  `json:"delivery_seconds"`
	Probe    int64  `json:"probe_seconds"`
	Proof    int64  `json:"proof_seconds"`
	Unproven bool   `json:"unproven"`
}

type wireRotationKey struct {
	KeyID      string  `json:"key_id"`
	Active     bool    `json:"active"`
	CreatedAt  *string `json:"created_at"`
	LastUsedAt *string `json:"last_used_at"` // null: no use on record
}

type wireTarget struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Where string `json:"where"`
	State string `json:"state"`
	Why   string `json:"why"`
	Tries int    `json:"tries"`
}

type wireRotationEvent struct {
	At   string `json:"at"`
	From string `json:"from"` // empty: it began
	To   string `json:"to"`
	Name string `json:"name"` // empty for an intent, and for a confirmation
	Act  string `json:"act"`
	Note string `json:"note"`
}

func toWireRotation(r *rotate.Rotation) wireRotation {
	out := wireRotation{
		Rotation: r.ID, Version: r.Version, State: string(r.State), Resume: string(r.Resume), Why: r.Why, Commands: []string{},
		Account: r.Account, User: r.User, UserID: r.UserID, OldKeyID: r.Old.ID, NewKeyID: r.New.ID, StartedAt: instant(r.StartedAt),
		ChangedAt: stamp(known(r.ChangedAt)), EnteredAt: stamp(known(r.EnteredAt)), DueAt: stamp(known(r.DueAt)),
	}
	if !r.State.Over() {
		out.NextAt = stamp(known(r.NextAt))
	}
	for _, c := range commands(r) {
		out.Commands = append(out.Commands, c.name)
	}
	return out
}

// toWireRotationKey is nil for a key without an id: there is none.
func toWireRotationKey(k *rotate.KeyRecord) *wireRotationKey {
	if k.ID == "" {
		return nil
	}
	return &wireRotationKey{k.ID, k.Active, stamp(known(k.Created)), stamp(known(k.LastUsed))}
}

func rotationsJSON(w *bufio.Writer, rs []rotate.Rotation) error {
	rows := make([]wireRotation, 0, len(rs))
	for i := range rs {
		rows = append(rows, toWireRotation(&rs[i]))
	}
	d := newDocument(w)
	d.field("schema", rotationsSchema)
	d.field("rotations", rows)
	return d.close()
}

func rotationJSON(w *bufio.Writer, r *rotate.Rotation, events []rotate.Event) error {
	whole := func(d time.Duration) int64 { return int64(d / time.Second) }
	doc := wireRotationDoc{
		Schema: rotationSchema, wireRotation: toWireRotation(r), Intent: string(r.Intent), IntentAt: stamp(known(r.IntentAt)),
		Partition: r.Partition, ARN: r.ARN, Caller: r.Caller, Reason: r.Reason, Plan: r.Plan,
		Terms: wireTerms{
			string(r.Terms.Mode), whole(r.Terms.Settling), whole(r.Terms.Quiet), whole(r.Terms.Delivery), whole(r.Terms.Probe),
			whole(r.Terms.Proof), r.Terms.Unproven,
		},
		Old: toWireRotationKey(&r.Old), New: toWireRotationKey(&r.New), Others: make([]*wireRotationKey, 0, len(r.Others)), Before: append([]string{}, r.Before...),
		Sealed: len(r.Sealed) > 0, Targets: make([]wireTarget, 0, len(r.Targets)), Tries: r.Tries, Answers: r.Answers,
		ProbedAt: stamp(known(r.ProbedAt)), ProvenBy: r.ProvenBy, ConfirmedBy: r.ConfirmedBy, ApprovedBy: r.ApprovedBy,
		DeactivatedAt: stamp(known(r.DeactivatedAt)), GapSeconds: whole(r.Gap), Events: make([]wireRotationEvent, 0, len(events)),
	}
	for i := range r.Others {
		doc.Others = append(doc.Others, toWireRotationKey(&r.Others[i]))
	}
	for i := range r.Targets {
		x := &r.Targets[i]
		doc.Targets = append(doc.Targets, wireTarget{x.Name, x.Kind, x.Where, string(x.State), x.Why, x.Tries})
	}
	for _, e := range events {
		doc.Events = append(doc.Events, wireRotationEvent{instant(e.At), string(e.From), string(e.To), string(e.Name), string(e.Act), e.Note})
	}
	if err := newEncoder(w, "", "  ").write(doc); err != nil {
		return err
	}
	return w.WriteByte('\n')
}
