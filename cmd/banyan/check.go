package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/store"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) check() *cobra.Command {
	var expand bool
	cmd := &cobra.Command{
		Use:     "check",
		GroupID: "file",
		Short:   "Check the topology file; say everything that is wrong with it",
		Long: `Check the topology file: every mistake is reported with file, line and column. Exit code 0: the file is right; 1: it is
not. With --expand the whole file is printed, overlays merged and all defaults filled in.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			paths, err := c.paths()
			if err != nil {
				return err
			}
			sys, err := topology.Load(paths...)
			var problems topology.Errors
			switch {
			case errors.As(err, &problems) && c.json:
				if err := writeJSON(c.out, map[string]any{"ok": false, "problems": problems}); err != nil {
					return err
				}
				return errNo
			case errors.As(err, &problems):
				fmt.Fprintln(c.err, problems.Error())
				return errNo
			case err != nil:
				return wrongUse{err}
			case expand:
				text, err := sys.YAML()
				if err != nil {
					return err
				}
				_, err = c.out.Write(text)
				return err
			case c.json:
				return writeJSON(c.out, map[string]any{"ok": true, "system": sys.Name})
			}
			fmt.Fprintf(c.out, "%s is right: %s\n", strings.Join(paths, ", "), describeSystem(sys))
			for _, line := range store.Unsupported(sys) {
				fmt.Fprintln(c.out, line)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&expand, "expand", false, "print the file with overlays merged and defaults filled in")
	return cmd
}

func describeSystem(sys *topology.System) string {
	parts := []string{plural(len(sys.Services), "service"), plural(len(sys.Routes), "route")}
	for _, p := range []struct {
		n    int
		what string
	}{{len(sys.Caches), "cache"}, {len(sys.Tables), "table"}, {len(sys.Queues), "queue"}, {len(sys.Topics), "topic"},
		{len(sys.Functions), "function"}, {len(sys.SLOs), "SLO"}} {
		if p.n > 0 {
			parts = append(parts, plural(p.n, p.what))
		}
	}
	return sys.Name + ", " + strings.Join(parts, ", ")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
