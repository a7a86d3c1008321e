package load

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"
)

// watchEvery is how often a probe is looked at while it is under way.
const watchEvery = 200 * time.Millisecond

// watching lets Config.watch look at the run now and then.
func (r *run) watching(ctx context.Context) {
	tick := time.NewTicker(cmp.Or(r.cfg.watchEvery, watchEvery))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.stop:
			return
		case <-tick.C:
			r.cfg.watch(r)
		}
	}
}

// look is a run under way, as far as an SLO is concerned.
type look struct {
	elapsed time.Duration
	timeout time.Duration
	rate    float64 // requests due per second, by the schedule and the mix
	backlog int64   // requests under way, or waiting for a connection
	limits  []limitLook
}

// limitLook is how far one threshold has been broken.
type limitLook struct {
	expected float64 // requests that the measured part is to have
	over     int64   // of those so far, how many count against the limit
	sum      float64 // of their latencies, nanoseconds
	max      int64
}

// look counts what speaks against the limits of slo.
func (r *run) look(slo []Threshold) look {
	l := look{elapsed: r.now(), timeout: r.timeout, backlog: r.rec.inFlight.Load() + r.queue()}
	perScenario := r.plan.requests()
	starts := r.cfg.Workload.Rate
	measured := (r.end - r.rec.warm).Seconds()
	for _, n := range perScenario {
		l.rate += n * float64(starts)
	}
	for _, t := range slo {
		ll := limitLook{}
		for id, name := range r.plan.names {
			if t.step != "" && t.step != name {
				continue
			}
			ll.expected += perScenario[id] * float64(starts) * measured
			for j := range r.rec.shards {
				r.rec.shards[j].against(id, t, &ll)
			}
		}
		l.limits = append(l.limits, ll)
	}
	return l
}

// against adds to l what the requests of a step say against t.
func (sh *shard) against(id int, t Threshold, l *limitLook) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := &sh.steps[id]
	if t.metric == "errors" {
		l.over += c.Failed() + c.NotSent
		return
	}
	l.over += c.Latency.CountAbove(int64(t.limit)) + c.NotSent
	l.sum += c.Latency.Sum()
	l.max = max(l.max, c.Latency.Max())
}

// queue is how many sessions wait for a connection.
func (p *pool) queue() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(len(p.waiting) - p.first)
}

// requests is how many requests of each step a scenario makes on average, by the mix.
func (p *plan) requests() []float64 {
	out := make([]float64, len(p.names))
	before := 0.0
	for i, sc := range p.scenarios {
		for _, st := range sc.steps {
			out[st.id] += (p.shares[i] - before) * min(st.weight, 1)
		}
		before = p.shares[i]
	}
	return out
}

// hopeless says why the SLO cannot be held any more, empty while it still may. Two arguments lead there. Curtailed
// inspection (H. Dodge and H. Romig, 1929): more requests are over a limit already than the whole probe allows, whatever
// the rest of it brings. Little's law: so many requests are under way that, at the rate at which they come, the mean
// latency is above what the limit leaves even if every request beyond the limit took all of its timeout.
func (l look) hopeless(slo []Threshold) string {
	for i, t := range slo {
		seen := l.limits[i]
		switch allowed := t.allowed() * seen.expected; {
		case t.metric == "max":
			if float64(seen.max) > t.limit {
				return fmt.Sprintf("%s: a request took %s", t.text, brief(time.Duration(seen.max)))
			}
		case t.metric == "mean":
			if seen.sum > t.limit*seen.expected*1.2 {
				return fmt.Sprintf("%s: the latencies of the first %s add up to more than the whole probe allows", t.text, brief(l.elapsed))
			}
		case float64(seen.over) > allowed+4*math.Sqrt(allowed)+10: // the number of arrivals is random
			return fmt.Sprintf("%s: after %s more requests (%s) were against it than the whole probe allows", t.text, brief(l.elapsed), count(seen.over))
		}
	}
	worst := l.timeout
	for _, t := range slo {
		if t.step == "" && t.metric != "errors" {
			worst = min(worst, time.Duration(t.limit+t.allowed()*float64(l.timeout)))
		}
	}
	if l.rate > 0 && float64(l.backlog) > 2*l.rate*worst.Seconds()+50 {
		return fmt.Sprintf("%s requests were under way after %s, at %s/s: latencies cannot be below %s on average", count(l.backlog), brief(l.elapsed), number3(l.rate), brief(seconds(float64(l.backlog)/l.rate)))
	}
	return ""
}

// isQuantile says that the metric is a percentile.
func (t Threshold) isQuantile() bool { return t.metric != "" && t.metric[0] == 'p' }

// allowed is the share of requests that may be against the limit.
func (t Threshold) allowed() float64 {
	switch {
	case t.metric == "errors":
		return t.limit
	case t.isQuantile():
		return 1 - t.q
	}
	return 0
}
