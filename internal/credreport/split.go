package credreport

import "strings"

// field is one value of a row, without its quotes.
type field struct {
	at   int // offset in the chunk, of the quote if there is one
	text string
}

// split reads the row at offset i of s by RFC 4180 and appends its fields. It returns the offset of the
// next row. Fields without a doubled quote are views of s.
func split(s string, i int, fields []field) ([]field, int, *fault) {
	for {
		var f field
		var flt *fault
		if f, i, flt = splitField(s, i); flt != nil {
			return fields, i, flt
		}
		fields = append(fields, f)
		if i < len(s) && s[i] == ',' {
			i++
			continue
		}
		return fields, skipLineEnd(s, i), nil
	}
}

// splitField reads the field at i and returns the offset of what ends it: a comma, a line end or the end.
func splitField(s string, i int) (field, int, *fault) {
	if i < len(s) && s[i] == '"' {
		return splitQuoted(s, i)
	}
	end := i
	for end < len(s) && s[end] != ',' && s[end] != '\n' {
		end++
	}
	if end > i && s[end-1] == '\r' && atLineEnd(s, end-1) {
		end--
	}
	text := s[i:end]
	if q := strings.IndexByte(text, '"'); q >= 0 {
		return field{}, i, &fault{at: i + q, text: text, problem: "a quote stands inside a value that is not in quotes",
			hint: `put the value in quotes and double the quote: "a""b"`}
	}
	return field{at: i, text: text}, end, nil
}

func splitQuoted(s string, start int) (field, int, *fault) {
	i, doubled := start+1, false
	for {
		n := strings.IndexByte(s[i:], '"')
		if n < 0 {
			return field{}, i, &fault{at: start, text: s[start:], problem: "a quote is opened here and never closed", hint: hintCut}
		}
		i += n + 1
		if i < len(s) && s[i] == '"' {
			doubled = true
			i++
			continue
		}
		if i < len(s) && s[i] != ',' && !atLineEnd(s, i) {
			return field{}, i, &fault{at: i - 1, text: s[start : i+1], problem: "a closing quote is followed by neither comma nor line end",
				hint: `double a quote inside a value: "a""b"`}
		}
		text := s[start+1 : i-1]
		if doubled {
			text = strings.ReplaceAll(text, `""`, `"`)
		}
		return field{at: start, text: text}, i, nil
	}
}

// atLineEnd tells whether a line ends at i: by LF, by CR LF, or by a CR that is the last byte.
func atLineEnd(s string, i int) bool {
	return s[i] == '\n' || s[i] == '\r' && (i+1 == len(s) || s[i+1] == '\n')
}

// skipLineEnd is the offset after the line end at i.
func skipLineEnd(s string, i int) int {
	if i < len(s) && s[i] == '\r' {
		i++
	}
	if i < len(s) && s[i] == '\n' {
		i++
	}
	return i
}

func tooLong(s string, start int) *fault {
	return &fault{at: start, text: s[start:], problem: "the row is longer than 1 MiB"}
}
