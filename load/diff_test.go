package load

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// queued is the result of a minute at a single exponential server, by Lindley's recursion: waits hang together. A share
// of the requests fails.
func queued(seed uint64, rate, service, failing float64) *Result {
	rng := rand.New(rand.NewPCG(seed, 99))
	wait := 0.0
	return sampled(rng, 60, rate, failing, func(gap float64) float64 {
		wait = max(0, wait-gap) + rng.ExpFloat64()/service
		return wait
	})
}

// sampled is the result of a run of length seconds in which requests come as a Poisson process and take what latency says,
// from the gap before them.
func sampled(rng *rand.Rand, length, rate, failing float64, latency func(gap float64) float64) *Result {
	whole := seconds(length)
	r := &Result{Version: resultVersion, Workload: &topology.Workload{}, Duration: whole, Planned: whole, Schedule: "Poisson"}
	r.Timeline.Width = time.Second
	s := newStep("GET /")
	now, good := 0.0, 0
	for {
		gap := rng.ExpFloat64() / rate
		if now += gap; now >= length {
			break
		}
		d, at := seconds(latency(gap)), seconds(now)
		s.Requests++
		s.Latency.RecordDuration(d)
		s.Service.RecordDuration(d)
		r.Timeline.latency(at, d)
		if rng.Float64() < failing {
			s.Errors[BadStatus]++
			r.Timeline.at(at).Errors++
		} else {
			good++
			r.Timeline.at(at).Completed++
		}
	}
	s.Rate = float64(good) / length
	total := newStep("total")
	total.merge(&s)
	other := newStep("POST /")
	other.merge(&s)
	r.Steps, r.Total = []*Step{&s, &other}, &total
	return r
}

func verdicts(t *testing.T, d *Diff, step string) map[string]Change {
	t.Helper()
	out := map[string]Change{}
	for _, s := range d.Steps {
		if s.Name == step {
			for _, f := range s.Figures {
				out[f.Name] = f.Verdict
			}
		}
	}
	if len(out) != len(figureNames) {
		t.Fatalf("step %s: %v", step, out)
	}
	return out
}

