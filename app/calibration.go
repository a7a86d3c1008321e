package app

import (
	"bytes"
	"fmt"
	"path/filepath"
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
	overlay := topology.System{Calibration: c.Calibration, Demands: c.Demands}
	text, err := overlay.YAML()
	if err != nil {
		return fmt.Errorf("writing the calibration: %w", err)
	}
	b.Write(text)
	if err := writeFile(file, b.Bytes()); err != nil {
		return fmt.Errorf("writing the calibration: %w", err)
	}
	return nil
}
