package rule

import (
	"strings"
	"unicode/utf8"
)

// glob tells whether pattern covers the whole of s: * stands for any text, also none and also slashes, ? for
// one character, and everything else for itself; nothing escapes and there are no classes. From byte foldFrom of s
// on, ASCII letters match without regard to case; len(s) or more folds nothing.
//
// It remembers only the last star: at most len(pattern) x len(s) steps, whatever the pattern.
func glob(pattern, s string, foldFrom int) bool {
	p, i := 0, 0
	star, resume := -1, 0 // the last * seen, and where in s what follows it is tried next
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			_, width := utf8.DecodeRuneInString(s[i:])
			p, i = p+1, i+width
		case p < len(pattern) && sameByte(pattern[p], s[i], i >= foldFrom):
			p, i = p+1, i+1
		case star >= 0:
			_, width := utf8.DecodeRuneInString(s[resume:])
			resume += width
			p, i = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func sameByte(a, b byte, fold bool) bool {
	return a == b || fold && lower(a) == lower(b)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// matchesUser matches a user's name, or its ARN where the pattern is one. IAM tells user names apart without
// regard to case, so the name, also the one at the end of an ARN, is compared so; paths are not.
func matchesUser(pattern, name, arn string) bool {
	if strings.HasPrefix(pattern, "arn:") {
		return glob(pattern, arn, strings.LastIndexByte(arn, '/')+1)
	}
	return glob(pattern, name, 0)
}

// MatchesUser tells whether a glob, such as those of scopes and exceptions, covers the whole name of a user, or its whole ARN
// where the glob begins with arn:. Names are compared without regard to case.
func MatchesUser(pattern, name, arn string) bool { return matchesUser(pattern, name, arn) }

// matchesTags tells whether every wanted tag is there; a wanted value may be a glob.
func matchesTags(want, have map[string]string) bool {
	for key, pattern := range want {
		value, ok := have[key]
		if !ok || !glob(pattern, value, len(value)) {
			return false
		}
	}
	return true
}
