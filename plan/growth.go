package plan

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// ErrNoGrowth means that nothing says how demand grows.
var ErrNoGrowth = errors.New("no growth: add 'growth: {requests: 8%/month}' to the file, or give --growth")

// CapacityOptions say what to look ahead for.
type CapacityOptions struct {
	Options
	// For is how far to look ahead.
	For time.Duration
	// Growth of the requests; nil takes the file's.
	Growth *topology.GrowthRate
	// Uncertainty of every input as a share: with 0.2, nine times in ten the truth is between 1/1.2 and 1.2 times what
	// is stated. 0 takes all as stated.
	Uncertainty float64
	// Samples drawn of the uncertain inputs; 0 stands for 1000.
	Samples int
	// Seed of the draws: the same seed gives the same answer.
	Seed uint64
	// Spare replicas of every service that the remedy can do without, at the same time: 1 is N+1, 2 is N+2.
	Spare int
	// Zones that the replicas of each service and the cores are spread over evenly, one of which may be lost; 0: not looked at.
	Zones int
}

// The bounds of what is asked for.
const (
	maxHorizon = 100 * 365 * day
	maxSamples = 100000
	maxSpare   = 100
	maxZones   = 1000
)

const (
	day   = 24 * time.Hour
	month = time.Duration(365.25 / 12 * float64(day))
)

// Capacity is how long a system lasts under a demand that grows, and what it takes to last longer. Instants are
// durations from the day on which the load is the planned one.
type Capacity struct {
	// Growth that was assumed, and the horizon.
	Growth topology.GrowthRate `json:"growth"`
	For    time.Duration       `json:"for_ns"`
	// Steps through the horizon, the first of them today.
	Steps []Step `json:"steps"`
	// Ends of each resource and each SLO, the soonest first.
	Ends []End `json:"ends"`
	// Losses of one and two replicas of each service, the worst first.
	Losses []Loss `json:"losses"`
	// Zone is the system without the zone that holds the most; nil where zones were not asked for.
	Zone *Loss `json:"zone,omitempty"`
	// Shards says what the loss of a shard of each table fails.
	Shards []ShardLoss `json:"shards,omitempty"`
	// Spare replicas of every service that the remedy does without.
	Spare int `json:"spare,omitempty"`
	// Cost of what is planned now; nil without prices.
	Cost *Cost `json:"cost,omitempty"`
	// Remedy is the cheapest way found to hold everything promised through the horizon.
	Remedy Remedy `json:"remedy"`
	// Sensitivity of the knee to each input, the strongest first.
	Sensitivity []Sensitivity `json:"sensitivity"`
	// Doubt is the distribution of the first end over uncertain inputs, and what they make of remedies with a margin; nil if
	// they were taken as stated.
	Doubt *Doubt `json:"doubt,omitempty"`
}

// Step is the system, unchanged, at one instant.
type Step struct {
	At time.Duration `json:"at_ns"`
	// Factor of today's demand, and what it comes to: requests a second, and users of a closed load.
	Factor float64 `json:"factor"`
	Rate   float64 `json:"rate"`
	Users  float64 `json:"users,omitempty"`
	// Machine utilisation, 0 to 1, and the busiest resource.
	Machine    float64 `json:"machine"`
	Bottleneck string  `json:"bottleneck"`
	// P99 of the slowest route; 0 where the system is saturated.
	P99       time.Duration `json:"p99_ns"`
	Saturated bool          `json:"saturated"`
	// Broken SLOs, by name.
	Broken []string `json:"broken,omitempty"`
}

// End is when a resource is full, or an SLO breaks.
type End struct {
	// What ends: a service (its CPU limit), the machine, or 'SLO NAME'.
	What string `json:"what"`
	// Factor of today's demand at which it does; 0 where no demand at all is held.
	Factor float64 `json:"factor"`
	// Throughput at that point, all routes together.
	Throughput float64 `json:"throughput"`
	// Never within a hundred years. Else At says when; 0 is today or before.
	Never bool          `json:"never,omitempty"`
	At    time.Duration `json:"at_ns"`
}

// grower ties a compiled model to a load that grows.
type grower struct {
	*steady
	load  Load
	think float64
	rate  topology.GrowthRate
	spare int
}

