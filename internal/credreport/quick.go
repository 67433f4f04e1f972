package credreport

import (
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// quick reads the row at i in one pass, if its columns stand as AWS writes them, its values have the shapes
// that AWS writes, and it has no quote. It returns the offset of the next row, 0 when the row needs care.
// It errs to one side only: what it accepts, careful accepts too and reads the same.
//
// Each step reads one value and the comma after it and returns the offset that follows, 0 to give up.
func (p *parser) quick(i int, c *cells) int {
	s := p.text
	if i = p.quickUser(s, i, c); i == 0 {
		return 0
	}
	if i = p.quickARN(s, i, c); i == 0 {
		return 0
	}
	if i = p.quickTime(s, i, &c.times[timeCreated]); i == 0 {
		return 0
	}
	if i = p.quickPassword(s, i, c); i == 0 {
		return 0
	}
	if i = p.quickKey(s, i, c, 0); i == 0 {
		return 0
	}
	if i = p.quickKey(s, i, c, 1); i == 0 {
		return 0
	}
	if i = p.quickEnd(s, i); i == 0 {
		return 0
	}
	p.add(c, c.path)
	p.plain = c.user
	return i
}

// quickUser does not look again at what the name shares with the one before, which is most of it in a sorted
// report.
func (p *parser) quickUser(s string, i int, c *cells) int {
	start := i
	c.shared = shared(s[i:min(i+maxName, len(s))], p.plain)
	i += c.shared
	for i < len(s) && classes[s[i]]&inPlain != 0 {
		i++
	}
	if i == start || i-start > maxName || i == len(s) || s[i] != ',' {
		return 0
	}
	c.user = s[start:i]
	return i + 1
}

// quickARN checks what path does not: that no quote stands in the path. Most users have the path "/", or that of the
// user before.
func (p *parser) quickARN(s string, i int, c *cells) int {
	head := i + len(p.home.prefix)
	if len(s) < head || s[i:head] != p.home.prefix {
		return 0
	}
	for _, path := range [...]string{rootPath, p.path} {
		if end := arnEnd(s, head, path, c.user); end > 0 {
			c.arn, c.path = s[i:end], path
			return end + 1
		}
	}
	size := strings.IndexByte(s[head:], ',')
	if size < len(c.user) {
		return 0
	}
	end := head + size
	c.arn = s[i:end]
	if strings.IndexByte(s[head:end-len(c.user)], '"') >= 0 {
		return 0
	}
	var problem string
	if c.path, problem = p.home.path(c); problem != "" || c.path == "" {
		return 0
	}
	p.path = c.path
	return end + 1
}

// rootPath is the path of a user that has no other.
const rootPath = "/"

// arnEnd is where the ARN of a user with that path and name ends, whose kind begins at head; 0 if it is of another.
func arnEnd(s string, head int, path, name string) int {
	const kind = "user"
	start := head + len(kind) + len(path)
	end := start + len(name)
	if len(s) <= end || s[end] != ',' || s[head:head+len(kind)] != kind || s[head+len(kind):start] != path || s[start:end] != name {
		return 0
	}
	return end
}

func (p *parser) quickPassword(s string, i int, c *cells) int {
	const none = "false,N/A,N/A,N/A,false,"
	if len(s) >= i+len(none) && same24(s[i:], none) {
		c.flags[flagPassword], c.flags[flagMFA] = fact.No, fact.No
		c.times[timePasswordUsed] = stamp{word: wordNA}
		return i + len(none)
	}
	var changed, next stamp
	if i = quickFlag(s, i, &c.flags[flagPassword]); i == 0 {
		return 0
	}
	if i = p.quickTime(s, i, &c.times[timePasswordUsed]); i == 0 {
		return 0
	}
	if i = p.quickTime(s, i, &changed); i == 0 {
		return 0
	}
	if i = quickStamp(s, i, &next); i == 0 {
		return 0
	}
	return quickFlag(s, i, &c.flags[flagMFA])
}

// quickKey reads the five columns of a key slot, 0 or 1.
func (p *parser) quickKey(s string, i int, c *cells, slot int) int {
	const none = "false,N/A,N/A,N/A,N/A,"
	if len(s) >= i+len(none) && same22(s[i:], none) {
		c.flags[flagActive1+slot] = fact.No
		c.times[timeRotated1+2*slot], c.times[timeUsed1+2*slot] = stamp{word: wordNA}, stamp{word: wordNA}
		return i + len(none)
	}
	if i = quickFlag(s, i, &c.flags[flagActive1+slot]); i == 0 {
		return 0
	}
	if i = p.quickTime(s, i, &c.times[timeRotated1+2*slot]); i == 0 {
		return 0
	}
	if i = p.quickTime(s, i, &c.times[timeUsed1+2*slot]); i == 0 {
		return 0
	}
	if i = quickText(s, i, &c.texts[textRegion1+2*slot]); i == 0 {
		return 0
	}
	return quickText(s, i, &c.texts[textService1+2*slot])
}

// quickEnd reads the columns of a user without a signing certificate, those after them, and the line end.
func (p *parser) quickEnd(s string, i int) int {
	const none = "false,N/A,false,N/A"
	if len(s) < i+len(none) || s[i:i+len(none)] != none {
		return 0
	}
	i += len(none)
	for range p.extra {
		if i == len(s) || s[i] != ',' {
			return 0
		}
		for i++; i < len(s) && classes[s[i]]&inQuick != 0; i++ {
		}
	}
	switch {
	case i == len(s):
		return i
	case s[i] == '\n':
		return i + 1
	case s[i] == '\r' && len(s) > i+1 && s[i+1] == '\n':
		return i + 2
	default:
		return 0
	}
}

// quickTime reads a date that has passed, or a word.
func (p *parser) quickTime(s string, i int, st *stamp) int {
	next := quickStamp(s, i, st)
	if next > 0 && st.sec >= p.newest.sec {
		p.newest = later(p.newest, *st)
	}
	return next
}

func quickStamp(s string, i int, st *stamp) int {
	if len(s) < i+21 {
		return 0
	}
	if s[i] > '9' {
		return quickWord(s, i, st)
	}
	sec, size := quickDate(s[i:])
	st.sec, st.nsec, st.word = sec, 0, wordDate
	if i += size; size == 0 || i == len(s) || s[i] != ',' {
		return 0
	}
	return i + 1
}

func quickWord(s string, i int, st *stamp) int {
	const na = textNA + ","
	if len(s) >= i+len(na) && s[i:i+len(na)] == na {
		*st = stamp{word: wordNA}
		return i + len(na)
	}
	size := strings.IndexByte(s[i:], ',')
	if size < 0 {
		return 0
	}
	*st = stamp{word: wordOf(s[i : i+size])}
	if st.word == wordNone {
		return 0
	}
	return i + size + 1
}

// quickFlag reads true or false in lower case.
func quickFlag(s string, i int, f *flag) int {
	const yes, no = "true,", "false,"
	switch {
	case len(s) < i+len(no):
		return 0
	case s[i:i+len(yes)] == yes:
		*f = fact.Yes
		return i + len(yes)
	case s[i:i+len(no)] == no:
		*f = fact.No
		return i + len(no)
	default:
		return 0
	}
}

// quickText reads a region or a service.
func quickText(s string, i int, text *string) int {
	start := i
	for i < len(s) && classes[s[i]]&inPlain != 0 {
		i++
	}
	if i == len(s) || s[i] != ',' || i == start || wordOf(s[start:i]) != wordNone {
		return quickNone(s, start, text)
	}
	*text = s[start:i]
	return i + 1
}

// quickNone reads a word in the place of a region or a service.
func quickNone(s string, i int, text *string) int {
	var st stamp
	*text = ""
	return quickWord(s, i, &st)
}
