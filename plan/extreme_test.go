package plan

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// TestExtremesGiveFiguresOrErrors plans systems at the edge of what a file may say: each gives an error or finite
// figures, which JSON can hold.
func TestExtremesGiveFiguresOrErrors(t *testing.T) {
	for name, change := range map[string]func(*topology.System, *Load){
		"as it is":      func(*topology.System, *Load) {},
		"no CPU at all": func(s *topology.System, _ *Load) { s.Services["catalog"].Work.CPU = 0 },
		"idle over cores": func(s *topology.System, _ *Load) {
			s.Calibration = &topology.Calibration{Idle: map[string]float64{"web": 9}}
		},
		"idle over limit": func(s *topology.System, _ *Load) {
			s.Calibration = &topology.Calibration{Idle: map[string]float64{"catalog": 0.6}}
		},
		"a year of CPU":     func(s *topology.System, _ *Load) { s.Services["catalog"].Work.CPU = topology.Duration(year) },
		"a nanosecond":      func(s *topology.System, _ *Load) { s.Services["catalog"].Work.CPU = 1 },
		"SLO of nothing":    func(s *topology.System, _ *Load) { s.SLOs["fast"].Latency["p99"] = 0 },
		"SLO of an age":     func(s *topology.System, _ *Load) { s.SLOs["fast"].Latency["p99"] = topology.Duration(100 * year) },
		"no SLO":            func(s *topology.System, _ *Load) { s.SLOs = nil },
		"tiny limit":        func(s *topology.System, _ *Load) { s.Services["catalog"].Limits.CPU = 1e-6 },
		"tiny machine":      func(s *topology.System, _ *Load) { s.Machine.Cores = 1e-6 },
		"thousands of both": func(s *topology.System, _ *Load) { s.Machine.Cores, s.Services["catalog"].Replicas.Min = 4096, 10000 },
		"almost no load":    func(_ *topology.System, l *Load) { l.Rates["api"] = 1e-12 },
		"no end of load":    func(_ *topology.System, l *Load) { l.Rates["api"] = math.Inf(1) },
		"too much load":     func(_ *topology.System, l *Load) { l.Rates["api"] = 1e15 },
		"one user":          func(_ *topology.System, l *Load) { *l = Load{Users: 1, Mix: map[string]float64{"api": 1}} },
		"millions of users": func(_ *topology.System, l *Load) {
			*l = Load{Users: 1e7, Think: time.Second, Mix: map[string]float64{"api": 1}}
		},
		"wild variation": func(s *topology.System, _ *Load) {
			v := 1000.0
			s.Services["catalog"].Work.SCV = &v
		},
		"many tries": func(s *topology.System, _ *Load) {
			s.Routes[0].Retry = &topology.Retry{Attempts: 10, Budget: 1}
			s.Services["catalog"].Inbound = topology.Inbound{Timeout: 1, Retry: &topology.Retry{Attempts: 10, Budget: 1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			sys, load := limited()
			change(sys, &load)
			p, err := Make(sys, load, Options{})
			if err != nil {
				t.Logf("plan: %v", err)
			} else if _, err := json.Marshal(p); err != nil {
				t.Errorf("plan: %v", err)
			}
			c, err := Grow(sys, load, CapacityOptions{For: 2 * year, Uncertainty: 0.5, Samples: 50})
			if err != nil {
				t.Logf("capacity: %v", err)
			} else if _, err := json.Marshal(c); err != nil {
				t.Errorf("capacity: %v", err)
			}
		})
	}
}
