package load

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

var samples = flag.Int("samples", 1_000_000, "requests that TestMemoryIsFlat records")

// What a run keeps does not depend on how many requests it sends: half an hour with few and with many takes the same
// memory, and little of it. With -samples 100000000 it is the whole of an hour's half at 55,000/s.
func TestMemoryIsFlat(t *testing.T) {
	heavy(t)
	const length = 30 * time.Minute
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	kept := func(n int) int64 {
		before := heap()
		rec := newRecorder(&plan{names: []string{"GET /"}}, 2, 0, length)
		rng := rand.New(rand.NewPCG(3, 4))
		second := time.Duration(0)
		for i := range n {
			due := time.Duration(float64(i) / float64(n) * float64(length))
			late := time.Duration(rng.Int64N(50_000))
			o := outcome{intended: due, sent: due + late, done: due + late + time.Duration(200_000+800_000*rng.ExpFloat64()), status: 200, bytes: 100}
			rec.record(i&1, &o)
			rec.finish(due, o.done, scenarioWhole)
			for ; second < due; second += time.Second {
				rec.tick(second)
			}
		}
		took := heap() - before
		if got := rec.shards[0].steps[0].Latency.Count() + rec.shards[1].steps[0].Latency.Count(); got != int64(n) {
			t.Fatalf("%d of %d were recorded", got, n)
		}
		return took
	}
	few, many := kept(*samples/4), kept(*samples)
	t.Logf("%d requests: %d bytes; %d requests: %d bytes", *samples/4, few, *samples, many)
	if many > few+few/4 || many > 48<<20 {
		t.Errorf("%d requests take %d bytes, %d take %d", *samples/4, few, *samples, many)
	}
}
