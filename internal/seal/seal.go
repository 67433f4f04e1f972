// Package seal keeps secrets at rest: sealed with age to one key of our own.
//
// It knows where that key comes from, KEYREEVE_SEAL_KEY or a file that is made on first use, and how to seal
// and to open with it. A Box is safe for concurrent use, also by several processes on one file.
//
// It refuses a key file that others may read, a key it cannot make sense of, and to make a new key where one
// is only asked to open: a lost key is an error that says so, never a fresh start.
//
// Its promise: no error, and nothing that prints a Box, holds the key or what was sealed. Wiping is as good as
// Go allows: buffers that we own are cleared, copies made by the runtime are out of reach.
package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"filippo.io/age"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// KeyVariable is the environment variable that holds the key, AGE-SECRET-KEY-1..., in place of a file.
const KeyVariable = "KEYREEVE_SEAL_KEY"

// The kinds of trouble. Test with errors.Is.
var (
	// ErrNoKey: there is no key, and opening makes none.
	ErrNoKey = errors.New("there is no seal key")
	// ErrOtherKey: this was sealed with another key.
	ErrOtherKey = errors.New("sealed with another key")
	// ErrBroken: what was to be opened is no sealed text, or was changed or cut short.
	ErrBroken = errors.New("not a whole sealed text")
)

// openToOthers are the permissions that a key file must not have.
const openToOthers fs.FileMode = 0o077

// Box seals and opens with one key.
type Box struct {
	path string // empty: the key is from the environment

	mu       sync.Mutex
	identity *age.X25519Identity // nil: no key yet
}

// OpenBox takes the key from the environment, else from the file at path, which need not exist yet: the first
// Seal makes it, with mode 0600, in a directory that must exist. getenv is os.Getenv, or nil for no environment.
func OpenBox(path string, getenv func(string) string) (*Box, error) {
	if getenv != nil {
		if text := strings.TrimSpace(getenv(KeyVariable)); text != "" {
			identity, err := age.ParseX25519Identity(text)
			if err != nil { // its text may quote the key
				return nil, fmt.Errorf("read the seal key of %s: it is no age key (AGE-SECRET-KEY-1...)", KeyVariable)
			}
			return &Box{identity: identity}, nil
		}
	}
	if path == "" {
		return nil, fmt.Errorf("open the seal: neither %s nor a key file is given", KeyVariable)
	}
	b := &Box{path: path}
	if err := b.load(); err != nil && !errors.Is(err, ErrNoKey) {
		return nil, err
	}
	return b, nil
}

// String names the source of the key.
func (b *Box) String() string {
	if b.path == "" {
		return "the seal key of " + KeyVariable
	}
	return fmt.Sprintf("the seal key in %q", b.path)
}

// GoString is String, for the verbs that print fields.
func (b *Box) GoString() string { return b.String() }

// Format is String for every verb.
func (b *Box) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, b.String()) }

// Recipient is the public key, age1...; it may be shown. Empty: no key was made yet.
func (b *Box) Recipient() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.identity == nil {
		return ""
	}
	return b.identity.Recipient().String()
}

// Seal seals plain, which stays the caller's to wipe. Twice the same text gives two different results.
func (b *Box) Seal(plain []byte) ([]byte, error) {
	identity, err := b.key(true)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, identity.Recipient())
	if err == nil {
		_, err = w.Write(plain)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("seal with %v: %w", b, err)
	}
	return out.Bytes(), nil
}

// Open opens what Seal made. The result is the caller's to wipe.
func (b *Box) Open(sealed []byte) ([]byte, error) {
	identity, err := b.key(false)
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if other := (*age.NoIdentityMatchError)(nil); errors.As(err, &other) {
		return nil, fmt.Errorf("open with %v: %w: find the key that was used then; it cannot be made again", b, ErrOtherKey)
	}
	if err != nil {
		return nil, fmt.Errorf("open with %v: %w: %w", b, ErrBroken, err)
	}
	var plain bytes.Buffer
	plain.Grow(len(sealed)) // no growth, hence no copies left behind
	if _, err := plain.ReadFrom(r); err != nil {
		Wipe(plain.Bytes())
		return nil, fmt.Errorf("open with %v: %w: %w", b, ErrBroken, err)
	}
	return plain.Bytes(), nil
}

