package plan

import (
	"math"
	"slices"
	"testing"
)

// The bottleneck with half of its CPU time holds twice as much; a cache before it five times; nothing is left changed.
func TestExploreCounterfactuals(t *testing.T) {
	sys := shop()
	sys.Machine.Cores = 64
	sys.Services["catalog"].Limits.CPU = 0.5
	sys.Services["web"].Limits.CPU = 4
	load := Load{Rates: map[string]float64{"api": 50, "home": 10}}
	e, err := Explore(sys, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]Change{}
	for _, c := range e.Counterfactuals {
		by[c.What] = c
	}
	now := by["as it is"].Saturation
	for what, times := range map[string]float64{
		"catalog: 50% less CPU time": 2, "catalog: 10% less CPU time": 1 / 0.9, "web: 50% less CPU time": 1,
		"catalog: cache in front, 80% hits": 5, "catalog: scale out, 2 replicas": 2, "catalog: scale up, 1 cores each": 2,
		// Of 70 calls of catalog 20 come from web, whose cache spares 80 % of them.
		"web: cache in front, 80% hits": 70.0 / 54,
	} {
		c, ok := by[what]
		if !ok {
			t.Errorf("%s is missing of %v", what, e.Counterfactuals)
			continue
		}
		near(t, what, c.Saturation/now, times, 1e-6)
	}
	again, err := Explore(sys, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range again.Counterfactuals {
		if c != e.Counterfactuals[i] {
			t.Errorf("asked twice: %+v, then %+v", e.Counterfactuals[i], c)
		}
	}
}

// The ranges of the map cover all shares without gaps, and what they name is what Predict names there.
func TestExploreMapsBottlenecks(t *testing.T) {
	sys := shop()
	sys.Machine.Cores = 64
	sys.Services["catalog"].Limits.CPU = 0.5
	sys.Services["web"].Limits.CPU = 0.15
	e, err := Explore(sys, Load{Rates: map[string]float64{"api": 50, "home": 10}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	at, switches := map[string]float64{}, 0
	for _, r := range e.Mixes {
		near(t, "start of "+r.Route, r.From, at[r.Route], 1e-9)
		at[r.Route] = r.To
		switches++
		share := (r.From + r.To) / 2
		rates := map[string]float64{"api": 1 - share, "home": share}
		if r.Route == "api" {
			rates = map[string]float64{"api": share, "home": 1 - share}
		}
		p, err := Predict(sys, Load{Rates: rates}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Bottleneck != r.By {
			t.Errorf("%s at %v: the map says %s, the prediction %s", r.Route, share, r.By, p.Bottleneck)
		}
	}
	// web would fill first from where 0.15 / (1 ms h) = 0.5 / (2 ms (1 + h)) on: never.
	if len(at) != 2 || at["api"] != 1 || at["home"] != 1 || switches != 2 {
		t.Errorf("ranges %+v", e.Mixes)
	}
	sys.Services["web"].Limits.CPU = 0.08
	if e, err = Explore(sys, Load{Rates: map[string]float64{"api": 50, "home": 10}}, Options{}); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, r := range e.Mixes {
		if r.Route == "home" && r.By == "web" {
			found = true
			if math.Abs(r.From-80.0/170) > 2e-4 { // 80 / h = 250 / (1 + h)
				t.Errorf("web takes over at %v, want %v", r.From, 80.0/170)
			}
		}
	}
	if !found {
		t.Errorf("web never fills first: %+v", e.Mixes)
	}
	if len(e.Loads) == 0 || e.Loads[len(e.Loads)-1].To <= 0 {
		t.Errorf("loads %+v", e.Loads)
	}
}

// What a prediction leaves out it says.
func TestBlocksAreNamedAsLeftOut(t *testing.T) {
	sys := shop()
	sys.Services["catalog"].Uses = []string{"pages", "books"}
	p, err := Predict(sys, Load{Rates: map[string]float64{"api": 50}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "api: books, pages are left out of the prediction; 'banyan simulate' knows them"; !slices.Contains(p.Notes, want) {
		t.Errorf("notes %q, want %q", p.Notes, want)
	}
}
