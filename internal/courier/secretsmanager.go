package courier

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// The staging labels of Secrets Manager.
const (
	labelCurrent  = "AWSCURRENT"
	labelPending  = "AWSPENDING"
	labelPrevious = "AWSPREVIOUS"
)

// SecretStore is what SecretsManager needs of Secrets Manager; awsiam.Secrets has it.
type SecretStore interface {
	SecretVersions(ctx context.Context, secret string) (labels map[string]string, doomed bool, err error)
	SecretValue(ctx context.Context, secret, version string) (fact.Secret, error)
	PutSecret(ctx context.Context, secret, version string, value fact.Secret, label string) error
	CreateSecret(ctx context.Context, secret, version string, value fact.Secret, kmsKey string) error
	MoveLabel(ctx context.Context, secret, label, from, to string) error
	MayMoveLabel(ctx context.Context, secret string) error
}

// SecretSettings name a secret of Secrets Manager.
type SecretSettings struct {
	Secret     string // name or ARN
	Region     string // for people; the store was opened in it
	RoleARN    string // for people; the store was opened with it
	ExternalID string // as RoleARN
	Fields     Fields
	User       string // written into the object; empty: no such member is added
	Create     bool   // make the secret if there is none
	KMSKey     string // for a secret that is made; empty: the account's own
}

// Validate reports every mistake of s at once.
func (s SecretSettings) Validate() error {
	var errs []error
	if s.Secret == "" || len(s.Secret) > 2048 || strings.ContainsFunc(s.Secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		errs = append(errs, fmt.Errorf("the secret %q is neither a name nor an ARN", s.Secret))
	}
	if s.Create && strings.HasPrefix(s.Secret, "arn:") {
		errs = append(errs, errors.New("a secret that is to be made needs a name, not an ARN"))
	}
	if s.KMSKey != "" && !s.Create {
		errs = append(errs, errors.New("a KMS key is for a secret that is made; one that is there keeps its own"))
	}
	if s.ExternalID != "" && s.RoleARN == "" {
		errs = append(errs, errors.New("an external id needs a role"))
	}
	return errors.Join(append(errs, s.Fields.validate())...)
}

// SecretsManager delivers into one JSON object of one secret, next to whatever else stands in that object.
//
// The new version is put beside the current one, read back, and made current in one step that AWS refuses if
// another version has become current. The version before stays as AWSPREVIOUS.
type SecretsManager struct {
	set   SecretSettings
	store SecretStore
}

// NewSecretsManager checks the settings and calls nobody.
func NewSecretsManager(s SecretSettings, store SecretStore) (*SecretsManager, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s.Fields = s.Fields.withDefaults()
	return &SecretsManager{s, store}, nil
}

// Describe names the place for people.
func (c *SecretsManager) Describe() string {
	out := "Secrets Manager secret " + c.set.Secret
	if c.set.Region != "" {
		out += " in " + c.set.Region
	}
	if c.set.RoleARN != "" {
		out += " by role " + c.set.RoleARN
	}
	return out
}

