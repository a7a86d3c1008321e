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
)

// Decision about a service. Rates are requests a second.
type Decision struct {
	At       time.Time `json:"at"`
	Service  string    `json:"service"`
	From     int       `json:"from"`
	To       int       `json:"to"`
	Why      string    `json:"why"`
	DryRun   bool      `json:"dryRun,omitempty"`
	Error    string    `json:"error,omitempty"`
	Reactive int       `json:"reactive"` // what Kubernetes' rule alone would have chosen
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
	Used    bool          `json:"used"` // false while it has not shown skill
}

// service is what the Controller knows of one.
type service struct {
	name   string
	dryRun bool
	scaler *policy.ServiceScaler
	origin time.Time
	before Reading
	at     time.Time // of before
	asleep bool
	kept   []Decision
	latest Decision
}

func newService(name string, svc *topology.Service) (*service, error) {
	ahead, err := forecast.NewPredictor(forecast.PredictorConfig{Step: Interval, Far: farthest})
	if err != nil {
		return nil, fmt.Errorf("scaling %s: %w", name, err)
	}
	return &service{name: name, dryRun: svc.Scale.DryRun,
		scaler: policy.NewServiceScaler(*svc.Scale, svc.Replicas.Min, svc.Replicas.Max, Interval, ahead)}, nil
}

// decide at an interval.
func (s *service) decide(now time.Time, r Reading) Decision {
	d := Decision{At: now, Service: s.name, From: r.Replicas, To: r.Replicas, Ready: r.Ready, DryRun: s.dryRun}
	if s.at.IsZero() {
		s.origin = now
		d.Why = "nothing is measured yet"
	} else {
		u := s.measure(now, r)
		by := s.scaler.Decide(now.Sub(s.origin), u, r.StartUp)
		d.To, d.Why, d.Reactive, d.Each = by.Replicas, by.Why.String(), by.Reactive, by.Each
		d.Requests, d.InFlight, d.CPU = u.Requests, u.InFlight, u.CPU
		if by.Outlook.Ready {
			d.Outlook = &Outlook{Until: by.Outlook.Until, Beyond: by.Outlook.Beyond, StartUp: r.StartUp,
				Skill: by.Outlook.Skill, Model: by.Outlook.Model, Used: by.OutlookUsed}
		}
	}
	s.before, s.at = r, now
	s.asleep = d.To == 0
	s.latest = d
	return d
}

// measure is what happened since the reading before.
func (s *service) measure(now time.Time, r Reading) policy.Usage {
	took := now.Sub(s.at).Seconds()
	u := policy.Usage{Replicas: r.Replicas, Ready: r.Ready}
	if took <= 0 {
		return u
	}
	answered := max(0, r.Requests-s.before.Requests)
	u.Requests = math.Max(0, float64(answered+r.InFlight-s.before.InFlight)) / took
	// By Little's law, of those that were answered; those that take longer than an interval are seen in flight.
	u.InFlight = math.Max(math.Max(0, (r.Busy-s.before.Busy).Seconds())/took, float64(r.InFlight))
	used := time.Duration(0)
	for replica, cpu := range r.CPU {
		used += max(0, cpu-s.before.CPU[replica])
	}
	if r.Ready > 0 && r.Cores > 0 {
		u.CPU = used.Seconds() / took / (float64(r.Ready) * r.Cores)
	}
	return u
}

// wake starts one replica of a service that has none as soon as a request waits.
func (s *service) wake(now time.Time, r Reading) Decision {
	d := Decision{At: now, Service: s.name, From: r.Replicas, To: r.Replicas, InFlight: float64(r.InFlight), DryRun: s.dryRun}
	if r.Replicas > 0 {
		s.asleep = false
		return d
	}
	if r.InFlight > 0 || r.Requests > s.before.Requests {
		d.To, d.Reactive, d.Why = 1, 1, "a request waits"
		s.asleep = s.dryRun
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
