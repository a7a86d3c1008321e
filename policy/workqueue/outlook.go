package workqueue

import (
	"fmt"
	"math"
	"time"
)

const (
	// trendSamples are kept of a queue, taken trendEvery apart: the outlook looks back over a minute.
	trendSamples = 61
	trendEvery   = time.Second
	// leastTrend is how much must have been seen.
	leastTrend = 10 * time.Second
	// leastSettled messages say how long one takes.
	leastSettled = 10
)

// Trend remembers how a queue was doing in the latest minute. Its zero value has seen nothing.
type Trend struct {
	ring [trendSamples]trendSample
	n    int // samples so far
}

type trendSample struct {
	at       time.Duration
	put, out uint64
	ready    int
	inFlight int
}

// Note takes the state of a queue at an instant. Those that come within a second of the one before are left out.
func (t *Trend) Note(now time.Duration, s Stats) {
	if t.n > 0 && now-t.at(t.n-1).at < trendEvery*9/10 { // a ticker is not exact
		return
	}
	*t.at(t.n) = trendSample{at: now, put: s.Put, out: s.Acked + s.Died + s.Expired, ready: s.Ready, inFlight: s.InFlight}
	t.n++
}

func (t *Trend) at(i int) *trendSample { return &t.ring[i%trendSamples] }

// Outlook says where a queue is going if what comes and what is handled stay as they were in the latest minute.
type Outlook struct {
	// Arriving and Settled messages a second. Settled ones were acknowledged, or died.
	Arriving float64 `json:"arriving_per_second"`
	Settled  float64 `json:"settled_per_second"`
	// Backlog is how many could be taken now, and nobody does.
	Backlog int `json:"backlog"`
	// Saturated says that there was a backlog all the while, so that Settled is what the consumers can do.
	Saturated bool `json:"saturated"`
	// Drained is after which time the backlog is gone; 0 where there is none, or where it grows.
	Drained time.Duration `json:"drained_ns,omitempty"`
	// Growing messages a second; 0: the backlog does not grow.
	Growing float64 `json:"growing_per_second,omitempty"`
	// Held and Needed are how many messages the consumers have at once, and how many they would need to have for the backlog
	// not to grow, by Little's law: each message taking as long as now. 0 where it does not grow, or too few were settled.
	Held   float64 `json:"held,omitempty"`
	Needed float64 `json:"needed,omitempty"`
}

// Outlook at the latest sample; ok is false while too little was seen.
func (t *Trend) Outlook() (o Outlook, ok bool) {
	if t.n < 2 {
		return o, false
	}
	first, last := *t.at(max(0, t.n-trendSamples)), *t.at(t.n - 1)
	took := last.at - first.at
	if took < leastTrend {
		return o, false
	}
	held, idle := 0.0, false
	for i := max(0, t.n-trendSamples); i < t.n; i++ {
		s := t.at(i)
		held += float64(s.inFlight) / float64(min(t.n, trendSamples))
		idle = idle || s.ready == 0
	}
	seconds := took.Seconds()
	out := last.out - first.out
	o = Outlook{Arriving: float64(last.put-first.put) / seconds, Settled: float64(out) / seconds, Backlog: last.ready, Saturated: !idle}
	if o.Backlog == 0 {
		return o, true
	}
	// What chance alone makes of a rate is left out: as many standard deviations of a Poisson count as leave one in a hundred.
	noise := 2.33 * math.Sqrt(float64(last.put-first.put+out)) / seconds
	switch surplus := o.Settled - o.Arriving; {
	case surplus > noise:
		o.Drained = time.Duration(math.Min(float64(o.Backlog)/surplus*1e9, float64(1000*time.Hour)))
	case surplus < -noise:
		o.Growing = -surplus
		if out >= leastSettled {
			o.Held, o.Needed = held, held/o.Settled*o.Arriving
		}
	}
	return o, true
}

// String is the outlook in a sentence, with the cheapest thing to do where the backlog grows.
func (o Outlook) String() string {
	switch {
	case o.Backlog == 0:
		return fmt.Sprintf("no backlog: %s come and are handled", perSecond(o.Arriving))
	case o.Drained > 0:
		text := fmt.Sprintf("drained in %s", roughly(o.Drained))
		if o.Saturated {
			text += fmt.Sprintf("; grows if more than %s come", perSecond(o.Settled))
		}
		return text
	case o.Growing > 0 && o.Settled == 0:
		return fmt.Sprintf("grows by %s: nothing is handled", perSecond(o.Growing))
	case o.Growing > 0 && o.Needed > 0:
		return fmt.Sprintf("grows by %s: %s come, %s are handled; it takes consumers that have %.0f messages at once, now they have %.1f",
			perSecond(o.Growing), perSecond(o.Arriving), perSecond(o.Settled), math.Ceil(o.Needed), o.Held)
	case o.Growing > 0:
		return fmt.Sprintf("grows by %s", perSecond(o.Growing))
	}
	return fmt.Sprintf("steady: %s come and are handled", perSecond(o.Settled))
}

// perSecond is a rate with the digits that matter.
func perSecond(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f/s", v)
	}
	return fmt.Sprintf("%.3g/s", v)
}

// roughly is a time with its two largest units.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute)/time.Minute))
	}
	return fmt.Sprintf("%d h %02d min", int(d/time.Hour), int(d%time.Hour/time.Minute))
}
