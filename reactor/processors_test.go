package reactor

import (
	"runtime"
	"testing"
)

// What is claimed is added to the scheduler's processors, is no reason for more loops, and is given back once.
func TestClaim(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	n, release := Claim()
	if n != before || runtime.GOMAXPROCS(0) != 2*before {
		t.Errorf("%d loops on %d of %d processors", n, runtime.GOMAXPROCS(0), before)
	}
	m, releaseOther := Claim()
	if m != before || runtime.GOMAXPROCS(0) != 3*before {
		t.Errorf("the second claim: %d loops on %d of %d processors", m, runtime.GOMAXPROCS(0), before)
	}
	if Processors() != before {
		t.Errorf("%d processors while twice as many are claimed, %d before", Processors(), before)
	}
	release()
	release()
	releaseOther()
	if after := runtime.GOMAXPROCS(0); after != before {
		t.Errorf("%d processors before, %d afterwards", before, after)
	}
}

// Spare processors are no reason for more loops either.
func TestSpare(t *testing.T) {
	before, loops := runtime.GOMAXPROCS(0), Processors()
	release := Spare(2)
	if runtime.GOMAXPROCS(0) != before+2 || Processors() != loops {
		t.Errorf("%d processors and %d loops, %d and %d before", runtime.GOMAXPROCS(0), Processors(), before, loops)
	}
	release()
	release()
	if runtime.GOMAXPROCS(0) != before {
		t.Errorf("%d processors before, %d afterwards", before, runtime.GOMAXPROCS(0))
	}
}