// Grow looks ahead: when each resource runs out and each SLO breaks, what the loss of replicas does, what it costs, and
// the cheapest changes that hold through the horizon. Many users who come and go are taken as an open load whose rate
// they make by the interactive response time law, so that N users are those whose X (R + Z) is N.
func Grow(sys *topology.System, load Load, o CapacityOptions) (*Capacity, error) {
	rate, err := o.check(sys)
	if err != nil {
		return nil, err
	}
	m, err := newModel(sys, load, o.Options)
	if err != nil {
		return nil, err
	}
	s, err := m.compile(sys, m.mixOf(load))
	if err != nil {
		return nil, err
	}
	g := &grower{steady: s, load: load, think: load.Think.Seconds(), rate: rate, spare: o.Spare}
	c := &Capacity{Growth: rate, For: o.For, Spare: o.Spare}
	for _, at := range milestones(o.For) {
		step, err := g.step(at)
		if err != nil {
			return nil, err
		}
		c.Steps = append(c.Steps, step)
	}
	if c.Ends, err = g.ends(); err != nil {
		return nil, err
	}
	if c.Losses, err = g.losses(); err != nil {
		return nil, err
	}
	if o.Zones > 1 {
		if c.Zone, err = g.withoutZone(o.Zones); err != nil {
			return nil, err
		}
	}
	c.Shards = g.shardLosses(sys)
	today, err := g.step(0)
	if err != nil {
		return nil, err
	}
	c.Cost = g.cost(sys.Prices, today.Rate)
	if c.Remedy, err = g.remedy(sys, g.factorAt(o.For)); err != nil {
		return nil, err
	}
	if c.Sensitivity, err = g.sensitivity(); err != nil {
		return nil, err
	}
	if o.Uncertainty > 0 {
		c.Doubt, err = g.doubt(sys, o, c.Remedy)
	}
	return c, err
}

func (o CapacityOptions) check(sys *topology.System) (topology.GrowthRate, error) {
	var rate topology.GrowthRate
	switch {
	case o.Growth != nil:
		rate = *o.Growth
	case sys.Growth != nil:
		rate = sys.Growth.Requests
	}
	switch {
	case rate.Share <= 0 || math.IsNaN(rate.Share) || math.IsInf(rate.Share, 0):
		return rate, ErrNoGrowth
	case period(rate) == 0:
		return rate, fmt.Errorf("growth: unknown period %q", rate.Period)
	case o.For <= 0 || o.For > maxHorizon:
		return rate, errors.New("the horizon must be more than 0 and at most 100 years")
	case !(o.Uncertainty >= 0 && o.Uncertainty <= 10):
		return rate, errors.New("the uncertainty must be from 0% to 1000%")
	case o.Samples < 0 || o.Samples > maxSamples:
		return rate, fmt.Errorf("%d samples: want at most %d", o.Samples, maxSamples)
	case o.Spare < 0 || o.Spare > maxSpare:
		return rate, fmt.Errorf("%d spare replicas: want 0 to %d", o.Spare, maxSpare)
	case o.Zones < 0 || o.Zones == 1 || o.Zones > maxZones:
		return rate, fmt.Errorf("%d zones: want 2 to %d", o.Zones, maxZones)
	}
	return rate, nil
}

// period is the length of a growth's period.
func period(g topology.GrowthRate) time.Duration {
	switch g.Period {
	case "day":
		return day
	case "week":
		return 7 * day
	case "month":
		return month
	case "quarter":
		return 3 * month
	case "year":
		return 12 * month
	}
	return 0
}

// factorAt is the demand at an instant as a multiple of today's.
func (g *grower) factorAt(at time.Duration) float64 {
	return math.Pow(1+g.rate.Share, float64(at)/float64(period(g.rate)))
}

// until is when demand reaches a multiple of today's; false where that is not within a hundred years.
func (g *grower) until(factor float64) (time.Duration, bool) {
	if factor <= 1 {
		return 0, true
	}
	at := math.Log(factor) / math.Log1p(g.rate.Share) * float64(period(g.rate))
	if !(at <= float64(maxHorizon)) {
		return 0, false
	}
	return time.Duration(at), true
}

// milestones are the instants of a table: by month to a year and a half, by quarter to six years, then by year.
func milestones(span time.Duration) []time.Duration {
	step := month
	switch {
	case span > 6*12*month+day:
		step = 12 * month
	case span > 18*month+day:
		step = 3 * month
	case span < month:
		step = span
	}
	var list []time.Duration
	for at := time.Duration(0); at < span-day/2; at += step {
		list = append(list, at)
	}
	return append(list, span)
}

// demand is the throughput that a multiple of today's load asks for, infinite where it is more than is held. For users
// it is the X at which X (R + Z) is their number.
func (g *grower) demand(factor float64) (float64, error) {
	if g.load.Users == 0 {
		return g.load.Total() * factor, nil
	}
	want := float64(g.load.Users) * factor
	held, _ := g.held()
	lo, hi := 0.0, min(held, ample)
	for range 100 {
		x := (lo + hi) / 2
		n, err := g.users(x, g.think)
		if err != nil {
			return 0, err
		}
		if n < want {
			lo = x
		} else {
			hi = x
		}
		if hi-lo < 1e-9*hi {
			break
		}
	}
	if n, err := g.users(lo, g.think); err != nil || n < 0.999*want && lo > 0.999999*held {
		return math.Inf(1), err
	}
	return lo, nil
}

