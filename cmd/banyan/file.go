package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/topology"
)

// defaultFile is what every command reads unless -f says otherwise.
const defaultFile = "banyan.yaml"

// paths returns the topology files to read.
func (c *cli) paths() ([]string, error) {
	if len(c.files) > 0 {
		return c.files, nil
	}
	if _, err := os.Stat(defaultFile); errors.Is(err, os.ErrNotExist) {
		return nil, usagef("there is no %s here: name the topology with -f FILE", defaultFile)
	}
	return []string{defaultFile}, nil
}

// absolute returns the topology files to read, as paths that hold in any folder.
func (c *cli) absolute() ([]string, error) {
	paths, err := c.paths()
	if err != nil {
		return nil, err
	}
	files := make([]string, len(paths))
	for i, path := range paths {
		if files[i], err = filepath.Abs(path); err != nil {
			return nil, fmt.Errorf("finding the folder of %s: %w", path, err)
		}
	}
	return files, nil
}

// open reads the topology.
func (c *cli) open() (*topology.System, error) {
	paths, err := c.paths()
	if err != nil {
		return nil, err
	}
	return c.read(paths)
}

// openCalibrated reads the topology with the calibration beside it, if there is one.
func (c *cli) openCalibrated() (*topology.System, error) {
	paths, err := c.calibratedFiles()
	if err != nil {
		return nil, err
	}
	return c.read(paths)
}

// calibratedFiles are the files of the topology, and the calibration beside it if there is one.
func (c *cli) calibratedFiles() ([]string, error) {
	paths, err := c.paths()
	if err != nil {
		return nil, err
	}
	if calibration := app.CalibrationFile(paths[0]); fileExists(calibration) {
		paths = append(append([]string{}, paths...), calibration)
	}
	return paths, nil
}

// read loads files; a wrong file is wrong use, for every command but check.
func (c *cli) read(paths []string) (*topology.System, error) {
	sys, err := topology.Load(paths...)
	if err != nil {
		return nil, wrongUse{err}
	}
	return sys, nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// stateDir is the state directory of the topology: .banyan beside its first file, unless --state names another.
func (c *cli) stateDir() (string, error) {
	if c.state != "" {
		return filepath.Abs(c.state)
	}
	if len(c.files) == 0 && !fileExists(defaultFile) && fileExists(app.StateDir) {
		return filepath.Abs(app.StateDir) // of a gateway that was started from flags
	}
	paths, err := c.paths()
	if err != nil {
		return "", err
	}
	abs, err := filepath.Abs(paths[0])
	if err != nil {
		return "", fmt.Errorf("finding the folder of %s: %w", paths[0], err)
	}
	if !fileExists(abs) {
		return "", usagef("there is no file %s", paths[0])
	}
	return filepath.Join(filepath.Dir(abs), app.StateDir), nil
}
