package topology

import "strings"

// nearest returns the candidate that name was probably meant to be, empty where none is near: at most one edit for
// each three letters, and two at least for names of four letters and more.
func nearest[S ~[]string](name string, candidates S) string {
	if name == "" || len(name) > 64 {
		return ""
	}
	most := max(len(name)/3, 1)
	if len(name) >= 4 {
		most = max(most, 2)
	}
	best, bestCost := "", most+1
	for _, c := range candidates {
		if c == "" || len(c) > 80 || len(c)-len(name) > most || len(name)-len(c) > most {
			continue
		}
		cost := editDistance(strings.ToLower(name), strings.ToLower(c))
		if cost < bestCost || (cost == bestCost && c < best) {
			best, bestCost = c, cost
		}
	}
	if bestCost >= len(name) {
		return "" // nothing of the name is left
	}
	return best
}

// editDistance counts the letters to insert, delete, replace or swap with their neighbour to turn a into b: the
// Damerau-Levenshtein distance in its restricted form (optimal string alignment).
func editDistance(a, b string) int {
	before := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	next := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
