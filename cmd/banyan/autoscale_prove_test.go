package main

import (
	"strings"
	"testing"

	"github.com/banyanhq/banyan/autoscale/replay"
)

func TestVerdictOfAProof(t *testing.T) {
	at := func(cost float64) *replay.Result { return &replay.Result{Reached: cost > 0, Cost: cost} }
	for _, c := range []struct {
		predictive, hpa float64 // cost over the oracle's; 0: the objective was not reached
		won             bool
		want            string
	}{
		{1.10, 1.32, true, "costs 16.7% less with 'scale.predict'"},
		{1.32, 1.32, true, "of little use"},
		{1.33, 1.30, false, "costs 2.3% more with 'scale.predict'"},
		{1.10, 0, true, "by 'scale.policy: kubernetes' alone at no setting"},
		{0, 1.30, false, "at no setting. Leave it off"},
		{0, 0, false, "at no setting. Leave it off"},
	} {
		predictive, hpa := at(c.predictive), at(c.hpa)
		if won := paysOff(predictive, hpa); won != c.won {
			t.Errorf("%v against %v: proved %v", c.predictive, c.hpa, won)
		}
		if got := verdict("shop", "kubernetes", predictive, hpa); !strings.Contains(got, c.want) || strings.HasPrefix(got, "Proved") != c.won {
			t.Errorf("%v against %v: %q, want it to say %q", c.predictive, c.hpa, got, c.want)
		}
	}
}
