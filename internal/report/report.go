// Package report writes an audit, or the difference of two, in every format that people and machines read.
//
// It knows formats and nothing of AWS, rules or evidence: all it shows stands in the finding.Audit. It
// judges nothing, counts nothing anew that the audit has counted, and leaves nothing out silently: what was
// not read, not judged or excepted is told in every format that has a place for it. Only the formats that
// group (text, markdown) hold an account's findings in memory; the others walk the verdicts as they come.
//
// Its promises: the same audit gives the same bytes; no text taken from evidence can move a cursor, open a
// tag, break a cell or run as a formula; each error of the writer is returned. What is called JSON here is a
// contract and grows only by new fields.
package report

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/keyreeve/keyreeve/internal/finding"
)

// Format names an output format, as -o takes it.
type Format string

const (
	Text       Format = "text"
	Summary    Format = "summary"
	JSON       Format = "json"
	NDJSON     Format = "ndjson"
	CSV        Format = "csv"
	SARIF      Format = "sarif"
	OCSF       Format = "ocsf"
	ASFF       Format = "asff"
	JUnit      Format = "junit"
	Markdown   Format = "markdown"
	HTML       Format = "html"
	Prometheus Format = "prometheus"
)

// Formats lists every Format, the default one first.
func Formats() []Format {
	return []Format{Text, Summary, JSON, NDJSON, CSV, SARIF, OCSF, ASFF, JUnit, Markdown, HTML, Prometheus}
}

// Valid tells whether f is one of Formats.
func (f Format) Valid() bool { return f.write() != nil }

// Options say how to write. The zero value is plain text of 100 columns with key ids in full.
type Options struct {
	Width     int           // columns of the terminal, for text and summary; 0 means 100, and below 60 counts as 60
	Color     bool          // text, summary and differences only; false also means plain ASCII from us
	MaskKeys  bool          // AKIAIOSFODNN7EXAMPLE becomes AKIA****MPLE wherever an id stands, in every format
	All       bool          // show the passing verdicts that the audit holds
	DueWithin time.Duration // what Audit.Due was asked for, to say so; 0 says only "soon"
	// Region of the Security Hub that asff is made for; empty means the partition's IAM home region.
	Region string
}

const (
	defaultWidth = 100
	leastWidth   = 60
	product      = "keyreeve"
	homepage     = "https://github.com/keyreeve/keyreeve"
)

func (o Options) width() int {
	if o.Width == 0 {
		return defaultWidth
	}
	return max(o.Width, leastWidth)
}

// writer is the seam: each format is one such function in a file of its own. Errors of w need not be
// looked at on the way, for a bufio.Writer keeps the first one and Write flushes it.
type writer func(w *bufio.Writer, a *finding.Audit, o Options) error

func (f Format) write() writer {
	switch f {
	case Text:
		return writeText
	case Summary:
		return writeSummary
	case JSON:
		return writeJSON
	case NDJSON:
		return writeNDJSON
	case CSV:
		return writeCSV
	case SARIF:
		return writeSARIF
	case OCSF:
		return writeOCSF
	case ASFF:
		return writeASFF
	case JUnit:
		return writeJUnit
	case Markdown:
		return writeMarkdown
	case HTML:
		return writeHTML
	case Prometheus:
		return writePrometheus
	default:
		return nil
	}
}

// Write writes a to w in format f. After an error w holds part of a document: write to a temporary file.
func Write(w io.Writer, f Format, a *finding.Audit, o Options) error {
	write := f.write()
	if write == nil {
		return fmt.Errorf("output format %q is none of %v", string(f), Formats())
	}
	if o.MaskKeys {
		a = maskAudit(a)
	}
	buf := bufio.NewWriterSize(w, 64<<10)
	if err := write(buf, a, o); err != nil {
		return fmt.Errorf("write %s: %w", f, err)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", f, err)
	}
	return nil
}

// shown tells whether a verdict of this status belongs into a format that shows passing ones on demand.
func (o Options) shown(s finding.Status) bool { return o.All || s != finding.Pass }
