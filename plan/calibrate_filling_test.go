package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/topology"
)

// TestACacheThatFillsIsNoted has runs in which web calls catalog less and less, more and more, and as often as before.
func TestACacheThatFillsIsNoted(t *testing.T) {
	for _, c := range []struct {
		name         string
		calls, shift float64
		want         string
	}{
		{"filling", 1.5, -0.02, "a visit to web made 1.3 calls to catalog in the first third of the run and 0.51 in the last: a cache was still filling"},
		{"losing", 0.5, 0.02, "what a request asks for was changing"},
		{"full", 0.5, 0, ""},
		{"almost full", 0.02, -0.0003, ""}, // what that changes is not worth a word
	} {
		for seed := range uint64(20) {
			r := aRun(seed)
			r.calls, r.shift = c.calls, c.shift
			got, err := Calibrate(&topology.System{}, r.measure(t))
			if err != nil {
				t.Fatal(err)
			}
			noted := slices.ContainsFunc(got.Notes, func(n string) bool { return strings.Contains(n, " in the first third of the run and ") })
			found := slices.ContainsFunc(got.Notes, func(n string) bool { return strings.Contains(n, c.want) })
			if noted != (c.want != "") || !found && c.want != "" && seed == 0 {
				t.Errorf("%s, seed %d: %q", c.name, seed, got.Notes)
			}
		}
	}
}

// TestCallsFromOutsideAreOfRequests has a route's answers cached before the service that they come from.
func TestCallsFromOutsideAreOfRequests(t *testing.T) {
	m := aRun(1).measure(t)
	for i := range m.PerSecond {
		for edge := range m.PerSecond[i].Calls {
			m.PerSecond[i].Calls[edge] *= 1 - float64(i)/100
		}
	}
	if got := m.filling(); !strings.HasPrefix(got, "0.9 of a request came to web in the first third of the run and 0.5 in the last: ") {
		t.Errorf("an http_cache that fills: %q", got)
	}
}
