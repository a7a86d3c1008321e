package promtest

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// maker gives the values of one series; ok is false where there is none.
type maker struct {
	labels labels.Labels
	next   func(i int) (v float64, ok bool)
}

// WriteBlocks writes the series of the corpus as blocks into each of the directories.
func WriteBlocks(ctx context.Context, dirs ...string) error {
	for _, dir := range dirs {
		if err := writeBlocks(ctx, dir); err != nil {
			return fmt.Errorf("writing blocks into %s: %w", dir, err)
		}
	}
	return nil
}

func writeBlocks(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	const blockRange = 2 * time.Hour
	makers := makers()
	for begin := Start; begin.Before(Start.Add(Span)); begin = begin.Add(blockRange) {
		w, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), dir, blockRange.Milliseconds())
		if err != nil {
			return err
		}
		app := w.Appender(ctx)
		for _, m := range makers {
			if err := m.append(app, begin, blockRange); err != nil {
				return err
			}
		}
		if err := app.Commit(); err != nil {
			return err
		}
		if _, err := w.Flush(ctx); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (m maker) append(app storage.Appender, begin time.Time, length time.Duration) error {
	var ref storage.SeriesRef
	for t := begin.Add(phase); t.Before(begin.Add(length)); t = t.Add(every) {
		v, ok := m.next(int(t.Sub(Start) / every))
		if !ok {
			continue
		}
		var err error
		if ref, err = app.Append(ref, m.labels, t.UnixMilli(), v); err != nil {
			return err
		}
	}
	return nil
}

// makers of the series: counters that start anew, gauges, series with gaps and marks of staleness, odd values, a histogram.
// The same values come out each time.
func makers() (all []maker) {
	rnd := rand.New(rand.NewPCG(1, 2))
	add := func(next func(int) (float64, bool), pairs ...string) {
		all = append(all, maker{labels.FromStrings(pairs...), next})
	}
	counter := func(rate float64, reset int) func(int) (float64, bool) {
		local := rand.New(rand.NewPCG(rnd.Uint64(), 3))
		total := 0.0
		return func(i int) (float64, bool) {
			if reset > 0 && i%reset == reset-1 {
				total = 0
			}
			total += math.Floor(local.ExpFloat64() * rate)
			return total, true
		}
	}
	for _, job := range []string{"web", "api"} {
		for instance := range 2 {
			for _, path := range []string{"/a", "/b"} {
				for i, code := range []string{"200", "404", "500"} {
					add(counter(100/float64(1+i*20), 200*instance), "__name__", "requests_total", "job", job, "instance", fmt.Sprint("i", instance), "path", path, "code", code)
				}
			}
		}
	}
	gauge := func(mean, swing float64) func(int) (float64, bool) {
		local := rand.New(rand.NewPCG(rnd.Uint64(), 4))
		return func(i int) (float64, bool) {
			return mean + swing*math.Sin(float64(i)/40) + local.NormFloat64()*swing/10, true
		}
	}
	for i := range 4 {
		room := fmt.Sprint("r", i)
		add(gauge(20+float64(i)/2, 1.5), "__name__", "temperature", "room", room, "job", "house", "instance", "i0")
		add(func(int) (float64, bool) { return 20.5, true }, "__name__", "temperature_limit", "room", room)
	}
	sparse := gauge(5, 2)
	add(func(i int) (float64, bool) { v, _ := sparse(i); return v, i%37 < 20 }, "__name__", "sparse", "gap", "yes", "room", "r1")
	add(func(i int) (float64, bool) {
		switch v, _ := sparse(i); {
		case i%60 == 45:
			return math.Float64frombits(value.StaleNaN), true
		default:
			return v, i%60 < 45
		}
	}, "__name__", "sparse", "gap", "stale", "room", "r2")
	for kind, v := range map[string]float64{"nan": math.NaN(), "inf": math.Inf(1), "minus": math.Inf(-1), "zero": 0, "tiny": 5e-324, "huge": 1e300, "negative": -2.5} {
		add(func(int) (float64, bool) { return v, true }, "__name__", "special", "kind", kind)
	}
	for _, path := range []string{"/a", "/b"} {
		buckets := map[string]func(int) (float64, bool){}
		for _, le := range []string{"0.1", "0.5", "1.0", "5.0", "+Inf"} {
			buckets[le] = counter(20, 0)
		}
		below := map[int]float64{}
		for _, le := range []string{"0.1", "0.5", "1.0", "5.0", "+Inf"} {
			add(func(i int) (float64, bool) { v, _ := buckets[le](i); below[i] += v; return below[i], true },
				"__name__", "latency_seconds_bucket", "path", path, "le", le)
		}
		add(func(i int) (float64, bool) { return below[i], true }, "__name__", "latency_seconds_count", "path", path)
		add(func(i int) (float64, bool) { return below[i] / 3, true }, "__name__", "latency_seconds_sum", "path", path)
	}
	return all
}

// Dirs makes two directories below one, for blocks.
func Dirs(root string) (ours, theirs string) {
	return filepath.Join(root, "ours"), filepath.Join(root, "theirs")
}
