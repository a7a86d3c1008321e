package main

import (
	"bytes"
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
	rows := strings.Split(got, "\n")
	for i, row := range rows {
		if !strings.HasPrefix(row, "REFUSED") {
			continue
		}
		if fields := strings.Fields(rows[i+1]); strings.Join(fields, " ") != "all 25% 31% +24.0% 29% +16.0%" {
			t.Errorf("printed %q", rows[i+1])
		}
		if before := strings.Index(got, "REQUESTS/S"); before < 0 || strings.Index(got, "REFUSED") < before || strings.Index(got, "MEAN LATENCY") < strings.Index(got, "REFUSED") {
			t.Errorf("not between throughput and latency:\n%s", got)
		}
	}
	if !strings.Contains(got, "REFUSED") {
		t.Errorf("no table of what is refused:\n%s", got)
	}
	if got := printed(nil); strings.Contains(got, "REFUSED") {
		t.Errorf("a table of what is refused, though nothing is:\n%s", got)
	}
}