// sealedPair is the pair on its way into the seal, and nowhere else.
type sealedPair struct {
	KeyID  string `json:"key_id"`
	Secret string `json:"secret"`
}

// SealPair seals a pair as one object.
func (b *Box) SealPair(p fact.Pair) ([]byte, error) {
	plain, err := json.Marshal(sealedPair{p.KeyID, p.Secret.Reveal()}) //nolint:gosec // it is sealed two lines on
	if err != nil {
		return nil, fmt.Errorf("seal a pair: %w", err)
	}
	defer Wipe(plain)
	return b.Seal(plain)
}

// OpenPair opens what SealPair made.
func (b *Box) OpenPair(sealed []byte) (fact.Pair, error) {
	plain, err := b.Open(sealed)
	if err != nil {
		return fact.Pair{}, err
	}
	defer Wipe(plain)
	var p sealedPair
	if err := json.Unmarshal(plain, &p); err != nil || p.KeyID == "" || p.Secret == "" {
		return fact.Pair{}, fmt.Errorf("open with %v: %w: it holds no pair", b, ErrBroken)
	}
	return fact.Pair{KeyID: p.KeyID, Secret: fact.NewSecret(p.Secret)}, nil
}

// Wipe clears b.
func Wipe(b []byte) {
	clear(b)
	runtime.KeepAlive(b)
}

// key gives the key, and makes one if there is none and create says so.
func (b *Box) key(create bool) (*age.X25519Identity, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.identity != nil {
		return b.identity, nil
	}
	err := b.load() // another process may have made it
	if errors.Is(err, ErrNoKey) && create {
		if err = b.create(); err == nil {
			err = b.load() // ours, or that of whoever was faster
		}
	}
	return b.identity, err
}

func (b *Box) load() error {
	f, err := os.Open(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %q does not exist, and %s is not set", ErrNoKey, b.path, KeyVariable)
	}
	if err != nil {
		return fmt.Errorf("read the seal key: %w", err)
	}
	defer func() { _ = f.Close() }() // was only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read the seal key: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || runtime.GOOS != "windows" && mode.Perm()&openToOthers != 0 {
		return fmt.Errorf("read the seal key: %q has mode %v, others may get at it: make it a file with mode 0600, "+
			"and think about what was sealed with it", b.path, mode)
	}
	const longest = 4096 // of a key with comments
	text, err := io.ReadAll(io.LimitReader(f, longest))
	if err != nil {
		return fmt.Errorf("read the seal key: %w", err)
	}
	defer Wipe(text)
	var line string
	for l := range strings.Lines(string(text)) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			line += l + "\n"
		}
	}
	identity, err := age.ParseX25519Identity(strings.TrimSpace(line))
	if err != nil { // its text may quote the key
		return fmt.Errorf("read the seal key: %q holds no single age key (AGE-SECRET-KEY-1...)", b.path)
	}
	b.identity = identity
	return nil
}

// create makes the key file in one step that only one process can win: a link to a finished file.
func (b *Box) create() error {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return fmt.Errorf("make the seal key: %w", err)
	}
	dir := filepath.Dir(b.path)
	f, err := os.CreateTemp(dir, ".keyreeve-seal-*") // 0600
	if err != nil {
		return fmt.Errorf("make the seal key: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the link, or of no use
	_, err = fmt.Fprintf(f, "# Seals the secrets that keyreeve holds. Lost, they are lost.\n# public key: %s\n%s\n",
		identity.Recipient(), identity)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("make the seal key: %w", err)
	}
	if err := os.Link(f.Name(), b.path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the seal key: %w", err)
	}
	if d, err := os.Open(dir); err == nil { // a key that seals must outlive a loss of power
		_ = d.Sync() // not every system syncs directories
		_ = d.Close()
	}
	return nil
}
