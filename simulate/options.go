package simulate

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Options of a simulation. The zero value takes all from the file, decides on the warm-up by itself and runs five
// replications.
type Options struct {
	// Seed of everything that is drawn. The same seed, system and options give the same result, bit for bit, on any
	// number of cores.
	Seed uint64
	// Cores of the machine, where the file does not say.
	Cores float64
	// Load replaces the file's workload.
	Load *Load
	// Arrivals of a workload that replays a trace, read by the caller.
	Arrivals *Arrivals
	// Duration that is simulated after the warm-up. Default: the workload's; stages and arrivals have their own.
	Duration time.Duration
	// Warmup that is simulated first and left out of the figures. Default: the workload's. Where that is 0 too and the
	// load is steady, it is found by MSER-5 on a replication of its own. Negative: none.
	Warmup time.Duration

	// Replications with random numbers of their own. Default 5; 1 gives no confidence intervals.
	Replications int
	// Precision asks for replications until the 95 % confidence interval of the mean latency is at most this share of
	// it on either side, for example 0.05. Default 0: Replications, and no more.
	Precision float64
	// MaxReplications that Precision may ask for. Default: the larger of 50 and Replications.
	MaxReplications int

	// Replicas overrides the number of replicas, by service.
	Replicas map[string]int
	// CPU overrides the CPU limit of one replica in cores (0: none), by service.
	CPU map[string]float64
	// Shape of the distributions that CPU times and delays are drawn from. Default: gamma up to an SCV of 1,
	// hyperexponential above.
	Shape Shape
	// Orphans says what becomes of work whose caller has gone. Default: OrphansBurn.
	Orphans Orphans
	// Start is how long a replica takes until it is ready, when it is added or restarted. Default 1s; negative: no time.
	Start time.Duration
	// Starts are the same by service.
	Starts map[string]time.Duration
	// Pauses stop all threads of a replica now and then, as a garbage collector does, by service.
	Pauses map[string]Pause
	// Failures end replicas at random times, by service.
	Failures map[string]Failures
	// Zones that the replicas of each service are spread over in turn, for faults that hit a zone. Default 1.
	Zones int
	// Links are what the network adds to calls, by caller and callee, such as "web>catalog", or ">web" for requests from
	// outside; it takes the place of the callee's own.
	Links map[string]topology.Link
	// Dispersion of the work that comes to the CPU, as in a calibration: requests come in clusters, so that they wait in
	// proportion to half of it. Default: the calibration's; 2, or less: they do not cluster.
	Dispersion float64
	// Phases modulate the rate of an open load (a Markov-modulated Poisson process): it is in one after the other for
	// exponentially distributed times.
	Phases []Phase
	// Cells is how many equal, independent parts the system is divided into, of which one is simulated: with its share of
	// the load, the cores and the replicas. Default 1.
	Cells int
	// Fit sizes the system for its load: so many cores, and so many replicas of each service (of their CPU limit, or of one
	// core each), that they are as busy as this share. Default 0: it is as large as the file says.
	Fit float64
	// Faults that happen.
	Faults []Fault
	// Autoscale returns the autoscaler of one replication; nil: the number of replicas stays.
	Autoscale func() Autoscaler
	// AutoscaleEvery is the interval between its decisions. Default 15s.
	AutoscaleEvery time.Duration

	// Wait is how long a call may wait at the gateway where no replica is ready or all are at their limit; never
	// longer than its time-out. Default 1s; negative: it is refused at once.
	Wait time.Duration
	// MaxWaiting is how many calls may wait for one service; further ones are refused. Default 1024.
	MaxWaiting int

	// Clients is how many client addresses the sessions come from in turn, for policies that go by them: 1 is a load test
	// from one machine. Default 0: each session has its own.
	Clients int
	// Rows is how many rows the files of feeders hold, by feeder, read by the caller: keys are drawn from them.
	Rows map[string]int

	// Trace is the number of requests whose every step is recorded, in the first replication. At most 100 000.
	Trace int
	// Timeline is the width of the points of the time-line. Default 1s, and more where that makes over 10 000.
	Timeline time.Duration

	// MaxEvents bounds the events of one replication; beyond it Run fails with ErrTooManyEvents. Default 1e9.
	MaxEvents int64
	// MaxInProgress bounds the calls that are under way at once, and with them the memory that is taken; beyond it Run
	// fails with ErrTooManyInProgress. Default 1 000 000.
	MaxInProgress int
	// Workers is how many replications run at once. Default: as many as Go runs threads. The result does not depend
	// on it.
	Workers int
	// Progress is called now and then, never twice at the same time. Its calls do not follow a fixed pattern.
	Progress func(Progress)
}