func compared(t *testing.T, a, b *Result) *Diff {
	t.Helper()
	d, err := Compare(a, b, DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCompareRaisesNoFalseAlarm(t *testing.T) {
	heavy(t)
	// Near saturation the waits of a second say little about those of the next minute: a comparison that took the requests
	// for independent would call nearly every pair different.
	alarms, naive := 0, 0
	const pairs = 60
	worse := func(a, b *Result) bool {
		d, err := Compare(a, b, DiffOptions{resamples: 50}) // they know the error to a tenth, and take an eighth of the time
		if err != nil {
			t.Fatal(err)
		}
		return d.Worse
	}
	for i := range uint64(pairs) {
		a, b := queued(2*i, 150, 200, 0.01), queued(2*i+1, 150, 200, 0.01)
		if worse(a, b) {
			alarms++
		}
		a.Timeline.Points, b.Timeline.Points = nil, nil // without the timeline nothing is known of how they hang together
		if worse(a, b) {
			naive++
		}
	}
	t.Logf("%d false alarms in %d pairs; without the timeline %d", alarms, pairs, naive)
	if alarms > 5 {
		t.Errorf("%d false alarms in %d pairs of equal runs", alarms, pairs)
	}
	if naive <= 2*alarms {
		t.Errorf("the timeline changes nothing: %d and %d", alarms, naive)
	}
}

func TestCompareFindsWhatChanged(t *testing.T) {
	heavy(t)
	base := queued(1, 100, 200, 0)
	d := compared(t, base, queued(2, 100, 140, 0))
	for _, step := range []string{"GET /", "POST /", "total"} {
		v := verdicts(t, d, step)
		if v["mean"] != Worse || v["p50"] != Worse || v["p99"] != Worse || v["errors"] != Same || v["rate"] == Worse || !d.Worse {
			t.Errorf("a slower server, %s: %v", step, v)
		}
	}
	back := compared(t, queued(2, 100, 140, 0), base)
	if v := verdicts(t, back, "total"); v["mean"] != Better || v["p99"] != Better || back.Worse {
		t.Errorf("a faster server: %v", v)
	}
	if v := verdicts(t, compared(t, base, queued(3, 100, 200, 0.02)), "total"); v["errors"] != Worse || v["mean"] == Worse {
		t.Errorf("more errors: %v", v)
	}
	if v := verdicts(t, compared(t, base, queued(3, 60, 200, 0)), "total"); v["rate"] != Worse {
		t.Errorf("a lower rate: %v", v)
	}
	if d := compared(t, base, base); d.Worse {
		t.Errorf("a run is worse than itself: %+v", d)
	}
	again := compared(t, base, queued(2, 100, 140, 0))
	x, _ := json.Marshal(d)
	if y, _ := json.Marshal(again); string(x) != string(y) {
		t.Error("the same records give another verdict")
	}
	var text strings.Builder
	if err := d.WriteText(&text); err != nil || !strings.Contains(text.String(), "WORSE") || !strings.Contains(text.String(), "p99") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

func TestCompareEdges(t *testing.T) {
	heavy(t)
	base := queued(1, 100, 200, 0)
	drowned := queued(2, 100, 200, 0)
	for _, s := range append(drowned.Steps, drowned.Total) {
		s.NotSent = s.Requests
	}
	if v := verdicts(t, compared(t, base, drowned), "total"); v["p99"] != Worse || v["errors"] != Worse || v["mean"] != Worse {
		t.Errorf("half never sent: %v", v)
	}
	down := queued(2, 100, 200, 1)
	for _, s := range append(down.Steps, down.Total) {
		s.Latency = stats.NewHistogram(3)
	}
	for i := range down.Timeline.Points {
		down.Timeline.Points[i].Latency = nil
	}
	d := compared(t, base, down)
	if v := verdicts(t, d, "total"); v["rate"] != Worse || v["errors"] != Worse || v["p99"] != Unclear {
		t.Errorf("a target that is down: %v", v)
	}
	if _, err := json.Marshal(d); err != nil {
		t.Error(err)
	}
	renamed := queued(2, 100, 200, 0)
	renamed.Steps[0].Name = "GET /new"
	if d := compared(t, base, renamed); len(d.Warnings) < 2 {
		t.Errorf("warnings %q", d.Warnings)
	}
	for _, bad := range []DiffOptions{{Tolerance: -1}, {Confidence: 1}, {ErrorTolerance: 2}} {
		if _, err := Compare(base, base, bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	if _, err := Compare(base, nil, DiffOptions{}); err == nil {
		t.Error("no result was accepted")
	}
	if _, err := Compare(base, &Result{Version: resultVersion}, DiffOptions{}); err == nil {
		t.Error("an empty result was accepted")
	}
}

// How often a comparison is right, by simulated pairs of runs: of equal runs nearly none is called another, and a server that
// is a tenth slower is found as often as the page says. docs/load.md has the table that -v prints.
func TestCompareKeepsItsWord(t *testing.T) {
	t.Parallel()
	heavy(t)
	const pairs = 60
	lognormal := func(rng *rand.Rand, scale float64) func(float64) float64 {
		return func(float64) float64 { return scale * 0.02 * math.Exp(0.6*rng.NormFloat64()) }
	}
	queue := func(rng *rand.Rand, scale float64) func(float64) float64 {
		wait := 0.0
		return func(gap float64) float64 {
			wait = max(0, wait-gap) + scale*rng.ExpFloat64()/200
			return wait
		}
	}
	for _, x := range []struct {
		name         string
		latency      func(rng *rand.Rand, scale float64) func(float64) float64
		length, rate float64
		scale        float64 // of the slower server's latency
		least        int     // of the pairs in which the slower one must be found, by its mean
		most         int     // of those that may be called another, where both are equal
	}{
		{"independent, 30 s at 50/s", lognormal, 30, 50, 1.1, 0, 6},
		{"independent, 60 s at 200/s", lognormal, 60, 200, 1.1, 57, 6},
		{"a queue at half load, 60 s at 100/s", queue, 60, 100, 1.1, 20, 6},
		{"a queue at half load, 240 s at 100/s", queue, 240, 100, 1.1, 57, 6},
	} {
		counts := map[string]int{}
		for i := range uint64(pairs) {
			run := func(seed uint64, scale float64) *Result {
				rng := rand.New(rand.NewPCG(seed, 7))
				return sampled(rng, x.length, x.rate, 0, x.latency(rng, scale))
			}
			old := run(3*i, 1)
			for kind, fresh := range map[string]*Result{"equal": run(3*i+1, 1), "slower": run(3*i+2, x.scale)} {
				d, err := Compare(old, fresh, DiffOptions{resamples: 50})
				if err != nil {
					t.Fatal(err)
				}
				another := false
				for _, f := range d.Steps[len(d.Steps)-1].Figures {
					another = another || f.Verdict == Worse || f.Verdict == Better
					if f.Name == "mean" {
						counts[kind+" mean "+string(f.Verdict)]++
					}
				}
				if another {
					counts[kind+" another"]++
				}
			}
		}
		t.Logf("%s, of %d pairs: equal runs called another %d, mean called the same %d; slower found by its mean %d, by any figure %d",
			x.name, pairs, counts["equal another"], counts["equal mean same"], counts["slower mean worse"], counts["slower another"])
		if counts["equal another"] > x.most {
			t.Errorf("%s: %d of %d equal pairs are called another", x.name, counts["equal another"], pairs)
		}
		if counts["slower mean worse"] < x.least {
			t.Errorf("%s: a tenth slower is found in %d of %d pairs, want %d", x.name, counts["slower mean worse"], pairs, x.least)
		}
	}
}
