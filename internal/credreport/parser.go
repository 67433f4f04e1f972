package credreport

import (
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// parser turns chunks into users. Each worker has one. Rows of the shapes AWS writes take the quick way;
// any other row, a wrong one among them, is read again the careful way, which knows every lawful shape and
// words every fault. Both fill the same cells and end in place, so they cannot disagree on meaning.
type parser struct {
	columns []column
	inOrder bool // the quick way is open
	extra   int  // columns after the known ones; only with inOrder
	file    string
	fields  []field // scratch of the careful way

	// The rest is of the chunk at hand.
	chunk
	names      nameList
	path       string // one that quickARN has found good
	plain      string // name of the row before, if that took the quick way: it has no comma
	newest     stamp
	row        int // line of the row at hand
	keyCount   int
	activeKeys int
	sawRoot    bool
}

// cells are the values of one row.
type cells struct {
	user, arn string
	path      string // set by the quick way alone
	shared    int    // first bytes that user shares with the name before
	times     [numTimes]stamp
	flags     [numFlags]flag
	texts     [numTexts]string
}

func newParser(columns []column, file string) *parser {
	p := &parser{columns: columns, file: file}
	p.extra, p.inOrder = inOrder(columns)
	return p
}

// parse reads the rows of ck into its arena, and up to the first fault when there is one.
func (p *parser) parse(ck chunk) error {
	p.chunk = ck
	p.arena.expect(ck.lines + 1)
	p.names.reset(ck.line)
	p.plain, p.path = "", rootPath
	p.newest, p.keyCount, p.activeKeys, p.sawRoot = stamp{}, 0, 0, false
	p.row = ck.line
	quick := p.inOrder && !ck.tooLong
	var c cells
	for i := 0; i < len(p.text); {
		if quick {
			if next := p.quick(i, &c); next > 0 {
				p.row++
				i = next
				continue
			}
		}
		p.plain = ""
		next, flt := p.careful(i, &c)
		if flt != nil {
			return ck.error(flt, p.file)
		}
		p.row += strings.Count(p.text[i:next], "\n")
		i = next
	}
	return nil
}

// careful reads the row at i in any lawful shape and returns the offset of the next.
func (p *parser) careful(i int, c *cells) (int, *fault) {
	if next := skipBlankLines(p.text, i); next > i {
		return next, nil
	}
	next, flt := p.fill(i, c)
	if flt == nil {
		if problem := p.place(c); problem != "" {
			flt = &fault{at: p.fieldOf(kindARN).at, text: c.arn, problem: problem}
		}
	}
	p.hintAtEnd(flt, next)
	return next, flt
}

// hintAtEnd gives a fault of the last row, when no newline ends it, the hint that the file may be cut.
func (p *parser) hintAtEnd(flt *fault, next int) {
	switch {
	case flt == nil || flt.hint == hintComma:
	case p.tooLong:
		flt.hint = ""
	case p.last && next == len(p.text) && p.text[next-1] != '\n':
		flt.hint = hintCut
	}
}

// fill splits the row at i and reads its values into c. The offset of the next row is right also when a
// value is wrong.
func (p *parser) fill(i int, c *cells) (int, *fault) {
	var next int
	var flt *fault
	p.fields, next, flt = split(p.text, i, p.fields[:0])
	if flt != nil {
		return next, flt
	}
	if p.tooLong && next == len(p.text) {
		return next, tooLong(p.text, i)
	}
	if flt := p.checkCount(i, next); flt != nil {
		return next, flt
	}
	for n := range p.columns {
		if problem, hint := p.set(c, &p.columns[n], p.fields[n].text); problem != "" {
			f := p.fields[n]
			return next, &fault{at: f.at, text: f.text, problem: p.columns[n].name + problem, hint: hint}
		}
	}
	return next, nil
}

func (p *parser) checkCount(i, next int) *fault {
	got, want := len(p.fields), len(p.columns)
	switch {
	case got < want:
		return &fault{at: i, text: strings.TrimRight(p.text[i:next], "\r\n"),
			problem: fmt.Sprintf("the row ends after %d of %d fields", got, want)}
	case got > want:
		return &fault{at: p.fields[want].at, text: p.fields[want].text,
			problem: fmt.Sprintf("the row has %d fields, the header %d", got, want),
			hint:    hintComma}
	default:
		return nil
	}
}

const (
	hintTime  = "a time is RFC 3339, as in 2026-09-11T13:14:53Z, or N/A"
	hintComma = "a value that holds a comma must be in quotes"
	hintName  = "a user name has 1 to 128 letters, digits and + = , . @ _ -"
)

// set reads text as column col has it. The problem begins after the column's name; "" means none.
func (p *parser) set(c *cells, col *column, text string) (problem, hint string) {
	var ok bool
	if text == "" && col.kind != kindText && col.kind != kindOther {
		return " is empty", ""
	}
	switch col.kind {
	case kindUser:
		c.user, c.shared = text, shared(text, p.names.last)
		if text != fact.RootName && (len(text) > maxName || !only(text, inName)) {
			return " is no name of an IAM user", hintName
		}
	case kindARN:
		c.arn = text
	case kindTime:
		if c.times[col.slot], ok = parseStamp(text); !ok {
			return " is not a time", hintTime
		}
		if !col.future {
			p.newest = later(p.newest, c.times[col.slot])
		}
	case kindFlag:
		var f flag
		if f, ok = parseFlag(text); !ok || col.strict && f == fact.Unknown {
			return " is neither true nor false", ""
		}
		c.flags[col.slot] = f
	case kindText:
		if !only(text, inPath) {
			return " holds a space or a byte that is not printable", ""
		}
		c.texts[col.slot] = plain(text)
	case kindOther:
	}
	return "", ""
}

// plain is the text of a region or service: the words that say there is none are empty texts.
func plain(text string) string {
	if wordOf(text) != wordNone {
		return ""
	}
	return text
}

// fieldOf is the field of the row at hand that is of kind k.
func (p *parser) fieldOf(k kind) field {
	for n := range p.columns {
		if p.columns[n].kind == k {
			return p.fields[n]
		}
	}
	return field{}
}

// place makes a user of the cells. A row whose name and ARN do not fit each other and the account is a
// problem and leaves nothing behind.
func (p *parser) place(c *cells) (problem string) {
	path, problem := p.home.path(c)
	if problem != "" {
		return problem
	}
	p.add(c, path)
	return ""
}

// add makes a user of cells that fit each other. An empty path is root's.
func (p *parser) add(c *cells, path string) {
	p.sawRoot = p.sawRoot || path == ""
	u := p.arena.user()
	// All that a report can say is set; the rest of the memory is zero from the start.
	u.Name, u.ARN, u.Path, u.Root = c.user, c.arn, path, path == ""
	u.Created = c.times[timeCreated].past()
	u.Password, u.MFA = c.flags[flagPassword], c.flags[flagMFA]
	u.PasswordLastUsed = c.times[timePasswordUsed].passwordUse()
	u.KeysRead, u.Keys = true, nil
	start := p.arena.room()
	p.key(1, c.flags[flagActive1], c.times[timeRotated1], c.times[timeUsed1], c.texts[textRegion1], c.texts[textService1])
	p.key(2, c.flags[flagActive2], c.times[timeRotated2], c.times[timeUsed2], c.texts[textRegion2], c.texts[textService2])
	if end := len(p.arena.keys); end > start {
		u.Keys = p.arena.keys[start:end:end]
		p.keyCount += end - start
	}
	p.names.add(c.user, c.shared, p.row)
}

// key adds the key of a slot, if there is one: if it has a date, is said to be active or used without one, or if
// the date is said to exist and be unknown. A contradiction is never dropped; the key's creation is then unknown.
func (p *parser) key(slot int, active flag, rotated, used stamp, region, service string) {
	if rotated.word != wordDate && active != fact.Yes && rotated.word != wordNoInformation && used.word != wordDate {
		return
	}
	k := p.arena.key()
	k.Slot, k.Active, k.Created = slot, active == fact.Yes, rotated.past()
	k.LastUsed.At, k.LastUsed.Region, k.LastUsed.Service = used.keyUse(), region, service
	if k.Active {
		p.activeKeys++
	}
}
