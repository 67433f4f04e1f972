package credreport

import (
	"context"
	"io"
)

// ReadChunks is Read with chunks of size bytes, so that small files take the ways of large ones.
func ReadChunks(ctx context.Context, r io.Reader, opt Options, size int, each func(Batch) error) (Report, error) {
	return read(ctx, r, opt, size, each)
}

// QuickDate is quickDate.
func QuickDate(s string) (sec int64, size int) { return quickDate(s) }
