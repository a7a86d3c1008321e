package queueing

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestGroupCommitAsItGoes holds the formula against a log that is played through.
func TestGroupCommitAsItGoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, rate := range []float64{20, 200, 2000} {
		const force, n = 0.005, 200_000
		want, err := GroupCommit(rate, force)
		if err != nil {
			t.Fatal(err)
		}
		var now, ends, next, sum, square float64
		busy := 0
		for range n {
			now += rng.ExpFloat64() / rate
			if next > 0 && now >= ends {
				ends, next = next, 0
			}
			var wait float64
			if now >= ends {
				ends = now + force*rng.ExpFloat64()
				wait = ends - now
			} else {
				busy++
				if next == 0 {
					next = ends + force*rng.ExpFloat64()
				}
				wait = next - now
			}
			sum += wait
			square += wait * wait
		}
		mean := sum / n
		for _, c := range []struct {
			what      string
			got, want float64
		}{{"mean", want.Mean, mean}, {"variance", want.Variance, square/n - mean*mean}, {"busy", want.Busy, float64(busy) / n}} {
			if math.Abs(c.got/c.want-1) > 0.06 {
				t.Errorf("%v writes/s: %s is %.4g, played %.4g", rate, c.what, c.got, c.want)
			}
		}
	}
}

// TestQuorumAsItGoes draws the majority's times.
func TestQuorumAsItGoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		nodes             int
		trip, force, busy float64
	}{{1, 0.001, 0.002, 0.5}, {2, 0.001, 0.002, 0}, {3, 0.001, 0.002, 0.4}, {5, 0.004, 0.001, 1}, {4, 0, 0.001, 0.3}, {3, 0.002, 0, 0}} {
		q, err := NewQuorum(c.nodes, c.trip, c.force)
		if err != nil {
			t.Fatal(err)
		}
		log := func() float64 {
			w := c.force * rng.ExpFloat64()
			if rng.Float64() < c.busy {
				w += c.force * rng.ExpFloat64()
			}
			return w
		}
		trip := func() float64 {
			return c.trip / 4 * (rng.ExpFloat64() + rng.ExpFloat64() + rng.ExpFloat64() + rng.ExpFloat64())
		}
		majority := func(one func() float64) float64 {
			all := make([]float64, c.nodes-1)
			for i := range all {
				all[i] = one()
			}
			for k := range c.nodes / 2 { // the smallest ones to the front
				for i := k + 1; i < len(all); i++ {
					if all[i] < all[k] {
						all[i], all[k] = all[k], all[i]
					}
				}
			}
			if c.nodes < 2 {
				return 0
			}
			return all[c.nodes/2-1]
		}
		const n = 60_000
		var read, write, square float64
		for range n {
			read += majority(trip)
			w := max(log(), majority(func() float64 { return trip() + log() }))
			write += w
			square += w * w
		}
		gotRead, _ := q.Read()
		gotWrite, gotVariance := q.Write(c.busy)
		for _, f := range []struct {
			what      string
			got, want float64
		}{{"read", gotRead, read / n}, {"write", gotWrite, write / n}, {"variance of a write", gotVariance, square/n - write/n*write/n}} {
			if math.Abs(f.got-f.want) > 0.03*f.want+1e-9 {
				t.Errorf("%+v: %s is %.4g, played %.4g", c, f.what, f.got, f.want)
			}
		}
	}
}

func TestQuorumRefusesWhatIsNone(t *testing.T) {
	if _, err := NewQuorum(0, 1, 1); err == nil {
		t.Error("a quorum of no nodes")
	}
	if _, err := NewQuorum(3, math.NaN(), 1); err == nil {
		t.Error("a round trip that is no number")
	}
	if _, err := GroupCommit(-1, 1); err == nil {
		t.Error("a negative rate")
	}
}
