package main

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode"
)

// Bounds on what one search may cost.
const (
	maxQuery      = 120 // bytes
	maxQueryWords = 8
	maxExpansions = 64 // words that a prefix may stand for
)

// How much a word counts by where it stands.
const (
	inName        = 8
	inCategory    = 4
	inMaker       = 3
	inDescription = 1
)

// A prefix match counts for this much of a match of the whole word.
const prefixShare = 0.5

// index is an inverted index: for each word, the products that it stands in.
// It does not change once it is built, so any number of goroutines may search.
type index struct {
	words    []string // sorted
	postings [][]posting
	idf      []float64
	products int
}

type posting struct {
	doc    int32 // position in the slice of products
	weight float32
}

func newIndex(products []Product) *index {
	weights := map[string]map[int32]float32{}
	for i, p := range products {
		add := func(text string, weight float32) {
			for _, w := range tokenize(text) {
				if weights[w] == nil {
					weights[w] = map[int32]float32{}
				}
				// Where it stands matters, not how often.
				weights[w][int32(i)] = max(weights[w][int32(i)], weight)
			}
		}
		add(p.Name, inName)
		add(p.Category, inCategory)
		add(p.Maker, inMaker)
		add(p.Description, inDescription)
	}
	x := &index{products: len(products)}
	for w := range weights {
		x.words = append(x.words, w)
	}
	slices.Sort(x.words)
	for _, w := range x.words {
		list := make([]posting, 0, len(weights[w]))
		for doc, weight := range weights[w] {
			list = append(list, posting{doc, weight})
		}
		slices.SortFunc(list, func(a, b posting) int { return cmp.Compare(a.doc, b.doc) })
		x.postings = append(x.postings, list)
		// The probabilistic idf with the +1 that keeps it positive (Robertson
		// and Zaragoza, "The Probabilistic Relevance Framework", 2009).
		n := float64(len(list))
		x.idf = append(x.idf, math.Log(1+(float64(len(products))-n+0.5)/(n+0.5)))
	}
	return x
}

// search returns positions of products, best first, and how many matched in
// all. A product must match every word of the query; the last one may be the
// beginning of a word, as someone may be still typing. If nothing matches all
// of them, those that match the most do. keep may rule products out.
func (x *index) search(query string, limit int, keep func(doc int) bool) (best []int, total int) {
	tokens := tokenize(query)
	tokens = tokens[:min(len(tokens), maxQueryWords)]
	if len(tokens) == 0 {
		return nil, 0
	}
	score := make([]float64, x.products)
	matched := make([]int8, x.products)
	most := int8(0)
	for i, token := range tokens {
		here := x.match(token, i == len(tokens)-1)
		for doc, s := range here {
			if s > 0 && keep(doc) {
				score[doc] += s
				matched[doc]++
				most = max(most, matched[doc])
			}
		}
	}
	for doc, n := range matched {
		if n == most && n > 0 {
			best = append(best, doc)
		}
	}
	slices.SortFunc(best, func(a, b int) int {
		return cmp.Or(cmp.Compare(score[b], score[a]), cmp.Compare(a, b))
	})
	return best[:min(limit, len(best))], len(best)
}

// match scores every product for one word of the query.
func (x *index) match(token string, prefix bool) []float64 {
	score := make([]float64, x.products)
	at, exact := slices.BinarySearch(x.words, token)
	if exact {
		for _, p := range x.postings[at] {
			score[p.doc] = x.idf[at] * float64(p.weight)
		}
		at++
	}
	if !prefix || len(token) < 2 {
		return score
	}
	for end := min(len(x.words), at+maxExpansions); at < end && strings.HasPrefix(x.words[at], token); at++ {
		for _, p := range x.postings[at] {
			score[p.doc] = max(score[p.doc], prefixShare*x.idf[at]*float64(p.weight))
		}
	}
	return score
}

// tokenize splits text into words: lower case, letters and digits only, the
// plural s taken off, accents folded for the few that the names have.
func tokenize(text string) []string {
	text = folding.Replace(strings.ToLower(text))
	tokens := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for i, t := range tokens {
		if len(t) > 3 && strings.HasSuffix(t, "s") && !strings.HasSuffix(t, "ss") {
			tokens[i] = t[:len(t)-1]
		}
	}
	return slices.DeleteFunc(tokens, func(t string) bool { return t == "" })
}

var folding = strings.NewReplacer("å", "a", "ä", "a", "ö", "o", "ü", "u", "é", "e", "è", "e", "'", "", "’", "")
