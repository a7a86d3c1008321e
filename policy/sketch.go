package policy

// FrequencySketch tells about how often each of many keys was asked for lately: a count-min sketch of four-bit counters
// whose counts are halved from time to time. The four counters of a key share a cache line. The zero value is empty and
// has no room: see Grow.
type FrequencySketch struct {
	lines []sketchLine
	log2  int
	added int
}

type sketchLine [8]uint64 // of 16 counters each

const (
	keysPerLine  = 4
	agesAfter    = 40 // additions for each key
	maxFrequency = 15
)

// Grow makes room for n keys, and keeps what is known.
func (s *FrequencySketch) Grow(n int) {
	for n > len(s.lines)*keysPerLine {
		if len(s.lines) == 0 {
			s.lines = make([]sketchLine, 1)
			continue
		}
		s.lines = append(s.lines, s.lines...) // a key's line is told by its low bits: the same in both halves
		s.log2++
	}
}

// Bytes is what the sketch takes.
func (s *FrequencySketch) Bytes() int64 { return int64(cap(s.lines)) * 64 }

// place returns a key's line, and bits that say which counters of it are the key's: in two words each, seven bits.
func (s *FrequencySketch) place(hash uint32) (*sketchLine, uint64) {
	h := uint64(hash) * 0x9e3779b97f4a7c15
	return &s.lines[hash&(1<<s.log2-1)], h >> 32
}

// Add counts that a key was asked for. Of its counters only the lowest go up, for the others count more than this key
// already (C. Estan and G. Varghese, conservative update, 2002).
func (s *FrequencySketch) Add(hash uint32) {
	line, h := s.place(hash)
	var counts [4]uint64
	least := uint64(maxFrequency)
	for row := range counts {
		at := h >> (8 * row)
		counts[row] = line[2*row+int(at&1)] >> (at >> 1 & 15 * 4) & 15
		least = min(least, counts[row])
	}
	if least == maxFrequency {
		return
	}
	for row, count := range counts {
		if count == least {
			at := h >> (8 * row)
			line[2*row+int(at&1)] += 1 << (at >> 1 & 15 * 4)
		}
	}
	if s.added++; s.added >= agesAfter*keysPerLine*len(s.lines) {
		s.age()
	}
}

// Estimate is about how often a key was asked for: rather too often than too seldom.
func (s *FrequencySketch) Estimate(hash uint32) int {
	line, h := s.place(hash)
	least := uint64(maxFrequency)
	for row := range 4 {
		at := h >> (8 * row)
		least = min(least, line[2*row+int(at&1)]>>(at>>1&15*4)&15)
	}
	return int(least)
}

// age halves all counts.
func (s *FrequencySketch) age() {
	for i := range s.lines {
		for k, w := range s.lines[i] {
			s.lines[i][k] = w >> 1 & 0x7777777777777777
		}
	}
	s.added /= 2
}
