package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/plan"
)

// TestBottleneckOutput holds what is printed for a recorded system with a lock against testdata.
func TestBottleneckOutput(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "bottleneck.json"))
	if err != nil {
		t.Fatal(err)
	}
	var a bottleneckAnswer
	if err := json.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	if a.Findings, err = plan.Bottlenecks(a.Observation); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := &cli{out: &out}
	c.printBottlenecks(a)
	a.Findings = nil
	c.printBottlenecks(a)
	golden := filepath.Join("testdata", "bottleneck.golden")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("printed:\n%s\nwant:\n%s", &out, want)
	}
}

// TestBottleneckOfRunningSystem wants the slow one of two services named. It runs alone: beside tests that fill the machine, the
// machine is the bottleneck.
func TestBottleneckOfRunningSystem(t *testing.T) {
	p := newPlace(t, strings.Replace(smallSystem, "BANYAN_TEST_SERVICE: back", "BANYAN_TEST_SERVICE: slow", 1))
	p.must("up", "-d")
	if _, errs, code := p.run("bottleneck"); code != 1 || !strings.Contains(errs, "load") {
		t.Errorf("without load: %d %s", code, errs)
	}
	p.must("load", "--warmup", "0s")
	var a bottleneckAnswer
	p.ask(&a, "bottleneck")
	if len(a.Findings) > 0 && strings.Contains(strings.Join(a.Findings[0].Evidence, " "), "the machine is full") {
		t.Skip("other tests fill the machine, which is the bottleneck then")
	}
	if len(a.Findings) == 0 || a.Findings[0].Class != plan.ClassDownstream || a.Findings[0].Service != "back" {
		t.Errorf("found %+v, want a slow dependency at back", a.Findings)
	}
	if out := p.must("bottleneck", "--window", "1m"); !strings.Contains(out, "front -> back") {
		t.Errorf("printed: %s", out)
	}
	if _, _, code := p.run("bottleneck", "--window", "1ms"); code != 2 {
		t.Errorf("a window of a millisecond: exit code %d, want 2", code)
	}
}
