package yamlfile

import (
	"slices"
	"strings"
)

// Nearest lists up to three of names that resemble word, the closest first.
func Nearest(word string, names []string) []string {
	type candidate struct {
		name string
		far  int
	}
	word = strings.ToLower(word)
	var found []candidate
	for _, name := range names {
		low := strings.ToLower(name)
		far := distance(word, low)
		if len(word) > 2 && (strings.HasPrefix(low, word) || strings.HasPrefix(word, low)) {
			far = min(far, 1)
		}
		if far <= 1+min(len(word), len(low))/4 {
			found = append(found, candidate{name, far})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.far - b.far })
	var out []string
	for _, c := range found[:min(len(found), 3)] {
		out = append(out, c.name)
	}
	return out
}

// DidYouMean is a hint with the names Nearest to word; where none resembles it, it lists them all.
func DidYouMean(word string, names []string) string {
	if near := Nearest(word, names); len(near) > 0 {
		return "did you mean " + OrList(near) + "?"
	}
	return "one of " + strings.Join(names, ", ")
}

// OrList joins names as in: a, b or c.
func OrList(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// distance is the number of single-byte edits between a and b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
