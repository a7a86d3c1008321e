package simulate

import (
	"hash/fnv"
	"math/rand/v2"
)

// stream is one source of randomness. Each source of arrivals and each station has its own, seeded from the run's seed
// and its name alone: two systems that differ in one place draw the same numbers everywhere else (common random
// numbers), which is what makes the difference between them, and not chance, show in a comparison.
type stream struct {
	pcg rand.PCG
	*rand.Rand
}

// newStream returns the stream of the given name in a replication of a seed.
func newStream(seed uint64, replication int, name string) *stream {
	h := fnv.New64a()
	h.Write([]byte(name))
	s := &stream{}
	s.pcg.Seed(mix64(seed+0x9e3779b97f4a7c15*uint64(replication+1)), mix64(h.Sum64()^seed))
	s.Rand = rand.New(&s.pcg)
	return s
}

// mix64 spreads neighbouring seeds over all 64 bits (finaliser of SplitMix64: Steele, Lea and Flood 2014).
func mix64(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// uniform returns a number in [0, 1).
func (s *stream) uniform() float64 { return float64(s.pcg.Uint64()>>11) * 0x1p-53 }
