package queueing

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed testdata/models/*.json
var exampleFiles embed.FS

// Example is a model document of one kind, ready for ParseModel.
type Example struct {
	File string // base name
	JSON string
}

// Examples lists a documented example of every kind of model, by file name.
func Examples() ([]Example, error) {
	names, err := fs.Glob(exampleFiles, "testdata/models/*.json")
	if err != nil {
		return nil, fmt.Errorf("examples: %w", err)
	}
	var out []Example
	for _, name := range names {
		raw, err := exampleFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("examples: %w", err)
		}
		out = append(out, Example{File: name[len("testdata/models/"):], JSON: string(raw)})
	}
	return out, nil
}
