package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/queueing"
)

func (c *cli) queueing() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "queueing FILE.json",
		GroupID: "predict",
		Short:   "Solve a queueing model: stations, networks, layers, bounds, scalability",
		Long: `Solve a queueing model that is written as a JSON document: 'kind' names the model, 'inputs' its numbers. The answer says
which method produced it and whether it is exact. '-' reads the model from standard input. Rates and times share one
unit, whichever it is. Exit code 2: the document is wrong; 1: the model has no answer, for example because it is
unstable.`,
		Example: "  banyan queueing bank.json\n" +
			`  echo '{"kind": "M/M/c", "inputs": {"lam": 3, "mu": 1, "c": 4}}' | banyan queueing - --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(c.files) > 0 {
				return usagef("queueing reads a model, not a topology: name it without -f")
			}
			model, err := c.readModel(args[0])
			if err != nil {
				return wrongUse{err}
			}
			report, err := model.Solve()
			if err != nil {
				return fmt.Errorf("solving %s: %w", args[0], err)
			}
			return c.printReport(report)
		},
	}
	plain := cmd.HelpFunc()
	cmd.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		plain(cmd, args)
		// The examples are embedded files that the tests of package queueing solve; reading them does not fail.
		if text, err := modelExamples(); err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "\nA model of each kind:\n\n%s", text)
		}
	})
	return cmd
}

// readModel reads a model from a file, or from standard input where name is "-".
func (c *cli) readModel(name string) (*queueing.Model, error) {
	in := c.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("reading the model: %w", err)
		}
		defer f.Close() // nothing was written
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil, fmt.Errorf("reading the model: %s is a folder, not a file", name)
		}
		in = f
	}
	model, err := queueing.ParseModel(in)
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s: the document is empty", name)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%s: the document ends in the middle of its JSON", name)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return model, nil
}

func (c *cli) printReport(r *queueing.Report) error {
	if !c.json {
		_, err := io.WriteString(c.out, r.Text())
		return err
	}
	text, err := r.JSON()
	if err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	_, err = fmt.Fprintf(c.out, "%s\n", text)
	return err
}

// modelExamples is a model of each kind, indented.
func modelExamples() (string, error) {
	examples, err := queueing.Examples()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range examples {
		for line := range strings.Lines(strings.TrimSpace(e.JSON) + "\n") {
			b.WriteString("  " + line)
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}
