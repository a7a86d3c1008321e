package plan

import (
	"fmt"
	"strings"
)

// Trust is how far a figure is to be trusted.
type Trust string

// The grades. docs/twin-accuracy.md says how far predictions were off where they were measured.
const (
	Good Trust = "good"
	Fair Trust = "fair" // right in its size
	Poor Trust = "poor" // no more than a hint
	None Trust = "none" // it is not predicted
)

// Claim is one kind of figure of a prediction: the method that it comes from, how far it is to be trusted, and why no further.
type Claim struct {
	What   string   `json:"what"`
	Method string   `json:"method"`
	Trust  Trust    `json:"trust"`
	Why    []string `json:"why,omitempty"`
}

// The kinds of figures.
const (
	claimUse         = "throughput, use of CPU"
	claimHeld        = "what is held"
	claimMean        = "mean latency"
	claimPercentiles = "percentiles"
)

// Where a small error of the costs becomes a large one of a wait: shares of the busiest resource.
const (
	steep     = 0.75
	steepest  = 0.9
	farBeyond = 3.0 // times the throughput of the calibration
)

// claims says what each figure of a prediction comes from and how far it goes. beyond is what the model leaves out.
func (s *steady) claims(p *Prediction, beyond []string, calibrated float64) []Claim {
	use := Claim{What: claimUse, Method: "operational laws", Trust: Good}
	held := Claim{What: claimHeld, Method: "operational laws", Trust: Good}
	if s.crowded {
		held.Method = "operational laws and the layers of calls"
	}
	mean := Claim{What: claimMean, Method: p.Method, Trust: Good}
	tail := Claim{What: claimPercentiles, Method: "distributions fitted to mean and variance", Trust: Fair}
	all := []*Claim{&use, &held, &mean, &tail}
	lower := func(to Trust, why string, claims ...*Claim) {
		for _, c := range claims {
			if worse(to, c.Trust) {
				c.Trust = to
			}
			c.Why = append(c.Why, why)
		}
	}
	switch {
	case calibrated == 0:
		lower(Fair, "costs are the file's, not measured", all...)
	case p.Throughput > farBeyond*calibrated:
		lower(Fair, fmt.Sprintf("the load is %.1f times that of the calibration", p.Throughput/calibrated), all...)
	}
	if len(beyond) > 0 {
		lower(Poor, strings.Join(beyond, ", ")+" left out", &held, &mean, &tail)
	}
	switch used, by := s.mostUsed(p.Throughput); {
	case p.Saturated:
		lower(None, "the load is more than is held: latencies grow for as long as it lasts", &mean, &tail)
	case p.Bound != nil && p.Bound.Refused > 0:
		why := fmt.Sprintf("adaptive bounds %s at about %d requests, and %.0f%% are refused: latencies are those of a full service", p.Bound.Service, p.Bound.Limit, 100*p.Bound.Refused)
		lower(Fair, why, &mean)
		lower(Poor, why, &tail)
	case used >= steepest:
		lower(Poor, fmt.Sprintf("%s is %.0f%% used: a small error of the costs is a large one here", by, 100*used), &mean, &tail)
	case used >= steep:
		lower(Fair, fmt.Sprintf("%s is %.0f%% used", by, 100*used), &mean, &tail)
	}
	out := make([]Claim, len(all))
	for i, c := range all {
		out[i] = *c
	}
	return out
}

func worse(a, b Trust) bool {
	rank := map[Trust]int{Good: 0, Fair: 1, Poor: 2, None: 3}
	return rank[a] > rank[b]
}
