package main

import (
	"testing"

	"github.com/banyanhq/banyan/topology"
)

// TestFaultsAreSystems wants a right topology of each fault, and the same one of the same seed.
func TestFaultsAreSystems(t *testing.T) {
	for i := range 200 {
		f := makeFault(3, i)
		text := f.topology("/bin/worker")
		if again := makeFault(3, i).topology("/bin/worker"); again != text {
			t.Fatalf("%s: differs when made again", f)
		}
		sys, err := topology.Parse(topology.Source{Name: "banyan.yaml", Data: []byte(text)})
		if err != nil {
			t.Fatalf("%s: %v\n%s", f, err, text)
		}
		if sys.Services[f.Service] == nil {
			t.Errorf("%s: no such service", f)
		}
		mended := f.mended().topology("/bin/worker")
		if _, err := topology.Parse(topology.Source{Name: "banyan.yaml", Data: []byte(mended)}); err != nil || mended == text {
			t.Errorf("%s: mended: %v\n%s", f, err, mended)
		}
	}
	for i := range shapeNames {
		if _, err := topology.Parse(topology.Source{Name: "banyan.yaml", Data: []byte(makeHealthy(3, i).topology("/bin/worker"))}); err != nil {
			t.Error(err)
		}
	}
}
