package replay

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"testing"
	"time"

	"github.com/banyanhq/banyan/forecast"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

func load(t testing.TB, name string) []float64 {
	file, err := os.Open(filepath.Join(os.Getenv("TRACES"), name+".csv.gz"))
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	z, _ := gzip.NewReader(file)
	r := csv.NewReader(z)
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var v []float64
	for _, r := range rows[1:] {
		x, _ := strconv.ParseFloat(r[1], 64)
		v = append(v, x)
	}
	return v
}

type hpa struct{ s *policy.Scaler }

func (h hpa) Observe(float64) {}
func (h hpa) Decide(now time.Duration, u policy.Usage) int {
	n, _ := h.s.Decide(now, u)
	return n
}

type kpa struct{ s *policy.KnativeScaler }

func (h kpa) Observe(float64) {}
func (h kpa) Decide(now time.Duration, u policy.Usage) int {
	n, _ := h.s.Decide(now, u)
	return n
}

type aws struct{ s *policy.TrackingScaler }

func (h aws) Observe(float64) {}
func (h aws) Decide(now time.Duration, u policy.Usage) int {
	n, _ := h.s.Decide(now, u)
	return n
}

type cell struct {
	until                     bool
	h                         int
	mean, q80, q95, q99, q999 float64
}

type pred struct {
	rows  [][]cell
	i     int
	upper func(c cell) float64
	s     *policy.PredictiveScaler
	o     policy.Outlook
}

func (h *pred) Observe(r float64) {
	h.o = policy.Outlook{}
	for _, c := range h.rows[h.i] {
		v := h.upper(c)
		if c.until {
			h.o.Until = math.Max(h.o.Until, v)
		}
		h.o.Beyond = math.Max(h.o.Beyond, v)
	}
	h.i++
}
func (h *pred) Decide(now time.Duration, u policy.Usage) int {
	n, _ := h.s.Decide(now, u, h.o)
	return n
}

var traces = []struct {
	name string
	step time.Duration
}{
	{"ms_mongodb_app1_rps_1m", time.Minute},
	{"ms_ingress1_1m", time.Minute},
	{"worldcup98_until_jun15_1m", time.Minute},
	{"ms_mongodb_app3_rps_1m", time.Minute},
	{"nasa_http_jul1995_1m", time.Minute},
	{"twitter_stream_aug2021_first11d_1m", time.Minute},
	{"nab_tweets_amzn_5m", 5 * time.Minute},
	{"wikipedia_first31d_1h", time.Hour},
	{"azure_llm_conv_2023_1s", time.Second},
	{"autothrottle_diurnal_1s", time.Second},
	{"autothrottle_noisy_1s", time.Second},
}

type point struct{ knob, ok, cost, changes float64 }

// at the given share of good steps, the cost interpolated on the lower envelope of the swept curve
func at(points []point, slo float64) float64 {
	sort.Slice(points, func(i, j int) bool { return points[i].cost < points[j].cost })
	best := -1.0
	var prev point
	for i, p := range points {
		if p.ok >= slo {
			if i == 0 || prev.ok >= p.ok {
				return p.cost
			}
			w := (slo - prev.ok) / (p.ok - prev.ok)
			return prev.cost + w*(p.cost-prev.cost)
		}
		if i == 0 || p.ok > prev.ok {
			prev = p
		}
	}
	return best
}

