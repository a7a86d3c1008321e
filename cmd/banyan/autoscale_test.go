package main

import (
	"strings"
	"testing"

	"github.com/banyanhq/banyan/autoscale"
	"github.com/banyanhq/banyan/policy"
)

// A service that may have no replica has none until a request waits for one, and that request is answered.
func TestScalesFromZero(t *testing.T) {
	t.Parallel()
	p := newPlace(t, strings.Replace(smallSystem, "replicas: {min: 1, max: 4}", "replicas: {min: 0, max: 4}\n    scale: {target: {requests: 100/s}, predict: true}", 1))
	p.must("up", "--detach")
	var s statusAnswer
	p.ask(&s, "status")
	for _, svc := range s.Status.Services {
		if svc.Service == "back" && svc.Wanted != 0 {
			t.Errorf("before any request: %d replicas wanted, want none", svc.Wanted)
		}
	}
	eventually(t, "a request is answered", func() bool { // the first, unless a replica takes longer to start than requests wait
		code, _, err := get("http://" + s.Info.Address + "/")
		return err == nil && code == 200
	})
	var decisions []autoscale.Decision
	p.ask(&decisions, "autoscale", "why", "back")
	if len(decisions) == 0 {
		t.Fatal("no decision is kept")
	}
	// The autoscaler may have looked at its interval as well: the wake is among them.
	woke := false
	for _, d := range decisions {
		woke = woke || d.From.Replicas == 0 && d.To.Replicas == 1 && d.Why == "a request waits"
	}
	if !woke {
		t.Errorf("decisions %+v: want one from 0 to 1, since a request waits", decisions)
	}
	if out := p.must("autoscale"); !strings.Contains(out, "back") || strings.Contains(out, "front") {
		t.Errorf("autoscale: %s", out)
	}
	if _, errs, code := p.run("autoscale", "why", "front"); code != 1 || !strings.Contains(errs, `"front" is not scaled`) {
		t.Errorf("why of a service that is not scaled: %d %s", code, errs)
	}
	p.must("down")
}

// Why says who was followed, for what reason, and what the other would have asked for.
func TestExplainsADecision(t *testing.T) {
	base := autoscale.Decision{Service: "web", Ready: 8, Reactive: 12, Each: 40, From: autoscale.Size{Replicas: 8}, To: autoscale.Size{Replicas: 10},
		Outlook: &autoscale.Outlook{Until: 380, Beyond: 390, Skill: 0.3, Model: "season at level"}}
	for name, c := range map[string]struct {
		sides *autoscale.Sides
		want  []string
	}{
		"the forecast": {&autoscale.Sides{Followed: "predictive", Because: policy.ProofGiven.String(), Predictive: 10, Saved: 7, Proof: 3},
			[]string{"12  ", "10*", "The predictive side was followed: the forecast has proved to pay. The reactive one would have asked for 12.",
				"would have saved 7.00 replica-hours; to prove anything takes 3.00 replica-hours", "not measured"}},
		"the policy": {&autoscale.Sides{Followed: "reactive", Because: policy.ProofAgainst.String(), Predictive: 10, Saved: -7, Proof: 3},
			[]string{"12*", "The reactive side was followed: the forecast has proved to cost more. The predictive one would have asked for 10.", "cost 7.00 replica-hours more"}},
		"no forecast": {nil, []string{"No forecast was asked: that takes 'scale.predict'"}},
	} {
		d := base
		d.Sides = c.sides
		var out strings.Builder
		printDecisions(&out, []autoscale.Decision{d}, "SERVICE", func(d autoscale.Decision) string { return d.Service })
		explainDecision(&out, d)
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: want %q in\n%s", name, want, out.String())
			}
		}
	}
}
