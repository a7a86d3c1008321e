package traffic

import (
	"slices"
	"time"

	"github.com/banyanhq/banyan/autoscale/replay"
)

const quarter = 15 * time.Second

// processes that the generated traces are drawn from: an hour in steps of 15 s, a day of minutes, a week of minutes,
// three weeks in steps of 5 minutes and six weeks of hours.
func processes() []process {
	out := []process{
		{name: "hour, Poisson of 20/s", step: quarter, steps: 240, mean: 300, course: level},
		{name: "hour, Poisson of 2/s", step: quarter, steps: 240, mean: 30, course: level},
		{name: "hour, white noise", step: quarter, steps: 240, mean: 1000, course: level, cv: 0.2},
		{name: "hour, slow noise", step: quarter, steps: 240, mean: 1000, course: level, cv: 0.3, memory: 40},
		{name: "hour, slow and Poisson", step: quarter, steps: 240, mean: 60, course: level, cv: 0.25, memory: 60},
		{name: "hour, rising", step: quarter, steps: 240, mean: 100, course: ramp(1, 4), cv: 0.1},
		{name: "hour, falling", step: quarter, steps: 240, mean: 100, course: ramp(4, 1), cv: 0.1},
		{name: "hour, wave", step: quarter, steps: 240, mean: 200, course: wave(200, 0.6), cv: 0.1},
		{name: "hour, levels", step: quarter, steps: 240, mean: 200, course: levels(60), cv: 0.05},
		{name: "hour, bursts", step: quarter, steps: 240, mean: 300, course: bursts(50, 3, 10), cv: 0.1},
		{name: "day, Poisson of 5/s", step: time.Minute, steps: 1440, mean: 300, course: level},
		{name: "day, white noise", step: time.Minute, steps: 1440, mean: 5000, course: level, cv: 0.15},
		{name: "day, slow noise", step: time.Minute, steps: 1440, mean: 5000, course: level, cv: 0.4, memory: 120},
		{name: "day, wave", step: time.Minute, steps: 1440, mean: 1000, course: wave(1440, 0.7), cv: 0.05},
		{name: "day, levels", step: time.Minute, steps: 1440, mean: 1000, course: levels(120), cv: 0.05},
		{name: "day, bursts", step: time.Minute, steps: 1440, mean: 1000, course: bursts(120, 3, 10), cv: 0.1},
	}
	for _, noise := range []struct {
		name       string
		cv, memory float64
	}{{"quiet", 0.02, 0}, {"noisy", 0.1, 0}, {"restless", 0.15, 30}} {
		out = append(out,
			process{name: "week of minutes, " + noise.name, diurnal: true, step: time.Minute, steps: 10080, mean: 2000, course: days(1440, 0.6, 0.7), cv: noise.cv, memory: noise.memory},
			process{name: "weeks of 5 min, " + noise.name, diurnal: true, step: 5 * time.Minute, steps: 6048, mean: 5000, course: days(288, 0.7, 0.6), cv: noise.cv, memory: noise.memory / 5},
			process{name: "weeks of hours, " + noise.name, diurnal: true, step: time.Hour, steps: 1008, mean: 50000, course: days(24, 0.6, 0.7), cv: noise.cv / 2, memory: noise.memory / 10})
	}
	return append(out,
		process{name: "week of minutes, bursts", diurnal: true, step: time.Minute, steps: 10080, mean: 2000, course: times(days(1440, 0.6, 0.8), bursts(700, 2.5, 15)), cv: 0.05},
		process{name: "week of minutes, levels", diurnal: true, step: time.Minute, steps: 10080, mean: 2000, course: times(days(1440, 0.5, 1), levels(2000)), cv: 0.05},
		process{name: "week of minutes, growing", diurnal: true, step: time.Minute, steps: 10080, mean: 1000, course: times(days(1440, 0.6, 0.8), ramp(1, 3)), cv: 0.05},
		process{name: "week of minutes, few", diurnal: true, step: time.Minute, steps: 10080, mean: 60, course: days(1440, 0.8, 0.8)},
		process{name: "week of minutes, wandering", step: time.Minute, steps: 10080, mean: 2000, course: level, cv: 0.5, memory: 300},
	)
}

// Generated traces, so many of each process.
func Generated(seeds int) []Trace {
	var out []Trace
	for _, p := range processes() {
		for seed := range seeds {
			out = append(out, p.draw(uint64(seed+1)))
		}
	}
	return out
}

// Parts of a recorded trace: its halves, the whole backwards in time, and short pieces of 240 steps.
func Parts(t Trace) []Trace {
	n := len(t.Rates)
	piece := func(name string, from, to int) Trace {
		return Trace{Name: t.Name + ", " + name, Diurnal: t.Diurnal && time.Duration(to-from)*t.Step >= 96*time.Hour,
			Trace: replay.Trace{Step: t.Step, Rates: slices.Clone(t.Rates[from:to])}}
	}
	back := piece("backwards", 0, n)
	slices.Reverse(back.Rates)
	out := []Trace{back}
	if n >= 480 {
		out = append(out, piece("first half", 0, n/2), piece("second half", n/2, n))
		for i, at := range []int{n / 5, n / 2, min(4*n/5, n-240)} {
			out = append(out, piece([]string{"piece 1", "piece 2", "piece 3"}[i], at, at+240))
		}
	}
	return out
}
