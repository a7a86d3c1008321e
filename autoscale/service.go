package autoscale

import (
	"fmt"
	"math"
	"time"

	"github.com/banyanhq/banyan/forecast"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

const (
	// keptDecisions of each service, those that changed something.
	keptDecisions = 200
	// farthest that is forecast.
	farthest = 5 * time.Minute
	// limitStep is what a limit of CPU is a multiple of.
	limitStep = 0.05
)

// Decision about a service. Rates are requests a second.
type Decision struct {
	At       time.Time `json:"at"`
	Service  string    `json:"service"`
	From     Size      `json:"from"`
	To       Size      `json:"to"`
	Why      string    `json:"why"`
	DryRun   bool      `json:"dryRun,omitempty"`
	Error    string    `json:"error,omitempty"`
	Reactive int       `json:"reactive"` // what the policy without forecast, schedule and bursts would have chosen, in units
	// Sides of a service whose file says 'predict', once it is known what a replica takes.
	Sides *Sides `json:"sides,omitempty"`
	// What it went by: of the interval before.
	Ready    int     `json:"ready"`
	Requests float64 `json:"requests"` // that arrived
	InFlight float64 `json:"inFlight"`
	CPU      float64 `json:"cpu"`  // of the ready replicas, as a share of their limits
	Each     float64 `json:"each"` // requests that one replica takes at its target; 0: not known
	// Outlook where one was used.
	Outlook *Outlook `json:"outlook,omitempty"`
}

// Outlook is what was forecast for a decision.
type Outlook struct {
	Until   float64       `json:"until"`   // largest rate until a replica started now serves
	Beyond  float64       `json:"beyond"`  // largest in five minutes
	StartUp time.Duration `json:"startUp"` // that was measured; 0: none was
	Skill   float64       `json:"skill"`   // over the last value
	Model   string        `json:"model"`
	Used    bool          `json:"used"` // the predictive side was followed
}

// Sides are the policy that reacts and the one that forecasts, of which one is followed.
type Sides struct {
	Followed   string `json:"followed"` // reactive or predictive
	Because    string `json:"because"`
	Predictive int    `json:"predictive"` // what that side would have chosen, in units; 'reactive' has the other's
	// Saved is what the predictive side would have saved of late in replica-hours (of units), each that was missing being
	// priced; Proof is what it has to save, or to lose, to be followed or left for it.
	Saved float64 `json:"savedReplicaHours"`
	Proof float64 `json:"proofReplicaHours"`
}

// service is what the Controller knows of one. The scaler reckons in units: a replica with as much CPU as 'vertical' has
// at least, and without that a replica.
type service struct {
	name      string
	scale     topology.Scale
	replicas  topology.Replicas
	schedule  []window
	unit      float64 // cores of a unit; 0: a replica is one
	largest   float64 // cores of the largest replica
	budgeted  bool    // the budget bounds it, not the file's maximum
	scaler    *policy.ServiceScaler
	memory    *policy.MemorySizer // nil: the limit of memory stays
	interval  time.Duration
	lapse     float64   // time passes so many times faster than what is measured
	next      time.Time // decision
	nextBurst time.Time // look for a burst
	origin    time.Time
	before    Reading
	at        time.Time // of before
	quick     Reading   // the one before, at quickAt, whatever it was for
	quickAt   time.Time
	asleep    bool
	kept      []Decision
	latest    Decision
}

// window is a scheduled minimum.
type window struct {
	at   topology.Cron
	span time.Duration
	min  int
}

func newService(name string, svc *topology.Service, prices *topology.Prices, cores float64) (*service, error) {
	s := &service{name: name, scale: *svc.Scale, replicas: svc.Replicas, interval: policy.ScaleInterval(*svc.Scale), lapse: 1}
	for _, w := range svc.Scale.Schedule {
		cron, err := topology.ParseCron(w.At)
		if err != nil {
			return nil, fmt.Errorf("scaling %s: schedule %q: %w", name, w.At, err)
		}
		s.schedule = append(s.schedule, window{cron, w.For.Std(), w.Min})
	}
	perReplica := 1
	v := svc.Scale.Vertical
	if v != nil && v.Memory != nil {
		s.memory = policy.NewMemorySizer(int64(v.Memory.Min), int64(v.Memory.Max))
	}
	if v != nil && v.Max > 0 {
		s.unit, s.largest = float64(v.Min), float64(v.Max)
		if cores > 0 {
			s.largest = max(min(s.largest, cores), s.unit)
		}
		perReplica = int(s.largest/s.unit + 1e-9)
	}
	most := svc.Replicas.Max * perReplica
	if afford, ok := affordable(svc, prices, s.unit); ok && afford < most {
		most, s.budgeted = max(afford, svc.Replicas.Min), true
	}
	cfg := policy.ServiceConfig{Scale: *svc.Scale, Min: svc.Replicas.Min, Max: most, Interval: s.interval}
	if svc.Scale.Predict {
		ahead, err := forecast.NewPredictor(forecast.PredictorConfig{Step: s.interval, Far: farthest})
		if err != nil {
			return nil, fmt.Errorf("scaling %s: %w", name, err)
		}
		cfg.Ahead = ahead
	}
	s.scaler = policy.NewServiceScaler(cfg)
	return s, nil
}

// affordable is how many units the budget pays for.
func affordable(svc *topology.Service, prices *topology.Prices, unit float64) (units int, ok bool) {
	if svc.Scale.Budget <= 0 || prices == nil {
		return 0, false
	}
	cores := unit
	if cores == 0 {
		cores = float64(svc.Limits.CPU)
	}
	hour := cores*prices.CPUHour + float64(svc.Limits.Memory)/(1<<30)*prices.MemoryGiBHour
	if hour <= 0 {
		return 0, false
	}
	return int(math.Min(svc.Scale.Budget/hour+1e-9, 1e9)), true
}

// look at a reading: wake, decide, or watch for a burst, whichever is due.
func (s *service) look(now time.Time, r Reading) (d Decision) {
	defer func() { s.quick, s.quickAt = r, now }()
	switch {
	case !now.Before(s.next):
		s.next, s.nextBurst = now.Add(s.interval), now.Add(BurstInterval)
		return s.decide(now, r)
	case s.asleep:
		return s.wake(now, r)
	case !now.Before(s.nextBurst):
		s.nextBurst = now.Add(BurstInterval)
		return s.burst(now, r)
	}
	return s.stay(now, r)
}

// stay is the decision that nothing changes.
func (s *service) stay(now time.Time, r Reading) Decision {
	size := Size{r.Replicas, r.Limit, r.MemoryLimit}
	return Decision{At: now, Service: s.name, From: size, To: size, Ready: r.Ready, DryRun: s.scale.DryRun}
}

// decide at an interval.
func (s *service) decide(now time.Time, r Reading) Decision {
	d := s.stay(now, r)
	if s.at.IsZero() {
		s.origin = now
		d.Why = "nothing is measured yet"
	} else {
		u := s.measure(now, r)
		d.Requests, d.InFlight, d.CPU = u.Requests, u.InFlight, u.CPU
		by := s.scaler.Decide(now.Sub(s.origin), s.inUnits(u, r), r.StartUp, s.scheduled(now))
		s.size(&d, by.Replicas, r)
		d.Why, d.Reactive, d.Each = by.Why.String(), by.Reactive, by.Each
		if by.Why == policy.ScaleMax && s.budgeted {
			d.Why = "budget"
		}
		s.sizeMemory(now, r, &d)
		if by.Outlook.Ready {
			d.Outlook = &Outlook{Until: by.Outlook.Until, Beyond: by.Outlook.Beyond, StartUp: r.StartUp,
				Skill: by.Outlook.Skill, Model: by.Outlook.Model, Used: by.Insured && by.Sides.Followed == policy.SidePredictive}
		}
		if by.Insured {
			d.Sides = &Sides{Followed: by.Sides.Followed.String(), Because: by.Sides.Proof.String(), Predictive: by.Sides.Asked[policy.SidePredictive],
				Saved: by.Sides.Lead, Proof: by.Sides.Needed}
		}
	}
	s.before, s.at = r, now
	s.asleep = d.To.Replicas == 0
	s.latest = d
	return d
}

// scheduled is how many the schedule asks for now.
func (s *service) scheduled(now time.Time) (least int) {
	for _, w := range s.schedule {
		if w.at.Covers(now, w.span) {
			least = max(least, w.min)
		}
	}
	return least
}

// inUnits gives the usage in units instead of replicas.
func (s *service) inUnits(u policy.Usage, r Reading) policy.Usage {
	if s.unit > 0 && r.Limit > 0 {
		each := r.Limit / s.unit
		u.Replicas, u.Ready = int(math.Round(float64(u.Replicas)*each)), int(math.Round(float64(u.Ready)*each))
	}
	return u
}

// size makes replicas of units: as few and as large as may be, since more CPU for a replica comes at once and a new
// replica does not.
func (s *service) size(d *Decision, units int, r Reading) {
	if s.unit == 0 {
		d.To.Replicas = units
		return
	}
	cores := float64(units) * s.unit
	d.To.Replicas = min(max(int(math.Ceil(cores/s.largest-1e-9)), s.replicas.Min), s.replicas.Max)
	if d.To.Replicas == 0 {
		return
	}
	limit := math.Ceil(cores/float64(d.To.Replicas)/limitStep-1e-9) * limitStep
	d.To.Cores = min(max(limit, s.unit), s.largest)
	if math.Abs(d.To.Cores-r.Limit) < limitStep/2 {
		d.To.Cores = r.Limit
	}
}

// sizeMemory gives replicas the memory that they use, and some more.
func (s *service) sizeMemory(now time.Time, r Reading, d *Decision) {
	if s.memory == nil {
		return
	}
	d.To.Memory = s.memory.Decide(now.Sub(s.origin), r.Memory, r.MemoryLimit, r.MemoryKills)
	if d.To.Memory != d.From.Memory && d.To.Replicas == d.From.Replicas && d.To.Cores == d.From.Cores {
		d.Why = "memory"
	}
}

// burst asks for replicas between two decisions, when twice what the ready ones take has come within seconds.
func (s *service) burst(now time.Time, r Reading) Decision {
	d := s.stay(now, r)
	over := now.Sub(s.quickAt)
	if s.quickAt.IsZero() || over <= 0 {
		return d
	}
	u := policy.Usage{Replicas: r.Replicas, Ready: r.Ready, Requests: arrived(s.quick, r) / over.Seconds() * s.lapse}
	units, ok := s.scaler.Burst(now.Sub(s.origin), s.inUnits(u, r), time.Duration(float64(over)/s.lapse))
	if !ok {
		return d
	}
	s.size(&d, units, r)
	d.To.Replicas = max(d.To.Replicas, d.From.Replicas)
	d.To.Cores = max(d.To.Cores, d.From.Cores)
	d.Why, d.Requests, d.InFlight = policy.ScalePanic.String(), u.Requests, float64(r.InFlight)
	s.latest = d
	return d
}

// arrived is how many requests came between two readings.
func arrived(before, r Reading) float64 {
	return math.Max(0, float64(r.Requests-before.Requests+r.InFlight-before.InFlight))
}

// measure is what happened since the reading before.
func (s *service) measure(now time.Time, r Reading) policy.Usage {
	took := now.Sub(s.at).Seconds() / s.lapse
	u := policy.Usage{Replicas: r.Replicas, Ready: r.Ready}
	if took <= 0 {
		return u
	}
	u.Requests = arrived(s.before, r) / took
	// By Little's law, of those that were answered; those that take longer than an interval are seen in flight.
	u.InFlight = math.Max(math.Max(0, (r.Busy-s.before.Busy).Seconds())/took, float64(r.InFlight))
	used := time.Duration(0)
	for replica, cpu := range r.CPU {
		used += max(0, cpu-s.before.CPU[replica])
	}
	if r.Ready > 0 {
		cores := r.Limit
		if cores == 0 {
			cores = 1 // a replica without a limit is reckoned with one core, as in 'scale.target'
		}
		u.CPU = used.Seconds() / took / (float64(r.Ready) * cores)
	}
	return u
}

// wake starts one replica of a service that has none as soon as a request waits.
func (s *service) wake(now time.Time, r Reading) Decision {
	d := s.stay(now, r)
	if r.Replicas > 0 {
		s.asleep = false
		return d
	}
	if r.InFlight > 0 || r.Requests > s.before.Requests {
		d.To.Replicas, d.Reactive, d.Why, d.InFlight = 1, 1, "a request waits", float64(r.InFlight)
		s.asleep = s.scale.DryRun
		s.latest = d
	}
	return d
}

func (s *service) keep(d Decision) {
	if len(s.kept) >= keptDecisions {
		s.kept = s.kept[:copy(s.kept, s.kept[1:])]
	}
	s.kept = append(s.kept, d)
}
