package rule

import (
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// longest is the longest threshold: a century. It keeps sums of instants and durations far from overflow.
const longest = 36500 * Day

// ParseDuration reads durations such as 90d, 36h, 1d12h or 60s: whole numbers with the units d (24 hours), h, m
// and s, each at most once, the largest first. It refuses signs, fractions, blanks and more than 36500d.
func ParseDuration(s string) (time.Duration, error) {
	refuse := func() (time.Duration, error) {
		return 0, fmt.Errorf("%q is not a duration such as 90d, 36h, 1d12h or 60s", s)
	}
	units := []struct {
		sign byte
		unit time.Duration
	}{{'d', Day}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}
	if s == "" {
		return refuse()
	}
	var total time.Duration
	rest := s
	for next := 0; rest != ""; {
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end < 1 || end > 10 {
			return refuse()
		}
		n := int64(0)
		for _, c := range rest[:end] {
			n = n*10 + int64(c-'0')
		}
		for next < len(units) && units[next].sign != rest[end] {
			next++
		}
		if next == len(units) {
			return refuse()
		}
		unit := units[next].unit
		next++
		if n > int64(longest/unit) || total+time.Duration(n)*unit > longest {
			return 0, fmt.Errorf("%q is longer than a century", s)
		}
		total += time.Duration(n) * unit
		rest = rest[end+1:]
	}
	return total, nil
}

// duration reads a threshold that is at least least.
func (s *source) duration(n ast.Node, what string, least time.Duration) time.Duration {
	if _, ok := n.(*ast.IntegerNode); ok {
		s.Wrong(n, "write it with its unit, such as 90d", "%s: a number without a unit", what)
		return 0
	}
	text := s.Text(n, what)
	if text == "" {
		return 0
	}
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		s.Wrong(n, "units are d, h, m and s, the largest first", "%s: %v", what, err)
	case d < least:
		s.Wrong(n, "", "%s: %s would fail every key", what, text)
	}
	return d
}
