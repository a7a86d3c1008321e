package plan

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// crowd adds to a run, for each of its requests, so many that a bound refused: they took a fifth of a millisecond each and reached nobody.
// What they cost is left out, as it is little.
func crowd(m *Measurement, share float64) *Measurement {
	out := *m
	out.Routes = map[string]RouteMeasurement{}
	out.Calls = nil
	for _, c := range m.Calls {
		if c.From == "" {
			n := int64(share * float64(c.Count))
			c.Count, c.Time = c.Count+n, c.Time+time.Duration(n)*200*time.Microsecond
		}
		out.Calls = append(out.Calls, c)
	}
	for name, r := range m.Routes {
		n := int64(share * float64(r.Requests))
		r.Mean = time.Duration((float64(r.Mean)*float64(r.Requests) + float64(n)*2e5) / float64(r.Requests+n))
		r.Requests, r.Errors, r.Refused = r.Requests+n, r.Errors+n, n
		out.Routes[name] = r
	}
	return &out
}

// asks is the CPU time of a request at a service, and the time for which it waits for nobody.
func asks(c *Calibrated, route, service string) (cpu, delay float64) {
	d := c.Demands[route][service]
	return d.Visits * (d.CPU + d.Async + d.Wake).Std().Seconds(), d.Visits * d.Delay.Std().Seconds()
}

// What was refused takes no CPU and no time: it must not pull down what the others are found to ask.
func TestWhatWasRefusedDoesNotPullDemandsDown(t *testing.T) {
	m := aRun(4).measure(t)
	for i := range m.Calls { // web has some time of its own
		if c := &m.Calls[i]; c.From == "" {
			c.Time += time.Duration(c.Count) * 4 * time.Millisecond
		}
	}
	for name, r := range m.Routes {
		r.Mean += 4 * time.Millisecond
		m.Routes[name] = r
	}
	calibrate := func(m *Measurement) *Calibrated {
		c, err := Calibrate(&topology.System{}, m)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	plain := calibrate(m)
	few := calibrate(crowd(m, 0.009))
	if !strings.Contains(fmt.Sprint(few.Notes), "requests were refused, since the service had no room") {
		t.Errorf("nothing is said of it: %q", few.Notes)
	}
	for name, c := range map[string]*Calibrated{"few": few, "many": calibrate(crowd(m, 0.4).answered())} {
		for route := range m.Routes {
			for _, svc := range []string{"web", "catalog"} {
				cpu, delay := asks(c, route, svc)
				wantCPU, wantDelay := asks(plain, route, svc)
				near(t, name+": CPU of "+route+" at "+svc, cpu, wantCPU, 1e-3)
				near(t, name+": delay of "+route+" at "+svc, delay, wantDelay, 0.05) // those refused took 0.2 ms, which counts as the others'
				near(t, name+": visits", c.Demands[route][svc].Visits, plain.Demands[route][svc].Visits, 1e-3)
			}
			near(t, name+": rate", c.Calibration.Rates[route], plain.Calibration.Rates[route], 1e-3)
		}
	}
}

// A run in which a service was full for a good part says what a full service takes. So does one in which a service further down was.
func TestARunThatWasRefusedIsNotTaken(t *testing.T) {
	inner := *aRun(4).measure(t)
	inner.Edges = append([]EdgeMeasurement(nil), inner.Edges...)
	for i := range inner.Edges {
		if e := &inner.Edges[i]; e.From == "web" {
			e.Refused = int64(math.Round(0.02 * float64(e.Count)))
		}
	}
	for name, m := range map[string]*Measurement{"requests": crowd(aRun(4).measure(t), 0.015), "calls from web to catalog": &inner} {
		if _, err := Calibrate(&topology.System{}, m); err == nil || !strings.Contains(err.Error(), name+" were refused") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Calls that a service further down refused are no visits.
func TestCallsThatWereRefusedAreNoVisits(t *testing.T) {
	m := aRun(4).measure(t)
	plain, err := Calibrate(&topology.System{}, m)
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.Edges {
		if e := &m.Edges[i]; e.From == "web" {
			e.Refused = e.Count / 125
		}
	}
	c, err := Calibrate(&topology.System{}, m)
	if err != nil {
		t.Fatal(err)
	}
	for route := range m.Routes {
		near(t, "visits", c.Demands[route]["catalog"].Visits, plain.Demands[route]["catalog"].Visits*(1-1.0/125), 1e-3)
	}
}
