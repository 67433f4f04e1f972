// Package spool keeps on disk what a run has read of each account, until the run is done, so that one that was broken
// off after nine thousand accounts need not read them again.
//
// It knows files: a directory a run, in it a note of what the run reads, and one file to which each account is added as it was
// read, for the user alone. It judges nothing, and keeps no secret: a snapshot holds none.
//
// It refuses what it cannot be sure of: what is torn, of another version or about another account is as good as none, and the
// account is read again. Its promises: what Load gives is what Save was given; what a run left behind is gone with the next one
// after Keep, whatever it was, unless a process still works in it.
package spool

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Keep is how long what was read may be taken up again: older evidence would be judged as if it were of now.
const Keep = 24 * time.Hour

const (
	// runFile is the note of what a run reads. It is written last when a run begins, and removed first when it is done.
	runFile = "run.json"

	// readFile holds the accounts, one after the other: a line with the account and the number of bytes that follow, then
	// the snapshot as JSON in gzip, whose checksum stands at its end.
	readFile = "read"
)

// Run is what a run reads. Two runs that read the same can take each other up.
type Run struct {
	Organization string      // its id, or another name for the set of accounts
	Evidence     fact.Source // as the run was asked for
	Confirm      string      // which users were read again, in the words of the command line
	Asks         string      // what decided who was among them, such as a digest of the rules
	StartedAt    time.Time   // UTC, to the second
}

// Spool is what one run has read. Load and Save may be called from several goroutines, for different accounts.
type Spool struct {
	dir   string
	run   Run
	packs chan *pack // as many as there are cores: to pack more at once takes memory and no less time

	mu   sync.Mutex // guards what follows
	file *os.File
	size int64           // of what is whole
	at   map[string]span // by account
}

// span is where an account stands in the file.
type span struct{ from, size int64 }

