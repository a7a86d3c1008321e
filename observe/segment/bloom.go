package segment

import (
	"encoding/binary"
	"hash/crc32"
)

// The words of a segment's blocks lie in one matrix of Bloom filters: a row for each value of a hash, a line of 512 bits in it for
// each block. All bits of a word lie in one line (a blocked Bloom filter: Putze, Sanders, Singler, "Cache-, Hash- and
// Space-Efficient Bloom Filters", 2007), so which blocks may have a word is known from one row: one read of 64 bytes for
// each block, whatever the segment's size.
const (
	lineBytes   = 64
	bitsPerWord = 12 // about 1 % false positives with wordBits
	wordBits    = 6
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bloomRows is how many rows a matrix needs whose fullest block has words different words.
func bloomRows(words int) int { return max(1, (words*bitsPerWord+lineBytes*8-1)/(lineBytes*8)) }

func rowBytes(blocks int) int { return blocks*lineBytes + 4 }

// bloomRow is the row of a word.
func bloomRow(hash uint64, rows int) int { return int(hash >> 32 * uint64(rows) >> 32) }

// bloomMatrix returns the matrix of blocks, of each of which the hashes of the words are given. Each row ends with its checksum.
func bloomMatrix(blocks [][]uint64, rows int) []byte {
	width := rowBytes(len(blocks))
	m := make([]byte, rows*width)
	for b, words := range blocks {
		for _, h := range words {
			line := m[bloomRow(h, rows)*width+b*lineBytes:][:lineBytes]
			for bits := bloomBits(h); bits != 0; bits >>= 9 {
				line[bits>>3&63] |= 1 << (bits & 7)
			}
		}
	}
	for r := range rows {
		row := m[r*width:][:width]
		binary.LittleEndian.PutUint32(row[width-4:], crc32.Checksum(row[:width-4], castagnoli))
	}
	return m
}

// bloomBits are the wordBits bits of a word in its line, 9 bits for each, with a bit above them that ends the loops over them.
func bloomBits(hash uint64) uint64 {
	return hash*0x9e3779b97f4a7c15>>(64-9*wordBits) | 1<<(9*wordBits-1)
}

// bloomHas reports whether a block may have a word. row is whole, with its checksum verified.
func bloomHas(row []byte, block int, hash uint64) bool {
	line := row[block*lineBytes:][:lineBytes]
	for bits := bloomBits(hash); bits != 0; bits >>= 9 {
		if line[bits>>3&63]>>(bits&7)&1 == 0 {
			return false
		}
	}
	return true
}

func rowIntact(row []byte) bool {
	n := len(row) - 4
	return binary.LittleEndian.Uint32(row[n:]) == crc32.Checksum(row[:n], castagnoli)
}

// wordSet gathers the hashes of a block's words. Its memory is used again.
type wordSet struct {
	table []uint64 // open addressing; 0 is free
	n     int
}

// addText adds the words of a text.
func (s *wordSet) addText(text string) {
	for i := 0; i < len(text); {
		if wordByte[text[i]] == 0 {
			i++
			continue
		}
		begin := i
		h := uint64(hashOffset)
		for i < len(text) {
			c := wordByte[text[i]]
			if c == 0 {
				break
			}
			h = (h ^ uint64(c)) * hashPrime
			i++
		}
		s.add(mixed(h))
		if escapedAt(text, begin) && i > begin+1 {
			s.add(hashWord(text[begin+1 : i]))
		}
	}
}

func (s *wordSet) add(h uint64) {
	if 2*s.n >= len(s.table) {
		s.grow()
	}
	mask := uint64(len(s.table) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		switch s.table[i] {
		case h:
			return
		case 0:
			s.table[i] = h
			s.n++
			return
		}
	}
}

func (s *wordSet) grow() {
	old := s.table
	s.table, s.n = make([]uint64, max(1024, 2*len(old))), 0
	for _, h := range old {
		if h != 0 {
			s.add(h)
		}
	}
}

// take returns the hashes and empties the set.
func (s *wordSet) take() []uint64 {
	all := make([]uint64, 0, s.n)
	for _, h := range s.table {
		if h != 0 {
			all = append(all, h)
		}
	}
	clear(s.table)
	s.n = 0
	return all
}
