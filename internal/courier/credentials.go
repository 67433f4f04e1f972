package courier

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/seal"
)

// CredentialsSettings name a profile of a credentials file as the AWS CLI and the SDKs read it.
type CredentialsSettings struct {
	Path    string // absolute; a symbolic link is followed
	Profile string
	Create  bool // make the file if there is none; its directory must exist

	// GroupMayRead lets the file be one that its group may read (0640). Else only its owner may.
	GroupMayRead bool

	Backup Backup
}

// Validate reports every mistake of s at once.
func (s CredentialsSettings) Validate() error {
	errs := s.Backup.validate()
	if !filepath.IsAbs(s.Path) {
		errs = append(errs, fmt.Errorf("the credentials file %q is no absolute path", s.Path))
	}
	if !regexp.MustCompile(`^[\w+=,.@:/-]{1,128}$`).MatchString(s.Profile) {
		errs = append(errs, fmt.Errorf("the profile %q is not a name: letters, digits and +=,.@:/-_", s.Profile))
	}
	return errors.Join(errs...)
}

// Credentials delivers into one profile of a shared credentials file, and keeps every other byte of it.
//
// A setting that names another source of credentials is not overruled: such a profile is refused. Access control
// lists and extended attributes of the file are not carried over.
type Credentials struct{ set CredentialsSettings }

// NewCredentials checks the settings and touches nothing.
func NewCredentials(s CredentialsSettings) (*Credentials, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return &Credentials{s}, nil
}

// absent stands in a receipt for the hash of a file that was not there.
const absent = "absent"

// Describe names the place for people.
func (c *Credentials) Describe() string {
	return fmt.Sprintf("profile %s of credentials file %s", c.set.Profile, c.set.Path)
}

func (c *Credentials) key() string { return "credentials\x00" + c.set.Path + "\x00" + c.set.Profile }

// Preflight reads the file, and writes and removes one beside it.
func (c *Credentials) Preflight(ctx context.Context) error {
	return c.locked(ctx, "check", func() error {
		at, text, err := c.look()
		if err != nil {
			return err
		}
		if err := text.check(); err != nil {
			return err
		}
		if err := write(at.newName(), nil, 0o600, at.info); err != nil {
			return errors.Join(kindOfFile(err), at.tidy())
		}
		return at.tidy()
	})
}

func (c *Credentials) locked(ctx context.Context, doing string, work func() error) error {
	if err := locked(ctx, c.set.Path, work); err != nil {
		return fmt.Errorf("%s %s: %w", doing, c.Describe(), err)
	}
	return nil
}

func (c *Credentials) look() (place, credentialsText, error) {
	allow := fs.FileMode(0)
	if c.set.GroupMayRead {
		allow = 0o040
	}
	at, err := look(c.set.Path, allow)
	if err != nil {
		return at, credentialsText{}, err
	}
	if at.info == nil && !c.set.Create {
		return at, credentialsText{}, fmt.Errorf("%w: there is no such file", fact.ErrNotFound)
	}
	text, err := parseCredentials(at.body, c.set.Profile)
	return at, text, err
}

// Deliver puts the pair into the profile, unless it is there.
func (c *Credentials) Deliver(ctx context.Context, id string, p fact.Pair, earlier []byte) ([]byte, error) {
	return delivery(id, p, earlier, func(was receipt, again bool) (out receipt, err error) {
		err = c.locked(ctx, "deliver to", func() error {
			out, err = c.deliver(ctx, id, p, was, again)
			return err
		})
		return out, err
	})
}

