package awsiam

import (
	"maps"
	"sync"
)

// Counters count what goes out to AWS from all that is opened with them, however many Readers come and go. The zero value
// counts from nothing. They are safe for concurrent use.
type Counters struct {
	mu  sync.Mutex
	now Counts
}

// Counts are numbers that only grow. Actions that did not occur are left out.
type Counts struct {
	Calls     map[string]int // operations, by action: "iam:ListUsers"; as Reader.Calls has them
	Throttled map[string]int // HTTP requests that AWS put off, by action, those that get credentials included
	Requests  int            // HTTP requests, retries and those that get credentials included
}

// Read gives the counts so far; they are the caller's.
func (c *Counters) Read() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.now
	out.Calls, out.Throttled = maps.Clone(out.Calls), maps.Clone(out.Throttled)
	return out
}

func (c *Counters) call(action string) { c.add(&c.now.Calls, action) }

func (c *Counters) throttle(action string) { c.add(&c.now.Throttled, action) }

func (c *Counters) request() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Requests++
}

func (c *Counters) add(to *map[string]int, action string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *to == nil {
		*to = map[string]int{}
	}
	(*to)[action]++
}