// Preflight reads the secret, and asks AWS whether its labels may be moved. Whether a version may be put shows at
// the first delivery only.
func (c *SecretsManager) Preflight(ctx context.Context) error {
	labels, err := c.versions(ctx)
	if errors.Is(err, fact.ErrNotFound) && c.set.Create {
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.undisturbed(labels, ""); err != nil {
		return err
	}
	if labels[labelCurrent] != "" {
		if _, _, err := c.read(ctx, labels[labelCurrent]); err != nil {
			return err
		}
	}
	return c.store.MayMoveLabel(ctx, c.set.Secret)
}

// Deliver puts the pair and makes it current, or finishes what an attempt before it began.
func (c *SecretsManager) Deliver(ctx context.Context, id string, p fact.Pair, earlier []byte) ([]byte, error) {
	return delivery(id, p, earlier, func(was receipt, again bool) (receipt, error) {
		return c.deliver(ctx, id, p, was, again)
	})
}

func (c *SecretsManager) deliver(ctx context.Context, id string, p fact.Pair, was receipt, again bool) (receipt, error) {
	version := versionOf(id, p)
	labels, err := c.versions(ctx)
	if errors.Is(err, fact.ErrNotFound) && c.set.Create {
		return c.create(ctx, version, p)
	}
	if err != nil {
		return receipt{}, err
	}
	current := labels[labelCurrent]
	out := receipt{Pair: pairOf(p), Before: current, Put: version, None: current == ""}
	if again && was.Put != version && was.Put == current { // of another key of this rotation
		out.Before, out.None = was.Before, was.None
	}
	again = again && was.Put == version
	switch {
	case current == version && again:
		return was, nil
	case current == version: // an attempt whose receipt was lost
		out.Before = labels[labelPrevious]
		out.None = out.Before == ""
		return out, nil
	case again && was.Before != current:
		return was, fmt.Errorf("deliver into secret %q: version %q is current, and %q was: %w", c.set.Secret, current, was.Before, ErrMoved)
	}
	if err := c.undisturbed(labels, id); err != nil {
		return receipt{}, err
	}
	if err := c.stage(ctx, labels, version, p); err != nil {
		return out, err
	}
	return out, c.promote(ctx, current, version)
}

// stage puts the new version beside the current one, and reads it back.
func (c *SecretsManager) stage(ctx context.Context, labels map[string]string, version string, p fact.Pair) error {
	var before document
	if current := labels[labelCurrent]; current != "" {
		d, _, err := c.read(ctx, current)
		if err != nil {
			return err
		}
		before = d
	}
	want := before.with(c.set.Fields, c.set.User, p)
	if labels[labelPending] != version {
		if err := c.store.PutSecret(ctx, c.set.Secret, version, want, labelPending); err != nil {
			return err
		}
	}
	_, got, err := c.read(ctx, version)
	if err != nil {
		return err
	}
	if got != want { // an attempt before put it, and the rest of the object was changed since
		return fmt.Errorf("deliver into secret %q: version %q is not the current one with the new pair: %w", c.set.Secret, version, ErrMoved)
	}
	return nil
}

// promote makes a version current. AWS compares and sets; an answer that was lost is made up for by looking.
func (c *SecretsManager) promote(ctx context.Context, from, to string) error {
	moveErr := c.store.MoveLabel(ctx, c.set.Secret, labelCurrent, from, to)
	if moveErr == nil {
		return nil
	}
	labels, _, err := c.store.SecretVersions(ctx, c.set.Secret)
	switch {
	case err != nil:
		return moveErr
	case labels[labelCurrent] == to:
		return nil
	case labels[labelCurrent] != from:
		return fmt.Errorf("deliver into secret %q: version %q has become current meanwhile: %w", c.set.Secret, labels[labelCurrent], ErrMoved)
	default:
		return moveErr
	}
}

func (c *SecretsManager) create(ctx context.Context, version string, p fact.Pair) (receipt, error) {
	value := document{}.with(c.set.Fields, c.set.User, p)
	out := receipt{Pair: pairOf(p), Put: version, None: true}
	return out, c.store.CreateSecret(ctx, c.set.Secret, version, value, c.set.KMSKey)
}

// ReadBack reads what is current.
func (c *SecretsManager) ReadBack(ctx context.Context, _ string, digest [sha256.Size]byte, _ []byte) (bool, error) {
	labels, _, err := c.store.SecretVersions(ctx, c.set.Secret)
	if err != nil {
		return false, err
	}
	if labels[labelCurrent] == "" {
		return false, nil
	}
	text, err := c.store.SecretValue(ctx, c.set.Secret, labels[labelCurrent])
	if err != nil {
		return false, err
	}
	return digestOf(text, c.set.Fields) == hexOf(digest), nil
}

// Restore makes the version current that was so before, and leaves no pending one of ours behind. Our version
// stays as AWSPREVIOUS, with a pair that is of no use once its key is gone.
func (c *SecretsManager) Restore(ctx context.Context, _ string, b []byte) error {
	r, err := needReceipt(b)
	if err != nil {
		return err
	}
	labels, _, err := c.store.SecretVersions(ctx, c.set.Secret)
	if r.None && errors.Is(err, fact.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	switch current := labels[labelCurrent]; {
	case current == r.Before:
	case current == r.Put && r.None:
		return fmt.Errorf("restore secret %q: it held nothing before this delivery, and AWS keeps one version current: "+
			"delete it by hand: %w", c.set.Secret, ErrNotRestorable)
	case current == r.Put:
		if err := c.promote(ctx, r.Put, r.Before); err != nil {
			return err
		}
	default:
		return fmt.Errorf("restore secret %q: version %q is current, and we put %q: %w", c.set.Secret, current, r.Put, ErrMoved)
	}
	if labels[labelPending] == r.Put {
		return c.store.MoveLabel(ctx, c.set.Secret, labelPending, r.Put, "")
	}
	return nil
}

// versions refuses a secret that is about to be deleted.
func (c *SecretsManager) versions(ctx context.Context) (map[string]string, error) {
	labels, doomed, err := c.store.SecretVersions(ctx, c.set.Secret)
	if err == nil && doomed {
		err = fmt.Errorf("deliver into secret %q: it is scheduled for deletion", c.set.Secret)
	}
	return labels, err
}

// undisturbed refuses a secret in which somebody else prepares a version, such as a rotation by AWS itself.
// Without an id any version of ours passes.
func (c *SecretsManager) undisturbed(labels map[string]string, id string) error {
	pending, ours := labels[labelPending], ownPrefix
	if id != "" {
		ours = prefixOf(id)
	}
	if pending == "" || pending == labels[labelCurrent] || strings.HasPrefix(pending, ours) {
		return nil
	}
	return fmt.Errorf("deliver into secret %q: version %q is pending, another rotation of it is under way: "+
		"let it end, or take the label %s away", c.set.Secret, pending, labelPending)
}

// read gives a version that is an object we can put a pair into.
func (c *SecretsManager) read(ctx context.Context, version string) (document, fact.Secret, error) {
	text, err := c.store.SecretValue(ctx, c.set.Secret, version)
	if err != nil {
		return document{}, text, err
	}
	d, err := parseDocument(text)
	if err == nil {
		err = d.check(c.set.Fields)
	}
	if err != nil {
		return document{}, text, fmt.Errorf("read version %q of secret %q: %w", version, c.set.Secret, err)
	}
	return d, text, nil
}

// versionOf is the id of the version that holds p, and the token by which AWS knows a repeated call. A rotation
// that had to make another key has another version.
func versionOf(id string, p fact.Pair) string {
	return prefixOf(id) + hashOf([]byte(id + "\x00" + pairOf(p)))[:24]
}

const ownPrefix = "keyreeve-"

func prefixOf(id string) string { return ownPrefix + hashOf([]byte(id))[:16] + "-" }
