package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/atomicfile"
	"github.com/banyanhq/banyan/load"
)

// reportFlags name the files that a load test is written to besides.
type reportFlags struct{ html, hdr, prometheus, progress string }

func (f *reportFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.progress, "progress", "auto", "what is seen meanwhile, on standard error: live (a picture), lines (one each 10s), json (an object each second) or none; auto: live on a terminal, lines elsewhere, none with --json")
	fl.StringVar(&f.html, "html", "", "write the report as one web page to `file`: plots, heat map, tables")
	fl.StringVar(&f.hdr, "hdr", "", "write the latencies as a HdrHistogram log (V2) to `file`")
	fl.StringVar(&f.prometheus, "prometheus", "", "write the totals for Prometheus' textfile collector to `file`")
}

// write writes the files that were asked for.
func (f *reportFlags) write(r *load.Result) error {
	var errs []error
	for _, x := range []struct {
		path  string
		write func(io.Writer) error
	}{{f.html, r.WriteHTML}, {f.hdr, r.WriteHDR}, {f.prometheus, r.WritePrometheus}} {
		if x.path == "" {
			continue
		}
		var b bytes.Buffer
		err := x.write(&b)
		if err == nil {
			err = replaceFile(x.path, b.Bytes())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("writing the report: %w", err))
		}
	}
	return errors.Join(errs...)
}

// replaceFile writes a file as a whole: a collector that looks at it sees the old or the new one.
func replaceFile(path string, data []byte) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, data, 0o644) // a pipe, or /dev/stdout
	}
	return atomicfile.Replace(path, data, 0o644)
}
