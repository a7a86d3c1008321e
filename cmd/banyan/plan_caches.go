package main

import (
	"context"
	"fmt"
	"io"

	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

// liveCurves are those of the caches of a system that runs here, by what they have seen so far; nil where it does not run, or its file is
// another one.
func (c *cli) liveCurves(ctx context.Context, sys *topology.System) map[string][]plan.CurvePoint {
	if len(sys.Caches) == 0 {
		return nil
	}
	client, info, err := c.running(ctx)
	if err != nil || info.System != sys.Name {
		return nil
	}
	servers, err := client.CacheServers(ctx)
	if err != nil {
		return nil // a plan can be made without
	}
	curves := map[string][]plan.CurvePoint{}
	for _, s := range servers {
		if sys.Caches[s.Cache] == nil {
			continue
		}
		for _, p := range s.Curve {
			curves[s.Cache] = append(curves[s.Cache], plan.CurvePoint{Memory: float64(p.Memory), HitRatio: p.HitRatio})
		}
	}
	return curves
}

// printPlanCaches says what caches answer, what twice the memory would buy, and what the nodes of a cluster bear.
func printPlanCaches(w io.Writer, caches []plan.CachePrediction) {
	for _, p := range caches {
		has, twice := topology.Bytes(p.Memory).String(), topology.Bytes(2*p.Memory).String()
		fmt.Fprintf(w, "caches.%s: %s answers %s of %s lookups/s", p.Cache, has, percent(p.HitRatio), digits(p.Rate))
		now, by := p.HitRatio, ""
		if p.Live {
			now, by = p.LiveHitRatio, fmt.Sprintf(" (live traffic: %s now)", percent(p.LiveHitRatio))
		}
		if gain := p.Doubled - now; gain < 0.005 {
			fmt.Fprintf(w, "; twice the memory would buy nothing%s.\n", by)
		} else {
			fmt.Fprintf(w, "; with twice the memory, %s, it would be %s, %s fewer misses%s.\n", twice, percent(p.Doubled), percent(gain/(1-now)), by)
		}
		if p.Primaries > 0 {
			fmt.Fprintf(w, "  Its %d primaries bear %s lookups/s: the busiest has %s of them.\n", p.Primaries, digits(p.Holds), percent(p.Busiest))
		}
	}
}
