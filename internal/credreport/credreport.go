// Package credreport reads the IAM credential report: bytes in, fact.User out, in parallel and as a stream.
//
// It knows the report in the shapes people have it: the CSV, the CSV under gzip, and the JSON reply of
// `aws iam get-credential-report`. It finds columns by name, so their order, unknown ones and missing
// trailing ones do not matter, and it judges nothing.
//
// It refuses rather than guesses: a value that does not fit its column, a row that does not fit the header,
// a second account, a second user of one name. The first fault in the order of the file is the one
// reported, whatever the number of workers. One thing cannot be seen: AWS ends a report without a newline,
// so a file cut exactly after the last value of a row reads as a shorter, sound report. A cut anywhere else
// leaves too few fields or a broken value and is refused (inside a trailing column that this package does
// not know, any text is a value, and the cut passes too).
//
// Memory is flat but for two things. The names are kept until the end, to find duplicates: front-coded
// within a chunk, about 4 to 8 bytes a user in a sorted report, up to 2 more than the name in a shuffled
// one, and 8 more a user during the final check of a report that is not sorted. And one row may take
// 1 MiB, not more.
package credreport

import (
	"context"
	"io"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Options say how to read. The zero value works.
type Options struct {
	Name    string // for messages: the file's path, or "-" for standard input
	Workers int    // goroutines that parse; 0 or less means runtime.GOMAXPROCS(0)
}

// Batch is a run of consecutive rows.
type Batch struct {
	Seq     int          // 0, 1, 2...: order in the file, without a gap; a batch may be empty
	Account fact.Account // ID and Partition, from the ARNs; the same in every batch
	// Users are valid for ever, unless Release is called. Their strings share the memory of the whole chunk
	// (about 256 KiB): clone (strings.Clone) what you keep for long.
	Users []fact.User

	arena *arena
	spare chan<- *arena
}

// Release gives the memory of the batch back for a later one, which spares a large report nearly all
// allocations. After it nothing of the batch may be used: no user, no key, no string but clones of them.
// All of it is overwritten by a later batch, but for what a report cannot say: leave these fields alone. Calling it is optional; a second call does nothing.
func (b Batch) Release() {
	if b.arena == nil || !b.arena.lent.CompareAndSwap(int64(b.Seq), notLent) {
		return
	}
	b.arena.empty()
	select {
	case b.spare <- b.arena:
	default:
	}
}

// Report is what the file says as a whole.
type Report struct {
	Account     fact.Account // ID "" when the file has no row
	GeneratedAt fact.Time    // from the JSON reply; unknown for a CSV, which does not state it
	Newest      fact.Time    // latest date inside, the planned password rotation aside; unknown without a row
	Users       int          // rows other than root
	Keys        int          // root's included
	ActiveKeys  int          // root's included
	HasRoot     bool         // the root row was there
}

// chunkSize is how much a worker parses at a time: small enough for the second-level cache with the users
// made from it, large enough that handing it over costs nothing.
const chunkSize = 256 << 10

// Read reads one report from r and hands its users to each, batch by batch. Several goroutines call each
// at once and in no order; when Read returns, all have ended. A file with a header and no row is legal.
//
// A fault of the file is an *Error, and batches handed over before it was found are void. An error of r is
// wrapped. An error of each is returned as it is and ends the reading. When ctx ends, Read stops between
// two reads of r, which it cannot interrupt, and returns ctx.Err(). With an error the Report is zero.
//
// Of a reader that tells how much is left, as bytes.Reader does, a small report takes no more memory than its size and no
// second goroutine: of ten thousand accounts it is read ten thousand times.
func Read(ctx context.Context, r io.Reader, opt Options, each func(Batch) error) (Report, error) {
	size := chunkSize
	if left, ok := r.(interface{ Len() int }); ok && left.Len() < size {
		size, opt.Workers = left.Len()+1, 1 // the byte more shows the end
	}
	return read(ctx, r, opt, size, each)
}
