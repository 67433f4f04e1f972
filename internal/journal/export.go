package journal

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Schema is the first field of every export that this version writes and reads.
const Schema = "keyreeve.journal/1"

// maxExport is more than a million entries take.
const maxExport = 1 << 30

const writesOne = "keyreeve runs export writes one"

//go:embed schema/journal.schema.json
var exportSchemaText string

// ExportSchema is the JSON Schema (draft 2020-12) of an export.
func ExportSchema() []byte { return []byte(exportSchemaText) }

// InputError says that what was given is no journal that can be read: the caller's mistake.
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

// Export is a whole journal as one document: evidence for somebody who has no access to the store.
//
// Its hashes show that an entry was changed, lost in the middle, moved or added. What they cannot show alone:
// that entries were cut off at the end, or that all of it was written anew. For that, compare the head, or
// any hash, with one that was noted elsewhere.
type Export struct {
	Version string // of the program that wrote it
	At      time.Time
	Entries []Entry // in the order of Seq
	Head    string  // Hash of the last entry; empty without entries
}

// Summary is what a verified export holds.
type Summary struct {
	Entries, Runs int
	From, To      time.Time // of the earliest and the latest entry; zero without entries
	Head          string
}

type exportDoc struct {
	Schema     string      `json:"schema"`
	Tool       exportTool  `json:"tool"`
	ExportedAt string      `json:"exported_at"`
	Entries    []exportRow `json:"entries"`
	Head       string      `json:"head"`
}

type exportTool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type exportRow struct {
	Seq    int64           `json:"seq"`
	Run    string          `json:"run"`
	Step   string          `json:"step"`
	Kind   EntryKind       `json:"kind"`
	At     string          `json:"at"`
	Result Result          `json:"result"`
	Note   string          `json:"note"`
	Data   json.RawMessage `json:"data,omitempty"`
	Prev   string          `json:"prev"`
	Hash   string          `json:"hash"`
}

// NewExport is the export of all entries of a store.
func NewExport(version string, at time.Time, entries []Entry) *Export {
	e := &Export{Version: version, At: at.UTC().Truncate(time.Microsecond), Entries: entries}
	if len(entries) > 0 {
		e.Head = entries[len(entries)-1].Hash
	}
	return e
}

// Encode writes the export as JSON for people and programs to read.
func (e *Export) Encode(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(e.doc()); err != nil {
		return fmt.Errorf("encode the journal: %w", err)
	}
	return nil
}

func (e *Export) doc() *exportDoc {
	d := &exportDoc{
		Schema: Schema, Tool: exportTool{"keyreeve", e.Version}, ExportedAt: Stamp(e.At),
		Entries: make([]exportRow, len(e.Entries)), Head: e.Head,
	}
	for i := range e.Entries {
		n := &e.Entries[i]
		d.Entries[i] = exportRow{n.Seq, n.Run, n.Step, n.Kind, Stamp(n.At), n.Result, n.Note, n.Data, n.Prev, n.Hash}
	}
	return d
}

// DecodeExport reads what Encode wrote; white space may differ, nothing else. What is no export, or one of
// another version, is an InputError. Whether it is genuine, Verify says.
func DecodeExport(r io.Reader) (*Export, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxExport+1))
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	switch {
	case len(data) > maxExport:
		return nil, &InputError{fmt.Sprintf("the file is larger than %d MB", maxExport>>20), writesOne}
	case len(bytes.TrimSpace(data)) == 0:
		return nil, &InputError{"the file is empty", writesOne}
	}
	if err := ours(data); err != nil {
		return nil, err
	}
	var doc exportDoc
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return nil, &InputError{fmt.Sprintf("the journal was changed, or another program wrote it: %v", err), writesOne}
	}
	e, err := doc.export()
	if err != nil {
		return nil, &InputError{fmt.Sprintf("the journal was changed, or another program wrote it: %v", err), writesOne}
	}
	if !e.wrote(data) {
		// A name given twice, or written in capitals: another reader would see another journal.
		return nil, &InputError{"the journal was changed: it is not written the way that keyreeve writes it", writesOne}
	}
	return e, nil
}

