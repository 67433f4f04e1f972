package courier

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keyreeve/keyreeve/internal/seal"
)

// Backup is where the couriers with files keep, sealed, what a delivery replaces.
type Backup struct {
	Dir string    // must exist; beside the database
	Box *seal.Box // seals with our own key
}

func (b Backup) validate() []error {
	if b.Dir == "" || b.Box == nil {
		return []error{errors.New("a directory and a seal for what is replaced are needed")}
	}
	return nil
}

// kept is one entry, written before the place is changed: also a delivery whose receipt was lost finds it.
type kept struct {
	Place   string  `json:"place"`
	Receipt receipt `json:"receipt"`
	Old     []byte  `json:"old"` // what was replaced
}

func (b Backup) path(id, place string) string {
	return filepath.Join(b.Dir, "restore-"+hashOf([]byte(id + "\x00" + place))[:32]+".sealed")
}

// keep writes the entry of a rotation and a place, and is on disk when it returns.
func (b Backup) keep(id string, k kept) error {
	k.Receipt.Version = receiptVersion
	plain, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("keep what is replaced: %w", err)
	}
	defer seal.Wipe(plain)
	sealed, err := b.Box.Seal(plain)
	if err != nil {
		return fmt.Errorf("keep what is replaced: %w", err)
	}
	path := b.path(id, k.Place)
	if err := write(path+".new", sealed, 0o600, nil); err != nil {
		return fmt.Errorf("keep what is replaced: %w", kindOfFile(err))
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("keep what is replaced: %w", kindOfFile(err))
	}
	return syncDir(b.Dir)
}

// recall reads an entry; false: there is none. The caller wipes kept.Old.
func (b Backup) recall(id, place string) (kept, bool, error) {
	sealed, err := os.ReadFile(b.path(id, place))
	if errors.Is(err, fs.ErrNotExist) {
		return kept{}, false, nil
	}
	if err != nil {
		return kept{}, false, fmt.Errorf("read what was replaced: %w", kindOfFile(err))
	}
	plain, err := b.Box.Open(sealed)
	if err != nil {
		return kept{}, false, fmt.Errorf("read what was replaced: %w", err)
	}
	defer seal.Wipe(plain)
	var k kept
	if err := json.Unmarshal(plain, &k); err != nil || k.Place != place {
		return kept{}, false, fmt.Errorf("read what was replaced: %w", seal.ErrBroken)
	}
	return k, true, nil
}

// forget removes an entry.
func (b Backup) forget(id, place string) error {
	if err := os.Remove(b.path(id, place)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what was replaced: %w", kindOfFile(err))
	}
	return nil
}
