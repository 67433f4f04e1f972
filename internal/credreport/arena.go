package credreport

import (
	"sync/atomic"
	"unsafe"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// arena is the memory of one batch: the text of its chunk, and the users and keys made from it, whose
// strings are views of the text. What is not given back by Batch.Release is left to the garbage collector.
type arena struct {
	text  []byte // not written while a string views it
	users []fact.User
	keys  []fact.Key
	lent  atomic.Int64 // Seq of the batch that has it, or notLent
}

const notLent = -1

// view is the first n bytes of the text as a string, without a copy: so a row costs no allocation.
func (a *arena) view(n int) string {
	return unsafe.String(unsafe.SliceData(a.text), n) //nolint:gosec // G103: nobody writes before Release
}

// expect makes room for at most rows users.
func (a *arena) expect(rows int) {
	if cap(a.users) < rows {
		rows += rows / 8
		a.users = make([]fact.User, 0, rows)
	}
	// The average user has less than 1.5 keys; where that is short, room makes more.
	if want := rows + rows/2 + slots; cap(a.keys) < want {
		a.keys = make([]fact.Key, 0, want)
	}
}

// empty takes users and keys out. They and the text are overwritten by the next chunk.
func (a *arena) empty() { a.users, a.keys = a.users[:0], a.keys[:0] }

// slots is how many keys a row can hold.
const slots = 2

// room makes sure that a user's keys fit and returns where they begin. Full keys are left to the users
// that point to them.
func (a *arena) room() int {
	if cap(a.keys)-len(a.keys) < slots {
		a.keys = make([]fact.Key, 0, cap(a.users)/2+slots)
	}
	return len(a.keys)
}

// user adds a user. Used memory still holds the one of an earlier batch.
func (a *arena) user() *fact.User {
	a.users = a.users[:len(a.users)+1]
	return &a.users[len(a.users)-1]
}

// key adds a key, for which room was made. Used memory still holds the one of an earlier batch.
func (a *arena) key() *fact.Key {
	a.keys = a.keys[:len(a.keys)+1]
	return &a.keys[len(a.keys)-1]
}
