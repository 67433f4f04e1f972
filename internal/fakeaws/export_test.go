package fakeaws

// KeepLazy has fewer users of lazy accounts kept, so that a test forgets them sooner.
func (c *Cloud) KeepLazy(users int) { c.lazy.most = users }
