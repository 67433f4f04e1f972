package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// record is a run as the Begin entry holds it.
type record struct {
	ID        string          `json:"id"`
	Kind      RunKind         `json:"kind"`
	Account   string          `json:"account"`
	Caller    string          `json:"caller"`
	Plan      string          `json:"plan"`
	Undoes    string          `json:"undoes"`
	Version   string          `json:"version"`
	Host      string          `json:"host"`
	PID       int             `json:"pid"`
	StartedAt string          `json:"started_at"`
	Rotation  *rotationRecord `json:"rotation,omitempty"` // of the kind rotate alone
	Steps     []recordStep    `json:"steps"`
}

type recordStep struct {
	ID         string   `json:"id"`
	Action     Action   `json:"action"`
	User       string   `json:"user"`
	UserID     string   `json:"user_id"`
	KeyID      string   `json:"key_id"`
	KeyCreated string   `json:"key_created_at"`
	LastUsed   *string  `json:"last_used_at"` // null: never
	From       State    `json:"from"`
	Because    []string `json:"because"`
	Rules      []string `json:"rules"`
	Then       Action   `json:"then"`
}

// Record is what the Begin entry of the run holds as its Data: the run and its steps without their entries
// and without the end. The same run gives the same bytes.
func Record(run *Run) json.RawMessage {
	r := record{
		ID: run.ID, Kind: run.Kind, Account: run.Account, Caller: run.Caller, Plan: run.Plan, Undoes: run.Undoes,
		Version: run.Version, Host: run.Host, PID: run.PID, StartedAt: Stamp(run.StartedAt), Rotation: recordRotation(run.Rotation), Steps: []recordStep{},
	}
	for i := range run.Steps {
		s := &run.Steps[i]
		r.Steps = append(r.Steps, recordStep{
			ID: s.ID, Action: s.Action, User: s.User, UserID: s.UserID, KeyID: s.KeyID, KeyCreated: Stamp(s.KeyCreated),
			LastUsed: stampOrNull(s.LastUsed), From: s.From, Because: list(s.Because), Rules: list(s.Rules), Then: s.Then,
		})
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil // cannot be: strings and numbers only
	}
	return body
}

// stampOrNull is null for the zero time.
func stampOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := Stamp(t)
	return &text
}

// list is never null in JSON.
func list(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}

// DecodeStrict reads one JSON value that has no field unknown to into, and nothing after it.
func DecodeStrict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more follows it")
	}
	return nil
}

// ReadRecord is the run that Record wrote: valid, without entries, not ended.
func ReadRecord(data json.RawMessage) (*Run, error) {
	var r record
	if err := DecodeStrict(data, &r); err != nil {
		return nil, fmt.Errorf("no record of a run: %w", err)
	}
	var errs []error
	at := func(text string) time.Time {
		t, err := ParseStamp(text)
		errs = append(errs, err)
		return t
	}
	ever := func(text *string) time.Time {
		if text == nil {
			return time.Time{}
		}
		t := at(*text)
		if t.IsZero() { // null says never; two ways to say it would be two records of one run
			errs = append(errs, fmt.Errorf("last used at %q", *text))
		}
		return t
	}
	run := &Run{
		ID: r.ID, Kind: r.Kind, Account: r.Account, Caller: r.Caller, Plan: r.Plan, Undoes: r.Undoes,
		Version: r.Version, Host: r.Host, PID: r.PID, StartedAt: at(r.StartedAt), Rotation: r.Rotation.read(at),
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		run.Steps = append(run.Steps, Step{
			ID: s.ID, Action: s.Action, User: s.User, UserID: s.UserID, KeyID: s.KeyID, KeyCreated: at(s.KeyCreated),
			LastUsed: ever(s.LastUsed), From: s.From, Because: some(s.Because), Rules: some(s.Rules), Then: s.Then,
		})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("record of run %s: %w", r.ID, err)
	}
	return run, run.Valid()
}

// some is nil for an empty list.
func some(texts []string) []string {
	if len(texts) == 0 {
		return nil
	}
	return texts
}

// Valid says everything that is wrong with the run itself, whatever its entries say.
func (r *Run) Valid() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("run %q: "+format, append([]any{r.ID}, args...)...))
	}
	switch {
	case r.ID == "" || strings.ContainsFunc(r.ID, blank):
		wrong("its id is empty or has blanks")
	case !slices.Contains(RunKinds(), r.Kind):
		wrong("unknown kind %q", r.Kind)
	case (r.Kind == Undo) != (r.Undoes != "") || r.Undoes == r.ID:
		wrong("%s that undoes run %q", r.Kind, r.Undoes)
	}
	if !fact.IsAccountID(r.Account) {
		wrong("account %q is not twelve digits", r.Account)
	}
	switch {
	case (r.Kind == Rotate) != (r.Rotation != nil):
		wrong("%s with or without a rotation", r.Kind)
	case r.Rotation != nil && len(r.Steps) > 0:
		wrong("a rotation with steps")
	case r.Rotation != nil:
		if err := r.Rotation.valid(); err != nil {
			wrong("%w", err)
		}
	}
	if r.StartedAt.IsZero() {
		wrong("it has no start")
	}
	seen := map[string]bool{}
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.ID == "" || seen[s.ID] {
			wrong("step %d has no id of its own: %q", i+1, s.ID)
		}
		seen[s.ID] = true
		if err := s.valid(); err != nil {
			wrong("step %s: %w", s.ID, err)
		}
	}
	return errors.Join(errs...)
}

func (s *Step) valid() error {
	switch {
	case !slices.Contains(Actions(), s.Action):
		return fmt.Errorf("unknown action %q", s.Action)
	case !slices.Contains(States(), s.From):
		return fmt.Errorf("unknown state %q", s.From)
	case s.Then != "" && s.Then != Delete:
		return fmt.Errorf("to be followed by %q", s.Then)
	case s.User == "" || s.UserID == "" || s.KeyID == "":
		return errors.New("it lacks a user, a user id or a key id")
	case s.KeyCreated.IsZero():
		return errors.New("it lacks the time at which the key was made")
	default:
		return nil
	}
}

func blank(r rune) bool { return r <= ' ' || r == 0x7f }
