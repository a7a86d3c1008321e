package slo

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Objective is one promise: a share of good events.
type Objective struct {
	// SLO is its name in the file, Kind which of its promises: availability, or for example p99<200ms.
	SLO, Kind string
	// Route that it is about, and Service that answers it.
	Route, Service string
	// Target is the share of events that must be good, 0 to 1.
	Target float64
	// Window over which it must be.
	Window time.Duration
	// Limit of the latency; 0 for availability.
	Limit time.Duration
}

// Budget is the share of events that may be bad.
func (o Objective) Budget() float64 { return 1 - o.Target }

// Objectives of a system, by name.
func Objectives(sys *topology.System) []Objective {
	var out []Objective
	for _, name := range slices.Sorted(maps.Keys(sys.SLOs)) {
		s := sys.SLOs[name]
		base := Objective{SLO: name, Route: s.Route, Window: s.Window.Std()}
		if r := sys.RouteByName(s.Route); r != nil {
			base.Service = r.To
		}
		if s.Availability > 0 && s.Availability < 1 {
			o := base
			o.Kind, o.Target = "availability", float64(s.Availability)
			out = append(out, o)
		}
		var latencies []Objective
		for p, limit := range s.Latency {
			share, err := strconv.ParseFloat(strings.TrimPrefix(p, "p"), 64)
			if err != nil || share <= 0 || share >= 100 {
				continue // p100 leaves no budget: nothing can be reckoned with it
			}
			o := base
			o.Kind, o.Target, o.Limit = p+"<"+limit.String(), share/100, limit.Std()
			latencies = append(latencies, o)
		}
		slices.SortFunc(latencies, func(a, b Objective) int { return cmp.Compare(a.Target, b.Target) })
		out = append(out, latencies...)
	}
	return out
}

// failed are the codes of requests that failed: answers of 500 and above, and those that never came (0).
const failed = `code=~"5..|0"`

// Bad is a query for the rate, or with increase for the number, of bad events over a window.
func (o Objective) Bad(function, window string) string {
	if o.Limit == 0 {
		return fmt.Sprintf("sum(%s(banyan_gateway_requests_total{route=%q,%s}[%s]))", function, o.Route, failed, window)
	}
	limit := strconv.FormatFloat(o.Limit.Seconds(), 'f', -1, 64)
	le := fmt.Sprintf("le=%q", limit)
	if !strings.Contains(limit, ".") { // Prometheus 3 and OpenMetrics write 1.0, Prometheus 2 writes 1
		le = fmt.Sprintf("le=~%q", limit+"([.]0)?")
	}
	return fmt.Sprintf(`(sum(%[1]s(banyan_gateway_request_duration_seconds_count{route=%[2]q}[%[4]s])) - sum(%[1]s(banyan_gateway_request_duration_seconds_bucket{route=%[2]q,%[3]s}[%[4]s])))`,
		function, o.Route, le, window)
}

// Total is the same for all events.
func (o Objective) Total(function, window string) string {
	name := "banyan_gateway_requests_total"
	if o.Limit > 0 {
		name = "banyan_gateway_request_duration_seconds_count"
	}
	return fmt.Sprintf("sum(%s(%s{route=%q}[%s]))", function, name, o.Route, window)
}

// Ratio is a query for the share of bad events over a window; it gives 0 where there are events and none is bad.
func (o Objective) Ratio(window string) string {
	bad, total := o.Bad("rate", window), o.Total("rate", window)
	if o.Limit == 0 { // a code that never came has no series
		bad = fmt.Sprintf("(%s or 0 * %s)", bad, total)
	}
	return fmt.Sprintf("%s / (%s > 0)", bad, total)
}

// Promql writes a length of time as PromQL does.
func Promql(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d >= u.unit && d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}
