package fakeaws

import "github.com/keyreeve/keyreeve/internal/fact"

// lazyUsers are as many users of lazy accounts as are kept at once where nobody says otherwise: some ten megabytes.
const lazyUsers = 20_000

// making is how the users of a lazy account come to be.
type making struct {
	users   func() []User
	there   bool
	changed bool // since they were made: they are never forgotten again
}

// lazy are the lazy accounts whose users are there and can be forgotten, the oldest first.
type lazy struct {
	accounts []*Account
	users    int // of them
	most     int // of users: see KeepLazy
}

// AddLazyAccount adds an account as AddAccount does, whose users are made when somebody asks about it, and
// forgotten when many others were asked about since, unless the account was changed. users must give the same each
// time, with all ids and dates, and must not use the Cloud. The keys of the users can be called with only while
// they are there.
func (c *Cloud) AddLazyAccount(a fact.Account, users func() []User) *Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.addAccount(a)
	out.made = &making{users: users}
	return out
}

// KeepLazy has about that many users of lazy accounts kept at once, at half a kilobyte each; those of one account are
// kept whatever their number. Where more are asked about in turn, they are made over and over.
func (c *Cloud) KeepLazy(users int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lazy.most = users
}

// load makes the users of a lazy account, unless they are there.
func (a *Account) load() {
	if a.made == nil || a.made.there {
		return
	}
	a.made.there = true
	for _, u := range a.made.users() {
		if err := a.addUser(u); err != nil {
			panic("a lazy account names a user twice: " + err.Error())
		}
	}
	l := &a.cloud.lazy
	l.accounts = append(l.accounts, a)
	l.users += len(a.users)
	for l.users > l.most && len(l.accounts) > 1 {
		oldest := l.accounts[0]
		l.accounts = l.accounts[1:]
		if !oldest.made.changed {
			l.users -= len(oldest.users)
			oldest.forget()
		}
	}
}

func (a *Account) forget() {
	for id := range a.keys {
		if a.cloud.owners[id] == a {
			delete(a.cloud.owners, id)
		}
	}
	a.users, a.keys, a.order = nil, nil, nil
	a.made.there = false
}

// touch comes before every change of the users. The report that was promised of a lazy account is written first: it
// tells of the users as they were.
func (a *Account) touch() {
	if a.made == nil || a.made.changed {
		return
	}
	a.made.changed = true
	a.cloud.lazy.users -= len(a.users)
	if a.report.present() && a.report.body == nil {
		a.report.body = a.renderReport()
	}
}
