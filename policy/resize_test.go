package policy

import (
	"math/rand/v2"
	"testing"
	"time"
)

const mib = 1 << 20

func TestMemorySizer(t *testing.T) {
	s := NewMemorySizer(32*mib, 2048*mib)
	limit := int64(256 * mib)
	now := time.Duration(0)
	step := func(used int64, kills uint64) int64 {
		now += 15 * time.Second
		limit = s.Decide(now, used, limit, kills)
		return limit
	}
	for range 100 {
		step(100*mib, 0)
	}
	if limit != 256*mib {
		t.Errorf("within the hour a limit that is too large stays: %d MiB", limit/mib)
	}
	for range 300 {
		step(100*mib, 0)
	}
	if limit < 110*mib || limit > 125*mib {
		t.Errorf("after an hour of 100 MiB used: a limit of %d MiB, want some 15 %% more than used", limit/mib)
	}
	before := limit
	if step(before*95/100, 0); limit < before+100*mib {
		t.Errorf("at 95 %% of %d MiB: a limit of %d MiB, want 100 MiB more at once", before/mib, limit/mib)
	}
	before = limit
	if step(50*mib, 1); limit < before+100*mib {
		t.Errorf("killed at %d MiB: a limit of %d MiB, want 100 MiB more at once", before/mib, limit/mib)
	}
	if step(50*mib, 1); limit != before+100*mib {
		t.Errorf("a kill counts once: %d MiB", limit/mib)
	}
	for range 5000 { // most of a day, in which much is used
		step(900*mib, 1)
	}
	if limit < 900*mib || limit > 1200*mib {
		t.Errorf("with 900 MiB used for long: a limit of %d MiB", limit/mib)
	}
}

func TestMemorySizerStaysWithinItsBounds(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 7))
		least := int64(8+rng.IntN(100)) * mib
		most := least + int64(rng.IntN(1000))*mib
		s := NewMemorySizer(least, most)
		limit := least + (most-least)/2
		for i := range 2000 {
			used := int64(rng.Uint64() >> rng.IntN(64))
			limit = s.Decide(time.Duration(i)*time.Minute, used, limit, rng.Uint64N(3))
			if limit < least || limit > most+mib {
				t.Fatalf("seed %d: %d, outside of %d to %d", seed, limit, least, most)
			}
		}
	}
}

func TestMemorySizerLeavesNoLimitAlone(t *testing.T) {
	if got := NewMemorySizer(mib, 100*mib).Decide(0, 50*mib, 0, 3); got != 0 {
		t.Errorf("a service without a limit got one of %d", got)
	}
}