func (c *Credentials) deliver(ctx context.Context, id string, p fact.Pair, was receipt, again bool) (receipt, error) {
	at, text, err := c.look()
	if err == nil {
		err = errors.Join(text.check(), at.tidy())
	}
	if err != nil {
		return receipt{}, err
	}
	entry, found, err := c.set.Backup.recall(id, c.key())
	if err != nil {
		return receipt{}, err
	}
	defer seal.Wipe(entry.Old)
	if found {
		was, again = entry.Receipt, true
	}
	held, _ := text.pair()
	section := text.section()
	next := kept{Place: c.key(), Receipt: c.receipt(p, at, text), Old: []byte(section)}
	defer seal.Wipe(next.Old)
	switch {
	case held == p && again && was.Pair == pairOf(p):
		return was, nil
	case held == p: // and what was there before is lost
		return receipt{Pair: pairOf(p), Put: hashOf(at.body)}, nil
	case again && was.Pair == pairOf(p) && was.Before != next.Receipt.Before:
		return was, fmt.Errorf("the profile is not what it was before: %w", ErrMoved)
	case found && was.Pair == pairOf(held): // of another key of this rotation
		next.Receipt.Before, next.Receipt.None, next.Receipt.Length = was.Before, was.None, was.Length
		next.Old = entry.Old
	}
	body := text.with(p)
	defer seal.Wipe(body)
	next.Receipt.Put = hashOf(body)
	if err := c.set.Backup.keep(id, next); err != nil {
		return receipt{}, err
	}
	return next.Receipt, at.replace(ctx, body)
}

// receipt is of what stands there before.
func (c *Credentials) receipt(p fact.Pair, at place, text credentialsText) receipt {
	out := receipt{Pair: pairOf(p), Before: hashOf([]byte(text.section()))}
	if text.header < 0 {
		out.None, out.Length = true, int64(len(at.body))
	}
	if at.info == nil {
		out.Before = absent
	}
	return out
}

// ReadBack reads the profile.
func (c *Credentials) ReadBack(ctx context.Context, _ string, digest [sha256.Size]byte, _ []byte) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	_, text, err := c.look()
	if err != nil {
		return false, fmt.Errorf("read %s: %w", c.Describe(), err)
	}
	p, ok := text.pair()
	return ok && p.Digest() == digest, nil
}

// Restore puts the earlier lines of the profile back: byte for byte where nobody else has changed the file since,
// else the credentials alone.
func (c *Credentials) Restore(ctx context.Context, id string, b []byte) error {
	r, err := needReceipt(b)
	if err != nil {
		return err
	}
	return c.locked(ctx, "restore", func() error { return c.restore(ctx, id, r) })
}

func (c *Credentials) restore(ctx context.Context, id string, r receipt) error {
	at, err := look(c.set.Path, mayRead)
	if err != nil {
		return err
	}
	text, err := parseCredentials(at.body, c.set.Profile)
	if err == nil {
		err = at.tidy()
	}
	if err != nil {
		return err
	}
	if r.None {
		return c.restoreNone(ctx, at, text, r)
	}
	if text.header >= 0 && hashOf([]byte(text.section())) == r.Before {
		return nil
	}
	entry, ok, err := c.set.Backup.recall(id, c.key())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRestorable, err)
	}
	defer seal.Wipe(entry.Old)
	held, _ := text.pair()
	ours := pairOf(held) == r.Pair
	if !ok || hashOf(entry.Old) != r.Before {
		if !ours {
			return ErrMoved
		}
		return fmt.Errorf("%w: what was there before was not kept", ErrNotRestorable)
	}
	old, err := parseCredentials(entry.Old, c.set.Profile)
	if err != nil {
		return err
	}
	if slices.Equal(old.values(), text.values()) { // restored already, among other lines
		return nil
	}
	if !ours {
		return ErrMoved
	}
	if hashOf(at.body) == r.Put {
		return at.replace(ctx, text.splice(string(entry.Old)))
	}
	return at.replace(ctx, text.back(old))
}

// restoreNone takes a profile away that we added, and a file that we made.
func (c *Credentials) restoreNone(ctx context.Context, at place, text credentialsText, r receipt) error {
	held, _ := text.pair()
	switch {
	case text.header < 0:
		return nil
	case pairOf(held) != r.Pair:
		return ErrMoved
	case hashOf(at.body) == r.Put && r.Before == absent:
		return at.remove()
	case hashOf(at.body) == r.Put:
		return at.replace(ctx, at.body[:r.Length])
	default:
		return at.replace(ctx, text.splice(""))
	}
}

// Forget wipes what Restore would need. It is for a rotation that is over.
func (c *Credentials) Forget(_ context.Context, id string) error {
	return c.set.Backup.forget(id, c.key())
}
