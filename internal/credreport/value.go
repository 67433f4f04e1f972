package credreport

import (
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// word is which kind of answer a time column gave. N/A, no_information and not_supported are three
// answers and stay apart until the column that they stand in gives them a meaning.
type word uint8

const (
	wordNone          word = iota // the column is missing
	wordDate                      // sec and nsec hold it
	wordNA                        // N/A
	wordNoInformation             // no_information
	wordNotSupported              // not_supported
)

const (
	textNA            = "N/A"
	textNoInformation = "no_information"
	textNotSupported  = "not_supported"
)

// wordOf is the word that text is, wordNone if it is none.
func wordOf(text string) word {
	switch text {
	case textNA:
		return wordNA
	case textNoInformation:
		return wordNoInformation
	case textNotSupported:
		return wordNotSupported
	default:
		return wordNone
	}
}

// stamp is the value of a time column.
type stamp struct {
	sec  int64
	nsec int32
	word word
}

// past is the date, or unknown for any word.
func (s stamp) past() fact.Time {
	if s.word != wordDate {
		return fact.Time{}
	}
	return fact.AtUnix(s.sec, s.nsec)
}

// keyUse reads a last use of a key: N/A says never, the other words say nothing.
func (s stamp) keyUse() fact.Time {
	if s.word == wordNA {
		return fact.Never()
	}
	return s.past()
}

// passwordUse reads a last use of a password: no_information says never. N/A says that there is no
// password now, which leaves open what was used before.
func (s stamp) passwordUse() fact.Time {
	if s.word == wordNoInformation {
		return fact.Never()
	}
	return s.past()
}

// later is the later date of a and b; a word is earlier than any date.
func later(a, b stamp) stamp {
	switch {
	case b.word != wordDate:
		return a
	case a.word != wordDate, b.sec > a.sec, b.sec == a.sec && b.nsec > a.nsec:
		return b
	default:
		return a
	}
}

// parseStamp reads any text of a time column. RFC 3339 is read strictly: any offset and fraction, but no
// leap second, as package time has none. A date before 1970 is taken for a zero value that somebody
// printed, not for a date.
func parseStamp(text string) (stamp, bool) {
	if w := wordOf(text); w != wordNone {
		return stamp{word: w}, true
	}
	if sec, n := quickDate(text); n > 0 && n == len(text) {
		return stamp{sec: sec, word: wordDate}, true
	}
	var t time.Time
	if err := t.UnmarshalText([]byte(text)); err != nil || t.Unix() < 0 {
		return stamp{}, false
	}
	return stamp{sec: t.Unix(), nsec: int32(t.Nanosecond()), word: wordDate}, true
}

// flag is the value of a boolean column. The zero value: the column is missing or the text is one of the
// three words.
type flag = fact.Answer

// parseFlag reads any text of a boolean column.
func parseFlag(text string) (flag, bool) {
	switch {
	case strings.EqualFold(text, "true"):
		return fact.Yes, true
	case strings.EqualFold(text, "false"):
		return fact.No, true
	default:
		return fact.Unknown, wordOf(text) != wordNone
	}
}

// The classes of bytes, for names, paths and texts.
const (
	inName  = 1 << iota // letters, digits and + = , . @ _ -
	inPath              // printable ASCII but the space, as in ARNs
	inPlain             // inName but the comma, which needs quotes in a CSV
	inQuick             // inPath but comma and quote
	inSlash             // the slash of N/A
)

// classes holds the classes of every byte. It is written here and nowhere else.
var classes = func() (table [256]uint8) {
	for c := '!'; c <= '~'; c++ {
		table[c] |= inPath
		if c != ',' && c != '"' {
			table[c] |= inQuick
		}
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if letter || c >= '0' && c <= '9' || strings.ContainsRune("+=,.@_-", c) {
			table[c] |= inName
			if c != ',' {
				table[c] |= inPlain
			}
		}
	}
	table['/'] |= inSlash
	return table
}()

// only tells whether all bytes of text are of class.
func only(text string, class uint8) bool {
	for i := range len(text) {
		if classes[text[i]]&class == 0 {
			return false
		}
	}
	return true
}

// fold maps upper-case ASCII letters to lower case. User names have no others.
func fold(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
