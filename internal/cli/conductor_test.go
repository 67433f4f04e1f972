package cli_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/cli"
)

// conductorURL names a conductor, who holds the clock of the program: it stands until all that wait have been waited for.
const conductorURL = "KEYREEVE_TEST_CONDUCTOR"

// conducted gives sys the clock of the conductor.
func conducted(sys *cli.System, base string) {
	var mu sync.Mutex
	var now time.Time
	ask := func(ctx context.Context, path string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return context.Cause(ctx)
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			return context.Cause(ctx)
		}
		at, err := time.Parse(time.RFC3339Nano, string(text))
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if at.After(now) {
			now = at
		}
		return nil
	}
	if err := ask(context.Background(), "/now"); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "conductor:", err)
		os.Exit(70)
	}
	sys.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	sys.Wait = func(ctx context.Context, d time.Duration) error {
		if err := ask(ctx, "/wait?for="+url.QueryEscape(d.String())); err != nil {
			return err
		}
		return ctx.Err()
	}
}

// conductor holds the clock of a program in a process of its own, so that a month goes by as fast as the work of it is done, and
// always in the same order.
type conductor struct {
	url string

	mu      sync.Mutex
	now     time.Time
	waiting map[chan struct{}]time.Time
	changed chan struct{} // closed and made anew whenever somebody begins or ends to wait
}

func newConductor(t *testing.T, at time.Time) *conductor {
	c := &conductor{now: at, waiting: map[chan struct{}]time.Time{}, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /now", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, c.time().Format(time.RFC3339Nano))
	})
	mux.HandleFunc("POST /wait", c.wait)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	c.url = server.URL
	return c
}

func (c *conductor) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *conductor) wait(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.FormValue("for"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	free := make(chan struct{})
	c.change(func() { c.waiting[free] = c.now.Add(d) })
	select {
	case <-free:
		_, _ = io.WriteString(w, c.time().Format(time.RFC3339Nano))
	case <-r.Context().Done(): // it was killed
		c.change(func() { delete(c.waiting, free) })
	}
}

func (c *conductor) change(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
	close(c.changed)
	c.changed = make(chan struct{})
}

// settled waits until so many wait, or dead is closed, and tells which.
func (c *conductor) settled(n int, dead <-chan struct{}) bool {
	for {
		c.mu.Lock()
		waiting, changed := len(c.waiting), c.changed
		c.mu.Unlock()
		if waiting == n {
			return true
		}
		select {
		case <-changed:
		case <-dead:
			return false
		}
	}
}

// advance moves the clock to the next instant that somebody waits for, not after until, and lets those go; false: nobody waits
// for one. set hears of the new time first.
func (c *conductor) advance(until time.Time, set func(time.Time)) bool {
	c.mu.Lock()
	next := until
	for _, at := range c.waiting {
		if at.Before(next) {
			next = at
		}
	}
	c.mu.Unlock()
	set(next)
	free := 0
	c.change(func() {
		c.now = next
		for ch, at := range c.waiting {
			if !at.After(next) {
				delete(c.waiting, ch)
				close(ch)
				free++
			}
		}
	})
	return free > 0
}
