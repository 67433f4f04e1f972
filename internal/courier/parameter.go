package courier

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// ParameterStore is what Parameter needs of Systems Manager; awsiam.Parameters has it.
type ParameterStore interface {
	ParameterValue(ctx context.Context, name string, version int64) (value fact.Secret, which int64, err error)
	SecureString(ctx context.Context, name string) (newest, oldest int64, kmsKey, tier string, err error)
	PutParameter(ctx context.Context, name string, value fact.Secret, kmsKey, tier string, overwrite bool) (version int64, err error)
	MayPutParameter(ctx context.Context, name, kmsKey, tier string) error
}

// ParameterSettings name a parameter of Systems Manager.
type ParameterSettings struct {
	Name       string
	Region     string // for people; the store was opened in it
	RoleARN    string // for people; the store was opened with it
	ExternalID string // as RoleARN
	Fields     Fields
	User       string // written into the object; empty: no such member is added
	Create     bool   // make the parameter if there is none
	KMSKey     string // for a parameter that is made; empty: the account's own
}

const longestParameterName = 1011

// Validate reports every mistake of s at once.
func (s ParameterSettings) Validate() error {
	var errs []error
	if len(s.Name) > longestParameterName || !regexp.MustCompile(`^[a-zA-Z0-9_./-]+$`).MatchString(s.Name) {
		errs = append(errs, fmt.Errorf("the parameter %q is not the name of one: letters, digits and _.-/", s.Name))
	}
	if s.KMSKey != "" && !s.Create {
		errs = append(errs, errors.New("a KMS key is for a parameter that is made; one that is there keeps its own"))
	}
	if s.ExternalID != "" && s.RoleARN == "" {
		errs = append(errs, errors.New("an external id needs a role"))
	}
	return errors.Join(append(errs, s.Fields.validate())...)
}

// Parameter delivers into one JSON object of one SecureString, next to whatever else stands in that object.
//
// Systems Manager cannot compare and set. The version is compared right before the put and the number that the
// put got right after it: a version of somebody else in between is found, though not prevented, and reported as
// fact.ErrMoved with a receipt for the version before ours.
type Parameter struct {
	set   ParameterSettings
	store ParameterStore
}

// NewParameter checks the settings and calls nobody.
func NewParameter(s ParameterSettings, store ParameterStore) (*Parameter, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s.Fields = s.Fields.withDefaults()
	return &Parameter{s, store}, nil
}

// Describe names the place for people.
func (c *Parameter) Describe() string {
	out := "SSM parameter " + c.set.Name
	if c.set.Region != "" {
		out += " in " + c.set.Region
	}
	if c.set.RoleARN != "" {
		out += " by role " + c.set.RoleARN
	}
	return out
}

// Preflight reads the parameter and asks AWS whether it may be put.
func (c *Parameter) Preflight(ctx context.Context) error {
	_, _, key, tier, err := c.store.SecureString(ctx, c.set.Name)
	if errors.Is(err, fact.ErrNotFound) && c.set.Create {
		return nil
	}
	if err != nil {
		return err
	}
	if _, _, err := c.newest(ctx); err != nil {
		return err
	}
	return c.store.MayPutParameter(ctx, c.set.Name, key, tier)
}

// Deliver puts the pair, unless the parameter holds it.
func (c *Parameter) Deliver(ctx context.Context, id string, p fact.Pair, earlier []byte) ([]byte, error) {
	return delivery(id, p, earlier, func(was receipt, again bool) (receipt, error) {
		return c.deliver(ctx, p, was, again)
	})
}

func (c *Parameter) deliver(ctx context.Context, p fact.Pair, was receipt, again bool) (receipt, error) {
	_, oldest, key, tier, err := c.store.SecureString(ctx, c.set.Name)
	if errors.Is(err, fact.ErrNotFound) && c.set.Create {
		return c.create(ctx, p)
	}
	if err != nil {
		return receipt{}, err
	}
	before, version, err := c.newest(ctx)
	if err != nil {
		return receipt{}, err
	}
	held, _ := before.pair(c.set.Fields)
	out := receipt{Pair: pairOf(p), Before: number(version)}
	if again && was.Pair != out.Pair && was.Pair == pairOf(held) { // of another key of this rotation
		out.Before, out.None = was.Before, was.None
	}
	again = again && was.Pair == out.Pair
	switch {
	case held == p && again:
		return was, nil
	case held == p: // an attempt whose receipt was lost
		return c.recall(ctx, p, oldest, version)
	case again && was.Before != number(version) && !c.restored(ctx, was.Before, before):
		return was, fmt.Errorf("deliver into parameter %q: version %d is the newest, and %s was: %w", c.set.Name, version, was.Before, ErrMoved)
	}
	put, err := c.store.PutParameter(ctx, c.set.Name, before.with(c.set.Fields, c.set.User, p), key, tier, true)
	if err != nil {
		return out, err
	}
	out.Put = number(put)
	return c.settle(ctx, p, out, version, put)
}

