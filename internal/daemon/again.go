package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/store"
)

const (
	FirstPause   = 5 * time.Second // after a failure; doubled each time
	LongestPause = 10 * time.Minute

	recordTries = 60 // what was read is kept in memory for as long
	recordPause = 2 * time.Second
)

// PauseAfter is the pause before the next try after so many failures.
func PauseAfter(failures int) time.Duration {
	if failures > 8 {
		return LongestPause
	}
	return min(FirstPause<<(max(failures, 1)-1), LongestPause)
}

// Trouble says what fails, the first of some, and why.
func Trouble(first string, more int, why error) error {
	if more > 0 {
		first = fmt.Sprintf("%s and %d more", first, more)
	}
	return fmt.Errorf("%s: %w", first, why)
}

// failure is what failed and is to be tried again. Its zero value has not failed.
type failure struct {
	err  error
	n    int       // times in a row
	next time.Time // not tried before then
}

func (f failure) again(err error, now time.Time) failure {
	return failure{err, f.n + 1, now.Add(PauseAfter(f.n + 1))}
}

// record keeps what was read. While the database is away, or its disk is full, it tries again, for two minutes: reading again would
// cost AWS a whole account. To record the same twice changes nothing.
func (w *Work) record(ctx context.Context, o *history.Observation) (history.Changes, error) {
	for try := 1; ; try++ {
		c, err := w.Store.Observe(ctx, o)
		if err == nil || !away(err) || try >= recordTries || ctx.Err() != nil {
			return c, err
		}
		w.Log.Warn("waiting to record what was read", "account", o.Account.ID, "error", err)
		if w.Wait(ctx, recordPause) != nil {
			return c, err
		}
	}
}

// away tells whether the database could not be reached, was lost on the way, or cannot be written now.
func away(err error) bool {
	var trouble *store.Error
	var network net.Error
	return errors.As(err, &trouble) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		strings.Contains(err.Error(), "conn closed")
}
