// Package filter remembers keys in few bits, so that what is surely not stored need not be looked for.
package filter

import (
	"bytes"
	"errors"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
)

// Filter is a Bloom filter (Bloom, Space/Time Trade-offs in Hash Coding with Allowable Errors, 1970) of two bytes a key. Of keys that were
// not added it takes one in some hundreds for one that was. It is not safe for use by several goroutines.
type Filter struct {
	words []uint64
	room  int
}

const (
	bitsPerKey = 16
	probes     = 4
)

// New makes a filter for so many keys. It has room for more of them if a power of two is not far.
func New(keys int) *Filter {
	words := 1
	for words*64 < keys*bitsPerKey {
		words *= 2
	}
	return &Filter{words: make([]uint64, words), room: words * 64 / bitsPerKey}
}

// Read makes a filter of what comes after lower in the stored keys from lower up to upper, with room for as many more, and for at least twice
// as many as least.
func Read(r pebble.Reader, lower, upper []byte, least int) (*Filter, error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for it.First(); it.Valid(); it.Next() {
		keys = append(keys, bytes.Clone(it.Key()[len(lower):]))
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, err
	}
	f := New(2 * max(len(keys), least))
	for _, key := range keys {
		f.Add(key)
	}
	return f, nil
}

// Add adds a key. Once the filter is full more can be added, but it tells less and less.
func (f *Filter) Add(key []byte) {
	f.room--
	for at, i := f.first(key); i < probes; at, i = at.next(), i+1 {
		word, bit := f.place(at)
		f.words[word] |= bit
	}
}

// Has says whether a key may have been added. If not, it was not.
func (f *Filter) Has(key []byte) bool {
	for at, i := f.first(key); i < probes; at, i = at.next(), i+1 {
		if word, bit := f.place(at); f.words[word]&bit == 0 {
			return false
		}
	}
	return true
}

// Full says whether as many keys were added as it is for.
func (f *Filter) Full() bool { return f.room <= 0 }

// probe is a place in a filter, and how far the next one is (Kirsch, Mitzenmacher: Less Hashing, Same Performance, 2006).
type probe struct{ at, step uint32 }

func (p probe) next() probe { return probe{p.at + p.step, p.step} }

func (f *Filter) first(key []byte) (probe, int) {
	h := xxhash.Sum64(key)
	return probe{uint32(h), uint32(h>>32) | 1}, 0
}

func (f *Filter) place(p probe) (word int, bit uint64) {
	at := int(p.at) & (len(f.words)*64 - 1)
	return at / 64, 1 << (at % 64)
}
