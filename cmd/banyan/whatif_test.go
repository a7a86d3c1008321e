package main

import (
	"strings"
	"testing"

	"github.com/banyanhq/banyan/plan"
)

// costly is the small system with a cost, on which predictions depend.
var costly = strings.Replace(smallSystem, "layer: business", "layer: business\n    work: {cpu: 20ms}", 1)

func TestWhatIfPredicts(t *testing.T) {
	t.Parallel()
	p := newPlace(t, costly)
	var a whatIfAnswer
	p.ask(&a, "whatif", "services.back.limits.cpu=0.5", "--rate", "10/s")
	before, after := a.Predicted.Before, a.Predicted.After
	if before.Saturation.Throughput < 45 || before.Saturation.Throughput > 50 || after.Saturation.Throughput < 22 || after.Saturation.Throughput > 25 || after.Bottleneck != "back" {
		t.Errorf("holds %v, then %v by %s", before.Saturation, after.Saturation, after.Bottleneck)
	}
	if out := p.must("whatif", "services.back.limits.cpu=0.5", "--rate", "10/s"); !strings.Contains(out, "PREDICTED") || strings.Contains(out, "MEASURED") {
		t.Errorf("whatif: %s", out)
	}
	for change, want := range map[string]string{
		"services.back.replicas":     "want PATH=VALUE",
		"services.nobody.replicas=2": "nobody",
		"services.back.replica=2":    `did you mean "replicas"`,
	} {
		if _, errs, code := p.run("whatif", change); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s", change, code, errs)
		}
	}
}

// TestWhatIfIsVerified wants both versions to be run and measured, beside a system that is up already.
func TestWhatIfIsVerified(t *testing.T) {
	t.Parallel()
	p := newPlace(t, costly)
	p.must("up", "-d")
	var a whatIfAnswer
	p.ask(&a, "whatif", "routes.GET /.fault={abort: 503}", "--rate", "20/s", "--verify", "--duration", "2s")
	effects := map[string]plan.Effect{}
	for _, e := range a.Measured {
		effects[e.What] = e
	}
	// 40 of them are due, more or less by chance, and a machine that stands still measures over a longer time.
	if e := effects["requests/s"]; e.Before < 2 || e.Before > 60 || e.After < 2 || e.After > 60 {
		t.Errorf("requests a second: %+v", e)
	}
	if e := effects["cpu"]; e.Before <= 0 {
		t.Errorf("cpu: %+v", e)
	}
	var s statusAnswer
	p.ask(&s, "status")
	if s.Info.State != "serving" {
		t.Errorf("the system that was up is %s", s.Info.State)
	}
}
