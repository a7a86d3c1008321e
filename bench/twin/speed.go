package main

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// A virtual machine whose host runs another on the other half of its cores becomes slower, and seldom says so. So the machine is
// timed beside the measurements: a piece of work that is always the same, on all cores at once.
const (
	speedPieces = 60
	speedSize   = 1 << 15 // words that a piece walks: 256 KiB, about a second-level cache
	speedSteps  = 400_000 // about a millisecond
)

// pace is how long the piece takes where nothing breaks in on it: a quarter of the pieces are faster. The system that is measured
// goes on with what it does by itself.
func pace() time.Duration {
	var mu sync.Mutex
	var all []time.Duration
	var working sync.WaitGroup
	for range runtime.NumCPU() {
		working.Go(func() {
			words := make([]uint64, speedSize)
			took := make([]time.Duration, speedPieces)
			for i := range took {
				began := time.Now()
				walk(words)
				took[i] = time.Since(began)
			}
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
		})
	}
	working.Wait()
	slices.Sort(all)
	return all[len(all)/4]
}

// walk steps through the words in an order that nothing foresees.
func walk(words []uint64) {
	x := uint64(88172645463325252)
	for range speedSteps {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		words[x%speedSize] += x
	}
}

// slower is by how much of its best pace the machine is slower now.
func (b *bench) slower() float64 {
	now := pace()
	if b.best == 0 || now < b.best {
		b.best = now
	}
	return float64(now-b.best) / float64(b.best)
}
