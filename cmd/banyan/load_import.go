package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/topology"
)

// importRecording is 'banyan load import'.
func (c *cli) importRecording() *cobra.Command {
	var o load.ImportOptions
	var system, trace string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Turn a recording (a HAR, an access log) into a workload",
		Long: `Read a HAR, or an access log in the common or combined format or in JSON lines, and print a workload: a scenario for each
shape of request, weighted by how often it came, at the mean rate of the recording. Numbers and identifiers in paths, and the
values of queries, become what was recorded, or random ones where there were many. With --trace the recorded arrivals are
written to a file of their own, which the workload replays.`,
		Example: `  banyan load import access.log.gz > recorded.yaml && banyan check -f recorded.yaml
  banyan load import session.har --host shop.example.com --system shop
  banyan load import access.json --trace arrivals.csv > recorded.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.runImport(args[0], o, system, trace)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&o.Format, "format", "", "har, common, combined or json; found out where it is not given")
	fl.StringVar(&o.Host, "host", "", "of a HAR: the host whose requests are taken (default the one with most)")
	fl.StringVar(&system, "system", "recorded", "`name` of the system in the file")
	fl.StringVar(&trace, "trace", "", "write the recorded arrivals to this `file` and replay them")
	return cmd
}

func (c *cli) runImport(name string, o load.ImportOptions, system, trace string) error {
	switch o.Format {
	case "", "har", "common", "combined", "json":
	default:
		return usagef("--format %q: want har, common, combined or json", o.Format)
	}
	in, err := os.Open(name)
	if err != nil {
		return wrongUse{err}
	}
	defer in.Close()
	if o.Format == "" && strings.HasSuffix(strings.TrimSuffix(name, ".gz"), ".har") {
		o.Format = "har"
	}
	r, err := load.Import(in, o)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	text := r.YAML(system, trace)
	if _, err := topology.Parse(topology.Source{Name: "the workload", Data: text}); err != nil {
		return fmt.Errorf("the recording makes no right workload: %w", err)
	}
	if trace != "" {
		if err := writeTrace(r, trace); err != nil {
			return err
		}
	}
	_, err = c.out.Write(text)
	return err
}

// writeTrace writes the arrivals to a file that is not there yet.
func writeTrace(r *load.Recording, name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("the trace: %w", err)
	}
	return errors.Join(r.WriteTrace(f), f.Close())
}
