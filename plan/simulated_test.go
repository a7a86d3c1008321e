package plan

import (
	"math"
	"testing"
	"time"

	"github.com/banyanhq/banyan/simulate"
	"github.com/banyanhq/banyan/topology"
)

// TestSimulatorAnswersAsTheClosedForm holds the two against each other on a chain as a calibration describes it, whose hops cost
// more to wake up than to do: a simulator in which a request's own pieces kept the next one awake had it a third too fast.
func TestSimulatorAnswersAsTheClosedForm(t *testing.T) {
	us := func(n float64) topology.Duration { return topology.Duration(n * float64(time.Microsecond)) }
	scv := 0.3
	sys := &topology.System{Name: "chain", Machine: &topology.Machine{Cores: 2},
		Services: map[string]*topology.Service{
			"front": {Uses: []string{"middle"}, Limits: topology.Limits{CPU: 0.4}}, "middle": {Uses: []string{"back"}, Limits: topology.Limits{CPU: 0.5}},
			"back": {Limits: topology.Limits{CPU: 0.4}},
		},
		Routes:      []*topology.Route{{Name: "get", Path: "/", To: "front"}},
		Calibration: &topology.Calibration{Cores: 2, Throughput: 69, Slice: us(1400), Dispersion: 2, Idle: map[string]float64{Gateway: 0.05}},
		Demands: map[string]map[string]*topology.Demand{"get": {
			"front":  {Visits: 1, CPU: us(544), Async: us(11), Wake: us(846), SCV: &scv, Calls: map[string]float64{"middle": 1}},
			"middle": {Visits: 1, CPU: us(2188), Async: us(45), Wake: us(846), SCV: &scv, Calls: map[string]float64{"back": 1}},
			"back":   {Visits: 1, CPU: us(1081), Async: us(22), Wake: us(423), SCV: &scv},
			Gateway:  {Visits: 3, CPU: us(85), Async: us(2), Wake: us(493), SCV: &scv},
			Client:   {Visits: 1, Async: us(341), Wake: us(493)},
		}},
	}
	for _, rate := range []float64{20, 69} {
		load := Load{Rates: map[string]float64{"get": rate}}
		p, err := Predict(sys, load, Options{Cores: 2})
		if err != nil {
			t.Fatal(err)
		}
		m, err := simulate.New(sys, simulate.Options{Seed: 1, Load: &load, Replications: 2, Duration: 2 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		closed, simulated := p.Routes[0].Mean.Seconds(), r.All.Mean.Value.Seconds()
		if math.Abs(simulated/closed-1) > 0.08 {
			t.Errorf("at %v/s the simulator says %.2f ms, the closed form %.2f ms", rate, 1e3*simulated, 1e3*closed)
		}
		if used := r.Machine.CPU.Value; math.Abs(used/p.Machine.CPU-1) > 0.04 {
			t.Errorf("at %v/s the simulator uses %.3f cores, the closed form %.3f", rate, used, p.Machine.CPU)
		}
	}
}