// Errors of runs that would not come to an end.
var (
	ErrTooManyEvents     = errors.New("too many events")
	ErrTooManyInProgress = errors.New("too many calls in progress")
	// ErrNoDemands means that nothing says what a request costs.
	ErrNoDemands = errors.New("nothing says what a request costs: give services 'work: {cpu: 2ms}', or calibrate")
	// ErrNoWorkload means that neither the file nor the caller says what load to simulate.
	ErrNoWorkload = errors.New("no workload: add one to the file, or give a load")
)

// Load is an open load (Rates) or a closed one (Users, Think and Mix, whose shares are weights).
type Load = topology.RouteLoad

// Arrivals is a recorded number of scenario starts in each of a row of periods.
type Arrivals struct {
	Counts []float64
	Period time.Duration
}

// Orphans says what becomes of work whose caller has gone: timed out, or cut off itself.
type Orphans string

// What may become of orphans.
const (
	// OrphansBurn finishes the piece of CPU time that has begun and asks no other service any more, as a server does
	// whose handlers pass their request's context on.
	OrphansBurn Orphans = ""
	// OrphansFinish does everything as if the caller still waited.
	OrphansFinish Orphans = "finish"
	// OrphansStop ends at once.
	OrphansStop Orphans = "stop"
)

// Pause stops all threads of a replica now and then.
type Pause struct {
	// Every is the mean time from the end of one pause to the next, exponentially distributed.
	Every time.Duration
	// For is how long each pause takes.
	For time.Duration
}

// Failures end a replica now and then, whatever it does.
type Failures struct {
	// MTBF is the mean time from a replica's being ready to its failing, exponentially distributed. 0: it does not.
	MTBF time.Duration
	// MTTR is the mean time until it is started again, exponentially distributed. 0: when the service's restart policy
	// says so.
	MTTR time.Duration
}

// Phase of a rate that changes by itself.
type Phase struct {
	// Factor on the rate.
	Factor float64
	// Mean time that it lasts.
	Mean time.Duration
}

// FaultKind names what breaks.
type FaultKind string

// The faults.
const (
	// FaultKill ends replicas: what they were doing is lost. They are started again after For, or, where For is 0, when
	// the service's restart policy says so; Options.Start comes on top. A negative For: never.
	FaultKill FaultKind = "kill"
	// FaultSlow makes replicas take Factor times as long for their CPU work and delays.
	FaultSlow FaultKind = "slow"
	// FaultErrors makes replicas answer a share Factor of their calls with status 500, once their own work is done.
	FaultErrors FaultKind = "errors"
	// FaultStall stops replicas for a while: they keep what they have and do nothing, as under SIGSTOP.
	FaultStall FaultKind = "stall"
	// FaultIsolate keeps everybody from reaching replicas: connecting times out. What they have begun they finish.
	FaultIsolate FaultKind = "isolate"
	// FaultPartition cuts the way from the service From ("" for requests from outside) to Service: connecting times out.
	FaultPartition FaultKind = "partition"
)

// Fault is something that breaks, and is repaired.
type Fault struct {
	Kind FaultKind
	// At is when, since the start of the run, the warm-up included.
	At time.Duration
	// For is how long. 0: to the end of the run, but for FaultKill.
	For time.Duration
	// Service that is hit, or a block as in 'uses'; "*": all services, but for FaultPartition.
	Service string
	// Zone whose replicas are hit, from 1 to Options.Zones. 0: those of any.
	Zone int
	// Replicas that are hit, the first ones that run. 0: all.
	Replicas int
	// Factor of FaultSlow (above 0), share of FaultErrors (0 to 1).
	Factor float64
	// From is the caller of a FaultPartition.
	From string
}

