package load

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Profile is a rate over time: pieces on each of which it changes linearly. It knows in closed form how many arrivals
// are due up to any instant, and its inverse. A Profile is not changed once it is built, and then safe to share.
type Profile struct {
	pieces []piece
	name   string
}

// piece is a stretch on which the rate goes linearly from r0 to r1, both per second.
type piece struct {
	start, dur float64 // seconds
	r0, r1     float64
	before     float64 // arrivals expected before its start
}

func (p piece) area() float64 { return (p.r0 + p.r1) / 2 * p.dur }

// maxArrivals bounds the schedule of one run, so that counts stay exact in a float64.
const maxArrivals = 1e12

func (p *Profile) add(d, r0, r1 float64) error {
	for _, v := range []float64{d, r0, r1} {
		if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			return fmt.Errorf("rate or duration %v: want a finite number, 0 or more", v)
		}
	}
	if d == 0 {
		return nil
	}
	next := piece{dur: d, r0: r0, r1: r1}
	if n := len(p.pieces); n > 0 {
		last := p.pieces[n-1]
		next.start, next.before = last.start+last.dur, last.before+last.area()
	}
	if next.before+next.area() > maxArrivals {
		return fmt.Errorf("more than %.0g arrivals in all", float64(maxArrivals))
	}
	p.pieces = append(p.pieces, next)
	return nil
}

// Steady returns the profile of a constant rate per second over d.
func Steady(rate float64, d time.Duration) (*Profile, error) {
	p := &Profile{name: fmt.Sprintf("%s/s", number(rate))}
	if err := p.add(d.Seconds(), rate, rate); err != nil {
		return nil, fmt.Errorf("constant rate: %w", err)
	}
	return p, p.check()
}

// Ramps returns the profile of stages, the first of which starts at rate 0.
func Ramps(stages []topology.Stage) (*Profile, error) {
	p := &Profile{name: fmt.Sprintf("%d stages", len(stages))}
	slopes, err := topology.Slopes(stages)
	if err != nil {
		return nil, err
	}
	for _, s := range slopes {
		if err := p.add(s.Duration.Seconds(), s.From, s.To); err != nil {
			return nil, fmt.Errorf("stages: %w", err)
		}
	}
	return p, p.check()
}

func (p *Profile) check() error {
	if p.Total() <= 0 {
		return errors.New("the schedule holds no arrival: rate or duration is 0")
	}
	return nil
}

// Duration is the length of the profile.
func (p *Profile) Duration() time.Duration {
	if len(p.pieces) == 0 {
		return 0
	}
	last := p.pieces[len(p.pieces)-1]
	return seconds(last.start + last.dur)
}

// Total is the number of arrivals expected over the whole profile.
func (p *Profile) Total() float64 {
	if len(p.pieces) == 0 {
		return 0
	}
	last := p.pieces[len(p.pieces)-1]
	return last.before + last.area()
}

// peak is the highest rate, per second.
func (p *Profile) peak() float64 {
	most := 0.0
	for _, pc := range p.pieces {
		most = max(most, pc.r0, pc.r1)
	}
	return most
}

// RateAt returns the rate per second at instant t, 0 outside of the profile.
func (p *Profile) RateAt(t time.Duration) float64 {
	x := t.Seconds()
	i := sort.Search(len(p.pieces), func(i int) bool { return p.pieces[i].start > x }) - 1
	if i < 0 || x > p.pieces[i].start+p.pieces[i].dur {
		return 0
	}
	pc := p.pieces[i]
	return pc.r0 + (pc.r1-pc.r0)*(x-pc.start)/pc.dur
}

// Expected returns how many arrivals are expected before instant t: the integral of the rate.
func (p *Profile) Expected(t time.Duration) float64 {
	x := t.Seconds()
	i := sort.Search(len(p.pieces), func(i int) bool { return p.pieces[i].start > x }) - 1
	if i < 0 {
		return 0
	}
	pc := p.pieces[i]
	dx := min(x-pc.start, pc.dur)
	return pc.before + dx*(pc.r0+(pc.r1-pc.r0)*dx/pc.dur/2)
}

// Instant is the inverse of Expected: when as many arrivals as n are reached, 0 <= n <= Total.
func (p *Profile) Instant(n float64) time.Duration {
	i := max(sort.Search(len(p.pieces), func(i int) bool { return p.pieces[i].before > n })-1, 0)
	pc := p.pieces[i]
	need := max(n-pc.before, 0)
	// r0 x + slope x^2/2 = need, in the form that does not cancel.
	slope := (pc.r1 - pc.r0) / pc.dur
	root := math.Sqrt(max(pc.r0*pc.r0+2*slope*need, 0))
	x := 0.0
	if need > 0 {
		x = min(2*need/(pc.r0+root), pc.dur)
	}
	return seconds(pc.start + x)
}

func (p *Profile) String() string { return p.name }

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * 1e9)) }
