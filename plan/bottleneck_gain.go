package plan

import (
	"maps"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// PredictGains puts in place of the gains that findings of CPU and CPU limits state for themselves those that the planner's
// model predicts, for the system as it is under the given load: the change that the remedy names is made, and everything solved
// again, so that what limits the system next counts. The model's gain is taken as a share of the mean latency, so that an
// error of the level does not count. Findings of what the model has no station for (locks, pools, slow dependencies, uneven
// replicas) keep their own. It does nothing where the system is not calibrated, or is beyond what the model holds.
func PredictGains(found []Finding, sys *topology.System, load Load, o Options) error {
	if sys.Calibration == nil {
		return nil
	}
	before, err := Predict(sys, load, o)
	if err != nil {
		return err
	}
	for i := range found {
		f := &found[i]
		changed, how := sys, o
		by := ""
		switch svc := sys.Services[f.Service]; {
		case f.Service == Machine:
			how.Cores *= 2
			if sys.Machine != nil && sys.Machine.Cores > 0 {
				twice := *sys
				twice.Machine = &topology.Machine{Cores: 2 * sys.Machine.Cores, Memory: sys.Machine.Memory}
				changed = &twice
			}
			by = "the model, with twice the cores"
		case svc == nil:
			continue
		case f.Class == ClassQuota:
			how.CPU = maps.Clone(o.CPU)
			if how.CPU == nil {
				how.CPU = map[string]float64{}
			}
			limit, ok := how.CPU[f.Service]
			if !ok {
				limit = float64(svc.Limits.CPU)
			}
			if limit <= 0 {
				continue
			}
			how.CPU[f.Service] = 2 * limit
			by = "the model, with twice the limit"
		case f.Class == ClassCPU:
			changed = halved(sys, f.Service)
			by = "the model, with half the CPU time"
		default:
			continue
		}
		after, err := Predict(changed, load, how)
		if err != nil {
			return err
		}
		if after.Saturated {
			continue
		}
		if before.Saturated {
			// There is no latency to compare with: what is left is at most what the changed system takes.
			f.Gain, f.By = max(f.Mean-meanOf(after), 0), by+" (it is full as it is)"
			continue
		}
		if was := meanOf(before); was > 0 {
			f.Gain = time.Duration(float64(f.Mean) * max(0, 1-float64(meanOf(after))/float64(was)))
			f.By = by
		}
	}
	return nil
}

// meanOf is the mean latency over all requests.
func meanOf(p *Prediction) time.Duration {
	var sum, rate float64
	for _, r := range p.Routes {
		sum += r.Rate * float64(r.Mean)
		rate += r.Rate
	}
	if rate == 0 {
		return 0
	}
	return time.Duration(sum / rate)
}

// halved is the system with half the CPU time of a service.
func halved(sys *topology.System, service string) *topology.System {
	out := *sys
	out.Demands = maps.Clone(sys.Demands)
	for route, by := range sys.Demands {
		d := by[service]
		if d == nil {
			continue
		}
		half := *d
		half.CPU, half.Async = d.CPU/2, d.Async/2
		by = maps.Clone(by)
		by[service] = &half
		out.Demands[route] = by
	}
	if svc := sys.Services[service]; svc != nil && svc.Work != nil {
		out.Services = maps.Clone(sys.Services)
		s, w := *svc, *svc.Work
		w.CPU /= 2
		s.Work = &w
		out.Services[service] = &s
	}
	return &out
}
