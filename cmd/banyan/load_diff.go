package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) loadDiff() *cobra.Command {
	var tolerance, errorTolerance string
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Compare two load tests: what became worse, better, or is the same within chance",
		Long: `Hold the records of two load tests side by side: rate, mean, p50, p99 and errors of each step and in total, each with
the interval of its change. OLD and NEW are names of records, or files that 'banyan load --json' wrote. Exit code 1: some
figure is worse beyond chance and tolerance.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			var o load.DiffOptions
			for _, x := range []struct {
				flag, text string
				to         *float64
			}{{"tolerance", tolerance, &o.Tolerance}, {"errors", errorTolerance, &o.ErrorTolerance}} {
				v, err := topology.ParsePercent(x.text)
				if err == nil && v <= 0 {
					err = fmt.Errorf("must be above 0")
				}
				if err != nil {
					return usagef("--%s: %w", x.flag, err)
				}
				*x.to = float64(v)
			}
			var results [2]*load.Result
			for i, name := range args {
				r, err := c.openResult(name)
				if err != nil {
					return err
				}
				results[i] = r
			}
			d, err := load.Compare(results[0], results[1], o)
			if err != nil {
				return err
			}
			if c.json {
				err = writeJSON(c.out, d)
			} else {
				err = d.WriteText(c.out)
			}
			if err == nil && d.Worse {
				err = errNo
			}
			return err
		},
	}
	cmd.Flags().StringVar(&tolerance, "tolerance", "5%", "change of rate, mean and percentiles that is let pass")
	cmd.Flags().StringVar(&errorTolerance, "errors", "0.1%", "change of the share of errors that is let pass, in points")
	return cmd
}

// openResult reads a record by its file, or by its name from the state directory.
func (c *cli) openResult(name string) (*load.Result, error) {
	dir := ""
	if !strings.ContainsRune(name, '/') && !strings.HasSuffix(name, ".json") {
		var err error
		if dir, err = c.stateDir(); err != nil {
			return nil, err
		}
	}
	run, err := app.OpenRun(dir, name)
	if err != nil {
		return nil, err
	}
	if run.Result == nil {
		return nil, fmt.Errorf("%s is not the record of a load test", name)
	}
	return run.Result, nil
}
