package credreport

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// maxName is the longest user name that IAM has. New ones end at 64, its own calls accept 128.
const maxName = 128

// nameList holds the names of one chunk until the end of the file, when duplicates are looked for. Each name
// is stored without what it shares with the one before. The names themselves are kept, not hashes alone,
// so that no accident of a hash can refuse a good file.
//
// Root is stored as the empty name, which sorts before all users, as AWS lists it.
type nameList struct {
	packed    []byte // a name: bytes shared with the one before, bytes of its own, these bytes
	count     int
	unsorted  bool   // not strictly ascending without regard to case
	last      string // name
	firstLine int    // of the chunk
	lines     []int  // of each name; nil while name n stands on line firstLine+n
}

// reset empties the list for a chunk that begins on line.
func (l *nameList) reset(line int) {
	*l = nameList{packed: l.packed[:0], firstLine: line}
}

// clone is the list in memory of its own.
func (l *nameList) clone() nameList {
	c := *l
	c.packed = slices.Clone(l.packed)
	c.last = strings.Clone(l.last)
	return c
}

// add appends a name of at most maxName bytes, of which the first ones are those of the name before.
func (l *nameList) add(name string, shared, line int) {
	if name == fact.RootName {
		name, shared = "", 0
	}
	if l.count > 0 && !l.unsorted && !foldedLess(l.last[shared:], name[shared:]) {
		l.unsorted = true
	}
	l.packed = append(l.packed, byte(shared), byte(len(name)-shared))
	l.packed = append(l.packed, name[shared:]...)
	if l.lines != nil || line != l.firstLine+l.count {
		for n := len(l.lines); n < l.count; n++ {
			l.lines = append(l.lines, l.firstLine+n)
		}
		l.lines = append(l.lines, line)
	}
	l.count++
	l.last = name
}

// shared is how many first bytes a and b have in common.
func shared(a, b string) int {
	n := 0
	for n+8 <= len(a) && n+8 <= len(b) {
		if diff := word64(a[n:]) ^ word64(b[n:]); diff != 0 {
			return n + bits.TrailingZeros64(diff)/8
		}
		n += 8
	}
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// foldedLess tells whether a sorts before b without regard to case.
func foldedLess(a, b string) bool {
	for i := 0; i < len(a) && i < len(b); i++ {
		if x, y := fold(a[i]), fold(b[i]); x != y {
			return x < y
		}
	}
	return len(a) < len(b)
}

// each calls f with every name, in the order of the file. The name is valid until f returns.
func (l *nameList) each(f func(n int, name []byte)) {
	var name [maxName]byte
	rest := l.packed
	for n := range l.count {
		shared, own := int(rest[0]), int(rest[1])
		copy(name[shared:], rest[2:2+own])
		rest = rest[2+own:]
		f(n, name[:shared+own])
	}
}

func (l *nameList) line(n int) int {
	if l.lines != nil {
		return l.lines[n]
	}
	return l.firstLine + n
}

// duplicate is a user that has a second row.
type duplicate struct {
	name, firstName string // as each row spells it; empty for root
	line, firstLine int
}

func (d *duplicate) error(file string, columns []column) *Error {
	e := &Error{File: file, Line: d.line, Text: d.name,
		Problem: fmt.Sprintf("the user is listed twice, first on line %d", d.firstLine)}
	if columns[0].kind == kindUser {
		e.Column = 1
	}
	if d.name == "" {
		e.Text = fact.RootName
	}
	if d.name != d.firstName {
		e.Hint = "names of IAM users are unique without regard to case"
	}
	return e
}

// findDuplicate returns the first row whose user was listed before, nil if there is none. A sorted report
// has none by its order alone; in any other, names are compared where their hashes agree.
func findDuplicate(lists []nameList) *duplicate {
	if sorted(lists) {
		return nil
	}
	seed := maphash.MakeSeed()
	hash := func(name []byte) uint64 {
		var folded [maxName]byte
		for i, c := range name {
			folded[i] = fold(c)
		}
		return maphash.Bytes(seed, folded[:len(name)])
	}
	suspects := repeated(lists, hash)
	if len(suspects) == 0 {
		return nil
	}
	type place struct {
		name string
		line int
	}
	var found *duplicate
	first := map[string]place{} // by folded name
	for i := range lists {
		l := &lists[i]
		l.each(func(n int, name []byte) {
			if found != nil || !suspects[hash(name)] {
				return
			}
			key := strings.ToLower(string(name))
			if f, ok := first[key]; ok {
				found = &duplicate{name: string(name), firstName: f.name, line: l.line(n), firstLine: f.line}
				return
			}
			first[key] = place{string(name), l.line(n)}
		})
	}
	return found
}

// sorted tells whether the names of all lists ascend strictly, without regard to case.
func sorted(lists []nameList) bool {
	last, any := "", false
	for i := range lists {
		l := &lists[i]
		if l.count == 0 {
			continue
		}
		first := string(l.packed[2 : 2+int(l.packed[1])])
		if l.unsorted || any && !foldedLess(last, first) {
			return false
		}
		last, any = l.last, true
	}
	return true
}

// repeated is the set of hashes that more than one name has.
func repeated(lists []nameList, hash func([]byte) uint64) map[uint64]bool {
	count := 0
	for i := range lists {
		count += lists[i].count
	}
	hashes := make([]uint64, 0, count)
	for i := range lists {
		lists[i].each(func(_ int, name []byte) { hashes = append(hashes, hash(name)) })
	}
	slices.Sort(hashes)
	set := map[uint64]bool{}
	for i := 1; i < len(hashes); i++ {
		if hashes[i] == hashes[i-1] {
			set[hashes[i]] = true
		}
	}
	return set
}
