package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Entry is one line of the journal. Entries are only ever added. Each holds the hash of the one before it,
// over all runs and accounts of a store, so that a change or a loss in the middle shows.
type Entry struct {
	Seq    int64 // 1, 2, 3, ... over the whole store
	Run    string
	Step   string // empty for entries of the whole run
	Kind   EntryKind
	At     time.Time // UTC, to the microsecond
	Result Result
	Note   string          // for people: a request, an error, what was seen
	Data   json.RawMessage // of Begin: the run and its steps (Record); of Event: the Happening; else nil
	Prev   string          // Hash of the entry before; empty for the first
	Hash   string
}

// Sum is the hash of the entry: SHA-256, in hex, of its other fields in JSON.
func (e *Entry) Sum() string {
	body, err := json.Marshal(struct {
		Seq    int64           `json:"seq"`
		Run    string          `json:"run"`
		Step   string          `json:"step"`
		Kind   EntryKind       `json:"kind"`
		At     string          `json:"at"`
		Result Result          `json:"result"`
		Note   string          `json:"note"`
		Data   json.RawMessage `json:"data"`
		Prev   string          `json:"prev"`
	}{e.Seq, e.Run, e.Step, e.Kind, Stamp(e.At), e.Result, e.Note, e.Data, e.Prev})
	if err != nil {
		return "" // Data is no JSON: no hash fits it
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// Chain makes e the entry after the one with prevSeq and prevHash (0 and "" for the first), and gives it
// its hash. Bytes of the note that no database and no JSON can hold are replaced first.
func (e *Entry) Chain(prevSeq int64, prevHash string) {
	e.Note = strings.ReplaceAll(strings.ToValidUTF8(e.Note, "\uFFFD"), "\x00", "\uFFFD")
	e.At = e.At.UTC().Truncate(time.Microsecond)
	e.Seq, e.Prev = prevSeq+1, prevHash
	e.Hash = e.Sum()
}

// Valid says what is wrong with the entry itself, whatever stands before it.
func (e *Entry) Valid() error {
	switch {
	case !slices.Contains(EntryKinds(), e.Kind):
		return fmt.Errorf("entry %d: unknown kind %q", e.Seq, e.Kind)
	case e.Run == "":
		return fmt.Errorf("entry %d: no run", e.Seq)
	case e.Kind.Results() == nil && e.Result != "", e.Kind.Results() != nil && !slices.Contains(e.Kind.Results(), e.Result):
		return fmt.Errorf("entry %d: %s with the result %q", e.Seq, e.Kind, e.Result)
	case (e.Kind == Begin || e.Kind == Event || e.Kind == End) != (e.Step == ""):
		return fmt.Errorf("entry %d: %s of step %q", e.Seq, e.Kind, e.Step)
	case (e.Kind == Begin || e.Kind == Event) != (len(e.Data) > 0):
		return fmt.Errorf("entry %d: %s with %d bytes of data", e.Seq, e.Kind, len(e.Data))
	case e.Hash == "" || e.Hash != e.Sum():
		return fmt.Errorf("entry %d: its hash does not fit what it says", e.Seq)
	default:
		return nil
	}
}

// Verify checks a whole chain from its first entry: the first thing wrong, or nil.
func Verify(entries []Entry) error {
	var seq int64
	prev := ""
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Seq != seq+1:
			return fmt.Errorf("entry %d stands where entry %d should: entries are missing or out of order", e.Seq, seq+1)
		case e.Prev != prev:
			return fmt.Errorf("entry %d does not continue the entry before it", e.Seq)
		}
		if err := e.Valid(); err != nil {
			return err
		}
		seq, prev = e.Seq, e.Hash
	}
	return nil
}

// Stamp is how the journal writes an instant: RFC 3339 in UTC with six decimals, so that texts sort as
// instants do.
func Stamp(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

// ParseStamp reads what Stamp wrote, and nothing else.
func ParseStamp(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || Stamp(t) != text {
		return time.Time{}, fmt.Errorf("%q is no time as the journal writes it", text)
	}
	return t, nil
}
