// Package nearest finds the name a user probably meant.
package nearest

import "fmt"

// Name gives the element of names with the smallest edit distance to got, the first one of equals, or "" where even
// the nearest shares too little with got to be worth suggesting: more than half of the longer name would change.
func Name(got string, names []string) string {
	best, least := "", 0
	for _, name := range names {
		d := distance(got, name)
		if 2*d <= max(len(got), len(name)) && (best == "" || d < least) {
			best, least = name, d
		}
	}
	return best
}

// Hint is the end of an error message, `; did you mean "…"?`, or "" where no name is near.
func Hint(got string, names []string) string {
	if name := Name(got, names); name != "" {
		return fmt.Sprintf("; did you mean %q?", name)
	}
	return ""
}

// distance is the restricted Damerau–Levenshtein distance in bytes: the least number of insertions, deletions,
// substitutions and swaps of neighbours that turn a into b, no byte being edited twice. It costs len(a)·len(b) steps.
func distance(a, b string) int {
	// prev2, prev and row are rows i-2, i-1 and i of the table d[i][j] = distance(a[:i], b[:j]).
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