// ours tells an export of this version from other JSON and from none.
func ours(data []byte) error {
	var head struct {
		Schema *string `json:"schema"`
	}
	err := json.Unmarshal(data, &head)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		line := 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
		return &InputError{fmt.Sprintf("the file is no JSON: line %d: %v", line, err), writesOne}
	case err != nil:
		return &InputError{fmt.Sprintf("the file is no journal: %v", err), writesOne}
	case head.Schema == nil:
		return &InputError{"no journal: the JSON has no schema", writesOne}
	case *head.Schema != Schema && strings.HasPrefix(*head.Schema, "keyreeve.journal/"):
		return &InputError{
			fmt.Sprintf("a journal of the version %q, this program reads %s", *head.Schema, Schema),
			"read it with the version of keyreeve that wrote it",
		}
	case *head.Schema != Schema:
		return &InputError{fmt.Sprintf("no journal: the schema is %q, not %s", *head.Schema, Schema), writesOne}
	default:
		return nil
	}
}

func (d *exportDoc) export() (*Export, error) {
	at, err := ParseStamp(d.ExportedAt)
	if err != nil {
		return nil, fmt.Errorf("exported_at: %w", err)
	}
	e := &Export{Version: d.Tool.Version, At: at, Head: d.Head, Entries: make([]Entry, len(d.Entries))}
	for i := range d.Entries {
		n := &d.Entries[i]
		at, err := ParseStamp(n.At)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", n.Seq, err)
		}
		e.Entries[i] = Entry{n.Seq, n.Run, n.Step, n.Kind, at, n.Result, n.Note, n.Data, n.Prev, n.Hash}
	}
	return e, nil
}

// wrote tells whether Encode writes these bytes for e, but for white space.
func (e *Export) wrote(data []byte) bool {
	var body, given, own bytes.Buffer
	if e.Encode(&body) != nil || json.Compact(&given, data) != nil || json.Compact(&own, body.Bytes()) != nil {
		return false
	}
	return bytes.Equal(given.Bytes(), own.Bytes())
}

// Verify checks the export: everything that Fold checks, and the head. The error names the first entry that
// is wrong.
func (e *Export) Verify() (Summary, error) {
	sum := Summary{Entries: len(e.Entries), Head: e.Head}
	runs, err := Fold(e.Entries)
	if err != nil {
		return sum, err
	}
	sum.Runs = len(runs)
	last := ""
	for i := range e.Entries {
		n := &e.Entries[i]
		if i == 0 || n.At.Before(sum.From) {
			sum.From = n.At
		}
		if n.At.After(sum.To) {
			sum.To = n.At
		}
		last = n.Hash
	}
	if e.Head != last {
		return sum, fmt.Errorf("the head is %q, the last entry has the hash %q: entries are missing at the end", e.Head, last)
	}
	return sum, nil
}

// Fold makes the runs, in the order in which they began, out of a whole chain from its first entry. It checks
// the chain of hashes, each entry, that it belongs to a run begun before it and to a step of that run, and
// that it may follow the entries that the run had.
func Fold(entries []Entry) ([]Run, error) {
	if err := Verify(entries); err != nil {
		return nil, err
	}
	byID := map[string]*Run{}
	var order []*Run
	for i := range entries {
		e := &entries[i]
		known := len(byID)
		if err := follow(byID, e); err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		if len(byID) > known {
			order = append(order, byID[e.Run])
		}
	}
	runs := make([]Run, len(order))
	for i, r := range order {
		runs[i] = *r
	}
	return runs, nil
}

// follow adds the entry to its run, if it may stand there.
func follow(runs map[string]*Run, e *Entry) error {
	run := runs[e.Run]
	if run != nil {
		if err := run.Admits(e); err != nil {
			return err
		}
		if e.Kind == Event {
			if _, err := ReadHappening(e.Data); err != nil {
				return err
			}
		}
		run.add(e)
		return nil
	}
	if e.Kind != Begin {
		return fmt.Errorf("%s of run %q, which has not begun: %w", e.Kind, e.Run, ErrOutOfPlace)
	}
	run, err := ReadRecord(e.Data)
	switch {
	case err != nil:
		return err
	case run.ID != e.Run || !run.StartedAt.Equal(e.At):
		return fmt.Errorf("begin of run %q at %s holds the record of run %q, started %s", e.Run, Stamp(e.At), run.ID, Stamp(run.StartedAt))
	case run.Undoes != "" && runs[run.Undoes] == nil:
		return fmt.Errorf("run %q undoes run %q, which has not begun", run.ID, run.Undoes)
	case run.Undoes != "" && runs[run.Undoes].Kind == Rotate:
		return fmt.Errorf("run %q undoes run %q, a rotation", run.ID, run.Undoes)
	}
	runs[e.Run] = run
	return nil
}