// factor is the multiple of today's load that makes throughput x.
func (g *grower) factor(x float64) (float64, error) {
	if g.load.Users == 0 {
		return x / g.load.Total(), nil
	}
	if x <= 0 {
		return 0, nil
	}
	n, err := g.users(x, g.think)
	return n / float64(g.load.Users), err
}

// fullFactor is the multiple of today's load at which a resource that is full at throughput x must queue: for users,
// N* = X (D + Z).
func (g *grower) fullFactor(x float64) float64 {
	if g.load.Users == 0 {
		return x / g.load.Total()
	}
	return x * (g.alone() + g.think) / float64(g.load.Users)
}

func (g *grower) step(at time.Duration) (Step, error) {
	st := Step{At: at, Factor: g.factorAt(at)}
	if g.load.Users > 0 {
		st.Users = float64(g.load.Users) * st.Factor
	}
	x, err := g.demand(st.Factor)
	if err != nil {
		return st, err
	}
	held, by := g.held()
	ok := false
	if x < held {
		if ok, err = g.solve(x); err != nil {
			return st, err
		}
	}
	if !ok {
		st.Saturated, st.Bottleneck, st.Rate = true, by, min(held, ample)
		if g.load.Users == 0 {
			st.Rate = x
		}
		st.Machine = min(g.use(held)/g.cores, 1)
		for _, p := range g.slos {
			st.Broken = append(st.Broken, p.slo)
		}
		st.Broken = slices.Compact(st.Broken)
		return st, nil
	}
	st.Rate, st.Machine, st.Bottleneck = x, g.use(x)/g.cores, g.busiest(x)
	for i := range g.routes {
		v, err := g.p99(i)
		if err != nil {
			return st, err
		}
		st.P99 = max(st.P99, seconds(v))
	}
	for _, p := range g.slos {
		v, err := g.at(p.route, p.q)
		if err != nil {
			return st, err
		}
		if v > p.limit {
			st.Broken = append(st.Broken, p.slo)
		}
	}
	st.Broken = slices.Compact(st.Broken)
	return st, nil
}

// end is the multiple of today's load at which the system ends: the first SLO breaks or, without SLOs, the first
// resource is full.
func (g *grower) end() (float64, error) {
	if len(g.slos) == 0 {
		held, _ := g.held()
		return g.fullFactor(min(held, ample)), nil
	}
	knee, err := g.knee()
	if err != nil {
		return 0, err
	}
	return g.endOf(knee)
}

// endOf is end where the knee is known.
func (g *grower) endOf(knee Limit) (float64, error) {
	if len(g.slos) == 0 {
		return g.end()
	}
	return g.factor(knee.Throughput)
}

// ends finds the end of each resource, the others taken as ample, and of each SLO.
func (g *grower) ends() ([]End, error) {
	var list []End
	add := func(what string, factor, x float64) {
		e := End{What: what, Factor: min(factor, ample), Throughput: min(x, ample)}
		at, ok := g.until(factor)
		e.At, e.Never = at, !ok
		list = append(list, e)
	}
	x := g.machineFullAt()
	add(Machine, g.fullFactor(x), x)
	for i, st := range g.services {
		if st.limit > 0 {
			x := g.fullAt(i)
			add(st.name, g.fullFactor(x), x)
		}
	}
	for i, st := range g.services {
		if x, ok := g.placesFullAt(i); ok {
			add(PlacesOf(st.name), g.fullFactor(x), x)
		}
	}
	held, _ := g.held()
	for i, p := range g.slos {
		if i > 0 && g.slos[i-1].slo == p.slo {
			continue
		}
		x, _, err := g.cross(min(held, ample), func(x float64) (float64, int, error) { return g.strainOf(p.slo, x) })
		if err != nil {
			return nil, err
		}
		f, err := g.factor(x)
		if err != nil {
			return nil, err
		}
		add("SLO "+p.slo, f, x)
	}
	slices.SortStableFunc(list, func(a, b End) int {
		switch {
		case a.Factor < b.Factor:
			return -1
		case a.Factor > b.Factor:
			return 1
		}
		return strings.Compare(a.What, b.What)
	})
	return list, nil
}

// strainOf is brokenAt for the promises of one SLO.
func (s *steady) strainOf(slo string, x float64) (ratio float64, worst int, err error) {
	ok, err := s.solve(x)
	if err != nil || !ok {
		return math.Inf(1), -1, err
	}
	worst = -1
	for i, p := range s.slos {
		if p.slo != slo {
			continue
		}
		v, err := s.at(p.route, p.q)
		if err != nil {
			return 0, -1, err
		}
		if worst < 0 || v/p.limit > ratio {
			ratio, worst = v/p.limit, i
		}
	}
	return ratio, worst, nil
}
