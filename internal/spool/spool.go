// Package spool keeps on disk what a run has read of each account, until the run is done, so that one that was broken
// off after nine thousand accounts need not read them again.
//
// It knows files: a directory a run, in it a note of what the run reads, and a file an account, written whole or not at all,
// for the user alone. It judges nothing, and keeps no secret: a snapshot holds none.
//
// It refuses what it cannot be sure of: a file that is torn, of another version or about another account is as good as
// none, and the account is read again. Its promise: what Load gives is what Save was given.
package spool

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Keep is how long what was read may be taken up again: older evidence would be judged as if it were of now.
const Keep = 24 * time.Hour

// runFile is the note of what a run reads. It is written last when a run begins, and removed first when it is done.
const runFile = "run.json"

// Run is what a run reads. Two runs that read the same can take each other up.
type Run struct {
	Organization string      // its id, or another name for the set of accounts
	Evidence     fact.Source // as the run was asked for
	Confirmed    bool        // failing users were read again
	StartedAt    time.Time   // UTC, to the second
}

// Spool is the directory of one run. Load and Save may be called from several goroutines, for different accounts.
type Spool struct {
	dir string
	run Run
}

// Begin makes a place for a new run below dir, which need not exist, and removes those of runs that began more than Keep
// before it.
func Begin(dir string, r Run) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a place for what is read: %w", err)
	}
	for _, old := range runs(dir) {
		if r.StartedAt.Sub(old.run.StartedAt) > Keep {
			_ = old.Done() // the next run tries again
		}
	}
	own, err := os.MkdirTemp(dir, "run-")
	if err != nil {
		return nil, fmt.Errorf("make a place for what is read: %w", err)
	}
	s := &Spool{dir: own, run: r}
	data, err := json.Marshal(wireRun{version, r.Organization, r.Evidence, r.Confirmed, r.StartedAt.UTC()})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(own, runFile), data, 0o600); err != nil {
		return nil, fmt.Errorf("make a place for what is read: %w", err)
	}
	return s, nil
}

// Resume takes up the newest run below dir that reads what r does, began within Keep before now, and is not done. nil:
// there is none. The run that broke off must be over: two processes on one run would read accounts twice.
func Resume(dir string, r Run, now time.Time) *Spool {
	var newest *Spool
	for _, s := range runs(dir) {
		same := s.run.Organization == r.Organization && s.run.Evidence == r.Evidence && s.run.Confirmed == r.Confirmed
		age := now.Sub(s.run.StartedAt)
		if same && age >= 0 && age <= Keep && (newest == nil || s.run.StartedAt.After(newest.run.StartedAt)) {
			newest = s
		}
	}
	return newest
}

// runs are the runs below dir that are not done; what cannot be read is none.
func runs(dir string) []*Spool {
	var out []*Spool
	found, err := filepath.Glob(filepath.Join(dir, "run-*", runFile))
	if err != nil {
		return nil
	}
	for _, path := range found {
		var w wireRun
		data, err := os.ReadFile(path)
		if err != nil || json.Unmarshal(data, &w) != nil || w.Version != version {
			continue
		}
		out = append(out, &Spool{filepath.Dir(path), Run{w.Organization, w.Evidence, w.Confirmed, w.StartedAt}})
	}
	return out
}

// Run is what this run reads, and when it began.
func (s *Spool) Run() Run { return s.run }

// Accounts are the ids of the accounts that were read, sorted.
func (s *Spool) Accounts() []string {
	found, _ := filepath.Glob(filepath.Join(s.dir, "*.json.gz")) // the pattern is well formed
	for i, path := range found {
		found[i] = strings.TrimSuffix(filepath.Base(path), ".json.gz")
	}
	slices.Sort(found)
	return found
}

func (s *Spool) path(account string) string { return filepath.Join(s.dir, account+".json.gz") }

// Save keeps what was read of an account.
func (s *Spool) Save(snap *fact.Snapshot) (err error) {
	f, err := os.CreateTemp(s.dir, "new-")
	if err != nil {
		return fmt.Errorf("keep what was read of account %s: %w", snap.Account.ID, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("keep what was read of account %s: %w", snap.Account.ID, err), os.Remove(f.Name()))
		}
	}()
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	err = json.NewEncoder(z).Encode(toWire(snap))
	if err := errors.Join(err, z.Close(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(snap.Account.ID))
}

// Load is what Save kept of the account; nil where there is nothing.
func (s *Spool) Load(account string) (snap *fact.Snapshot, err error) {
	f, err := os.Open(s.path(account))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var w wireSnapshot
	dec := json.NewDecoder(z)
	if err := dec.Decode(&w); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) { // the checksum stands at the end
		return nil, fmt.Errorf("%s does not end where it should: %w", f.Name(), err)
	}
	if w.Version != version || w.Account.ID != account {
		return nil, fmt.Errorf("%s is of version %d and about account %q", f.Name(), w.Version, w.Account.ID)
	}
	return w.snapshot()
}

// Done removes everything.
func (s *Spool) Done() error {
	return errors.Join(os.Remove(filepath.Join(s.dir, runFile)), os.RemoveAll(s.dir))
}
