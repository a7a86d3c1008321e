package plan

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// A split divides the visits, a mirror and hedges add CPU that nobody waits for.
func TestTrafficRulesChangeTheDemands(t *testing.T) {
	work := func(ms int) *topology.Work {
		return &topology.Work{CPU: topology.Duration(time.Duration(ms) * time.Millisecond)}
	}
	sys := &topology.System{Services: map[string]*topology.Service{
		"old": {Work: work(10), Uses: []string{"store"}}, "new": {Work: work(20)}, "store": {Work: work(2)}, "audit": {Work: work(4)},
	}}
	for _, c := range []struct {
		route topology.Route
		want  map[string]demand // visits, cpu, async
	}{
		{topology.Route{To: "old"}, map[string]demand{"old": {visits: 1, cpu: 0.010}, "store": {visits: 1, cpu: 0.002}}},
		{topology.Route{To: "old", Split: map[string]float64{"old": 3, "new": 1}},
			map[string]demand{"old": {visits: 0.75, cpu: 0.010}, "store": {visits: 0.75, cpu: 0.002}, "new": {visits: 0.25, cpu: 0.020}}},
		{topology.Route{To: "new", Mirror: &topology.Mirror{To: "audit", Share: 0.5}},
			map[string]demand{"new": {visits: 1, cpu: 0.020}, "audit": {visits: 0.5, async: 0.004}}},
		{topology.Route{To: "new", Mirror: &topology.Mirror{To: "new", Share: 0.5}}, map[string]demand{"new": {visits: 1, cpu: 0.020, async: 0.010}}},
		{topology.Route{To: "new", Inbound: topology.Inbound{Hedge: &topology.Hedge{Quantile: 0.9, Budget: 0.05}}},
			map[string]demand{"new": {visits: 1, cpu: 0.020, async: 0.001}}},
		{topology.Route{To: "new", Method: "POST", Inbound: topology.Inbound{Hedge: &topology.Hedge{Quantile: 0.9, Budget: 0.05}}},
			map[string]demand{"new": {visits: 1, cpu: 0.020}}},
		{topology.Route{Redirect: &topology.Redirect{Host: "x"}}, map[string]demand{}},
	} {
		got := map[string]demand{}
		if silent := expandRoute(sys, &c.route, got); len(silent) > 0 {
			t.Errorf("silent %s", strings.Join(silent, ", "))
		}
		if len(got) != len(c.want) {
			t.Errorf("%+v: %+v", c.route, got)
		}
		for name, want := range c.want {
			d := got[name]
			if math.Abs(d.visits-want.visits)+math.Abs(d.cpu-want.cpu)+math.Abs(d.async-want.async) > 1e-9 {
				t.Errorf("%+v: %s %+v, want %+v", c.route, name, d, want)
			}
		}
	}
}
