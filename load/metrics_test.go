package load

import (
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// gathered returns the value of each series without labels, and those with by their first label's value.
func gathered(t *testing.T, m *Metrics) map[string]*dto.Metric {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(m); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.Metric{}
	for _, f := range families {
		for _, x := range f.GetMetric() {
			key := f.GetName()
			for _, l := range x.GetLabel() {
				key += " " + l.GetValue()
			}
			out[key] = x
		}
	}
	return out
}

func TestMetricsOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Metrics{}
		if got := gathered(t, m); len(got) != 0 {
			t.Errorf("before any run: %v", got)
		}
		w := getWorkload()
		w.Rate, w.Warmup = 100, topology.Duration(2*time.Second)
		looks := 0
		res := simulated(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(20 * time.Millisecond)
			if r.URL.Path != "/" {
				w.WriteHeader(http.StatusNotFound)
			}
		}, w, func(c *Config) {
			c.Metrics = m
			c.Workload.Scenarios["s"].Steps = append(c.Workload.Scenarios["s"].Steps, &topology.Step{Path: "/none"})
			c.Progress = func(p Progress) {
				looks++
				got := gathered(t, m)
				if x := got["banyan_load_sent_total"].GetCounter().GetValue(); int64(x) < p.TotalSent {
					t.Errorf("%s: %g sent, want %d", p.Elapsed, x, p.TotalSent)
				}
				h := got["banyan_load_latency_seconds GET /"].GetHistogram()
				if measured := p.Elapsed >= 3*time.Second; (h.GetSampleCount() > 0) != measured {
					t.Errorf("%s: %d latencies", p.Elapsed, h.GetSampleCount())
				}
			}
		})
		if looks < 10 {
			t.Errorf("%d looks", looks)
		}
		got := gathered(t, m)
		if n := got["banyan_load_requests_total GET /"].GetCounter().GetValue(); int64(n) != res.Steps[0].Requests {
			t.Errorf("%g requests, want %d", n, res.Steps[0].Requests)
		}
		if n := got["banyan_load_errors_total unexpected status GET /none"].GetCounter().GetValue(); int64(n) != res.Steps[1].Failed() || n == 0 {
			t.Errorf("%g errors, want %d", n, res.Steps[1].Failed())
		}
		h := got["banyan_load_latency_seconds GET /"].GetHistogram()
		for _, b := range h.GetBucket() {
			want := uint64(0)
			if b.GetUpperBound() > 0.021 {
				want = h.GetSampleCount()
			}
			if b.GetCumulativeCount() != want {
				t.Errorf("%d at or below %gs, want %d", b.GetCumulativeCount(), b.GetUpperBound(), want)
			}
		}
		if int64(h.GetSampleCount()) != res.Steps[0].Requests {
			t.Errorf("%d latencies", h.GetSampleCount())
		}
	})
}

func TestBucketCounts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	h := stats.NewHistogram(3)
	var all []float64
	for range 5000 {
		v := int64(rng.ExpFloat64() * 1e8)
		h.Record(v)
		all = append(all, float64(v)/1e9)
	}
	b := bucketCounts{within: make([]int64, len(latencyBounds))}
	b.add(h)
	for i, bound := range latencyBounds {
		least, most := int64(0), int64(0) // a bucket of the histogram is a thousandth wide
		for _, v := range all {
			if v <= bound*0.999 {
				least++
			}
			if v <= bound {
				most++
			}
		}
		if b.within[i] < least || b.within[i] > most {
			t.Errorf("at or below %g: %d, want %d to %d", bound, b.within[i], least, most)
		}
	}
}
