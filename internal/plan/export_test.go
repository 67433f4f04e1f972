package plan

// Shorten is shorten, for tests: real ids do not collide.
func Shorten(sums []string) []string { return shorten(sums) }
