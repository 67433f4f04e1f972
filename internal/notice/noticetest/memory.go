// Package noticetest is the definition of an outbox: Run checks any implementation of notice.Outbox, and Memory is the
// simplest one, for tests.
package noticetest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/internal/notice"
)

// Memory is an outbox that forgets with the process. Its zero value is empty. It is safe for concurrent use.
type Memory struct {
	mu      sync.Mutex
	entries map[string]*kept
	covered map[string]bool
}

type kept struct {
	notice.Entry
	closed   bool
	attempts []notice.Attempt
}

// Fresh is of notice.Outbox.
func (m *Memory) Fresh(_ context.Context, ids []string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, id := range ids {
		if !m.covered[id] {
			out = append(out, id)
		}
	}
	return out, nil
}

// Add is of notice.Outbox.
func (m *Memory) Add(_ context.Context, entries []notice.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids, covers := map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		if m.entries[e.ID] != nil || ids[e.ID] {
			return notice.ErrKnown
		}
		ids[e.ID] = true
		for _, id := range e.Covers {
			if m.covered[id] || covers[id] {
				return notice.ErrKnown
			}
			covers[id] = true
		}
	}
	if m.entries == nil {
		m.entries, m.covered = map[string]*kept{}, map[string]bool{}
	}
	for _, e := range entries {
		e.Covers, e.Body = slices.Clone(e.Covers), slices.Clone(e.Body)
		m.entries[e.ID] = &kept{Entry: e}
		for _, id := range e.Covers {
			m.covered[id] = true
		}
	}
	return nil
}

// Take is of notice.Outbox.
func (m *Memory) Take(_ context.Context, channel string, now, until time.Time, limit int) ([]notice.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var due []*kept
	for _, k := range m.entries {
		if k.Channel == channel && !k.closed && !k.NextTry.After(now) {
			due = append(due, k)
		}
	}
	slices.SortFunc(due, func(a, b *kept) int { return cmp.Or(a.NextTry.Compare(b.NextTry), cmp.Compare(a.ID, b.ID)) })
	var out []notice.Entry
	for _, k := range due[:min(limit, len(due))] {
		e := k.Entry
		e.Body = slices.Clone(e.Body)
		out = append(out, e)
		k.NextTry = until
	}
	return out, nil
}

// Mark is of notice.Outbox.
func (m *Memory) Mark(_ context.Context, id string, a notice.Attempt) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.entries[id]
	switch {
	case k == nil:
		return notice.ErrNoEntry
	case k.closed:
		return nil
	}
	k.Tries++
	k.attempts = append(k.attempts, a)
	k.closed, k.NextTry = a.State != notice.Failed, a.NextTry
	return nil
}

// Attempts are those recorded of a message, in their order.
func (m *Memory) Attempts(id string) []notice.Attempt {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.entries[id]; k != nil {
		return slices.Clone(k.attempts)
	}
	return nil
}

// Open counts the messages that are neither sent nor given up.
func (m *Memory) Open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, k := range m.entries {
		if !k.closed {
			n++
		}
	}
	return n
}
