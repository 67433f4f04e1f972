package courier

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/seal"
)

// SealedSettings name a file and the people who can open it.
type SealedSettings struct {
	Path       string   // absolute; its directory must exist
	Recipients []string // age1..., ssh-ed25519 ... or ssh-rsa ...: public keys
	User       string   // written into the object; empty: no such member
	Backup     Backup
}

// Validate reports every mistake of s at once.
func (s SealedSettings) Validate() error {
	errs := s.Backup.validate()
	if !filepath.IsAbs(s.Path) {
		errs = append(errs, fmt.Errorf("the sealed file %q is no absolute path", s.Path))
	}
	if len(s.Recipients) == 0 {
		errs = append(errs, errors.New("a sealed file needs a recipient"))
	}
	for _, text := range s.Recipients {
		if _, err := recipientOf(text); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func recipientOf(text string) (age.Recipient, error) {
	text = strings.TrimSpace(text)
	switch {
	case strings.HasPrefix(text, "AGE-SECRET-KEY-"), strings.Contains(text, "PRIVATE KEY"): // and is not quoted
		return nil, errors.New("a recipient is a public key, and this one is private: replace that key, it stands in the settings")
	case strings.HasPrefix(text, "ssh-"):
		return sshRecipient(text)
	}
	r, err := age.ParseX25519Recipient(text)
	if err != nil {
		return nil, fmt.Errorf("the recipient %q is no public key (age1..., ssh-ed25519 ..., ssh-rsa ...)", text)
	}
	return r, nil
}

// Sealed delivers a JSON object into a file that only its recipients can open, which is for handing a key over to
// a person. We cannot open it either: ReadBack compares the file with the hash of what we wrote.
type Sealed struct {
	set        SealedSettings
	recipients []age.Recipient
}

// NewSealed checks the settings and touches nothing.
func NewSealed(s SealedSettings) (*Sealed, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	out := &Sealed{set: s}
	for _, text := range s.Recipients {
		r, err := recipientOf(text)
		if err != nil {
			return nil, err
		}
		out.recipients = append(out.recipients, r)
	}
	return out, nil
}

// Describe names the place for people.
func (c *Sealed) Describe() string {
	return fmt.Sprintf("file %s sealed to %d public keys", c.set.Path, len(c.recipients))
}

func (c *Sealed) key() string { return "sealed\x00" + c.set.Path }

// Preflight writes a file beside and removes it.
func (c *Sealed) Preflight(ctx context.Context) error {
	return c.locked(ctx, "check", func() error {
		at, err := look(c.set.Path, mayRead)
		if err != nil {
			return err
		}
		if err := write(at.newName(), nil, 0o600, at.info); err != nil {
			return errors.Join(kindOfFile(err), at.tidy())
		}
		return at.tidy()
	})
}

func (c *Sealed) locked(ctx context.Context, doing string, work func() error) error {
	if err := locked(ctx, c.set.Path, work); err != nil {
		return fmt.Errorf("%s %s: %w", doing, c.Describe(), err)
	}
	return nil
}

// Deliver writes the sealed pair, unless it is there.
func (c *Sealed) Deliver(ctx context.Context, id string, p fact.Pair, earlier []byte) ([]byte, error) {
	return delivery(id, p, earlier, func(was receipt, again bool) (out receipt, err error) {
		err = c.locked(ctx, "deliver to", func() error {
			out, err = c.deliver(ctx, id, p, was, again)
			return err
		})
		return out, err
	})
}

func (c *Sealed) deliver(ctx context.Context, id string, p fact.Pair, was receipt, again bool) (receipt, error) {
	at, err := look(c.set.Path, mayRead)
	if err == nil {
		err = at.tidy()
	}
	if err != nil {
		return receipt{}, err
	}
	entry, found, err := c.set.Backup.recall(id, c.key())
	if err != nil {
		return receipt{}, err
	}
	if found {
		was, again = entry.Receipt, true
	}
	next := kept{Place: c.key(), Receipt: receipt{Pair: pairOf(p), Before: at.hash(), None: at.info == nil}, Old: at.body}
	switch {
	case again && was.Put == at.hash() && was.Pair == pairOf(p):
		return was, nil
	case again && was.Pair == pairOf(p) && was.Before != at.hash():
		return was, fmt.Errorf("the file is not what it was before: %w", ErrMoved)
	case found && was.Put == at.hash(): // of another key of this rotation
		next.Receipt.Before, next.Receipt.None, next.Old = was.Before, was.None, entry.Old
	}
	body, err := c.encrypt(p)
	if err != nil {
		return receipt{}, err
	}
	next.Receipt.Put = hashOf(body)
	if err := c.set.Backup.keep(id, next); err != nil {
		return receipt{}, err
	}
	return next.Receipt, at.replace(ctx, body)
}

// hash is of the file as it was read, or absent.
func (p place) hash() string {
	if p.info == nil {
		return absent
	}
	return hashOf(p.body)
}

func (c *Sealed) encrypt(p fact.Pair) ([]byte, error) {
	plain := []byte(document{}.with(Fields{}.withDefaults(), c.set.User, p).Reveal() + "\n")
	defer seal.Wipe(plain)
	var out bytes.Buffer
	lines := armor.NewWriter(&out)
	w, err := age.Encrypt(lines, c.recipients...)
	if err == nil {
		_, err = w.Write(plain)
		err = errors.Join(err, w.Close(), lines.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("seal to the recipients: %w", err)
	}
	return out.Bytes(), nil
}

// ReadBack tells whether the file is the one that the receipt, or our own record of the rotation, tells of.
func (c *Sealed) ReadBack(ctx context.Context, id string, digest [sha256.Size]byte, b []byte) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	r, ok, err := readReceipt(b)
	if err == nil && !ok {
		var entry kept
		entry, ok, err = c.set.Backup.recall(id, c.key())
		r = entry.Receipt
	}
	if err != nil || !ok {
		return false, err
	}
	at, err := look(c.set.Path, mayRead)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", c.Describe(), err)
	}
	return r.Pair == hexOf(digest) && r.Put == at.hash(), nil
}

// Restore puts the file back that stood there, or removes ours.
func (c *Sealed) Restore(ctx context.Context, id string, b []byte) error {
	r, err := needReceipt(b)
	if err != nil {
		return err
	}
	return c.locked(ctx, "restore", func() error {
		at, err := look(c.set.Path, mayRead)
		if err == nil {
			err = at.tidy()
		}
		switch {
		case err != nil:
			return err
		case at.hash() == r.Before:
			return nil
		case at.hash() != r.Put:
			return ErrMoved
		case r.None:
			return at.remove()
		}
		entry, ok, err := c.set.Backup.recall(id, c.key())
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotRestorable, err)
		}
		if !ok || hashOf(entry.Old) != r.Before {
			return fmt.Errorf("%w: what was there before was not kept", ErrNotRestorable)
		}
		return at.replace(ctx, entry.Old)
	})
}

// Forget wipes what Restore would need. It is for a rotation that is over.
func (c *Sealed) Forget(_ context.Context, id string) error { return c.set.Backup.forget(id, c.key()) }

// Taken marks the file as its recipient's from the delivery on: who has taken it away has done what it is there for.
func (*Sealed) Taken() {}
