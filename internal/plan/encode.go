package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxBytes is more than a plan for five thousand users takes.
const maxBytes = 64 << 20

// InputError says that what was given is no plan that can be read: the caller's mistake.
type InputError struct {
	Problem string
	Hint    string
}

func (e *InputError) Error() string {
	if e.Hint == "" {
		return e.Problem
	}
	return e.Problem + "\nhint: " + e.Hint
}

// Seal gives the plan its digest: SHA-256, in hex, of its encoding with an empty digest.
func (p *Plan) Seal() error {
	p.Digest = ""
	body, err := p.encode()
	if err != nil {
		return err
	}
	p.Digest = digest(body)
	return nil
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Encode is the plan as a file holds it: the only bytes that Decode takes for this plan.
func (p *Plan) Encode() ([]byte, error) {
	if p.Digest == "" {
		return nil, errors.New("the plan has no digest: seal it first")
	}
	return p.encode()
}

func (p *Plan) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(p); err != nil {
		return nil, fmt.Errorf("encode the plan: %w", err)
	}
	return b.Bytes(), nil
}

// Decode reads a plan. What is no plan, or one of another version, is an InputError; a plan in which any
// byte differs from what Encode wrote is a Refusal.
func Decode(r io.Reader) (*Plan, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	if len(data) > maxBytes {
		return nil, &InputError{Problem: fmt.Sprintf("the plan is larger than %d MB", maxBytes>>20), Hint: makeAnother}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &InputError{Problem: "the plan is an empty file", Hint: makeAnother}
	}
	var head struct {
		Schema *string `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, notRead(data, err)
	}
	switch {
	case head.Schema == nil:
		return nil, &InputError{Problem: "no plan: the JSON has no schema", Hint: makeAnother}
	case *head.Schema != Schema && strings.HasPrefix(*head.Schema, "keyreeve.plan/"):
		return nil, &InputError{Problem: fmt.Sprintf("a plan of the version %q, this program reads %s", *head.Schema, Schema), Hint: makeAnother}
	case *head.Schema != Schema:
		return nil, &InputError{Problem: fmt.Sprintf("no plan: the schema is %q, not %s", *head.Schema, Schema), Hint: makeAnother}
	}
	var p Plan
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return nil, edited(err.Error())
	}
	return &p, p.genuine(data)
}

const makeAnother = "keyreeve plan --out plan.json writes one"

func notRead(data []byte, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line := 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
		return &InputError{Problem: fmt.Sprintf("the plan is no JSON: line %d: %v", line, err), Hint: makeAnother}
	}
	return &InputError{Problem: fmt.Sprintf("the plan is no JSON object: %v", err), Hint: makeAnother}
}

// genuine compares the bytes with those that Encode would write, and the digest with the content.
func (p *Plan) genuine(data []byte) error {
	again := *p
	if err := again.Seal(); err != nil {
		return err
	}
	if again.Digest != p.Digest {
		return edited("its digest does not fit what it says")
	}
	if body, err := p.encode(); err != nil || !bytes.Equal(body, data) {
		return errors.Join(edited("it is not written the way that keyreeve writes plans"), err)
	}
	return p.check()
}

func edited(how string) error {
	return &Refusal{
		Guard: GuardDigest, Why: "the plan was changed since it was made: " + how,
		Widen: "make a new one; keyreeve plan --only STEP narrows it, --keep KEYID decides",
	}
}

// check finds what Make never writes; only a plan that somebody sealed by other means can have it.
func (p *Plan) check() error {
	var errs []error
	accounts, seen, keys := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range p.Accounts {
		accounts[p.Accounts[i].ID] = true
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		key := s.Account + " " + s.UserID + " " + s.KeyID
		switch {
		case s.ID == "" || seen[s.ID]:
			errs = append(errs, fmt.Errorf("step %d has no id of its own: %q", i+1, s.ID))
		case !accounts[s.Account]:
			errs = append(errs, fmt.Errorf("step %s: account %q is not one of the plan's", s.ID, s.Account))
		case keys[key]:
			errs = append(errs, fmt.Errorf("step %s is not the only one for key %q of user %q", s.ID, s.KeyID, s.User))
		}
		if why := s.nonsense(); why != "" {
			errs = append(errs, fmt.Errorf("step %s %s", s.ID, why))
		}
		for _, d := range s.DependsOn {
			if !seen[d] {
				errs = append(errs, fmt.Errorf("step %s depends on %q, which is no step before it", s.ID, d))
			}
		}
		seen[s.ID], keys[key] = true, true
	}
	for i := range p.LeftOut {
		if l := &p.LeftOut[i]; !slices.Contains(Guards(), l.Guard) || !accounts[l.Account] {
			errs = append(errs, fmt.Errorf("what is left out of account %q names the guard %q", l.Account, l.Guard))
		}
	}
	if p.CreatedAt.IsZero() || len(p.Accounts) == 0 || p.Terms.Quiet < 0 || p.Terms.Settling < 0 {
		errs = append(errs, errors.New("it names no account, no time of its making, or terms that make no sense"))
	}
	if len(errs) == 0 {
		return nil
	}
	return &InputError{Problem: "the plan makes no sense: " + errors.Join(errs...).Error(), Hint: makeAnother}
}

// nonsense is what is wrong with the step by itself; empty when nothing is.
func (s *Step) nonsense() string {
	unlisted := func(id string) bool {
		return !slices.ContainsFunc(s.Expect.Siblings, func(b Sibling) bool { return b.KeyID == id })
	}
	switch {
	case !s.Action.Valid():
		return fmt.Sprintf("has the unknown action %q", s.Action)
	case s.User == "" || s.UserID == "" || (s.KeyID == "") != s.Open():
		return "lacks a user, a user id or a key id"
	case s.Open() && (s.Action != Deactivate || len(s.Choices) < 2 || slices.ContainsFunc(s.Choices, unlisted)):
		return "is undecided, and offers no choice between keys of the user"
	case !s.Open() && len(s.Choices) > 0:
		return "is decided, and offers a choice"
	case s.Expect.Status != Active && s.Expect.Status != Inactive, s.Action != Delete && s.Expect.Status != Active:
		return fmt.Sprintf("expects the status %q", s.Expect.Status)
	case s.Expect.CreatedAt.IsZero() || s.NotBefore.IsZero():
		return "lacks a time"
	case s.Reversible != (s.Action != Delete):
		return fmt.Sprintf("(%s) is called reversible: %t", s.Action, s.Reversible)
	case s.Then != "" && (s.Then != Delete || s.Action != Deactivate || s.Open()):
		return fmt.Sprintf("(%s) is to be followed by %q", s.Action, s.Then)
	case !s.Open() && !unlisted(s.KeyID):
		return "names its own key as another one of the user"
	default:
		return ""
	}
}

// Step is the step of that id, or nil.
func (p *Plan) Step(id string) *Step {
	if i := slices.IndexFunc(p.Steps, func(s Step) bool { return s.ID == id }); i >= 0 {
		return &p.Steps[i]
	}
	return nil
}