func TestSweep(t *testing.T) {
	for _, tr := range traces {
		v := load(t, tr.name)
		trace := Trace{Step: tr.step, Rates: v}
		if tr.step == time.Second {
			// 15 s means
			var w []float64
			for i := 0; i+15 <= len(v); i += 15 {
				s := 0.0
				for _, x := range v[i : i+15] {
					s += x
				}
				w = append(w, s/15)
			}
			trace = Trace{Step: 15 * time.Second, Rates: w}
		}
		sorted := append([]float64{}, v...)
		sort.Float64s(sorted)
		cap := sorted[len(sorted)*999/1000] / 50
		need := func(rate float64) int { return int(math.Ceil(rate/cap - 1e-9)) }
		plant := Plant{Need: need, StartUp: 180 * time.Second, Tick: 15 * time.Second, Min: 1, Max: 1000, WarmUp: min(2*1440, len(trace.Rates)/5)}
		run := func(mk func(knob float64) Policy, knobs []float64) (float64, []point) {
			var pts []point
			for _, k := range knobs {
				o := Run(trace, plant, mk(k))
				pts = append(pts, point{k, 1 - float64(o.Violated)/float64(o.Steps), o.ReplicaHours / o.Oracle, float64(o.Changes)})
			}
			return at(append([]point{}, pts...), 0.995), pts
		}
		var us []float64
		for u := 0.2; u < 1; u += 0.025 {
			us = append(us, u)
		}
		h, _ := run(func(u float64) Policy {
			return hpa{policy.NewScaler(topology.Scale{CoolDown: topology.Duration(5 * time.Minute), Target: topology.ScaleTarget{Requests: topology.Rate(u * cap)}}, 1, 1000)}
		}, us)
		k, _ := run(func(u float64) Policy {
			return kpa{policy.NewKnativeScaler(policy.KnativeConfig{Target: cap, Utilization: u, Min: 1, Max: 1000})}
		}, us)
		a, _ := run(func(u float64) Policy {
			return aws{policy.NewTrackingScaler(policy.TrackingConfig{Target: u * cap, Min: 1, Max: 1000})}
		}, us)
		steps := int(math.Ceil(float64(plant.StartUp) / float64(trace.Step)))
		var until, beyond []int
		for i := 1; i <= steps+1; i++ {
			until = append(until, i)
		}
		for i := steps + 1; i <= max(steps+1, int(5*time.Minute/trace.Step)); i++ {
			beyond = append(beyond, i)
		}
		if len(until) > 8 {
			until = []int{1, 2, 4, 6, 8, 10, 12, steps + 1}
			beyond = []int{16, 20}
		}
		f, err := forecast.New(forecast.Config{Step: trace.Step, Horizons: append(append([]int{}, until...), beyond...)})
		if err != nil {
			t.Fatal(err)
		}
		rows := make([][]cell, len(trace.Rates))
		for i, r := range trace.Rates {
			f.Observe(r)
			for j, k := range append(append([]int{}, until...), beyond...) {
				x, _ := f.At(k)
				c := cell{until: j < len(until), h: k, mean: x.Mean}
				c.q80, _ = f.Quantile(k, 0.8)
				c.q95, _ = f.Quantile(k, 0.95)
				c.q99, _ = f.Quantile(k, 0.99)
				c.q999, _ = f.Quantile(k, 0.999)
				rows[i] = append(rows[i], c)
			}
		}
		line := fmt.Sprintf("%-26.26s hpa %.3f kpa %.3f aws %.3f ", tr.name, h, k, a)
		ms := []float64{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 2, 2.3, 2.6, 3, 3.5, 4, 5, 6, 8, 10}
		for _, fam := range families {
			p, pts := run(func(q float64) Policy {
				return &pred{rows: rows, upper: func(c cell) float64 { return fam.f(c, q) }, s: policy.NewPredictiveScaler(policy.PredictiveConfig{CoolDown: fam.cool, Need: need, Min: 1, Max: 1000})}
			}, ms)
			line += fmt.Sprintf(" %s %.3f", fam.name, p/h)
			if os.Getenv("V") != "" {
				for _, x := range pts {
					fmt.Printf("   %s p %.3f ok %.2f%% cost %.3f changes %.0f\n", fam.name, x.knob, 100*x.ok, x.cost, x.changes)
				}
			}
		}
		fmt.Println(line)
	}
}

type family struct {
	name string
	cool time.Duration
	f    func(c cell, m float64) float64
}

var families = func() (out []family) {
	for _, w := range []float64{0.3, 0.5} {
		for _, c := range []time.Duration{3, 4, 5} {
			out = append(out, family{fmt.Sprintf("w%.1fc%d", w, c), c * time.Minute, func(c cell, m float64) float64 { return (c.mean + w*(c.q80-c.mean)) * (1 + m/2) }})
		}
	}
	for _, c := range []time.Duration{3, 5} {
		out = append(out, family{fmt.Sprintf("w.3+.1mc%d", c), c * time.Minute, func(c cell, m float64) float64 { return (c.mean + (0.3+0.1*m)*(c.q80-c.mean)) * (1 + m/2.5) }})
	}
	return out
}()
