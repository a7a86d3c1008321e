package simulate

import (
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func TestSizedSystemsAreAsBusyAsAsked(t *testing.T) {
	sys := chain(5_000_000, 1)
	sys.Workload.Think = topology.Duration(5 * time.Second)
	sys.Services["web"].Limits.CPU = 0.5
	r := simulate(t, sys, Options{Seed: 1, Cells: 2500, Fit: 0.6, Warmup: 2 * time.Second, Duration: 10 * time.Second, Replications: 2})
	within(t, "utilisation", r.Machine.Utilisation.Value, 0.6, 0.03)
	within(t, "requests a second of a cell", r.All.Throughput.Value, 2000/5.03, 0.03)
	// A million requests a second, of 10 ms of CPU each.
	within(t, "cores", r.Sizing.Cores, 5e6/5.0275*0.010/0.6, 0.01)
	if n := r.Sizing.Replicas["web"]; n%2500 != 0 || n < 13_000 || n > 20_000 {
		t.Errorf("%d replicas of web", n)
	}
	if u := r.service(t, "web").Utilisation.Value; u < 0.4 || u > 0.61 {
		t.Errorf("web is used to %v", u)
	}
	for _, o := range []Options{{Fit: 1}, {Fit: -0.1}, {Cells: -1}, {Cells: 3_000_000}} {
		if _, err := New(sys, o); err == nil {
			t.Errorf("no error for %v cells at %v", o.Cells, o.Fit)
		}
	}
}

func TestCellsDivideWhatTheFileSays(t *testing.T) {
	sys := farm(8, 400, topology.Inbound{})
	whole := simulate(t, sys, Options{Seed: 1, Warmup: -1, Duration: 20 * time.Second})
	cell := simulate(t, sys, Options{Seed: 1, Warmup: -1, Duration: 80 * time.Second, Cells: 4})
	within(t, "utilisation", cell.Machine.Utilisation.Value, whole.Machine.Utilisation.Value, 0.04)
	within(t, "requests a second", cell.All.Throughput.Value, 100, 0.03)
	if cell.service(t, "web").Replicas.Value > 2.001 || cell.Sizing.Cores != 8 {
		t.Errorf("a cell of %v replicas, %v cores in all", cell.service(t, "web").Replicas.Value, cell.Sizing.Cores)
	}
	if cell.All.Mean.Value < whole.All.Mean.Value {
		t.Errorf("a cell answers after %v, the whole after %v", cell.All.Mean.Value, whole.All.Mean.Value)
	}
}
