package simulate

import "testing"

func TestMM1(t *testing.T) {
	r := simulate(t, oneService(1, 10, 1, 80), Options{Seed: 1, Replications: 8})
	within(t, "mean response", r.All.Mean.Value.Seconds(), 0.05, 0.03)
	within(t, "utilisation", r.Machine.Utilisation.Value, 0.8, 0.02)
	t.Logf("%+v", r.All)
}
