package plan

import (
	"testing"

	"github.com/banyanhq/banyan/topology"
)

func cached(t *testing.T, caches string, o Options) CachePrediction {
	t.Helper()
	sys, err := topology.Parse(topology.Source{Name: "banyan.yaml", Data: []byte("system: s\n" +
		"services: {web: {run: web, uses: [caches.c]}}\nroutes: [{path: /, to: web}]\ndemands: {/: {web: {visits: 1, cpu: 1ms}}}\n" +
		"workload: {rate: 100/s, scenarios: {a: {steps: [{path: /}]}}}\ncaches: {c: " + caches + "}\n")})
	if err != nil {
		t.Fatal(err)
	}
	load, err := LoadOf(sys, 0)
	if err != nil {
		t.Fatal(err)
	}
	o.Cores = 2
	p, err := Predict(sys, load, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Caches) != 1 {
		t.Fatalf("caches: %+v", p.Caches)
	}
	return p.Caches[0]
}

func TestTwiceTheMemory(t *testing.T) {
	// Asked for all alike, half of the keys fit, and all of them with twice the memory.
	p := cached(t, "{memory: 1MiB, entry: 1KiB, keys: 2048, skew: 0}", Options{})
	near(t, "hit ratio", p.HitRatio, 0.5, 0.01)
	near(t, "with twice the memory", p.Doubled, 1, 0.01)
	near(t, "rate", p.Rate, 100, 1e-9)
	if p.Live || p.Primaries != 0 {
		t.Errorf("%+v", p)
	}
	// What live traffic says goes before that.
	curve := []CurvePoint{{1 << 19, 0.2}, {1 << 20, 0.6}, {3 << 20, 0.8}}
	p = cached(t, "{memory: 1MiB, entry: 1KiB, keys: 2048, skew: 0}", Options{Curves: map[string][]CurvePoint{"c": curve}})
	near(t, "hit ratio", p.HitRatio, 0.5, 0.01)
	near(t, "of live traffic", p.LiveHitRatio, 0.6, 1e-9)
	near(t, "with twice the memory", p.Doubled, 0.7, 1e-9)
	p = cached(t, "{memory: 1MiB}", Options{Curves: map[string][]CurvePoint{"c": curve}})
	near(t, "hit ratio where keys are not known", p.HitRatio, 0.6, 1e-9)
	for memory, want := range map[float64]float64{1: 0.2, 1 << 19: 0.2, 3 << 18: 0.4, 1 << 30: 0.8} {
		near(t, "on the curve", onCurve(curve, memory), want, 1e-9)
	}
}

// TestNodesOfACache: they share the keys, but for the hottest, which is at one of them.
func TestNodesOfACache(t *testing.T) {
	even := cached(t, "{memory: 6MiB, nodes: 6, replicas: 1, keys: 100000, skew: 0, lookup: {cpu: 20us}}", Options{})
	if even.Primaries != 3 {
		t.Errorf("%d primaries", even.Primaries)
	}
	near(t, "the busiest has", even.Busiest, 1.0/3, 0.001)
	near(t, "they bear", even.Holds, 150_000, 0.01)
	skewed := cached(t, "{memory: 6MiB, nodes: 6, replicas: 1, keys: 1000, skew: 2}", Options{})
	near(t, "the busiest has", skewed.Busiest, 0.608+0.392/3, 0.01)
}

// TestLookupsOfACache: a visit makes as many as the route's demands say, or else the service's work, and one that writes makes none.
func TestLookupsOfACache(t *testing.T) {
	sys, err := topology.Parse(topology.Source{Name: "banyan.yaml", Data: []byte(`
system: s
services: {web: {run: web, uses: [caches.c], work: {cpu: 1ms, calls: {caches.c: 3}}}}
routes: [{path: /none, to: web}, {path: /two, to: web}, {path: /work, to: web}, {method: POST, path: /write, to: web}]
demands:
  /none: {web: {visits: 1, cpu: 1ms, calls: {caches.c: 0}}}
  /two: {web: {visits: 2, cpu: 1ms, calls: {caches.c: 2}}}
workload: {rate: 400/s, scenarios: {a: {steps: [{path: /none}, {path: /two}, {path: /work}, {method: POST, path: /write}]}}}
caches: {c: {keys: 100}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	load, err := LoadOf(sys, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Predict(sys, load, Options{Cores: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Caches) != 1 {
		t.Fatalf("caches: %+v", p.Caches)
	}
	each := load.Rates["/two"]
	near(t, "lookups", p.Caches[0].Rate, each*(2*2+3), 1e-9)
}
