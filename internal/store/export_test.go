package store

// WithAmid has f called within the transaction of each write, with everything written and nothing committed.
func WithAmid(o Options, f func(what string)) Options {
	o.amid = f
	return o
}