// Begin makes a place for a new run below dir, which need not exist, and removes what runs left there more than Keep before it.
func Begin(dir string, r Run) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a place for what is read: %w", err)
	}
	sweep(dir, r.StartedAt)
	own, err := os.MkdirTemp(dir, "run-")
	if err != nil {
		return nil, fmt.Errorf("make a place for what is read: %w", err)
	}
	s := &Spool{dir: own, run: r}
	data, err := json.Marshal(wireRun{version, r.Organization, r.Evidence, r.Confirm, r.Asks, r.StartedAt.UTC()})
	if err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("make a place for what is read: %w", err)
	}
	if err := os.WriteFile(filepath.Join(own, runFile), data, 0o600); err != nil {
		return nil, fmt.Errorf("make a place for what is read: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// Resume takes up the newest run below dir that reads what r does, began within Keep before now, and is not done. nil: there is
// none; unlike: there is one of that organisation, which read otherwise. A run in which another process works is none.
func Resume(dir string, r Run, now time.Time) (s *Spool, unlike bool) {
	found := runs(dir)
	slices.SortStableFunc(found, func(a, b *Spool) int { return b.run.StartedAt.Compare(a.run.StartedAt) })
	for _, s := range found {
		age := now.Sub(s.run.StartedAt)
		if s.run.Organization != r.Organization || age < 0 || age > Keep {
			continue
		}
		same := s.run.Evidence == r.Evidence && s.run.Confirm == r.Confirm && s.run.Asks == r.Asks
		if same && s.open() == nil {
			return s, false
		}
		unlike = unlike || !same
	}
	return nil, unlike
}

// open opens the file of the run, or makes it, and finds what is in it; what is torn at its end goes.
func (s *Spool) open() error {
	f, err := os.OpenFile(filepath.Join(s.dir, readFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err := errors.Join(err, lock(f)); err != nil {
		return errors.Join(err, f.Close())
	}
	s.file, s.size, s.at = f, 0, map[string]span{}
	s.packs = make(chan *pack, runtime.GOMAXPROCS(0))
	for range cap(s.packs) {
		s.packs <- nil // made by the first to need it
	}
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadString('\n')
		var account string
		var n int64
		if _, scanErr := fmt.Sscanf(line, "%s %d\n", &account, &n); err != nil || scanErr != nil || n < 1 || n > info.Size() {
			break
		}
		from := s.size + int64(len(line))
		if skipped, err := io.CopyN(io.Discard, r, n); err != nil || skipped != n {
			break
		}
		s.at[account], s.size = span{from, n}, from+n
	}
	if err := f.Truncate(s.size); err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// places are the directories of runs below dir.
func places(dir string) []string {
	found, err := filepath.Glob(filepath.Join(dir, "run-*"))
	if err != nil {
		return nil
	}
	return found
}

// runs are the runs below dir that are not done, not yet open.
func runs(dir string) []*Spool {
	var out []*Spool
	for _, own := range places(dir) {
		if s := readRun(own); s != nil {
			out = append(out, s)
		}
	}
	return out
}

// readRun is the run in that directory, not yet open; nil: there is none of this version.
func readRun(own string) *Spool {
	var w wireRun
	data, err := os.ReadFile(filepath.Join(own, runFile))
	if err != nil || json.Unmarshal(data, &w) != nil || w.Version != version {
		return nil
	}
	return &Spool{dir: own, run: Run{w.Organization, w.Evidence, w.Confirm, w.Asks, w.StartedAt}}
}

// sweep removes what began, or was last written to, more than Keep before now, be it a run or what a crash or another version
// left of one; not where a process works. What stays by an error, the next run tries again.
func sweep(dir string, now time.Time) {
	for _, own := range places(dir) {
		s := readRun(own)
		old := s != nil && now.Sub(s.run.StartedAt) > Keep || now.Sub(written(own)) > Keep
		if old && !held(own) {
			_ = os.RemoveAll(own)
		}
	}
}

// written is when the directory or a file of the run in it was written last.
func written(own string) time.Time {
	var last time.Time
	for _, name := range []string{"", runFile, readFile} {
		if info, err := os.Stat(filepath.Join(own, name)); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}

// held tells whether a process works in the run.
func held(own string) bool {
	f, err := os.OpenFile(filepath.Join(own, readFile), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // nothing was written
	return lock(f) != nil
}

// Run is what this run reads, and when it began.
func (s *Spool) Run() Run { return s.run }

// Accounts are the ids of the accounts that were read, sorted.
func (s *Spool) Accounts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.at))
}

// pack is what it takes to pack a snapshot. The tables of gzip are large, and made once.
type pack struct {
	text bytes.Buffer
	gzip *gzip.Writer
}

func newPack() *pack {
	p := &pack{}
	p.gzip, _ = gzip.NewWriterLevel(&p.text, gzip.BestSpeed) // fails for levels that there are not
	return p
}

// Save keeps what was read of an account.
func (s *Spool) Save(snap *fact.Snapshot) error {
	if err := s.save(snap); err != nil {
		return fmt.Errorf("keep what was read of account %s: %w", snap.Account.ID, err)
	}
	return nil
}

func (s *Spool) save(snap *fact.Snapshot) error {
	p := <-s.packs
	defer func() { s.packs <- p }()
	if p == nil {
		p = newPack()
	}
	p.text.Reset()
	p.gzip.Reset(&p.text)
	if err := errors.Join(json.NewEncoder(p.gzip).Encode(toWire(snap)), p.gzip.Close()); err != nil {
		return err
	}
	head := fmt.Appendf(nil, "%s %d\n", snap.Account.ID, p.text.Len())
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.file.WriteAt(append(head, p.text.Bytes()...), s.size)
	if err != nil {
		return errors.Join(err, s.file.Truncate(s.size))
	}
	from := s.size + int64(len(head))
	s.at[snap.Account.ID], s.size = span{from, int64(p.text.Len())}, from+int64(p.text.Len())
	return nil
}

// Load is what Save kept of the account last; nil where there is nothing.
func (s *Spool) Load(account string) (*fact.Snapshot, error) {
	s.mu.Lock()
	place, found := s.at[account]
	s.mu.Unlock()
	if !found {
		return nil, nil
	}
	snap, err := s.load(account, place)
	if err != nil {
		return nil, fmt.Errorf("take up what was read of account %s: %w", account, err)
	}
	return snap, nil
}

func (s *Spool) load(account string, at span) (*fact.Snapshot, error) {
	z, err := gzip.NewReader(io.NewSectionReader(s.file, at.from, at.size))
	if err != nil {
		return nil, err
	}
	var w wireSnapshot
	dec := json.NewDecoder(z)
	if err := dec.Decode(&w); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) { // the checksum stands at the end
		return nil, fmt.Errorf("it does not end where it should: %w", err)
	}
	if w.Version != version || w.Account.ID != account {
		return nil, fmt.Errorf("it is of version %d and about account %q", w.Version, w.Account.ID)
	}
	return w.snapshot()
}

// Close lets go of what was read: it can be taken up again. Nothing may be loaded or saved after it.
func (s *Spool) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// Done removes everything. Nothing may be loaded or saved after it.
func (s *Spool) Done() error {
	return errors.Join(s.Close(), os.Remove(filepath.Join(s.dir, runFile)), os.RemoveAll(s.dir))
}
