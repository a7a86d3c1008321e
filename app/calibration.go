package app

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/banyanhq/banyan/plan"
	"github.com/banyanhq/banyan/topology"
)

// CalibrationFile is where the calibration of a topology lies: banyan.calibration.yaml beside banyan.yaml.
func CalibrationFile(topologyFile string) string {
	base := filepath.Base(topologyFile)
	base = strings.TrimSuffix(base, filepath.Ext(base))
	return filepath.Join(filepath.Dir(topologyFile), base+".calibration.yaml")
}

// WriteCalibration writes demands as an overlay of the topology file.
func WriteCalibration(file string, c *plan.Calibrated) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by 'banyan calibrate' from %s.\n", c.Calibration.Source)
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "# Note: %s.\n", n)
	}
	k := c.Calibration
	fmt.Fprintf(&b, "calibration:\n  source: %q\n  at: %q\n  cores: %s\n  throughput: %.3f\n  dispersion: %.3f\n  idle:\n",
		k.Source, k.At, k.Cores, k.Throughput, k.Dispersion)
	for _, svc := range slices.Sorted(maps.Keys(k.Idle)) {
		fmt.Fprintf(&b, "    %s: %.5f\n", svc, k.Idle[svc])
	}
	fmt.Fprintln(&b, "demands:")
	for _, route := range slices.Sorted(maps.Keys(c.Demands)) {
		fmt.Fprintf(&b, "  %q:\n", route)
		for _, svc := range slices.Sorted(maps.Keys(c.Demands[route])) {
			fmt.Fprintf(&b, "    %s: {%s}\n", svc, demandText(c.Demands[route][svc]))
		}
	}
	if err := writeFile(file, b.Bytes()); err != nil {
		return fmt.Errorf("writing the calibration: %w", err)
	}
	return nil
}

// demandText writes a demand as a YAML flow map, without what is nothing.
func demandText(d *topology.Demand) string {
	text := fmt.Sprintf("visits: %.5g", d.Visits)
	for _, f := range []struct {
		key string
		d   topology.Duration
	}{{"cpu", d.CPU}, {"async", d.Async}, {"wake", d.Wake}, {"delay", d.Delay}} {
		if f.d > 0 {
			text += fmt.Sprintf(", %s: %s", f.key, f.d)
		}
	}
	if d.Delay > 0 && d.DelaySCV != nil {
		text += fmt.Sprintf(", delay_scv: %.5g", *d.DelaySCV)
	}
	return text
}
