package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/plan"
)

// What is refused has a table of its own, between throughput and latency, and none where nothing is predicted to be.
func TestComparisonOfRefusals(t *testing.T) {
	printed := func(refused *plan.Pair) string {
		cmp := &plan.Comparison{System: "shop", Source: "load-1", Refused: refused,
			Routes: map[string]plan.RouteComparison{"home": {Throughput: plan.Pair{Predicted: 700, Measured: 690, Error: 0.0145}}}}
		var out bytes.Buffer
		(&cli{out: &out}).printComparison(&plan.Measurement{Cores: 2}, cmp)
		return out.String()
	}
	got := printed(&plan.Pair{Predicted: 0.31, Measured: 0.25, Error: 0.24, Simulated: 0.29, SimulatedError: 0.16})
	place := regexp.MustCompile(`(?s)REQUESTS/S.*\nREFUSED[^\n]*\nall +25% +31% +\+24\.0% +29% +\+16\.0%\n.*MEAN LATENCY`)
	if !place.MatchString(got) {
		t.Errorf("no table of what is refused between throughput and latency:\n%s", got)
	}
	if got := printed(nil); strings.Contains(got, "REFUSED") {
		t.Errorf("a table of what is refused, though nothing is:\n%s", got)
	}
}
