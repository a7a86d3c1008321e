package policy

import (
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func second(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

func outlierDefaults() *topology.Outliers {
	return &topology.Outliers{
		Interval: topology.Duration(second(10)), Eject: topology.Duration(second(30)), MaxEject: topology.Duration(second(300)),
		MaxEjected: 0.1, MinReplicas: 5, MinRequests: 100, Deviations: 1.9, Slower: 3, Panic: 0.5,
	}
}

// peers is a pool of n members with outlier detection, whose clock the test moves.
type peers struct {
	*Pool
	t   *testing.T
	now time.Duration
}

func newPeers(t *testing.T, n int, change func(*topology.Outliers)) *peers {
	cfg := outlierDefaults()
	if change != nil {
		change(cfg)
	}
	p := newPool(t, topology.RoundRobin, nil, n)
	p.SetOutliers(cfg)
	return &peers{Pool: p, t: t}
}

// interval sends requests to every member directly, answered as the test says, and ends the interval.
func (p *peers) interval(each int, answer func(member, k int) (time.Duration, Outcome)) {
	p.now += second(10)
	for i, m := range p.Members() {
		if m.Ejected(p.now) {
			continue
		}
		for k := range each {
			latency, o := answer(i, k)
			m.acquire()
			g := Grant{Member: m, at: p.now - latency - 1}
			p.Report(g, p.now-1, o)
			p.Release(g, latency, o)
		}
	}
	m := p.Members()[0]
	m.acquire()
	g := Grant{Member: m, at: p.now}
	p.Report(g, p.now, Neutral) // it ends the interval
	p.Release(g, 0, Neutral)
}

func (p *peers) out() (all []int) {
	for i, m := range p.Members() {
		if m.Ejected(p.now) {
			all = append(all, i)
		}
	}
	return all
}

func well(int, int) (time.Duration, Outcome) { return 5 * time.Millisecond, Success }

// failing makes one member fail a share of its requests.
func failing(member, percent int) func(int, int) (time.Duration, Outcome) {
	return func(i, k int) (time.Duration, Outcome) {
		if i == member && k%100 < percent {
			return time.Millisecond, Failure
		}
		return 5 * time.Millisecond, Success
	}
}

func slow(member int, latency time.Duration) func(int, int) (time.Duration, Outcome) {
	return func(i, k int) (time.Duration, Outcome) {
		if i == member {
			return latency, Success
		}
		return 5 * time.Millisecond, Success
	}
}

func TestWhoIsAnOutlier(t *testing.T) {
	for name, c := range map[string]struct {
		n, each int
		answer  func(int, int) (time.Duration, Outcome)
		change  func(*topology.Outliers)
		out     bool
	}{
		"all well":                {10, 100, well, nil, false},
		"all fail alike":          {10, 100, func(int, int) (time.Duration, Outcome) { return 0, Failure }, nil, false},
		"one fails a fifth":       {10, 100, failing(3, 20), nil, true},
		"one of five fails all":   {5, 100, failing(3, 100), nil, true},
		"one of four":             {4, 100, failing(3, 100), nil, false},
		"too few requests":        {10, 99, failing(3, 100), nil, false},
		"one is slow":             {10, 100, slow(3, 16*time.Millisecond), nil, true},
		"not slow enough":         {10, 100, slow(3, 14*time.Millisecond), nil, false},
		"latency does not matter": {10, 100, slow(3, time.Minute), func(o *topology.Outliers) { o.Slower = 0 }, false},
		"a single very slow request": {10, 100, func(i, k int) (time.Duration, Outcome) {
			if i == 3 && k == 0 {
				return time.Minute, Success
			}
			return 5 * time.Millisecond, Success
		}, nil, false},
	} {
		p := newPeers(t, c.n, c.change)
		p.interval(c.each, c.answer)
		if out := p.out(); c.out != (len(out) == 1 && out[0] == 3) || !c.out && len(out) > 0 {
			t.Errorf("%s: ejected are %v", name, out)
		}
	}
}

// An ejection lasts longer each time, up to a limit, and good intervals shorten the next.
func TestEjectionsGrow(t *testing.T) {
	p := newPeers(t, 10, func(o *topology.Outliers) { o.MaxEject = topology.Duration(second(70)) })
	m := p.Members()[3]
	var pauses []time.Duration
	for range 4 {
		p.interval(100, failing(3, 50))
		pauses = append(pauses, time.Duration(m.record.until.Load())-p.now)
		p.now = time.Duration(m.record.until.Load()) - second(10)
		for m.Ejected(p.now) {
			p.interval(0, well)
		}
		m.record.times++ // the interval in which it came back was a good one
	}
	if want := []time.Duration{second(30), second(60), second(70), second(70)}; pauses[0] != want[0] || pauses[1] != want[1] || pauses[2] != want[2] || pauses[3] != want[3] {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
	for range 20 {
		p.interval(100, well)
	}
	if m.record.times != 0 {
		t.Errorf("%d ejections still count", m.record.times)
	}
}

// No more than the share are out at once, but at least one may be; those that are out get nothing; where too few are
// left, all are used.
func TestCapAndPanic(t *testing.T) {
	bad := func(i, _ int) (time.Duration, Outcome) {
		if i < 4 {
			return 500 * time.Millisecond, Success
		}
		return 5 * time.Millisecond, Success
	}
	for _, c := range []struct {
		n    int
		most topology.Percent
		out  int
	}{{10, 0.1, 1}, {10, 0, 1}, {10, 0.3, 3}, {10, 1, 4}, {30, 0.1, 3}} {
		p := newPeers(t, c.n, func(o *topology.Outliers) { o.MaxEjected = c.most })
		p.interval(100, bad)
		if out := p.out(); len(out) != c.out {
			t.Errorf("%d members, at most %v: %v are out", c.n, c.most, out)
		}
		for range 3 * c.n {
			g := pick(t, p.Pool, new(Request), p.now)
			if g.Ejected(p.now) {
				t.Fatal("one that is out was picked")
			}
			p.Release(g, 0, Neutral)
		}
	}
	p := newPeers(t, 10, func(o *topology.Outliers) { o.MaxEjected, o.Panic = 1, 0.7 })
	p.interval(100, bad)
	seen := map[*Member]bool{}
	for range 20 {
		seen[pick(t, p.Pool, new(Request), p.now).Member] = true
	}
	if len(seen) != 10 {
		t.Errorf("6 of 10 are left, less than 70 %%: only %d are used", len(seen))
	}
}

// When all that are not ejected are full, the ejected stay out.
func TestEjectedIsNoLastResort(t *testing.T) {
	p := newPeers(t, 5, nil)
	p.interval(100, failing(0, 100))
	for _, m := range p.Members() {
		m.Limit = 1
	}
	for range 4 {
		pick(t, p.Pool, new(Request), p.now)
	}
	if g, why := p.Pick(new(Request), p.now); why != AllFull {
		t.Errorf("%v at %v", why, g)
	}
}

// What is reported counts, whether or not its place has been given back: a stream that goes well for long is a success before its end.
func TestStreamsAreComparedBeforeTheirEnd(t *testing.T) {
	p := newPeers(t, 10, nil)
	for i, m := range p.Members() {
		for range 100 {
			o := Success
			if i == 3 {
				o = Failure
			}
			m.acquire()
			p.Report(Grant{Member: m}, second(1), o)
		}
	}
	p.now = second(10)
	p.interval(0, well)
	if out := p.out(); len(out) != 1 || out[0] != 3 {
		t.Errorf("ejected are %v", out)
	}
}