// Progress of a run.
type Progress struct {
	Replication int           // counted from 0
	At          time.Duration // simulated time it has reached
	End         time.Duration
	Events      int64 // of that replication
}

const (
	maxTrace    = 100_000
	maxTimeline = 10_000
	maxHorizon  = 10 * 366 * 24 * time.Hour
)

// withDefaults checks o and fills in what is left out.
func (o Options) withDefaults() (Options, error) {
	for _, n := range []struct {
		name string
		v    int64
	}{
		{"Replications", int64(o.Replications)}, {"MaxReplications", int64(o.MaxReplications)}, {"MaxWaiting", int64(o.MaxWaiting)},
		{"Cells", int64(o.Cells)}, {"Trace", int64(o.Trace)}, {"Clients", int64(o.Clients)}, {"MaxEvents", o.MaxEvents}, {"MaxInProgress", int64(o.MaxInProgress)}, {"Workers", int64(o.Workers)},
		{"Duration", int64(o.Duration)}, {"Timeline", int64(o.Timeline)}, {"AutoscaleEvery", int64(o.AutoscaleEvery)},
	} {
		if n.v < 0 {
			return o, fmt.Errorf("option %s of %d: want at least 0", n.name, n.v)
		}
	}
	if o.Trace > maxTrace {
		return o, fmt.Errorf("option Trace of %d requests: want at most %d", o.Trace, maxTrace)
	}
	if !(o.Dispersion >= 0 && o.Dispersion <= 1000) {
		return o, fmt.Errorf("option Dispersion of %v: want a number from 0 to 1000", o.Dispersion)
	}
	if !(o.Fit >= 0 && o.Fit < 1) || o.Cells > 1_000_000 {
		return o, fmt.Errorf("sized for a utilisation of %v in %d cells: want a share from 0 to below 1, and at most a million cells", o.Fit, o.Cells)
	}
	if o.Zones < 0 || o.Zones > 1000 {
		return o, fmt.Errorf("option Zones of %d: want 0 to 1000", o.Zones)
	}
	for i, p := range o.Phases {
		if !(p.Factor >= 0 && p.Factor <= 1e6) || p.Mean <= 0 || p.Mean > maxHorizon || len(o.Phases) > 1000 {
			return o, fmt.Errorf("phase %d of the rate: factor %v for %v: want a factor of at least 0, and a time", i+1, p.Factor, p.Mean)
		}
	}
	if math.IsNaN(o.Precision) || o.Precision < 0 || o.Precision >= 1 {
		return o, fmt.Errorf("option Precision of %v: want a share from 0 to below 1", o.Precision)
	}
	if o.Replications > 10_000 || o.MaxReplications > 10_000 {
		return o, errors.New("more than 10 000 replications")
	}
	switch o.Shape {
	case ShapeAuto, ShapeGamma, ShapeLognormal:
	default:
		return o, fmt.Errorf("shape %q: want %q, %q or none", o.Shape, ShapeGamma, ShapeLognormal)
	}
	switch o.Orphans {
	case OrphansBurn, OrphansFinish, OrphansStop:
	default:
		return o, fmt.Errorf("orphans %q: want %q, %q or none", o.Orphans, OrphansFinish, OrphansStop)
	}
	setDefault(&o.Replications, 5)
	setDefault(&o.MaxReplications, max(50, o.Replications))
	setDefault(&o.Zones, 1)
	setDefault(&o.Start, time.Second)
	setDefault(&o.AutoscaleEvery, 15*time.Second)
	setDefault(&o.Wait, time.Second)
	setDefault(&o.MaxWaiting, 1024)
	setDefault(&o.Timeline, time.Second)
	setDefault(&o.MaxEvents, 1_000_000_000)
	setDefault(&o.MaxInProgress, 1_000_000)
	setDefault(&o.Workers, runtime.GOMAXPROCS(0))
	o.Start, o.Wait = max(o.Start, 0), max(o.Wait, 0)
	if o.MaxInProgress > 1<<30 {
		return o, fmt.Errorf("option MaxInProgress of %d: want at most %d", o.MaxInProgress, 1<<30)
	}
	if o.Precision > 0 {
		o.Replications = max(o.Replications, 3)
	}
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
