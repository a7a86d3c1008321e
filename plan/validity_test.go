package plan

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func claimOf(t *testing.T, p *Prediction, what string) Claim {
	t.Helper()
	for _, c := range p.Claims {
		if c.What == what {
			return c
		}
	}
	t.Fatalf("no claim on %s in %+v", what, p.Claims)
	return Claim{}
}

func TestPredictionsSayHowFarTheyGo(t *testing.T) {
	calibrated := &topology.Calibration{Throughput: 60}
	for _, c := range []struct {
		name        string
		rate        float64
		calibration *topology.Calibration
		users       int
		places      int
		mean        Trust
		method, why string
	}{
		{"declared costs", 50, nil, 0, 0, Fair, "closed form", "not measured"},
		{"measured costs, a light load", 100, calibrated, 0, 0, Good, "closed form", ""},
		{"measured costs, a heavy load", 160, calibrated, 0, 0, Fair, "closed form", "80% used"},
		{"nearly full", 190, calibrated, 0, 0, Poor, "closed form", "95% used"},
		{"over what is held", 230, calibrated, 0, 0, None, "operational bounds", "more than is held"},
		{"users", 0, calibrated, 5, 0, Good, "mean value analysis", ""},
		{"places", 50, calibrated, 0, 9, Good, "layers of calls", ""},
		{"far from the calibration", 50, &topology.Calibration{Throughput: 10}, 0, 0, Fair, "closed form", "5.0 times"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sys := fan(nil, nil, map[string]float64{"store": 1})
			sys.Machine.Cores = 1
			sys.Services["store"].Work.CPU = ms(5)
			sys.Services["store"].Concurrency = c.places
			sys.Calibration = c.calibration
			load := Load{Rates: map[string]float64{"home": c.rate}}
			if c.users > 0 {
				load = Load{Users: c.users, Think: 100 * time.Millisecond, Mix: map[string]float64{"home": 1}}
			}
			p, err := Predict(sys, load, Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := claimOf(t, p, claimMean)
			if got.Trust != c.mean || !strings.Contains(got.Method, c.method) || !strings.Contains(strings.Join(got.Why, "; "), c.why) {
				t.Errorf("%+v", got)
			}
			if tail := claimOf(t, p, claimPercentiles); worse(got.Trust, tail.Trust) {
				t.Errorf("percentiles are trusted more than the mean: %+v", tail)
			}
		})
	}
}

// TestWhatIsLeftOutIsSimulated: a cache that answers three of four spares the store three quarters of its time.
func TestWhatIsLeftOutIsSimulated(t *testing.T) {
	sys := fan(nil, nil, map[string]float64{"store": 20})
	sys.Services["front"].Uses = []string{"caches.items", "store"}
	sys.Caches = map[string]*topology.Cache{"items": {}}
	load := Load{Rates: map[string]float64{"home": 100}}
	p, err := Predict(sys, load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c := claimOf(t, p, claimMean); c.Trust != Poor || len(p.Beyond) != 1 || p.Beyond[0] != "caches.items" {
		t.Fatalf("%+v, beyond %v", c, p.Beyond)
	}
	did, err := p.Simulate(context.Background(), sys, Options{})
	if err != nil || !did {
		t.Fatalf("simulated: %v, %v", did, err)
	}
	if c := claimOf(t, p, claimMean); c.Trust != Fair || c.Method != "simulation" || !strings.Contains(p.Method, "caches.items") {
		t.Errorf("%q: %+v", p.Method, c)
	}
	if mean := p.Routes[0].Mean; mean <= 0 || p.Routes[0].P99 < mean {
		t.Errorf("simulated mean %v, p99 %v", mean, p.Routes[0].P99)
	}
	plain, err := Predict(fan(nil, nil, map[string]float64{"store": 20}), load, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if did, err := plain.Simulate(context.Background(), sys, Options{}); did || err != nil {
		t.Errorf("what the closed form knows was simulated: %v, %v", did, err)
	}
}

func TestTheMetastableRegionIsChecked(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates minutes")
	}
	sys := stormy(2, 1e6)
	st, held := planStorm(t, sys)
	if err := st.Check(context.Background(), sys, held, Options{}); err != nil {
		t.Fatal(err)
	}
	c := st.Simulated
	if !c.Confirmed || c.Why != "" || c.Recovers < 0.89*st.From || c.Stays > 1.11*st.From {
		t.Errorf("from %g: %+v", st.From, c)
	}
	// A threshold that is twice too high is found out.
	st.From *= 2
	if err := st.Check(context.Background(), sys, held, Options{}); err != nil || st.Simulated.Confirmed {
		t.Errorf("%+v, %v", st.Simulated, err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := st.Check(ended, sys, held, Options{}); err == nil {
		t.Error("a check that was ended gives no error")
	}
}
