package store

import "github.com/keyreeve/keyreeve/internal/journal"

// WithAmid has f called within the transaction of each write, with everything written and nothing committed.
func WithAmid(o Options, f func(kind journal.EntryKind)) Options {
	o.amid = f
	return o
}
