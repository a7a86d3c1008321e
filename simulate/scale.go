package simulate

import (
	"time"

	"github.com/banyanhq/banyan/forecast"
	"github.com/banyanhq/banyan/policy"
	"github.com/banyanhq/banyan/topology"
)

// Autoscaler decides how many replicas a service gets. One is made for each replication, and used by one goroutine.
type Autoscaler interface {
	// Replicas returns how many replicas the observed service should have; the answer is kept between the service's
	// minimum and maximum. It is asked for each service that can be scaled, at each interval, in the order of names.
	Replicas(now time.Duration, o Observation) int
}

// Observation of a service since the autoscaler was last asked.
type Observation struct {
	Service string
	// Replicas that are wanted now; Ready are those of them that answer requests.
	Replicas, Ready int
	// Min and Max of the number of replicas.
	Min, Max int
	// Interval since it was last asked, and StartUp, how long a replica takes to serve.
	Interval, StartUp time.Duration
	// CPU used by the ready replicas as a share of their limit, or of one core each where there is none.
	CPU float64
	// Requests a second, all replicas together.
	Requests float64
	// Concurrency is the mean number of requests that the service was handling.
	Concurrency float64
	// Waiting is the mean number of calls that waited for a replica.
	Waiting float64
	// Queue is the number of messages that wait for the service now.
	Queue float64
}

// FileAutoscaler returns an autoscaler that follows what the file says of each service ('scale'), by the policy that
// scales the running system; nil if it says nothing of any that can be scaled.
func FileAutoscaler(sys *topology.System) func() Autoscaler {
	any := false
	for _, s := range sys.Services {
		any = any || s.Scale != nil && s.Replicas.Max > max(s.Replicas.Min, 1)
	}
	if !any {
		return nil
	}
	return func() Autoscaler { return &fileAutoscaler{sys: sys, by: map[string]*policy.ServiceScaler{}} }
}

type fileAutoscaler struct {
	sys *topology.System
	by  map[string]*policy.ServiceScaler
}

func (f *fileAutoscaler) Replicas(now time.Duration, o Observation) int {
	s := f.by[o.Service]
	if s == nil {
		svc := f.sys.Services[o.Service]
		if svc == nil || svc.Scale == nil {
			return o.Replicas
		}
		s = newServiceScaler(svc, o)
		f.by[o.Service] = s
	}
	return s.Decide(now, policy.Usage{
		Replicas: o.Replicas, Ready: o.Ready, CPU: o.CPU, Requests: o.Requests, InFlight: o.Concurrency, Queue: o.Queue,
	}, o.StartUp, 0).Replicas
}

// newServiceScaler is the one that the running system has, at the interval of the simulation.
func newServiceScaler(svc *topology.Service, o Observation) *policy.ServiceScaler {
	cfg := policy.ServiceConfig{Scale: *svc.Scale, Min: o.Min, Max: o.Max, Interval: o.Interval}
	if svc.Scale.Predict {
		// The interval and the reach are in the bounds of a Predictor.
		if ahead, err := forecast.NewPredictor(forecast.PredictorConfig{Step: o.Interval, Far: scaleReach}); err == nil {
			cfg.Ahead = ahead
		}
	}
	return policy.NewServiceScaler(cfg)
}

// scaleReach is how far ahead the autoscaler looks.
const scaleReach = 5 * time.Minute

// scale asks the autoscaler about every service that can be scaled.
func (s *sim) scale() {
	every := s.m.o.AutoscaleEvery
	for i := range s.m.services {
		m := &s.m.services[i]
		if m.max <= m.min {
			continue
		}
		sv := &s.services[i]
		d := s.tally.sinceScale(s, int32(i))
		o := Observation{
			Service: m.name, Replicas: sv.wanted, Ready: sv.count.ready, Min: m.min, Max: m.max, Interval: every, StartUp: time.Duration(m.start),
			Requests: float64(d.Calls) / every.Seconds(), Concurrency: d.presentArea / every.Seconds(), Waiting: d.waitingArea / every.Seconds(),
		}
		limit := m.limit
		if limit == 0 {
			limit = 1
		}
		for _, g := range m.groups {
			o.Queue += float64(s.groups[g].n)
		}
		if d.readyArea > 0 {
			o.CPU = d.cpu / (d.readyArea * limit)
		}
		s.setReplicas(int32(i), min(max(s.scaler.Replicas(s.instant(), o), m.min), m.max))
	}
	s.schedule(s.now+int64(every), evScale, 0, 0)
}

// setReplicas starts or drains replicas until as many as wanted remain.
func (s *sim) setReplicas(service int32, wanted int) {
	sv := &s.services[service]
	for ; sv.wanted < wanted; sv.wanted++ {
		s.launch(s.spare(service), 0)
	}
	for i := len(sv.replicas) - 1; i >= 0 && sv.wanted > wanted; i-- {
		r := sv.replicas[i]
		switch s.replicas[r].state {
		case replicaReady, replicaStarting, replicaDown:
			sv.wanted--
			s.drain(r)
		}
	}
}

// spare is a replica that does not run.
func (s *sim) spare(service int32) int32 {
	for _, i := range s.services[service].replicas {
		if s.replicas[i].state == replicaStopped {
			return i
		}
	}
	return s.addReplica(service)
}