// restored tells whether the newest version, now, has the value of an earlier one, as after Restore.
func (c *Parameter) restored(ctx context.Context, earlier string, now document) bool {
	version, err := strconv.ParseInt(earlier, 10, 64)
	if err != nil || version < 1 {
		return false
	}
	then, _, err := c.store.ParameterValue(ctx, c.set.Name, version)
	return err == nil && then == now.text
}

// settle looks at the versions that came between the one we read and the one we put. Our own repeated call is
// one, with the same pair in it; anything else is somebody's change that we have overwritten.
func (c *Parameter) settle(ctx context.Context, p fact.Pair, out receipt, read, put int64) (receipt, error) {
	for v := put - 1; v > read; v-- {
		text, _, err := c.store.ParameterValue(ctx, c.set.Name, v)
		if err != nil {
			return out, err
		}
		if digestOf(text, c.set.Fields) != pairOf(p) {
			out.Before = number(v)
			return out, fmt.Errorf("deliver into parameter %q: version %d came in between, and was overwritten by version %d: %w",
				c.set.Name, v, put, ErrMoved)
		}
	}
	return out, nil
}

// recall finds what stood there before a pair that is there already: the version before all those that hold it.
func (c *Parameter) recall(ctx context.Context, p fact.Pair, oldest, version int64) (receipt, error) {
	out := receipt{Pair: pairOf(p), Put: number(version)}
	for v := version - 1; v >= max(oldest, 1); v-- {
		text, _, err := c.store.ParameterValue(ctx, c.set.Name, v)
		if err != nil {
			return receipt{}, err
		}
		if digestOf(text, c.set.Fields) != pairOf(p) {
			out.Before = number(v)
			return out, nil
		}
	}
	out.None = true
	return out, nil
}

func (c *Parameter) create(ctx context.Context, p fact.Pair) (receipt, error) {
	value := document{}.with(c.set.Fields, c.set.User, p)
	out := receipt{Pair: pairOf(p), None: true}
	put, err := c.store.PutParameter(ctx, c.set.Name, value, c.set.KMSKey, "", false)
	if err == nil {
		out.Put = number(put)
	}
	return out, err
}

// ReadBack reads the newest version.
func (c *Parameter) ReadBack(ctx context.Context, _ string, digest [sha256.Size]byte, _ []byte) (bool, error) {
	text, _, err := c.store.ParameterValue(ctx, c.set.Name, 0)
	if err != nil {
		return false, err
	}
	return digestOf(text, c.set.Fields) == hexOf(digest), nil
}

// Restore puts the value of the version before once more, as the newest.
func (c *Parameter) Restore(ctx context.Context, _ string, b []byte) error {
	r, err := needReceipt(b)
	if err != nil {
		return err
	}
	now, version, err := c.store.ParameterValue(ctx, c.set.Name, 0)
	switch {
	case r.None && errors.Is(err, fact.ErrNotFound):
		return nil
	case err != nil:
		return err
	case number(version) == r.Before:
		return nil
	}
	ours := digestOf(now, c.set.Fields) == r.Pair
	if r.None && ours {
		return fmt.Errorf("restore parameter %q: there was none before this delivery: delete it by hand: %w", c.set.Name, ErrNotRestorable)
	}
	moved := fmt.Errorf("restore parameter %q: version %d is not what we put: %w", c.set.Name, version, ErrMoved)
	before, err := strconv.ParseInt(r.Before, 10, 64)
	if err != nil {
		return moved
	}
	old, _, err := c.store.ParameterValue(ctx, c.set.Name, before)
	switch {
	case errors.Is(err, fact.ErrNotFound) && ours:
		return fmt.Errorf("restore parameter %q: AWS no longer keeps version %d: %w", c.set.Name, before, ErrNotRestorable)
	case err != nil && !ours:
		return moved
	case err != nil:
		return err
	case now == old: // restored already
		return nil
	case !ours:
		return moved
	}
	newest, _, key, tier, err := c.store.SecureString(ctx, c.set.Name)
	if err != nil {
		return err
	}
	if newest != version {
		return moved
	}
	_, err = c.store.PutParameter(ctx, c.set.Name, old, key, tier, true)
	return err
}

// newest gives the newest version as an object we can put a pair into.
func (c *Parameter) newest(ctx context.Context) (document, int64, error) {
	text, version, err := c.store.ParameterValue(ctx, c.set.Name, 0)
	if err != nil {
		return document{}, 0, err
	}
	d, err := parseDocument(text)
	if err == nil {
		err = d.check(c.set.Fields)
	}
	if err != nil {
		return document{}, 0, fmt.Errorf("read version %d of parameter %q: %w", version, c.set.Name, err)
	}
	return d, version, nil
}

func number(v int64) string { return strconv.FormatInt(v, 10) }
