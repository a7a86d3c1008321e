package main

import (
	"strings"
	"testing"

	"github.com/banyanhq/banyan/autoscale"
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
	if code, body, err := get("http://" + s.Info.Address + "/"); err != nil || code != 200 {
		t.Fatalf("the first request: %d %q %v", code, body, err)
	}
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
